"""What an operator does to mailings, and the mails that go to one person each."""

# ruff: noqa: ARG002, N802 (the names and arguments by which aiosmtpd calls a handler)

from __future__ import annotations

import email
import email.policy
import logging
from collections.abc import Iterator
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session
from django.apps import apps
from django.conf import settings

from goodstanding.cli import parameters
from goodstanding.cli.ports import free_port
from goodstanding.core import times
from goodstanding.ledger.models import Delivery, Mailing
from goodstanding.ledger.signing import signer
from goodstanding.mailings import brakes, checking
from goodstanding.mailings.lanes import Lane
from goodstanding.mailings.models import Content, Course, Lot, Outbox
from tests.cli.conftest import Ran, Run
from tests.mailings.audience import contact, opted_in, people, planned, told

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")

BODY = "Hello {{ first_name|upper }} of {{ city }}\n{{ unsubscribe_url }} {{ postal_address }}\n"


class Inbox:
    """A mail server that takes everything but what is for ``full@``."""

    def __init__(self) -> None:
        self.mails: list[tuple[str, str, EmailMessage]] = []

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if address.startswith("full@"):
            return "452 4.2.2 mailbox full"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        assert isinstance(envelope.content, bytes)
        mail = email.message_from_bytes(envelope.content, policy=email.policy.default)
        assert isinstance(mail, EmailMessage)
        self.mails.append((envelope.mail_from or "", envelope.rcpt_tos[0], mail))
        return "250 OK"


@pytest.fixture(autouse=True)
def inbox(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Inbox]:
    port = free_port()
    inbox = Inbox()
    controller = Controller(inbox, hostname="127.0.0.1", port=port)
    controller.start()
    options = msgspec.structs.replace(
        settings.OPTIONS,
        sender_name="The Shop",
        sender_address="news@shop.example",
        postal_address="1 High Street",
        lanes={"main": Lane(host="127.0.0.1", port=port, starttls="never")},
    )
    monkeypatch.setattr(settings, "OPTIONS", options)
    monkeypatch.setattr(logging.getLogger("mail.log"), "disabled", True)
    monkeypatch.chdir(tmp_path)
    Path("body.txt").write_text(BODY)
    yield inbox
    controller.stop()


def rows() -> dict[str, int]:
    """How many rows every table has."""
    return {
        model._meta.db_table: model._default_manager.count()
        for model in apps.get_models()
        if model._meta.managed
    }


# Test sends


def shown_to(run: Run, *addresses: str, subject: str = "For {{ first_name }}") -> Ran:
    to = [word for address in addresses for word in ("--test", address)]
    return run("send", "june", "--subject", subject, "--text", "body.txt", *to, "--json")


def test_a_test_send_is_the_mail_as_it_will_be_and_leaves_no_trace(run: Run, inbox: Inbox) -> None:
    contact("ann", first_name="Änn", fields={"city": "Rome"})
    before = rows()
    done = shown_to(run, "ann@example.com", "who@elsewhere.example")
    assert (done.status, done.err) == (0, "")
    assert [(each["address"], each["sent"], each["fields"]) for each in done.items] == [
        ("ann@example.com", True, "contact"),
        ("who@elsewhere.example", True, "samples"),
    ]
    assert rows() == before
    (sender, _, anns), (_, _, whos) = inbox.mails
    assert anns["Subject"] == "For Änn"
    assert "Hello ÄNN of Rome" in anns.get_content()
    assert "Hello ANN of city" in whos.get_content()
    assert anns["Message-ID"] != whos["Message-ID"], "the second of two alike is thrown away"
    token = sender.partition("@")[0].removeprefix("b-")
    assert signer().verify("return-path", token) == (0,), "a delivery that there is not"
    assert not Delivery.objects.filter(pk=0).exists()
    assert run("send", "june", "--subject", "x", "--text", "body.txt", "--no-wait").status == 0


def test_a_test_send_that_does_not_leave_says_why(run: Run, inbox: Inbox) -> None:
    contact("ann", fields={"city": "Rome"})
    told("blocked", "ann", source="operator")
    done = shown_to(run, "ann@example.com", "full@example.com", "bob@example.com")
    assert done.status == 1
    assert [(e["sent"], e["refused"], e["said"]) for e in done.items] == [
        (False, "blocked", ""),
        (False, None, "452 4.2.2 mailbox full"),
        (True, None, "250 OK"),
    ]
    assert done.err == "2 of 3 test mails did not leave.\n"
    assert [to for _, to, _ in inbox.mails] == ["bob@example.com"]
    wrong = shown_to(run, "bob@example.com", subject="{{ frist_name }}")
    assert (wrong.status, wrong.out) == (1, "")
    assert "did you mean 'first_name'?" in wrong.err
    assert shown_to(run, "bob at example").status == 2


# send


def test_it_starts_later_and_draws_its_audience_then(run: Run) -> None:
    contact("ann", fields={"city": "Rome"})
    at = times.rfc3339(parameters.present() + 3_600_000_000)
    said = ["send", "june", "--subject", "x", "--text", "body.txt"]
    done = run(*said, "--start", at, "--json")
    assert done.status == 0
    assert (done.items[0]["state"], done.items[0]["scheduled"]) == ("scheduled", 0)
    assert Content.objects.get().plan_until is None
    moved = run("schedule", "june", "2031-01-01T00:00:00Z", "--json")
    assert moved.items == [{"mailing": "june", "starts_at": "2031-01-01T00:00:00Z"}]
    assert Content.objects.get().starts_at == times.parse("2031-01-01T00:00:00Z")
    assert run("schedule", "june", "at noon").status == 2
    assert run("schedule", "july", "2031-01-01T00:00:00Z").status == 2
    past = run(*said[:1], "july", *said[2:], "--expires", "2020-01-01T00:00:00Z")
    assert (past.status, past.err) == (2, "--expires is in the past.\n")
    early = run(*said[:1], "july", *said[2:], "--start", at, "--expires", times.rfc3339(
        parameters.present() + 60_000_000))  # fmt: skip
    assert (early.status, early.err) == (1, "a mailing expires after it starts\n")


def test_a_mail_that_cannot_be_made_is_named_before_the_first_leaves(run: Run) -> None:
    opted_in("ann", "bob")
    contact("ann", first_name="Ann", fields={"city": "Rome"})
    contact("bob", first_name=" ", fields={"city": "Rome"})
    done = run("send", "june", "--subject", "{{ first_name }}", "--text", "body.txt", "--json")
    assert done.status == 1
    assert (done.items[0]["state"], done.items[0]["sent"]) == ("paused", 0)
    assert "the mail to bob@example.com could not be made: the subject would be empty" in done.err
    assert 'goodstanding resume june --reason "…"' in done.err
    resumed = run("resume", "june", "--reason", "the others are fine", "--json")
    assert resumed.items == [{"mailing": "june", "state": "sending", "left": 2, "sent": 0}]


# pause, resume, stop, release


def test_paused_resumed_and_stopped(run: Run) -> None:
    people(3)
    planned(at=parameters.present())
    done = run("pause", "news", "--reason", "wrong price", "--by", "ann", "--json")
    assert done.items == [{"mailing": "news", "state": "paused", "left": 3, "sent": 0}]
    assert Content.objects.get().course_by == "ann"
    again = run("pause", "news", "--reason", "wrong price")
    assert (again.status, again.err) == (1, "The mailing 'news' is paused already.\n")
    shown = run("report", "mailing", "news").out
    assert "paused" in shown
    assert "by ann: wrong price" in shown
    followed = run("report", "mailing", "news", "--follow", "--json")
    assert followed.items[0]["state"] == "paused", "it does not wait for ever"
    assert "news: paused, 0 of 3" in followed.err
    assert "goes on" in run("resume", "news", "--reason", "right price").out
    done = run("stop", "news", "--reason", "wrong list")
    assert done.out == "news is stopped: 0 were sent, 3 were not.\n"
    assert not Outbox.objects.exists()
    assert run("resume", "news", "--reason", "after all").status == 1
    assert run("stop", "none", "--reason", "x").status == 2
    assert run("stop", "news").status == 2, "a reason is needed"
    assert run("stop", "news", "--reason", " ").status == 2


def test_what_has_all_left_is_not_stopped(run: Run) -> None:
    opted_in("ann")
    planned(at=parameters.present())  # nobody is a contact
    done = run("stop", "news", "--reason", "x")
    assert done.status == 1
    assert done.err == "news is completed: nothing of it has still to leave.\n"
    assert Content.objects.get().course == Course.RUNNING


def test_what_the_brake_holds_is_shown_and_let_go(run: Run) -> None:
    people(30)
    planned(at=parameters.present())
    none = run("release", "news", "--reason", "x")
    assert (none.status, none.err) == (1, "The brake holds nothing of news.\n")
    brakes.hold({Lot.objects.get().pk: "9 of the last 10 bounced hard"}, parameters.present())
    shown = run("providers", "--json")
    assert [(each["lane"], each["provider"], each["level"]) for each in shown.items[:-1]] == [
        ("main", "default", 1.0),
        ("main", "example.com", 1.0),
    ]
    assert shown.items[0]["connections"] == {"now": 7, "limit": 7}
    assert shown.items[0]["mails_a_minute"] == {"now": None, "limit": None}
    assert shown.items[-1]["held"] == "news"
    assert shown.items[-1]["why"] == "9 of the last 10 bounced hard"
    assert "9 of the last 10" in run("providers").out
    elsewhere = run("release", "news", "--provider", "gmail.com", "--reason", "x")
    assert (elsewhere.status, elsewhere.err[:42]) == (
        1,
        "The brake holds nothing of news at gmail.c",
    )
    done = run("release", "news", "--provider", "EXAMPLE.com", "--reason", "they said so", "--json")
    assert done.items == [{"mailing": "news", "released": ["example.com"]}]
    assert Lot.objects.get().released_why == "they said so"
    assert run("providers", "--lane", "none").status == 2
    assert run("release", "none", "--reason", "x").status == 2


def test_what_was_only_to_be_planned_is_done_though_the_brake_holds_it(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where workers were quicker than the command."""
    people(3)
    Path("body.txt").write_text(BODY.replace("{{ city }}", "here"))
    check = checking.check

    def held(*arguments: Any, **named: Any) -> bool:
        lots = {lot.pk: "9 of the last 10 bounced hard" for lot in Lot.objects.all()}
        brakes.hold(lots, parameters.present())
        return check(*arguments, **named)

    monkeypatch.setattr(checking, "check", held)
    said = ["--subject", "Hello", "--text", "body.txt"]
    done = run("send", "news", *said, "--no-wait")
    assert done.status == 0
    assert "The brake holds the 3 that news has left" in done.err
    waiting = run("send", "more", *said, "--wait")
    assert (waiting.status, waiting.err[:33]) == (1, "The brake holds the 3 that more h")


# One by one


def template(run: Run, name: str, *more: str, purpose: str = "transactional") -> Ran:
    Path("receipt.txt").write_text("Order {{ order }}{% if gift %}, a gift{% endif %}\n")
    said = ["--purpose", purpose, "--subject", "Order {{ order }}", "--text", "receipt.txt"]
    return run("template", name, *said, *more, "--json")


def test_a_receipt_is_sent_once_for_each_key(run: Run) -> None:
    assert template(run, "receipt").items == [
        {"mailing": "receipt", "purpose": "transactional", "fields": ["order"]}
    ]
    assert run("lint", "receipt", "--json").status in (0, 1)
    said = ["message", "receipt", "ann@example.com", "--key", "1001", "--json"]
    first = run(*said, "--field", "order=1=1")
    assert first.status == 0
    assert (first.items[0]["repeated"], first.items[0]["refused"]) == (False, None)
    Path("order.json").write_text('{"order": "1=1"}')
    again = run(*said, "--fields", "order.json")
    assert again.status == 0
    assert again.items[0] == {**first.items[0], "repeated": True}
    assert Outbox.objects.count() == 1
    other = run(*said, "--field", "order=1002")
    assert other.status == 2
    assert "used before" in other.err
    keyless = [run(*said[:3], "--field", "order=7", "--json").items[0]["key"] for _ in range(2)]
    assert keyless[0] != keyless[1]
    assert run("report", "mailing", "receipt", "--json").items[0]["state"] == "sending"


@pytest.mark.parametrize(
    ("more", "part"),
    [
        ([], "The mail needs the field 'order'."),
        (["--field", "order"], "'order' is not NAME=VALUE"),
        (["--fields", "list.json"], "does not hold a JSON object"),
        (["--fields", "deep.json"], "the field 'order' is neither a text nor a number"),
        (["--fields", "broken.json"], "broken.json is not JSON"),
        (["--fields", "none.json"], "none.json cannot be read"),
        (["--field", "order=\udcff"], "is not UTF-8"),
        (["--field", "order=1", "--key", "a\nb"], "printable characters"),
    ],
)
def test_fields_that_cannot_be_used_are_named(run: Run, more: list[str], part: str) -> None:
    template(run, "receipt")
    Path("list.json").write_text("[1]")
    Path("deep.json").write_text('{"order": {"n": 1}}')
    Path("broken.json").write_text("{")
    done = run("message", "receipt", "ann@example.com", *more)
    assert (done.status, done.out) == (2, "")
    assert part in done.err
    assert done.err.count("\n") == 1
    assert not Outbox.objects.exists()


def test_whom_the_gate_refuses_is_sent_nothing_and_the_reason_is_named(run: Run) -> None:
    template(run, "receipt")
    told("blocked", "ann", source="operator")
    said = ["message", "receipt", "ann@example.com", "--key", "k", "--field", "order=1"]
    for begins in ("ann@example.com is sent nothing", "The key 'k' was used before: ann@exam"):
        done = run(*said)
        assert (done.status, done.out) == (1, "")
        assert done.err.startswith(begins)
        assert done.err.endswith("the gate refuses it, blocked.\n")
    done = run(*said, "--json")
    assert (done.status, done.err) == (1, "")
    assert (done.items[0]["refused"], done.items[0]["repeated"]) == ("blocked", True)


def test_links_to_confirm_by_are_read_and_wrong_ones_named(run: Run) -> None:
    Path("ask.txt").write_text("{{ confirm_url_news }} {{ confirm_url_all }} {{ postal_address }}")
    said = ["template", "ask", "--subject", "Please", "--text", "ask.txt", "--purpose"]
    links = ["--confirm", "name=news,topic=news", "--confirm"]
    url = "https://shop.example/thanks?a=1,b=2"
    kept = run(*said, "confirmation", *links, f"name=all,url={url},method=custom")
    assert kept.status == 0, kept.err
    links_kept: list[dict[str, Any]] = msgspec.json.decode(Content.objects.get().confirms)
    assert links_kept == [
        {"name": "news", "url": "", "topic": "news", "method": "standard"},
        {"name": "all", "url": url, "topic": None, "method": "custom"},
    ]
    for wrong, status, part in (
        ("nmae=all", 2, "'nmae=all' is not KEY=VALUE, with a key of name, url, topic, method"),
        ("name=all,name=b", 2, "name is said twice"),
        ("name=all,method=loud", 2, "a method is standard or custom"),
        ("name=All", 1, "a name has 1 to 40 of a to z"),
        ("name=all,url=ftp://x", 1, "no page to lead to"),
    ):
        done = run(said[0], "other", *said[2:], "confirmation", *links, wrong)
        assert done.status == status, wrong
        assert part in done.err
    assert run(*said, "transactional", *links, "name=all").status == 2
    assert run(*said, "broadcast").status == 2
    assert Mailing.objects.count() == 1


def test_one_person_writes_to_another(run: Run) -> None:
    contact("ann", first_name="Ann")
    Path("answer.txt").write_text("Dear {{ first_name }}, yes.\n")
    said = ["--author", "Bo Example", "--subject", "Re: hats", "--text", "answer.txt", "--no-wait"]
    done = run("write", "ann@example.com", *said, "--json")
    assert done.status == 0, done.err
    assert (done.items[0]["state"], done.items[0]["left"]) == ("sending", 1)
    content = Content.objects.select_related("mailing").get()
    assert (content.author, content.from_name) == ("Bo Example", "Bo Example")
    assert content.mailing.purpose == "one_off"
    two = run("write", "ann@example.com", "bob@example.com", *said)
    assert (two.status, two.out) == (1, "")
    assert "A one-off goes to one recipient" in two.err
    told("blocked", "cai", source="operator")
    refused = run("write", "cai@example.com", *said)
    assert refused.status == 1
    assert "the gate refuses it, blocked" in refused.err
    Path("answer.txt").write_text("{{ price }}")
    unknown = run("write", "ann@example.com", *said)
    assert (unknown.status, unknown.err) == (1, "There is no merge field 'price'.\n")
    assert run("write", "ann@example.com", *said[2:]).status == 2, "an author is needed"


def test_a_sequence_is_paused_and_stopped_by_its_name(run: Run) -> None:
    Path("welcome.toml").write_text(
        'name = "welcome"\nstarts_on = "opted_in"\n'
        '[[steps]]\ndelay = "0s"\nsubject = "Welcome"\ntext = "hello.txt"\n'
    )
    Path("hello.txt").write_text("Hello {{ unsubscribe_url }} {{ postal_address }}\n")
    assert run("sequence", "welcome.toml").status == 0
    for command, course in (("pause", "paused"), ("resume", "running"), ("stop", "stopped")):
        done = run(command, "welcome", "--reason", "x", "--json")
        assert (done.status, done.items) == (0, [{"sequence": "welcome", "course": course}])
    again = run("resume", "welcome", "--reason", "x")
    assert (again.status, again.out) == (1, "")
    assert again.err == "The sequence 'welcome' is stopped already.\n"


# lint


def test_a_mailing_that_is_kept_is_looked_at_by_its_name(run: Run) -> None:
    Path("june.html").write_text(
        '<html lang="en"><body><script>x</script><p>Hi {{ first_name }}</p>'
        '<p><a href="{{ unsubscribe_url }}">Leave</a> {{ postal_address }}</p></body></html>'
    )
    assert run("send", "june", "--subject", "Hats", "--html", "june.html", "--no-wait").status == 0
    kept = run("lint", "june", "--json")
    files = run("lint", "june.html", "--subject", "Hats", "--json")
    assert (kept.status, files.status) == (1, 1)
    assert kept.items == files.items
    assert "active_content" in {each["rule"] for each in kept.items}
    template(run, "receipt")
    rules = {each["rule"] for each in run("lint", "receipt", "--json").items}
    assert "content" not in rules, "its own fields are no mistake"
    for arguments, part in (
        (["july"], "There is no mailing 'july'"),
        (["june", "--subject", "x"], "has its own subject"),
        (["june.html"], "Say the subject too"),
        (["june.html", "june.html", "--subject", "x"], "one .html file"),
        ([], "a mailing's name"),
    ):
        wrong = run("lint", *arguments)
        assert (wrong.status, wrong.out) == (2, "")
        assert part in wrong.err
