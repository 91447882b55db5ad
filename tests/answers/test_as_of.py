"""As of a time `check` and `why` answer what a ledger would that never heard of anything later."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from goodstanding.answers.checking import Checked, check
from goodstanding.answers.why import why
from goodstanding.core import policy_files
from goodstanding.core.events import Event
from goodstanding.core.gate import PURPOSES
from goodstanding.core.policies import Policy
from goodstanding.ledger.recording import record
from tests.core.histories import ADDRESSES, DAY, END, MOMENTS, TOPICS, histories, history
from tests.ledger import books

pytestmark = pytest.mark.django_db(transaction=True)

PRESETS = [
    policy_files.load(name)
    for name in ("default", "infusionsoft", "keap", "emma", "engage", "creatio")
]

TIMES = st.sampled_from([*(at + more for at in MOMENTS for more in (-1, 0, 2 * DAY)), END])


def hear(events: list[Event], now: int) -> None:
    books.empty()
    assert record(events, now).refused == []


def checked(events: list[Event], policy: Policy, topic: str | None, **when: Any) -> list[Checked]:
    address = events[0].address
    return [
        answer
        for purpose in PURPOSES
        for answer in check([address], purpose, topic, policy=policy, **when)
    ]


def told(events: list[Event], policy: Policy, **when: Any) -> Any:
    [said] = msgspec.to_builtins(list(why([events[0].address], policy=policy, **when)))
    for event in said["events"]:
        del event["recorded_at"]
    return said


def agree(events: list[Event], at: int, topic: str | None) -> set[str]:
    """See that it is so under every preset; the statuses that were met."""
    hear(events, END)
    as_of = [
        (
            checked(events, policy, topic, now=END, at=at),
            told(events, policy, now=END, at=at),
        )
        for policy in PRESETS
    ]
    hear([event for event in events if event.occurred_at <= at], at)
    for policy, (answers, said) in zip(PRESETS, as_of, strict=True):
        assert checked(events, policy, topic, now=at) == answers, policy.name
        assert told(events, policy, now=at) == said, policy.name
    return {said["status"] for _, said in as_of}


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(ADDRESSES).flatmap(lambda one: histories(most=25, addresses=(one,))),
    TIMES,
    st.sampled_from([None, *TOPICS]),
)
def test_what_comes_later_changes_no_answer(
    events: list[Event], at: int, topic: str | None
) -> None:
    agree(events, at, topic)


def test_neither_does_it_in_a_long_history() -> None:
    """Of many addresses, each with a mood of its own; nearly everything is met on the way."""
    met: set[str] = set()
    for seed in range(30):
        events = history(seed, 5 + 3 * seed, ADDRESSES[seed % 3 : seed % 3 + 1])
        met |= agree(events, MOMENTS[seed * 7 % len(MOMENTS)], TOPICS[0] if seed % 2 else None)
    assert len(met) > 10, met
