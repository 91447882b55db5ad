"""One message at a time: the gate is asked under a lock, and what waits already counts."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from django.db import connection, transaction

from goodstanding.core.addresses import Address
from goodstanding.core.events import Event
from goodstanding.ledger import asking, models, recording
from tests.core.histories import DAY, HOUR, START

pytestmark = pytest.mark.django_db(transaction=True)

NOW = START + 50 * DAY
ANA = Address("email", "ana@example.com")
NUMBER = Address("sms", "+34600000001")


def heard(kind: str, at: int = NOW - DAY, of: Address = ANA, **said: object) -> None:
    detail = said.pop("detail", {})
    event = Event(kind, at, of, "api", detail=detail, **said)  # type: ignore[arg-type]
    assert not recording.record([event], NOW).refused


def ask(purpose: str, topic: str | None = None, now: int = NOW) -> str | None:
    with transaction.atomic():
        return asking.refusal(ANA, purpose, topic, now)


def plan(purpose: str, mailing: str, address: Address = ANA) -> str | None:
    """Ask, and plan where it may go."""
    with transaction.atomic():
        reason = asking.refusal(address, purpose, None, NOW)
        if reason is None:
            heard("planned", NOW, address, mailing=mailing, purpose=purpose)
        return reason


def test_of_an_address_never_heard_of() -> None:
    assert ask("broadcast") == "never_opted_in"
    assert ask("confirmation") == "not_requested"
    assert ask("transactional") is None
    assert not models.Address.objects.exists(), "asking changes nothing"


def test_on_a_topic() -> None:
    heard("opted_in")
    heard("opted_out", topic="news")
    assert ask("broadcast") is None
    assert ask("broadcast", "news") == "opted_out_of_topic"
    assert ask("broadcast", "offers") is None


def test_time_that_nobody_has_folded_yet_counts() -> None:
    heard("imported", detail={"permission": True})
    heard("sent", NOW - 29 * DAY, mailing="a", purpose="confirmation", detail={"reports": False})
    assert ask("confirmation") == "limit_reached"
    assert ask("confirmation", now=NOW + 2 * DAY) is None


def at_once(count: int, call: Callable[[int], str | None]) -> list[str | None]:
    """What each of so many calls gave back that began together."""
    answers: list[str | None] = []
    start = threading.Barrier(count)

    def work(number: int) -> None:
        try:
            start.wait(30)
            answers.append(call(number))
        finally:
            connection.close()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return answers


def test_ten_requests_at_once_are_three() -> None:
    heard("opted_in", detail={"how": "form"})
    answers = at_once(10, lambda number: plan("confirmation", f"ask-{number}"))
    assert sorted(answers, key=str) == [None] * 3 + ["limit_reached"] * 7
    assert models.Address.objects.get().blocks_confirmation is None, "those planned may go"


def test_one_that_was_skipped_makes_room() -> None:
    heard("imported", detail={"permission": True})
    assert plan("confirmation", "a") is None
    assert plan("confirmation", "b") == "limit_reached"
    heard("skipped", NOW + HOUR, mailing="a", detail={"reason": "blocked"})
    assert plan("confirmation", "c") is None


def test_of_ten_acknowledgements_at_once_one_goes() -> None:
    recording.record([Event("opted_out", NOW - HOUR // 60, NUMBER, "api")], NOW)
    answers = at_once(10, lambda number: plan("acknowledgement", f"goodbye-{number}", NUMBER))
    assert sorted(answers, key=str) == [None] + ["opted_out"] * 9
    assert models.Address.objects.get().blocks_acknowledgement is None, "that one may go"
    models.Delivery.objects.get()


def test_what_is_asked_wrongly_is_an_error() -> None:
    with pytest.raises(ValueError, match="'spam' is not a purpose"):
        ask("spam")
    with pytest.raises(transaction.TransactionManagementError):
        asking.refusal(ANA, "one_off", None, NOW)
