"""Annulments: which failures they cover, and which of them hold."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from goodstanding.core.addresses import Address
from goodstanding.core.annulments import Annulment, Predicate, in_force, is_annulled
from goodstanding.core.events import KINDS, Event
from goodstanding.core.history import fold
from tests.core.telling import DEFAULT, at, bounced, event, sent

GMAIL = Predicate(at(1), at(2), provider="gmail.com")


def failure(
    days: float = 1.5, kind: str = "bounced", name: str = "ann@gmail.com", **said: Any
) -> Event:
    detail = {"category": "mailbox_unknown", "rule": "user-unknown", **said}
    return Event(kind, at(days), Address("email", name), "smtp", detail=detail)


@pytest.mark.parametrize(
    ("found", "covered"),
    [
        (failure(), True),
        (failure(1), True),
        (failure(2), True),
        (failure(0.99), False),
        (failure(2.01), False),
        (failure(kind="deferred"), True),
        (failure(kind="undelivered"), True),
        (failure(kind="opened"), False),
        (failure(name="ann@example.com", provider="gmail.com"), True),
        (failure(provider="outlook.com"), False),
        (failure(name="ann@example.com"), False),
    ],
)
def test_it_covers_failures_of_its_time_and_provider(found: Event, covered: bool) -> None:
    assert GMAIL.covers(found) is covered


@pytest.mark.parametrize(
    ("which", "covered"),
    [
        ({}, True),
        ({"domain": "gmail.com"}, True),
        ({"domain": "example.com"}, False),
        ({"category": "mailbox_unknown"}, True),
        ({"category": "mailbox_full"}, False),
        ({"rule": "user-unknown"}, True),
        ({"rule": "another"}, False),
        ({"domain": "gmail.com", "category": "mailbox_full"}, False),
    ],
)
def test_all_that_it_names_must_match(which: dict[str, str], covered: bool) -> None:
    assert Predicate(at(1), at(2), **which).covers(failure()) is covered


def test_no_word_of_a_person_is_ever_annulled() -> None:
    everything = Predicate(0, at(100))
    covered = {kind for kind in KINDS if everything.covers(failure(kind=kind))}
    assert covered == {"bounced", "deferred", "undelivered"}


def made(id_: int, undoes: int | None = None, days: float = 3) -> Annulment:
    return Annulment(id_, at(days), undoes, GMAIL if undoes is None else None)


@pytest.mark.parametrize(
    ("annulments", "holding"),
    [
        ([], []),
        ([made(1)], [1]),
        ([made(1), made(2)], [1, 2]),
        ([made(1), made(2, undoes=1)], []),
        ([made(1), made(2, undoes=1), made(3, undoes=2)], [1]),
        ([made(1), made(2, undoes=1), made(3, undoes=2), made(4, undoes=3)], []),
        ([made(4), made(2, undoes=1), made(1)], [4]),
    ],
)
def test_an_annulment_can_be_annulled_and_that_too(
    annulments: list[Annulment], holding: list[int]
) -> None:
    assert sorted(in_force(annulments)) == holding


def test_what_was_not_made_yet_does_not_hold_yet() -> None:
    annulments = [made(1, days=3), made(2, undoes=1, days=5)]
    holding = [sorted(in_force(annulments, at(days))) for days in (2.9, 3, 4.9, 5)]
    assert holding == [[], [1], [1], []]


def test_an_address_stands_as_if_it_had_not_been() -> None:
    heard = [
        event("opted_in", 0),
        sent(1, "spring"),
        bounced(1.5, "spring", "mailbox_unknown"),
        sent(5, "summer"),
        event("delivered", 5.1, "summer"),
    ]
    outage = (Predicate(at(1), at(2)),)
    without = [each for each in heard if not is_annulled(each, outage)]
    assert len(without) == 4
    assert fold("email", heard).standing(DEFAULT, at(9)).status == "hard_bounced"
    assert fold("email", heard, annulled=outage) == fold("email", without)
    later = msgspec.structs.replace(heard[2], occurred_at=at(6))
    status = fold("email", [*heard, later], annulled=outage).standing(DEFAULT, at(9)).status
    assert status == "hard_bounced"
