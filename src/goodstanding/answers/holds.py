"""Holds: what the incident guard took for outages, what it saw, and what operators decided."""

from __future__ import annotations

import msgspec
from django.db import connection

from goodstanding.core import annulments as core
from goodstanding.core.annulments import Annulment, Predicate, State
from goodstanding.core.guard import Saw
from goodstanding.ledger import annulments, guarding, models


class Decision(msgspec.Struct, frozen=True):
    """Who decided, when (microseconds) and why."""

    at: int
    by: str
    why: str


class Hold(msgspec.Struct, frozen=True):
    """One hold: since when (microseconds), which failures, and what the guard saw.

    ``decision``: the latest, None where nobody has decided.
    """

    id: int
    state: State
    held_at: int
    predicate: Predicate
    why: str
    saw: Saw
    decision: Decision | None


def every() -> list[Hold]:
    """All holds that were ever made, in order."""
    with connection.cursor() as cursor:
        made = {each.id: each for each in annulments.every(cursor)}
    states = core.holds(made.values())
    saws = guarding.saws(states)
    rows = models.Annulment.objects.in_bulk()
    latest: dict[int, models.Annulment] = {}
    for each in made.values():
        if not each.by_guard:
            latest[core.about(each, made).id] = rows[each.id]
    return [
        Hold(
            id=id_,
            state=state,
            held_at=made[id_].made_at,
            predicate=_predicate(made[id_]),
            why=rows[id_].why,
            saw=saws[id_],
            decision=_decision(latest.get(id_)),
        )
        for id_, state in states.items()
    ]


def _predicate(annulment: Annulment) -> Predicate:
    assert annulment.predicate is not None  # noqa: S101 - a hold has one
    return annulment.predicate


def _decision(row: models.Annulment | None) -> Decision | None:
    return None if row is None else Decision(row.made_at, row.by, row.why)
