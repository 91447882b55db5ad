"""Throttles: every limit of a lane towards a mailbox provider, its present value, and why."""

from __future__ import annotations

import msgspec
from django.db import connection

from goodstanding.answers.progress import Towards
from goodstanding.core.times import clock, in_words
from goodstanding.mailings import lanes, paces
from goodstanding.mailings.pacing import Pace, State


class Limit(msgspec.Struct, frozen=True, kw_only=True):
    """A lane's limits towards one provider, all workers together. Times in microseconds.

    ``connections`` and ``rate`` (mails a minute; None: no limit) are what holds now;
    ``most_connections`` and ``most_rate`` what is set. ``why`` it is slower, since ``slowed_at``;
    nothing goes before ``resting_until``.
    """

    lane: str
    provider: str
    level: float
    connections: int
    most_connections: int
    rate: float | None
    most_rate: float | None
    mails_per_connection: int
    slowed_at: int | None = None
    resting_until: int | None = None
    why: str = ""


class HeldLot(msgspec.Struct, frozen=True):
    """What the brake holds of a mailing at one provider, since when (µs) and why."""

    mailing: str
    lane: str
    provider: str
    since: int
    why: str


def limits(now: int, lane: str | None = None) -> list[Limit]:
    """The limits of every lane, or of one: as set, towards whom mail waits, and who is slowed."""
    known = lanes.every()
    rows: dict[tuple[str, str], State] = {}
    for name, each in known.items():
        for provider in (*sorted(each.limits), lanes.DEFAULT):
            rows[name, provider] = State()
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT DISTINCT l.lane, p.name FROM mailings_lot l"
            " JOIN mailings_provider p ON p.id = l.provider_id WHERE l.is_open ORDER BY 1, 2"
        )
        rows |= dict.fromkeys(cursor.fetchall(), State())
        states = paces.read(cursor)
        cursor.execute("SELECT id, name FROM mailings_provider")
        names = dict(cursor.fetchall())
    rows |= {(name, names[provider]): state for (name, provider), state in states.items()}
    return [
        _limit(name, provider, state, now)
        for (name, provider), state in sorted(rows.items(), key=_order)
        if name in known and lane in (None, name)
    ]


def _order(row: tuple[tuple[str, str], State]) -> tuple[str, bool, str]:
    (lane, provider), _ = row
    return lane, provider != lanes.DEFAULT, provider


def _limit(lane: str, provider: str, state: State, now: int) -> Limit:
    towards = lanes.every()[lane].towards(provider)
    pace = Pace(towards, state)
    slow = pace.state.level < 1.0
    resting = pace.state.not_before > now
    return Limit(
        lane=lane,
        provider=provider,
        level=pace.state.level,
        connections=0 if resting else pace.total_connections,
        most_connections=towards.connections,
        rate=pace.total_rate,
        most_rate=towards.rate,
        mails_per_connection=towards.mails_per_connection,
        slowed_at=pace.state.slowed_at if slow else None,
        resting_until=pace.state.not_before if resting else None,
        why=pace.state.why if slow or resting else "",
    )


def held() -> list[HeldLot]:
    """All that the brake holds, the newest first."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT m.name, l.lane, p.name, l.held_at, coalesce(l.held_why, '')"
            " FROM mailings_lot l JOIN ledger_mailing m ON m.id = l.mailing_id"
            " JOIN mailings_provider p ON p.id = l.provider_id"
            " WHERE l.is_open AND l.held_at IS NOT NULL ORDER BY l.held_at DESC, l.id"
        )
        return [HeldLot(*row) for row in cursor.fetchall()]


def in_a_phrase(towards: Towards, now: int) -> str:
    """How a mailing goes to one provider: ``slowed to 25 % since 12:03 UTC because …``."""
    if towards.held_since is not None:
        return f"held by the brake since {_when(towards.held_since, now)}: {towards.held_why}"
    because = f" because of: {towards.why}" if towards.why else ""
    if towards.not_before > now:
        return f"resting until {_when(towards.not_before, now)}{because}"
    if towards.level < 1.0:
        return f"slowed to {share(towards.level)} since {_when(towards.slowed_at, now)}{because}"
    return "at full speed"


def share(level: float) -> str:
    """A level in percent: ``25 %``."""
    return f"{round(100 * level):d} %"


def _when(at: int, now: int) -> str:
    """The time of the day alone where it is not long ago, or soon."""
    return clock(at) if abs(at - now) < 43_200_000_000 else in_words(at)
