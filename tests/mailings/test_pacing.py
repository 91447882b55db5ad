"""Pacing: never beyond the limits, slower at the first word, back step by step."""

from __future__ import annotations

import itertools
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from goodstanding.bounces import read_reply
from goodstanding.gateways.base import Outcome
from goodstanding.mailings.pacing import (
    MINUTE,
    Limits,
    Pace,
    State,
    asks_to_slow,
    joined,
)

SECOND = 1_000_000
START = 1_700_000_000 * SECOND
SLOW = {"code": 421, "category": "rate_limited", "text": "421 4.7.28 Too many from 192.0.2.1"}


def slow(pace: Pace, now: int, **said: Any) -> bool:
    return pace.heard("deferred", now=now, **{**SLOW, **said})


def accepted(pace: Pace, now: int, mails: int = 1) -> None:
    for _ in range(mails):
        pace.heard("accepted", now=now, code=250)


# What slows


@pytest.mark.parametrize(
    ("reply", "slows"),
    [
        ("421 4.7.0 Try again later, closing connection.", True),
        ("421 Too many concurrent SMTP connections from this IP address", True),
        ("421 4.7.0 [TSS04] Messages from 192.0.2.1 temporarily deferred due to volume", True),
        ("421 4.3.2 Service shutting down", True),
        ("450 4.7.1 Rate limit exceeded, slow down", True),
        ("550 5.7.1 Daily sending limit exceeded", True),
        ("421 4.4.2 mx.example.com Error: timeout exceeded", False),
        ("421 4.7.1 Greylisted, try again in 300 seconds", False),
        ("421 4.2.2 Mailbox full", False),
        ("450 4.2.1 The user you are trying to contact is receiving mail too quickly", False),
        ("451 4.3.0 Temporary system problem", False),
        ("550 5.1.1 No such user", False),
    ],
)
def test_what_asks_to_slow(reply: str, *, slows: bool) -> None:
    report = read_reply(reply)
    code = int(reply[:3])
    assert asks_to_slow(code, report.category) is slows
    pace = Pace(Limits())
    outcome: Outcome = "deferred" if code < 500 else "refused"
    changed = pace.heard(outcome, now=START, code=code, category=report.category, text=reply)
    assert changed is slows
    assert pace.state.level == (0.5 if slows else 1.0)
    assert pace.state.why == (reply if slows else "")


def test_at_the_first_word_it_rests_then_goes_at_half_and_comes_back_step_by_step() -> None:
    pace = Pace(Limits(connections=10, rate=600.0))
    assert pace.allowed_connections(START) == 10
    assert slow(pace, START)
    assert (pace.allowed_connections(START), pace.take(START)) == (0, 0)
    rested = START + 10 * SECOND
    assert pace.next_at(START) == rested
    assert (pace.allowed_connections(rested), pace.rate) == (5, 300.0)
    accepted(pace, START + 59 * SECOND)
    assert pace.state.level == 0.5
    seen = []
    for minute in range(1, 7):
        accepted(pace, START + minute * MINUTE)
        accepted(pace, START + minute * MINUTE + SECOND, 50)
        seen.append(pace.allowed_connections(START + minute * MINUTE))
    assert seen == [6, 7, 8, 9, 10, 10]
    assert pace.state.why == ""


def test_what_was_under_way_does_not_slow_again_and_a_later_word_does() -> None:
    pace = Pace(Limits())
    for moment in range(10):
        slow(pace, START + moment * SECOND)
    assert pace.state.level == 0.5
    for moment in (10, 30, 70, 150, 250, 350):
        slow(pace, START + moment * SECOND)
    assert pace.state.level == 0.05
    assert pace.state.not_before == START + 450 * SECOND


def test_what_was_heard_while_resting_is_not_held_against_it_afterwards() -> None:
    pace = Pace(Limits())
    slow(pace, START)
    for moment in range(50):
        slow(pace, START + moment)
    after = START + 11 * SECOND
    for moment in range(9):
        pace.heard("deferred", now=after + moment, code=451, category="server_error")
    assert pace.state.level == 0.5


def test_deferrals_slow_once_not_with_each_further_one() -> None:
    pace = Pace(Limits(rest=0.001))
    for moment in range(19):
        pace.heard("deferred", now=START + moment * SECOND, code=451, category="server_error")
    assert pace.state.level == 0.5


def test_a_success_from_before_the_rest_is_not_a_step() -> None:
    pace = Pace(Limits(step_every=1.0))
    slow(pace, START, wait=60)
    accepted(pace, START + 5 * SECOND)
    assert pace.state.level == 0.5
    accepted(pace, START + 61 * SECOND)
    assert pace.state.level == 0.6


def test_a_success_when_all_is_well_is_no_news() -> None:
    pace = Pace(Limits())
    assert not pace.heard("accepted", now=START, code=250)
    assert pace.state == State()


def test_rising_deferrals_slow_and_say_so() -> None:
    pace = Pace(Limits())
    busy: dict[str, Any] = {"code": 451, "category": "server_error", "text": "451 4.3.0 Busy"}
    for at in range(60):
        accepted(pace, START + at, 4)
        pace.heard("deferred", now=START + at, **busy)
    assert pace.state.level == 1.0, "one in five is not a wave"
    for at in range(60, 70):
        pace.heard("deferred", now=START + at, **busy)
    assert pace.state.level == 0.5
    assert pace.state.why.endswith("of the last 50 were deferred, the last one: 451 4.3.0 Busy")


@pytest.mark.parametrize("category", ["greylisted", "mailbox_full", "recipient_rate_limited"])
def test_deferrals_that_say_nothing_of_us_slow_nothing(category: str) -> None:
    pace = Pace(Limits())
    for at in range(500):
        assert not pace.heard("deferred", now=START + at, code=451, category=category, wait=300)
    assert pace.take(START + 500)


def test_nothing_goes_before_the_time_it_asked_for() -> None:
    pace = Pace(Limits())
    slow(pace, START, wait=300)
    asked = START + 300 * SECOND
    assert pace.next_at(START) == asked
    assert not pace.take(asked - 1)
    assert pace.take(asked)
    slow(pace, asked, wait=10**12)
    assert pace.next_at(asked) == asked + 3600 * SECOND, "nobody may hold us up for ever"
    slow(pace, asked, wait=float("nan"))


def test_a_longer_wait_heard_while_resting_holds() -> None:
    pace = Pace(Limits())
    slow(pace, START)
    assert slow(pace, START + SECOND, wait=120)
    assert (pace.state.level, pace.state.not_before) == (0.5, START + 121 * SECOND)


def test_where_many_share_a_pace_one_word_does_not_slow_but_many_do() -> None:
    pace = Pace(Limits(at_once=False))
    assert not slow(pace, START, wait=300)
    assert pace.take(START)
    for at in range(9):
        slow(pace, START + at)
    assert pace.state.level == 0.5


def test_one_that_does_not_adapt_keeps_its_limits_whatever_it_hears() -> None:
    pace = Pace(Limits(adapts=False, connections=3), State(0.1, 5, 5, START * 2, "old"))
    assert not slow(pace, START, wait=300)
    assert not pace.merge(State(0.1, START, START, START * 2, "421"))
    assert pace.allowed_connections(START) == 3


def test_when_none_gets_through_at_all_it_tries_now_and_then() -> None:
    pace = Pace(Limits())
    gone = 0
    for at in range(600):
        now = START + at * SECOND // 10
        if pace.take(now):
            gone += 1
            pace.heard("unsent", now=now, text="no route to host")
    assert gone <= 5 + 60 / 5
    assert (pace.state.level, pace.state.why) == (1.0, "no route to host")
    accepted(pace, now + 10 * SECOND)
    assert (pace.state.level, pace.state.why) == (1.0, "")


def test_failures_to_connect_between_successes_hold_nobody_up() -> None:
    pace = Pace(Limits())
    for at in range(100):
        now = START + at * SECOND
        pace.heard("unsent" if at % 5 else "accepted", now=now, text="timed out")
    assert pace.take(now)
    assert pace.state == State()


def test_without_a_rate_even_one_connection_goes_slower() -> None:
    """A hundred a second before; afterwards half, as long as it is slowed."""
    pace = Pace(Limits(connections=1))
    for at in range(100):
        accepted(pace, START + at * 10_000)
    slow(pace, START + SECOND)
    assert pace.rate == pytest.approx(3_000, rel=0.05)
    for minute in range(1, 7):
        accepted(pace, START + SECOND + minute * MINUTE)
    assert pace.rate is None


def test_however_slow_it_goes_on() -> None:
    pace = Pace(Limits(rate=90.0))
    now = START
    for _ in range(20):
        slow(pace, now)
        now = pace.next_at(now) or 0
    assert (pace.state.level, pace.rate, pace.allowed_connections(now)) == (0.05, 60.0, 1)
    assert Pace(Limits(rate=2.0), State(0.05, 1, 1)).rate == 2.0


def test_a_rise_is_not_held_up_by_what_was_due_before() -> None:
    pace = Pace(Limits(rate=1.0, slowest=0.01), State(0.05, START, START))
    assert pace.take(START)
    pace.merge(State(1.0, START + 1, START + 1))
    assert pace.next_at(START) == START + 60 * SECOND


def test_settings_are_checked() -> None:
    for wrong, why in [
        ({"conections": 3}, "unknown field"),
        ({"connections": 0}, ">= 1"),
        ({"rate": float("nan")}, "rate"),
        ({"rate": 0}, ">= 0.01"),
        ({"slowed_to": 1}, "< 1"),
        ({"deferrals": 60}, "can never be"),
    ]:
        with pytest.raises(msgspec.ValidationError, match=why):
            msgspec.convert(wrong, Limits)
    assert msgspec.convert({"rate": "300"}, Limits, strict=False).rate == 300


def test_there_is_no_fifth_worker_of_four() -> None:
    for index, workers in ((4, 4), (-1, 2), (0, 0)):
        with pytest.raises(ValueError, match="no worker"):
            Pace(Limits(), index=index, workers=workers)


# Laws

limits = st.builds(
    Limits,
    connections=st.integers(1, 40),
    rate=st.none() | st.floats(0.01, 100_000),
    burst=st.floats(0, 10),
    slowest=st.floats(0.01, 1000),
    at_once=st.booleans(),
    slowed_to=st.floats(0.01, 0.99),
    lowest=st.floats(0.001, 1),
    rest=st.floats(0.01, 600),
    longest_rest=st.floats(0.01, 4000),
    step=st.floats(0.001, 1),
    step_every=st.floats(0.01, 600),
    deferrals_of=st.integers(20, 60),
    deferrals=st.integers(1, 20),
    deferrals_share=st.floats(0.001, 1),
    unsent_in_a_row=st.integers(1, 10),
)
replies = st.sampled_from(
    [
        {"outcome": "accepted"},
        {"outcome": "accepted"},
        {"outcome": "deferred", "code": 421},
        {"outcome": "deferred", "code": 421, "category": "rate_limited", "wait": 90.0},
        {"outcome": "deferred", "code": 451, "category": "server_error", "text": "451 busy"},
        {"outcome": "deferred", "code": 451, "category": "greylisted", "wait": 300.0},
        {"outcome": "refused", "code": 550, "category": "mailbox_unknown"},
        {"outcome": "unsent"},
        {"outcome": "lost"},
        {"outcome": "dropped"},
    ]
)
pauses = st.integers(0, 3 * SECOND) | st.integers(0, 3 * MINUTE)
stories = st.lists(st.tuples(replies, pauses), max_size=120)
states = st.builds(
    State,
    level=st.sampled_from([0.05, 0.25, 0.5, 1.0]),
    changed_at=st.integers(0, 5),
    slowed_at=st.integers(0, 5),
    not_before=st.integers(0, 5),
    why=st.sampled_from(["", "421", "450"]),
)


@given(limits, stories, st.integers(1, 8))
def test_never_beyond_the_limits(limits: Limits, story: Any, workers: int) -> None:
    paces = [Pace(limits, index=index, workers=workers) for index in range(workers)]
    now = START
    for reply, pause in story:
        for pace in paces:
            pace.heard(now=now, **reply)
            assert min(limits.lowest, 1.0) <= pace.state.level <= 1.0
            assert pace.state.not_before <= now + limits.longest_rest * 1e6
            asked = pace.next_at(now)
            room = pace.room(now, 3)
            assert 0 <= room <= 3
            assert (asked == now) is bool(room)
            if now < pace.state.not_before:
                assert not pace.allowed_connections(now)
                assert not room
        connections = sum(pace.allowed_connections(now) for pace in paces)
        assert connections <= limits.connections
        assert connections or now < paces[0].state.not_before, "somebody always goes on"
        if limits.rate is not None:
            assert sum(pace.rate or 0 for pace in paces) <= limits.rate * (1 + 1e-9)
        now += pause


@settings(max_examples=60)
@given(
    st.floats(1, 6000),
    st.floats(0, 5),
    st.integers(1, 4),
    st.lists(
        st.tuples(st.integers(0, 20 * SECOND), st.integers(1, 40), replies),
        min_size=20,
        max_size=80,
    ),
)
def test_the_rate_is_never_exceeded_over_any_minute(
    rate: float, burst: float, workers: int, story: Any
) -> None:
    settings_ = Limits(connections=8, rate=rate, burst=burst, slowest=1.0, step_every=5.0)
    paces = [Pace(settings_, index=index, workers=workers) for index in range(workers)]
    gone: list[tuple[int, int]] = []
    now = START
    for pause, most, reply in story:
        gone.extend((now, pace.take(now, most)) for pace in paces)
        for one, other in itertools.permutations(paces, 2):
            one.merge(other.state)
        paces[0].heard(now=now, **reply)
        for pace in paces:
            pace.merge(paces[0].state)
        now += pause
    bucket = workers + rate * burst / 60
    for first, _ in gone:
        minute = sum(mails for at, mails in gone if first <= at < first + MINUTE)
        assert minute <= rate + bucket + 1e-6


@given(st.floats(1, 6000), st.integers(1, 4))
def test_the_rate_is_reached(rate: float, workers: int) -> None:
    """What may go does go: ten minutes of asking as often as is worth it."""
    paces = [Pace(Limits(rate=rate), index=index, workers=workers) for index in range(workers)]
    gone = 0
    for pace in paces:
        now = START
        while (now := pace.next_at(now) or 0) < START + 10 * MINUTE:
            gone += pace.take(now, 1000)
            now += SECOND
    assert gone >= 10 * rate * 0.9 - workers


@given(limits, stories)
def test_comes_back_to_full_in_bounded_time(limits: Limits, story: Any) -> None:
    pace = Pace(limits)
    now = START
    for reply, pause in story:
        pace.heard(now=now, **reply)
        now += pause
    steps = int((1 - limits.lowest) / limits.step) + 2
    every = int(limits.step_every * 1e6) + 1
    now += int(limits.longest_rest * 1e6) + 1
    for _ in range(steps):
        now += every
        pace.heard("accepted", now=now)
    assert (pace.state.level, pace.state.why) == (1.0, "")
    assert pace.allowed_connections(now) == limits.connections


@given(limits, stories, st.lists(pauses, max_size=30))
def test_never_comes_back_without_a_success(limits: Limits, story: Any, silence: Any) -> None:
    pace = Pace(limits)
    now = START
    for reply, pause in story:
        pace.heard(now=now, **reply)
        now += pause
    level = pace.state.level
    for pause in silence:
        now += pause
        pace.heard("refused", now=now, code=550, category="mailbox_unknown")
        pace.room(now)
        assert pace.state.level <= level


@given(states, states, states)
def test_what_is_known_together_does_not_hang_on_the_order(a: State, b: State, c: State) -> None:
    assert joined(a, b) == joined(b, a)
    assert joined(a, joined(b, c)) == joined(joined(a, b), c)
    assert joined(a, a) == a


@given(
    st.lists(
        st.tuples(st.integers(0, 2), replies, pauses, st.integers(0, 2), st.booleans()),
        max_size=100,
    )
)
def test_workers_that_exchange_what_they_know_agree(story: Any) -> None:
    paces = [Pace(Limits(), index=index, workers=3) for index in range(3)]
    now = START
    for who, reply, pause, other, tells in story:
        paces[who].heard(now=now, **reply)
        if tells:
            paces[other].merge(paces[who].state)
        now += pause
    told = [pace.state for pace in paces]
    for pace in paces:
        for state in told:
            pace.merge(state)
    assert paces[0].state == paces[1].state == paces[2].state


def test_a_recovery_does_not_outdo_a_slowing_it_had_not_heard_of() -> None:
    one, other = Pace(Limits()), Pace(Limits())
    slow(one, START)
    other.merge(one.state)
    slow(other, START + 59 * SECOND)
    accepted(one, START + 60 * SECOND)
    assert (one.state.level, other.state.level) == (0.6, 0.25)
    one.merge(other.state)
    assert one.state.level == 0.25


def test_two_that_are_slowed_at_once_slow_once() -> None:
    one, other = Pace(Limits()), Pace(Limits())
    slow(one, START)
    slow(other, START + SECOND // 10)
    one.merge(other.state)
    assert one.state.level == 0.5
    assert one.merge(other.state) is False


def test_a_clock_that_goes_back_breaks_nothing() -> None:
    pace = Pace(Limits(rate=60.0))
    pace.take(START, 5)
    assert (pace.next_at(START - 3600 * SECOND) or 0) <= START - 3600 * SECOND + 2 * SECOND
    slow(pace, START)
    slow(pace, START + MINUTE)
    accepted(pace, START - MINUTE)
    assert pace.state.level == 0.25
