"""The gate (design, section 5): what refuses each purpose, and which reason is told first."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from goodstanding.core.events import Event
from goodstanding.core.gate import PURPOSES, REASONS, first
from goodstanding.core.policies import FrequencyCap, OneOff, Span
from tests.core.telling import DEFAULT, SMS, at, bounced, event, sent, standing, tell

OPTED_IN = event("opted_in", 0, how="order")
SOFT = [
    each
    for n in range(5)
    for each in (sent(4 * n, f"s{n}"), bounced(4 * n + 0.01, f"s{n}", "mailbox_full"))
]
# What is wrong with the address, and what it answers to: broadcast and sequence, one-off,
# transactional, confirmation (asked for when it opted in).
REFUSED: list[tuple[str, list[Event], str]] = [
    ("nothing", [], "-                 -               -               -"),
    ("complained", [event("complained", 1, "m")], "complained complained - not_requested"),
    ("spam", [event("spam_reported", 1, "m")], "spam_reported spam_reported - not_requested"),
    ("opted out", [event("opted_out", 1)], "opted_out - - not_requested"),
    ("button", [event("list_unsubscribed", 1)], "opted_out - - not_requested"),
    ("feedback", [event("opted_out_with_feedback", 1)], "opted_out - - not_requested"),
    ("by admin", [event("admin_opted_out", 1)], "opted_out - - not_requested"),
    ("invalid", [event("declared_invalid", 1)], "invalid_address " * 4),
    ("hard", [bounced(1, "m", "mailbox_unknown")], "hard_bounced " * 4),
    ("soft", SOFT, "soft_stopped soft_stopped - -"),
    ("blocked", [event("blocked", 1)], "blocked " * 4),
    ("locked", [event("locked", 1)], "locked - - locked"),
]


def answers(*events: Event, now: float = 100, channel: str = "email") -> str:
    blocks = standing(*events, now=now, channel=channel).blocks
    assert list(blocks) == list(PURPOSES)
    assert blocks["broadcast"] == blocks["sequence"]
    told = ("broadcast", "one_off", "transactional", "confirmation")
    return " ".join(blocks[purpose] or "-" for purpose in told)


@pytest.mark.parametrize(
    ("events", "expected"), [row[1:] for row in REFUSED], ids=[r[0] for r in REFUSED]
)
def test_what_refuses_each_purpose(events: list[Event], expected: str) -> None:
    assert answers(OPTED_IN, *events) == " ".join(expected.split())


def test_who_is_unengaged_past_the_limit_gets_no_mailings() -> None:
    ignored = [
        each for n in range(4) for each in (sent(n, f"m{n}"), event("delivered", n, f"m{n}"))
    ]
    assert answers(OPTED_IN, *ignored, now=364.9) == "- - - -"
    assert answers(OPTED_IN, *ignored, now=365) == "unengaged - - -"


def test_who_left_a_topic_gets_no_mailings_about_it() -> None:
    told = standing(OPTED_IN, event("opted_out", 1, topic="news"))
    assert told.topics["news"] == {
        "broadcast": "opted_out_of_topic",
        "sequence": "opted_out_of_topic",
        "one_off": None,
        "transactional": None,
        "confirmation": "not_requested",
        "acknowledgement": "not_requested",
    }


def test_who_never_opted_in_gets_one_off_and_transactional_mail() -> None:
    assert answers() == "never_opted_in - - not_requested"
    imported = event("imported", 0, permission=False)
    assert answers(imported) == "never_opted_in - - not_requested"


def test_the_reasons_are_told_in_the_gates_order() -> None:
    everything = [OPTED_IN, *(each for _, events, _ in REFUSED for each in events)]
    assert answers(*everything) == "invalid_address invalid_address invalid_address invalid_address"
    rest = [each for each in everything if each.kind not in ("declared_invalid", "spam_reported")]
    assert answers(*rest).split()[0] == "complained"
    assert first("locked", "hard_bounced", None, "never_opted_in") == "hard_bounced"
    assert first(None) is None
    assert list(REASONS[:3]) == ["no_address", "invalid_address", "duplicate"]


# On SMS.


def text(each: Event) -> Event:
    return msgspec.structs.replace(each, address=SMS)


@pytest.mark.parametrize(
    "out",
    [
        event("opted_out", 1),
        event("list_unsubscribed", 1),
        event("opted_out_with_feedback", 1),
        event("admin_opted_out", 1),
        bounced(1, "m", "carrier_opted_out"),
        bounced(1, None, "carrier_opted_out", topic="news"),
    ],
    ids=lambda each: str(each.kind),
)
def test_on_sms_an_opt_out_refuses_every_purpose(out: Event) -> None:
    said = answers(text(OPTED_IN), text(out), channel="sms")
    assert said == "opted_out opted_out opted_out opted_out"


def test_on_sms_who_left_one_topic_left_that_one() -> None:
    events = [text(OPTED_IN), text(event("opted_out", 1, topic="news"))]
    told = standing(*events, channel="sms")
    assert told.topics["news"]["broadcast"] == "opted_out_of_topic"
    assert told.topics["news"]["transactional"] is None
    assert told.topics["news"]["one_off"] is None
    assert told.blocks["broadcast"] is None


# One-off mail.


@pytest.mark.parametrize(
    ("to_opted_out", "to_never_opted_in"), [(True, True), (False, True), (False, False)]
)
def test_one_off_mail_to_whom_the_policy_allows(
    to_opted_out: bool, to_never_opted_in: bool
) -> None:
    policy = msgspec.structs.replace(DEFAULT, one_off=OneOff(to_opted_out, to_never_opted_in))
    out = standing(OPTED_IN, event("opted_out", 1), policy=policy).blocks["one_off"]
    never = standing(policy=policy).blocks["one_off"]
    topic = standing(OPTED_IN, event("opted_out", 1, topic="news"), policy=policy)
    assert out == (None if to_opted_out else "opted_out")
    assert never == (None if to_never_opted_in else "never_opted_in")
    assert topic.topics["news"]["one_off"] == (None if to_opted_out else "opted_out_of_topic")


# Transactional mail.


def test_a_soft_stopped_address_is_tried_once_in_seven_days() -> None:
    stopped = [OPTED_IN, *SOFT]
    before = standing(*stopped, now=22.9)
    assert before.blocks["transactional"] == "soft_stopped"
    assert standing(*stopped, now=23).blocks["transactional"] is None
    tried = [*stopped, sent(30, "receipt", purpose="transactional", reports=False)]
    assert standing(*tried, now=36.9).blocks["transactional"] == "soft_stopped"
    assert standing(*tried, now=37).blocks["transactional"] is None


def test_and_a_delivery_lifts_the_stop() -> None:
    tried = [OPTED_IN, *SOFT, sent(30, "receipt", purpose="transactional")]
    assert standing(*tried, event("delivered", 30.1, "receipt")).status == "opted_in"


def test_a_try_goes_on_until_nothing_is_tried_again() -> None:
    deferred = event("deferred", 30, "receipt", purpose="transactional", category="mailbox_full")
    tried = [OPTED_IN, *SOFT, deferred]
    assert standing(*tried, now=32).blocks["transactional"] is None, "it may be tried again"
    assert standing(*tried, now=33).blocks["transactional"] == "soft_stopped", "it expired"
    assert standing(*tried, now=36.9).blocks["transactional"] == "soft_stopped"
    assert standing(*tried, now=37).blocks["transactional"] is None


def test_while_it_goes_on_no_other_is_planned() -> None:
    stopped = [OPTED_IN, *SOFT]
    deferred = event("deferred", 30, "receipt", purpose="transactional", category="mailbox_full")
    planned = event("planned", 30, "receipt", purpose="transactional")
    skipped = event("skipped", 30.1, "receipt", purpose="transactional", reason="blocked")
    broadcast = event("planned", 30, "spring")
    for said, expected in (
        ([], None),
        ([deferred], "soft_stopped"),
        ([planned], "soft_stopped"),
        ([planned, skipped], None),
        ([broadcast], None),
    ):
        early = tell(*stopped, *said).standing(DEFAULT, at(31), planning=True)
        assert early.blocks["transactional"] == expected
    assert standing(*stopped, planned, now=31).blocks["transactional"] is None


# Asking for a confirmation.


def confirmation(*events: Event, now: float = 100, topic: str = "") -> str | None:
    told = standing(*events, now=now)
    return told.topics.get(topic, told.blocks)["confirmation"]


def asked(days: float, mailing: str) -> Event:
    return sent(days, mailing, purpose="confirmation", reports=False)


def test_only_who_asked_is_asked_back() -> None:
    assert confirmation() == "not_requested"
    assert confirmation(event("admin_opted_in", 1)) == "not_requested"
    assert confirmation(event("opted_in", 1, how="form")) is None


@pytest.mark.parametrize(
    "out",
    [
        event("opted_out", 2),
        event("admin_opted_out", 2),
        event("complained", 2, "m"),
        event("spam_reported", 2, "m"),
    ],
    ids=lambda each: str(each.kind),
)
def test_later_than_whatever_else_would_refuse_them(out: Event) -> None:
    assert confirmation(event("opted_in", 1), out) == "not_requested"
    assert confirmation(event("opted_in", 2), out) == "not_requested"
    assert confirmation(event("opted_in", 3), out) is None


def test_an_opt_out_of_the_topic_refuses_questions_about_the_topic() -> None:
    out = event("opted_out", 2, topic="news")
    assert confirmation(event("opted_in", 1), out, topic="news") == "not_requested"
    assert confirmation(event("opted_in", 1), out) is None
    again = event("opted_in", 3, topic="news")
    assert confirmation(event("opted_in", 1), out, again, topic="news") is None


def test_no_more_than_three_a_day() -> None:
    person = event("opted_in", 1)
    three = [asked(10, "a"), asked(10.2, "b"), asked(10.4, "c")]
    assert confirmation(person, *three[:2], now=10.5) is None
    assert confirmation(person, *three, now=10.5) == "limit_reached"
    assert confirmation(person, *three, now=10.99) == "limit_reached"
    assert confirmation(person, *three, now=11) is None


def test_other_mail_does_not_count_as_asking() -> None:
    others = [sent(10, name, reports=False) for name in "abcd"]
    assert confirmation(event("opted_in", 1), *others, now=10.5) is None


def test_an_imported_claim_of_permission_is_asked_once_in_thirty_days() -> None:
    claim = event("imported", 1, permission=True)
    assert confirmation(claim) is None
    assert confirmation(claim, asked(10, "a"), now=39.9) == "limit_reached"
    assert confirmation(claim, asked(10, "a"), now=40) is None
    assert confirmation(claim, event("opted_out", 2)) == "not_requested"
    assert confirmation(event("imported", 1, permission=False)) == "not_requested"


@pytest.mark.parametrize("how", ["order", "phone", "ticked the box at the fair"])
def test_so_is_who_agreed_in_a_way_that_others_tell_of(how: str) -> None:
    claim = event("opted_in", 1, how=how)
    assert confirmation(claim) is None
    assert confirmation(claim, asked(10, "a"), now=39.9) == "limit_reached"
    assert confirmation(claim, asked(10, "a"), now=40) is None
    assert confirmation(claim, event("opted_out", 2)) == "not_requested"
    assert confirmation(claim, event("complained", 2, "m")) == "not_requested"
    topic = event("opted_in", 1, how=how, topic="news")
    assert confirmation(topic, topic="news") is None
    assert confirmation(topic, asked(10, "a"), now=39, topic="news") == "limit_reached"


@pytest.mark.parametrize("how", ["form", "link", "keyword"])
def test_who_asked_themselves_is_answered_more_often(how: str) -> None:
    request = event("opted_in", 1, how=how)
    two = [asked(10, "a"), asked(10.1, "b")]
    assert confirmation(request, *two, now=10.2) is None
    later = event("opted_in", 2, how="phone")
    assert confirmation(request, later, *two, now=10.2) is None, "they asked nevertheless"
    out = event("opted_out", 1.5)
    assert confirmation(request, out, later, now=10.2) is None, "by the later word, and only once"
    assert confirmation(request, out, later, *two, now=10.2) == "limit_reached"


def test_where_the_policy_does_not_allow_it_no_claim_is_asked() -> None:
    settings = msgspec.structs.replace(DEFAULT.confirmation, to_claimed=False)
    policy = msgspec.structs.replace(DEFAULT, confirmation=settings)
    for claim in (event("imported", 1, permission=True), event("opted_in", 1, how="phone")):
        assert standing(claim, policy=policy).blocks["confirmation"] == "not_requested"
    own = standing(event("opted_in", 1, how="form"), policy=policy)
    assert own.blocks["confirmation"] is None


def test_a_general_opt_in_asks_for_nothing_about_a_topic_that_was_left() -> None:
    left = [event("opted_out", 2, topic="news"), event("opted_in", 3, how="form")]
    assert confirmation(*left, topic="news") == "not_requested"
    assert confirmation(*left) is None
    other = event("opted_in", 4, how="form", topic="offers")
    assert confirmation(*left, other, topic="news") == "not_requested"
    assert confirmation(*left, other, topic="offers") is None


def test_a_request_that_was_put_off_does_not_stand_in_its_own_way() -> None:
    claim = event("imported", 1, permission=True)
    deferred = event("deferred", 10, "a", purpose="confirmation", category="greylisted")
    assert confirmation(claim, deferred, now=10.1) is None
    person = event("opted_in", 1, how="form")
    three = [
        event("deferred", 10, name, purpose="confirmation", category="greylisted") for name in "abc"
    ]
    assert confirmation(person, *three, now=10.1) is None


def test_one_that_may_have_left_counts() -> None:
    lost = event("lost", 10, "a", purpose="confirmation")
    assert confirmation(event("imported", 1, permission=True), lost, now=11) == "limit_reached"


@pytest.mark.parametrize("kind", ["planned", "queued", "deferred"])
def test_before_one_is_planned_those_that_wait_count_too(kind: str) -> None:
    person = event("opted_in", 1, how="form")
    waiting = [event(kind, 10, name, purpose="confirmation") for name in "ab"]
    third = event("sent", 10, "c", purpose="confirmation", reports=False)
    skipped = event("skipped", 10.1, "a", purpose="confirmation", reason="blocked")

    def planning(*events: Event, now: float = 10.2) -> str | None:
        early = tell(person, *events).standing(DEFAULT, at(now), planning=True)
        return early.blocks["confirmation"]

    assert planning(*waiting) is None
    assert planning(*waiting, third) == "limit_reached"
    assert planning(*waiting, third, now=11) is None
    assert confirmation(person, *waiting, third, now=10.2) is None, "those planned may go"
    assert planning(*waiting, third, skipped) is None


def test_of_a_claim_only_one_is_planned() -> None:
    claim = event("imported", 1, permission=True)
    planned = event("planned", 10, "a", purpose="confirmation")
    early = tell(claim, planned).standing(DEFAULT, at(10.1), planning=True)
    assert early.blocks["confirmation"] == "limit_reached"
    assert confirmation(claim, planned, now=10.1) is None


# No more than so many mailings.

CAPPED = msgspec.structs.replace(DEFAULT, frequency_cap=FrequencyCap(2, Span.parse("7d")))


def mailed(days: float, mailing: str | None, kind: str = "sent", **said: Any) -> Event:
    return event(kind, days, mailing, **{"purpose": "broadcast", "reports": False, **said})


def capped(*events: Event, now: float) -> str:
    asking = event("opted_in", 0, how="link")
    told = standing(asking, *events, now=now, policy=CAPPED)
    assert told.blocks["broadcast"] == told.blocks["sequence"]
    assert {told.blocks[each] for each in ("one_off", "transactional", "confirmation")} == {None}
    return told.blocks["broadcast"] or "-"


def test_a_cap_refuses_mailings_until_the_window_frees_again() -> None:
    two = [mailed(10, "a"), mailed(12, "b", purpose="sequence")]
    assert capped(*two[:1], now=12) == "-"
    assert capped(*two, now=12) == "limit_reached"
    assert capped(*two, now=16.99) == "limit_reached"
    assert capped(*two, now=17) == "-"
    assert capped(*two, mailed(13, "c"), now=17) == "limit_reached"
    assert capped(*two, mailed(13, "c"), now=19) == "-"
    assert standing(OPTED_IN, *two, now=13, policy=CAPPED).due_at == at(17)
    assert standing(OPTED_IN, *two, now=13, policy=CAPPED).status == "opted_in"


def test_there_is_none_where_the_policy_names_none() -> None:
    many = [mailed(10, f"m{n}") for n in range(50)]
    assert standing(OPTED_IN, *many, now=10).blocks["broadcast"] is None


@pytest.mark.parametrize("purpose", ["one_off", "transactional", "confirmation"])
def test_only_mailings_count(purpose: str) -> None:
    others = [mailed(10, name, purpose=purpose) for name in "ab"]
    assert capped(mailed(9, "c"), *others, now=11) == "-"


@pytest.mark.parametrize(
    ("kind", "counts"),
    [
        *(("delivered", True), ("opened", True), ("lost", True), ("bounced", True)),
        *(("planned", False), ("queued", False), ("deferred", False), ("failed", False)),
        *(("skipped", False), ("stopped", False)),
    ],
)
def test_what_left_or_may_have_left_counts(kind: str, counts: bool) -> None:
    detail = {"category": "mailbox_full"} if kind == "bounced" else {}
    said = capped(mailed(10, "a"), mailed(10, "b", kind, **detail), now=11)
    assert said == ("limit_reached" if counts else "-")


def test_nobody_knows_how_many_mails_others_sent() -> None:
    foreign = [mailed(10, None, "delivered", key=f"k{n}") for n in range(5)]
    assert capped(*foreign, now=11) == "-"


def test_what_else_refuses_is_told_in_the_gates_order() -> None:
    two = [mailed(10, "a"), mailed(10, "b")]
    assert standing(*two, now=11, policy=CAPPED).blocks["broadcast"] == "never_opted_in"
    told = standing(OPTED_IN, *two, event("opted_out", 1, topic="news"), now=11, policy=CAPPED)
    assert told.topics["news"]["broadcast"] == "opted_out_of_topic"
    again = [event("opted_out", 1, topic="news"), event("opted_in", 2, topic="news")]
    told = standing(OPTED_IN, *two, *again, now=11, policy=CAPPED)
    assert told.topics["news"]["broadcast"] == "limit_reached"


def test_who_is_soft_stopped_may_be_asked() -> None:
    assert confirmation(OPTED_IN, *SOFT) is None
