"""Vocabularies: every cell of the design's two tables, written out by hand."""

from __future__ import annotations

import re

import msgspec
import pytest

from goodstanding.core.vocabularies import StatusName, choose, load

# Status; Infusionsoft 2011; Keap; Emma's first mark; Engage; Creatio. A dash: no word for it.
STANDINGS = """
complained              | Provided Feedback | Reported Spam            | Opt-out                  | unsubscribed | Do not use email
spam_reported           | Reported Spam     | Reported Spam            | Opt-out                  | unsubscribed | Do not use email
opted_out_with_feedback | Opt-Out           | Provided Feedback        | Opt-out                  | unsubscribed | Do not use email
list_unsubscribed       | Opt-Out           | List Unsubscribe         | Opt-out                  | unsubscribed | Do not use email
opted_out               | Opt-Out           | Opt-Out                  | Opt-out                  | unsubscribed | Do not use email
opted_out_by_admin      | Opt-Out: Admin    | Opt-Out: Admin           | Opt-out                  | unsubscribed | Do not use email
invalid                 | Invalid Email     | Invalid Email            | Error (format)           | blocked      | Valid: no
hard_bounced            | Hard Bounce       | Hard Bounce              | Error (delivery)         | blocked      | Do not use email; Valid: no
soft_stopped            | Hard Bounce       | Hard Bounce              | Error (delivery)         | blocked      | -
blocked                 | Non-marketable    | Non-marketable           | Error (changed manually) | blocked      | Do not use email
locked                  | Non-marketable    | Lockdown                 | Active                   | active       | -
non_marketable          | Non-marketable    | Non-marketable           | Active                   | active       | -
unengaged_blocked       | Non-marketable    | Unengaged Non-Marketable | Active                   | active       | -
soft_bouncing           | Soft Bounce       | Soft Bounce              | Active                   | active       | -
unengaged               | Single Opt-In     | Unengaged Marketable     | Active                   | active       | -
confirmed               | Double Opt-In     | Confirmed                | Active                   | active       | -
confirmed_custom        | Double Opt-In     | Confirmed (Legacy)       | Active                   | active       | -
opted_in                | Single Opt-In     | Unconfirmed              | Active                   | active       | -
"""  # noqa: E501

# Response; Creatio; Engage for email; Engage for SMS.
RESPONSES = """
planned                     | Planned                                 | -                  | -
queued                      | Queued                                  | -                  | -
failed                      | Delivery error                          | Failed             | Failed
lost                        | Unknown response                        | Failed             | Failed for unknown reasons
sent                        | Sent to provider                        | Unknown            | Unknown
deferred                    | Sent to provider                        | Deferred           | Unknown
untraceable                 | Unknown response                        | Unknown            | No delivery status available
expired                     | Soft Bounce                             | Expired            | Expired
undelivered                 | Unknown response                        | Failed             | Not delivered
block_bounced               | Soft Bounce                             | Blocked            | Soft bounce
soft_bounced                | Soft Bounce                             | Soft bounce        | Soft bounce
delivered                   | Delivered                               | Delivered          | Delivered
machine_opened              | Open (machine)                          | Delivered (Opened) | -
machine_clicked             | Open (machine)                          | Delivered (Opened) | -
opened                      | Opened                                  | Delivered (Opened) | Delivered
clicked                     | Clicked                                 | Delivered (Opened) | Delivered
replied                     | Clicked                                 | Delivered (Opened) | Delivered
unsubscribed                | Unsubscribed                            | Delivered (Opened) | Delivered
complained                  | Spam complaint                          | Delivered (Opened) | Delivered
hard_bounced                | Hard Bounce                             | Hard bounce        | Hard bounce
invalid                     | Invalid email address                   | Hard bounce        | Hard bounce
stopped_expired             | Stopped (time to send expired)          | Not sent           | Not sent
stopped                     | Stopped (manually)                      | Not sent           | Not sent
skipped:no_address          | Canceled (email not provided)           | Not sent           | Not sent
skipped:invalid_address     | Canceled (invalid email)                | Not sent           | Not sent
skipped:duplicate           | Canceled (duplicated email)             | Not sent           | Not sent
skipped:complained          | Canceled (spam complaint)               | Not sent           | Not sent
skipped:spam_reported       | Canceled (reported as spam)             | Not sent           | Not sent
skipped:opted_out           | Canceled (unsubscribed from all emails) | Not sent           | Not sent
skipped:opted_out_of_topic  | Canceled (unsubscribed by email type)   | Not sent           | Not sent
skipped:hard_bounced        | Canceled (hard bounce)                  | Not sent           | Not sent
skipped:soft_stopped        | Canceled (soft bounces)                 | Not sent           | Not sent
skipped:blocked             | Canceled (blocked)                      | Not sent           | Not sent
skipped:locked              | Canceled (locked)                       | Not sent           | Not sent
skipped:never_opted_in      | Canceled (never opted in)               | Not sent           | Not sent
skipped:unengaged           | Canceled (unengaged)                    | Not sent           | Not sent
skipped:limit_reached       | Email limit reached                     | Not sent           | Not sent
skipped:control_group       | Canceled (control group)                | Control group      | Control group
skipped:refused_by_provider | Canceled (refused by the provider)      | Not sent           | Not sent
skipped:not_requested       | Canceled (not requested)                | Not sent           | Not sent
skipped:unknown             | Canceled                                | Not sent           | Not sent
"""  # noqa: E501


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
    ("status", "infusionsoft", "keap", "emma", "engage", "creatio"), rows(STANDINGS)
)
def test_every_status_in_every_vocabulary(
    status: str, infusionsoft: str, keap: str, emma: str, engage: str, creatio: str | None
) -> None:
    names = {name: vocabulary.status_name(status) for name, vocabulary in load().items()}
    ours = names.pop("goodstanding")
    assert isinstance(ours, str)
    assert names == {
        "infusionsoft": infusionsoft,
        "keap": keap,
        "keap.es": keap,
        "emma": [emma, "has not confirmed opt in"],
        "engage": engage,
        "creatio": creatio,
    }


@pytest.mark.parametrize(("response", "creatio", "engage_email", "engage_sms"), rows(RESPONSES))
def test_every_response_in_every_vocabulary(
    response: str, creatio: str, engage_email: str | None, engage_sms: str | None
) -> None:
    words = load()
    assert words["creatio"].response_name(response) == creatio
    assert words["engage"].response_name(response) == engage_email
    assert words["engage"].response_name(response, channel="sms") == engage_sms
    ours = words["goodstanding"].response_name(response)
    assert ours
    assert words["infusionsoft"].response_name(response) == ours
    assert words["emma"].response_name(response) == ours
    assert words["keap"].response_name(response)
    assert words["keap.es"].response_name(response)


def test_what_was_on_hold_and_ran_out_is_a_soft_bounce_for_engage() -> None:
    engage = load()["engage"]
    assert engage.response_name("expired", deferred=True) == "Soft bounce"
    assert engage.response_name("expired", channel="sms", deferred=True) == "Expired"
    assert engage.response_name("delivered", deferred=True) == "Delivered"
    assert "on hold" in (engage.response_meaning("expired", deferred=True) or "")


def test_engage_counts_what_was_blocked_among_the_soft_bounces() -> None:
    responses = load()["engage"].responses
    assert [(name, entry.counted_as) for name, entry in responses.items() if entry.counted_as] == [
        ("block_bounced", "Soft bounce")
    ]


def test_creatio_says_what_is_final() -> None:
    final = {name for name, entry in load()["creatio"].responses.items() if entry.final}
    assert {name for name in final if not name.startswith("skipped")} == {
        "failed",
        "lost",
        "expired",
        "unsubscribed",
        "complained",
        "hard_bounced",
        "invalid",
        "stopped_expired",
        "stopped",
    }
    assert all(name in final for name in NAMED if name.startswith("skipped"))


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


def test_a_number_is_not_told_about_email_by_creatio() -> None:
    creatio = load()["creatio"]
    assert creatio.status_name("opted_out", channel="sms") == "Do not use SMS"
    assert creatio.status_name("hard_bounced", channel="sms") == "Do not use SMS; Valid: no"
    assert creatio.status_name("soft_stopped", channel="sms") is None


KEAP_GOES = "unengaged opted_in confirmed confirmed_custom"
KEAP_STOPS = (
    "hard_bounced opted_out opted_out_by_admin list_unsubscribed opted_out_with_feedback"
    " spam_reported complained invalid locked non_marketable"
)


# What the systems' own documents say of the mail that goes on or stops.
@pytest.mark.parametrize(
    ("name", "goes", "stops"),
    [
        ("infusionsoft", "confirmed opted_in", "opted_out opted_out_by_admin non_marketable"),
        (
            "keap",
            KEAP_GOES,
            KEAP_STOPS,
        ),
        (
            "keap.es",
            KEAP_GOES,
            KEAP_STOPS,
        ),
        ("engage", "soft_bouncing", "hard_bounced"),
        ("emma", "confirmed", "invalid hard_bounced soft_stopped"),
        ("creatio", "", "opted_out hard_bounced"),
    ],
)
def test_whether_mail_goes(name: str, goes: str, stops: str) -> None:
    statuses = load()[name].statuses
    assert {statuses[status].mail_goes for status in goes.split()} <= {True}
    assert {statuses[status].mail_goes for status in stops.split()} == {False}


def test_our_own_words_name_everything_and_no_two_things_alike() -> None:
    ours = load()["goodstanding"]
    assert list(ours.statuses) == STATUSES
    assert set(ours.responses) == {*NAMED, "skipped"}
    for names in (
        [ours.status_name(status) for status in STATUSES],
        [ours.response_name(response) for response in NAMED],
    ):
        assert all(isinstance(name, str) for name in names)
        assert len(set(map(str, names))) == len(names)


@pytest.mark.parametrize("name", EVERY)
def test_every_word_has_its_place_and_one_sentence_of_meaning(name: str) -> None:
    vocabulary = load()[name]
    assert set(vocabulary.statuses) <= set(STATUSES)
    assert set(vocabulary.responses) <= {*NAMED, "skipped"}
    assert set(vocabulary.progress) == set(load()["goodstanding"].progress)
    meanings = [
        vocabulary.status_meaning(status, channel=channel, category=category)
        for status in vocabulary.statuses
        for channel in ("email", "sms")
        for category in (None, "domain_unknown")
    ] + [
        vocabulary.response_meaning(response, channel=channel, deferred=deferred)
        for response in vocabulary.responses
        for channel in ("email", "sms")
        for deferred in (False, True)
    ]
    for meaning in meanings:
        assert meaning is None or re.fullmatch(r"[A-ZÁÉÍÓÚ][^.\n]{10,120}\.", meaning), meaning


def test_the_spanish_one_is_spanish_throughout() -> None:
    spanish, ours, english = load()["keap.es"], load()["goodstanding"], load()["keap"]
    assert spanish.language == "es"
    assert list(spanish.statuses) == list(english.statuses) == STATUSES
    for response in ours.responses:
        assert spanish.response_meaning(response) != ours.response_meaning(response)
        assert spanish.response_name(response) != ours.response_name(response)
        assert spanish.response_name(response) != english.response_name(response)
    for status in STATUSES:
        assert spanish.status_meaning(status) != english.status_meaning(status)
    assert spanish.progress == {
        "status": "Estado actual",
        "started": "Hora de inicio",
        "ended": "Hora de fin",
        "scheduled": "Emails programados",
        "skipped": "Emails omitidos",
        "sent": "Emails enviados",
    }
    assert spanish.response_name("skipped:never_opted_in") == (
        "Omitido: Non-marketable (nunca hizo opt-in)"
    )


def test_keap_s_own_words_for_what_is_skipped_come_first_and_ours_fill_the_rest() -> None:
    keap = load()["keap"]
    assert keap.response_name("skipped:hard_bounced") == (
        "Skipped: hard bounce (address does not exist)"
    )
    assert keap.response_name("skipped:control_group") == "Skipped: control group"
    assert keap.response_name("delivered") == "Delivered"
    assert keap.progress["scheduled"] == "Emails Scheduled"
    assert load()["emma"].progress["scheduled"] == "Scheduled"


@pytest.mark.parametrize("name", EVERY)
def test_what_nobody_has_heard_of_has_no_name(name: str) -> None:
    vocabulary = load()[name]
    assert vocabulary.status_name("no_such_status") is None
    assert vocabulary.status_meaning("no_such_status") is None
    assert vocabulary.response_name("no_such_response") is None
    assert vocabulary.response_meaning("no_such_response", channel="sms") is None


def test_no_word_for_a_case_has_no_meaning_either() -> None:
    assert load()["engage"].response_meaning("machine_opened", channel="sms") is None
    assert load()["engage"].response_meaning("machine_opened") is not None


def test_a_language_is_chosen_where_there_is_one() -> None:
    assert choose("keap", "es") is load()["keap.es"]
    assert choose("keap", "en") is choose("keap") is load()["keap"]
    assert choose("emma", "es") is load()["emma"]
    with pytest.raises(KeyError):
        choose("no_such_system", "es")


@pytest.mark.parametrize(
    "entry",
    ['meaning = "x"', 'meaning = "x"\nname = "x"\nmarks = ["y"]', 'name = "x"', 'nmae = "x"'],
)
def test_a_file_with_a_slip_in_it_is_not_read(entry: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.toml.decode(entry.encode(), type=StatusName)
