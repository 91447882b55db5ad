"""Rebuilding: everything again from the events (invariant 3), or looking whether it differs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator
from types import MappingProxyType
from typing import Any, Final, TypeVar, cast

import msgspec
from django.db import connection, transaction
from django.db.backends.utils import CursorWrapper

from goodstanding.core import memory
from goodstanding.core.addresses import Address, Channel
from goodstanding.core.annulments import Holding, is_annulled
from goodstanding.core.events import Event
from goodstanding.ledger import accounts, annulments, bulk, traffic
from goodstanding.ledger.accounts import Account
from goodstanding.ledger.annulments import Readings, as_read
from goodstanding.ledger.policy import active_policy
from goodstanding.ledger.recording import MAILING, hear

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

    Both fold as of ``now`` (microseconds): what is due by then, or was folded by another policy, is
    first brought to that time, as the clock would.
    """
    differences: list[Difference] = []
    policy = active_policy()
    for ids in _batches():
        with transaction.atomic(), connection.cursor() as cursor:
            loaded = accounts.load(cursor, ids)
            stale = [each for each in loaded.values() if each.is_stale(policy, now)]
            accounts.settle(cursor, stale, policy, now)
            before = {account.id: _rows(account) for account in loaded.values()}
            hear_anew(cursor, loaded, annulments.holding(cursor))
            accounts.settle(cursor, loaded.values(), policy, now)
            for account in loaded.values():
                differences.extend(_differences(account, before[account.id]))
            if verify:
                transaction.set_rollback(True)
        if progress is not None:
            progress(len(ids))
    with transaction.atomic(), connection.cursor() as cursor:
        differences.extend(_tallies(cursor, repair=not verify))
        differences.extend(_spans(cursor, repair=not verify))
        differences.extend(_traffic(cursor, repair=not verify))
    return differences


StatusChange = tuple[str, str, str]
"""A channel, and from which status to which."""


class Named(msgspec.Struct):
    """A few of the addresses that changed: at most so many of each change."""

    most: int
    by_change: dict[StatusChange, list[str]] = {}

    def add(self, change: StatusChange, address: str) -> None:
        """One more, if there is room."""
        names = self.by_change.setdefault(change, [])
        if len(names) < self.most:
            names.append(address)


def fold_anew(ids: Collection[int], now: int, named: Named | None = None) -> Counter[StatusChange]:
    """Fold those addresses anew from their events; how many changed, by channel, from and to.

    ``named``: where a few of them are to be named.
    """
    changed: Counter[StatusChange] = Counter()
    with transaction.atomic(), connection.cursor() as cursor:
        loaded = accounts.load(cursor, ids)
        before = {account.id: account.status for account in loaded.values()}
        hear_anew(cursor, loaded, annulments.holding(cursor))
        accounts.settle(cursor, loaded.values(), active_policy(), now)
        for account in loaded.values():
            if account.status != before[account.id]:
                change = (account.channel, before[account.id], account.status)
                changed[change] += 1
                if named is not None:
                    named.add(change, account.value)
    return changed


def hear_anew(
    cursor: CursorWrapper,
    loaded: dict[int, Account],
    holding: Holding,
    until: int | None = None,
    anew: Readings = MappingProxyType({}),
) -> None:
    """Let loaded accounts hold what was heard alone: all of it, or what had happened by then.

    ``holding``: what does not count, and what is read otherwise than in its event. ``until`` in
    microseconds. ``anew``: readings to try, above all others.
    """
    rows = {row.id: row for account in loaded.values() for row in account.rows.values()}
    events = _events(cursor, loaded, until)
    found = {**annulments.readings(cursor, loaded, holding.rereads), **anew}
    for account in loaded.values():
        account.forget()
    for account, key, said, delivery in events:
        event = as_read(said, found.get((account.id, key))) if found else said
        if not is_annulled(event, holding.predicates):
            hear(account, rows.get(delivery) if delivery is not None else None, event, key)


def history(account: Account, cursor: CursorWrapper) -> list[tuple[str, Event]]:
    """The events of one loaded account as they were recorded, with their keys, in order of time."""
    events = _events(cursor, {account.id: account})
    return [(key, _as_said(event)) for _, key, event, _ in events]


def history_as_read(
    account: Account, cursor: CursorWrapper, rereads: Collection[int]
) -> list[Event]:
    """The same with the readings that count, where those rereads hold."""
    found = annulments.readings(cursor, [account.id], rereads)
    return [as_read(event, found.get((account.id, key))) for key, event in history(account, cursor)]


def _as_said(event: Event) -> Event:
    said = {name: value for name, value in event.detail.items() if name != MAILING}
    return msgspec.structs.replace(event, detail=said)


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
    cursor: CursorWrapper, loaded: dict[int, Account], until: int | None = None
) -> list[tuple[Account, str, Event, int | None]]:
    past = "" if until is None else " AND occurred_at <= %s"
    cursor.execute(
        "SELECT address_id, key, kind, occurred_at, source, delivery_id, topic, detail"
        f" FROM ledger_event WHERE {bulk.among('address_id')}{past} ORDER BY occurred_at, key",
        [bulk.listed(loaded), *([] if until is None else [until])],
    )
    rows = {row.id: row for account in loaded.values() for row in account.rows.values()}
    found = []
    for address, key, kind, at, source, delivery, topic, text in cursor.fetchall():
        account = loaded[address]
        detail: dict[str, Any] = msgspec.json.decode(text)
        row = rows.get(delivery) if delivery is not None else None
        name = row.mailing.name if row is not None and row.mailing else detail.get(MAILING)
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


def _rows(account: Account) -> dict[str, Any]:
    held: dict[str, Any] = {"standing": account.stored}
    for topic, blocks in account.topics.items():
        held[f"topic {topic}"] = blocks
    for row in account.rows.values():
        held[f"delivery {row.id}"] = row.stored
    return held


def _differences(account: Account, before: dict[str, Any]) -> Iterator[Difference]:
    after = _rows(account)
    for what in sorted(before.keys() | after.keys()):
        stored, rebuilt = before.get(what), after.get(what)
        if stored != rebuilt:
            yield Difference(f"address {account.id}, {what}", str(stored), str(rebuilt))


def _tallies(cursor: CursorWrapper, *, repair: bool) -> Iterator[Difference]:
    """Where the tallies are not what the rows add up to; with ``repair`` they are set right.

    Rows and tallies are read in one statement, so as to see one moment of a ledger at work.
    """
    counted: _Tallies = (Counter(), Counter())
    stored: _Tallies = (Counter(), Counter())
    cursor.execute(_COUNTED)
    for what, mailing, name, day, channel, *counts in cursor.fetchall():
        by_mailing, by_status = stored if what.startswith("stored") else counted
        if what.endswith("status"):
            by_status[day, channel, name] += counts[0]
            continue
        for each, count in zip((name, *_COUNTS), counts, strict=True):
            by_mailing[mailing, each] += int(count)
    yield from _compared(counted[0], stored[0])
    yield from _compared(counted[1], stored[1])
    if repair:
        counted[0].subtract(stored[0])
        counted[1].subtract(stored[1])
        accounts.add_to_tallies(cursor, *counted)


def _traffic(cursor: CursorWrapper, *, repair: bool) -> Iterator[Difference]:
    """Where what the incident guard counts is not what the events say."""
    for *place, sent, delivered, failed in traffic.differences(cursor, repair=repair):
        missing = f"{sent} sent, {delivered} delivered, {failed} failed"
        yield Difference(f"traffic {tuple(place)}", "as counted", f"{missing} more")


def narrow(mailings: Collection[int]) -> None:
    """Let mailings start and end when their deliveries say, also where those say less by now."""
    with transaction.atomic(), connection.cursor() as cursor:
        list(_spans(cursor, repair=True, among=mailings))


def _spans(
    cursor: CursorWrapper, *, repair: bool, among: Collection[int] | None = None
) -> Iterator[Difference]:
    """Where mailings do not start and end when their deliveries say; with ``repair`` set right."""
    firsts = ", ".join(f"min(d.{slot}_first)" for slot in memory.TRIED)
    lasts = ", ".join(f"max(d.{slot}_last)" for slot in memory.ATTEMPTS)
    cursor.execute(
        f"SELECT m.id, m.started_at, m.ended_at, {firsts}, {lasts} FROM ledger_mailing m"
        " LEFT JOIN ledger_delivery d ON d.mailing_id = m.id"
        f" WHERE {bulk.among('m.id') if among is not None else '1 = 1'}"
        " GROUP BY m.id, m.started_at, m.ended_at",
        [bulk.listed(among)] if among is not None else [],
    )
    for mailing, started_at, ended_at, *times in cursor.fetchall():
        stored = (started_at, ended_at)
        counted = (
            min((at for at in times[: len(memory.TRIED)] if at is not None), default=None),
            max((at for at in times[len(memory.TRIED) :] if at is not None), default=None),
        )
        if stored == counted:
            continue
        yield Difference(f"mailing {mailing}", str(stored), str(counted))
        if repair:
            # Unless a fold widened it meanwhile.
            cursor.execute(
                "UPDATE ledger_mailing SET started_at = %s, ended_at = %s WHERE id = %s"
                " AND coalesce(started_at, -1) = %s AND coalesce(ended_at, -1) = %s",
                [*counted, mailing, *(-1 if at is None else at for at in stored)],
            )


def _compared(counted: Counter[_Place], stored: Counter[_Place]) -> Iterator[Difference]:
    for place in sorted(counted.keys() | stored.keys()):
        if counted[place] != stored[place]:
            yield Difference(f"tally {place}", str(stored[place]), str(counted[place]))


_Place = TypeVar("_Place", tuple[int, str], tuple[int, str, str])
_Tallies = tuple[Counter[tuple[int, str]], Counter[tuple[int, str, str]]]
_COUNTS: Final = ("opens", "clicks", "machine_opens", "unsubscribes", "complaints")
_COUNTED: Final = """
SELECT 'counted mailing', mailing_id, response, 0, '', count(*), sum(opens), sum(clicks),
    sum(machine_opens), count(unsubscribed_first), count(complained_first)
FROM ledger_delivery WHERE mailing_id IS NOT NULL GROUP BY mailing_id, response
UNION ALL
SELECT 'stored mailing', mailing_id, name, 0, '', count, 0, 0, 0, 0, 0 FROM ledger_mailingtally
UNION ALL
SELECT 'counted status', 0, status, coalesce(since, 0) / 86400000000, channel, count(*),
    0, 0, 0, 0, 0
FROM ledger_address WHERE policy <> 0 AND value <> ''
GROUP BY status, coalesce(since, 0) / 86400000000, channel
UNION ALL
SELECT 'stored status', 0, status, day, channel, count, 0, 0, 0, 0, 0 FROM ledger_statustally
"""
