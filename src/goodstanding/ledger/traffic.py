"""Traffic: how much was sent, delivered and came back hard, by provider or domain and hour.

For the incident guard. Recording notes it as news, in its own transaction: only added, so that
those who record at once never wait for each other. The guard looks, and then adds the news up.
It counts events, whatever is annulled.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec
from django.db import connection
from django.db.backends.utils import CursorWrapper

from goodstanding.core.categories import CATEGORIES
from goodstanding.core.events import KINDS, Event
from goodstanding.core.guard import HOUR, Counts, Place, Traffic
from goodstanding.core.memory import disposition_of
from goodstanding.ledger import bulk, models

_COLUMNS: Final = ("channel", "what", "name", "hour", "sent", "delivered", "failed")
_NEWS: Final = bulk.Table(models.TrafficNews, _COLUMNS)
_ADDED: Final = bulk.Table(models.Traffic, _COLUMNS)
_LONGEST: Final = 255  # characters of a name

MOST_NEWS: Final = 100_000
"""Rows looked at at once: an import without a worker leaves more."""

HARD: Final = ("bounced", "undelivered")
"""Kinds of failures that may count hard at the address."""

RECEIVED: Final = (
    *("delivered", "machine_opened", "machine_clicked", "opened", "clicked", "replied"),
    *("unsubscribed", "complained"),
)
"""What a delivery remembers that shows that the message arrived."""

_SENT, _DELIVERED, _FAILED, _OTHER = 0, 1, 2, 3
_COUNTED: Final = {
    **{name: _OTHER for name, kind in KINDS.items() if kind.slot in RECEIVED},
    "sent": _SENT,
    "delivered": _DELIVERED,
    **dict.fromkeys(HARD, _FAILED),
}
"""Whatever the guard looks at is news, also where it is not counted."""

_Key = tuple[str, str, str, int]


class News:
    """What a batch of events says, gathered."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str, str | None, int], list[int]] = {}

    def hear(self, event: Event) -> None:
        """Count an event that is new."""
        which = _COUNTED.get(event.kind)
        if which is None:
            return
        if which == _FAILED and disposition_of(event.detail) != "hard":
            which = _OTHER
        address = event.address
        key = (
            address.channel,
            address.value.rpartition("@")[2] if address.channel == "email" else "",
            provider_of(event) if "provider" in event.detail else None,
            event.occurred_at // HOUR,
        )
        counts = self._counts.get(key)
        if counts is None:
            counts = self._counts[key] = [0, 0, 0, 0]
        counts[which] += 1

    def write(self, cursor: CursorWrapper) -> None:
        """Keep it, until the guard has looked."""
        rows: dict[_Key, list[int]] = {}
        for (channel, domain, provider, hour), counts in self._counts.items():
            for what, name in _places(domain[:_LONGEST], provider):
                row = rows.setdefault((channel, what, name, hour), [0, 0, 0])
                for place in range(_OTHER):
                    row[place] += counts[place]
        _NEWS.insert(cursor, [(*key, *counts) for key, counts in rows.items()])


def domain_of(event: Event) -> str:
    """The recipient's domain; a number has none."""
    if event.address.channel != "email":
        return ""
    return event.address.value.rpartition("@")[2][:_LONGEST]


def provider_of(event: Event) -> str | None:
    """The provider that the event recorded."""
    said = event.detail.get("provider")
    if isinstance(said, str) and 0 < len(said) <= _LONGEST:
        return said.replace("\0", "?")
    return None


def _places(domain: str, provider: str | None) -> tuple[tuple[str, str], ...]:
    if provider is None or provider == domain:
        return (("own", domain), ("all", ""))
    return (("provider", provider), ("domain", domain))


class Seen(msgspec.Struct, frozen=True):
    """News that the guard has read: which, and of which hours."""

    ids: list[int]
    hours: list[int]


def news(cursor: CursorWrapper) -> Seen | None:
    """What was recorded since the guard looked last; None: nothing."""
    cursor.execute(f"SELECT id, hour FROM ledger_trafficnews ORDER BY id LIMIT {MOST_NEWS}")
    rows = cursor.fetchall()
    if not rows:
        return None
    return Seen([row[0] for row in rows], sorted({row[1] for row in rows}))


def add_up(cursor: CursorWrapper, seen: Seen) -> None:
    """Add news to the counts; what another guard has added already is left out."""
    cursor.execute(
        f"DELETE FROM ledger_trafficnews WHERE {bulk.among('id')} RETURNING {', '.join(_COLUMNS)}",
        [bulk.listed(seen.ids)],
    )
    counts: dict[_Key, list[int]] = {}
    for *key, sent, delivered, failed in cursor.fetchall():
        so_far = counts.setdefault((key[0], key[1], key[2], key[3]), [0, 0, 0])
        for place, count in enumerate((sent, delivered, failed)):
            so_far[place] += count
    _ADDED.insert(
        cursor,
        [(*key, *counted) for key, counted in sorted(counts.items()) if any(counted)],
        on_conflict="ON CONFLICT (channel, what, name, hour) DO UPDATE SET "
        + ", ".join(f"{name} = ledger_traffic.{name} + excluded.{name}" for name in _COLUMNS[4:]),
    )


def failing(cursor: CursorWrapper, first: int, last: int) -> dict[Place, dict[int, int]]:
    """By place and hour how much came back hard in those hours."""
    cursor.execute(
        "SELECT channel, what, name, hour, sum(failed) FROM ("
        + " UNION ALL ".join(
            f"SELECT channel, what, name, hour, failed FROM {table}"
            " WHERE failed > 0 AND hour BETWEEN %s AND %s AND what <> 'all'"
            for table in ("ledger_traffic", "ledger_trafficnews")
        )
        + ") AS t GROUP BY channel, what, name, hour",
        [first, last, first, last],
    )
    found: dict[Place, dict[int, int]] = {}
    for channel, what, name, hour, count in cursor.fetchall():
        for kind in ("provider", "domain") if what == "own" else (what,):
            hours = found.setdefault(Place(channel, kind, name), {})
            hours[hour] = hours.get(hour, 0) + int(count)
    return found


def of(cursor: CursorWrapper, place: Place, first: int, last: int) -> Traffic:
    """What happened at a place in those hours."""
    own = _by_hour(cursor, place.channel, "own", place.name, first, last)
    more = _by_hour(cursor, place.channel, place.what, place.name, first, last)
    together = {hour: _sum(own.get(hour), more.get(hour)) for hour in own.keys() | more.keys()}
    if place.what == "domain" or any(counts.tried for counts in more.values()):
        return Traffic(together)
    return Traffic(together, _by_hour(cursor, place.channel, "all", "", first, last))


def _by_hour(
    cursor: CursorWrapper, channel: str, what: str, name: str, first: int, last: int
) -> dict[int, Counts]:
    cursor.execute(
        "SELECT hour, sum(sent), sum(delivered), sum(failed) FROM ("
        + " UNION ALL ".join(
            f"SELECT hour, sent, delivered, failed FROM {table} WHERE channel = %s AND what = %s"
            " AND name = %s AND hour BETWEEN %s AND %s"
            for table in ("ledger_traffic", "ledger_trafficnews")
        )
        + ") AS t GROUP BY hour",
        [channel, what, name, first, last] * 2,
    )
    return {row[0]: Counts(*map(int, row[1:])) for row in cursor.fetchall()}


def _sum(one: Counts | None, other: Counts | None) -> Counts:
    found = [each for each in (one, other) if each is not None]
    return Counts(
        sum(each.sent for each in found),
        sum(each.delivered for each in found),
        sum(each.failed for each in found),
    )


def differences(cursor: CursorWrapper, *, repair: bool) -> Sequence[tuple[Any, ...]]:
    """Where the counts are not what the events say: place, hour, and how much is missing.

    One statement, so as to see one moment of a ledger at work; with ``repair`` what is missing is
    noted as news.
    """
    cursor.execute(_missing())
    rows = [tuple(row[:4]) + tuple(map(int, row[4:])) for row in cursor.fetchall()]
    if repair:
        _NEWS.insert(cursor, rows)
    return rows


def _missing() -> str:
    counts = "sent, delivered, failed"
    minus = ", ".join(f"-{name}" for name in counts.split(", "))
    stored = " UNION ALL ".join(
        f"SELECT channel, what, name, hour, {minus} FROM {table}"
        for table in ("ledger_traffic", "ledger_trafficnews")
    )
    # An event counts twice: at its domain, and at its provider or with all that have none.
    places = (
        ("'domain'", "domain", "NOT is_own"),
        ("'provider'", "provider", "NOT is_own"),
        ("'own'", "domain", "is_own"),
        ("'all'", "''", "is_own"),
    )
    counted = " UNION ALL ".join(
        f"SELECT channel, {what}, {name}, hour, {counts} FROM counted WHERE {where}"
        for what, name, where in places
    )
    return (
        f"WITH counted AS ({_counted()})"
        f" SELECT channel, what, name, hour, sum(sent), sum(delivered), sum(failed) FROM ("
        f"SELECT '' AS channel, '' AS what, '' AS name, 0 AS hour, 0 AS sent, 0 AS delivered,"
        f" 0 AS failed UNION ALL {counted} UNION ALL {stored}) AS t"
        " GROUP BY channel, what, name, hour"
        " HAVING sum(sent) <> 0 OR sum(delivered) <> 0 OR sum(failed) <> 0"
    )


def _counted() -> str:
    """SQL for the events that count, as Python reads them."""
    detail = "e.detail"
    if connection.vendor == "postgresql":
        # PostgreSQL has no text with a NUL in it, and would say so.
        tame = r"regexp_replace(e.detail, '(?<!\\)((?:\\\\)*)\\u0000', '\1?', 'g')"
        detail = f"(CASE WHEN position('\\u0000' IN e.detail) > 0 THEN {tame} ELSE e.detail END)"

    def said(name: str) -> str:
        if connection.vendor == "sqlite":
            return f"json_extract({detail}, '$.{name}')"
        return f"({detail}::json ->> '{name}')"

    def is_text(name: str) -> str:
        if connection.vendor == "sqlite":
            return f"json_type({detail}, '$.{name}') = 'text'"
        return f"json_typeof({detail}::json -> '{name}') = 'string'"

    blameless = _quoted(n for n, each in CATEGORIES.items() if each.fault in ("sender", "content"))
    hard = _quoted(n for n, each in CATEGORIES.items() if each.disposition == "hard")
    category = f"CASE WHEN {is_text('category')} THEN {said('category')} ELSE '' END"
    disposition = f"CASE WHEN {is_text('disposition')} THEN {said('disposition')} ELSE '' END"
    is_hard = (
        f"CASE WHEN ({disposition}) = 'hard' THEN ({category}) NOT IN ({blameless})"
        f" WHEN ({disposition}) IN ('soft', 'block', 'none') THEN {_no()}"
        f" ELSE ({category}) IN ({hard}) END"
    )
    domain = "CASE WHEN a.channel = 'email' THEN a.domain ELSE '' END"
    provider = (
        f"CASE WHEN {is_text('provider')} AND length({said('provider')}) BETWEEN 1 AND {_LONGEST}"
        f" THEN {said('provider')} ELSE {domain} END"
    )
    return (
        f"SELECT channel, domain, provider, provider = domain AS is_own, hour,"
        " CASE WHEN kind = 'sent' THEN 1 ELSE 0 END AS sent,"
        " CASE WHEN kind = 'delivered' THEN 1 ELSE 0 END AS delivered,"
        f" CASE WHEN kind IN ({_quoted(HARD)}) AND is_hard THEN 1 ELSE 0 END AS failed"
        f" FROM (SELECT a.channel, {domain} AS domain, {provider} AS provider, e.kind,"
        f" e.occurred_at / {HOUR} AS hour, {is_hard} AS is_hard"
        " FROM ledger_event e JOIN ledger_address a ON a.id = e.address_id"
        f" WHERE e.kind IN ({_quoted(('sent', 'delivered', *HARD))})) AS said"
    )


def _no() -> str:
    return "0" if connection.vendor == "sqlite" else "false"


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)
