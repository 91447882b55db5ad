"""Pacing: how fast a lane goes to a mailbox provider, and when it slows and recovers.

No clock and no database: the time, in microseconds since 1970, is passed in. What one worker finds
out is a :class:`State`; exchanged in any order and any number of times, all workers come to the
same one. Their clocks are taken to agree to within a second or so.
"""

from __future__ import annotations

import math
from collections import deque
from typing import Annotated, Final

import msgspec

from goodstanding.core.categories import CATEGORIES
from goodstanding.gateways.base import Outcome

MINUTE: Final = 60_000_000
MOST_WHY: Final = 300
"""Characters of a reason."""
FEWEST_TO_MEASURE: Final = 10
"""Answers within a minute by which to tell how fast it goes."""

_ABOUT_OTHERS: Final = frozenset({"address", "domain"})
"""Whose fault says nothing of how fast we may go."""
_NOT_OURS: Final = frozenset({"greylisted"})
"""Deferrals that every first try may get, however slowly it comes."""
_OF_THE_CONNECTION: Final = frozenset({"network_error"})
"""What 421 says too where a connection was idle for too long."""

Count = Annotated[int, msgspec.Meta(ge=1, le=100_000)]
Part = Annotated[float, msgspec.Meta(ge=0.001, le=1)]
Seconds = Annotated[float, msgspec.Meta(gt=0, le=86_400)]
MailsAMinute = Annotated[float, msgspec.Meta(ge=0.01, le=6_000_000)]


class Limits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a lane may treat a provider at best, all workers together, and how it adapts.

    Raises:
        ValueError: two settings contradict each other.
    """

    connections: Count = 10
    """Open at once."""
    mails_per_connection: Count = 100
    rate: MailsAMinute | None = None
    """None: as fast as it takes them."""
    burst: Annotated[float, msgspec.Meta(ge=0, le=60)] = 1.0
    """Seconds of the rate that may go at once after a lull."""
    slowest: MailsAMinute = 60.0
    """However slow, so much still goes (except while it rests)."""

    adapts: bool = True
    """False: the limits above are all there is."""
    at_once: bool = True
    """One reply is enough to slow. False where many small providers share a pace: what one of
    them says is not true of the others, and only many deferrals slow."""
    slowed_to: Annotated[float, msgspec.Meta(gt=0, lt=1)] = 0.5
    """What is left of the level after slowing."""
    lowest: Part = 0.05
    """The level that slowing never goes below."""
    rest: Seconds = 5.0
    """Seconds in which nothing goes after slowing, at full level; at a tenth of it ten times as
    long. What is heard meanwhile is about mails already under way: it does not slow again."""
    longest_rest: Seconds = 3600.0
    """Seconds that a provider may ask us to wait at most."""
    step: Part = 0.1
    """What the level recovers by at a time."""
    step_every: Seconds = 60.0
    """Seconds between two steps; each needs an accepted mail after them."""
    deferrals_of: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 50
    """Deferrals are counted among so many last answers."""
    deferrals: Count = 10
    """Fewer deferrals among them slow nothing."""
    deferrals_share: Part = 0.3
    """Nor does a smaller share of them."""
    unsent_in_a_row: Count = 5
    """So many failures to hand over at all, one after the other, bring a rest."""

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if isinstance(value, float) and not math.isfinite(value):
                raise ValueError(f"{name} is not a number")
        if self.deferrals > self.deferrals_of:
            raise ValueError(
                f"deferrals ({self.deferrals}) of the last deferrals_of ({self.deferrals_of})"
                " can never be: lower the one or raise the other"
            )


class State(msgspec.Struct, frozen=True, gc=False):
    """What is known of one pace. Times in microseconds; what never happened is 0."""

    level: float = 1.0
    """Part of the limits that is made use of."""
    changed_at: int = 0
    """When anything of this last changed."""
    slowed_at: int = 0
    """When it last fell."""
    not_before: int = 0
    """Nothing goes before."""
    why: str = ""
    """What it was last slowed or held up by; empty when all is well again."""


def joined(one: State, other: State) -> State:
    """What two workers know together: the later slowing, then the later change, holds.

    Commutative, associative and idempotent. A recovery never outdoes a slowing that it had not
    heard of.
    """
    return msgspec.structs.replace(
        max(one, other, key=_order), not_before=max(one.not_before, other.not_before)
    )


def _order(state: State) -> tuple[int, int, float, str]:
    return state.slowed_at, state.changed_at, -state.level, state.why


def asks_to_slow(code: int | None, category: str | None) -> bool:
    """Whether a reply tells us to go slower: 421 (RFC 5321 section 3.8), or its words do.

    ``category`` is how the reply reads (``goodstanding.core.categories``).
    """
    if category == "rate_limited":
        return True
    return code == 421 and category not in _OF_THE_CONNECTION and _about_us(category)


def _about_us(category: str | None) -> bool:
    known = CATEGORIES.get(category or "undetermined")
    return category not in _NOT_OURS and (known is None or known.fault not in _ABOUT_OTHERS)


class Pace:
    """One worker's pace on one lane to one provider. Not for several threads at once.

    ``index`` and ``workers``: this is worker number ``index`` (from 0) of so many that share the
    limits. Where there are fewer connections than workers the last ones have none: number them
    differently for each provider, so that it is not always the same that have none.
    """

    def __init__(
        self, limits: Limits, state: State | None = None, *, index: int = 0, workers: int = 1
    ) -> None:
        self.limits = limits
        self.state = state if state is not None and limits.adapts else State()
        self._full_speed: float | None = None
        self._next_due = 0
        self._answers: deque[tuple[int, bool]] = deque(maxlen=limits.deferrals_of)
        self._unsent = 0
        self.share(index, workers)

    def share(self, index: int, workers: int) -> None:
        """From now on this is worker ``index`` of ``workers``.

        Raises:
            ValueError: there is no such worker.
        """
        if not 0 <= index < workers:
            raise ValueError(f"no worker {index} among {workers}")
        self._index = index
        self._workers = workers

    def merge(self, other: State) -> bool:
        """Adopt what another worker found out; whether that changed anything here."""
        before = self.state
        if self.limits.adapts:
            self._become(joined(before, other))
        return self.state != before

    # What may go

    def allowed_connections(self, now: int) -> int:
        """How many connections this worker may have open; the workers' sum keeps the limit."""
        return 0 if now < self.state.not_before else self._connections()

    @property
    def rate(self) -> float | None:
        """Mails a minute that this worker may hand over now; None: as many as are taken."""
        total = self.total_rate
        return None if total is None else total * self._part()

    @property
    def total_rate(self) -> float | None:
        """Mails a minute that all workers together may hand over now; None: no limit."""
        limits, level = self.limits, self.state.level
        full = limits.rate
        if full is None:
            full = self._full_speed
            if full is None or level >= 1.0:
                return None
        return max(full * level, min(limits.slowest, full))

    @property
    def total_connections(self) -> int:
        """How many connections all workers together may have open now, when it does not rest."""
        # A hair more, so that ten times a tenth is one.
        return max(1, int(self.limits.connections * self.state.level + 1e-9))

    def room(self, now: int, most: int = 1) -> int:
        """How many mails, up to ``most``, may go at ``now``; takes none."""
        if now < self.state.not_before or not self._connections():
            return 0
        interval = self._interval()
        if interval is None:
            return most
        left = now + self._tolerance() - self._due(now, interval)
        return 0 if left < 0 else min(most, left // interval + 1)

    def take(self, now: int, most: int = 1) -> int:
        """Let up to ``most`` mails go at ``now``; how many may."""
        taken = self.room(now, most)
        if taken and (interval := self._interval()) is not None:
            self._next_due = self._due(now, interval) + taken * interval
        return taken

    def next_at(self, now: int) -> int | None:
        """When the next mail may go, ``now`` or later; None: not by this worker as things are."""
        if not self._connections():
            return None
        due = now
        if (interval := self._interval()) is not None:
            due = self._due(now, interval) - self._tolerance()
        return max(now, due, self.state.not_before)

    # What was heard

    def heard(
        self,
        outcome: Outcome,
        *,
        now: int,
        code: int | None = None,
        category: str | None = None,
        text: str = "",
        wait: float | None = None,
    ) -> bool:
        """Learn from an attempt; whether the state changed, so that others should know of it.

        ``code`` and ``text``: the reply; ``category``: how it reads; ``wait``: the seconds it
        asks us to wait. A wait in a reply that is about one recipient or one mail (greylisting)
        is that mail's own, and holds up nobody else.
        """
        if not self.limits.adapts or outcome in ("dropped", "lost"):
            return False
        before = self.state
        if outcome == "unsent":
            self._heard_nothing(now, text)
            return self.state != before
        self._unsent = 0
        refused = outcome in ("deferred", "refused")
        slow = refused and asks_to_slow(code, category)
        counts = slow or (outcome == "deferred" and _about_us(category))
        if now >= before.not_before:
            self._answers.append((now, counts))
        if slow and self.limits.at_once:
            self._slow(now, _cut(text or f"{code or ''} {category or ''}".strip()), wait)
        elif counts:
            self._count_deferrals(now, text)
        elif outcome == "accepted":
            self._recover(now)
        return self.state != before

    def _heard_nothing(self, now: int, text: str) -> None:
        """Not one got through: no word on how fast we may go, but no sense in trying them all."""
        self._unsent += 1
        if self._unsent >= self.limits.unsent_in_a_row and now >= self.state.not_before:
            rest = now + int(min(self.limits.rest, self.limits.longest_rest) * 1e6)
            state = self.state
            self._become(State(state.level, self._after(now), state.slowed_at, rest, _cut(text)))

    def _count_deferrals(self, now: int, text: str) -> None:
        limits = self.limits
        deferred = sum(counts for _, counts in self._answers)
        answered = len(self._answers)
        if deferred >= limits.deferrals and deferred >= limits.deferrals_share * answered:
            last = f", the last one: {text}" if text else ""
            self._slow(now, _cut(f"{deferred} of the last {answered} were deferred{last}"), None)

    def _slow(self, now: int, why: str, wait: float | None) -> None:
        limits, state = self.limits, self.state
        seconds = wait if wait is not None and wait > 0 else 0.0
        asked = now + int(min(seconds, limits.longest_rest) * 1e6)
        if now < state.not_before:
            self._become(msgspec.structs.replace(state, not_before=max(state.not_before, asked)))
            return
        level = min(state.level, max(limits.lowest, round(state.level * limits.slowed_to, 6)))
        rest = now + int(min(limits.rest / level, limits.longest_rest) * 1e6)
        at = self._after(now)
        self._become(State(level, at, at, max(rest, asked), why))

    def _recover(self, now: int) -> None:
        limits, state = self.limits, self.state
        if now < state.not_before:
            return
        if state.level < 1.0:
            if now - state.changed_at < limits.step_every * 1e6:
                return
        elif not state.why:
            return
        level = min(1.0, round(state.level + limits.step, 6))
        why = state.why if level < 1.0 else ""
        self._become(State(level, self._after(now), state.slowed_at, state.not_before, why))

    def _after(self, now: int) -> int:
        """A time later than all that is known, even where another worker's clock is ahead."""
        return max(now, self.state.changed_at + 1, self.state.slowed_at + 1)

    def _become(self, state: State) -> None:
        slowed = state.slowed_at != self.state.slowed_at
        if state.level >= 1.0:
            self._full_speed = None
        elif slowed and self._full_speed is None:
            self._full_speed = self._measured()
        if slowed:
            # They have had their effect.
            self._answers.clear()
        self.state = state

    def _measured(self) -> float | None:
        """Mails a minute that all workers would hand over at full level, by the last minute."""
        part, times = self._part(), [at for at, _ in self._answers]
        times = [at for at in times if 0 <= times[-1] - at <= MINUTE]
        if len(times) < FEWEST_TO_MEASURE or times[-1] <= times[0] or not part:
            return None
        return (len(times) - 1) * MINUTE / (times[-1] - times[0]) / part / self.state.level

    # This worker's part

    def _connections(self) -> int:
        total, workers = self.total_connections, self._workers
        return total // workers + (self._index < total % workers)

    def _part(self) -> float:
        return self._connections() / self.total_connections

    def _interval(self) -> int | None:
        """Microseconds between two mails of this worker; it has a connection."""
        rate = self.rate
        return None if rate is None else max(1, math.ceil(MINUTE / rate))

    def _tolerance(self) -> int:
        return int(self.limits.burst * 1e6)

    def _due(self, now: int, interval: int) -> int:
        """When the next mail would be due in an even flow.

        As far ahead as an even flow ever gets, and no further: after a rise of the rate, or a
        clock set back, nobody waits for what was due by the old one.
        """
        return max(now, min(self._next_due, now + self._tolerance() + interval))


def _cut(text: str) -> str:
    return text if len(text) <= MOST_WHY else text[: MOST_WHY - 1] + "…"
