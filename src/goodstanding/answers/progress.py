"""Progress: how far mailings are, what holds them up, and what is coming back of them.

What console, reports and `send` all ask. However large a mailing is, asking is cheap: tallies are
read, and rows of the outbox counted only up to ``COUNTED``.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final, Literal, get_args

import msgspec
from django.db import connection

from goodstanding.answers import counting
from goodstanding.core.policies import Policy
from goodstanding.intake import digest
from goodstanding.ledger import bulk
from goodstanding.ledger.models import Mailing
from goodstanding.ledger.policy import active_policy
from goodstanding.mailings.models import Course

State = Literal[
    "scheduled",
    "planning",
    "checking",
    "sending",
    "held",
    "paused",
    "open",
    "completed",
    "stopped",
    "expired",
]
"""Where a mailing is, in the words that are used everywhere.

==========  =====================================================================
scheduled   it starts later
planning    its recipients are being found
checking    every recipient's merge fields are being tried
sending     some of it has still to leave, and may
held        the brake holds all that has still to leave
paused      an operator paused it, or a recipient's mail could not be made
open        nothing waits; it is sent to one after the other, as they are asked for
completed   all that could leave has left
stopped     an operator stopped it
expired     its time was up before all had left
==========  =====================================================================
"""

STATES: Final[tuple[State, ...]] = get_args(State)

COUNTED: Final = 10_000
"""As many rows of the outbox are counted; of more the tallies say how many there are."""

MOST_TROUBLES: Final = 5

SKIPPED: Final = "skipped:"
"""Before a reason, in the name of a response."""

_GO_ON: Final = frozenset({"scheduled", "planning", "checking", "sending"})
_LEFT: Final = frozenset({"in_flight", "not_delivered", "delivered"})

_FIRST: Final = "SELECT {what} FROM mailings_outbox o WHERE o.lot_id = l.id AND o.worker_id IS NULL"
_LEFT_IN_LOT: Final = (
    f"{_FIRST} AND o.attempt = 0",
    f"{_FIRST} AND o.attempt > 0",
    "SELECT {what} FROM mailings_outbox o WHERE o.lot_id = l.id AND o.worker_id IS NOT NULL",
)
"""SQL for what is left in a lot ``l``: in three parts, each of which an index has."""

_NOT_EMPTY: Final = f"({' OR '.join(f'EXISTS ({part})' for part in _LEFT_IN_LOT)})".replace(
    "{what}", "1"
)
_HOW_MANY: Final = f"({' + '.join(f'({part})' for part in _LEFT_IN_LOT)})".replace(
    "{what}", "count(*)"
)


class Held(msgspec.Struct, frozen=True):
    """What the brake holds of a mailing: at which provider, by which lane, since when and why."""

    provider: str
    lane: str
    since: int
    why: str


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """How far a mailing is. Times in microseconds.

    ``scheduled``: all its recipients so far. ``left``: how many have still to leave, to the number
    up to ``COUNTED``. ``responses`` are of all but the skipped; ``counts`` opens, clicks and the
    like. ``ended_at``: when the last of it left, once nothing more is to come. ``since``, ``by``,
    ``why``: who paused or stopped it.
    """

    mailing: int
    name: str
    channel: str
    state: State
    starts_at: int | None = None
    expires_at: int | None = None
    started_at: int | None = None
    ended_at: int | None = None
    scheduled: int = 0
    skipped: dict[str, int] = {}
    left: int = 0
    responses: dict[str, int] = {}
    counts: dict[str, int] = {}
    since: int | None = None
    by: str | None = None
    why: str | None = None
    held: tuple[Held, ...] = ()

    @property
    def sent(self) -> int:
        """How many have left, or were handed over and refused."""
        left = that_left(active_policy())
        return sum(count for response, count in self.responses.items() if response in left)

    @property
    def goes_on(self) -> bool:
        """Whether more of it will leave by itself, now or later."""
        return self.state in _GO_ON

    @property
    def is_over(self) -> bool:
        """Whether nothing of it has still to leave."""
        return self.left == 0 and self.state in ("completed", "open", "stopped", "expired")

    @property
    def rests(self) -> bool:
        """Whether nothing more will happen to it, as things are, but what comes back."""
        return self.is_over or self.state in ("held", "paused")

    @property
    def is_settled(self) -> bool:
        """Whether nothing more is on its way either: nothing waits for a second try or an end."""
        return self.is_over and not self.responses.get("deferred")


class Towards(msgspec.Struct, frozen=True):
    """A mailing's part for one provider by one lane, and how fast that goes. Times in µs.

    ``level``: the share of its limits that the lane makes use of, slowed since ``slowed_at``
    because of ``why``; nothing goes before ``not_before``.
    """

    provider: str
    lane: str
    left: int
    planned: int
    held_since: int | None
    held_why: str | None
    level: float
    slowed_at: int
    not_before: int
    why: str


def of(mailing: int, now: int) -> Progress:
    """How far a mailing is. ``now`` in microseconds."""
    [progress] = of_all([mailing], now)
    return progress


def newest(now: int, most: int) -> list[Progress]:
    """The newest mailings, the newest first, but for one-offs. ``now`` in microseconds."""
    to_many = Mailing.objects.exclude(purpose="one_off").order_by("-pk")
    return of_all(list(to_many.values_list("pk", flat=True)[:most]), now)


def of_all(mailings: Collection[int], now: int) -> list[Progress]:
    """How far each of those mailings is, in their order; a handful of queries for any number."""
    tallies: dict[int, dict[str, int]] = {mailing: {} for mailing in mailings}
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT mailing_id, name, count FROM ledger_mailingtally WHERE count > 0"
            f" AND {bulk.among('mailing_id')} ORDER BY count DESC, name",
            [bulk.listed(mailings)],
        )
        for mailing, name, count in cursor.fetchall():
            tallies[mailing][name] = count
        for mailing, late in counting.late(mailings, active_policy()).items():
            for name, count in late.items():
                tallies[mailing][name] = tallies[mailing].get(name, 0) - count
        # After the tallies: what is counted among both is then taken to be left.
        facts = {each.mailing: each for each in _facts(cursor, mailings)}
        held = _held(cursor, [each.mailing for each in facts.values() if each.is_held])
    return [
        _progress(facts[each], tallies[each], held.get(each, ()), now)
        for each in mailings
        if each in facts
    ]


def that_left(policy: Policy) -> frozenset[str]:
    """The responses of messages that left, or were handed over and refused."""
    return frozenset(rule.name for rule in policy.responses if rule.group in _LEFT)


class _Facts(msgspec.Struct, frozen=True):
    mailing: int
    name: str
    channel: str
    purpose: str
    started_at: int | None
    ended_at: int | None
    course: str | None
    since: int | None
    by: str | None
    why: str | None
    starts_at: int | None
    expires_at: int | None
    one_by_one: bool | None
    planned_to: int | None
    plan_until: int | None
    is_checked: bool | None
    counted: int
    may_go: bool
    is_held: bool


def _facts(cursor: Any, mailings: Collection[int]) -> list[_Facts]:
    in_lots = "EXISTS (SELECT 1 FROM mailings_lot l WHERE l.mailing_id = m.id AND l.is_open"
    cursor.execute(
        "SELECT m.id, m.name, m.channel, m.purpose, m.started_at, m.ended_at, c.course,"
        " c.course_since, c.course_by, c.course_why, c.starts_at, c.expires_at, c.one_by_one,"
        " c.planned_to, c.plan_until, c.is_checked, (SELECT count(*) FROM (SELECT 1"
        f" FROM mailings_outbox o WHERE o.mailing_id = m.id LIMIT {COUNTED + 1}) AS counted),"
        f" {in_lots} AND l.held_at IS NULL AND {_NOT_EMPTY}),"
        f" {in_lots} AND l.held_at IS NOT NULL)"
        " FROM ledger_mailing m LEFT JOIN mailings_content c ON c.mailing_id = m.id"
        f" WHERE {bulk.among('m.id')}",
        [bulk.listed(mailings)],
    )
    return [_Facts(*row) for row in cursor.fetchall()]


def _held(cursor: Any, mailings: Collection[int]) -> dict[int, tuple[Held, ...]]:
    """What the brake holds of those mailings."""
    if not mailings:
        return {}
    cursor.execute(
        "SELECT l.mailing_id, p.name, l.lane, l.held_at, l.held_why FROM mailings_lot l"
        " JOIN mailings_provider p ON p.id = l.provider_id WHERE l.held_at IS NOT NULL"
        f" AND {bulk.among('l.mailing_id')} AND {_NOT_EMPTY}"
        " ORDER BY l.mailing_id, l.held_at, l.id",
        [bulk.listed(mailings)],
    )
    found: dict[int, tuple[Held, ...]] = {}
    for mailing, provider, lane, since, why in cursor.fetchall():
        found[mailing] = (*found.get(mailing, ()), Held(provider, lane, since, why or ""))
    return found


def _progress(facts: _Facts, tally: dict[str, int], held: tuple[Held, ...], now: int) -> Progress:
    responses = {
        name: count
        for name, count in tally.items()
        if name not in counting.TALLIED and not name.startswith(SKIPPED)
    }
    skipped = {
        name.removeprefix(SKIPPED): count
        for name, count in tally.items()
        if name.startswith(SKIPPED)
    }
    left = facts.counted
    if left > COUNTED:
        left = max(left, responses.get("planned", 0) + responses.get("deferred", 0))
    state = _state(facts, left, expired=responses.get("stopped_expired", 0), now=now)
    over = state in ("completed", "stopped", "expired") and not left
    told = state in ("paused", "stopped")
    return Progress(
        mailing=facts.mailing,
        name=facts.name,
        channel=facts.channel,
        state=state,
        starts_at=facts.starts_at,
        expires_at=facts.expires_at,
        started_at=facts.started_at,
        ended_at=facts.ended_at if over else None,
        scheduled=sum(responses.values()) + sum(skipped.values()),
        skipped=skipped,
        left=left,
        responses=responses,
        counts=counting.shown(tally, active_policy()),
        since=facts.since if told else None,
        by=facts.by if told else None,
        why=facts.why if told else None,
        held=held if left else (),
    )


def _state(facts: _Facts, left: int, *, expired: int, now: int) -> State:
    if facts.course is None:
        # History that was imported: there is nothing of it that we would send.
        return "completed"
    one_by_one = bool(facts.one_by_one)
    planned = one_by_one or (
        facts.plan_until is not None and (facts.planned_to or 0) >= facts.plan_until
    )
    if facts.course == Course.STOPPED.value:
        return "stopped"
    is_open = one_by_one and facts.purpose != "one_off"
    to_come = bool(left) or not planned or is_open
    if facts.expires_at is not None and facts.expires_at <= now and (to_come or expired):
        return "expired"
    if facts.course == Course.PAUSED.value and to_come:
        return "paused"
    if facts.starts_at is not None and facts.starts_at > now and to_come:
        return "scheduled"
    if not planned:
        return "planning"
    if not facts.is_checked and left:
        return "checking"
    if not left:
        return "open" if is_open else "completed"
    return "sending" if facts.may_go else "held"


def left_in_lots(mailing: int) -> dict[int, int]:
    """How many have still to leave of each lot. Counts every row of them: ask now and then."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT l.id, {_HOW_MANY} FROM mailings_lot l WHERE l.mailing_id = %s AND l.is_open",
            [mailing],
        )
        return dict(cursor.fetchall())


def towards(mailing: int, left: Mapping[int, int] | None = None) -> list[Towards]:
    """What a mailing has still for each provider, the most first.

    ``left``: what ``left_in_lots`` has found of late, where that is not to be counted anew.
    """
    if left is None:
        left = left_in_lots(mailing)
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT l.id, p.name, l.lane, l.planned, l.held_at, l.held_why, coalesce(c.level, 1.0),"
            " coalesce(c.slowed_at, 0), coalesce(c.not_before, 0), coalesce(c.why, '')"
            " FROM mailings_lot l JOIN mailings_provider p ON p.id = l.provider_id"
            " LEFT JOIN mailings_pace c ON c.lane = l.lane AND c.provider_id = l.provider_id"
            " WHERE l.mailing_id = %s AND l.is_open",
            [mailing],
        )
        found = [
            Towards(name, lane, left[lot], *more)
            for lot, name, lane, *more in cursor.fetchall()
            if left.get(lot)
        ]
    return sorted(found, key=lambda each: (-each.left, each.provider, each.lane))


def troubles(mailing: int) -> dict[str, int]:
    """Why messages wait although they were tried, the commonest reasons first.

    Of the first ``COUNTED`` that were tried: who cannot reach a relay cannot reach it with any.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT trouble, count(*) FROM (SELECT o.trouble FROM mailings_lot l"
            " JOIN mailings_outbox o ON o.lot_id = l.id AND o.worker_id IS NULL AND o.attempt > 0"
            f" WHERE l.mailing_id = %s LIMIT {COUNTED}) AS tried WHERE trouble IS NOT NULL"
            f" GROUP BY trouble ORDER BY count(*) DESC, trouble LIMIT {MOST_TROUBLES}",
            [mailing],
        )
        return dict(cursor.fetchall())


def unheard() -> int:
    """How much was heard that has not been understood yet."""
    return digest.pending()
