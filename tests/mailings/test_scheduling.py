"""Scheduling: who goes first, who takes turns, and what waits for its provider."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import msgspec
import pytest

from goodstanding.mailings.outbox import OpenLot, Share
from goodstanding.mailings.pacing import Limits, Pace, State
from goodstanding.mailings.scheduling import AHEAD, Schedule

NOW = 1_790_000_000_000_000
SECOND = 1_000_000


class Job(msgspec.Struct, frozen=True):
    lot: OpenLot
    number: int


def lot(
    number: int,
    *,
    mailing: int = 1,
    provider: int = 1,
    priority: int = 3,
    lane: str = "main",
) -> OpenLot:
    return OpenLot(
        id=number,
        mailing=mailing,
        lane=lane,
        provider=provider,
        provider_name=f"provider{provider}.example",
        priority=priority,
        released_at=None,
        is_one_by_one=False,
        first=True,
        again=False,
    )


def schedule(width: int = 10, **limits: Limits) -> Schedule[Job]:
    def pace(of: OpenLot) -> Pace:
        return Pace(limits.get(f"p{of.provider}", Limits(connections=width)))

    return Schedule({"main": width, "other": width}, pace)


def claim(of: Schedule[Job], lots: Sequence[OpenLot], stock: dict[int, int] | None = None) -> None:
    """Claim from those lots; ``stock``: how much there is in each (without end where left out)."""
    of.see(lots)
    shares = of.shares(NOW)
    jobs = []
    for share in shares:
        many = min(share.most, (stock or {}).get(share.lot.id, share.most))
        if stock is not None and share.lot.id in stock:
            stock[share.lot.id] -= many
        jobs += [Job(share.lot, number) for number in range(many)]
    of.claimed(shares, jobs)


def begun(of: Schedule[Job], now: int = NOW) -> list[Job]:
    jobs = []
    while (job := of.next(now)) is not None:
        jobs.append(job)
    return jobs


def test_no_more_are_under_way_than_the_lane_has_room_for() -> None:
    mine = schedule(10)
    claim(mine, [lot(1)])
    first = begun(mine)
    assert len(first) == 9, "one in ten is kept free for mail that somebody waits for"
    mine.done(first[0])
    assert len(begun(mine)) == 1


def test_a_lane_that_is_full_asks_no_provider_in_vain(monkeypatch: pytest.MonkeyPatch) -> None:
    mine = schedule(10)
    claim(mine, [lot(number, provider=number) for number in range(1, 6)])
    begun(mine)
    asked: list[Pace] = []
    monkeypatch.setattr(Pace, "allowed_connections", lambda pace, _: asked.append(pace) or 1)
    monkeypatch.setattr(Pace, "next_at", lambda pace, _: asked.append(pace) or NOW + SECOND)
    assert mine.next(NOW) is None
    assert mine.next_at(NOW) is None
    assert not asked, "with hundreds of providers that took more than the sending"


def test_what_somebody_waits_for_goes_first_and_always_finds_room() -> None:
    mine = schedule(10)
    receipt = lot(2, mailing=2, priority=0)
    claim(mine, [lot(1)])
    assert len(begun(mine)) == 9
    claim(mine, [lot(1), receipt], {2: 3})
    [job] = begun(mine)
    assert job.lot.id == 2
    mine.done(job)
    assert [job.lot.id for job in begun(mine)] == [2]


def test_a_provider_whose_queue_is_full_of_a_broadcast_still_takes_a_receipt() -> None:
    mine = schedule(10)
    claim(mine, [lot(1)])
    for _ in range(5):
        claim(mine, [lot(1)])
    mine.see([lot(1), lot(2, mailing=2, priority=0)])
    assert [share.lot.id for share in mine.shares(NOW)] == [2]


def test_mailings_that_run_at_once_take_turns() -> None:
    mine = schedule(400, p1=Limits(connections=400))
    sent: Counter[int] = Counter()
    lots = [lot(1, mailing=1), lot(2, mailing=2)]
    for _ in range(40):
        claim(mine, lots)
        for job in begun(mine):
            sent[job.lot.mailing] += 1
            mine.done(job)
    assert sum(sent.values()) > 1_000
    assert 0.8 < sent[1] / sent[2] < 1.25, sent


def test_one_that_comes_later_does_not_take_all_until_it_has_caught_up() -> None:
    mine = schedule(400, p1=Limits(connections=400))
    for _ in range(20):
        claim(mine, [lot(1)])
        for job in begun(mine):
            mine.done(job)
    sent: Counter[int] = Counter()
    for _ in range(20):
        claim(mine, [lot(1), lot(2, mailing=2)])
        for job in begun(mine):
            sent[job.lot.mailing] += 1
            mine.done(job)
    assert 0.7 < sent[1] / sent[2] < 1.4, sent


def test_the_providers_of_a_mailing_take_turns() -> None:
    mine = schedule(10)
    lots = [lot(1, provider=1), lot(2, provider=2)]
    sent: Counter[int] = Counter()
    for _ in range(50):
        claim(mine, lots)
        for job in begun(mine)[:10]:
            sent[job.lot.provider] += 1
            mine.done(job)
    assert 0.7 < sent[1] / sent[2] < 1.4, sent


def test_what_goes_fast_is_claimed_far_ahead_and_never_a_few_at_a_time() -> None:
    mine = schedule(10)
    fast, now = [lot(1)], NOW
    claimed = []
    for _ in range(1_000):  # a mail each millisecond
        now += 1_000
        mine.see(fast)
        if shares := mine.shares(now):
            claimed.append(sum(share.most for share in shares))
            mine.claimed(shares, [Job(s.lot, n) for s in shares for n in range(s.most)])
        if (job := mine.next(now)) is not None:
            mine.done(job)
    assert min(claimed) >= AHEAD // 2
    assert max(claimed) >= 5 * AHEAD
    assert len(claimed) < 20

    # Slow by now: no more is kept from others than what it needs.
    for _ in range(10):
        now += SECOND
        mine.shares(now)
    while mine.queued > AHEAD // 2 and (job := mine.next(now)) is not None:
        mine.done(job)
    now += 60 * SECOND
    assert sum(share.most for share in mine.shares(now)) <= AHEAD


def test_a_tarpit_holds_up_nobody_else() -> None:
    mine = schedule(10, p1=Limits(connections=4))
    swamp, brook = lot(1, provider=1), lot(2, provider=2)
    claim(mine, [swamp, brook])
    first = begun(mine)
    assert sum(job.lot.provider == 1 for job in first) == 4
    for job in first:
        if job.lot.provider == 2:
            mine.done(job)
    for _ in range(30):
        claim(mine, [swamp, brook])
        moving = [job for job in begun(mine) if job.lot.provider == 2]
        for job in moving:
            mine.done(job)
    assert moving
    assert mine.queued < 10 * AHEAD, "what waits for the tarpit does not pile up"


def test_a_provider_that_rests_is_not_claimed_for() -> None:
    mine = schedule(10)
    claim(mine, [lot(1)])
    mine.pace_of(lot(1)).merge(State(0.5, NOW, NOW, NOW + 60 * SECOND, "421 too fast"))
    assert begun(mine) == []
    assert mine.next_at(NOW) == NOW + 60 * SECOND
    mine.see([lot(1)])
    assert mine.shares(NOW) == []
    assert begun(mine, NOW + 60 * SECOND)


def test_a_rate_is_kept() -> None:
    mine = schedule(10, p1=Limits(connections=10, rate=600, burst=0))
    claim(mine, [lot(1)])
    sent = []
    for tick in range(0, 2 * SECOND, 10_000):
        for job in begun(mine, NOW + tick):
            sent.append(tick)
            mine.done(job)
    assert 19 <= len(sent) <= 21, "ten a second"


def test_an_empty_lot_is_not_asked_again_until_it_is_seen_again() -> None:
    mine = schedule(10)
    claim(mine, [lot(1), lot(2, provider=2)], {1: 3, 2: 0})
    assert mine.queued == 3
    assert mine.shares(NOW) == []
    assert mine.is_dry


def test_what_is_taken_out_does_not_go() -> None:
    mine = schedule(10)
    claim(mine, [lot(1), lot(2, provider=2)])
    gone = mine.drop(lambda job: job.lot.id == 1)
    assert {job.lot.id for job in gone} == {1}
    assert {job.lot.id for job in begun(mine)} == {2}
    rest = mine.drop()
    assert mine.queued == 0
    assert rest
    assert begun(mine) == []


@pytest.mark.parametrize("lane", ["main", "other"])
def test_lanes_have_room_of_their_own(lane: str) -> None:
    mine = schedule(10)
    claim(mine, [lot(1), lot(2, lane="other", mailing=2)])
    assert sum(job.lot.lane == lane for job in begun(mine)) == 9


def test_nothing_is_asked_of_more_lots_than_there_is_room_for() -> None:
    mine = schedule(10)
    lots = [lot(number, provider=number) for number in range(500)]
    mine.see(lots)
    shares: list[Share] = mine.shares(NOW)
    assert sum(share.most for share in shares) == mine.room
