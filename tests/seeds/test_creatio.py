"""Creatio's table of recipients' responses to bulk and trigger emails."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Ran
from tests.seeds.scenarios import HOUR, Scenario, heard, mailed, returned

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")

SYSTEM = "creatio"


def of_mailing(*kinds: str, **said: Any) -> list[Any]:
    """What was heard of the bulk email, without its having been sent."""
    return [heard(kind, "ann", 1 + n * HOUR, "bulk", **said) for n, kind in enumerate(kinds)]


RESPONSES: dict[str, list[Any]] = {
    "Delivered": mailed("ann", 1, "bulk", "delivered"),
    "Opened": mailed("ann", 1, "bulk", "delivered", "opened"),
    "Clicked": mailed("ann", 1, "bulk", "delivered", "opened", "clicked"),
    "Unsubscribed": mailed("ann", 1, "bulk", "delivered", "opened", "opted_out"),
    "Spam complaint": mailed("ann", 1, "bulk", "delivered", "opened", "complained"),
    "Planned": of_mailing("planned"),
    "Canceled (duplicated email)": of_mailing("planned", "skipped", reason="duplicate"),
    "Unknown response": of_mailing("planned", "lost"),
    "Delivery error": of_mailing("planned", "failed"),
    "Sent to provider": mailed("ann", 1, "bulk"),
    "Soft Bounce": returned("ann", 1, "bulk", "mailbox_full"),
    "Hard Bounce": returned("ann", 1, "bulk", "mailbox_unknown"),
    "Invalid email address": mailed("ann", 1, "bulk", "found_invalid"),
    "Stopped (time to send expired)": of_mailing("planned", "stopped", reason="expired"),
    "Canceled (unsubscribed by email type)": of_mailing("skipped", reason="opted_out_of_topic"),
}
FINAL = (
    "Unsubscribed",
    "Spam complaint",
    "Canceled (duplicated email)",
    "Hard Bounce",
    "Invalid email address",
    "Canceled (unsubscribed by email type)",
)
REPLACED = {
    "Planned": "Sent to provider",
    "Sent to provider": "Delivered",
    "Delivered": "Opened",
    "Opened": "Clicked",
}
NEXT = {"Sent to provider": "sent", "Delivered": "delivered", "Opened": "opened"} | {
    "Clicked": "clicked"
}


@pytest.mark.parametrize("response", RESPONSES)
def test_the_table_of_responses(scenario: Scenario, response: str) -> None:
    """“The following table lists the possible Creatio responses and their descriptions.”"""
    scenario.tell(heard("opted_in", "ann", 0), RESPONSES[response])
    assert scenario.response("ann", "bulk", 2) == response


@pytest.mark.parametrize("purpose", ["broadcast", "sequence"])
def test_bulk_and_trigger_emails_alike(scenario: Scenario, purpose: str) -> None:
    """“Recipient individual responses to bulk and trigger emails”."""
    story = mailed("ann", 1, "bulk", "delivered", "opened", purpose=purpose)
    scenario.tell(heard("opted_in", "ann", 0), story)
    assert scenario.response("ann", "bulk", 2) == "Opened"


@pytest.mark.parametrize("response", FINAL)
def test_after_a_final_response_no_further_change_is_possible(
    scenario: Scenario, response: str
) -> None:
    """“When receiving a final response, no further change is possible.”"""
    scenario.tell(heard("opted_in", "ann", 0), RESPONSES[response])
    scenario.tell(
        *(
            heard(kind, "ann", 2 + n * HOUR, "bulk")
            for n, kind in enumerate(("delivered", "opened", "clicked"))
        )
    )
    assert scenario.response("ann", "bulk", 3) == response


def test_stopped_is_final_in_the_course_of_the_campaign(scenario: Scenario) -> None:
    """“Responses that indicate that the email was not sent … are final and cannot be changed in the
    course of one email campaign.”"""
    scenario.tell(
        heard("opted_in", "ann", 0),
        RESPONSES["Stopped (time to send expired)"],
        heard("queued", "ann", 2, "bulk"),
        heard("failed", "ann", 2, "bulk"),
    )
    assert scenario.response("ann", "bulk", 3) == "Stopped (time to send expired)"


def test_delivery_error_is_final(scenario: Scenario) -> None:
    """“Delivery error … The email was sent, but not delivered to the recipient. Final response. …
    An error has occurred while sending emails to the server.”"""
    scenario.tell(
        heard("opted_in", "ann", 0),
        RESPONSES["Delivery error"],
        heard("bounced", "ann", 2, "bulk", category="mailbox_full"),
    )
    assert scenario.response("ann", "bulk", 3) == "Delivery error"


def test_unknown_response_is_final_unless_it_left(scenario: Scenario) -> None:
    """“Unknown response … Final response. … An unidentified error has occurred during the delivery
    process.” Time does not change it; that the message was seen to have left does."""
    scenario.tell(heard("opted_in", "ann", 0), RESPONSES["Unknown response"])
    assert scenario.response("ann", "bulk", 60) == "Unknown response"
    scenario.tell(heard("opened", "ann", 61, "bulk"))
    assert scenario.response("ann", "bulk", 62) == "Opened"


@pytest.mark.parametrize("before", REPLACED)
def test_a_response_of_higher_priority_replaces_those_below(
    scenario: Scenario, before: str
) -> None:
    """“If a new (non-final) response is received, all previous responses with lower priority will
    be replaced with the new response”, and never the other way round."""
    scenario.tell(heard("opted_in", "ann", 0), RESPONSES[before])
    assert scenario.response("ann", "bulk", 1.5) == before
    after = REPLACED[before]
    scenario.tell(heard(NEXT[after], "ann", 2, "bulk"))
    assert scenario.response("ann", "bulk", 2.5) == after
    if before in NEXT:
        scenario.tell(heard(NEXT[before], "ann", 2.6, "bulk"))
        assert scenario.response("ann", "bulk", 2.7) == after


def test_opened_then_clicked_and_afterward_marked_as_spam(scenario: Scenario) -> None:
    """“For example, a recipient opened an email, then clicked a link and afterward marked the email
    as spam.”"""
    scenario.tell(
        heard("opted_in", "ann", 0),
        mailed("ann", 1, "bulk", "delivered", "opened", "clicked", "complained"),
    )
    assert [scenario.response("ann", "bulk", 1 + hour * HOUR) for hour in range(5)] == [
        *("Sent to provider", "Delivered", "Opened", "Clicked", "Spam complaint")
    ]
    assert scenario.name("ann", 2) == "Do not use email"
    scenario.tell(heard("clicked", "ann", 3, "bulk"))
    assert scenario.response("ann", "bulk", 4) == "Spam complaint"


def test_unsubscribed_then_marked_as_spam(scenario: Scenario) -> None:
    """Both are final; the worse word about the same email stands, and both are counted."""
    scenario.tell(
        heard("opted_in", "ann", 0),
        mailed("ann", 1, "bulk", "delivered", "opted_out", "complained"),
    )
    assert scenario.response("ann", "bulk", 1 + 2 * HOUR) == "Unsubscribed"
    assert scenario.response("ann", "bulk", 2) == "Spam complaint"
    report = scenario.mailing("bulk", 2)
    assert (report["unsubscribes"], report["complaints"]) == (1, 1)


def test_the_number_of_opens_and_of_clicks(scenario: Scenario) -> None:
    """“You can view the number of opens on the Audience tab → the Opens column”, and the clicks;
    each is counted once, however often it is heard, and after a final response too."""
    scenario.tell(
        heard("opted_in", "ann", 0),
        mailed("ann", 1, "bulk", "delivered", "opened", "clicked"),
        *(heard("opened", "ann", day, "bulk") for day in (2, 3)),
        heard("clicked", "ann", 3, "bulk", url="https://shop.example/sale"),
        heard("opted_out", "ann", 4, "bulk"),
        heard("opened", "ann", 5, "bulk"),
    )
    delivery = scenario.delivery("ann", "bulk", 6)
    assert (delivery["opens"], delivery["clicks"]) == (4, 2)
    assert delivery["names"]["creatio"] == "Unsubscribed"
    report = scenario.mailing("bulk", 6)
    assert (report["opens"], report["clicks"]) == (4, 2)


def test_a_machines_open_is_no_open(scenario: Scenario) -> None:
    """“The recipient has opened the email at least once”: not a scanner."""
    scenario.tell(
        heard("opted_in", "ann", 0), mailed("ann", 1, "bulk", "delivered", "machine_opened")
    )
    delivery = scenario.delivery("ann", "bulk", 2)
    assert (delivery["names"]["creatio"], delivery["opens"]) == ("Open (machine)", 0)


def test_unsubscribed_selects_do_not_use_email(scenario: Scenario) -> None:
    """“The Do not use email checkbox in the recipient's contact profile is selected automatically.
    These contacts will not receive emails further. Final response.”"""
    scenario.tell(heard("opted_in", "ann", 0), RESPONSES["Unsubscribed"])
    assert scenario.name("ann", 2) == "Do not use email"
    for purpose in ("broadcast", "sequence", "one_off"):
        assert scenario.refusal("ann", 2, purpose) == "opted_out"


@pytest.mark.parametrize(
    "said",
    ["550 5.1.1 The contact's email is incorrect", "550 5.1.1 The specified email does not exist"],
)
def test_hard_bounce_also_clears_valid(scenario: Scenario, said: str) -> None:
    """“The Do not use email checkbox … is selected automatically and the Valid checkbox will be
    cleared. Final response. … in case of a constant delivery error”."""
    scenario.tell(heard("opted_in", "ann", 0), returned("ann", 1, "bulk", said))
    assert scenario.response("ann", "bulk", 2) == "Hard Bounce"
    assert scenario.name("ann", 2) == "Do not use email; Valid: no"
    for purpose in ("broadcast", "sequence", "one_off", "transactional"):
        assert scenario.refusal("ann", 2, purpose) == "hard_bounced"


def test_invalid_email_address_by_the_providers_verification(scenario: Scenario) -> None:
    """“defined as non-existent based on the results of the email provider server verification.”"""
    scenario.tell(
        heard("opted_in", "ann", 0),
        heard("found_invalid", "ann", 1, "bulk", source="webhook:elastic"),
    )
    assert scenario.response("ann", "bulk", 2) == "Invalid email address"
    assert scenario.name("ann", 2) == "Valid: no"
    assert scenario.refusal("ann", 2) == "invalid_address"


@pytest.mark.parametrize("waiting", ["nothing", "mailbox_full", "network_error"])
def test_sent_to_provider_for_48_hours(scenario: Scenario, waiting: str) -> None:
    """“This response might not be replaced by the final one for 48 hours. Reasons: The recipient
    mailbox is temporarily unavailable. There are issues with the recipient's domain. After 48
    hours, the response will be updated to the final one.”"""
    scenario.tell(heard("opted_in", "ann", 0))
    if waiting == "nothing":
        scenario.tell(mailed("ann", 1, "bulk"))
    else:
        scenario.tell(returned("ann", 1, "bulk", waiting, kind="deferred"))
    assert scenario.response("ann", "bulk", 3 - HOUR) == "Sent to provider"
    assert scenario.response("ann", "bulk", 3 + HOUR) == "Soft Bounce"
    scenario.tell(heard("delivered", "ann", 4, "bulk"))
    assert scenario.response("ann", "bulk", 5) == "Soft Bounce"
    assert scenario.delivery("ann", "bulk", 5, "--policy", "default")["response"] == "delivered"


def test_answered_within_48_hours(scenario: Scenario) -> None:
    """“responses are updated as soon as they are received”: then time changes nothing."""
    scenario.tell(
        heard("opted_in", "ann", 0),
        mailed("ann", 1, "bulk"),
        heard("delivered", "ann", 2.5, "bulk"),
        heard("opened", "ann", 9, "bulk"),
    )
    assert scenario.response("ann", "bulk", 2) == "Sent to provider"
    assert scenario.response("ann", "bulk", 8) == "Delivered"
    assert scenario.response("ann", "bulk", 10) == "Opened"


@pytest.mark.parametrize(
    "said",
    [
        "552 5.2.2 The recipient's mailbox is full",
        "554 5.3.2 System not accepting network messages: undergoing maintenance",
        "554 5.7.1 The sender's IP address has a low reputation",
        "550 5.7.23 SPF validation failed",
        "554 5.7.1 The message was flagged as spam by its contents",
    ],
)
def test_soft_bounce_for_whatever_reason(scenario: Scenario, said: str) -> None:
    """“The recipient's mailbox is full. The recipient mail server is … overloaded … undergoing
    maintenance … The sender's IP address has a low reputation. The SPF-record … is configured
    incorrectly. … flagged the email contents as spam.” “such emails can be resent”."""
    scenario.tell(heard("opted_in", "ann", 0), returned("ann", 1, "bulk", said))
    assert scenario.response("ann", "bulk", 2) == "Soft Bounce"
    assert scenario.refusal("ann", 2) is None
    scenario.tell(mailed("ann", 3, "another campaign", "delivered"))
    assert scenario.response("ann", "another campaign", 4) == "Delivered"


@pytest.mark.parametrize("category", ["mailbox_full", "reputation"])
def test_an_address_that_repeatedly_bounces_may_no_longer_be_used(
    scenario: Scenario, category: str
) -> None:
    """“If an address repeatedly receives a "Soft Bounce" response, it may indicate that the address
    is no longer used.” It is said, and stops nothing."""
    scenario.tell(heard("opted_in", "ann", 0))
    scenario.tell(*(returned("ann", n, f"bulk {n}", category) for n in range(1, 11)))
    warning = "it may be one that nobody uses any more"
    assert warning not in scenario.why("ann", 2.5)["explanation"]
    assert warning in scenario.why("ann", 3.5)["explanation"]
    assert scenario.why("ann", 12)["registers"]["outcomes"] == {"streak": 10}
    assert scenario.refusal("ann", 12) is None


def test_unsubscribed_by_email_type(scenario: Scenario) -> None:
    """“The recipient unsubscribed from emails of this type.”"""
    scenario.tell(
        heard("opted_in", "ann", 0),
        mailed("ann", 1, "bulk", "delivered"),
        heard("opted_out", "ann", 2, topic="recipes"),
        heard("skipped", "ann", 3, "more recipes", reason="opted_out_of_topic"),
    )
    assert scenario.refusal("ann", 4, "broadcast", "--topic", "recipes") == "opted_out_of_topic"
    assert scenario.refusal("ann", 4, "broadcast", "--topic", "offers") is None
    assert scenario.response("ann", "more recipes", 4) == "Canceled (unsubscribed by email type)"


def test_planned_until_the_time_for_the_start_has_come(scenario: Scenario) -> None:
    """“Sending has not started yet. … The planned time for the email start has not come yet.”"""
    scenario.tell(heard("opted_in", "ann", 0), of_mailing("planned"))
    assert scenario.response("ann", "bulk", 30) == "Planned"
    report = scenario.mailing("bulk", 30)
    assert (report["scheduled"], report["sent"], report["started_at"]) == (1, 0, None)


def test_two_groups_of_responses(scenario: Scenario) -> None:
    """“Depending on whether an email was sent or not, there are two groups of responses”: every one
    of the table in one mailing's report."""
    for place, story in enumerate(RESPONSES.values()):
        scenario.tell([line | {"address": f"p{place}@example.com"} for line in story])
    report = scenario.mailing("bulk", 2)
    assert report["scheduled"] == len(RESPONSES)
    assert report["skipped"] == {"duplicate": 1, "opted_out_of_topic": 1}
    never_left = {"planned", "failed", "lost", "stopped_expired"}
    assert never_left < report["responses"].keys()
    assert report["sent"] == len(RESPONSES) - len(never_left) - 2


def test_canceled_duplicates_and_the_setting_for_them(shop: Callable[..., Ran], home: Path) -> None:
    """“The email audience contains recipients with the same email address and the Prevent to send
    duplicated emails … (PreventDuplicatesSending) system setting is enabled”; and where it is not,
    both get one. Sent for real, as is what one recipient left by its type."""
    (home / "people.csv").write_text(
        "Name,Email,Consent\nAnn,ann@example.com,yes\nAnn Lee,ann@example.com,yes\n"
        "Bob,bob@example.com,yes\n"
    )
    (home / "history.jsonl").write_text(
        '{"kind": "opted_out", "occurred_at": "2099-01-01T00:00:00Z", "topic": "recipes",'
        ' "address": "bob@example.com"}\n'
    )
    (home / "own.toml").write_text('base = "creatio"\n[duplicates]\nskip = false\n')
    assert shop("import-contacts", "people.csv", policy="creatio").status == 0
    assert shop("import-events", "history.jsonl", policy="creatio").status == 0
    body = ("--subject", "Hello", "--text", "body.txt", "--topic", "recipes", "--json")
    [once] = shop("send", "once", *body, policy="creatio").items
    assert once["skipped"] == {"duplicate": 1, "opted_out_of_topic": 1}
    assert once["sent"] == 1
    [both] = shop("send", "both", *body, policy=str(home / "own.toml")).items
    assert both["skipped"] == {"opted_out_of_topic": 1}
    assert both["sent"] == 2
    [why] = shop("why", "bob@example.com", "--json", policy="creatio").items
    assert {delivery["names"]["creatio"] for delivery in why["deliveries"]} == {
        "Canceled (unsubscribed by email type)"
    }


def test_a_campaigns_audience(scenario: Scenario, on_postgresql: Any) -> None:
    """“Use the Response column of the Audience tab”: the whole table, heard by two processes."""
    for place, story in enumerate(RESPONSES.values()):
        scenario.tell(
            heard("opted_in", f"p{place}", 0),
            [line | {"address": f"p{place}@example.com"} for line in story],
        )
    assert [scenario.response(f"p{n}", "bulk", 2) for n in range(len(RESPONSES))] == [*RESPONSES]
    scenario.split(on_postgresql)
