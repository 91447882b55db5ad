"""The feed of changes: what became another, and what was said, for whoever wants to react.

A reader keeps the id of the last change it has dealt with. On SQLite ids come in the order of
commits. On PostgreSQL they do not: a change may appear below one that was read long ago. So where
an id is missing, ``after`` waits for the transactions that may still bring it.
"""

from __future__ import annotations

import time
from typing import Any, Final

import msgspec
from django.db import connection
from django.db.backends.utils import CursorWrapper

PATIENCE: Final = 1.0
"""Seconds that ``after`` waits for transactions that are about to end."""

_LOOK_AGAIN: Final = 0.01  # seconds


class Changed(msgspec.Struct, frozen=True):
    """A standing (``delivery_id`` is None) or a response that became another, or a thing said.

    ``event``: the key of what was said; then ``old`` is empty, ``new`` the event's kind, and
    ``occurred_at`` and ``topic`` are the event's: it may have happened long before it was recorded.
    Times in microseconds.
    """

    id: int
    recorded_at: int
    address_id: int
    delivery_id: int | None
    old: str
    new: str
    event: str | None = None
    occurred_at: int | None = None
    topic: str | None = None


def after(last: int, most: int, patience: float = PATIENCE) -> tuple[list[Changed], int]:
    """Up to ``most`` changes with ids above ``last``, in order, and where to go on from.

    No change that is committed later will have an id up to there. Where a transaction takes longer
    than ``patience`` (seconds), what came after its changes is left for another time. To be called
    on the database that is written to, not on a copy.
    """
    with connection.cursor() as cursor:
        found = _read(cursor, last, most)
        whole = _until_a_gap(found, last)
        if whole == len(found) or connection.vendor == "sqlite":
            return found, found[-1].id if found else last
        upto = found[-1].id
        # Whoever begins to write from here on gets ids above those that were seen already.
        if _wait_for(cursor, _writers(cursor), patience):
            found = _read(cursor, last, most, upto)
            return found, found[-1].id if len(found) == most else upto
        return found[:whole], found[whole - 1].id if whole else last


def latest() -> int:
    """Where a reader begins that wants nothing of what was before."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT coalesce(max(id), 0) FROM ledger_change")
        return int(cursor.fetchone()[0])


def _read(cursor: CursorWrapper, last: int, most: int, upto: int | None = None) -> list[Changed]:
    limit = "" if upto is None else " AND c.id <= %s"
    cursor.execute(
        "SELECT c.id, c.recorded_at, c.address_id, c.delivery_id, c.old, c.new, c.event,"
        " e.occurred_at, e.topic FROM ledger_change c"
        " LEFT JOIN ledger_event e ON e.address_id = c.address_id AND e.key = c.event"
        f" WHERE c.id > %s{limit} ORDER BY c.id LIMIT %s",
        [last, *([] if upto is None else [upto]), most],
    )
    return [Changed(*row) for row in cursor.fetchall()]


def _until_a_gap(found: list[Changed], last: int) -> int:
    """How many of them follow each other without an id missing."""
    for place, change in enumerate(found):
        if change.id != last + 1 + place:
            return place
    return len(found)


def _writers(cursor: CursorWrapper) -> set[Any]:
    """The transactions of others that write changes: they hold this lock until they end."""
    cursor.execute(
        "SELECT virtualtransaction FROM pg_locks WHERE locktype = 'relation'"
        " AND relation = 'ledger_change'::regclass AND mode = 'RowExclusiveLock' AND granted"
        " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        " AND pid IS DISTINCT FROM pg_backend_pid()"
    )
    return {row[0] for row in cursor.fetchall()}


def _wait_for(cursor: CursorWrapper, writers: set[Any], patience: float) -> bool:
    """Whether all those transactions end in that time (seconds)."""
    until = time.monotonic() + patience
    while writers:
        if time.monotonic() >= until:
            return False
        time.sleep(_LOOK_AGAIN)
        writers &= _writers(cursor)
    return True
