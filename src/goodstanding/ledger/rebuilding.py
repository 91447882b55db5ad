"""Rebuilding: everything again from the events (invariant 3), or looking whether it differs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, cast

import msgspec
from django.db import connection, transaction
from django.db.backends.utils import CursorWrapper

from goodstanding.core.addresses import Address, Channel
from goodstanding.core.events import Event
from goodstanding.ledger import accounts, bulk
from goodstanding.ledger.accounts import Account
from goodstanding.ledger.policy import active_policy
from goodstanding.ledger.recording import hear

BATCH = 500


class Difference(msgspec.Struct, frozen=True):
    """A row that is not what the events make of it."""

    what: str
    stored: str
    rebuilt: str


def rebuild(
    now: int, *, verify: bool = False, progress: Callable[[int], None] | None = None
) -> list[Difference]:
    """Fold everything anew from the events; with ``verify`` change nothing and say what differs.

    Both fold as of ``now`` (microseconds): with ``verify`` what is stored is first brought to that
    time, as the clock would.
    """
    differences: list[Difference] = []
    for ids in _batches():
        with transaction.atomic(), connection.cursor() as cursor:
            loaded = accounts.load(cursor, ids)
            accounts.settle(cursor, loaded.values(), active_policy(), now)
            before = {account.id: _rows(account) for account in loaded.values()}
            _fold_anew(cursor, loaded)
            accounts.settle(cursor, loaded.values(), active_policy(), now)
            for account in loaded.values():
                differences.extend(_differences(account, before[account.id]))
            if verify:
                transaction.set_rollback(True)
        if progress is not None:
            progress(len(ids))
    with transaction.atomic(), connection.cursor() as cursor:
        differences.extend(_tallies(cursor, repair=not verify))
    return differences


def history(account: Account, cursor: CursorWrapper) -> list[tuple[str, Event]]:
    """The events of one loaded account, with their keys, in order of time."""
    events = _events(cursor, {account.id: account})
    return [(key, event) for _, key, event, _ in events]


def _batches() -> Iterator[list[int]]:
    after = 0
    while True:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT id FROM ledger_address WHERE id > %s ORDER BY id LIMIT %s", [after, BATCH]
            )
            ids = [row[0] for row in cursor.fetchall()]
        if not ids:
            return
        yield ids
        after = ids[-1]


def _events(
    cursor: CursorWrapper, loaded: dict[int, Account]
) -> list[tuple[Account, str, Event, int | None]]:
    cursor.execute(
        "SELECT address_id, key, kind, occurred_at, source, delivery_id, topic, detail"
        f" FROM ledger_event WHERE {bulk.among('address_id')} ORDER BY occurred_at, key",
        [bulk.listed(loaded)],
    )
    rows = {row.id: row for account in loaded.values() for row in account.rows.values()}
    found = []
    for address, key, kind, at, source, delivery, topic, text in cursor.fetchall():
        account = loaded[address]
        detail: dict[str, Any] = msgspec.json.decode(text)
        row = rows.get(delivery) if delivery is not None else None
        name = row.mailing.name if row is not None and row.mailing else detail.get("mailing")
        event = Event(
            kind=kind,
            occurred_at=at,
            address=Address(cast(Channel, account.channel), account.value),
            source=source,
            key=key,
            mailing=name,
            recipient=row.recipient if row is not None and row.mailing else "",
            topic=topic,
            detail=detail,
        )
        found.append((account, key, event, delivery))
    return found


def _fold_anew(cursor: CursorWrapper, loaded: dict[int, Account]) -> None:
    events = _events(cursor, loaded)
    rows = {row.id: row for account in loaded.values() for row in account.rows.values()}
    for account in loaded.values():
        account.forget()
    for account, key, event, delivery in events:
        hear(account, rows.get(delivery) if delivery is not None else None, event, key)


def _rows(account: Account) -> dict[str, Any]:
    held: dict[str, Any] = {"standing": account.stored}
    for row in account.rows.values():
        held[f"delivery {row.id}"] = row.stored
    return held


def _differences(account: Account, before: dict[str, Any]) -> Iterator[Difference]:
    for what, rebuilt in _rows(account).items():
        stored = before[what]
        if stored != rebuilt:
            yield Difference(f"address {account.id}, {what}", str(stored), str(rebuilt))


def _tallies(cursor: CursorWrapper, *, repair: bool) -> Iterator[Difference]:
    """Where the tallies are not what the rows add up to; with ``repair`` they are set right."""
    mailings, statuses = _counted(cursor)
    cursor.execute("SELECT mailing_id, name, count FROM ledger_mailingtally WHERE count <> 0")
    stored = Counter({(row[0], row[1]): row[2] for row in cursor.fetchall()})
    cursor.execute("SELECT day, channel, status, count FROM ledger_statustally WHERE count <> 0")
    stood = Counter({(row[0], row[1], row[2]): row[3] for row in cursor.fetchall()})
    by_mailing = Counter({place: mailings[place] - stored[place] for place in mailings | stored})
    by_status = Counter({place: statuses[place] - stood[place] for place in statuses | stood})
    for place, off in by_mailing.items():
        if off:
            yield Difference(f"tally {place}", str(stored[place]), str(mailings[place]))
    for day, off in by_status.items():
        if off:
            yield Difference(f"tally {day}", str(stood[day]), str(statuses[day]))
    if repair:
        accounts.add_to_tallies(cursor, by_mailing, by_status)


def _counted(
    cursor: CursorWrapper,
) -> tuple[Counter[tuple[int, str]], Counter[tuple[int, str, str]]]:
    mailings: Counter[tuple[int, str]] = Counter()
    cursor.execute(
        "SELECT mailing_id, response, count(*), sum(opens), sum(clicks), count(unsubscribed_first),"
        " count(complained_first) FROM ledger_delivery WHERE mailing_id IS NOT NULL"
        " GROUP BY mailing_id, response"
    )
    for mailing, response, *counts in cursor.fetchall():
        for name, count in zip(
            (response, "opens", "clicks", "unsubscribes", "complaints"), counts, strict=True
        ):
            if count:
                mailings[mailing, name] += int(count)
    cursor.execute(
        "SELECT coalesce(since, 0) / 86400000000, channel, status, count(*) FROM ledger_address"
        " WHERE policy <> 0 GROUP BY 1, 2, 3"
    )
    statuses = Counter({(int(row[0]), row[1], row[2]): row[3] for row in cursor.fetchall()})
    return mailings, statuses
