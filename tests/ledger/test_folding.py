"""Folding through the database: the same rows whatever the order, the batches and the clock."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import msgspec
import pytest

from goodstanding.core import policy_files
from goodstanding.core.addresses import Address
from goodstanding.core.gate import ORDER
from goodstanding.ledger import clock, models, rebuilding, recording
from tests.core.histories import DAY, END, MOMENTS, history
from tests.ledger import books

pytestmark = pytest.mark.django_db(transaction=True)

DEFAULT = policy_files.load("default")
PEOPLE = tuple(
    Address("sms", f"+3460000000{number}") if number % 4 == 3 else Address("email", mail)
    for number, mail in enumerate(f"person-{number}@example.com" for number in range(8))
)
SEEDS = range(6)


@pytest.mark.parametrize("seed", SEEDS)
def test_order_batches_and_repeats_do_not_matter(seed: int) -> None:
    events = history(seed, 300, PEOPLE)
    recording.record(events, END)
    books.settle(END)
    at_once = books.book()
    books.empty()

    books.in_batches(events, random.Random(seed), END)
    books.settle(END)
    assert books.differences(at_once, books.book()) == []


@pytest.mark.parametrize("seed", SEEDS)
def test_the_rows_are_what_core_makes_of_the_events(seed: int) -> None:
    events = history(100 + seed, 300, PEOPLE)
    now = MOMENTS[-1 - seed]
    books.in_batches(events, random.Random(seed), END)
    ids = list(models.Address.objects.values_list("pk", flat=True))
    clock.refold(ids, now)
    assert (
        books.differences(books.as_core_says(books.book()), books.of_core(events, DEFAULT, now))
        == []
    )


@pytest.mark.parametrize("seed", SEEDS)
def test_nothing_depends_on_when_the_clock_ran(seed: int) -> None:
    chance = random.Random(seed)
    heard = sorted(history(200 + seed, 150, PEOPLE), key=lambda event: event.occurred_at)
    recording.record(heard, END)
    books.settle(END)
    at_once = books.book()
    books.empty()

    ticks = sorted(chance.uniform(MOMENTS[0], END) for _ in range(15))
    for event in heard:
        while ticks and ticks[0] <= event.occurred_at:
            clock.tick(int(ticks.pop(0)), most=chance.choice((1, 3, 500)))
        recording.record([event], event.occurred_at)
    for moment in ticks:
        clock.tick(int(moment))
    books.settle(END)
    assert books.differences(at_once, books.book()) == []


def test_the_clock_leaves_nothing_due() -> None:
    recording.record(history(7, 300, PEOPLE), MOMENTS[8])
    for moment in (MOMENTS[9], MOMENTS[12] + 1, END):
        books.settle(moment)
        due = models.Address.objects.filter(due_at__lte=moment)
        assert not due.exists()
    assert MOMENTS[-1] + 366 * DAY < END


def test_a_batch_is_all_or_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    events = history(3, 60, PEOPLE)
    recording.record(events[:30], END)
    before = books.book()

    def no_more(*_: object, **__: object) -> None:
        raise RuntimeError("the power went")

    monkeypatch.setattr("goodstanding.ledger.accounts.add_to_tallies", no_more)
    with pytest.raises(RuntimeError, match="the power went"):
        recording.record(events[30:], END)
    assert books.differences(before, books.book()) == []


@pytest.mark.parametrize("seed", range(3))
def test_none_of_it_matters_under_a_frequency_cap(seed: int, tmp_path: Path, settings: Any) -> None:
    file = tmp_path / "capped.toml"
    file.write_text('base = "default"\n[frequency_cap]\nmails = 2\nwithin = "3d"\n')
    settings.OPTIONS = msgspec.structs.replace(settings.OPTIONS, policy=str(file))
    chance = random.Random(seed)
    events = history(300 + seed, 200, PEOPLE)
    now = MOMENTS[9]
    for event in sorted(events, key=lambda event: event.occurred_at):
        if event.occurred_at > now:
            break
        clock.tick(event.occurred_at, most=3)
        recording.record([event], event.occurred_at)
    books.settle(now)
    books.in_batches(events, chance, END)
    clock.refold(models.Address.objects.values_list("pk", flat=True), now)
    in_time = books.book()
    core = books.of_core(events, policy_files.load(str(file)), now)
    assert books.differences(books.as_core_says(in_time), core) == []
    said = models.Address.objects.values_list("blocks_broadcast", flat=True)
    assert ORDER["limit_reached"] in said
    assert rebuilding.rebuild(now, verify=True) == []
    books.empty()

    books.in_batches(events, chance, END)
    clock.refold(models.Address.objects.values_list("pk", flat=True), now)
    assert books.differences(in_time, books.book()) == []
