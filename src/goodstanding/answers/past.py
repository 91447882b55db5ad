"""Accounts as they were at an earlier time, many at once."""

from __future__ import annotations

from typing import Any, Final, cast

import msgspec
from django.db.backends.utils import CursorWrapper

from goodstanding.core.addresses import Address, Channel
from goodstanding.core.annulments import Predicates, is_annulled
from goodstanding.core.events import Event
from goodstanding.ledger import annulments, bulk
from goodstanding.ledger.accounts import Account
from goodstanding.ledger.recording import MAILING, hear

_decode: Final = msgspec.json.Decoder(dict[str, Any]).decode


def go_back(cursor: CursorWrapper, loaded: dict[int, Account], at: int) -> list[Account]:
    """Those of which something had happened by then, holding what had happened by then alone.

    ``at`` in microseconds. A few statements for any number of accounts. Of whom nothing has
    happened since, what is stored is what had happened: only the others are folded anew, or all,
    where other failures were annulled by then. A delivery that was not there yet remembers nothing.
    """
    annulled = annulments.in_force(cursor, at)
    all_differ = annulled != annulments.in_force(cursor)
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
        _fold(cursor, later, at, annulled)
    return [account for account in loaded.values() if account.id in there]


def _fold(
    cursor: CursorWrapper, accounts: dict[int, Account], at: int, annulled: Predicates
) -> None:
    rows = {row.id: row for account in accounts.values() for row in account.rows.values()}
    for account in accounts.values():
        account.forget()
    cursor.execute(
        "SELECT address_id, key, kind, occurred_at, source, delivery_id, topic, detail"
        f" FROM ledger_event WHERE {bulk.among('address_id')} AND occurred_at <= %s",
        [bulk.listed(accounts), at],
    )
    for address, key, kind, occurred_at, source, delivery, topic, text in cursor.fetchall():
        account = accounts[address]
        detail = _decode(text)
        event = Event(
            kind=kind,
            occurred_at=occurred_at,
            address=Address(cast(Channel, account.channel), account.value),
            source=source,
            key=key,
            mailing=detail.get(MAILING),
            topic=topic,
            detail=detail,
        )
        if not is_annulled(event, annulled):
            hear(account, rows.get(delivery), event, key)
