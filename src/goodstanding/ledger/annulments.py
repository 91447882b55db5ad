"""Which failures count for nothing: what every fold consults."""

from __future__ import annotations

from collections.abc import Mapping

from django.db import connection
from django.db.backends.utils import CursorWrapper

from goodstanding.core import annulments
from goodstanding.core.annulments import Annulment, Predicate, Predicates


def every(cursor: CursorWrapper) -> list[Annulment]:
    """All that were ever made, in order."""
    cursor.execute(
        "SELECT id, made_at, undoes_id, since, until, provider, domain, category, rule"
        " FROM ledger_annulment ORDER BY id"
    )
    return [
        Annulment(row[0], row[1], row[2], Predicate(*row[3:]) if row[2] is None else None)
        for row in cursor.fetchall()
    ]


def in_force(cursor: CursorWrapper, at: int | None = None) -> Predicates:
    """What is not to count; ``at``: as of that time (microseconds)."""
    return tuple(annulments.in_force(every(cursor), at).values())


def by_id() -> Mapping[int, Predicate]:
    """What holds at present, with its ids."""
    with connection.cursor() as cursor:
        return annulments.in_force(every(cursor))
