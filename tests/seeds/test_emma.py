"""Emma's support forum: “what to do when contact has not confirmed opt in”."""

from pathlib import Path
from typing import Any

import pytest

from tests.seeds.scenarios import HOUR, Scenario, heard, mailed, returned

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")

SYSTEM = "emma"
CONFIRMED, UNCONFIRMED = "confirmed opt-in", "has not confirmed opt in"

HARD = "550 5.1.1 The email account that you tried to reach does not exist"
FULL = "452 4.2.2 The recipient's mailbox is full"


def lesser_errors(who: str, count: int, first: int = 1) -> list[dict[str, Any]]:
    """So many campaigns one after another, each of which came back from a full mailbox."""
    return [
        line
        for number in range(first, first + count)
        for line in returned(who, 10 * number, f"campaign {number}", "mailbox_full")
    ]


@pytest.mark.parametrize("failing", [True, False])
@pytest.mark.parametrize("confirmed", [True, False])
def test_error_and_confirmed_opt_in_are_two_kinds_of_things(
    scenario: Scenario, failing: bool, confirmed: bool
) -> None:
    """“Error state and confirmed opt-in are really two different kinds of things.”"""
    scenario.tell(heard("opted_in", "ann", 0))
    if confirmed:
        scenario.tell(heard("confirmed", "ann", 0.5))
    scenario.tell(
        returned("ann", 1, "may", HARD) if failing else mailed("ann", 1, "may", "delivered")
    )
    marks = ["Error (delivery)" if failing else "Active", CONFIRMED if confirmed else UNCONFIRMED]
    assert scenario.name("ann", 2) == marks
    assert (scenario.refusal("ann", 2) == "hard_bounced") is failing


def test_status_is_error_and_has_not_confirmed(scenario: Scenario, tmp_path: Path) -> None:
    """“a great number whose contact status is "error" and their confirmed status is "This contact
    has not confirmed opt in."”"""
    people = "".join(f"p{n}@example.com,2020-01-06\n" for n in range(4))
    permission = ("--permission", "customers of our clients")
    scenario.contacts(tmp_path / "people.csv", f"Email,Consent date\n{people}", *permission)
    scenario.tell(*(returned(f"p{n}", 1, "blast", HARD) for n in range(3)))
    assert sorted(scenario.statuses(2)) == [
        (["Active", UNCONFIRMED], "good", 1),
        (["Error (delivery)", UNCONFIRMED], "ugly", 3),
    ]


def test_error_when_the_address_is_invalid(scenario: Scenario) -> None:
    """“Either the address is invalid”."""
    scenario.tell(heard("opted_in", "ann", 0), heard("found_invalid", "ann", 1, "may"))
    assert scenario.name("ann", 2) == ["Error (format)", UNCONFIRMED]
    assert scenario.refusal("ann", 2) == "invalid_address"


def test_error_at_once_when_the_server_said_dont_try_again(scenario: Scenario) -> None:
    """“the mail server rejected the message saying "don't try again"”."""
    scenario.tell(heard("opted_in", "ann", 0), returned("ann", 1, "may", HARD))
    assert scenario.name("ann", 1) == ["Active", UNCONFIRMED]
    assert scenario.name("ann", 1 + HOUR) == ["Error (delivery)", UNCONFIRMED]


@pytest.mark.parametrize(("errors", "mark"), [(3, "Active"), (4, "Error (delivery)")])
def test_error_after_a_lesser_error_for_the_last_4_campaigns(
    scenario: Scenario, errors: int, mark: str
) -> None:
    """“there has been a lesser error delivering to that address for the last 4 campaigns you've
    sent to that address (like their mailbox is full or something like that).”"""
    scenario.tell(heard("opted_in", "ann", 0), lesser_errors("ann", errors))
    assert scenario.name("ann", 60) == [mark, UNCONFIRMED]
    assert scenario.refusal("ann", 60) == (None if errors < 4 else "soft_stopped")


def test_it_is_the_last_4_that_count(scenario: Scenario) -> None:
    """Four lesser errors, but one campaign among them arrived."""
    scenario.tell(
        heard("opted_in", "ann", 0),
        lesser_errors("ann", 2),
        mailed("ann", 25, "arrived", "delivered"),
        lesser_errors("ann", 2, first=3),
    )
    assert scenario.name("ann", 45) == ["Active", UNCONFIRMED]
    scenario.tell(lesser_errors("ann", 2, first=5))
    assert scenario.name("ann", 65) == ["Error (delivery)", UNCONFIRMED]


def test_one_campaign_counts_once_however_often_it_comes_back(scenario: Scenario) -> None:
    """Four errors of one campaign are not the last four campaigns."""
    scenario.tell(
        heard("opted_in", "ann", 0),
        heard("sent", "ann", 1, "may"),
        *(heard("bounced", "ann", 1 + n, "may", text=FULL) for n in range(1, 5)),
    )
    assert scenario.name("ann", 9) == ["Active", UNCONFIRMED]


def test_marked_as_error_and_as_active_by_hand(scenario: Scenario) -> None:
    """“Should I mark them as active and send an opt-in email?”: the error is gone, and comes back
    with the next failure: “It usually not effective to change the status … and retry”."""
    scenario.tell(heard("opted_in", "ann", 0), returned("ann", 1, "may", HARD))
    assert scenario.name("ann", 2)[0] == "Error (delivery)"
    assert scenario.act("unblock", "ann", 3, "spoke to her").status == 0
    assert scenario.name("ann", 4) == ["Active", UNCONFIRMED]
    assert scenario.refusal("ann", 4) is None
    scenario.tell(returned("ann", 5, "june", HARD))
    assert scenario.name("ann", 6)[0] == "Error (delivery)"

    assert scenario.act("block", "bob", 1, "left the firm").status == 0
    assert scenario.name("bob", 2) == ["Error (changed manually)", UNCONFIRMED]
    scenario.act("unblock", "bob", 3, "is back")
    assert scenario.name("bob", 4) == ["Active", UNCONFIRMED]


def test_marked_as_active_after_lesser_errors(scenario: Scenario) -> None:
    """Whoever is marked as active has all of the last 4 campaigns before them again."""
    scenario.tell(heard("opted_in", "ann", 0), lesser_errors("ann", 4))
    assert scenario.name("ann", 44)[0] == "Error (delivery)"
    scenario.act("unblock", "ann", 45, "she made room")
    scenario.tell(lesser_errors("ann", 3, first=5))
    assert scenario.name("ann", 79) == ["Active", UNCONFIRMED]
    scenario.tell(lesser_errors("ann", 1, first=8))
    assert scenario.name("ann", 89)[0] == "Error (delivery)"


def test_another_opportunity_to_opt_in(scenario: Scenario, tmp_path: Path) -> None:
    """“What is the next step to give these contacts another opportunity to opt-in?”: a request to
    confirm, which goes once to whom it is claimed that they agreed, and to nobody in error."""
    permission = ("--permission", "customers of our clients")
    rows = "Email,Consent date\nann@example.com,2020-01-06\nbob@example.com,2020-01-06\n"
    scenario.contacts(tmp_path / "people.csv", rows, *permission)
    scenario.tell(returned("bob", 1, "blast", HARD))
    assert scenario.refusal("ann", 2, "confirmation") is None
    assert scenario.refusal("bob", 2, "confirmation") == "hard_bounced"
    scenario.tell(mailed("ann", 3, "please confirm", "delivered", purpose="confirmation"))
    assert scenario.refusal("ann", 4, "confirmation") == "limit_reached"
    assert scenario.refusal("ann", 34, "confirmation") is None
    scenario.tell(heard("confirmed", "ann", 35, "please confirm"))
    assert scenario.name("ann", 36) == ["Active", CONFIRMED]


def test_confirming_brings_back_a_bad_address(scenario: Scenario) -> None:
    """“the recipient has taken an extra step to verify … through your signup form welcome message”:
    so somebody is there."""
    scenario.tell(heard("opted_in", "ann", 0), returned("ann", 1, "may", HARD))
    assert scenario.name("ann", 2) == ["Error (delivery)", UNCONFIRMED]
    scenario.tell(heard("opted_in", "ann", 3, how="form"), heard("confirmed", "ann", 4))
    assert scenario.name("ann", 5) == ["Active", CONFIRMED]


def test_you_will_see_a_mix_of_status_here(scenario: Scenario) -> None:
    """“Many recipients aren't given the opportunity to confirm opt-in”: they get mail too."""
    scenario.tell(
        *(heard("opted_in", who, 0) for who in ("ann", "bob", "cai", "dee")),
        *(heard("confirmed", who, 1) for who in ("cai", "dee")),
        heard("opted_out", "bob", 2),
        heard("opted_out", "dee", 2),
    )
    assert scenario.refusal("ann", 3) is None
    assert scenario.refusal("bob", 3) == "opted_out"
    assert sorted(scenario.statuses(3)) == [
        (["Active", CONFIRMED], "good", 1),
        (["Active", UNCONFIRMED], "good", 1),
        (["Opt-out", UNCONFIRMED], "bad", 2),
    ]


PERMANENT = [
    # “permanent errors (mailbox is not longer valid or inactive mostly)”
    ("gmail.com", "550-5.1.1 The email account that you tried to reach does not exist."),
    ("gmail.com", "550 5.2.1 The email account that you tried to reach is disabled."),
    ("yahoo.com", "554 delivery error: dd This user doesn't have a yahoo.com account"),
    ("hotmail.com", "550 5.5.0 Requested action not taken: mailbox unavailable"),
    ("comcast.net", "550 5.1.1 Not our Customer"),
    (None, "550 5.1.1 <bob@example.com>: Recipient address rejected: User unknown"),
    (None, "552 5.2.2 over quota and inactive for more than 90 days"),
]
TRANSIENT = [
    # “mailbox is full”
    ("gmail.com", "552-5.2.2 The email account that you tried to reach is over quota."),
    ("comcast.net", "552 5.2.2 Mailbox full"),
    (None, "550 Mailbox quota exceeded / Mailbox voll"),
    # “technical problems with the receiving server”
    (None, "554 5.3.0 Error writing message: No space left on device"),
    (None, "550 Service temporarily unavailable, please try again later"),
    (None, "554 5.4.6 Too many hops, mail loop detected"),
]
OURS = [
    # “problems with the content of specific campaigns”
    ("gmail.com", "550-5.7.1 Our system has detected that this message is likely unsolicited."),
    (None, "550 5.7.1 Message rejected as spam by Content Filtering"),
    (None, "552 5.3.4 Message size exceeds fixed maximum message size"),
    # “recipient systems flagged or blocked them”
    ("hotmail.com", "550 5.7.1 part of their network is on our block list (S3150)."),
    ("yahoo.com", "553 5.7.1 [BL21] Connections not accepted: the ip is in Spamhaus's list"),
    ("comcast.net", "554 5.7.1 192.0.2.1 found on one or more DNSBLs, see BL000001"),
]


def told(scenario: Scenario, day: int, provider: str | None, reply: str) -> list[dict[str, Any]]:
    """A campaign that came back with that reply, as it is read from that provider."""
    reading = scenario.read(reply, provider)
    return [
        heard("sent", "ann", day, f"campaign {day}"),
        heard(
            *("bounced", "ann", day + HOUR, f"campaign {day}"),
            **{key: reading[key] for key in ("text", "category", "disposition")},
        ),
    ]


@pytest.mark.parametrize(("provider", "reply"), PERMANENT)
def test_permanent_errors_are_errors_at_once(
    scenario: Scenario, provider: str | None, reply: str
) -> None:
    """“due to permanent errors (mailbox is not longer valid or inactive mostly)”."""
    scenario.tell(heard("opted_in", "ann", 0), told(scenario, 1, provider, reply))
    assert scenario.name("ann", 2)[0] == "Error (delivery)"


@pytest.mark.parametrize(("provider", "reply"), TRANSIENT)
def test_permanent_codes_for_what_are_really_transient_errors(
    scenario: Scenario, provider: str | None, reply: str
) -> None:
    """“In many cases, recipients will respond with permanent error codes for what are really
    transient errors.” They count as lesser errors, four of which are needed."""
    scenario.tell(heard("opted_in", "ann", 0))
    scenario.tell(*(told(scenario, day, provider, reply) for day in (1, 2, 3)))
    assert scenario.name("ann", 3.5)[0] == "Active"
    scenario.tell(told(scenario, 4, provider, reply))
    assert scenario.name("ann", 3.5)[0] == "Active"
    assert scenario.name("ann", 5)[0] == "Error (delivery)"


@pytest.mark.parametrize(("provider", "reply"), OURS)
def test_problems_with_the_content_or_the_sender_never_hurt_the_address(
    scenario: Scenario, provider: str | None, reply: str
) -> None:
    """“If a marketer simply took all bounces at face value … their list would be in a downward
    spiral”: what is wrong with a campaign is not wrong with who got it."""
    scenario.tell(heard("opted_in", "ann", 0))
    scenario.tell(*(told(scenario, day, provider, reply) for day in range(1, 7)))
    assert scenario.name("ann", 9)[0] == "Active"
    assert scenario.refusal("ann", 9) is None


def test_recipient_is_on_vacation(scenario: Scenario) -> None:
    """“recipient is on vacation”: an answer by a machine is no error."""
    scenario.tell(
        heard("opted_in", "ann", 0),
        *(mailed("ann", day, f"campaign {day}", "auto_replied") for day in range(1, 7)),
    )
    assert scenario.name("ann", 9)[0] == "Active"


def test_the_same_words_in_a_session_are_temporary(scenario: Scenario) -> None:
    """A server that says 4xx has not refused: the message is tried again, and arrives."""
    scenario.tell(
        heard("opted_in", "ann", 0),
        heard("sent", "ann", 1, "may"),
        heard("deferred", "ann", 1 + HOUR, "may", text=FULL),
        heard("delivered", "ann", 2, "may"),
    )
    assert scenario.delivery("ann", "may", 1.5)["response"] == "deferred"
    assert scenario.delivery("ann", "may", 3)["response"] == "delivered"
    assert scenario.name("ann", 3)[0] == "Active"


def test_a_client_list_over_a_year(scenario: Scenario, on_postgresql: Any) -> None:
    """All of it of a few people at once, heard by two processes."""
    people = ("ann", "bob", "cai", "dee", "eve")
    scenario.tell(
        *(heard("imported", who, 0, permission=True) for who in people),
        lesser_errors("ann", 4),
        mailed("ann", 46, "arrived", "delivered", "opened"),
        lesser_errors("bob", 4),
        heard("confirmed", "bob", 50),
        returned("cai", 11, "campaign 1", HARD),
        returned("dee", 11, "campaign 1", "554 5.7.1 blocked using zen.spamhaus.org"),
        heard("opted_out", "dee", 12, "campaign 1"),
        heard("found_invalid", "eve", 11, "campaign 1"),
    )
    scenario.act("unblock", "cai", 20, "spoke to him")
    assert [scenario.name(who, 60) for who in people] == [
        ["Active", UNCONFIRMED],
        ["Error (delivery)", CONFIRMED],
        ["Active", UNCONFIRMED],
        ["Opt-out", UNCONFIRMED],
        ["Error (format)", UNCONFIRMED],
    ]
    scenario.split(on_postgresql)
