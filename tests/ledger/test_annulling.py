"""Annulling: the ledger then says what it would say if those failures had never been."""

from __future__ import annotations

import random
import threading

import pytest
from django.db import connection

from goodstanding.core.addresses import Address
from goodstanding.core.annulments import Predicate
from goodstanding.core.events import Event
from goodstanding.ledger import annulling, models
from goodstanding.ledger.annulling import NotAllowed, annul, apply, finish, undo
from goodstanding.ledger.rebuilding import rebuild
from goodstanding.ledger.recording import record
from tests.ledger import books

pytestmark = pytest.mark.django_db(transaction=True)

DAY = 86_400_000_000
START = 20_500 * DAY
NOW = START + 60 * DAY
OUTAGE = Predicate(START + 10 * DAY, START + 12 * DAY, provider="gmail.com")
MAILINGS = ("spring", "summer", "autumn")
CATEGORIES = ("mailbox_unknown", "mailbox_full", "reputation", "timed_out")


def people(many: int) -> list[Address]:
    domains = ("gmail.com", "example.com", "example.org")
    return [Address("email", f"p{number}@{domains[number % 3]}") for number in range(many)]


def said(chance: random.Random, person: Address) -> list[Event]:
    """A life in which every message was sent, and anything may have come back."""
    events = [Event("opted_in", START, person, "form")]
    for place, mailing in enumerate(MAILINGS):
        at = START + (5 + 3 * place) * DAY
        events.append(Event("sent", at, person, "smtp", mailing=mailing))
        for kind in chance.choices(
            ["bounced", "deferred", "undelivered", "delivered", "opened", "opted_out"], k=3
        ):
            detail = {}
            if kind in ("bounced", "deferred"):
                detail["category"] = chance.choice(CATEGORIES)
            if chance.random() < 0.3:
                detail["provider"] = chance.choice(["gmail.com", "outlook.com"])
            later = at + chance.randrange(3 * DAY)
            events.append(Event(kind, later, person, "dsn", mailing=mailing, detail=detail))
    return events


def history(seed: int, many: int = 30) -> list[Event]:
    chance = random.Random(seed)
    return [event for person in people(many) for event in said(chance, person)]


def made(predicate: Predicate = OUTAGE) -> int:
    number = annul(predicate, why="an outage", by="ann", now=NOW)
    apply(number, NOW)
    return number


def without(events: list[Event]) -> books.Book:
    """The ledger that never heard of what the outage covers."""
    books.empty()
    models.Annulment.objects.all().delete()
    books.in_batches([each for each in events if not OUTAGE.covers(each)], random.Random(1), NOW)
    books.settle(NOW)
    return books.book(events=False)


@pytest.mark.parametrize("when", ["before", "between", "after"])
@pytest.mark.parametrize("seed", range(4))
def test_whenever_it_is_made_all_is_as_if_those_failures_had_not_been(seed: int, when: str) -> None:
    events = history(seed)
    random.Random(seed).shuffle(events)
    half = {"before": 0, "between": len(events) // 2, "after": len(events)}[when]
    record(events[:half], NOW)
    made()
    books.in_batches(events[half:], random.Random(seed), NOW)
    books.settle(NOW)
    annulled = books.book(events=False)
    assert rebuild(NOW, verify=True) == []
    assert models.Event.objects.count() == len(events), "what was heard is kept"
    assert any(OUTAGE.covers(event) for event in events)
    assert books.differences(annulled, without(events)) == []


@pytest.mark.parametrize("seed", range(3))
def test_undone_it_leaves_no_trace_and_that_can_be_undone(seed: int) -> None:
    events = history(seed)
    books.in_batches(events, random.Random(seed), NOW)
    books.settle(NOW)
    before = books.book()
    first = made()
    annulled = books.book()
    assert books.differences(before, annulled) != []
    second = undo(first, why="they are gone", by="bob", now=NOW)
    apply(second, NOW)
    assert books.differences(before, books.book()) == []
    apply(undo(second, why="they are not", by="ann", now=NOW), NOW)
    assert books.differences(annulled, books.book()) == []
    assert rebuild(NOW, verify=True) == []


def test_a_wave_is_taken_back_and_said() -> None:
    wave = []
    for person in people(1_200):
        wave += [
            Event("opted_in", START, person, "form"),
            Event("sent", START + 11 * DAY, person, "smtp", mailing="spring"),
            Event(
                "bounced",
                START + 11 * DAY + 1,
                person,
                "smtp",
                mailing="spring",
                detail={"category": "mailbox_unknown"},
            ),
        ]
    record(wave, NOW)
    number = annul(OUTAGE, why="an outage", by="ann", now=NOW)
    found = annulling.touched(OUTAGE)
    assert (found.failures, found.addresses, found.changed.total()) == (400, 400, 0)
    found = apply(number, NOW)
    assert (found.failures, found.addresses) == (400, 400)
    assert found.changed == {("email", "hard_bounced", "opted_in"): 400}
    tallies = dict(models.MailingTally.objects.values_list("name", "count"))
    assert (tallies["hard_bounced"], tallies["expired"]) == (800, 400)
    assert rebuild(NOW, verify=True) == []


WAVE = 10_000
BATCH = 2_000


def before_the_wave(chance: random.Random, person: Address) -> list[Event]:
    """Who was there: mailings that came, bounced or were put off, and words of their own."""
    events = [Event("opted_in", START, person, "form")]
    events += sent_and(chance, person, "spring", 2, ("delivered", "bounced", "deferred"))
    if chance.random() < 0.1:
        events.append(Event("opted_out", START + 9 * DAY, person, "link", topic="news"))
    return events


def after_the_wave(chance: random.Random, person: Address) -> list[Event]:
    """What came later; some of it lifts a hard bounce, or is another one that is true."""
    kind = chance.choice(("opened", "clicked", "opted_out", "unblocked", "confirmed", "bounced"))
    if kind in ("unblocked", "opted_out", "confirmed"):
        return [Event(kind, START + 20 * DAY, person, "operator", detail={"reason": "so"})]
    return sent_and(chance, person, "autumn", 20, (kind,))


def sent_and(
    chance: random.Random, person: Address, mailing: str, day: int, kinds: tuple[str, ...]
) -> list[Event]:
    at = START + day * DAY
    kind = chance.choice(kinds)
    detail = {"category": chance.choice(CATEGORIES)} if kind in ("bounced", "deferred") else {}
    return [
        Event("sent", at, person, "smtp", mailing=mailing),
        Event(kind, at + chance.randrange(DAY), person, "smtp", mailing=mailing, detail=detail),
    ]


def false_bounce(chance: random.Random, person: Address) -> list[Event]:
    at = START + 11 * DAY + chance.randrange(DAY // 2)
    said = {"category": "mailbox_unknown", "provider": "gmail.com"}
    return [
        Event("sent", at, person, "smtp", mailing="summer"),
        Event("bounced", at + 1, person, "smtp", mailing="summer", detail=said),
    ]


def in_large_batches(events: list[Event], chance: random.Random) -> None:
    chance.shuffle(events)
    for start in range(0, len(events), BATCH):
        assert not record(events[start : start + BATCH], NOW).refused


def apart(one: books.Book, other: books.Book, what: str) -> int:
    """How many rows of that sort are not the same."""
    return sum(row != other[what][place] for place, row in one[what].items())


def test_a_wave_of_ten_thousand_leaves_what_a_rebuild_without_it_gives() -> None:
    """Standings, deliveries and tallies, row by row; and all of it comes back when that is undone.

    Half of the later events, and a tenth of the false bounces, are recorded after the annulment.
    """
    chance = random.Random(20)
    early: list[Event] = []
    late: list[Event] = []
    for number in range(WAVE):
        person = Address("email", f"p{number}@gmail.com")
        early += before_the_wave(chance, person)
        (late if number % 10 == 0 else early).extend(false_bounce(chance, person))
        (late if number % 2 == 0 else early).extend(after_the_wave(chance, person))
    in_large_batches(early, chance)
    books.settle(NOW)
    struck = books.book(events=False)
    first = made()
    annulled = books.book(events=False)
    assert apart(struck, annulled, "deliveries") == WAVE * 9 // 10
    assert apart(struck, annulled, "addresses") > WAVE // 2
    in_large_batches(late, chance)
    books.settle(NOW)
    annulled = books.book(events=False)

    second = undo(first, why="they are gone", by="bob", now=NOW)
    apply(second, NOW)
    assert apart(annulled, books.book(events=False), "deliveries") == WAVE
    apply(undo(second, why="they are not", by="ann", now=NOW), NOW)
    assert books.differences(annulled, books.book(events=False)) == []

    false = models.Event.objects.filter(kind="bounced", detail__contains="gmail.com")
    assert false.delete()[0] == WAVE
    for each in models.Annulment.objects.order_by("-pk"):
        each.delete()
    rebuild(NOW)
    assert books.differences(annulled, books.book(events=False)) == []


def test_what_was_interrupted_is_gone_on_with() -> None:
    events = history(5)
    record(events, NOW)
    annul(OUTAGE, why="an outage", by="ann", now=NOW)
    assert not finish(NOW), "whoever made it may still be at it"
    assert rebuild(NOW, verify=True) != []
    assert finish(NOW + annulling.INTERRUPTED)
    assert rebuild(NOW, verify=True) == []
    assert not finish(NOW + annulling.INTERRUPTED)


def test_what_cannot_be_is_refused_and_changes_nothing() -> None:
    with pytest.raises(ValueError, match="reason"):
        annul(OUTAGE, why=" ", by="ann", now=NOW)
    with pytest.raises(ValueError, match="begins after it ends"):
        annul(Predicate(2, 1), why="so", by="ann", now=NOW)
    with pytest.raises(ValueError, match="not a category"):
        annul(Predicate(1, 2, category="lost"), why="so", by="ann", now=NOW)
    with pytest.raises(NotAllowed, match="no annulment 7"):
        undo(7, why="so", by="ann", now=NOW)
    number = made()
    undo(number, why="so", by="ann", now=NOW)
    with pytest.raises(NotAllowed, match="undone already"):
        undo(number, why="so", by="ann", now=NOW)
    assert models.Annulment.objects.count() == 2


def test_what_is_recorded_while_it_is_made_is_covered_too() -> None:
    events = history(11, 60)
    random.Random(11).shuffle(events)
    failures: list[BaseException] = []
    start = threading.Barrier(3)

    def hear(number: int) -> None:
        try:
            start.wait(30)
            for place in range(number * 10, len(events), 20):
                assert not record(events[place : place + 10], NOW).refused
        except BaseException as error:  # noqa: BLE001 - to be shown by the test
            failures.append(error)
        finally:
            connection.close()

    workers = [threading.Thread(target=hear, args=(number,)) for number in range(2)]
    for worker in workers:
        worker.start()
    start.wait(30)
    number = annul(OUTAGE, why="an outage", by="ann", now=NOW)
    apply(number, NOW)
    for worker in workers:
        worker.join(120)
    assert failures == []
    books.settle(NOW)
    annulled = books.book(events=False)
    assert rebuild(NOW, verify=True) == []
    assert books.differences(annulled, without(events)) == []
