"""Accounts as they were at an earlier time, many at once."""

from __future__ import annotations

from django.db.backends.utils import CursorWrapper

from goodstanding.core import annulments as core
from goodstanding.ledger import annulments, bulk
from goodstanding.ledger.accounts import Account
from goodstanding.ledger.rebuilding import hear_anew


def go_back(cursor: CursorWrapper, loaded: dict[int, Account], at: int) -> list[Account]:
    """Those of which something had happened by then, holding what had happened by then alone.

    ``at`` in microseconds. A few statements for any number of accounts. Of whom nothing has
    happened since, what is stored is what had happened: only the others are folded anew, or all,
    where other failures were annulled or reread by then. A delivery that was not there yet
    remembers nothing.
    """
    made = annulments.every(cursor)
    holding = core.holding(made, at)
    all_differ = holding != core.holding(made)
    cursor.execute(
        "SELECT address_id, min(occurred_at), max(occurred_at) FROM ledger_event"
        f" WHERE {bulk.among('address_id')} GROUP BY address_id",
        [bulk.listed(loaded)],
    )
    there: set[int] = set()
    later: dict[int, Account] = {}
    for address, first, last in cursor.fetchall():
        if first <= at:
            there.add(address)
            if last > at or all_differ:
                later[address] = loaded[address]
    if later:
        hear_anew(cursor, later, holding, until=at)
    return [account for account in loaded.values() if account.id in there]
