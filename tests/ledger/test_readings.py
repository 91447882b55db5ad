"""Failures read again: by the same rules, and with what was known at first, they read the same."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest

from goodstanding import bounces
from goodstanding.core.addresses import Address, normalise
from goodstanding.core.events import KINDS, Event
from goodstanding.ledger import readings

pytestmark = pytest.mark.django_db

BOUNCES = Path(__file__).parents[1] / "bounces"
REPLIES = [
    each["text"]
    for each in tomllib.loads((BOUNCES / "replies.toml").read_text())["reply"]
    if each["text"]
]
MAILS = tomllib.loads((BOUNCES / "reports.toml").read_text())["mail"]
ANN = normalise("email", "ann@example.com")
UNKNOWN = "550 5.1.1 <ann@example.com> user unknown"


def older(event: Event, **reading: Any) -> Event:
    """The event as an earlier version of the rules could have read it."""
    return msgspec.structs.replace(event, detail={**event.detail, "rules": "older", **reading})


def failed(detail: dict[str, Any], kind: str = "bounced", key: str = "k") -> Event:
    return Event(kind, 1, ANN, "import", key, detail=detail)


def read_as(reading: dict[str, Any] | None) -> tuple[str, str] | None:
    return (reading["category"], reading["disposition"]) if reading is not None else None


@pytest.mark.parametrize("stage", ["connect", "mail", "rcpt", "dot"])
@pytest.mark.parametrize("kind", ["bounced", "deferred"])
def test_what_was_said_in_a_session(stage: str, kind: str) -> None:
    for text in REPLIES:
        said = readings.in_session(
            text, ANN, stage=stage, temporary=kind == "deferred", provider="office365.com"
        )
        event = failed({"text": text, "stage": stage, **said}, kind)
        guessed = older(event, category="undetermined", disposition="soft", rule="guess")
        assert readings.again(guessed) == said


def test_what_somebody_passed_on() -> None:
    number = Address("sms", "+447700900123")
    for address in (ANN, number):
        for text in REPLIES:
            said = readings.of_reply(text, address)
            event = Event("bounced", 1, address, "import", "k", detail={"text": text, **said})
            assert readings.again(older(event)) == said


@pytest.mark.parametrize("forwarded", [False, True])
def test_what_a_mail_told(forwarded: bool) -> None:
    """Also where the codes stand apart from the text; the words of a notice may not be kept."""
    again = 0
    for mail in MAILS:
        for report in bounces.read(mail["text"].lstrip("\n").encode()):
            if report.kind not in ("bounce", "delayed") or not report.text:
                continue
            kind = "bounced" if report.kind == "bounce" else "deferred"
            said = readings.in_mail(report, forwarded=forwarded)
            kept = {"text": report.text, "provider": report.provider, **said}
            reading = readings.again(older(failed(kept, kind, f"{readings.IN_MAIL}1")))
            assert reading is None or read_as(reading) == read_as(said), mail["name"]
            assert reading is None or reading.get("read_as") == said.get("read_as")
            again += reading is not None
    assert again > 10


def test_the_codes_of_a_mail_are_heard_again() -> None:
    detail = {"text": "delivery failed", "status": "5.1.1", "category": "undetermined"}
    told = older(failed(detail, key=f"{readings.IN_MAIL}1"))
    assert read_as(readings.again(told)) == ("mailbox_unknown", "hard")
    assert read_as(readings.again(older(failed(detail)))) == ("undetermined", "soft")


def test_what_was_read_from_words_that_were_not_kept_is_left() -> None:
    detail = {"text": "delivery failed", "category": "mailbox_full", "words": "mailbox is full"}
    told = older(failed(detail, key=f"{readings.IN_MAIL}1"))
    assert readings.again(told) is None
    kept = older(told, text="Delivery failed: Mailbox  is full")
    assert read_as(readings.again(kept)) == ("mailbox_full", "soft")


@pytest.mark.parametrize(
    "detail",
    [
        {"text": UNKNOWN, "category": "mailbox_full"},
        {"category": "mailbox_full", "rules": "older"},
        {"text": "", "category": "mailbox_full", "rules": "older"},
        {"text": UNKNOWN, "category": "mailbox_full", "rules": bounces.rules_version()},
    ],
    ids=["given", "nothing said", "no words", "read by these rules"],
)
def test_what_is_not_read_again(detail: dict[str, Any]) -> None:
    assert readings.again(failed(detail)) is None


def test_only_failures_are_read() -> None:
    detail = {"text": UNKNOWN, "rules": "older"}
    read = {kind for kind in KINDS if readings.again(failed(detail, kind)) is not None}
    assert read == {"bounced", "deferred", "undelivered"}
