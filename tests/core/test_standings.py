"""Where an address stands (design, section 4): hard bounces, the streak, silence, the first status
that holds."""

from __future__ import annotations

import msgspec
import pytest

from goodstanding.core.events import Event
from goodstanding.core.policies import Unengaged
from goodstanding.core.standings import STATUSES
from tests.core.telling import DEFAULT, SMS, at, bounced, event, sent, standing, status

HARD = "mailbox_unknown"
FULL = "mailbox_full"
OPTED_IN = event("opted_in", 0, how="order")


def hard(days: float, mailing: str, **said: object) -> list[Event]:
    return [sent(days, mailing), bounced(days + 0.01, mailing, HARD, **said)]


def soft(days: float, mailing: str, category: str = FULL) -> list[Event]:
    return [sent(days, mailing), bounced(days + 0.01, mailing, category)]


def good(days: float, mailing: str, kind: str = "delivered") -> list[Event]:
    return [sent(days, mailing), event(kind, days + 0.01, mailing)]


# Which status is shown.


IN_ORDER: dict[str, list[Event]] = {
    "complained": [event("complained", 50, "other")],
    "opted_out_with_feedback": [event("opted_out_with_feedback", 40)],
    "invalid": [event("declared_invalid", 40)],
    "hard_bounced": hard(40, "h1"),
    "soft_stopped": [each for n in range(5) for each in soft(4 * n, f"s{n}")],
    "blocked": [event("blocked", 40)],
    "locked": [event("locked", 40)],
    "soft_bouncing": soft(40, "b1"),
    "opted_in": [OPTED_IN],
}


def test_the_first_status_of_the_table_that_holds_is_shown() -> None:
    names = list(IN_ORDER)
    for place, name in enumerate(names):
        events = [event for lower in names[place:] for event in IN_ORDER[lower]]
        shown = standing(*events)
        assert (shown.status, shown.family) == (name, STATUSES[name].family)


@pytest.mark.parametrize(
    ("family", "names"),
    {
        "good": "unengaged confirmed confirmed_custom opted_in",
        "bad": "opted_out_with_feedback list_unsubscribed opted_out opted_out_by_admin blocked"
        " locked non_marketable unengaged_blocked soft_bouncing",
        "ugly": "complained spam_reported invalid hard_bounced soft_stopped",
    }.items(),
)
def test_every_status_has_its_family(family: str, names: str) -> None:
    assert {name for name, said in STATUSES.items() if said.family == family} == set(names.split())


def test_a_standing_says_since_when_and_which_event_led_to_it() -> None:
    shown = standing(OPTED_IN, event("blocked", 3, key="op-1"))
    assert (shown.status, shown.since, shown.led_by) == ("blocked", at(3), "op-1")
    shown = standing(OPTED_IN, *hard(40, "m"))
    assert (shown.since, shown.category) == (at(40.01), HARD)
    assert standing().since is None


def test_whether_consent_was_confirmed_is_known_whatever_the_status() -> None:
    shown = standing(event("confirmed", 0), *hard(40, "m"))
    assert (shown.status, shown.confirmed) == ("hard_bounced", True)
    assert not standing(OPTED_IN, *hard(40, "m")).confirmed


# Hard bounces.


def test_one_hard_bounce_stops() -> None:
    assert status(OPTED_IN, *hard(40, "m")) == "hard_bounced"


@pytest.mark.parametrize("kind", ["opened", "clicked", "replied"])
def test_two_are_needed_where_a_person_engaged_in_the_thirty_days_before(kind: str) -> None:
    engaged = event(kind, 11, "earlier")
    assert status(OPTED_IN, engaged, *hard(40, "m1")) == "opted_in"
    assert status(OPTED_IN, engaged, *hard(40, "m1"), *hard(45, "m2")) == "hard_bounced"
    assert status(OPTED_IN, event(kind, 10, "earlier"), *hard(40, "m1")) == "hard_bounced"


def test_the_thirty_days_are_those_before_the_first_of_them() -> None:
    engaged = event("opened", 11, "earlier")
    assert status(OPTED_IN, engaged, *hard(42, "m1")) == "hard_bounced"
    assert status(OPTED_IN, engaged, *hard(38, "m1"), *hard(39, "m2")) == "hard_bounced"
    shown = standing(OPTED_IN, engaged, *hard(38, "m1"), *hard(60, "m2"))
    assert (shown.status, shown.since) == ("hard_bounced", at(60.01))


def test_hearing_of_one_more_open_does_not_stop_an_address() -> None:
    events = [OPTED_IN, event("opened", 5, "earlier"), event("opened", 20, "earlier")]
    assert status(*events, *hard(40, "m1")) == "opted_in"
    assert status(*events, *hard(40, "m1"), event("opened", 41, "earlier")) == "opted_in"


def test_machines_do_not_vouch_for_anybody() -> None:
    events = [event("machine_opened", 39, "earlier"), event("machine_clicked", 39, "earlier")]
    assert status(OPTED_IN, *events, *hard(40, "m1")) == "hard_bounced"


def test_distinct_mailings_count() -> None:
    engaged = event("opened", 39, "earlier")
    twice = [*hard(40, "m1"), bounced(41, "m1", HARD)]
    assert status(OPTED_IN, engaged, *twice) == "opted_in"
    others = [bounced(42, "m1", HARD, recipient="contact-2")]
    assert status(OPTED_IN, engaged, *twice, *others) == "opted_in"
    stray = bounced(43, None, HARD)
    assert status(OPTED_IN, engaged, *twice, stray) == "hard_bounced"


@pytest.mark.parametrize("lift", ["unblocked", "corrected", "confirmed"])
def test_what_lifts_a_hard_bounce(lift: str) -> None:
    lifted = "confirmed" if lift == "confirmed" else "opted_in"
    assert status(OPTED_IN, *hard(40, "m"), event(lift, 41)) == lifted
    assert status(OPTED_IN, *hard(40, "m"), event(lift, 9)) == "hard_bounced"


@pytest.mark.parametrize("lift", ["unblocked", "corrected"])
def test_in_a_tie_the_bounce_stands(lift: str) -> None:
    assert status(OPTED_IN, *hard(40, "m"), event(lift, 40.01)) == "hard_bounced"
    again = bounced(42, "m", HARD)
    assert standing(OPTED_IN, *hard(40, "m"), event(lift, 41), again).since == at(42)


def test_it_counts_anew_after_being_lifted() -> None:
    events = [OPTED_IN, *hard(40, "m1"), event("unblocked", 41)]
    assert status(*events, *hard(42, "m2")) == "hard_bounced"
    engaged = event("opened", 41.5, "m0")
    assert status(*events, engaged, *hard(42, "m2")) == "opted_in"


@pytest.mark.parametrize("kind", ["clicked", "replied"])
def test_a_click_or_reply_on_later_mail_lifts_it(kind: str) -> None:
    events = [OPTED_IN, *hard(40, "m1")]
    assert status(*events, sent(50, "m2"), event(kind, 50.1, "m2")) == "opted_in"
    assert status(*events, sent(39, "m0"), event(kind, 50, "m0")) == "hard_bounced"
    assert status(*events, sent(40.01, "m2"), event(kind, 50, "m2")) == "hard_bounced"


def test_an_open_does_not() -> None:
    assert status(OPTED_IN, *hard(40, "m1"), *good(50, "m2", "opened")) == "hard_bounced"


def test_nor_does_it_where_the_policy_says_so() -> None:
    policy = msgspec.structs.replace(
        DEFAULT, hard=msgspec.structs.replace(DEFAULT.hard, lifted_by_engagement=False)
    )
    events = [OPTED_IN, *hard(40, "m1"), sent(50, "m2"), event("clicked", 50.1, "m2")]
    assert status(*events, policy=policy) == "hard_bounced"


@pytest.mark.parametrize("category", ["reputation", "spam_content", "rate_limited", "virus"])
def test_what_is_the_senders_or_the_contents_fault_never_hurts(category: str) -> None:
    many = [each for n in range(12) for each in soft(3 * n, f"m{n}", category)]
    assert status(OPTED_IN, *many) == "opted_in"
    assert standing(OPTED_IN, *many).streak == 0


# The streak.


def streak_of(count: int, apart: float = 4) -> list[Event]:
    return [each for n in range(count) for each in soft(apart * n, f"m{n}")]


def test_soft_bounces_show_but_do_not_stop() -> None:
    for count in range(1, 5):
        shown = standing(OPTED_IN, *streak_of(count))
        assert (shown.status, shown.streak, shown.since) == ("soft_bouncing", count, at(0))
        assert shown.blocks["broadcast"] is None


def test_five_mailings_over_fourteen_days_do() -> None:
    assert status(OPTED_IN, *streak_of(5)) == "soft_stopped"
    assert standing(OPTED_IN, *streak_of(5)).since == at(16)
    assert status(OPTED_IN, *streak_of(5, 3.5)) == "soft_stopped"
    assert status(OPTED_IN, *streak_of(5, 3.49)) == "soft_bouncing"
    assert status(OPTED_IN, *streak_of(9, 1)) == "soft_bouncing"
    assert status(OPTED_IN, *streak_of(15, 1)) == "soft_stopped"


def test_one_mailing_to_two_recipients_counts_once() -> None:
    other = [
        Event(**{**msgspec.structs.asdict(each), "recipient": "contact-2"})
        for each in streak_of(5)[:8]
    ]
    assert standing(OPTED_IN, *streak_of(4), *other).streak == 4


@pytest.mark.parametrize(
    "kind",
    [
        *("delivered", "machine_opened", "machine_clicked", "opened", "clicked", "replied"),
        *("opted_out", "complained"),
    ],
)
def test_a_good_outcome_ends_it(kind: str) -> None:
    later = [*streak_of(4), *good(14, "g", kind), *soft(16, "s")]
    assert standing(OPTED_IN, *later).streak == 1


@pytest.mark.parametrize("lift", ["unblocked", "corrected"])
def test_so_does_an_operator(lift: str) -> None:
    assert status(OPTED_IN, *streak_of(5), event(lift, 20)) == "opted_in"
    assert standing(OPTED_IN, *streak_of(5), event(lift, 13)).streak == 1


def test_it_goes_by_the_time_of_sending_not_of_hearing() -> None:
    late = [sent(10, "g"), event("delivered", 30, "g")]
    assert standing(OPTED_IN, *streak_of(5), *late).streak == 2


@pytest.mark.parametrize(
    "nothing", [["lost"], ["failed"], ["untraceable"], ["sent", "untraceable"], ["planned"]]
)
def test_what_says_nothing_neither_ends_nor_adds(nothing: list[str]) -> None:
    more = [event(kind, 17, "x") for kind in nothing]
    assert standing(OPTED_IN, *streak_of(4), *more).streak == 4


def test_blocks_count_only_where_the_policy_says_so() -> None:
    events = [OPTED_IN, *(each for n in range(5) for each in soft(4 * n, f"m{n}", "reputation"))]
    policy = msgspec.structs.replace(
        DEFAULT, streak=msgspec.structs.replace(DEFAULT.streak, block_bounces=True)
    )
    assert status(*events, policy=policy) == "soft_stopped"
    assert status(*events) == "opted_in"


def test_silence_counts_only_after_a_deferral() -> None:
    silent = [sent(4 * n, f"m{n}") for n in range(6)]
    assert standing(OPTED_IN, *silent).streak == 0
    put_off = [event("deferred", 4 * n + 1, f"m{n}", category="greylisted") for n in range(6)]
    assert standing(OPTED_IN, *silent, *put_off).streak == 6
    ours = [event("deferred", 4 * n + 2, f"m{n}", category="rate_limited") for n in range(6)]
    assert standing(OPTED_IN, *silent, *put_off, *ours).streak == 0


def test_silence_comes_with_the_time_and_is_announced() -> None:
    events = [OPTED_IN, sent(0, "m"), event("deferred", 1, "m")]
    before = standing(*events, now=2)
    assert (before.status, before.due_at) == ("opted_in", at(3))
    assert standing(*events, now=3).status == "soft_bouncing"


def test_on_sms_five_in_ninety_days_stop() -> None:
    def texts(apart: float) -> list[Event]:
        return [
            msgspec.structs.replace(each, address=SMS) for each in [OPTED_IN, *streak_of(5, apart)]
        ]

    assert standing(*texts(22.5), channel="sms").status == "soft_stopped"
    assert standing(*texts(0.1), channel="sms").status == "soft_stopped"
    assert standing(*texts(22.6), channel="sms").status == "soft_bouncing"


# Invalid, blocked, locked.


@pytest.mark.parametrize(
    ("on", "off", "shown"),
    [
        (event("declared_invalid", 1), event("corrected", 2), "invalid"),
        (event("found_invalid", 1, "m"), event("corrected", 2), "invalid"),
        (event("blocked", 1), event("unblocked", 2), "blocked"),
        (event("locked", 1), event("unlocked", 2), "locked"),
    ],
)
def test_a_restriction_stands_until_it_is_lifted_later(on: Event, off: Event, shown: str) -> None:
    tied = msgspec.structs.replace(off, occurred_at=on.occurred_at)
    early = msgspec.structs.replace(off, occurred_at=at(0.5))
    assert status(OPTED_IN, on) == shown
    assert status(OPTED_IN, on, tied) == shown
    assert status(OPTED_IN, on, early) == shown
    assert status(OPTED_IN, on, off) == "opted_in"


# Nobody there.


def delivered(*days: float, kind: str = "delivered") -> list[Event]:
    return [event(kind, day, f"d{day}") for day in days]


def test_unengaged_after_120_days_and_three_delivered_since() -> None:
    events = [OPTED_IN, *delivered(1, 50, 60, 70)]
    # The first mailing delivered is a beginning as the opt-in is: the silence runs from it.
    assert status(*events, now=120.9) == "opted_in"
    shown = standing(*events, now=121)
    assert (shown.status, shown.family, shown.since) == ("unengaged", "good", at(121))
    assert shown.blocks["broadcast"] is None


def test_three_must_have_been_delivered_since() -> None:
    assert status(OPTED_IN, *delivered(1, 50, 60), now=300) == "opted_in"
    shown = standing(OPTED_IN, *delivered(1, 50, 60, 200), now=300)
    assert (shown.status, shown.since) == ("unengaged", at(200))


def test_what_came_back_later_was_not_delivered() -> None:
    events = [OPTED_IN, *delivered(1, 50, 60, 70)]
    assert status(*events, bounced(71, "d70", FULL), now=300) == "soft_bouncing"
    assert status(*events, bounced(71, "d70", FULL), event("unblocked", 72), now=300) == "opted_in"


def test_stopped_after_365_days() -> None:
    events = [OPTED_IN, *delivered(1, 50, 60, 70)]
    assert status(*events, now=365.9) == "unengaged"
    shown = standing(*events, now=366)
    assert (shown.status, shown.family) == ("unengaged_blocked", "bad")
    assert shown.blocks["broadcast"] == "unengaged"
    assert shown.blocks["one_off"] is None


@pytest.mark.parametrize(
    "sign",
    [
        event("opened", 90, "d50"),
        event("clicked", 90, "d50"),
        event("replied", 90, "d50"),
        event("opted_in", 90, how="form"),
        event("opted_in", 90, how="phone"),
        event("opted_in", 90, topic="news"),
        event("confirmed", 90),
        event("admin_opted_in", 90),
    ],
)
def test_any_sign_of_life_starts_it_anew(sign: Event) -> None:
    events = [OPTED_IN, *delivered(1, 50, 60, 70), sign]
    assert status(*events, now=400) in ("opted_in", "confirmed")
    again = [*events, *delivered(100, 101, 102)]
    assert status(*again, now=209) in ("opted_in", "confirmed")
    assert status(*again, now=210) == "unengaged"
    assert status(*again, now=455) == "unengaged_blocked"


def test_machine_opens_count_only_against_being_stopped() -> None:
    events = [OPTED_IN, *delivered(1, 50, 60, 70), event("machine_opened", 90, "d70")]
    events += delivered(100, 101, 102)
    assert status(*events, now=121) == "unengaged"
    assert status(*events, now=454) == "unengaged"
    assert status(*events, now=455) == "unengaged_blocked"


def test_without_such_a_rule_nobody_is_unengaged() -> None:
    policy = msgspec.structs.replace(DEFAULT, unengaged=Unengaged())
    assert status(OPTED_IN, *delivered(1, 50, 60, 70), now=9000, policy=policy) == "opted_in"


def test_who_opted_in_to_a_topic_alone_can_be_unengaged_too() -> None:
    events = [event("opted_in", 0, topic="news"), *delivered(1, 50, 60, 70)]
    assert standing(*events, now=365).topics["news"]["broadcast"] is None
    shown = standing(*events, now=366)
    assert (shown.status, shown.topics["news"]["broadcast"]) == ("non_marketable", "unengaged")
    assert shown.blocks["broadcast"] == "never_opted_in"
