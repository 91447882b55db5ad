"""Our categories of bounce in other systems' words, and back."""

from __future__ import annotations

import subprocess
import sys
from itertools import product

import pytest

from goodstanding.bounces import (
    UnknownName,
    from_other,
    meaning_of,
    read_reply,
    systems,
    to_other,
    words_of,
)
from goodstanding.bounces.classify import classify
from goodstanding.bounces.taxonomies import explained
from goodstanding.core.categories import CATEGORIES

SYSTEMS = ("sisimai", "sparkpost", "kumomta", "anymail", "rfc3463")
OF_EMAIL = [name for name, each in CATEGORIES.items() if each.channel != "sms"]
OF_SMS = [name for name, each in CATEGORIES.items() if each.channel == "sms"]
PAIRS = list(product(OF_EMAIL, SYSTEMS))

# The lists as the systems' own pages have them, so that none of their words is forgotten.
WORDS = {
    "sisimai": """authfailure badreputation blocked contenterror delivered emailtoolarge expired
        failedstarttls feedback filtered hasmoved hostunknown mailboxfull mailererror networkerror
        norelaying notaccept notcompliantrfc onhold policyviolation ratelimited rejected requireptr
        securityerror spamdetected suppressed suspend syntaxerror systemerror systemfull undefined
        userunknown vacation virusdetected""",
    "sparkpost": "1 10 20 21 22 23 24 25 26 30 40 50 51 52 53 54 60 70 80 90 100",
    "kumomta": """InvalidRecipient DNSFailure SpamBlock SpamContent ProhibitedAttachment RelayDenied
        AutoReply TransientFailure Subscribe Unsubscribe ChallengeResponse BadConfiguration
        BadConnection BadDomain ContentRelated InactiveMailbox InvalidSender MessageExpired
        NoAnswerFromHost PolicyRelated ProtocolErrors QuotaIssues RelayingIssues RoutingErrors
        SpamRelated VirusRelated AuthenticationFailed TooManyRecipients Uncategorized""",
    "anymail": "invalid bounced timed_out blocked spam unsubscribed other",
}


@pytest.mark.parametrize(
    ("system", "word", "category"),
    [
        ("sisimai", "userunknown", "mailbox_unknown"),
        ("sisimai", "mesgtoobig", "message_too_large"),
        ("sparkpost", "10", "mailbox_unknown"),
        ("sparkpost", "51", "reputation"),
        ("kumomta", "QuotaIssues", "mailbox_full"),
        ("anymail", "timed_out", "timed_out"),
        ("anymail", "bounced", "undetermined"),
        ("rfc3463", "5.1.1", "mailbox_unknown"),
        ("rfc3463", "4.2.1", "recipient_rate_limited"),
        ("rfc3463", "5.2.1", "mailbox_disabled"),
        ("rfc3463", "5.6.9", "content_refused"),
        ("rfc3463", "x.7.25", "missing_reverse_dns"),
        ("rfc3463", "5.0.0", "undetermined"),
        ("rfc3463", "5.9.999", "undetermined"),
    ],
)
def test_a_word_has_its_category(system: str, word: str, category: str) -> None:
    assert from_other(system, word) == category


@pytest.mark.parametrize(
    ("system", "word", "kind"),
    [
        ("sisimai", "feedback", "complaint"),
        ("sisimai", "vacation", "auto_reply"),
        ("sisimai", "delivered", "delivered"),
        ("sparkpost", "90", "unsubscribe_request"),
        ("kumomta", "ChallengeResponse", "challenge"),
        ("rfc3463", "2.1.5", "delivered"),
    ],
)
def test_a_word_that_is_not_about_a_failure_has_no_category(
    system: str, word: str, kind: str
) -> None:
    assert from_other(system, word) is None
    assert meaning_of(system, word).kind == kind


@pytest.mark.parametrize("system", WORDS)
def test_every_word_of_a_system_is_there(system: str) -> None:
    today = {word for word, meaning in words_of(system).items() if meaning.until is None}
    assert today == set(WORDS[system].split())


def test_every_system_says_from_where_its_words_are() -> None:
    assert tuple(systems()) == SYSTEMS
    assert [name for name, each in systems().items() if not (each.sources and each.note)] == []


@pytest.mark.parametrize("system", SYSTEMS)
def test_every_category_has_a_word_of_today_and_only_those_of_sms_have_none(system: str) -> None:
    assert list(systems()[system].categories) == OF_EMAIL
    assert [category for category in OF_SMS if to_other(category, system) is not None] == []
    words = {word.name for word in systems()[system].categories.values()}
    assert [word for word in words if meaning_of(system, word).until is not None] == []


@pytest.mark.parametrize(("category", "system"), PAIRS)
def test_what_loses_nothing_comes_back(category: str, system: str) -> None:
    word = to_other(category, system)
    assert word is not None
    if not word.nearest:
        assert from_other(system, word.name) == category


@pytest.mark.parametrize("system", WORDS)
def test_an_exact_word_and_its_way_back_are_both_exact(system: str) -> None:
    exact = {word.name for word in systems()[system].categories.values() if not word.nearest}
    assert [word for word in exact if meaning_of(system, word).nearest] == []


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_word_that_is_only_the_nearest_says_what_is_lost(system: str) -> None:
    words = words_of(system)
    assert [name for name, each in words.items() if each.nearest != (each.note is not None)] == []


@pytest.mark.parametrize(("category", "system"), PAIRS)
def test_no_way_there_and_back_stops_an_address_that_was_not(category: str, system: str) -> None:
    word = to_other(category, system)
    assert word is not None
    back = from_other(system, word.name)
    assert back is not None
    before, after = CATEGORIES[category], CATEGORIES[back]
    if before.disposition != "hard":
        assert after.disposition != "hard"
    # Anymail has no word for what is the sender's fault: it comes back as undetermined.
    if before.fault in ("sender", "content") and system != "anymail":
        assert after.disposition in ("block", "none")


def test_a_code_means_here_what_it_means_to_the_reading_of_bounces() -> None:
    codes = [f"{c}.{s}.{d}" for c, s, d in product("45", range(10), (*range(40), 121, 511, 999))]
    differ = [code for code in codes if from_other("rfc3463", code) != read_as(code)]
    assert differ == []


def read_as(code: str) -> str:
    return classify((), status=code).category


def test_the_codes_that_we_say_are_registered_ones() -> None:
    details = [int(word.name.split(".")[2]) for word in systems()["rfc3463"].categories.values()]
    assert max(details) <= 30  # x.7.30 is the last of the registry; what is above is a provider's


@pytest.mark.parametrize("category", CATEGORIES)
def test_every_category_is_explained_by_a_reply_that_is_read_so(category: str) -> None:
    assert read_reply(explained()[category].example).category == category


def test_only_categories_are_explained() -> None:
    assert list(explained()) == list(CATEGORIES)


def test_what_is_not_known_is_refused_with_what_is() -> None:
    with pytest.raises(UnknownName, match=r"'sendmail'.*sisimai, sparkpost, kumomta"):
        to_other("mailbox_unknown", "sendmail")
    with pytest.raises(UnknownName, match=r"'user_unknown'.*mailbox_unknown"):
        to_other("user_unknown", "sisimai")
    with pytest.raises(UnknownName, match=r"word of django-anymail.*'dead'.*invalid, bounced"):
        from_other("anymail", "dead")
    for word in ("550", "5.1", "5.1.1.1", "9.1.1", "", "5.1.1 "):
        with pytest.raises(UnknownName, match=r"like 5\.1\.1"):
            from_other("rfc3463", word)


def test_it_needs_no_django() -> None:
    used = (
        "import sys; from goodstanding.bounces import from_other, to_other;"
        "print(from_other('sisimai', to_other('virus', 'sisimai').name), 'django' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", used], capture_output=True, text=True, check=True)
    assert done.stdout == "virus False\n"
