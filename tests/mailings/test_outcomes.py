"""Outcomes: what a reply means for the address, and when to try again."""

from __future__ import annotations

from typing import Any

import pytest

from goodstanding.core import policy_files
from goodstanding.core.addresses import Address
from goodstanding.core.categories import CATEGORIES
from goodstanding.core.events import SECOND
from goodstanding.gateways.base import Handover, Outcome, Stage
from goodstanding.ledger import clock
from goodstanding.ledger import models as ledger
from goodstanding.mailings import outbox, outcomes
from goodstanding.mailings.lanes import Lane
from goodstanding.mailings.models import Worker
from goodstanding.mailings.outbox import Claim
from tests.mailings.audience import DAY, NOW, claimed, counted, pending, people, planned, response

POLICY = policy_files.load("default")
STAGES: tuple[Stage, ...] = ("connect", "mail", "rcpt", "data", "dot")
MINUTE = 60 * SECOND


LOT = outbox.OpenLot(1, 1, "main", 1, "example.com", 3, None, False, True, False)


def claim(attempt: int = 1, first_attempt_at: int = NOW) -> Claim:
    return Claim(
        delivery=7,
        mailing=1,
        lot=LOT,
        address_id=3,
        address=Address("email", "ann@example.com"),
        recipient="",
        contact=5,
        attempt=attempt,
        first_attempt_at=first_attempt_at,
        token=99,
    )


def said(text: str, outcome: Outcome, stage: Stage = "rcpt", **more: Any) -> Handover:
    return Handover(outcome, stage, int(text[:3]), text, "mx.example.com:25", **more)


def judge(handover: Handover, **more: Any) -> outbox.Outcome:
    reports = more.pop("reports", False)
    return outcomes.judge(claim(**more), handover, POLICY, NOW, Lane(direct=reports))


def kinds(outcome: outbox.Outcome) -> list[str]:
    return [event.kind for event in outcome.events]


UNKNOWN = "550 5.1.1 No such user"
FULL = "552 5.2.2 Mailbox full"
REPUTATION = "550 5.7.1 Service unavailable; client host blocked using a block list"
LATER = "451 4.7.1 Greylisted, try again later"


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize(
    ("handover", "reports", "expected", "again"),
    [
        (("accepted", "250 2.0.0 Queued"), False, ["sent"], False),
        (("accepted", "250 2.0.0 Queued"), True, ["sent", "delivered"], False),
        (("refused", UNKNOWN), False, ["bounced"], False),
        (("refused", REPUTATION), True, ["bounced"], False),
        (("deferred", LATER), False, ["deferred"], True),
        (("lost", "250 "), False, ["lost"], False),
        (("unsent", "250 "), False, [], True),
        (("dropped", "250 "), False, [], True),
    ],
)
def test_each_outcome_at_each_stage(
    stage: Stage,
    handover: tuple[Outcome, str],
    reports: bool,
    expected: list[str],
    again: bool,
) -> None:
    outcome = judge(said(handover[1], handover[0], stage), reports=reports)
    assert kinds(outcome) == expected
    assert (outcome.retry_at is not None) == again
    for event in outcome.events:
        assert event.delivery == 7
        assert event.key == f"{event.kind}:7:1"
        assert event.occurred_at == NOW
        assert event.detail["stage"] == stage
        assert event.detail["attempt"] == 1
        assert event.detail["host"] == "mx.example.com:25"


def test_a_lane_that_reports_nothing_says_so_with_the_mail() -> None:
    for reports in (True, False):
        outcome = judge(said("250 ok", "accepted", "dot"), reports=reports)
        assert outcome.events[0].detail["reports"] is reports


@pytest.mark.parametrize(
    ("text", "category", "disposition"),
    [
        (UNKNOWN, "mailbox_unknown", "hard"),
        (FULL, "mailbox_full", "soft"),
        (REPUTATION, "reputation", "block"),
        ("554 what", "undetermined", "soft"),
    ],
)
@pytest.mark.parametrize("stage", ["rcpt", "data", "dot"])
def test_what_is_said_of_the_recipient_is_read(
    text: str, category: str, disposition: str, stage: Stage
) -> None:
    [event] = judge(said(text, "refused", stage)).events
    assert event.detail["category"] == category
    assert event.detail["disposition"] == disposition
    assert event.detail["text"] == text
    assert event.detail["rules"]


@pytest.mark.parametrize("stage", ["connect", "mail"])
@pytest.mark.parametrize(
    "text", [UNKNOWN, FULL, REPUTATION, "554 what", "521 5.3.2 does not accept mail"]
)
def test_what_is_said_before_the_recipient_is_named_is_about_us(stage: Stage, text: str) -> None:
    [event] = judge(said(text, "refused", stage)).events
    assert event.detail["disposition"] == "block"
    assert CATEGORIES[event.detail["category"]].fault in ("sender", "content")


@pytest.mark.parametrize("stage", ["connect", "mail"])
@pytest.mark.parametrize(
    "text", [LATER, "421 4.3.2 Service not available", "450 4.1.1 No such user", "452 full"]
)
def test_nor_does_being_kept_waiting_then_count_against_anybody(stage: Stage, text: str) -> None:
    [event] = judge(said(text, "deferred", stage)).events
    assert event.detail["disposition"] == "none"
    assert CATEGORIES[event.detail["category"]].fault in ("sender", "content")


def test_a_temporary_refusal_is_temporary_whatever_its_words() -> None:
    for text in ("450 4.1.1 No such user here", "450 5.1.1 User unknown", "421 mailbox disabled"):
        outcome = judge(said(text, "deferred"))
        [event] = outcome.events
        assert event.kind == "deferred"
        assert event.detail["disposition"] == "none"
        assert outcome.retry_at is not None


def test_what_we_refuse_ourselves_is_no_bounce() -> None:
    """No server has said anything, and nothing has left."""
    text = "553 5.6.7 Internationalised address, and the server offers no SMTPUTF8"
    outcome = judge(said(text, "refused", error="decided here, not said by the server"))
    assert kinds(outcome) == ["failed"]
    assert outcome.retry_at is None
    assert outcome.events[0].detail["error"] == "decided here, not said by the server"
    assert outcome.events[0].detail["text"] == text


@pytest.mark.parametrize(("kind", "first"), [("deferred", 5 * MINUTE), ("unsent", MINUTE // 2)])
def test_pauses_grow_are_jittered_and_capped(kind: Outcome, first: int) -> None:
    least = most = first
    for attempt in range(1, 12):
        got = {(judge(said(LATER, kind), attempt=attempt).retry_at or 0) - NOW for _ in range(300)}
        nominal = min(first * 2 ** (attempt - 1), 240 * MINUTE)
        least, most = int(nominal * 0.8), int(nominal * 1.2)
        assert least <= min(got) < nominal * 0.88
        assert nominal * 1.12 < max(got) <= most
    assert most <= 288 * MINUTE
    assert (judge(said(LATER, kind), attempt=5_000).retry_at or 0) - NOW <= 288 * MINUTE


def test_at_the_policys_time_it_is_given_up() -> None:
    """What was put off is left to the clock; what never got through has failed."""
    begun = NOW - POLICY.silence["email"].after + MINUTE
    put_off = judge(said(LATER, "deferred"), attempt=20, first_attempt_at=begun)
    assert kinds(put_off) == ["deferred"]
    assert put_off.retry_at is None
    never = judge(
        Handover("unsent", "connect", host="mx:25", error="Connection refused"),
        attempt=20,
        first_attempt_at=begun,
    )
    assert kinds(never) == ["failed"]
    assert never.retry_at is None
    assert never.events[0].detail["error"] == "Connection refused"


def test_no_retry_is_later_than_the_policys_time() -> None:
    after = POLICY.silence["email"].after
    for hours in range(72):
        begun = NOW - hours * 60 * MINUTE
        retry = judge(said(LATER, "deferred"), attempt=9, first_attempt_at=begun).retry_at
        assert retry is None or retry < begun + after


def test_an_attempt_that_broke() -> None:
    broken = outcomes.broken(claim(), "KeyError: 'x'", POLICY, NOW, fenced=False)
    assert kinds(broken) == []
    assert broken.retry_at is not None
    fenced = outcomes.broken(claim(), "KeyError: 'x'", POLICY, NOW, fenced=True)
    assert kinds(fenced) == ["lost"]
    assert fenced.retry_at is None
    unfit = outcomes.unfit(claim(), "x" * 5_000, NOW)
    assert kinds(unfit) == ["failed"]
    assert len(unfit.events[0].detail["error"]) == 500


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("handover", "became", "status"),
    [
        (said(LATER, "deferred"), "expired", "soft_bouncing"),
        (said("421 4.3.2 busy", "deferred", "connect"), "expired", "opted_in"),
        (Handover("unsent", "connect", error="Connection refused"), "failed", "opted_in"),
        (said(UNKNOWN, "refused"), "hard_bounced", "hard_bounced"),
        (said(UNKNOWN, "refused", "mail"), "block_bounced", "opted_in"),
        (said(FULL, "refused"), "soft_bounced", "soft_bouncing"),
        (said(FULL, "refused", "connect"), "block_bounced", "opted_in"),
        (said(REPUTATION, "refused", "dot"), "block_bounced", "opted_in"),
        (said("553 5.6.7 no", "refused", error="decided here"), "failed", "opted_in"),
        (said("250 ok", "accepted", "dot"), "sent", "opted_in"),
        (Handover("lost", "dot", error="cut"), "lost", "opted_in"),
    ],
)
@pytest.mark.parametrize("reports", [True, False])
def test_where_it_leaves_the_address_in_the_end(
    handover: Handover, became: str, status: str, reports: bool
) -> None:
    """The same answer to every try, until nothing is tried any more."""
    people(1)
    made = planned()
    me = Worker.objects.create(started_at=NOW, host="here", process=1).pk
    at = NOW
    tries = 0
    while pending():
        for mine in claimed(me, 10, at):
            tries += 1
            outcome = outcomes.judge(mine, handover, POLICY, at, Lane(direct=reports))
            outbox.commit([mine], [], at)
            outbox.settle([outcome], at)
        at += 10 * MINUTE
    at += 4 * DAY
    while clock.tick(at):
        pass
    if became == "sent" and reports:
        became = "delivered"
    assert counted(made) == {became: 1}
    assert response(made, "p0") == became
    assert ledger.Address.objects.get(value="p0@example.com").status == status
    assert (tries > 10) == (handover.outcome in ("deferred", "unsent"))


def test_what_kept_it_from_being_tried_is_told() -> None:
    unreachable = Handover("unsent", "connect", error="connection refused by 127.0.0.1:9")
    assert judge(unreachable).trouble == "connection refused by 127.0.0.1:9"
    assert judge(said(LATER, "deferred")).trouble is None
