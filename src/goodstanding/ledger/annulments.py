"""Which failures count for nothing, and which are read anew: what every fold consults."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import msgspec
from django.db import connection
from django.db.backends.utils import CursorWrapper

from goodstanding.core import annulments
from goodstanding.core.annulments import Annulment, Holding, Predicate, Predicates, State
from goodstanding.core.events import Event
from goodstanding.ledger import bulk
from goodstanding.ledger.readings import READING


def every(cursor: CursorWrapper) -> list[Annulment]:
    """All that were ever made, in order."""
    cursor.execute(
        "SELECT id, made_at, undoes_id, upholds_id, is_hold, is_reread, since, until, provider,"
        " domain, category, rule FROM ledger_annulment ORDER BY id"
    )
    return [
        Annulment(
            id=row[0],
            made_at=row[1],
            undoes=row[2],
            upholds=row[3],
            by_guard=bool(row[4]),
            is_reread=bool(row[5]),
            predicate=Predicate(*row[6:]) if row[6] is not None else None,
        )
        for row in cursor.fetchall()
    ]


def in_force(cursor: CursorWrapper, at: int | None = None) -> Predicates:
    """What is not to count; ``at``: as of that time (microseconds)."""
    return tuple(annulments.in_force(every(cursor), at).values())


def holding(cursor: CursorWrapper, at: int | None = None) -> Holding:
    """What is not to count, and what is read anew; ``at``: as of that time (microseconds)."""
    return annulments.holding(every(cursor), at)


def holds() -> Mapping[int, State]:
    """The states of the incident guard's holds, by their ids."""
    with connection.cursor() as cursor:
        return annulments.holds(every(cursor))


def undecided(cursor: CursorWrapper, at: int | None = None) -> Mapping[int, Annulment]:
    """The holds of which nobody has decided; ``at``: as of that time (microseconds)."""
    return annulments.undecided(every(cursor), at)


def alone(cursor: CursorWrapper) -> None:
    """Until the transaction ends, let nobody look at them, for what is about to be written.

    Whoever looked before it was there has stored by then what must be folded anew.
    """
    if connection.vendor == "postgresql":
        cursor.execute("SET LOCAL lock_timeout = '60s'")
        cursor.execute("LOCK TABLE ledger_annulment IN ACCESS EXCLUSIVE MODE")


def by_id() -> Mapping[int, Annulment]:
    """What holds at present, and says so of itself and not of another, with its ids."""
    with connection.cursor() as cursor:
        found = annulments.standing(every(cursor))
    return {id_: each for id_, each in found.items() if each.undoes is each.upholds is None}


class Reread(msgspec.Struct, frozen=True):
    """How a failure is read, in place of the reading in its event; ``number``: of the reread."""

    number: int
    reading: dict[str, Any]


Readings = Mapping[tuple[int, str], Reread]
"""By an event's address and key."""


def as_read(event: Event, reread: Reread | None) -> Event:
    """The event with the reading that counts; itself where no reread says otherwise."""
    if reread is None:
        return event
    said = {name: value for name, value in event.detail.items() if name not in READING}
    return msgspec.structs.replace(event, detail={**said, **reread.reading})


def readings(cursor: CursorWrapper, ids: Collection[int], rereads: Collection[int]) -> Readings:
    """What the newest of those rereads says of those addresses' failures; where one says nothing,
    the one before it. Asks nothing where there are none.
    """
    if not rereads:
        return {}
    cursor.execute(
        "SELECT address_id, key, annulment_id, detail FROM ledger_reading"
        f" WHERE {bulk.among('address_id')} AND {bulk.among('annulment_id')} ORDER BY annulment_id",
        [bulk.listed(ids), bulk.listed(rereads)],
    )
    return {
        (address, key): Reread(number, msgspec.json.decode(detail))
        for address, key, number, detail in cursor.fetchall()
    }
