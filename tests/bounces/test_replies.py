"""Replies as finally given: codes, categories, providers."""

import re
import tomllib
from pathlib import Path

import pytest

from goodstanding.bounces import read_reply

HERE = Path(__file__).parent
REPLIES = [
    reply
    for file in (
        "replies.toml",
        "exam_replies.toml",
        "wild_replies.toml",
        "wild_replies2.toml",
        "wild_replies3.toml",
        "wild_replies4.toml",
        "wild_replies5.toml",
    )
    for reply in tomllib.loads((HERE / file).read_text())["reply"]
]
WORDINGS = tomllib.loads((HERE / "wordings.toml").read_text())["said"]


@pytest.mark.parametrize("reply", REPLIES, ids=lambda reply: reply["text"][:60])
def test_reply(reply: dict[str, str]) -> None:
    report = read_reply(reply["text"], reply.get("provider"))
    assert (report.kind, report.category) == ("bounce", reply["category"])
    assert report.disposition == reply["disposition"]


def test_what_is_said_before_a_recipient_is_named_is_about_the_sender() -> None:
    for text in ("554 Transaction failed", "550 5.1.1 User unknown"):
        report = read_reply(f"{text} (in reply to MAIL FROM command)")
        assert (report.category, report.disposition) == ("sender_refused", "block")
        assert report.rule == "said before the recipient"
    assert read_reply("550 User unknown (in reply to RCPT TO command)").disposition == "hard"


def test_lines_of_one_reply_are_joined() -> None:
    report = read_reply(
        "550-5.1.1 The email account that you tried to reach does not\r\n"
        "550-5.1.1 exist. Please try\r\n550 5.1.1 double-checking - gsmtp"
    )
    assert report.text == (
        "550 5.1.1 The email account that you tried to reach does not exist. Please try "
        "double-checking - gsmtp"
    )
    assert (report.code, report.status, report.provider) == ("550", "5.1.1", "gmail.com")


def test_success_is_delivered_and_has_no_category() -> None:
    report = read_reply("250 2.0.0 OK: queued as 4VQ user unknown")
    assert (report.kind, report.category, report.disposition) == ("delivered", None, None)
    assert (report.code, report.status) == ("250", "2.0.0")
    assert read_reply("354 go ahead").kind == "not_a_report"


def test_provider_is_known_by_any_of_its_names() -> None:
    assert read_reply("550 x", "googlemail.com").provider == "gmail.com"
    assert read_reply("550 x", "gmail-smtp-in.l.google.com").provider == "gmail.com"
    assert read_reply("550 x", "mx.example.org").provider == "mx.example.org"


def test_whoever_takes_the_mail_of_somebodys_own_domain_is_known_by_the_words() -> None:
    text = (
        "550 5.4.1 Recipient address rejected: Access denied."
        " [AM0EUR02FT012.eop-EUR02.prod.protection.outlook.com]"
    )
    for domain in (None, "contoso.example", "example.org"):
        report = read_reply(text, domain)
        assert (report.category, report.provider) == ("mailbox_unknown", "office365.com")
    assert read_reply(text, "gmail.com").provider == "gmail.com"


def test_giving_up_takes_after_the_last_deferral() -> None:
    given_up = "message has been in the queue too long; try again later"
    assert read_reply(given_up).category == "timed_out"
    assert read_reply(given_up).disposition == "soft"


def test_what_is_kept_of_a_reply_is_bounded() -> None:
    report = read_reply("550 user unknown " + "x" * 1_000_000)
    assert report.category == "mailbox_unknown"
    assert len(report.text or "") <= 2000


@pytest.mark.parametrize(
    ("text", "provider", "category"),
    [(text, said.get("provider"), said["category"]) for said in WORDINGS for text in said["texts"]],
)
def test_wording(text: str, provider: str | None, category: str) -> None:
    assert read_reply(text, provider).category == category


ADDED = {
    "a field's type": "smtp; {}",
    "blanks": "  {} \r\n",
    "quotation marks": '"{}"',
    "a full stop": "{}.",
    "where to read on": "{} See https://postmaster.example.org/errors?code=42",
    "whom to ask": "{} Please contact postmaster@example.org for assistance.",
    "an id": "{} a1si123-abc.12",
}


@pytest.mark.parametrize("added", ADDED.values(), ids=ADDED)
def test_what_stands_round_a_reply_makes_it_no_harder(added: str) -> None:
    harder = []
    for one in REPLIES:
        text, provider = " ".join(one["text"].split()), one.get("provider")
        if not re.match(r"[45]\d\d[ -]", text):
            continue
        report = read_reply(added.format(text), provider)
        if report.disposition == "hard" and one["disposition"] != "hard":
            harder.append(f"{text}: {report}")
    assert not harder, "\n".join(harder)
