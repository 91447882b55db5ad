"""Engage's guide to the statuses under a contact card's 'Messages' tab, email and SMS."""

from typing import Any

import pytest

from tests.seeds.scenarios import HOUR, Scenario, heard, mailed, returned

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")

SYSTEM = "engage"
PHONE = "+34600000001"

EMAIL: dict[str, list[Any]] = {
    "Delivered": mailed("ann", 1, "may", "delivered"),
    "Delivered (Opened)": mailed("ann", 1, "may", "delivered", "opened"),
    "Soft bounce": returned("ann", 1, "may", "mailbox_full"),
    "Hard bounce": returned("ann", 1, "may", "mailbox_unknown"),
    "Blocked": returned("ann", 1, "may", "reputation"),
    "Deferred": returned("ann", 1, "may", "greylisted", kind="deferred"),
    "Unknown": mailed("ann", 1, "may"),
    "Failed": mailed("ann", 1, "may", "undelivered"),
    "Control group": [heard("skipped", "ann", 1, "may", reason="control_group")],
}
SMS: dict[str, list[Any]] = {
    "Delivered": mailed(PHONE, 1, "may", "delivered"),
    "Not delivered": mailed(PHONE, 1, "may", "undelivered"),
    "Soft bounce": returned(PHONE, 1, "may", "handset_unreachable"),
    "Hard bounce": returned(PHONE, 1, "may", "number_invalid"),
    "Failed for unknown reasons": [heard("lost", PHONE, 1, "may")],
    "Unknown": mailed(PHONE, 1, "may"),
    "Control group": [heard("skipped", PHONE, 1, "may", reason="control_group")],
    "No delivery status available": mailed(PHONE, 1, "may", "untraceable"),
}


@pytest.mark.parametrize("status", EMAIL)
def test_email_messages(scenario: Scenario, status: str) -> None:
    """“These explain the delivery status for each email … message you have sent to the contact.”"""
    scenario.tell(heard("opted_in", "ann", 0), EMAIL[status])
    assert scenario.response("ann", "may", 2) == status


@pytest.mark.parametrize("status", SMS)
def test_sms_messages(scenario: Scenario, status: str) -> None:
    """“… and SMS message you have sent to the contact.”"""
    scenario.tell(heard("opted_in", PHONE, 0), SMS[status])
    assert scenario.response(PHONE, "may", 2) == status


@pytest.mark.parametrize("kind", ["opened", "machine_opened", "clicked"])
def test_automatic_downloads_of_images_are_opened_too(scenario: Scenario, kind: str) -> None:
    """“Recipients that have automatic downloads of images in email will get the status Delivered
    (Opened).”"""
    scenario.tell(heard("opted_in", "ann", 0), mailed("ann", 1, "may", "delivered", kind))
    assert scenario.response("ann", "may", 2) == "Delivered (Opened)"
    opens = 0 if kind == "clicked" else 1
    assert scenario.delivery("ann", "may", 2)["opens"] == opens
    assert scenario.mailing("may", 2)["opens"] == scenario.mailing("may")["opens"] == opens


@pytest.mark.parametrize(
    "said", ["552 5.2.2 The recipient's inbox is full", "554 5.3.2 The mail server is down"]
)
def test_soft_bounce_the_inbox_is_full_or_the_server_down(scenario: Scenario, said: str) -> None:
    """“A soft bounce might occur because the recipient's inbox is full or the mail server is
    down.”"""
    scenario.tell(heard("opted_in", "ann", 0), returned("ann", 1, "may", said))
    assert scenario.response("ann", "may", 2) == "Soft bounce"
    assert scenario.name("ann", 2) == "active"


def test_soft_bounces_of_different_send_outs_never_deactivate(scenario: Scenario) -> None:
    """“Multiple soft bounces on a contact, from different send-outs, will not lead to de-activation
    of the email address. … Engage will send to these addresses the next time”."""
    scenario.tell(heard("opted_in", "ann", 0))
    scenario.tell(*(returned("ann", 7 * n, f"week {n}", "mailbox_full") for n in range(1, 21)))
    assert scenario.name("ann", 150) == "active"
    assert scenario.refusal("ann", 150) is None
    assert scenario.refusal("ann", 150, "broadcast", "--policy", "default") == "soft_stopped"
    scenario.tell(mailed("ann", 151, "week 21", "delivered"))
    assert scenario.response("ann", "week 21", 152) == "Delivered"
    assert scenario.response("ann", "week 20", 152) == "Soft bounce"


@pytest.mark.parametrize(
    "said", ["550 5.1.2 The domain name doesn't exist", "550 5.1.1 The recipient is unknown"]
)
def test_one_hard_bounce_deactivates_the_address(scenario: Scenario, said: str) -> None:
    """“because the domain name doesn't exist or because the recipient is unknown. One hard bounce
    on a contact will lead to de-activation of the email address. … You can manually unblock”."""
    scenario.tell(
        heard("opted_in", "ann", 0),
        mailed("ann", 1, "april", "delivered", "opened"),
        returned("ann", 2, "may", said),
    )
    assert scenario.response("ann", "may", 3) == "Hard bounce"
    assert scenario.name("ann", 3) == "blocked"
    for purpose in ("broadcast", "sequence", "one_off", "transactional"):
        assert scenario.refusal("ann", 3, purpose) == "hard_bounced"
    assert scenario.act("unblock", "ann", 4, "the domain is registered again").status == 0
    assert scenario.name("ann", 5) == "active"
    assert scenario.refusal("ann", 5) is None
    assert scenario.response("ann", "may", 5) == "Hard bounce"
    scenario.tell(returned("ann", 6, "june", said))
    assert scenario.name("ann", 7) == "blocked"


def test_a_soft_bounce_may_also_be_presented_as_blocked(scenario: Scenario) -> None:
    """“In the message status tab on contact cards, a Soft Bounce may also be presented as
    Blocked.” Also ten of them leave the address alone."""
    scenario.tell(heard("opted_in", "ann", 0))
    text = "554 5.7.1 Service unavailable; client host blocked using zen.spamhaus.org"
    scenario.tell(*(returned("ann", n, f"week {n}", text) for n in range(1, 11)))
    assert scenario.response("ann", "week 10", 12) == "Blocked"
    assert scenario.name("ann", 12) == "active"


def test_all_soft_bounces_are_presented_as_soft_bounces_in_the_overview(
    scenario: Scenario,
) -> None:
    """“In the statistic overview for a specific send-out, all types of Soft Bounces (including
    Blocked) are presented as Soft Bounces.”"""
    scenario.tell(
        *(heard("opted_in", who, 0) for who in ("ann", "bob")),
        returned("ann", 1, "may", "mailbox_full"),
        returned("bob", 1, "may", "reputation"),
    )
    overview = scenario.mailing("may", 2, "--vocabulary", "engage")
    assert overview["responses"] == {"Soft bounce": 2}


def test_on_hold_for_72_hours_then_soft_bounce(scenario: Scenario) -> None:
    """“The recipient's domain has put the message temporarily on hold. Engage will continue the
    attempt to deliver during a time span of 72 hours.” Then it is a “Soft Bounce”."""
    scenario.tell(
        heard("opted_in", "ann", 0),
        returned("ann", 1, "may", "greylisted", kind="deferred"),
        heard("deferred", "ann", 2, "may", text="451 4.7.1 Greylisted, please try again"),
    )
    assert scenario.response("ann", "may", 4 - HOUR) == "Deferred"
    assert scenario.response("ann", "may", 4 + HOUR) == "Soft bounce"
    assert scenario.name("ann", 5) == "active"


def test_on_hold_and_allowed_through(scenario: Scenario) -> None:
    """“If the message is not allowed through to the recipient during this time frame”: it was."""
    scenario.tell(
        heard("opted_in", "ann", 0),
        returned("ann", 1, "may", "greylisted", kind="deferred"),
        heard("delivered", "ann", 3, "may"),
    )
    assert scenario.response("ann", "may", 2) == "Deferred"
    assert scenario.response("ann", "may", 10) == "Delivered"


def test_unknown_where_the_domain_never_responds(scenario: Scenario) -> None:
    """“No delivery status has been sent to Engage yet. One common reason … is that the receiving
    domain is not set up properly for status responses.”"""
    scenario.tell(
        heard("opted_in", "ann", 0),
        heard("sent", "ann", 1, "may", reports=False),
    )
    assert scenario.response("ann", "may", 2) == "Unknown"
    assert scenario.response("ann", "may", 200) == "Unknown"


def test_not_delivered_within_72_hours(scenario: Scenario) -> None:
    """“We have not been able to deliver the message within 72 hours.”"""
    scenario.tell(heard("opted_in", "ann", 0), mailed("ann", 1, "may"))
    assert scenario.response("ann", "may", 4 - HOUR) == "Unknown"
    assert scenario.response("ann", "may", 4 + HOUR) == "Expired"
    scenario.tell(heard("delivered", "ann", 5, "may"))
    assert scenario.response("ann", "may", 6) == "Delivered"


@pytest.mark.parametrize("who", ["ann", PHONE])
def test_the_control_group_gets_nothing(scenario: Scenario, who: str) -> None:
    """“The intended recipient has not received the … message because he/she is included in a
    control group.”"""
    scenario.tell(
        heard("opted_in", who, 0), heard("skipped", who, 1, "may", reason="control_group")
    )
    assert scenario.response(who, "may", 2) == "Control group"
    report = scenario.mailing("may", 2)
    assert (report["scheduled"], report["skipped"], report["sent"]) == (1, {"control_group": 1}, 0)
    assert scenario.refusal(who, 2) is None


@pytest.mark.parametrize("category", ["operator_network", "handset_unreachable", "inbox_full"])
def test_sms_soft_bounces_never_block_the_number(scenario: Scenario, category: str) -> None:
    """“if there is a problem with the operator's network, the mobile phone is disconnected, or the
    inbox is full etc … Soft bounces on a contact will not lead to blocking the mobile phone
    number.”"""
    scenario.tell(heard("opted_in", PHONE, 0))
    scenario.tell(*(returned(PHONE, n, f"week {n}", category) for n in range(1, 11)))
    assert scenario.response(PHONE, "week 10", 12) == "Soft bounce"
    assert scenario.name(PHONE, 12) == "active"
    assert scenario.refusal(PHONE, 12) is None
    assert scenario.refusal(PHONE, 12, "broadcast", "--policy", "default") == "soft_stopped"


def test_one_sms_hard_bounce_blocks_the_number(scenario: Scenario) -> None:
    """“because the mobile number is invalid. One hard bounce on a contact will lead to blocking the
    mobile number. … You can manually unblock”."""
    scenario.tell(heard("opted_in", PHONE, 0), returned(PHONE, 1, "may", "number_invalid"))
    assert scenario.response(PHONE, "may", 2) == "Hard bounce"
    assert scenario.name(PHONE, 2) == "blocked"
    assert scenario.refusal(PHONE, 2) == "hard_bounced"
    assert scenario.act("unblock", PHONE, 3, "it was ported").status == 0
    assert scenario.name(PHONE, 4) == "active"
    assert scenario.refusal(PHONE, 4) is None


def test_sms_not_delivered_within_48_hours(scenario: Scenario) -> None:
    """“We have not been able to deliver the message within 48 hours.”"""
    scenario.tell(heard("opted_in", PHONE, 0), mailed(PHONE, 1, "may"))
    assert scenario.response(PHONE, "may", 3 - HOUR) == "Unknown"
    assert scenario.response(PHONE, "may", 3 + HOUR) == "Expired"


def test_sms_routed_by_several_parties(scenario: Scenario) -> None:
    """“Message routed by several parties—no delivery status available.” It stays so."""
    scenario.tell(heard("opted_in", PHONE, 0), mailed(PHONE, 1, "may", "untraceable"))
    assert scenario.response(PHONE, "may", 100) == "No delivery status available"
    assert scenario.name(PHONE, 100) == "active"


def test_a_contact_card_with_an_address_and_a_number(
    scenario: Scenario, on_postgresql: Any
) -> None:
    """“you can keep track of the messages you have sent”: to an address and a number, each on
    its own, as two processes hear it."""
    scenario.tell(
        *(heard("opted_in", who, 0) for who in ("ann", PHONE)),
        returned("ann", 1, "may", "mailbox_unknown"),
        *(returned(PHONE, n, f"text {n}", "inbox_full") for n in range(1, 8)),
        mailed(PHONE, 9, "text 9", "delivered"),
        returned("bob", 1, "may", "greylisted", kind="deferred"),
        heard("skipped", "cai", 1, "may", reason="control_group"),
    )
    assert scenario.name("ann", 10) == "blocked"
    assert scenario.name(PHONE, 10) == "active"
    assert [d["names"]["engage"] for d in scenario.why(PHONE, 10)["deliveries"]] == [
        *["Soft bounce"] * 7,
        "Delivered",
    ]
    scenario.split(on_postgresql)
