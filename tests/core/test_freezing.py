"""`statistics_days`: what comes later changes no response and no count, and counts for the address.

The reference is a history without what came too late.
"""

from __future__ import annotations

import random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from goodstanding.core import policy_files
from goodstanding.core.events import Event, key_of
from goodstanding.core.history import DeliveryKey, History, fold, freeze
from goodstanding.core.policies import Policy
from goodstanding.core.responses import DAY, Response
from tests.core.histories import ADDRESSES, END, MOMENTS, histories, history
from tests.core.telling import DEFAULT, bounced, event, sent, tell

M = "spring"
DAYS = (1, 5, 14)


def cut(days: int, name: str = "default") -> Policy:
    return msgspec.structs.replace(policy_files.load(name), statistics_days=days)


def frozen(events: list[Event], policy: Policy) -> History:
    return freeze(fold(events[0].address.channel, events), events, policy)


def in_time(events: list[Event], days: int) -> list[Event]:
    """Without what happened to a message later than so many days after it was sent."""
    first: dict[DeliveryKey, int] = {}
    for each in events:
        if each.kind == "sent" and each.mailing is not None:
            place = (each.mailing, each.recipient)
            first[place] = min(first.get(place, END), each.occurred_at)
    return [
        each
        for each in events
        if each.occurred_at
        <= first.get((each.mailing, each.recipient) if each.mailing else (None, ""), END)
        + days * DAY
    ]


Said = dict[DeliveryKey, tuple[Response, int, int, int]]


def said(history: History, policy: Policy, now: int) -> Said:
    """What is shown of each message."""
    responses = history.standing(policy, now).responses
    found = {}
    for place, response in zip(history.deliveries, responses, strict=True):
        each = history.as_counted(place)
        plain = msgspec.structs.replace(response, due_at=None, outcome=None)
        found[place] = (plain, each.opens, each.clicks, each.machine_opens)
    return found


def agree(events: list[Event], days: int, name: str, now: int) -> None:
    policy = cut(days, name)
    whole = frozen(events, policy)
    timely = in_time(events, days)
    shown = said(whole, policy, now)
    for place, expected in (said(fold("email", timely), policy, now) if timely else {}).items():
        assert shown[place] == expected, place
    standing, uncut = whole.standing(policy, now), fold("email", events).standing(policy.uncut, now)
    for field in ("status", "blocks", "topics", "streak", "since", "engaged_at"):
        assert getattr(standing, field) == getattr(uncut, field), field


@settings(max_examples=300)
@given(
    histories(addresses=ADDRESSES[:1]),
    st.sampled_from(DAYS),
    st.sampled_from(["default", "engage", "creatio"]),
    st.sampled_from([*MOMENTS, END]),
)
def test_it_is_as_if_what_came_later_had_not_been(
    events: list[Event], days: int, name: str, now: int
) -> None:
    agree(events, days, name, now)


def test_nor_had_it_in_long_histories() -> None:
    for seed in range(150):
        events = history(seed, 100, ADDRESSES[:1])
        agree(events, DAYS[seed % 3], ("default", "creatio")[seed % 2], MOMENTS[-1 - seed % 9])


@settings(max_examples=100)
@given(
    histories(addresses=ADDRESSES[:1]),
    st.sampled_from(DAYS),
    st.randoms(use_true_random=False),
)
def test_in_any_order_and_by_time_alone_nothing_changes(
    events: list[Event], days: int, chance: random.Random
) -> None:
    policy = cut(days)
    shown = said(frozen(events, policy), policy, END)
    again = [*events, *chance.choices(events, k=len(events))]
    chance.shuffle(again)
    assert said(frozen(again, policy), policy, END) == shown
    latest = max(each.occurred_at for each in events)
    by_then = said(frozen(events, policy), policy, latest + days * DAY)
    sent_in = {(each.mailing, each.recipient) for each in events if each.kind == "sent"}
    for place in sent_in & shown.keys():
        assert by_then[place] == shown[place]


@pytest.mark.parametrize(
    ("late", "expected"),
    [
        (event("opened", 9, M), "delivered"),
        (event("clicked", 9, M), "delivered"),
        (event("opted_out", 9, M), "delivered"),
        (event("complained", 9, M), "delivered"),
        (bounced(9, M, "mailbox_full"), "delivered"),
        (bounced(9, M, "mailbox_unknown"), "delivered"),
        (event("opened", 8, M), "opened"),
    ],
)
def test_the_last_moment_counts_and_none_after_it(late: Event, expected: str) -> None:
    told = frozen([sent(1, M), event("delivered", 1.1, M), late], cut(7))
    [response] = told.standing(cut(7), END).responses
    assert response.name == expected


@pytest.mark.parametrize(
    ("late", "status"),
    [
        (event("opted_out", 9, M), "opted_out"),
        (event("complained", 9, M), "complained"),
        (bounced(9, M, "mailbox_unknown"), "hard_bounced"),
        (bounced(9, M, "mailbox_full"), "soft_bouncing"),
    ],
)
def test_the_address_hears_what_comes_late(late: Event, status: str) -> None:
    events = [event("opted_in", 0), sent(1, M), event("delivered", 1.1, M), late]
    assert frozen(events, cut(7)).standing(cut(7), END).status == status


def test_a_late_bounce_does_not_hide_what_was_later_among_what_counts() -> None:
    """The memory keeps the first and the last bounce: neither tells of the delivery in between."""
    early = [bounced(1, M, "mailbox_full"), event("delivered", 2, M)]
    events = [sent(0, M), *early, bounced(9, M, "mailbox_full")]
    [response] = frozen(events, cut(7)).standing(cut(7), END).responses
    assert response.name == "delivered"
    events.append(bounced(3, M, "mailbox_full"))
    [response] = frozen(events, cut(7)).standing(cut(7), END).responses
    assert response.name == "soft_bounced"


def test_silence_that_would_end_after_it_is_no_answer() -> None:
    events = [event("opted_in", 0), sent(1, M), event("deferred", 1.1, M, category="mailbox_full")]
    told = frozen(events, cut(1))
    early, late = (told.standing(cut(1), at) for at in (events[2].occurred_at, END))
    assert [each.responses[0].name for each in (early, late)] == ["deferred", "deferred"]
    assert early.due_at is not None, "the address is judged by it all the same"
    assert (early.streak, late.streak) == (0, 1)


def test_without_a_word_that_it_was_sent_nothing_freezes() -> None:
    events = [event("delivered", 1, M), event("opened", 90, M)]
    [response] = frozen(events, cut(7)).standing(cut(7), END).responses
    assert response.name == "opened"
    assert {key_of(each) for each in in_time(events, 7)} == {key_of(each) for each in events}


def test_by_default_nothing_freezes() -> None:
    told = tell(sent(0, M), event("opened", 900, M))
    assert freeze(told, [], DEFAULT) is told
