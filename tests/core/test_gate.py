"""The gate (design, section 5): what refuses each purpose, and which reason is told first."""

from __future__ import annotations

import msgspec
import pytest

from goodstanding.core.events import Event
from goodstanding.core.gate import PURPOSES, REASONS, first
from goodstanding.core.policies import OneOff
from tests.core.telling import DEFAULT, SMS, bounced, event, sent, standing

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
    return " ".join(reason or "-" for purpose, reason in blocks.items() if purpose != "sequence")


@pytest.mark.parametrize(
    ("events", "expected"), [row[1:] for row in REFUSED], ids=[r[0] for r in REFUSED]
)
def test_what_refuses_each_purpose(events: list[Event], expected: str) -> None:
    assert answers(OPTED_IN, *events) == " ".join(expected.split())


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


def test_who_is_soft_stopped_may_be_asked() -> None:
    assert confirmation(OPTED_IN, *SOFT) is None
