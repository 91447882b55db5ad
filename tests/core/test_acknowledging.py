"""The one message by SMS that acknowledges an opt-out: when it may go, and what bars it."""

from __future__ import annotations

import random
from typing import Any

import msgspec
import pytest

from goodstanding.core import acknowledging, policy_files
from goodstanding.core.addresses import Address
from goodstanding.core.events import Event
from goodstanding.core.gate import PURPOSES
from goodstanding.core.history import fold
from goodstanding.core.policies import Acknowledgement, Policy, Span
from goodstanding.core.standings import Standing
from tests.core.telling import DEFAULT, EMAIL, SMS, START

SECOND = 1_000_000
MINUTE = 60 * SECOND
WITHIN = 5 * MINUTE
PURPOSE = "acknowledgement"


def said(kind: str, at: int = 0, address: Address = SMS, **more: Any) -> Event:
    """An event so many microseconds after the start; what is no field goes into its detail."""
    fields = {name: more.pop(name) for name in ("mailing", "topic", "purpose") if name in more}
    return Event(kind, START + at, address, "api", detail=more, **fields)


def goodbye(at: int, kind: str = "sent", mailing: str = "goodbye", **more: Any) -> Event:
    return said(kind, at, mailing=mailing, purpose=PURPOSE, **more)


def stand(*events: Event, now: int, planning: bool = False, policy: Policy = DEFAULT) -> Standing:
    [channel] = {each.address.channel for each in events} or {"sms"}
    return fold(channel, events).standing(policy, START + now, planning=planning)


def refusal(*events: Event, now: int = SECOND, planning: bool = False) -> str | None:
    return stand(*events, now=now, planning=planning).blocks[PURPOSE]


OPTED_IN = said("opted_in", -MINUTE, how="form")
STOP = said("opted_out", how="keyword")
CARRIER = said("bounced", mailing="spring", category="carrier_opted_out")


@pytest.mark.parametrize(
    "out",
    [
        STOP,
        said("opted_out", mailing="spring"),
        said("opted_out_with_feedback"),
        said("list_unsubscribed"),
        said("admin_opted_out"),
    ],
    ids=lambda each: f"{each.kind} {each.mailing}",
)
@pytest.mark.parametrize("before", [[], [OPTED_IN]], ids=["unknown", "opted in"])
def test_an_opt_out_refuses_every_purpose_save_this_one(out: Event, before: list[Event]) -> None:
    standing = stand(*before, out, now=SECOND)
    assert standing.blocks == dict.fromkeys(PURPOSES, "opted_out") | {PURPOSE: None}
    assert standing.bar is None


def test_for_five_minutes() -> None:
    assert refusal(STOP, now=0) is None
    assert refusal(STOP, now=WITHIN - 1) is None
    assert refusal(STOP, now=WITHIN) == "opted_out"
    assert stand(STOP, now=WITHIN).bar == "too_late"
    assert stand(STOP, now=WITHIN - 1).due_at == START + WITHIN
    assert stand(STOP, now=WITHIN).due_at is None


def test_the_policy_says_for_how_long() -> None:
    policy = msgspec.structs.replace(DEFAULT, acknowledgement=Acknowledgement(Span.parse("90s")))
    assert stand(STOP, now=89 * SECOND, policy=policy).blocks[PURPOSE] is None
    assert stand(STOP, now=90 * SECOND, policy=policy).blocks[PURPOSE] == "opted_out"
    for preset in policy_files.presets():
        assert policy_files.load(preset).acknowledgement.within == WITHIN


@pytest.mark.parametrize(
    ("events", "reason", "bar"),
    [
        ([], "not_requested", "no_opt_out"),
        ([OPTED_IN], "not_requested", "no_opt_out"),
        ([STOP, said("opted_in", 1)], "not_requested", "no_opt_out"),
        ([said("admin_opted_out"), said("admin_opted_in", 1)], "not_requested", "no_opt_out"),
        ([OPTED_IN, said("opted_out", topic="news")], "not_requested", "no_opt_out"),
        ([said("opted_out", address=EMAIL)], "not_requested", "by_another_channel"),
        ([CARRIER], "opted_out", "by_the_carrier"),
        ([CARRIER, said("opted_out", 1)], "opted_out", "by_the_carrier"),
        ([CARRIER, said("admin_opted_in", 1)], "opted_out", "by_the_carrier"),
        ([STOP, said("bounced", 1, category="carrier_opted_out")], "opted_out", "by_the_carrier"),
        ([STOP, goodbye(1)], "opted_out", "acknowledged"),
        ([STOP, said("complained", 1, mailing="m")], "complained", None),
        ([said("complained", mailing="m")], "complained", "no_opt_out"),
        ([STOP, said("spam_reported", 1, mailing="m")], "spam_reported", None),
        ([STOP, said("declared_invalid", 1)], "invalid_address", None),
        ([STOP, said("found_invalid", 1, mailing="m")], "invalid_address", None),
        (
            [STOP, said("bounced", 1, mailing="m", category="number_invalid")],
            "hard_bounced",
            None,
        ),
        ([STOP, said("blocked", 1)], "blocked", None),
        ([STOP, said("locked", 1)], None, None),
    ],
)
def test_what_bars_it(events: list[Event], reason: str | None, bar: str | None) -> None:
    standing = stand(*events, now=SECOND)
    assert (standing.blocks[PURPOSE], standing.bar) == (reason, bar)


def test_who_is_stopped_after_soft_bounces_may_get_it() -> None:
    day = 24 * 60 * MINUTE
    soft = [
        each
        for n in range(5)
        for each in (
            said("sent", (n - 9) * day, mailing=f"m{n}"),
            said("bounced", (n - 9) * day + 1, mailing=f"m{n}", category="handset_unreachable"),
        )
    ]
    standing = stand(*soft, OPTED_IN, now=SECOND)
    assert standing.status == "soft_stopped"
    assert refusal(*soft, STOP) is None


@pytest.mark.parametrize(
    ("kind", "more", "counts"),
    [
        *((kind, {}, True) for kind in ("sent", "delivered", "undelivered", "lost", "replied")),
        ("bounced", {"category": "handset_unreachable"}, True),
        *((kind, {}, False) for kind in ("planned", "queued", "failed", "stopped")),
        ("deferred", {"category": "operator_network"}, False),
        ("skipped", {"reason": "blocked"}, False),
    ],
)
def test_one_that_left_or_may_have_left_is_the_one(
    kind: str, more: dict[str, Any], counts: bool
) -> None:
    events = OPTED_IN, STOP, goodbye(SECOND, kind, **more)
    expected = "opted_out" if counts else None
    assert refusal(*events, now=2 * SECOND) == expected, "so that one that is tried again may go"
    waits = kind in ("planned", "queued", "deferred")
    expected = "opted_out" if counts or waits else None
    assert refusal(*events, now=2 * SECOND, planning=True) == expected


def test_other_messages_are_no_acknowledgement() -> None:
    others = [said("sent", 1, mailing=each, purpose=each) for each in PURPOSES if each != PURPOSE]
    assert refusal(STOP, *others) is None


def test_an_opt_out_that_is_repeated_is_one_opt_out() -> None:
    again = said("opted_out", 2 * MINUTE)
    before = refusal(OPTED_IN, STOP, goodbye(MINUTE), now=MINUTE + 1)
    after = refusal(OPTED_IN, STOP, goodbye(MINUTE), again, now=2 * MINUTE + 1)
    assert (before, after) == ("opted_out", "opted_out")
    unacknowledged = refusal(OPTED_IN, STOP, said("opted_out", WITHIN), now=WITHIN + 1)
    assert unacknowledged is None, "none went yet, and the last is recent"


@pytest.mark.parametrize(
    "back",
    [
        said("opted_in", 2 * MINUTE, how="keyword"),
        said("opted_in", 2 * MINUTE, how="form", topic="news"),
        said("confirmed", 2 * MINUTE),
        said("admin_opted_in", 2 * MINUTE),
    ],
    ids=lambda each: f"{each.kind} {each.topic}",
)
def test_after_a_new_opt_in_an_opt_out_is_another_one(back: Event) -> None:
    out = said("admin_opted_out", 0)
    story = [OPTED_IN, out, goodbye(MINUTE), back, said("opted_out", 3 * MINUTE)]
    assert refusal(*story, now=4 * MINUTE) is None
    assert refusal(*story, goodbye(4 * MINUTE, mailing="b"), now=5 * MINUTE) == "opted_out"
    late = goodbye(2 * MINUTE + 1, mailing="b")
    assert refusal(*story, late, now=4 * MINUTE) == "opted_out", "it came after they were back"


def test_an_opt_in_to_one_topic_leaves_the_opt_out_acknowledged() -> None:
    topic = said("opted_in", 2 * MINUTE, topic="news", how="form")
    assert refusal(OPTED_IN, STOP, goodbye(MINUTE), topic, now=3 * MINUTE) == "opted_out"
    told = stand(OPTED_IN, STOP, topic, now=3 * MINUTE)
    assert told.topics["news"]["broadcast"] is None
    assert told.topics["news"][PURPOSE] is None, "the opt-out of the rest"


def test_who_came_back_by_start_after_the_carrier_stopped_it_is_acknowledged_again() -> None:
    back = said("opted_in", MINUTE, how="keyword")
    assert refusal(CARRIER, back, said("opted_out", 2 * MINUTE), now=3 * MINUTE) is None
    assert refusal(CARRIER, said("opted_in", 0), said("opted_out", 1)) == "opted_out", "a tie"


def test_what_waited_for_an_earlier_opt_out_is_not_in_the_way() -> None:
    back = said("opted_in", MINUTE, how="keyword")
    story = [OPTED_IN, STOP, goodbye(SECOND, "planned"), back, said("opted_out", 2 * MINUTE)]
    assert refusal(*story, now=3 * MINUTE, planning=True) is None


# Any story, told in any order: an acknowledgement goes as soon as it may.

MOVES = ("opted_out", "opted_out", "admin_opted_out", "opted_in", "opted_in", "confirmed")
STEPS = (SECOND, MINUTE, WITHIN - 1, WITHIN, WITHIN + 1)


@pytest.mark.parametrize("seed", range(150))
def test_each_opt_out_gets_one_at_most_and_in_time(seed: int) -> None:
    chance = random.Random(seed)
    story: list[Event] = []
    at = 0
    out: tuple[str, int] | None = None  # whose opt-out stands, since when
    is_ours, done = True, False
    met = set()
    for _ in range(30):
        at += chance.choice(STEPS)
        move = chance.choice((*MOVES, "carrier", "nothing"))
        if move == "carrier":
            story.append(said("bounced", at, category="carrier_opted_out"))
            out, is_ours = ("person", at), False
        elif move != "nothing":
            story.append(said(move, at))
        if move in ("opted_in", "confirmed"):
            out, is_ours, done = None, True, False
        elif move == "opted_out":
            out = "person", at
        elif move == "admin_opted_out" and (out is None or out[0] == "operator"):
            out = "operator", at
        now = at + chance.choice((0, 1, SECOND))
        chance.shuffle(story)
        expected = out is not None and is_ours and not done and now < out[1] + WITHIN
        found = stand(*story, now=now)
        assert (found.blocks[PURPOSE] is None) == expected, (at, move)
        met.add(found.bar)
        if expected and chance.random() < 0.7:
            story.append(goodbye(now, mailing=f"goodbye{at}"))
            done = True
        at = now
    assert len(met) > 2, "too little was met"


def test_the_purpose_is_one_of_the_gates() -> None:
    assert PURPOSES[-1] == acknowledging.PURPOSE == PURPOSE
