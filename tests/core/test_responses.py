"""What became of a message (design, section 3)."""

from __future__ import annotations

from itertools import combinations

import msgspec
import pytest

from goodstanding.core import policy_files
from goodstanding.core.events import Event
from tests.core.telling import (
    DEFAULT,
    HOUR,
    at,
    became,
    bounced,
    event,
    response,
    sent,
    standing,
    tell,
)

M = "spring"

# The table of section 3 from its top down, and what each row is heard as.
NOT_FINAL = {
    "planned": ("planned", {}),
    "queued": ("queued", {}),
    "failed": ("failed", {}),
    "lost": ("lost", {}),
    "sent": ("sent", {"reports": False}),
    "deferred": ("deferred", {}),
    "untraceable": ("untraceable", {}),
    "undelivered": ("undelivered", {}),
    "block_bounced": ("bounced", {"category": "reputation"}),
    "soft_bounced": ("bounced", {"category": "mailbox_full"}),
    "delivered": ("delivered", {}),
    "machine_opened": ("machine_opened", {}),
    "machine_clicked": ("machine_clicked", {}),
    "opened": ("opened", {}),
    "clicked": ("clicked", {}),
    "replied": ("replied", {}),
}
FINAL = {
    "unsubscribed": ("opted_out", {}),
    "complained": ("complained", {}),
    "hard_bounced": ("bounced", {"category": "mailbox_unknown"}),
    "invalid": ("found_invalid", {}),
    "stopped_expired": ("stopped", {"reason": "expired"}),
    "stopped": ("stopped", {"reason": "by hand"}),
    "skipped:duplicate": ("skipped", {"reason": "duplicate"}),
    "skipped:refused_by_provider": ("bounced", {"category": "provider_suppressed"}),
}
SAID = NOT_FINAL | FINAL
# Two stops are one thing said twice: its first reason is told.
FINALS = [pair for pair in combinations(FINAL, 2) if pair != ("stopped_expired", "stopped")]
EVIDENCE = [
    *("sent", "untraceable", "undelivered", "block_bounced", "soft_bounced", "delivered"),
    *("machine_opened", "machine_clicked", "opened", "clicked", "replied", "unsubscribed"),
    *("complained", "hard_bounced"),
]


def heard(name: str, days: float) -> Event:
    kind, detail = SAID[name]
    return event(kind, days, M, **detail)


@pytest.mark.parametrize("name", SAID)
def test_what_alone_was_heard_is_the_response(name: str) -> None:
    only = response(heard(name, 0.5), now=0.6)
    assert (only.name, only.since) == (name, at(0.5))


@pytest.mark.parametrize(("higher", "lower"), [*combinations(NOT_FINAL, 2)])
def test_what_stands_further_down_the_table_is_shown(higher: str, lower: str) -> None:
    assert became(heard(higher, 0), heard(lower, 0), now=0.1) == lower
    assert became(heard(higher, 0), heard(lower, 0.5), now=0.6) == lower


LATER_STANDS = {
    ("sent", "deferred"),
    *(
        (bounce, good)
        for bounce in ("block_bounced", "soft_bounced")
        for good in ("delivered", "machine_opened", "machine_clicked")
    ),
}


@pytest.mark.parametrize(("higher", "lower"), [*combinations(NOT_FINAL, 2)])
def test_even_when_the_other_came_later_save_where_the_later_stands(
    higher: str, lower: str
) -> None:
    expected = higher if (higher, lower) in LATER_STANDS else lower
    assert became(heard(lower, 0), heard(higher, 0.5), now=0.6) == expected


@pytest.mark.parametrize("person", ["opened", "clicked", "replied", "unsubscribed", "complained"])
@pytest.mark.parametrize("bounce", ["block_bounced", "soft_bounced"])
def test_a_persons_doing_outranks_delivery_and_bounce(person: str, bounce: str) -> None:
    for days in (0.1, 0.6, 0.9):
        events = [heard("delivered", 0.5), heard(bounce, 0.7), heard(person, days)]
        assert became(*events, now=1) == person


def test_a_late_bounce_undoes_a_delivery_and_a_late_delivery_a_bounce() -> None:
    first, late = heard("delivered", 0.1), heard("soft_bounced", 0.2)
    retried = heard("delivered", 0.3)
    assert became(first, late) == "soft_bounced"
    assert became(first, late, retried) == "delivered"
    assert became(first, late, heard("machine_opened", 0.3)) == "machine_opened"


def test_a_machines_open_is_an_open_where_the_policy_has_it_and_no_more() -> None:
    opened = heard("machine_opened", 0.1)
    assert response(opened, policy=policy_files.load("engage")).name == "opened"
    assert response(opened, policy=policy_files.load("creatio")).name == "machine_opened"
    bounce = heard("soft_bounced", 0.3)
    assert response(opened, bounce, policy=policy_files.load("engage")).name == "soft_bounced"


def test_silence_is_an_answer_for_good_where_the_policy_has_it() -> None:
    late = (sent(0, M), heard("delivered", 2.5))
    assert response(*late, policy=policy_files.load("creatio")).name == "expired"
    assert response(*late).name == "delivered"


@pytest.mark.parametrize("what", EVIDENCE)
@pytest.mark.parametrize("days", [0.1, 0.9])
def test_any_evidence_that_it_left_outranks_lost(what: str, days: float) -> None:
    assert became(heard("lost", 0.5), heard(what, days), now=1) == what


def test_an_automatic_reply_is_such_evidence() -> None:
    auto = event("auto_replied", 0.6, M)
    assert became(heard("lost", 0.5), auto) == "sent"
    assert became(heard("stopped", 0.5), auto) == "sent"
    assert became(heard("sent", 0.5), auto, heard("delivered", 0.7)) == "delivered"


@pytest.mark.parametrize(
    ("final", "other"),
    [
        (final, other)
        for final in FINAL
        for other in NOT_FINAL
        if not (final.startswith("stopped") and other in EVIDENCE)
    ],
)
def test_what_is_final_stays(final: str, other: str) -> None:
    assert became(heard(final, 0.2), heard(other, 0.5), now=0.6) == final
    assert became(heard(other, 0.1), heard(final, 0.2), now=0.6) == final


@pytest.mark.parametrize("stop", ["stopped", "stopped_expired"])
@pytest.mark.parametrize("what", EVIDENCE)
def test_a_stop_is_final_unless_there_is_evidence_that_it_left(stop: str, what: str) -> None:
    assert became(heard(stop, 0.2), heard(what, 0.5), now=0.6) == what
    assert became(heard(what, 0.1), heard(stop, 0.2), now=0.6) == what


@pytest.mark.parametrize(("one", "other"), FINALS)
def test_the_first_final_thing_stays(one: str, other: str) -> None:
    for first, second in ((one, other), (other, one)):
        expected = first
        if first.startswith("stopped") and second in EVIDENCE:
            expected = second
        if (first, second) == ("unsubscribed", "complained"):
            expected = "complained"
        assert became(heard(first, 0.2), heard(second, 0.5)) == expected


@pytest.mark.parametrize(("higher", "lower"), FINALS)
def test_of_two_final_things_at_one_instant_the_lower_stands(higher: str, lower: str) -> None:
    expected = higher if lower.startswith("stopped") and higher in EVIDENCE else lower
    assert became(heard(higher, 0.2), heard(lower, 0.2)) == expected


def test_a_complaint_outranks_the_unsubscribing_that_came_first() -> None:
    unsubscribed, complained = heard("unsubscribed", 0.1), heard("complained", 0.3)
    assert became(unsubscribed, complained) == "complained"
    assert became(unsubscribed, heard("hard_bounced", 0.2), complained) == "complained"
    assert became(heard("hard_bounced", 0.05), unsubscribed, complained) == "hard_bounced"


@pytest.mark.parametrize(
    "kind", ["opted_out", "list_unsubscribed", "opted_out_with_feedback", "spam_reported"]
)
def test_what_a_person_says_about_a_mailing_moves_their_delivery(kind: str) -> None:
    assert became(sent(0, M), event(kind, 1, M)) == "unsubscribed"


@pytest.mark.parametrize("kind", ["opted_in", "confirmed", "complaint_withdrawn"])
def test_other_words_do_not(kind: str) -> None:
    assert became(sent(0, M, reports=False), event(kind, 1, M)) == "sent"


# Silence.


@pytest.mark.parametrize(("channel", "hours"), [("email", 72), ("sms", 48)])
def test_where_the_lane_reports_deliveries_silence_is_an_answer(channel: str, hours: int) -> None:
    mail = sent(0, M, reports=True)
    before = response(mail, now=hours / 24 - 1e-9, channel=channel)
    assert (before.name, before.due_at) == ("sent", at(0) + hours * HOUR)
    after = response(mail, now=hours / 24, channel=channel)
    assert (after.name, after.since, after.outcome) == ("expired", at(0) + hours * HOUR, None)


def test_where_it_does_not_no_news_tells_nothing() -> None:
    only = response(sent(0, M, reports=False))
    assert (only.name, only.due_at) == ("sent", None)


def test_but_what_was_put_off_expires_there_too() -> None:
    events = [sent(0, M, reports=False), event("deferred", 1, M, category="greylisted")]
    assert response(*events, now=2).due_at == at(3)
    assert became(*events, now=3) == "expired"


def test_a_relays_own_greylisting_that_it_got_over_does_not_expire() -> None:
    events = [event("deferred", 0, M), sent(0.1, M, reports=False)]
    assert became(*events) == "sent"
    assert became(*events, event("deferred", 0.2, M)) == "expired"


def test_where_deliveries_are_reported_what_is_furthest_down_stands() -> None:
    assert response(event("deferred", 0, M), sent(0.1, M), now=1).name == "deferred"


def test_what_was_lost_after_it_was_put_off_is_not_the_addresss_silence() -> None:
    put_off = event("deferred", 0, M, category="greylisted")
    assert response(put_off, now=5).outcome == "soft"
    assert response(put_off, event("lost", 0.1, M), now=5).outcome is None


def test_a_late_delivery_corrects_what_expired() -> None:
    assert became(sent(0, M), event("delivered", 20, M)) == "delivered"


@pytest.mark.parametrize("name", ["planned", "queued", "failed", "lost", "untraceable"])
def test_nothing_else_expires(name: str) -> None:
    assert became(heard(name, 0)) == name


@pytest.mark.parametrize(
    ("category", "outcome"),
    [
        ("greylisted", "soft"),
        ("mailbox_full", "soft"),
        ("network_error", "soft"),
        ("undetermined", "soft"),
        (None, "soft"),
        ("reputation", None),
        ("rate_limited", None),
        ("spam_content", None),
    ],
)
def test_what_expired_counts_by_the_fault_of_the_last_deferral(
    category: str | None, outcome: str | None
) -> None:
    earlier = event("deferred", 0.5, M, category="reputation" if outcome else "greylisted")
    last = event("deferred", 1, M, category=category)
    only = response(sent(0, M), earlier, last)
    assert (only.name, only.outcome) == ("expired", outcome)


# What the reading says.


@pytest.mark.parametrize(
    ("category", "disposition", "name"),
    [
        ("mailbox_unknown", None, "hard_bounced"),
        ("domain_unknown", None, "hard_bounced"),
        ("mailbox_full", None, "soft_bounced"),
        ("forwarding_failed", None, "soft_bounced"),
        ("mailbox_unknown", "soft", "soft_bounced"),
        ("reputation", None, "block_bounced"),
        ("reputation", "hard", "block_bounced"),
        ("spam_content", "soft", "block_bounced"),
        ("timed_out", None, "soft_bounced"),
        ("timed_out", "block", "block_bounced"),
        ("provider_suppressed", None, "skipped:refused_by_provider"),
        ("carrier_opted_out", None, "skipped:refused_by_provider"),
        (None, None, "soft_bounced"),
        (None, "hard", "hard_bounced"),
        ("never heard of", None, "soft_bounced"),
        (["odd"], {"odd": 1}, "soft_bounced"),
    ],
)
def test_a_bounce_is_what_its_reading_says_and_never_the_senders_fault_the_addresss(
    category: object, disposition: object, name: str
) -> None:
    bounce = event("bounced", 1, M, category=category, disposition=disposition)
    assert became(sent(0, M), bounce) == name


@pytest.mark.parametrize(
    ("category", "name", "outcome"),
    [
        ("reputation", "block_bounced", None),
        ("spam_content", "block_bounced", None),
        ("greylisted", "soft_bounced", "soft"),
        ("mailbox_full", "soft_bounced", "soft"),
        (None, "soft_bounced", "soft"),
    ],
)
def test_giving_up_after_retrying_has_the_fault_of_the_last_deferral(
    category: str | None, name: str, outcome: str | None
) -> None:
    put_off = event("deferred", 1, M, category=category)
    for events in ([put_off], [put_off, event("deferred", 0.5, M, category="greylisted")]):
        only = response(sent(0, M), *events, bounced(2, M, "timed_out"))
        assert (only.name, only.outcome) == (name, outcome)


def test_opens_and_clicks_go_on_after_a_final_response() -> None:
    told = tell(
        sent(0, M),
        event("opened", 1, M),
        event("opted_out", 2, M),
        event("opened", 3, M),
        event("clicked", 4, M),
        event("machine_opened", 5, M),
    )
    [delivery] = told.deliveries.values()
    assert (delivery.opens, delivery.clicks) == (2, 1)


def test_recipients_of_one_mailing_are_told_apart() -> None:
    told = standing(sent(0, M, recipient="a"), event("delivered", 1, M, recipient="b"), now=2)
    assert [each.name for each in told.responses] == ["sent", "delivered"]


def test_statistics_may_be_cut_but_standings_never_freeze() -> None:
    policy = msgspec.structs.replace(DEFAULT, statistics_days=7)
    events = [sent(0, M), event("delivered", 1, M), bounced(9, M, "mailbox_full")]
    cut = standing(*events, policy=policy)
    assert [each.name for each in cut.responses] == ["delivered"]
    assert cut.streak == 1
    assert [each.name for each in standing(*events).responses] == ["soft_bounced"]


def test_a_policy_may_make_silence_final() -> None:
    rules = tuple(
        msgspec.structs.replace(rule, final=rule.final or rule.name == "expired")
        for rule in DEFAULT.responses
    )
    policy = msgspec.structs.replace(DEFAULT, responses=rules)
    late = [sent(0, M), event("delivered", 20, M)]
    assert response(*late, policy=policy).name == "expired"
    assert response(*late[:1], event("delivered", 1, M), policy=policy).name == "delivered"
