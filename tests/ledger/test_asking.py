"""One message at a time: the gate is asked under a lock, and what waits already counts."""

from __future__ import annotations

import threading

import pytest
from django.db import connection, transaction

from goodstanding.core.addresses import Address
from goodstanding.core.events import Event
from goodstanding.ledger import asking, models, recording
from tests.core.histories import DAY, HOUR, START

pytestmark = pytest.mark.django_db(transaction=True)

NOW = START + 50 * DAY
ANA = Address("email", "ana@example.com")


def heard(kind: str, at: int = NOW - DAY, **said: object) -> None:
    detail = said.pop("detail", {})
    event = Event(kind, at, ANA, "api", detail=detail, **said)  # type: ignore[arg-type]
    assert not recording.record([event], NOW).refused


def ask(purpose: str, topic: str | None = None, now: int = NOW) -> str | None:
    with transaction.atomic():
        return asking.refusal(ANA, purpose, topic, now)


def plan(purpose: str, mailing: str) -> str | None:
    """Ask, and plan where it may go."""
    with transaction.atomic():
        reason = asking.refusal(ANA, purpose, None, NOW)
        if reason is None:
            heard("planned", NOW, mailing=mailing, purpose=purpose)
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


def test_ten_requests_at_once_are_three() -> None:
    heard("opted_in", detail={"how": "form"})
    answers: list[str | None] = []
    start = threading.Barrier(10)

    def work(number: int) -> None:
        try:
            start.wait(30)
            answers.append(plan("confirmation", f"ask-{number}"))
        finally:
            connection.close()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(answers, key=str) == [None] * 3 + ["limit_reached"] * 7
    assert models.Address.objects.get().blocks_confirmation is None, "those planned may go"


def test_one_that_was_skipped_makes_room() -> None:
    heard("imported", detail={"permission": True})
    assert plan("confirmation", "a") is None
    assert plan("confirmation", "b") == "limit_reached"
    heard("skipped", NOW + HOUR, mailing="a", detail={"reason": "blocked"})
    assert plan("confirmation", "c") is None


def test_what_is_asked_wrongly_is_an_error() -> None:
    with pytest.raises(ValueError, match="'spam' is not a purpose"):
        ask("spam")
    with pytest.raises(transaction.TransactionManagementError):
        asking.refusal(ANA, "one_off", None, NOW)
