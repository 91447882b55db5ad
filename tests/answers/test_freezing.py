"""`statistics_days` in the ledger, and in what is shown of it."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import msgspec
import pytest
from django.conf import settings

from goodstanding.answers import progress, reports
from goodstanding.answers.why import why
from goodstanding.core import policy_files
from goodstanding.core.addresses import Address
from goodstanding.core.policies import Policy
from goodstanding.ledger import clock, models
from goodstanding.ledger.rebuilding import rebuild
from goodstanding.ledger.recording import record
from tests.answers.heard import DAY, NOW, START, address, bounce, event, hear
from tests.core.histories import END, MAILINGS, history
from tests.core.test_freezing import in_time
from tests.ledger import books

pytestmark = pytest.mark.django_db(transaction=True)

PEOPLE = tuple(Address("email", f"person-{number}@example.com") for number in range(6))


@pytest.fixture
def cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Has the settings name a policy whose statistics freeze after so many days; None: never."""

    def after(days: int | None, base: str = "default") -> Policy:
        file = tmp_path / f"{base}-{days}.toml"
        file.write_text(
            f'base = "{base}"\n' + (f"statistics_days = {days}\n" if days is not None else "")
        )
        options = msgspec.structs.replace(settings.OPTIONS, policy=str(file))
        monkeypatch.setattr(settings, "OPTIONS", options)
        return policy_files.load(str(file))

    return after


def a_spring() -> None:
    """Sent to five on the first day; of each something comes in time, and more after ten days."""
    names = ("ann", "bob", "cai", "dee", "eve")
    for name in names:
        hear(event("opted_in", 0, name), event("sent", 1, name, mailing="spring"))
        hear(event("delivered", 1.1, name, mailing="spring"))
    hear(
        *(event("opened", day, "ann", mailing="spring") for day in (2, 3, 12, 13)),
        *(event("clicked", day, "ann", mailing="spring") for day in (3, 14)),
        *(event("machine_opened", day, "ann", mailing="spring") for day in (2, 15)),
        event("opted_out", 12, "bob", mailing="spring"),
        bounce("mailbox_unknown", 12, "cai", mailing="spring"),
        event("complained", 12, "dee", mailing="spring"),
        event("opted_out", 5, "eve", mailing="spring"),
        event("opened", 16, "eve", mailing="spring"),
    )


def shown(**how: Any) -> tuple[Any, ...]:
    report = reports.mailing("spring", NOW, **how)
    counts = (report.opens, report.clicks, report.unsubscribes, report.complaints)
    return (report.responses, *counts)


EARLY = ({"delivered": 3, "clicked": 1, "unsubscribed": 1}, 2, 1, 1, 0)
ALL = (
    {"clicked": 1, "unsubscribed": 2, "hard_bounced": 1, "complained": 1},
    *(5, 2, 2, 1),
)


def statuses() -> dict[str, str]:
    rows = models.Address.objects.values_list("value", "status")
    return {value.partition("@")[0]: status for value, status in rows}


def test_what_comes_later_is_in_no_count_and_for_the_address_it_counts(cut: Any) -> None:
    cut(7)
    a_spring()
    assert shown() == EARLY
    assert shown(at=NOW) == shown(policy=cut(7)) == EARLY
    far = progress.of(models.Mailing.objects.get().pk, NOW)
    assert (far.responses, *far.counts.values()) == EARLY
    assert statuses() == {
        "ann": "opted_in",
        "bob": "opted_out",
        "cai": "hard_bounced",
        "dee": "complained",
        "eve": "opted_out",
    }
    said = {each.address: each for each in why([address("ann"), address("cai")], NOW)}
    [ann] = said["ann@example.com"].deliveries
    [cai] = said["cai@example.com"].deliveries
    assert (ann.response, ann.opens, ann.clicks) == ("clicked", 2, 1)
    assert (cai.response, cai.category) == ("delivered", None)
    assert "came back for good" in said["cai@example.com"].explanation
    assert rebuild(NOW, verify=True) == []


def test_as_of_a_time_too(cut: Any) -> None:
    a_spring()
    week = cut(7)
    assert shown(at=START + 12 * DAY, policy=week) == EARLY
    assert shown(at=START + 2 * DAY, policy=week) == ({"delivered": 4, "opened": 1}, 1, 0, 0, 0)


def test_another_policy_is_another_cut_and_folding_by_it_changes_nothing_shown(cut: Any) -> None:
    a_spring()
    assert shown() == ALL
    cut(7)
    assert shown() == EARLY, "nothing has been folded by it yet"
    clock.renew(NOW)
    assert shown() == EARLY
    assert rebuild(NOW, verify=True) == []
    cut(None)
    clock.renew(NOW)
    assert shown() == ALL
    assert rebuild(NOW, verify=True) == []
    engage = cut(7, "engage")
    assert shown()[1] == 3, "one of them by a machine, in time"
    assert shown(policy=engage, at=NOW) == shown()


def test_time_alone_changes_nothing(cut: Any) -> None:
    cut(2)
    hear(
        event("opted_in", 0),
        event("sent", 1, mailing="spring"),
        event("deferred", 1.5, mailing="spring", detail={"category": "mailbox_full"}),
        now=START + 2 * DAY,
    )
    assert statuses() == {"ann": "opted_in"}
    before = shown()
    books.settle(NOW + 900 * DAY)
    assert shown() == before == ({"deferred": 1}, 0, 0, 0, 0)
    assert statuses() == {"ann": "soft_bouncing"}, "the address is judged by the silence"
    [said] = why([address()], NOW)
    assert "the latest of the mailings, 1 in a row, could not be delivered" in said.explanation
    assert "The mailing “spring” of 2026-02-17 00:00 UTC" in said.explanation


def deliveries() -> dict[Any, Any]:
    return {
        place: row[1:3]
        for place, row in books.book(events=False)["deliveries"].items()
        if place[1] is not None
    }


@pytest.mark.parametrize("seed", range(6))
def test_in_any_order_the_rows_are_those_without_what_came_later(cut: Any, seed: int) -> None:
    days = (1, 5, 14)[seed % 3]
    policy = cut(days, ("default", "creatio")[seed % 2])
    events = history(300 + seed, 250, PEOPLE)
    books.in_batches(events, random.Random(seed), END)
    books.settle(END)
    told = books.book(events=False)
    assert rebuild(END, verify=True) == []
    assert books.differences(books.as_core_says(told), books.of_core(events, policy, END)) == []
    rows, counts = deliveries(), {name: reports.mailing(name, END) for name in MAILINGS}

    books.empty()
    timely = [
        each for who in PEOPLE for each in in_time([e for e in events if e.address == who], days)
    ]
    assert len(timely) < len(events)
    record(timely, END)
    books.settle(END)
    assert {place: rows[place] for place in deliveries()} == deliveries()
    for name, before in counts.items():
        after = reports.mailing(name, END)
        for what in ("opens", "clicks", "unsubscribes", "complaints"):
            assert getattr(after, what) == getattr(before, what), (name, what)
