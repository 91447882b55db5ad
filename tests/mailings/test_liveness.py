"""Liveness: a worker lives while it holds its lock, and what the dead had claimed is found."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from django.conf import settings
from django.db import OperationalError, connection

from goodstanding.mailings import liveness, outbox
from goodstanding.mailings.liveness import Lifeline
from goodstanding.mailings.models import Outbox, State, Worker
from tests.mailings.audience import NOW, at_once, people, planned

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "HOME", tmp_path)


def elsewhere(call: object) -> object:
    """What it gives in another session, as another process would see it."""
    [result] = at_once(call)  # type: ignore[arg-type]
    if isinstance(result, BaseException):
        raise result
    return result


def dead(but: int = 0) -> list[int]:
    with liveness.dead(but=but) as found:
        return found


def lose_session(lifeline: Lifeline) -> None:
    """As when the process died, or its connection to the server did."""
    if connection.vendor == "sqlite":
        os.close(lifeline._held)
    else:
        connection.close()


def test_alive_until_it_lets_go() -> None:
    lifeline = Lifeline(NOW)
    assert elsewhere(liveness.alive) == [lifeline.worker]
    assert elsewhere(dead) == []
    lifeline.let_go()
    assert elsewhere(liveness.alive) == []
    assert elsewhere(dead) == []
    assert not Worker.objects.exists()


def test_dead_when_its_lock_is_gone() -> None:
    lifeline = Lifeline(NOW)
    lose_session(lifeline)
    assert elsewhere(liveness.alive) == []
    assert elsewhere(lambda: dead(but=lifeline.worker)) == []
    assert elsewhere(dead) == [lifeline.worker]
    liveness.bury([lifeline.worker])
    assert elsewhere(dead) == []


def test_claimed_under_a_name_that_nobody_knows_is_found() -> None:
    people(1)
    planned()
    Outbox.objects.update(state=State.CLAIMED, worker_id=12345, attempt=1)
    assert dead() == [12345]
    assert outbox.recover([12345], NOW) == (1, 0)
    assert dead() == []


def test_nobody_sees_a_worker_before_it_has_its_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[object] = []
    lock = Lifeline._lock

    def watched(self: Lifeline) -> int:
        seen.append(elsewhere(dead))
        return lock(self)

    monkeypatch.setattr(Lifeline, "_lock", watched)
    Lifeline(NOW).let_go()
    assert seen == [[]]


def test_many_begin_while_many_look_for_the_dead() -> None:
    """Nobody is buried alive."""
    found: list[int] = []

    def begin() -> list[Lifeline]:
        mine = [Lifeline(NOW) for _ in range(8)]
        for lifeline in mine:
            assert Worker.objects.filter(pk=lifeline.worker).exists()
            lifeline.let_go()
        return mine

    def look() -> None:
        for _ in range(60):
            found.extend(dead())

    results = at_once(begin, look, begin, look)
    assert not any(isinstance(result, BaseException) for result in results), results
    assert found == []


def test_a_session_that_was_lost_is_taken_up_again() -> None:
    if connection.vendor == "sqlite":
        pytest.skip("a file's lock is lost with the process alone")
    lifeline = Lifeline(NOW)
    worker = lifeline.worker
    connection.close()
    assert elsewhere(dead) == [worker]
    lifeline.hold()
    assert lifeline.worker == worker
    assert elsewhere(dead) == []
    lifeline.let_go()
    assert not Worker.objects.exists()


def test_who_was_buried_meanwhile_goes_on_under_another_name() -> None:
    if connection.vendor == "sqlite":
        pytest.skip("a file's lock is lost with the process alone")
    people(1)
    planned()
    lifeline = Lifeline(NOW)
    worker = lifeline.worker
    outbox.claim(worker, 10, NOW)
    connection.close()

    def take_over() -> object:
        with liveness.dead(but=0) as found:
            with pytest.raises(OperationalError):
                # It comes back while another takes over: it may not claim under its old name.
                elsewhere(lifeline.hold)
            done = outbox.recover(found, NOW)
            liveness.bury(found)
        return found, done

    assert elsewhere(take_over) == ([worker], (1, 0))
    lifeline.hold()
    assert lifeline.worker != worker
    assert elsewhere(liveness.alive) == [lifeline.worker]
    assert elsewhere(dead) == []
