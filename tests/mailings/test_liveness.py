"""Liveness: a worker lives while it holds its lock, and what the dead had claimed is found."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from django.conf import settings
from django.db import OperationalError, connection, transaction

from goodstanding.mailings import liveness, outbox
from goodstanding.mailings.liveness import Lifeline
from goodstanding.mailings.models import Outbox, State, Worker
from goodstanding.mailings.outbox import Outcome
from tests.mailings.audience import NOW, at_once, claimed, people, planned

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


def dead(but: int = 0, silent_before: int | None = None) -> list[int]:
    with liveness.dead(but, silent_before) as found:
        return list(found)


def take_over(silent_before: int | None = None) -> tuple[int, int]:
    """As another worker would."""
    with liveness.dead(0, silent_before) as found, transaction.atomic():
        return outbox.recover(liveness.bury(found), NOW)


def files() -> list[Path]:
    """The locks in the home folder: there are none on PostgreSQL."""
    return list((settings.HOME / "workers").glob("*"))


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
    assert elsewhere(take_over) == (0, 0)
    assert elsewhere(dead) == []
    assert not Worker.objects.exists()
    assert files() == []


def test_claimed_under_a_name_that_nobody_knows_is_found() -> None:
    people(1)
    planned()
    Outbox.objects.update(state=State.CLAIMED, worker_id=12345, attempt=1)
    assert dead() == [12345]
    assert take_over() == (1, 0)
    assert dead() == []


def test_nobody_sees_a_worker_before_it_has_its_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[object] = []
    lock = liveness._lock

    def watched(worker: int) -> int:
        seen.append(elsewhere(dead))
        return lock(worker)

    monkeypatch.setattr(liveness, "_lock", watched)
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
    assert claimed(worker, 10, NOW)
    connection.close()

    def meanwhile() -> object:
        with liveness.dead(but=0) as found:
            with pytest.raises(OperationalError):
                # It comes back while another takes over: it may not claim under its old name.
                elsewhere(lifeline.hold)
            with transaction.atomic():
                return list(found), outbox.recover(liveness.bury(found), NOW)

    assert elsewhere(meanwhile) == ([worker], (1, 0))
    lifeline.hold()
    assert lifeline.worker != worker
    assert elsewhere(liveness.alive) == [lifeline.worker]
    assert elsewhere(dead) == []


def long_ago() -> int:
    """Let everybody have been seen for the last time long ago; before when they were not seen."""
    now = liveness._clock()
    Worker.objects.update(seen_at=now - 2 * liveness.GONE_AFTER)
    return now - liveness.GONE_AFTER


def test_who_holds_the_lock_but_was_not_seen_is_taken_over_from() -> None:
    people(2)
    planned()
    lifeline = Lifeline(NOW)
    worker = lifeline.worker
    [first, second] = claimed(worker, 10, NOW)
    assert outbox.commit([first], [], NOW) == {first.delivery}
    before = long_ago()
    assert elsewhere(liveness.alive) == []
    assert elsewhere(dead) == [], "where nobody says that it is silent, its lock says it lives"
    assert elsewhere(lambda: take_over(before)) == (1, 1)
    assert elsewhere(lambda: dead(silent_before=before)) == []

    # It wakes: it cannot claim under its old name, nor set a fence, until it has another.
    assert claimed(worker, 10, NOW) == []
    assert outbox.commit([second], [], NOW) == set()
    lifeline._beaten = 0.0
    lifeline.hold()
    assert lifeline.worker != worker
    assert elsewhere(liveness.alive) == [lifeline.worker]
    assert elsewhere(dead) == []
    again = claimed(lifeline.worker, 10, NOW)
    assert [claim.delivery for claim in again] == [second.delivery]
    outbox.release(again)
    lifeline.let_go()
    assert elsewhere(dead) == []
    assert files() == []


def test_who_is_seen_just_before_it_would_be_taken_over_from_goes_on() -> None:
    lifeline = Lifeline(NOW)
    before = long_ago()

    def too_late() -> object:
        with liveness.dead(0, before) as found:
            lifeline._beaten = 0.0
            elsewhere(lambda: liveness._beat(lifeline.worker))
            with transaction.atomic():
                return list(found), liveness.bury(found)

    assert too_late() == ([lifeline.worker], [])
    assert Worker.objects.filter(pk=lifeline.worker).exists()
    lifeline.let_go()


def test_a_worker_says_now_and_then_that_it_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(liveness, "GONE_AFTER", 1_200_000)
    lifeline = Lifeline(NOW)
    [before] = Worker.objects.values_list("seen_at", flat=True)
    lifeline.hold()
    assert list(Worker.objects.values_list("seen_at", flat=True)) == [before]
    time.sleep(0.15)
    lifeline.hold()
    [after] = Worker.objects.values_list("seen_at", flat=True)
    assert before + 100_000 <= after <= before + 60_000_000
    lifeline.let_go()


def test_nobody_is_silent_until_one_has_listened_for_a_while() -> None:
    """Just started, or after a time without a database in which nobody could be seen."""
    lifeline = Lifeline(NOW)
    assert lifeline.silent_before() is None
    lifeline._seen_at += liveness.GONE_AFTER // 4
    assert lifeline.silent_before() == lifeline._seen_at - liveness.GONE_AFTER
    lifeline._seen_at -= liveness.GONE_AFTER
    lifeline._beaten = 0.0
    lifeline.hold()
    assert lifeline.silent_before() is None
    lifeline.let_go()


@pytest.mark.parametrize("still", [True, False])
def test_whoever_claims_is_not_taken_over_from_meanwhile(still: bool) -> None:
    if connection.vendor == "sqlite":
        pytest.skip("SQLite has one writer")
    lifeline = Lifeline(NOW)
    before = long_ago()
    with transaction.atomic(), connection.cursor() as cursor:
        assert not still or liveness.vouch(cursor, lifeline.worker)
        assert elsewhere(lambda: take_over(before)) == (0, 0)
        assert Worker.objects.filter(pk=lifeline.worker).exists() == still
    lifeline.let_go()


def test_a_session_that_is_idle_in_a_transaction_comes_to_an_end() -> None:
    """Sooner than its worker would be taken over from: what it locks keeps others waiting."""
    if connection.vendor == "sqlite":
        pytest.skip("only another process can end what SQLite's writer has begun")
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT setting::bigint * 1000 FROM pg_settings"
            " WHERE name = 'idle_in_transaction_session_timeout'"
        )
        [timeout] = cursor.fetchone()
    assert 0 < timeout < liveness.GONE_AFTER


@pytest.mark.parametrize("shares", [True, False])
def test_no_worker_begins_where_a_pooler_shares_its_session(
    monkeypatch: pytest.MonkeyPatch, shares: bool
) -> None:
    """What a pooler calls the session is not what the server does; others may be given it."""
    if connection.vendor == "sqlite":
        pytest.skip("a file has no sessions")
    monkeypatch.setattr(liveness, "_answers", lambda via: -1 if shares or via is connection else -2)
    if shares:
        with pytest.raises(liveness.SharedSession, match="past it"):
            Lifeline(NOW)
        assert not Worker.objects.exists()
    else:
        Lifeline(NOW).let_go()


def test_a_token_opens_its_own_delivery_alone() -> None:
    """Who was taken over from and claims anew must not go on with what it had claimed before."""
    people(2)
    planned()
    lifeline = Lifeline(NOW)
    first = claimed(lifeline.worker, 2, NOW)
    outbox.give_back(lifeline.worker, [])
    second = claimed(lifeline.worker, 2, NOW)
    old = next(claim for claim in first if claim.delivery == second[0].delivery)
    assert outbox.commit([old, second[1]], [], NOW) == {second[1].delivery}
    done = [Outcome(old, ()), Outcome(second[1], ())]
    outbox.commit([], done, NOW)
    outbox.settle(done, NOW)
    assert Outbox.objects.count() == 1
    assert outbox.commit([second[0]], [], NOW) == {second[0].delivery}
    outbox.settle([Outcome(second[0], ())], NOW)
    assert not Outbox.objects.exists()
    lifeline.let_go()
