"""From what arrived to what the ledger knows."""

import time
import zlib
from contextlib import ExitStack
from typing import Any

import msgspec
import pytest
from django.db import OperationalError, connections
from django.test.utils import CaptureQueriesContext

from goodstanding.core.addresses import Address
from goodstanding.core.events import SECOND, Event
from goodstanding.intake import digest, spool, understanding
from goodstanding.intake.digest import Digested
from goodstanding.intake.models import HTTP, MAIL, Kept, Spooled
from goodstanding.intake.spool import Visit
from goodstanding.ledger import models as ledger
from goodstanding.ledger.recording import record
from tests.intake.post import DOMAIN, SENDER, SENT, SendIt, Sent, arrive, bounce, complaint, letter

pytestmark = pytest.mark.django_db(databases=["default", "spool"])


def heard() -> Digested:
    return digest.digest(time.time_ns() // 1000)


def why_not() -> str:
    """Why the only mail was not understood."""
    return Kept.objects.get(outcome="not_understood").note


def test_a_bounce_stops_the_address_and_is_kept(ann: Sent) -> None:
    content = bounce(ann)
    arrive(content, ann.return_path)
    assert digest.pending() == 1
    assert heard() == Digested(read=1, events=1, not_understood=0)
    assert digest.pending() == 0

    ((kind, detail),) = ann.events()
    assert kind == "bounced"
    assert (detail["category"], detail["disposition"]) == ("mailbox_unknown", "hard")
    assert detail["status"] == "5.1.1"
    assert detail["rules"]
    assert "User unknown" in detail["text"]
    assert (ann.row().response, ann.status()) == ("hard_bounced", "hard_bounced")
    event = ledger.Event.objects.get(kind="bounced")
    assert event.occurred_at == SENT + 2 * SECOND  # its Date, not when it was read
    assert event.source == "dsn"

    kept = Kept.objects.get()
    assert zlib.decompress(kept.content) == content
    assert (kept.outcome, kept.note, kept.events) == (
        "understood",
        "bounced (mailbox_unknown)",
        1,
    )


def test_the_same_bounce_again_changes_nothing(ann: Sent) -> None:
    arrive(bounce(ann), ann.return_path)
    heard()
    before = (ledger.Address.objects.values().get(), ledger.Delivery.objects.values().get())
    again = bounce(ann).replace(b"15:06:45", b"19:44:01").replace(b"Received:", b"Received: x;")
    arrive(again, ann.return_path)
    arrive(again, f"postmaster@{DOMAIN}")
    assert heard().not_understood == 0
    assert (ledger.Address.objects.values().get(), ledger.Delivery.objects.values().get()) == before
    assert ann.kinds() == ["bounced"]
    assert ledger.RefusedEvent.objects.count() == 0


def test_killed_between_recording_and_forgetting(
    ann: Sent, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrive(bounce(ann), ann.return_path)
    spool.put(HTTP, Visit("open", ann.delivery, user_agent="Thunderbird"))
    spool.put(HTTP, Visit("one_click", ann.delivery, "POST"))

    def die(_: object) -> None:
        raise SystemExit

    with monkeypatch.context() as patched:
        patched.setattr(digest, "_move", die)
        with pytest.raises(SystemExit):
            heard()
    assert digest.pending() == 3
    before = sorted(ann.kinds())
    assert before == ["bounced", "list_unsubscribed", "opened"]
    assert heard().read == 3
    assert digest.pending() == 0
    assert sorted(ann.kinds()) == before
    assert ann.row().opens == 1
    assert ledger.RefusedEvent.objects.count() == 0


def test_without_a_token_nothing_is_believed(ann: Sent) -> None:
    forged = bounce(ann).replace(ann.token("message-id").encode(), b"a" * 26)
    arrive(forged, f"postmaster@{DOMAIN}")
    arrive(complaint(ann).replace(ann.token("message-id").encode(), b"b" * 26), SENDER)
    arrive(letter(), SENDER)
    elsewhere = bounce(ann).replace(
        f"{ann.token('message-id')}@{DOMAIN}".encode(),
        f"{ann.token('message-id')}@example.org".encode(),
    )
    arrive(elsewhere, f"abuse@{DOMAIN}")
    assert heard() == Digested(read=4, events=0, not_understood=4)
    assert ann.events() == []
    assert ann.status() == "opted_in"
    assert digest.not_understood() == 4
    notes = set(Kept.objects.values_list("note", flat=True))
    assert notes == {"it carries no token of ours"}


def test_the_returned_mail_tells_where_the_envelope_does_not(ann: Sent) -> None:
    arrive(bounce(ann), f"postmaster@{DOMAIN}")
    heard()
    assert ann.kinds() == ["bounced"]


def test_a_complaint_is_known_by_the_message_it_returns(ann: Sent) -> None:
    arrive(complaint(ann), f"complaints@{DOMAIN}")
    heard()
    ((kind, detail),) = ann.events()
    assert (kind, detail["feedback_type"]) == ("complained", "abuse")
    assert (ann.status(), ann.row().response) == ("complained", "complained")
    assert ledger.Event.objects.get(kind="complained").source == "arf"


@pytest.mark.parametrize(
    ("feedback_type", "kinds"),
    [
        ("fraud", ["complained"]),
        ("opt-out", ["list_unsubscribed"]),
        ("not-spam", ["complaint_withdrawn"]),
        ("virus", []),
        ("auth-failure", []),
        ("x-whatever", []),
    ],
)
def test_other_feedback(ann: Sent, feedback_type: str, kinds: list[str]) -> None:
    arrive(complaint(ann, feedback_type), f"complaints@{DOMAIN}")
    heard()
    assert ann.kinds() == kinds


def test_another_address_that_failed_is_a_forwarding(ann: Sent) -> None:
    arrive(bounce(ann, recipient="ann.private@example.org"), ann.return_path)
    heard()
    ((kind, detail),) = ann.events()
    assert (kind, detail["category"], detail["disposition"]) == (
        "bounced",
        "forwarding_failed",
        "soft",
    )
    assert detail["read_as"] == {"category": "mailbox_unknown", "disposition": "hard"}
    assert (ann.row().response, ann.status()) == ("soft_bounced", "soft_bouncing")


def test_the_same_address_spelt_otherwise_is_its_own(ann: Sent) -> None:
    arrive(bounce(ann, recipient="Ann@EXAMPLE.net"), ann.return_path)
    heard()
    assert ann.status() == "hard_bounced"


def test_whom_it_was_for_at_first_does_not_make_another_mailbox_its_own(ann: Sent) -> None:
    content = bounce(ann, recipient="user123@store.example.net").replace(
        b"Action: failed", f"Original-Recipient: rfc822;{ann.address}\r\nAction: failed".encode()
    )
    arrive(content, ann.return_path)
    heard()
    assert (ann.row().response, ann.status()) == ("soft_bounced", "soft_bouncing")


def test_a_delay_is_no_bounce(ann: Sent) -> None:
    content = bounce(ann, reply="451 4.4.1 Connection timed out")
    arrive(content.replace(b"Action: failed", b"Action: delayed"), ann.return_path)
    heard()
    ((kind, detail),) = ann.events()
    assert (kind, detail["disposition"]) == ("deferred", "none")
    assert ann.row().response == "expired"  # nothing more was heard in all the time since


def test_a_report_of_delivery(ann: Sent) -> None:
    content = bounce(ann, reply="250 2.0.0 Delivered to mailbox")
    arrive(content.replace(b"Action: failed", b"Action: delivered"), ann.return_path)
    heard()
    assert ann.kinds() == ["delivered"]


def test_people_answer_and_machines_answer(ann: Sent) -> None:
    arrive(letter("Re: spring", In_Reply_To=ann.message_id), SENDER, sender=ann.address)
    away = letter(
        "Out of office: spring", In_Reply_To=ann.message_id, Auto_Submitted="auto-replied"
    )
    arrive(away, ann.return_path)
    heard()
    assert sorted(ann.kinds()) == ["auto_replied", "replied"]
    assert ann.row().response == "replied"
    assert not any("Thursday" in str(detail) for _, detail in ann.events())


def test_the_last_reference_of_many_will_do(ann: Sent) -> None:
    others = " ".join(f"<{n}@example.net>" for n in range(200))
    arrive(letter("Re: Re: spring", References=f"{others} {ann.message_id}"), SENDER)
    heard()
    assert ann.kinds() == ["replied"]


def test_plain_mail_to_a_return_path_is_no_answer(ann: Sent) -> None:
    arrive(letter("Buy now", In_Reply_To=ann.message_id), ann.return_path)
    heard()
    assert ann.kinds() == []
    assert why_not() == "it is neither a report nor an answer to a message of ours"


def test_a_mail_to_the_unsubscribe_mailbox(ann: Sent) -> None:
    to = f"unsubscribe-{ann.token('unsubscribe')}@{DOMAIN}"
    arrive(letter("unsubscribe"), to.upper(), sender=ann.address)
    heard()
    assert ann.kinds() == ["list_unsubscribed"]
    assert ann.status() == "list_unsubscribed"


def test_a_bounce_to_the_unsubscribe_mailbox_unsubscribes_nobody(ann: Sent) -> None:
    arrive(bounce(ann), f"unsubscribe-{ann.token('unsubscribe')}@{DOMAIN}")
    heard()
    assert ann.kinds() == ["bounced"]


@pytest.mark.parametrize(
    "date", ["Sun, 15 Jun 2025 14:00:00 +0000", "Fri, 15 Jun 2125 15:00:00 +0000", "whenever"]
)
def test_a_date_that_cannot_be_is_not_believed(ann: Sent, date: str) -> None:
    content = bounce(ann).replace(b"Sun, 15 Jun 2025 15:06:42 +0000", date.encode())
    arrive(content, ann.return_path)
    received = Spooled.objects.get().received_at
    heard()
    event = ledger.Event.objects.get(kind="bounced")
    said = msgspec.json.decode(event.detail)
    assert said.get("claimed_at", event.occurred_at) == received


def test_a_delivery_that_is_not_there(ann: Sent) -> None:
    unknown = Sent(ann.delivery + 1000, ann.address)
    arrive(bounce(unknown), unknown.return_path)
    spool.put(HTTP, Visit("one_click", unknown.delivery, "POST"))
    assert heard() == Digested(read=2, events=0, not_understood=2)


def test_one_poisonous_row_blocks_nobody(ann: Sent, monkeypatch: pytest.MonkeyPatch) -> None:
    Spooled.objects.create(kind=MAIL, received_at=1, envelope="{no json", content=b"x", size=1)
    Spooled.objects.create(kind=HTTP, received_at=1, envelope='{"door":"cellar"}', content=b"")
    arrive(b"poison", ann.return_path)
    arrive(bounce(ann), ann.return_path)
    arrive(b"\0" * 1000, ann.return_path)
    arrive(b"\r" * 1000, f"complaints@{DOMAIN}")
    arrive(b"", SENDER)
    real = understanding.letters.read

    def read(envelope: Any, content: bytes, received_at: int) -> Any:
        if content == b"poison":
            raise RecursionError(ann.address)
        return real(envelope, content, received_at)

    monkeypatch.setattr(understanding.letters, "read", read)
    assert heard() == Digested(read=7, events=1, not_understood=6)
    assert ann.kinds() == ["bounced"]
    assert Kept.objects.filter(note="reading it failed with RecursionError").count() == 1
    assert not Kept.objects.filter(note__contains=ann.address).exists()


def test_an_event_that_cannot_be_recorded_blocks_nobody(
    ann: Sent, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrive(letter("Re: spring", In_Reply_To=ann.message_id), SENDER)
    arrive(bounce(ann), ann.return_path)
    real = digest.record

    def spoilt(events: list[Any], now: int) -> Any:
        if any(event.kind == "replied" for event in events):
            raise TypeError
        return real(events, now)

    monkeypatch.setattr(digest, "record", spoilt)
    assert heard() == Digested(read=2, events=1, not_understood=1)
    assert ann.kinds() == ["bounced"]


def test_while_the_ledger_is_away_nothing_is_lost(
    ann: Sent, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrive(bounce(ann), ann.return_path)

    def away(*_: object) -> None:
        raise OperationalError

    with monkeypatch.context() as patched:
        patched.setattr(digest, "record", away)
        with pytest.raises(OperationalError):
            heard()
    assert digest.pending() == 1
    heard()
    assert ann.kinds() == ["bounced"]


def test_a_batch_is_bounded_in_rows_and_bytes(ann: Sent, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(5):
        arrive(b"x" * 1000, SENDER)
    assert digest.digest(time.time_ns() // 1000, limit=2).read == 2
    monkeypatch.setattr(digest, "MOST_BYTES", 1500)
    assert heard().read == 1
    monkeypatch.setattr(digest, "MOST_BYTES", 10)
    assert heard().read == 1
    assert digest.pending() == 1


def test_a_batch_costs_no_more_queries_than_a_few(send: SendIt) -> None:
    def queries(names: range) -> int:
        for number in names:
            sent = send(f"p{number}@example.net")
            arrive(bounce(sent), sent.return_path)
        # With one mirror for both, as on PostgreSQL, the two are the same connection.
        used = {id(connection): connection for connection in connections.all()}
        with ExitStack() as stack:
            seen = [stack.enter_context(CaptureQueriesContext(each)) for each in used.values()]
            assert heard().events == len(names)
        return sum(len(each) for each in seen)

    assert queries(range(3, 43)) <= queries(range(3)) + 2


def test_who_opened_and_who_clicked(ann: Sent) -> None:
    firefox = "Mozilla/5.0 (X11; Linux x86_64; rv:139.0) Gecko/20100101 Firefox/139.0"
    spool.put(HTTP, Visit("open", ann.delivery, user_agent=firefox))
    spool.put(HTTP, Visit("open", ann.delivery, user_agent=firefox))
    spool.put(HTTP, Visit("open", ann.delivery, user_agent="Mozilla/5.0"))
    url = "https://shop.example/spring"
    spool.put(HTTP, Visit("link", ann.delivery, user_agent=firefox, link=1, url=url))
    spool.put(HTTP, Visit("link", ann.delivery, "HEAD", firefox, link=1, url=url))
    assert heard() == Digested(read=5, events=5, not_understood=0)
    assert ann.kinds() == ["opened", "opened", "machine_opened", "clicked", "machine_clicked"]
    details = [detail for _, detail in ann.events()]
    assert details[2] == {"user_agent": "Mozilla/5.0", "rule": "apple_privacy"}
    assert details[3]["url"] == url
    assert details[4]["rule"] == "head"
    assert (ann.row().opens, ann.row().clicks, ann.row().response) == (2, 1, "clicked")
    assert Kept.objects.count() == 0  # the events hold all that was said


def test_leaving_again_after_coming_back(ann: Sent) -> None:
    spool.put(HTTP, Visit("one_click", ann.delivery, "POST"))
    heard()
    now = time.time_ns() // 1000
    record([Event("opted_in", now, Address("email", ann.address), "form")], now)
    assert ann.status() == "opted_in"
    spool.put(HTTP, Visit("one_click", ann.delivery, "POST"))
    heard()
    assert ann.status() == "list_unsubscribed"


def test_what_was_kept_goes_after_its_time(ann: Sent) -> None:
    now = time.time_ns() // 1000
    arrive(letter(), SENDER)
    arrive(letter(), SENDER)
    first, second = Spooled.objects.order_by("pk")
    Spooled.objects.filter(pk=first.pk).update(received_at=now - 31 * 86_400 * SECOND)
    Spooled.objects.filter(pk=second.pk).update(received_at=now - 29 * 86_400 * SECOND)
    heard()
    assert digest.prune(now) == 1
    assert Kept.objects.count() == 1
