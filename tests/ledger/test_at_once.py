"""Many record at once: nobody waits for ever, and the rows are what one alone would have made."""

from __future__ import annotations

import random
import threading

import pytest
from django.db import connection

from goodstanding.core.addresses import Address
from goodstanding.core.events import Event
from goodstanding.ledger import clock, rebuilding, recording
from tests.core.histories import END, history
from tests.ledger import books

pytestmark = pytest.mark.django_db(transaction=True)

PEOPLE = tuple(Address("email", f"person-{number}@example.com") for number in range(40))
WORKERS = 3


def test_batches_that_overlap_can_be_recorded_at_once() -> None:
    events = history(1, 1200, PEOPLE)
    recording.record(events, END)
    books.settle(END)
    alone = books.book()
    books.empty()

    failures: list[BaseException] = []
    start = threading.Barrier(WORKERS)
    refused: list[object] = []

    def work(number: int) -> None:
        chance = random.Random(number)
        # Each hears most of it, in an order of its own.
        mine = [event for event in events if chance.random() < 0.8 or keeper(event) == number]
        chance.shuffle(mine)
        try:
            start.wait(30)
            for place in range(0, len(mine), 60):
                refused.extend(recording.record(mine[place : place + 60], END).refused)
                clock.tick(END)
        except BaseException as error:  # noqa: BLE001 - to be shown by the test
            failures.append(error)
        finally:
            connection.close()

    places = {id(event): place for place, event in enumerate(events)}

    def keeper(event: Event) -> int:
        return places[id(event)] % WORKERS

    workers = [threading.Thread(target=work, args=(number,)) for number in range(WORKERS)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
    assert not any(worker.is_alive() for worker in workers)
    assert failures == []
    assert refused == []
    books.settle(END)
    assert books.differences(alone, books.book()) == []
    assert rebuilding.rebuild(END, verify=True) == []


def test_purposes_and_topics_said_at_once_do_not_lock_each_other_out() -> None:
    mailings = [f"mailing-{number}" for number in range(6)]
    purposes = ("broadcast", "sequence", "transactional", "confirmation")
    failures: list[BaseException] = []
    start = threading.Barrier(WORKERS)

    def work(number: int) -> None:
        chance = random.Random(number)
        try:
            start.wait(30)
            for round_ in range(80):
                recording.record(
                    [
                        Event(
                            "sent",
                            END - 1000 * round_ - number,
                            # Mostly people of one's own: what is shared are the mailings' rows.
                            chance.choice([*PEOPLE[1 + number :: WORKERS], PEOPLE[0]]),
                            "api",
                            mailing=chance.choice(mailings),
                            purpose=purposes[round_ // 20],
                            topic=f"topic-{round_ // 10}",
                        )
                        for _ in range(12)
                    ],
                    END,
                )
        except BaseException as error:  # noqa: BLE001 - to be shown by the test
            failures.append(error)
        finally:
            connection.close()

    workers = [threading.Thread(target=work, args=(number,)) for number in range(WORKERS)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
    assert failures == []
    books.settle(END)
    said = books.book()
    assert {row[:2] for row in said["mailings"].values()} == {("confirmation", "topic-7")}
    assert rebuilding.rebuild(END, verify=True) == []
