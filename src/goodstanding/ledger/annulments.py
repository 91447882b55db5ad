"""Which failures count for nothing: what every fold consults."""

from __future__ import annotations

from collections.abc import Mapping

from django.db import connection
from django.db.backends.utils import CursorWrapper

from goodstanding.core import annulments
from goodstanding.core.annulments import Annulment, Predicate, Predicates, State


def every(cursor: CursorWrapper) -> list[Annulment]:
    """All that were ever made, in order."""
    cursor.execute(
        "SELECT id, made_at, undoes_id, upholds_id, is_hold, since, until, provider, domain,"
        " category, rule FROM ledger_annulment ORDER BY id"
    )
    return [
        Annulment(
            id=row[0],
            made_at=row[1],
            undoes=row[2],
            predicate=Predicate(*row[5:]) if row[5] is not None else None,
            upholds=row[3],
            by_guard=bool(row[4]),
        )
        for row in cursor.fetchall()
    ]


def in_force(cursor: CursorWrapper, at: int | None = None) -> Predicates:
    """What is not to count; ``at``: as of that time (microseconds)."""
    return tuple(annulments.in_force(every(cursor), at).values())


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


def by_id() -> Mapping[int, Predicate]:
    """What holds at present, with its ids."""
    with connection.cursor() as cursor:
        return annulments.in_force(every(cursor))
