"""The feed of changes: what was said is told once, and no reader misses what commits late."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from django.db import connection, transaction

from goodstanding.core.addresses import Address
from goodstanding.core.events import KINDS, Event
from goodstanding.ledger import changes, clock, models, rebuilding, recording
from goodstanding.ledger.changes import Changed
from tests.core.histories import DAY, END, START, history

pytestmark = pytest.mark.django_db(transaction=True)

NOW = START
ANA = Address("email", "ana@example.com")
BO = Address("email", "bo@example.net")
SLOW = Address("email", "slow@example.com")


def event(kind: str, address: Address = ANA, key: str = "", at: int = NOW, **said: str) -> Event:
    return Event(kind, at, address, "api", key=key, detail={}, **said)  # type: ignore[arg-type]


def everything(most: int = 1000) -> list[Changed]:
    found, last = changes.after(0, most)
    assert last == (found[-1].id if found else 0)
    return found


def said() -> list[Changed]:
    return [change for change in everything() if change.event is not None]


# What is told.


def test_what_changes_nothing_is_told_too() -> None:
    recording.record([event("opted_in", key="first")], NOW)
    recording.record([event("opted_in", key="again", at=NOW - DAY, topic="news")], NOW + 5)
    [first, again] = said()
    assert (first.old, first.new, first.event, first.topic) == ("", "opted_in", "first", None)
    assert (again.old, again.new, again.event, again.topic) == ("", "opted_in", "again", "news")
    assert (first.recorded_at, first.occurred_at) == (NOW, NOW)
    assert (again.recorded_at, again.occurred_at) == (NOW + 5, NOW - DAY)
    assert first.delivery_id is None
    [standing] = [change for change in everything() if change.event is None]
    assert (standing.old, standing.new, standing.occurred_at) == ("", "opted_in", None)


def test_a_click_names_its_delivery_and_every_click_is_told() -> None:
    sent = event("sent", mailing="spring", at=NOW - 5)
    clicks = [event("clicked", mailing="spring", key=f"c{n}", at=NOW - n) for n in range(3)]
    recording.record([sent, *clicks], NOW)
    delivery = models.Delivery.objects.get().pk
    assert [(each.event, each.delivery_id) for each in said()] == [
        (f"c{n}", delivery) for n in range(3)
    ]


def test_what_was_said_comes_before_what_it_changed() -> None:
    recording.record([event("confirmed", key="yes")], NOW)
    assert [(each.event, each.new) for each in everything()] == [
        ("yes", "confirmed"),
        (None, "confirmed"),
    ]


def test_what_is_heard_again_is_not_told_again() -> None:
    once = [event("opted_in", key="in"), event("opted_in")]
    recording.record([*once, *once], NOW)
    recording.record(once, NOW + 1)
    recording.record([event("confirmed", key="in")], NOW + 2)  # refused: the key is taken
    assert len(said()) == 2


def test_each_stored_event_of_those_kinds_is_told_and_no_other() -> None:
    recording.record(history(3, 400), END)
    telling = {kind for kind, about in KINDS.items() if about.starts}
    expected = models.Event.objects.filter(kind__in=telling)
    assert telling == {"opted_in", "confirmed", "admin_opted_in", "clicked", "replied"}
    assert len(expected) > 20
    assert {(each.address_id, each.event, each.new, each.delivery_id) for each in said()} == {
        (each.address_id, each.key, each.kind, each.delivery_id) for each in expected
    }
    assert len(said()) == len(expected)


def test_folding_again_tells_nothing_anew() -> None:
    recording.record(history(3, 200), END)
    before = everything()
    clock.refold(models.Address.objects.values_list("pk", flat=True), END)
    rebuilding.rebuild(END, verify=True)
    rebuilding.rebuild(END)
    assert everything() == before


# How it is read.


def test_a_reader_goes_on_where_it_stopped() -> None:
    recording.record([event("opted_in", key=f"k{n}") for n in range(10)], NOW)
    seen: list[Changed] = []
    last = 0
    while True:
        found, last = changes.after(last, 3)
        if not found:
            break
        assert len(found) <= 3
        seen.extend(found)
    assert len(seen) == 11
    assert changes.latest() == last == seen[-1].id
    assert changes.after(last, 3) == ([], last)


def test_a_reader_beside_many_writers_misses_nothing() -> None:
    writers, batches = 3, 25

    def write(number: int) -> None:
        for batch in range(batches):
            person = Address("email", f"{number}-{batch}@example.com")
            recording.record(
                [event("opted_in", person, key=f"{n}", at=NOW - number * DAY) for n in range(4)],
                NOW,
            )

    threads = [_thread(write, number) for number in range(writers)]
    seen: list[Changed] = []
    last = 0
    while any(thread.is_alive() for thread in threads):
        found, last = changes.after(last, 7)
        seen.extend(found)
    while found := changes.after(last, 7)[0]:
        seen.extend(found)
        last = found[-1].id
    ids = [each.id for each in seen]
    assert ids == sorted(models.Change.objects.values_list("pk", flat=True))
    assert len(ids) == writers * batches * 5


@pytest.fixture
def side_by_side() -> None:
    if connection.vendor == "sqlite":
        pytest.skip("on SQLite one writes at a time, so that ids come in the order of commits")


@pytest.mark.usefixtures("side_by_side")
def test_what_commits_late_is_waited_for() -> None:
    with _unfinished("slow") as finish:
        recording.record([event("opted_in", key="quick", at=NOW - DAY)], NOW)
        assert changes.after(0, 100, patience=0.05) == ([], 0)
        finish.set()
        found, last = changes.after(0, 100, patience=30)
    assert [each.event for each in found if each.event] == ["slow", "quick"]
    assert last == changes.latest()


@pytest.mark.usefixtures("side_by_side")
def test_what_came_before_the_late_one_is_read_meanwhile() -> None:
    recording.record([event("opted_in", key="read already", at=NOW - 2 * DAY)], NOW)
    last = changes.latest()
    recording.record([event("opted_in", key="before", at=NOW - 2 * DAY)], NOW)
    with _unfinished("slow") as finish:
        recording.record([event("opted_in", key="quick", at=NOW - DAY)], NOW)
        found, last = changes.after(last, 100, patience=0.05)
        assert [each.event for each in found if each.event] == ["before"]
        assert changes.after(last, 100, patience=0.05) == ([], last)
        finish.set()
        found, last = changes.after(last, 100, patience=30)
    assert [each.event for each in found if each.event] == ["slow", "quick"]


@pytest.mark.usefixtures("side_by_side")
def test_what_never_commits_is_waited_for_no_longer_than_it_lives() -> None:
    with _unfinished("slow", succeed=False) as finish:
        recording.record([event("opted_in", key="quick", at=NOW - DAY)], NOW)
        assert changes.after(0, 100, patience=0.05) == ([], 0)
        finish.set()
    found, _ = changes.after(0, 100, patience=0)
    assert [each.event for each in found if each.event] == ["quick"]


@pytest.mark.usefixtures("side_by_side")
def test_who_begins_meanwhile_is_not_waited_for() -> None:
    read: list[list[Changed]] = []
    with _unfinished("slow") as finish:
        recording.record([event("opted_in", key="quick", at=NOW - DAY)], NOW)
        reader = _thread(lambda: read.append(changes.after(0, 100, patience=30)[0]))
        time.sleep(0.2)
        with _unfinished("later", address=BO, at=NOW - 2 * DAY):
            finish.set()
            reader.join(20)
            assert not reader.is_alive()
    assert [each.event for each in read[0] if each.event] == ["slow", "quick"]


class _Undone(Exception):
    """Rolls a transaction back."""


@contextmanager
def _unfinished(
    key: str,
    *,
    succeed: bool = True,
    address: Address = SLOW,
    at: int = NOW,
) -> Iterator[threading.Event]:
    """Beside a transaction that has written changes and ends when the event given is set."""
    written, finish = threading.Event(), threading.Event()

    def write() -> None:
        with transaction.atomic():
            recording.record([event("opted_in", address, key=key, at=at)], NOW)
            written.set()
            finish.wait(30)
            if not succeed:
                raise _Undone

    thread = _thread(write)
    assert written.wait(30)
    try:
        yield finish
    finally:
        finish.set()
        thread.join(30)


def _thread(call: Callable[..., None], *arguments: object) -> threading.Thread:
    def run() -> None:
        try:
            call(*arguments)
        except _Undone:
            pass
        finally:
            connection.close()

    thread = threading.Thread(target=run)
    thread.start()
    return thread
