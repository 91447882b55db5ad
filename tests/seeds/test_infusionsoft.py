"""“Email Status Explained”: Infusionsoft, June 2011. Each test is a sentence of it."""

from pathlib import Path
from typing import Any

import pytest

from tests.seeds.scenarios import HOUR, Scenario, heard, mailed, returned

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")

SYSTEM = "infusionsoft"
MARKETING = {"broadcast": "opted_out", "sequence": "opted_out"}

BECOMES: dict[str, tuple[str, list[Any]]] = {
    "Double Opt-In": (
        "good",
        [heard("opted_in", "ann", 0, how="form"), heard("confirmed", "ann", 0.1)],
    ),
    "Single Opt-In": ("good", [heard("opted_in", "ann", 0, how="form")]),
    "Opt-Out": ("bad", [heard("opted_in", "ann", 0), heard("opted_out", "ann", 1)]),
    "Opt-Out: Admin": ("bad", [heard("opted_in", "ann", 0), heard("admin_opted_out", "ann", 1)]),
    "Non-marketable": ("bad", [heard("imported", "ann", 0, permission=False)]),
    "Soft Bounce": (
        "bad",
        [heard("opted_in", "ann", 0), *returned("ann", 1, "may", "mailbox_full")],
    ),
    "Hard Bounce": (
        "ugly",
        [heard("opted_in", "ann", 0), *returned("ann", 1, "may", "mailbox_unknown")],
    ),
    "Provided Feedback": (
        "ugly",
        [heard("opted_in", "ann", 0), *mailed("ann", 1, "may", "delivered", "complained")],
    ),
    "Reported Spam": (
        "ugly",
        [heard("opted_in", "ann", 0), *mailed("ann", 1, "may", "delivered", "spam_reported")],
    ),
    "Invalid Email": ("ugly", [heard("opted_in", "ann", 0), heard("found_invalid", "ann", 1)]),
}
"""The ten statuses, each with the heading that it stands under, and one way to come to it."""


def test_opt_ins_and_statuses_are_tied_to_email_addresses_not_contacts(
    scenario: Scenario, tmp_path: Path
) -> None:
    """“It does not matter if an email address is shared between multiple contacts, companies, or
    users… the email address is what is affected, and will have the same status for everyone.”"""
    done = scenario.contacts(
        tmp_path / "people.csv",
        "Name,Company,Email,Consent date\n"
        "Ann Lee,,shared@example.com,2020-01-06\n"
        "Bob Lee,,Shared@Example.com,2020-01-06\n"
        ",Lee Brothers,shared@example.com,2020-01-06\n",
        *("--permission", "ordered in our shop"),
    )
    assert (done["contacts_new"], done["addresses"]) == (3, 1)
    assert scenario.statuses(1) == [("Single Opt-In", "good", 1)]
    scenario.tell(heard("opted_out", "shared", 2))
    assert scenario.statuses(3) == [("Opt-Out", "bad", 1)]
    assert scenario.refusal("SHARED@example.com", 3) == "opted_out"


@pytest.mark.parametrize("status", BECOMES)
def test_the_good_the_bad_and_the_ugly(scenario: Scenario, status: str) -> None:
    """The ten statuses, under the document's three headings."""
    family, story = BECOMES[status]
    scenario.tell(story)
    assert scenario.name("ann", 2) == status
    assert scenario.statuses(2) == [(status, family, 1)]


def test_bad_statuses_can_be_watched(scenario: Scenario) -> None:
    """“If you see the number of bad statuses creeping up”: all ten in one report, as of any day."""
    for place, (_, story) in enumerate(BECOMES.values()):
        scenario.tell([line | {"address": f"p{place}@example.com"} for line in story])
    assert sorted(scenario.statuses(2)) == sorted(
        (status, family, 1) for status, (family, _) in BECOMES.items()
    )
    before = {name: count for name, _, count in scenario.statuses(0.5)}
    assert before == {"Double Opt-In": 1, "Single Opt-In": 8, "Non-marketable": 1}


def test_double_opt_in_have_verified_that_they_want_your_messages(scenario: Scenario) -> None:
    """“Not only have these contacts verified that they want to receive your messages”."""
    scenario.tell(heard("opted_in", "ann", 0, how="form"))
    assert scenario.name("ann", 0.5) == "Single Opt-In"
    scenario.tell(heard("confirmed", "ann", 1, method="custom"))
    assert scenario.name("ann", 2) == "Double Opt-In"
    assert scenario.refusals("ann", 2).keys() <= {"confirmation"}
    scenario.tell(heard("opted_in", "ann", 3, how="order"))
    assert scenario.name("ann", 4) == "Double Opt-In"


@pytest.mark.parametrize("how", ["form", "order", "phone"])
def test_single_opt_in_by_form_order_or_phone(scenario: Scenario, how: str) -> None:
    """“submitting a web form, order form, or called into your support staff”."""
    scenario.tell(heard("opted_in", "ann", 0, how=how))
    assert scenario.name("ann", 1) == "Single Opt-In"
    assert scenario.refusal("ann", 1) is None
    assert scenario.refusal("ann", 1, "sequence") is None


def test_opt_out_still_gets_one_off_messages(scenario: Scenario) -> None:
    """“Even though these contacts have chosen to opt-out … your will still be authorized to send
    them one-off, non-broadcast messages”."""
    scenario.tell(heard("opted_in", "ann", 0), mailed("ann", 1, "may", "delivered", "opted_out"))
    assert scenario.name("ann", 2) == "Opt-Out"
    assert scenario.refusals("ann", 2) == MARKETING | {"confirmation": "not_requested"}
    assert scenario.mailing("may", 2)["unsubscribes"] == 1


def test_opt_out_of_all_campaigns_or_of_the_specific_one(scenario: Scenario) -> None:
    """“by default Infusionsoft will opt your contact out of all campaigns … so that your contacts
    can opt-out of the specific campaign.”"""
    scenario.tell(
        *(heard("opted_in", who, 0) for who in ("ann", "bob")),
        heard("opted_out", "ann", 1),
        heard("opted_out", "bob", 1, topic="recipes"),
    )
    for topic in ("recipes", "offers"):
        assert scenario.refusal("ann", 2, "broadcast", "--topic", topic) == "opted_out"
    assert scenario.refusal("bob", 2, "broadcast", "--topic", "recipes") == "opted_out_of_topic"
    assert scenario.refusal("bob", 2, "one_off", "--topic", "recipes") is None
    assert scenario.refusal("bob", 2, "broadcast", "--topic", "offers") is None
    assert scenario.name("bob", 2) == "Single Opt-In"


def test_opt_out_admin_by_an_infusionsoft_user(scenario: Scenario) -> None:
    """“They may have sent an email to your support department, or called in”."""
    scenario.tell(heard("opted_in", "ann", 0))
    assert scenario.act("opt-out", "ann", 1, "called in and asked to be removed").status == 0
    assert scenario.name("ann", 2) == "Opt-Out: Admin"
    assert "called in and asked to be removed" in scenario.why("ann", 2)["explanation"]
    assert scenario.refusals("ann", 2) == MARKETING | {"confirmation": "not_requested"}


def test_non_marketable_from_an_import_the_api_or_added_to_a_contact(
    scenario: Scenario, tmp_path: Path
) -> None:
    """“have never provided any evidence that they want to receive your marketing messages. … from
    an import, through the API, or you may have added an email to an existing contact”: no
    “broadcast or follow-up sequence messages, but you can send one-off messages.”"""
    scenario.contacts(
        tmp_path / "people.csv", "Name,Email,Consent date\nAnn,ann@example.com,2020-01-06\n"
    )
    scenario.contacts(
        tmp_path / "more.csv",
        "Name,Email,E-mail,Consent date\nAnn,ann@example.com,ann.lee@example.com,2020-01-06\n",
    )
    scenario.tell(heard("imported", "bob", 0, source="api", permission=False))
    for who in ("ann", "ann.lee", "bob"):
        assert scenario.name(who, 1) == "Non-marketable"
        refused = {"broadcast": "never_opted_in", "sequence": "never_opted_in"}
        assert scenario.refusals(who, 1) == refused | {"confirmation": "not_requested"}


def test_soft_bounce_was_most_likely_a_temporary_problem(scenario: Scenario) -> None:
    """“due to a full inbox, the email address will be flagged as a soft bounce.”"""
    scenario.tell(
        heard("opted_in", "ann", 0), returned("ann", 1, "may", "552 5.2.2 The mailbox is full")
    )
    assert scenario.name("ann", 2) == "Soft Bounce"
    assert scenario.refusal("ann", 2) is None
    scenario.tell(mailed("ann", 3, "june", "delivered"))
    assert scenario.name("ann", 4) == "Single Opt-In"


@pytest.mark.parametrize(
    "said",
    [
        "550 5.1.1 The mailbox no longer exists: user unknown",
        "550 5.1.2 Host unknown: domain does not exist",
    ],
)
def test_hard_bounce_when_the_mailbox_or_the_domain_has_gone(scenario: Scenario, said: str) -> None:
    """“when the mailbox no longer exists or the domain has gone away.” One is enough."""
    scenario.tell(heard("opted_in", "ann", 0), returned("ann", 1, "may", said))
    assert scenario.name("ann", 1) == "Single Opt-In"
    assert scenario.name("ann", 2) == "Hard Bounce"
    assert scenario.refusals("ann", 2).keys() >= {"broadcast", "sequence", "one_off"}
    assert set(scenario.refusals("ann", 2).values()) <= {"hard_bounced", "not_requested"}


def test_a_hard_bounce_is_not_undone_by_having_engaged(scenario: Scenario) -> None:
    """Unlike the product's own policy: one hard bounce, also of a reader of yesterday."""
    scenario.tell(
        heard("opted_in", "ann", 0),
        mailed("ann", 1, "may", "delivered", "opened"),
        returned("ann", 2, "june", "mailbox_unknown"),
        mailed("ann", 4, "july", "delivered", "clicked"),
    )
    assert scenario.name("ann", 3) == scenario.name("ann", 5) == "Hard Bounce"
    assert scenario.name("ann", 3, "--policy", "default") == "Single Opt-In"


def test_provided_feedback_is_the_spam_button_of_the_provider(scenario: Scenario) -> None:
    """“An ISP has reported to Infusionsoft that the contact has marked your message as spam.”"""
    scenario.tell(
        heard("opted_in", "ann", 0),
        mailed("ann", 1, "may", "delivered"),
        heard("complained", "ann", 1.5, "may", source="arf"),
    )
    assert scenario.name("ann", 2) == "Provided Feedback"
    assert scenario.mailing("may", 2)["complaints"] == 1
    refused = scenario.refusals("ann", 2)
    assert refused.pop("confirmation") == "not_requested"
    assert refused == dict.fromkeys(("broadcast", "sequence", "one_off"), "complained")


def test_reported_spam_is_by_the_unsubscribe_link_in_the_footer(scenario: Scenario) -> None:
    """“reported the message directly to Infusionsoft via the Unsubscribe footer link”."""
    scenario.tell(
        heard("opted_in", "ann", 0),
        mailed("ann", 1, "may", "delivered"),
        heard("spam_reported", "ann", 1.5, "may", source="link"),
    )
    assert scenario.name("ann", 2) == "Reported Spam"
    assert scenario.refusal("ann", 2) == scenario.refusal("ann", 2, "one_off") == "spam_reported"


def test_invalid_email_is_found_before_sending(scenario: Scenario, tmp_path: Path) -> None:
    """“When they find an email address that is does not meet the rules for a valid email address,
    they will flag it as invalid.”"""
    done = scenario.contacts(
        tmp_path / "people.csv",
        "Name,Email\nAnn,ann@example.com\nBob,bob at example.com\nCai,cai@@example.com\n",
        *("--permission", "ticked the box"),
    )
    assert (done["rows"], done["malformed"]) == (3, 2)
    assert [line["line"] for line in done["malformed_lines"]] == [3, 4]
    assert scenario.act("invalid", "dee", 0.5, "there is no such place").status == 0
    assert scenario.statuses() == [("Invalid Email", "ugly", 3), ("Single Opt-In", "good", 1)]
    assert scenario.name("dee") == "Invalid Email"
    assert scenario.refusal("dee") == "invalid_address"


def test_why_an_invalid_email_was_flagged(scenario: Scenario, tmp_path: Path) -> None:
    """“they will flag it as invalid”, and say why."""
    scenario.contacts(tmp_path / "people.csv", "Name,Email\nCai,cai@@example.com\n")
    assert scenario.statuses() == [("Invalid Email", "ugly", 1)]
    assert scenario.name("cai@@example.com") == "Invalid Email"
    assert scenario.refusal("cai@@example.com") == "invalid_address"


def test_what_is_heard_later_is_shown_first(scenario: Scenario, on_postgresql: Any) -> None:
    """A year of one address, under all that the document says of it, heard by two processes."""
    scenario.tell(
        heard("imported", "ann", 0, permission=False),
        heard("opted_in", "ann", 10, how="order"),
        mailed("ann", 20, "may", "delivered", "opened"),
        heard("confirmed", "ann", 21),
        returned("ann", 30, "june", "mailbox_full"),
        mailed("ann", 40, "july", "delivered", "opted_out"),
        heard("opted_in", "ann", 50, how="form"),
        mailed("ann", 60, "august", "delivered", "complained"),
        heard("confirmed", "ann", 70),
        returned("ann", 80, "september", "domain_unknown"),
        heard("opted_in", "bob", 0),
        heard("opted_out", "bob", 5, topic="offers"),
    )
    scenario.act("unblock", "ann", 90, "the domain is back")
    assert [
        scenario.name("ann", day) for day in (5, 15, 25, 35, 45, 55, 65, 75, 80 + 2 * HOUR, 95)
    ] == [
        *("Non-marketable", "Single Opt-In", "Double Opt-In", "Soft Bounce", "Opt-Out"),
        *("Single Opt-In", "Provided Feedback", "Double Opt-In", "Hard Bounce", "Double Opt-In"),
    ]
    scenario.split(on_postgresql)
