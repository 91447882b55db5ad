"""Whatever the order, however often and wherever it was heard: the same memory and standing."""

from __future__ import annotations

import random

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from goodstanding.core import memory, policy_files, registers
from goodstanding.core.events import Event, key_of
from goodstanding.core.history import History, fold
from goodstanding.core.memory import Memory
from goodstanding.core.policies import FrequencyCap, Policy, Span
from goodstanding.core.registers import Registers
from goodstanding.core.standings import STATUSES
from tests.core.histories import ADDRESSES, END, MOMENTS, histories, history

DEFAULT = policy_files.load("default")
CAPPED = msgspec.structs.replace(DEFAULT, frequency_cap=FrequencyCap(2, Span.parse("3d")))
POLICIES = (DEFAULT, CAPPED)
ONE = ADDRESSES[:1]
SMS = ADDRESSES[2:]


def alike(one: History, other: History, now: int) -> None:
    assert one.registers == other.registers
    assert one.deliveries == other.deliveries
    for policy in POLICIES:
        assert one.standing(policy, now) == other.standing(policy, now)
        early = one.standing(policy, now, planning=True)
        assert early == other.standing(policy, now, planning=True)


@settings(max_examples=150)
@given(histories(addresses=ONE), st.randoms(use_true_random=False), st.sampled_from(MOMENTS))
def test_order_and_repetition_do_not_matter(
    events: list[Event], chance: random.Random, now: int
) -> None:
    again = [*events, *chance.choices(events, k=len(events) // 2)]
    chance.shuffle(again)
    alike(fold("email", again), fold("email", events), now)


def test_neither_do_they_in_long_histories() -> None:
    for seed in range(40):
        channel = "sms" if seed % 2 else "email"
        events = history(seed, 120, SMS if seed % 2 else ONE)
        again = [*events, *events[::3]]
        random.Random(seed).shuffle(again)
        for now in (MOMENTS[5], MOMENTS[12], END):
            alike(fold(channel, again), fold(channel, events), now)


def test_histories_have_all_that_may_happen() -> None:
    seen: set[str] = set()
    for seed in range(400):
        folded = fold("email", history(seed, 1 + seed % 60, ONE))
        for now in (MOMENTS[4], END):
            standing = folded.standing(DEFAULT, now)
            seen |= {standing.status, *(response.name for response in standing.responses)}
    assert seen >= set(STATUSES) | {
        *("planned", "queued", "failed", "lost", "sent", "deferred", "untraceable", "expired"),
        *("undelivered", "block_bounced", "soft_bounced", "delivered", "machine_opened"),
        *("machine_clicked", "opened", "clicked", "replied", "unsubscribed", "complained"),
        *("hard_bounced", "invalid", "stopped", "stopped_expired", "skipped:refused_by_provider"),
    }


def remembered(events: list[Event]) -> Memory:
    whole = Memory()
    for event in events:
        whole = memory.remember(whole, event.kind, event.occurred_at, event.detail)
    return whole


@settings(max_examples=150)
@given(histories(), histories(), histories())
def test_memories_join_as_sets_do(a: list[Event], b: list[Event], c: list[Event]) -> None:
    one, two, three = remembered(a), remembered(b), remembered(c)
    join = memory.join
    assert join(one, one) == one
    assert join(one, Memory()) == one == join(Memory(), one)
    assert join(one, two) == join(two, one) == remembered([*a, *b]) == remembered([*b, *a])
    assert join(join(one, two), three) == join(one, join(two, three))


@given(histories())
def test_a_memory_is_what_its_events_alone_join_to(events: list[Event]) -> None:
    whole = Memory()
    for event in events:
        alone = memory.of_event(event.kind, event.occurred_at, event.detail)
        whole = memory.join(whole, alone) if alone is not None else whole
    assert whole == remembered(events)


def said(events: list[Event]) -> Registers:
    whole = Registers()
    for event in events:
        whole = registers.hear(
            whole,
            event.kind,
            event.occurred_at,
            key_of(event),
            event.detail,
            topic=event.topic,
            mailing=event.mailing or "",
        )
    return whole


@settings(max_examples=150)
@given(histories(), histories(), histories())
def test_registers_join_as_sets_do(a: list[Event], b: list[Event], c: list[Event]) -> None:
    one, two, three = said(a), said(b), said(c)
    join = registers.join
    assert join(one, one) == one
    assert join(one, Registers()) == one == join(Registers(), one)
    assert join(one, two) == join(two, one) == said([*a, *b]) == said([*b, *a])
    assert join(join(one, two), three) == join(one, join(two, three))


@settings(max_examples=200)
@given(
    histories(addresses=ONE),
    st.sampled_from(MOMENTS),
    st.integers(0, 2),
    st.sampled_from(POLICIES),
)
def test_between_now_and_due_at_nothing_changes(
    events: list[Event], now: int, part: int, policy: Policy
) -> None:
    folded = fold("email", events)
    standing = folded.standing(policy, now)
    until = END if standing.due_at is None else standing.due_at
    assert until > now
    for later in (now + (until - now) * part // 3, until - 1):
        if later > now:
            assert shown(folded, later, policy) == shown(folded, now, policy)


def test_what_is_due_does_change() -> None:
    changed = 0
    for seed in range(200):
        folded = fold("email", history(seed, 30, ONE))
        for now in MOMENTS[::4]:
            due_at = folded.standing(DEFAULT, now).due_at
            if due_at is not None:
                changed += shown(folded, due_at) != shown(folded, now)
    assert changed > 100


def test_nor_in_long_histories_with_a_cap() -> None:
    capped = 0
    for seed in range(200):
        folded = fold("email", history(seed, 30, ONE))
        for now in MOMENTS[::3]:
            standing = folded.standing(CAPPED, now)
            capped += "limit_reached" in (standing.blocks["broadcast"], standing.blocks["sequence"])
            until = END if standing.due_at is None else standing.due_at
            assert shown(folded, until - 1, CAPPED) == shown(folded, now, CAPPED)
    assert capped > 50


def shown(folded: History, now: int, policy: Policy = DEFAULT) -> object:
    """All of a standing but when it is due."""
    standing = folded.standing(policy, now)
    return (
        standing.status,
        standing.since,
        standing.blocks,
        standing.topics,
        standing.streak,
        [(each.name, each.since, each.outcome) for each in standing.responses],
    )


def test_purposes_that_contradict_each_other_do_so_in_any_order() -> None:
    events = [
        Event("sent", MOMENTS[3], ONE[0], "api", mailing="m", purpose="confirmation", key="a"),
        Event("delivered", MOMENTS[4], ONE[0], "api", mailing="m", purpose="broadcast", key="b"),
        Event("opened", MOMENTS[5], ONE[0], "api", mailing="m", key="c"),
    ]
    for order in ((0, 1, 2), (1, 0, 2), (2, 1, 0), (1, 2, 0)):
        folded = fold("email", [events[place] for place in order])
        assert folded.deliveries["m", ""].purpose == "confirmation"
