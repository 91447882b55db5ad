"""The incident guard: whether hard bounces are a wave that looks like a provider's outage.

No clock, no database: failures and counts go in, waves come out. Source: design, section 9.

Of what came back hard at one provider, or one domain, only that is suspicious which was sent in an
hour of which too much failed: in a list in use two in a hundred do, in an outage most. Where enough
of that comes back within an hour, far above the usual, and from addresses that had been delivered
to, that is a wave. It goes on as long as the next such hour begins within an hour of it.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import accumulate
from typing import Final, Literal

import msgspec

from goodstanding.core.annulments import Predicate
from goodstanding.core.policies import Guard
from goodstanding.core.times import in_words, rfc3339

HOUR: Final = 3_600_000_000

SAME: Final = 0.95
"""The category (or rule) of so many of a wave's failures is the wave's; the others are strays."""

_WORDS: Final = 3  # that are told
_LONGEST: Final = 100  # characters of them
_ALMOST: Final = 1e-9  # what a share of a whole number may be off by


class Place(msgspec.Struct, frozen=True, order=True):
    """Whose mailboxes: a provider's, or those of a recipient domain."""

    channel: str
    what: Literal["provider", "domain"]
    name: str


class Failure(msgspec.Struct, frozen=True, gc=False):
    """One hard bounce: when it came back, and when the message was sent (microseconds).

    ``is_sent``: whether it is among what the counts say was sent.
    """

    at: int
    sent_at: int
    is_sent: bool
    address: int
    delivery: int | None
    channel: str
    provider: str
    domain: str
    category: str | None
    rule: str | None
    words: str

    def is_covered_by(self, predicate: Predicate) -> bool:
        """Whether the predicate is about it."""
        return (
            predicate.since <= self.at <= predicate.until
            and predicate.provider in (None, self.provider)
            and predicate.domain in (None, self.domain)
            and predicate.category in (None, self.category)
            and predicate.rule in (None, self.rule)
        )

    def place(self, what: Literal["provider", "domain"]) -> Place:
        """The one of its two places that is wanted."""
        return Place(self.channel, what, self.provider if what == "provider" else self.domain)


class Counts(msgspec.Struct):
    """What was heard in one hour, or of what was sent in it."""

    sent: int = 0
    delivered: int = 0
    failed: int = 0

    @property
    def tried(self) -> int:
        """What was sent, as far as known: some tell only what was delivered."""
        return self.sent or self.delivered


Span = tuple[int, int]
"""From when until when, both within, in microseconds."""


class Traffic(msgspec.Struct):
    """What happened at one place, by the hour (hours since 1970).

    ``elsewhere``: what was sent to whose provider nobody recorded; None where what is sent to that
    provider is. ``apart``: times of outages, which say nothing of what is usual.
    """

    hours: Mapping[int, Counts]
    elsewhere: Mapping[int, Counts] | None = None
    apart: Sequence[Span] = ()

    def usual(self, before: int, over: int, apart: Sequence[Span] = ()) -> float:
        """The median of failures in an hour, of the hours before in which anything was tried.

        ``apart``: further outages.
        """
        first = before - over // HOUR
        outages = [*self.apart, *apart]
        failures = [
            counts.failed
            for hour, counts in self.hours.items()
            if first <= hour < before
            and (counts.tried or counts.failed)
            and not any(
                since < (hour + 1) * HOUR and hour * HOUR <= until for since, until in outages
            )
        ]
        return statistics.median(failures) if failures else 0


class Saw(msgspec.Struct, frozen=True):
    """What the guard saw, at which place; times in RFC 3339.

    ``provider`` or ``domain``: what the predicate names. ``most_in_an_hour`` and
    ``usual_in_an_hour``: hard bounces. ``tried``: messages sent there in the same hours.
    ``delivered_to``: failures of addresses that had been, in the ``days`` before. ``words``: those
    that were said most often.
    """

    place: Place
    provider: str | None
    domain: str | None
    since: str
    last: str
    hard_bounces: int
    most_in_an_hour: int
    usual_in_an_hour: float
    tried: int
    delivered_to: int
    days: float
    words: dict[str, int]


class Wave(msgspec.Struct, frozen=True):
    """Failures that look like an outage: which, and what was seen of them."""

    place: Place
    predicate: Predicate
    saw: Saw

    def __str__(self) -> str:
        saw = self.saw
        said = ", ".join(f"“{words}” ({count:,})" for words, count in saw.words.items())
        return (
            f"{saw.hard_bounces:,} hard bounces at {saw.provider or saw.domain} since"
            f" {in_words(self.predicate.since)}, up to {saw.most_in_an_hour:,} in an hour where"
            f" {saw.usual_in_an_hour:,.10g} are usual, of {saw.tried:,} messages sent there in the"
            f" same hours; {saw.delivered_to:,} of them to addresses that had been delivered to in"
            f" the {saw.days:,.10g} days before{f'; said most often: {said}' if said else ''}"
        )


Delivered = Callable[[Sequence[Failure]], Sequence[bool]]
"""Tells of each failure whether its address had been delivered to."""


def waves(
    place: Place,
    failures: Iterable[Failure],
    traffic: Traffic,
    delivered: Delivered,
    guard: Guard,
) -> list[Wave]:
    """The waves among the hard bounces at one place, in order of time.

    ``delivered`` is asked only where all else speaks for a wave, since that costs more.
    """
    cohorts = _Cohorts(place, _distinct(failures), traffic)
    suspects = [each for each in cohorts.failures if cohorts.share(each) >= guard.share_failed]
    good: list[int] | None = None
    found: list[_Found] = []
    usual: dict[tuple[int, int], float] = {}
    end = 0
    for start, first in enumerate(suspects):
        before = end
        while end < len(suspects) and suspects[end].at <= first.at + HOUR:
            end += 1
        count = end - start
        if count < guard.at_least or end == before:
            continue  # too few, or a part of the hour before
        goes_on = bool(found) and first.at <= suspects[found[-1].end - 1].at + HOUR
        when = (len(found) - 1, found[-1].hour) if goes_on else (len(found), first.at // HOUR)
        if when not in usual:
            outages = [(suspects[each.start].at, suspects[each.end - 1].at) for each in found]
            usual[when] = traffic.usual(when[1], guard.usual_over, outages)
        if count < guard.times_usual * usual[when] - _ALMOST:
            continue
        if good is None:
            good = [0, *accumulate(map(int, delivered(suspects)))]
        if good[end] - good[start] < guard.share_delivered * count - _ALMOST:
            continue
        if goes_on:
            found[-1].end = end
            found[-1].most = max(found[-1].most, count)
        else:
            found.append(_Found(start, end, count, when[1], usual[when]))
    return [
        _wave(place, suspects[each.start : each.end], cohorts, each, good or (), guard)
        for each in found
    ]


class _Found(msgspec.Struct):
    """Where a wave begins and ends among the suspects, and the most of them in an hour.

    ``hour``: the one in which it begins, and what was ``usual`` before.
    """

    start: int
    end: int
    most: int
    hour: int
    usual: float


class _Cohorts:
    """Failures by the hour in which they were sent, beside what was sent there in it."""

    def __init__(self, place: Place, failures: list[Failure], traffic: Traffic) -> None:
        self.failures = failures
        self._failed = Counter(each.sent_at // HOUR for each in failures)
        unsent = Counter(each.sent_at // HOUR for each in failures if not each.is_sent)
        # Who takes the mail of these domains was read off the failures alone: of what was sent to
        # such domains without one, nobody knows, and any of it may have gone there.
        guessed = {each.sent_at // HOUR for each in failures if each.domain != place.name}
        nothing = Counts()
        self._tried = {}
        for hour in self._failed:
            tried = traffic.hours.get(hour, nothing).tried
            if traffic.elsewhere is not None and hour in guessed:
                tried = max(tried, traffic.elsewhere.get(hour, nothing).tried)
            self._tried[hour] = max(tried + unsent[hour], self._failed[hour])

    def share(self, failure: Failure) -> float:
        """How much failed of what was sent there in the same hour."""
        hour = failure.sent_at // HOUR
        return self._failed[hour] / self._tried[hour]

    def tried(self, failures: Iterable[Failure]) -> int:
        """How much was sent there in the hours in which these were."""
        return sum(self._tried[hour] for hour in {each.sent_at // HOUR for each in failures})


def _distinct(failures: Iterable[Failure]) -> list[Failure]:
    """In order of time, each address once an hour: one that is written to often is no wave."""
    last: dict[int, int] = {}
    distinct = []
    for each in sorted(failures, key=lambda each: (each.at, each.address, each.delivery or 0)):
        if each.at > last.get(each.address, -HOUR) + HOUR or each.address not in last:
            last[each.address] = each.at
            distinct.append(each)
    return distinct


def _wave(
    place: Place,
    failures: Sequence[Failure],
    cohorts: _Cohorts,
    found: _Found,
    good: Sequence[int],
    guard: Guard,
) -> Wave:
    domains = {each.domain for each in failures}
    narrow = place.what == "domain" or (len(domains) == 1 and place.name not in domains)
    provider = None if narrow else place.name
    domain = next(iter(domains)) if narrow else None
    category = _one(each.category for each in failures)
    last = failures[-1].at
    words = Counter(each.words[:_LONGEST] for each in failures if each.words)
    return Wave(
        place,
        Predicate(
            since=failures[0].at,
            # In whole hours, so that a wave that goes on does not move it all the time.
            until=(last // HOUR + 2) * HOUR - 1,
            provider=provider,
            domain=domain,
            category=category,
            rule=_one(each.rule for each in failures) if category is not None else None,
        ),
        Saw(
            place=place,
            provider=provider,
            domain=domain,
            since=rfc3339(failures[0].at),
            last=rfc3339(last),
            hard_bounces=len(failures),
            most_in_an_hour=found.most,
            usual_in_an_hour=found.usual,
            tried=cohorts.tried(failures),
            delivered_to=good[found.end] - good[found.start],
            days=guard.delivered_within / (24 * HOUR),
            words=dict(sorted(words.items(), key=lambda said: (-said[1], said[0]))[:_WORDS]),
        ),
    )


def _one(names: Iterable[str | None]) -> str | None:
    """The one name that nearly all of them have."""
    counted = Counter(names)
    name, count = min(counted.items(), key=lambda each: (-each[1], each[0] or ""))
    return name if count >= SAME * counted.total() else None
