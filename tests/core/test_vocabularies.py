"""Vocabularies: every cell of the design's two tables, and what the systems' own documents say."""

from __future__ import annotations

import re

import msgspec
import pytest

from goodstanding.core import policy_files
from goodstanding.core.events import Event
from goodstanding.core.policies import OneOff
from goodstanding.core.standings import STATUSES as KNOWN
from goodstanding.core.vocabularies import ResponseName, StatusName, Variant, choose, load
from tests.core.telling import DEFAULT, bounced, event, sent, standing

# Status; family; Infusionsoft 2011; Keap; Emma's first mark; Engage; Creatio. A dash: no word.
STANDINGS = """
complained              | ugly | Provided Feedback | Reported Spam            | Opt-out                  | unsubscribed | Do not use email
spam_reported           | ugly | Reported Spam     | Reported Spam            | Opt-out                  | unsubscribed | Do not use email
opted_out_with_feedback | bad  | Opt-Out           | Provided Feedback        | Opt-out                  | unsubscribed | Do not use email
list_unsubscribed       | bad  | Opt-Out           | List Unsubscribe         | Opt-out                  | unsubscribed | Do not use email
opted_out               | bad  | Opt-Out           | Opt-Out                  | Opt-out                  | unsubscribed | Do not use email
opted_out_by_admin      | bad  | Opt-Out: Admin    | Opt-Out: Admin           | Opt-out                  | unsubscribed | Do not use email
invalid                 | ugly | Invalid Email     | Invalid Email            | Error (format)           | blocked      | Valid: no
hard_bounced            | ugly | Hard Bounce       | Hard Bounce              | Error (delivery)         | blocked      | Do not use email; Valid: no
soft_stopped            | ugly | Hard Bounce       | Hard Bounce              | Error (delivery)         | blocked      | -
blocked                 | bad  | Non-marketable    | Non-marketable           | Error (changed manually) | blocked      | Do not use email
locked                  | bad  | Non-marketable    | Lockdown                 | Active                   | active       | -
non_marketable          | bad  | Non-marketable    | Non-marketable           | Active                   | active       | -
unengaged_blocked       | bad  | Non-marketable    | Unengaged Non-Marketable | Active                   | active       | -
soft_bouncing           | bad  | Soft Bounce       | Soft Bounce              | Active                   | active       | -
unengaged               | good | by consent        | Unengaged Marketable     | Active                   | active       | -
confirmed               | good | Double Opt-In     | Confirmed                | Active                   | active       | -
confirmed_custom        | good | Double Opt-In     | Confirmed (Legacy)       | Active                   | active       | -
opted_in                | good | Single Opt-In     | Unconfirmed              | Active                   | active       | -
"""  # noqa: E501

# Response; group; final for all; Creatio, and whether it says (final); Engage for email, what its
# statistics count it as and what it is after a hold, where those differ; Engage for SMS.
RESPONSES = """
planned                     | preparing     | -     | Planned                                 | -     | -                  | -           | -           | -
queued                      | preparing     | -     | Queued                                  | -     | -                  | -           | -           | -
failed                      | not_sent      | -     | Delivery error                          | final | Failed             | -           | -           | Failed
lost                        | not_sent      | -     | Unknown response                        | final | Failed             | -           | -           | Failed for unknown reasons
sent                        | in_flight     | -     | Sent to provider                        | -     | Unknown            | -           | -           | Unknown
deferred                    | in_flight     | -     | Sent to provider                        | -     | Deferred           | -           | -           | Unknown
untraceable                 | in_flight     | -     | Unknown response                        | -     | Unknown            | -           | -           | No delivery status available
expired                     | not_delivered | -     | Soft Bounce                             | final | Expired            | -           | Soft bounce | Expired
undelivered                 | not_delivered | -     | Unknown response                        | -     | Failed             | -           | -           | Not delivered
block_bounced               | not_delivered | -     | Soft Bounce                             | -     | Blocked            | Soft bounce | -           | Soft bounce
soft_bounced                | not_delivered | -     | Soft Bounce                             | -     | Soft bounce        | -           | -           | Soft bounce
delivered                   | delivered     | -     | Delivered                               | -     | Delivered          | -           | -           | Delivered
machine_opened              | delivered     | -     | Open (machine)                          | -     | Delivered (Opened) | -           | -           | -
machine_clicked             | delivered     | -     | Open (machine)                          | -     | Delivered (Opened) | -           | -           | -
opened                      | delivered     | -     | Opened                                  | -     | Delivered (Opened) | -           | -           | -
clicked                     | delivered     | -     | Clicked                                 | -     | Delivered (Opened) | -           | -           | Delivered
replied                     | delivered     | -     | Clicked                                 | -     | Delivered (Opened) | -           | -           | Delivered
unsubscribed                | delivered     | final | Unsubscribed                            | final | Delivered (Opened) | -           | -           | Delivered
complained                  | delivered     | final | Spam complaint                          | final | Delivered (Opened) | -           | -           | Delivered
hard_bounced                | not_delivered | final | Hard Bounce                             | final | Hard bounce        | -           | -           | Hard bounce
invalid                     | not_delivered | final | Invalid email address                   | final | Hard bounce        | -           | -           | Hard bounce
stopped_expired             | not_sent      | final | Stopped (time to send expired)          | final | Not sent           | -           | -           | Not sent
stopped                     | not_sent      | final | Stopped (manually)                      | final | Not sent           | -           | -           | Not sent
skipped:no_address          | not_sent      | final | Canceled (email not provided)           | final | Not sent           | -           | -           | Not sent
skipped:invalid_address     | not_sent      | final | Canceled (invalid email)                | final | Not sent           | -           | -           | Not sent
skipped:duplicate           | not_sent      | final | Canceled (duplicated email)             | final | Not sent           | -           | -           | Not sent
skipped:complained          | not_sent      | final | Canceled (spam complaint)               | final | Not sent           | -           | -           | Not sent
skipped:spam_reported       | not_sent      | final | Canceled (reported as spam)             | final | Not sent           | -           | -           | Not sent
skipped:opted_out           | not_sent      | final | Canceled (unsubscribed from all emails) | final | Not sent           | -           | -           | Not sent
skipped:opted_out_of_topic  | not_sent      | final | Canceled (unsubscribed by email type)   | final | Not sent           | -           | -           | Not sent
skipped:hard_bounced        | not_sent      | final | Canceled (hard bounce)                  | final | Not sent           | -           | -           | Not sent
skipped:soft_stopped        | not_sent      | final | Canceled (soft bounces)                 | final | Not sent           | -           | -           | Not sent
skipped:blocked             | not_sent      | final | Canceled (blocked)                      | final | Not sent           | -           | -           | Not sent
skipped:locked              | not_sent      | final | Canceled (locked)                       | final | Not sent           | -           | -           | Not sent
skipped:never_opted_in      | not_sent      | final | Canceled (never opted in)               | final | Not sent           | -           | -           | Not sent
skipped:unengaged           | not_sent      | final | Canceled (unengaged)                    | final | Not sent           | -           | -           | Not sent
skipped:limit_reached       | not_sent      | final | Email limit reached                     | final | Not sent           | -           | -           | Not sent
skipped:control_group       | not_sent      | final | Canceled (control group)                | final | Control group      | -           | -           | Control group
skipped:refused_by_provider | not_sent      | final | Canceled (refused by the provider)      | final | Not sent           | -           | -           | Not sent
skipped:not_requested       | not_sent      | final | Canceled (not requested)                | final | Not sent           | -           | -           | Not sent
skipped:unknown             | not_sent      | final | Canceled                                | final | Not sent           | -           | -           | Not sent
"""  # noqa: E501

# Status; whether mail still goes by Goodstanding's, Infusionsoft's, Keap's, Emma's, Engage's and
# Creatio's words. `one_off`: no mailings, but what one person writes to another.
MAIL = """
complained              | no      | no      | no      | no      | no      | no
spam_reported           | no      | no      | no      | no      | no      | no
opted_out_with_feedback | one_off | one_off | no      | no      | no      | no
list_unsubscribed       | one_off | one_off | no      | no      | no      | no
opted_out               | one_off | one_off | no      | no      | no      | no
opted_out_by_admin      | one_off | one_off | no      | no      | no      | no
invalid                 | no      | no      | no      | no      | no      | no
hard_bounced            | no      | no      | no      | no      | no      | no
soft_stopped            | no      | no      | no      | no      | no      | no
blocked                 | no      | no      | no      | no      | no      | no
locked                  | one_off | one_off | no      | no      | one_off | one_off
non_marketable          | one_off | one_off | no      | no      | one_off | one_off
unengaged_blocked       | one_off | one_off | one_off | one_off | one_off | one_off
soft_bouncing           | yes     | yes     | yes     | yes     | yes     | yes
unengaged               | yes     | yes     | yes     | yes     | yes     | yes
confirmed               | yes     | yes     | yes     | yes     | yes     | yes
confirmed_custom        | yes     | yes     | yes     | yes     | yes     | yes
opted_in                | yes     | yes     | yes     | yes     | yes     | yes
"""
SYSTEMS = ("goodstanding", "infusionsoft", "keap", "emma", "engage", "creatio")
OPTED_OUT = {"opted_out_with_feedback", "list_unsubscribed", "opted_out", "opted_out_by_admin"}


def rows(table: str) -> list[list[str | None]]:
    cells = [[cell.strip() for cell in line.split("|")] for line in table.strip().splitlines()]
    return [[None if cell == "-" else cell for cell in row] for row in cells]


STATUSES = [row[0] for row in rows(STANDINGS) if row[0]]
NAMED = [row[0] for row in rows(RESPONSES) if row[0] and row[0] != "skipped:unknown"]
EVERY = sorted(load())


def test_these_are_the_vocabularies() -> None:
    assert EVERY == [
        "creatio",
        "emma",
        "engage",
        "goodstanding",
        "infusionsoft",
        "keap",
        "keap.es",
    ]


@pytest.mark.parametrize(
    ("status", "family", "infusionsoft", "keap", "emma", "engage", "creatio"), rows(STANDINGS)
)
def test_every_status_in_every_vocabulary(
    status: str,
    family: str,
    infusionsoft: str,
    keap: str,
    emma: str,
    engage: str,
    creatio: str | None,
) -> None:
    names = {name: vocabulary.status_name(status) for name, vocabulary in load().items()}
    ours = names.pop("goodstanding")
    assert isinstance(ours, str)
    assert names == {
        "infusionsoft": "Single Opt-In" if infusionsoft == "by consent" else infusionsoft,
        "keap": keap,
        "keap.es": keap,
        "emma": [emma, "has not confirmed opt in"],
        "engage": engage,
        "creatio": creatio,
    }
    assert (load()["infusionsoft"].statuses[status].by is not None) == (
        infusionsoft == "by consent"
    )
    assert KNOWN[status].family == family


@pytest.mark.parametrize("status", STATUSES)
def test_a_number_stands_under_the_same_name_save_creatio_s(status: str) -> None:
    for name, vocabulary in load().items():
        said = vocabulary.status_name(status)
        if name == "creatio" and isinstance(said, str):
            said = said.replace("Do not use email", "Do not use SMS")
        assert vocabulary.status_name(status, channel="sms") == said


@pytest.mark.parametrize(
    (
        *("response", "group", "final", "creatio", "creatio_final"),
        *("engage", "engage_counted", "engage_held", "engage_sms"),
    ),
    rows(RESPONSES),
)
def test_every_response_in_every_vocabulary(
    response: str,
    group: str,
    final: str | None,
    creatio: str,
    creatio_final: str | None,
    engage: str | None,
    engage_counted: str | None,
    engage_held: str | None,
    engage_sms: str | None,
) -> None:
    words = load()
    plain = response if response in NAMED else "skipped"
    for deferred in (False, True):
        for channel in ("email", "sms"):
            assert words["creatio"].response_name(response, channel=channel, deferred=deferred) == (
                creatio
            )
        assert words["engage"].response_name(response, deferred=deferred) == (
            (engage_held if deferred else None) or engage
        )
        assert words["engage"].response_name(response, channel="sms", deferred=deferred) == (
            engage_sms
        )
    assert words["engage"].responses[plain].counted_as == engage_counted
    assert words["creatio"].responses[plain].final == (creatio_final is not None)
    for name in {*EVERY} - {"creatio"}:
        assert words[name].responses[plain].final == (final is not None), name

    ours = words["goodstanding"].response_name(response)
    assert ours
    assert words["infusionsoft"].response_name(response) == ours
    assert words["emma"].response_name(response) == ours
    assert words["keap"].response_name(response)
    assert words["keap.es"].response_name(response)

    rule = next(
        rule
        for rule in policy_files.load("default").responses
        if rule.name == response.partition(":")[0]
    )
    assert (rule.group, rule.final) == (group, final is not None)


# Whole: nothing is left out, and what has no name is said to have none.


@pytest.mark.parametrize("name", EVERY)
def test_every_status_and_response_has_its_place_in_the_order_of_the_tables(name: str) -> None:
    vocabulary = load()[name]
    assert list(vocabulary.statuses) == list(KNOWN) == STATUSES
    assert set(vocabulary.responses) == {*NAMED, "skipped"}
    assert list(vocabulary.progress) == [
        *("status", "started", "ended", "scheduled", "skipped", "sent")
    ]
    assert len(vocabulary.about) > 50


def test_what_has_no_name_is_where_the_tables_have_a_dash() -> None:
    nameless = [
        (name, channel, what)
        for name, vocabulary in load().items()
        for channel in ("email", "sms")
        for what, said in (
            *((each, vocabulary.status_name(each, channel=channel)) for each in STATUSES),
            *((each, vocabulary.response_name(each, channel=channel)) for each in NAMED),
        )
        if said is None
    ]
    boxless = [
        *("soft_stopped", "locked", "non_marketable", "unengaged_blocked", "soft_bouncing"),
        *("unengaged", "confirmed", "confirmed_custom", "opted_in"),
    ]
    assert nameless == [
        *(("creatio", channel, what) for channel in ("email", "sms") for what in boxless),
        *(("engage", "email", what) for what in ("planned", "queued")),
        *(
            ("engage", "sms", what)
            for what in ("planned", "queued", "machine_opened", "machine_clicked", "opened")
        ),
    ]


@pytest.mark.parametrize("name", EVERY)
def test_everything_has_one_sentence_of_meaning_named_or_not(name: str) -> None:
    vocabulary = load()[name]
    meanings = [
        vocabulary.status_meaning(status, channel=channel, category=category)
        for status in STATUSES
        for channel in ("email", "sms")
        for category in (None, "domain_unknown")
    ] + [
        vocabulary.response_meaning(response, channel=channel, deferred=deferred)
        for response in (*NAMED, "skipped:unknown")
        for channel in ("email", "sms")
        for deferred in (False, True)
    ]
    for meaning in meanings:
        assert meaning is not None
        assert re.fullmatch(r"[A-ZÁÉÍÓÚ][^.\n]{10,110}\.", meaning), meaning


@pytest.mark.parametrize("name", EVERY)
def test_no_two_reasons_to_skip_mean_the_same_unless_they_go_by_one_name(name: str) -> None:
    vocabulary = load()[name]
    said: dict[object, str | None] = {}
    for reason in (each for each in NAMED if each.startswith("skipped:")):
        entry = vocabulary.responses[reason]
        known = said.setdefault((entry.meaning, entry.reasons), entry.name)
        assert known == entry.name
    assert len(said) >= 16


def test_our_own_words_name_everything_and_no_two_things_alike() -> None:
    ours = load()["goodstanding"]
    for names in (
        [ours.status_name(status) for status in STATUSES],
        [ours.response_name(response) for response in NAMED],
    ):
        assert all(isinstance(name, str) for name in names)
        assert len(set(map(str, names))) == len(names)


# Whether mail still goes.


@pytest.mark.parametrize(
    ("status", "system", "goes"),
    [
        (row[0], system, goes)
        for row in rows(MAIL)
        for system, goes in zip(SYSTEMS, row[1:], strict=True)
    ],
)
def test_whether_mail_still_goes(status: str, system: str, goes: str) -> None:
    vocabulary = load()[system]
    assert vocabulary.still_goes(status) == goes
    # By SMS who opted out is not sent even one-off messages.
    assert vocabulary.still_goes(status, channel="sms") == ("no" if status in OPTED_OUT else goes)
    if system == "keap":
        spanish = load()["keap.es"]
        assert spanish.still_goes(status) == goes
        assert spanish.still_goes(status, channel="sms") == vocabulary.still_goes(
            status, channel="sms"
        )


OPTED_IN = event("opted_in", 0, how="order")
IGNORED = [
    OPTED_IN,
    *(each for n in range(4) for each in (sent(n, f"m{n}"), event("delivered", n, f"m{n}"))),
]
FULL = [(sent(4 * n, f"s{n}"), bounced(4 * n + 0.01, f"s{n}", "mailbox_full")) for n in range(5)]
# How an address comes to stand so, and after how many days it does.
HISTORIES: dict[str, tuple[list[Event], float]] = {
    "complained": ([OPTED_IN, event("complained", 1, "m")], 50),
    "spam_reported": ([OPTED_IN, event("spam_reported", 1, "m")], 50),
    "opted_out_with_feedback": ([OPTED_IN, event("opted_out_with_feedback", 1)], 50),
    "list_unsubscribed": ([OPTED_IN, event("list_unsubscribed", 1)], 50),
    "opted_out": ([OPTED_IN, event("opted_out", 1)], 50),
    "opted_out_by_admin": ([OPTED_IN, event("admin_opted_out", 1)], 50),
    "invalid": ([OPTED_IN, event("declared_invalid", 1)], 50),
    "hard_bounced": ([OPTED_IN, bounced(1, "m", "mailbox_unknown")], 50),
    "soft_stopped": ([OPTED_IN, *(each for pair in FULL for each in pair)], 50),
    "blocked": ([OPTED_IN, event("blocked", 1)], 50),
    "locked": ([event("locked", 1)], 50),
    "non_marketable": ([], 50),
    "unengaged_blocked": (IGNORED, 400),
    "soft_bouncing": ([OPTED_IN, *FULL[0]], 50),
    "unengaged": (IGNORED, 200),
    "confirmed": ([event("confirmed", 1, method="standard")], 50),
    "confirmed_custom": ([event("confirmed", 1, method="custom")], 50),
    "opted_in": ([OPTED_IN], 50),
}
# One-off mail to who opted out, and to who never opted in.
ONE_OFF = {
    "goodstanding": OneOff(to_opted_out=True, to_never_opted_in=True),
    "infusionsoft": OneOff(to_opted_out=True, to_never_opted_in=True),
    "keap": OneOff(to_opted_out=False, to_never_opted_in=False),
    "emma": OneOff(to_opted_out=False, to_never_opted_in=False),
    "engage": OneOff(to_opted_out=False, to_never_opted_in=True),
    "creatio": OneOff(to_opted_out=False, to_never_opted_in=True),
}


@pytest.mark.parametrize("channel", ["email", "sms"])
@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize("status", STATUSES)
def test_the_gate_under_the_system_s_rules_agrees(status: str, system: str, channel: str) -> None:
    policy = msgspec.structs.replace(DEFAULT, one_off=ONE_OFF[system])
    events, days = HISTORIES[status]
    stands = standing(*events, now=days, channel=channel, policy=policy)
    assert stands.status == status
    goes = (
        "yes"
        if stands.blocks["broadcast"] is None
        else "one_off"
        if stands.blocks["one_off"] is None
        else "no"
    )
    vocabulary = load()[system]
    if channel == "email":
        assert vocabulary.still_goes(status) == goes
    else:
        assert vocabulary.still_goes(status, channel="sms") == goes


# What each system's own document says.


def named(vocabulary: str, *names: str) -> set[str]:
    """The statuses that go by these names."""
    words = load()[vocabulary]
    return {status for status in STATUSES if words.status_name(status) in names}


def test_infusionsoft_s_ten_are_good_bad_and_ugly_as_it_says() -> None:
    told = {
        "good": {"Double Opt-In", "Single Opt-In"},
        "bad": {"Opt-Out", "Opt-Out: Admin", "Non-marketable", "Soft Bounce"},
        "ugly": {"Hard Bounce", "Provided Feedback", "Reported Spam", "Invalid Email"},
    }
    for family, names in told.items():
        said = [
            load()["infusionsoft"].status_name(status)
            for status in STATUSES
            if KNOWN[status].family == family
        ]
        assert set(map(str, said)) == names


def test_infusionsoft_still_sends_one_off_mail_to_who_opted_out_or_never_opted_in() -> None:
    words = load()["infusionsoft"]
    for status in named("infusionsoft", "Opt-Out", "Non-marketable") - {"blocked"}:
        assert words.still_goes(status) == "one_off"
        assert "one-off messages may" in (words.status_meaning(status) or "")


FOURTEEN = {
    *("Unengaged Marketable", "Unconfirmed", "Confirmed (Legacy)", "Confirmed", "Non-marketable"),
    *("Lockdown", "Soft Bounce", "Hard Bounce", "Opt-Out", "Opt-Out: Admin", "List Unsubscribe"),
    *("Provided Feedback", "Reported Spam", "Invalid Email"),
}
PREVENTING = (
    *("Hard Bounce", "Opt-Out", "Opt-Out: Admin", "List Unsubscribe", "Provided Feedback"),
    *("Reported Spam", "Invalid Email"),
)


@pytest.mark.parametrize("name", ["keap", "keap.es"])
def test_keap_has_its_fourteen_and_one_that_its_guide_does_not_tell_of(name: str) -> None:
    keap = load()[name]
    assert {keap.status_name(status) for status in STATUSES} == {
        *FOURTEEN,
        "Unengaged Non-Marketable",
    }


@pytest.mark.parametrize("name", ["keap", "keap.es"])
def test_keap_s_seven_prevent_mail_and_from_lockdown_on_only_soft_bounces_get_any(
    name: str,
) -> None:
    keap = load()[name]
    assert {keap.still_goes(status) for status in named(name, *PREVENTING)} == {"no"}
    assert {keap.still_goes(status) for status in named(name, "Lockdown", "Non-marketable")} == {
        "no"
    }
    assert {keap.still_goes(status) for status in named(name, "Soft Bounce")} == {"yes"}


@pytest.mark.parametrize("name", ["keap", "keap.es"])
def test_keap_calls_a_domain_that_does_not_exist_an_invalid_email(name: str) -> None:
    keap = load()[name]
    assert keap.status_name("hard_bounced", category="domain_unknown") == "Invalid Email"
    assert keap.status_name("hard_bounced", category="mailbox_unknown") == "Hard Bounce"
    assert keap.status_name("opted_out", category="domain_unknown") == "Opt-Out"
    assert load()["infusionsoft"].status_name("hard_bounced", category="domain_unknown") == (
        "Hard Bounce"
    )


@pytest.mark.parametrize(
    ("name", "status", "meaning"),
    [
        ("infusionsoft", "complained", r"mailbox provider reported .* pressed its spam button"),
        ("keap", "opted_out_with_feedback", r"opted out and gave a reason"),
        ("keap.es", "opted_out_with_feedback", r"salió de la lista y dio un motivo"),
    ],
)
def test_provided_feedback_means_what_each_document_says(
    name: str, status: str, meaning: str
) -> None:
    assert named(name, "Provided Feedback") == {status}
    assert re.search(meaning, load()[name].status_meaning(status) or "")


@pytest.mark.parametrize(
    ("consent", "confirmed", "name"),
    [
        ("opted_in", False, "Single Opt-In"),
        ("confirmed", True, "Double Opt-In"),
        ("confirmed_custom", True, "Double Opt-In"),
        ("non_marketable", False, "Non-marketable"),
        (None, True, "Double Opt-In"),
        (None, False, "Single Opt-In"),
        ("unengaged", False, None),  # goes nowhere, rather than round in circles
        ("no_such_status", False, None),
    ],
)
def test_infusionsoft_shows_the_unengaged_by_their_consent(
    consent: str | None, confirmed: bool, name: str | None
) -> None:
    infusionsoft = load()["infusionsoft"]
    assert infusionsoft.status_name("unengaged", consent=consent, confirmed=confirmed) == name
    assert infusionsoft.status_name("invalid", consent=consent, confirmed=confirmed) == (
        "Invalid Email"
    )


@pytest.mark.parametrize("status", STATUSES)
def test_emma_s_second_mark_is_consent_s_whatever_the_first_says(status: str) -> None:
    emma = load()["emma"]
    marks = emma.status_name(status, confirmed=True)
    assert isinstance(marks, list)
    assert marks[1:] == ["confirmed opt-in"]
    assert emma.status_name(status) == [marks[0], "has not confirmed opt in"]


def test_emma_tells_the_three_errors_of_its_answer_apart() -> None:
    emma = load()["emma"]
    assert "invalid" in (emma.status_meaning("invalid") or "")
    assert "not to try again" in (emma.status_meaning("hard_bounced") or "")
    assert "lesser error with each of the last four" in (emma.status_meaning("soft_stopped") or "")


def test_engage_s_hold_lasts_72_hours_and_is_then_a_soft_bounce_but_not_by_sms() -> None:
    engage = load()["engage"]
    assert "on hold; attempts go on for 72 hours" in (engage.response_meaning("deferred") or "")
    assert "on hold" in (engage.response_meaning("expired", deferred=True) or "")
    assert "within 72 hours" in (engage.response_meaning("expired") or "")
    for deferred in (False, True):
        said = engage.response_meaning("expired", channel="sms", deferred=deferred) or ""
        assert "within 48 hours" in said


@pytest.mark.parametrize(
    ("response", "meaning"),
    [
        ("delivered", r"delivered to the recipient"),
        ("undelivered", r"not delivered, or its validity ran out"),
        ("soft_bounced", r"phone that is off or a full inbox"),
        ("hard_bounced", r"number is invalid, and the number is blocked"),
        ("lost", r"could not be delivered, for unknown reasons"),
        ("untraceable", r"routed by several parties"),
        ("skipped:control_group", r"control group"),
    ],
)
def test_engage_says_of_sms_what_its_document_says(response: str, meaning: str) -> None:
    assert re.search(meaning, load()["engage"].response_meaning(response, channel="sms") or "")


def test_creatio_gives_the_reasons_for_every_response_that_its_document_lists() -> None:
    said = {name: entry.reasons for name, entry in load()["creatio"].responses.items()}
    assert {name for name, reasons in said.items() if reasons} == {
        *("planned", "failed", "lost", "sent", "deferred", "expired", "block_bounced"),
        *("soft_bounced", "delivered", "opened", "clicked", "unsubscribed", "hard_bounced"),
        *("invalid", "stopped_expired", "skipped:duplicate", "skipped:opted_out_of_topic"),
    }
    soft = " ".join((*said["soft_bounced"], *said["block_bounced"]))
    for what in ("mailbox is full", "overloaded", "low reputation", "SPF", "content for spam"):
        assert what in soft
    for reasons in said.values():
        assert all(re.fullmatch(r"[^.;|\n]+", reason) for reason in reasons)


# Spanish.


def test_keap_in_spanish_keeps_the_names_that_its_guide_has() -> None:
    spanish, english = load()["keap.es"], load()["keap"]
    assert spanish.language == "es"
    for status in STATUSES:
        assert spanish.status_name(status) == english.status_name(status)
    assert spanish.progress == {
        "status": "Current Status",
        "started": "Start Time",
        "ended": "End Time",
        "scheduled": "Emails Scheduled",
        "skipped": "Emails Skipped",
        "sent": "Emails Sent",
    }
    for reason, kept in {
        "opted_out": "Opt-Out",
        "never_opted_in": "Non-marketable",
        "complained": "Reported Spam",
        "spam_reported": "Reported Spam",
        "invalid_address": "Invalid",
        "hard_bounced": "Hard Bounce",
    }.items():
        name = spanish.response_name(f"skipped:{reason}") or ""
        assert re.fullmatch(rf"Omitido: {kept} \([a-z ó-]+\)", name), name


def test_keap_in_spanish_is_spanish_throughout() -> None:
    spanish, english = load()["keap.es"], load()["keap"]
    assert spanish.falls_back_to is None
    for channel in ("email", "sms"):
        for response in (*NAMED, "skipped:unknown"):
            assert spanish.response_name(response, channel=channel) != (
                english.response_name(response, channel=channel)
            )
        meanings = [
            *(spanish.status_meaning(status, channel=channel) for status in STATUSES),
            *(spanish.response_meaning(each, channel=channel) for each in NAMED),
            spanish.status_meaning("hard_bounced", channel=channel, category="domain_unknown"),
        ]
        for meaning in meanings:
            assert meaning is not None
            words = set(re.findall(r"\w+", meaning.lower()))
            assert words & {"el", "la", "los", "se", "un", "no"}, meaning
            assert not words & {"the", "of", "and", "message", "address", "person"}, meaning


def test_keap_s_own_words_for_what_is_skipped_come_first_and_ours_fill_the_rest() -> None:
    keap = load()["keap"]
    for reason, name in {
        "duplicate": "duplicate",
        "opted_out": "opt-out",
        "never_opted_in": "non-marketable (never opted-in)",
        "spam_reported": "reported spam",
        "complained": "reported spam",
        "invalid_address": "Invalid (improperly formatted)",
        "hard_bounced": "hard bounce (address does not exist)",
    }.items():
        assert keap.response_name(f"skipped:{reason}") == f"Skipped: {name}"
    assert keap.response_name("skipped:control_group") == "Skipped: control group"
    assert keap.response_name("delivered") == "Delivered"
    assert keap.progress["scheduled"] == "Emails Scheduled"
    assert load()["emma"].progress["scheduled"] == "Scheduled"


# The edges.


@pytest.mark.parametrize("name", EVERY)
def test_what_nobody_has_heard_of_has_no_name(name: str) -> None:
    vocabulary = load()[name]
    assert vocabulary.status_name("no_such_status") is None
    assert vocabulary.status_meaning("no_such_status") is None
    assert vocabulary.still_goes("no_such_status") is None
    assert vocabulary.response_name("no_such_response") is None
    assert vocabulary.response_meaning("no_such_response", channel="sms") is None


def test_a_language_is_chosen_where_there_is_one() -> None:
    assert choose("keap", "es") is load()["keap.es"]
    assert choose("keap", "en") is choose("keap") is load()["keap"]
    assert choose("emma", "es") is load()["emma"]
    with pytest.raises(KeyError):
        choose("no_such_system", "es")


@pytest.mark.parametrize(
    ("shape", "entry"),
    [
        (StatusName, 'meaning = "x"\nmail_goes = true'),
        (StatusName, 'meaning = "x"\nmail_goes = true\nname = "x"\nmarks = ["y"]'),
        (StatusName, 'meaning = "x"\nmail_goes = true\nname = "x"\nunnamed = true'),
        (StatusName, 'meaning = "x"\nname = "x"'),
        (StatusName, 'mail_goes = true\nname = "x"'),
        (StatusName, 'meaning = "x"\nmail_goes = true\none_off_goes = true\nname = "x"'),
        (StatusName, 'meaning = "x"\nmail_goes = true\nnmae = "x"'),
        (ResponseName, 'meaning = "x"'),
        (ResponseName, 'meaning = "x"\nname = "x"\nunnamed = true'),
        (ResponseName, 'name = "x"'),
        (Variant, 'name = "x"\nunnamed = true'),
    ],
)
def test_a_file_with_a_slip_in_it_is_not_read(shape: type[msgspec.Struct], entry: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.toml.decode(entry.encode(), type=shape)


@pytest.mark.parametrize(
    ("shape", "entry"),
    [
        (StatusName, 'meaning = "x"\nmail_goes = false\none_off_goes = true\nunnamed = true'),
        (ResponseName, 'meaning = "x"\nunnamed = true'),
        (Variant, 'meaning = "x"'),
    ],
)
def test_a_file_may_say_that_there_is_no_name(shape: type[msgspec.Struct], entry: str) -> None:
    msgspec.toml.decode(entry.encode(), type=shape)
