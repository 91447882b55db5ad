"""Rereading: the ledger then says what it would say had today's rules read everything at first."""

from __future__ import annotations

import random
import threading
from typing import Any

import msgspec
import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from goodstanding.core.addresses import Address
from goodstanding.core.annulments import Predicate
from goodstanding.core.events import Event
from goodstanding.ledger import annulling, models, readings, rereading
from goodstanding.ledger.annulling import annul, apply, finish, undo
from goodstanding.ledger.rebuilding import Named, fold_anew, rebuild
from goodstanding.ledger.recording import record
from tests.ledger import books

pytestmark = pytest.mark.django_db(transaction=True)

DAY = 86_400_000_000
START = 20_500 * DAY
NOW = START + 60 * DAY
ALL = Predicate(0, NOW)

BLOCKED = "554 5.7.1 Service unavailable; client host [192.0.2.1] blocked using a block list"
UNKNOWN = "550 5.1.1 user unknown"
FULL = "552 5.2.2 mailbox full"
TEXTS = (BLOCKED, UNKNOWN, FULL, "554 5.7.1 message looks like spam", "550 well")
WRONG = (("mailbox_unknown", "hard"), ("mailbox_full", "soft"), ("reputation", "block"))
ANN, BOB, CAI = (Address("email", f"{name}@example.com") for name in ("ann", "bob", "cai"))


def failed(
    person: Address,
    text: str,
    read: tuple[str, str] | None,
    at: int = START + 2 * DAY,
    kind: str = "bounced",
    mailing: str = "spring",
    **said: Any,
) -> Event:
    """A failure as an earlier version kept it; ``read``: as what, None as today's rules do."""
    detail = {"text": text, **readings.of_reply(text, person)}
    if read is not None:
        category, disposition = read
        detail |= {"category": category, "disposition": disposition, "rules": "older"}
        detail |= {"rule": "guess", "words": "5"}
    key = f"{kind}:{mailing}:{at}"
    return Event(kind, at, person, "import", key, mailing=mailing, detail=detail | said)


def life(person: Address, *failures: Event) -> list[Event]:
    return [
        Event("opted_in", START, person, "form", "in"),
        Event("sent", START + DAY, person, "smtp", "out", mailing="spring"),
        *failures,
    ]


def reread(which: Predicate = ALL, now: int = NOW) -> int:
    """The number of the reread, before anybody is folded anew."""
    with rereading.gathering() as gathered:
        for window in rereading.windows(which):
            gathered.add(window)
        return rereading.reread(gathered, why="better rules", by="ann", now=now)


def made(which: Predicate = ALL, now: int = NOW) -> int:
    number = reread(which, now)
    apply(number, NOW)
    return number


def found(which: Predicate = ALL) -> rereading.Found:
    counted = rereading.Found()
    for window in rereading.windows(which):
        counted.add(window)
    return counted


def status(person: Address) -> str:
    return models.Address.objects.get(value=person.value).status


def history(seed: int, many: int = 25) -> list[Event]:
    """Lives in which anything may have come back, and an earlier version read it anyhow."""
    chance = random.Random(seed)
    events = []
    for number in range(many):
        domain = chance.choice(["gmail.com", "example.com"])
        person = Address("email", f"p{number}@{domain}")
        events += life(person)
        for place, mailing in enumerate(("spring", "summer", "autumn")):
            at = START + (5 + 3 * place) * DAY + number
            events.append(Event("sent", at, person, "smtp", f"s{place}", mailing=mailing))
            for kind in chance.choices(("bounced", "deferred", "delivered", "clicked"), k=3):
                later = at + chance.randrange(3 * DAY)
                if kind in ("bounced", "deferred"):
                    wrong, text = chance.choice([None, *WRONG]), chance.choice(TEXTS)
                    events.append(failed(person, text, wrong, later, kind, mailing))
                else:
                    key = f"{kind}{later}"
                    events.append(Event(kind, later, person, "dsn", key, mailing=mailing))
    return events


def as_read_today(event: Event) -> Event:
    text = event.detail.get("text")
    if text is None:
        return event
    detail = {"text": text, **readings.of_reply(text, event.address)}
    return msgspec.structs.replace(event, detail=detail)


def had_it_been_read_so(events: list[Event], *predicates: Predicate) -> books.Book:
    """The ledger that heard the same, read by today's rules from the beginning."""
    models.Reading.objects.all().delete()
    models.Annulment.objects.all().delete()
    books.empty()
    for predicate in predicates:
        annul(predicate, why="so", by="ann", now=NOW)
    books.in_batches([as_read_today(each) for each in events], random.Random(1), NOW)
    books.settle(NOW)
    return books.book(events=False)


@pytest.mark.parametrize("seed", range(4))
def test_all_is_as_if_it_had_been_read_so_at_first(seed: int) -> None:
    events = history(seed)
    books.in_batches(events, random.Random(seed), NOW)
    stored = books.book()["events"]
    before = books.book(events=False)
    assert rebuild(NOW, verify=True) == []
    made()
    assert rebuild(NOW, verify=True) == []
    assert books.book()["events"] == stored, "what was heard stays as it is"
    assert found().otherwise == 0
    books.settle(NOW)
    after = books.book(events=False)
    assert books.differences(before, after) != []
    assert books.differences(after, had_it_been_read_so(events)) == []


@pytest.mark.parametrize("seed", range(3))
def test_what_is_heard_again_or_only_later_changes_nothing(seed: int) -> None:
    events = history(seed)
    random.Random(seed).shuffle(events)
    half = len(events) // 2
    record(events[:half], NOW)
    made()
    books.in_batches(events, random.Random(seed), NOW)
    made()
    assert rebuild(NOW, verify=True) == []
    books.settle(NOW)
    assert books.differences(books.book(events=False), had_it_been_read_so(events)) == []


@pytest.mark.parametrize("seed", range(3))
def test_undone_it_leaves_no_trace_and_that_can_be_undone(seed: int) -> None:
    events = history(seed)
    record(events, NOW)
    before = books.book()
    first = made()
    anew = books.book()
    assert books.differences(before, anew) != []
    second = undo(first, why="they were right", by="bob", now=NOW)
    apply(second, NOW)
    assert books.differences(before, books.book()) == []
    assert rebuild(NOW, verify=True) == []
    apply(undo(second, why="they were not", by="ann", now=NOW), NOW)
    assert books.differences(anew, books.book()) == []
    assert rebuild(NOW, verify=True) == []


@pytest.mark.parametrize("first", ["annulled", "reread"])
@pytest.mark.parametrize(
    "which",
    [
        Predicate(0, NOW, category="mailbox_unknown"),
        Predicate(0, NOW, category="reputation"),
        Predicate(0, NOW, rule="user-unknown"),
        Predicate(0, NOW, rule="guess"),
    ],
    ids=["unknown", "reputation", "a rule of today", "an earlier rule"],
)
def test_annulments_go_by_the_reading_that_counts(which: Predicate, first: str) -> None:
    events = history(7)
    # Where it counts the same by another rule, the earlier one's name stays with it.
    events = [each for each in events if as_read_today(each).detail.get("text") != FULL]
    record(events, NOW)
    for what in ("annulled", "reread") if first == "annulled" else ("reread", "annulled"):
        if what == "reread":
            made()
        else:
            apply(annul(which, why="so", by="ann", now=NOW), NOW)
    assert rebuild(NOW, verify=True) == []
    if which.category is not None:
        books.settle(NOW)
        assert books.differences(books.book(events=False), had_it_been_read_so(events, which)) == []


def test_a_failure_that_is_annulled_by_its_new_category_hurts_nobody() -> None:
    record(life(ANN, failed(ANN, UNKNOWN, ("mailbox_full", "soft"))), NOW)
    apply(annul(Predicate(0, NOW, category="mailbox_unknown"), why="so", by="b", now=NOW), NOW)
    assert status(ANN) == "soft_bouncing"
    made()
    assert status(ANN) == "opted_in"
    assert annulling.touched(Predicate(0, NOW, category="mailbox_unknown")).failures == 1
    assert annulling.touched(Predicate(0, NOW, category="mailbox_full")).failures == 0


def test_who_returns_from_the_dead_and_who_is_stopped() -> None:
    record(life(ANN, failed(ANN, BLOCKED, ("mailbox_unknown", "hard"))), NOW)
    record(life(BOB, failed(BOB, UNKNOWN, ("mailbox_full", "soft"))), NOW)
    record(life(CAI, failed(CAI, FULL, ("mailbox_full", "soft"))), NOW)
    assert [status(each) for each in (ANN, BOB)] == ["hard_bounced", "soft_bouncing"]
    assert models.Address.objects.get(value=ANN.value).blocks_broadcast is not None
    counted = found()
    assert (counted.failures, counted.otherwise, counted.addresses) == (3, 2, 2)
    assert counted.changed == {
        (("mailbox_unknown", "hard"), ("reputation", "block")): 1,
        (("mailbox_full", "soft"), ("mailbox_unknown", "hard")): 1,
    }
    named = Named(5)
    touched = apply(reread(), NOW, named=named)
    assert (touched.failures, touched.addresses) == (2, 2)
    back, dead = ("email", "hard_bounced", "opted_in"), ("email", "soft_bouncing", "hard_bounced")
    assert touched.changed == {back: 1, dead: 1}
    assert named.by_change == {back: [ANN.value], dead: [BOB.value]}
    assert models.Address.objects.get(value=ANN.value).blocks_broadcast is None
    assert models.Address.objects.get(value=BOB.value).blocks_broadcast is not None
    assert status(CAI) == "soft_bouncing"
    assert models.Reading.objects.count() == 2
    assert rebuild(NOW, verify=True) == []


def test_a_reading_that_was_given_stays() -> None:
    given = failed(ANN, BLOCKED, ("mailbox_unknown", "hard"))
    del given.detail["rules"]
    record(life(ANN, given), NOW)
    assert found().failures == 0
    assert status(ANN) == "hard_bounced"


def test_it_can_be_narrowed() -> None:
    events = [
        *life(ANN, failed(ANN, BLOCKED, ("mailbox_unknown", "hard"))),
        *life(BOB, failed(BOB, BLOCKED, ("mailbox_disabled", "hard"), provider="gmail.com")),
        *life(CAI, failed(CAI, BLOCKED, ("mailbox_unknown", "hard"), START + 9 * DAY, rule="x")),
    ]
    record(events, NOW)
    for which, who in (
        (Predicate(0, NOW, category="mailbox_disabled"), {BOB}),
        (Predicate(0, NOW, provider="gmail.com"), {BOB}),
        (Predicate(0, NOW, rule="x"), {CAI}),
        (Predicate(START + 3 * DAY, NOW), {CAI}),
        (Predicate(0, START + 3 * DAY), {ANN, BOB}),
        (Predicate(0, NOW, domain="example.org"), set()),
    ):
        ids = {each.address for window in rereading.windows(which) for each in window.otherwise}
        values = models.Address.objects.filter(pk__in=ids).values_list("value", flat=True)
        assert set(values) == {person.value for person in who}
    made(Predicate(0, NOW, provider="gmail.com"))
    assert [status(each) for each in (ANN, BOB, CAI)] == [
        "hard_bounced",
        "opted_in",
        "hard_bounced",
    ]


def test_the_newest_that_holds_counts() -> None:
    record(life(ANN, failed(ANN, BLOCKED, ("mailbox_unknown", "hard"))), NOW)
    first = made()
    # An operator's newer rules saw it otherwise, and those of today again as this does.
    [row] = models.Reading.objects.all()
    other = models.Annulment.objects.create(made_at=NOW, why="other", by="b", is_reread=True)
    reading = {"category": "mailbox_full", "disposition": "soft", "rules": "other"}
    detail = msgspec.json.encode(reading).decode()
    models.Reading.objects.create(
        address_id=row.address_id, key=row.key, annulment=other, detail=detail
    )
    apply(other.pk, NOW)
    assert status(ANN) == "soft_bouncing"
    third = made()
    assert status(ANN) == "opted_in"
    assert third > other.pk > first
    for number, then in ((third, "soft_bouncing"), (other.pk, "opted_in"), (first, "hard_bounced")):
        apply(undo(number, why="so", by="b", now=NOW), NOW)
        assert status(ANN) == then
        assert rebuild(NOW, verify=True) == []


def test_what_was_interrupted_is_gone_on_with() -> None:
    record(history(5), NOW)
    reread()
    assert not finish(NOW), "whoever made it may still be at it"
    assert rebuild(NOW, verify=True) != []
    ids = sorted({row.address_id for row in models.Reading.objects.all()})
    assert len(ids) > 10
    fold_anew(ids[:5], NOW)  # so far it had come
    assert finish(NOW + annulling.INTERRUPTED)
    assert rebuild(NOW, verify=True) == []
    assert not finish(NOW + annulling.INTERRUPTED)
    assert found().otherwise == 0


def test_one_that_ends_while_it_gathers_leaves_nothing() -> None:
    record(history(5), NOW)
    before = books.book()
    with rereading.gathering() as gathered:
        for window in rereading.windows(ALL):
            gathered.add(window)
        assert list(gathered.rows(1))
    with pytest.raises(ValueError, match="reason"), rereading.gathering() as gathered:
        rereading.reread(gathered, why=" ", by="ann", now=NOW)
    assert models.Annulment.objects.count() == models.Reading.objects.count() == 0
    assert books.differences(before, books.book()) == []


def test_two_at_once_and_what_is_recorded_meanwhile_do_no_harm() -> None:
    events = history(11, 40)
    random.Random(11).shuffle(events)
    half = len(events) // 2
    record(events[:half], NOW)
    failures: list[BaseException] = []
    start = threading.Barrier(3)

    def at_once(what: Any) -> None:
        try:
            start.wait(30)
            what()
        except BaseException as error:  # noqa: BLE001 - to be shown by the test
            failures.append(error)
        finally:
            connection.close()

    def hear() -> None:
        for place in range(half, len(events), 10):
            assert not record(events[place : place + 10], NOW).refused

    threads = [threading.Thread(target=at_once, args=(what,)) for what in (made, made, hear)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert failures == []
    assert rebuild(NOW, verify=True) == []
    made()
    assert found().otherwise == 0
    assert rebuild(NOW, verify=True) == []
    books.settle(NOW)
    assert books.differences(books.book(events=False), had_it_been_read_so(events)) == []


@pytest.mark.django_db(transaction=True, reset_sequences=True)  # windows are counted by ids
def test_ten_thousand_failures() -> None:
    people = [Address("email", f"p{number}@example.com") for number in range(10_000)]
    for start in range(0, len(people), 2_000):
        record(
            [
                event
                for person in people[start : start + 2_000]
                for event in life(person, failed(person, BLOCKED, ("mailbox_unknown", "hard")))
            ],
            NOW,
        )
    with CaptureQueriesContext(connection) as asked:
        number = reread()
    assert len(asked) < 60, "set by set, not row by row"
    touched = apply(number, NOW)
    assert touched.failures == 10_000
    assert touched.changed == {("email", "hard_bounced", "opted_in"): 10_000}
    assert found().otherwise == 0


def test_where_nothing_was_ever_reread_nothing_more_is_asked() -> None:
    with CaptureQueriesContext(connection) as asked:
        record(life(ANN, failed(ANN, BLOCKED, ("mailbox_unknown", "hard"))), NOW)
        rebuild(NOW)
    assert [each["sql"] for each in asked if "ledger_reading" in each["sql"]] == []
    made()
    with CaptureQueriesContext(connection) as asked:
        rebuild(NOW)
    assert len([each for each in asked if "ledger_reading" in each["sql"]]) == 1
