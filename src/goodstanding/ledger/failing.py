"""Looking through the failures on record as they are read: by time, or by whose they are."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any, Final, cast

import msgspec
from django.db.backends.utils import CursorWrapper

from goodstanding.core.addresses import Address, Channel
from goodstanding.core.annulments import Predicate
from goodstanding.core.events import Event
from goodstanding.ledger import annulments, models
from goodstanding.ledger.annulments import as_read

WINDOW: Final = 5_000
"""Failures, or addresses whose failures, are looked through at once."""

# Literal, so that it is seen that the index on failures has them all.
FAILURE: Final = "e.kind IN ('" + "', '".join(models.FAILURES) + "')"
"""SQL that is true of failures ``e``."""

_SELECT: Final = (
    "SELECT e.address_id, d.mailing_id, a.channel, a.value, e.kind, e.occurred_at, e.source,"
    " e.key, e.detail FROM ledger_event e JOIN ledger_address a ON a.id = e.address_id"
    f" LEFT JOIN ledger_delivery d ON d.id = e.delivery_id WHERE {FAILURE}"
)


class Failure(msgspec.Struct, frozen=True):
    """One, as those rereads read it that hold; the ids of its address and its mailing."""

    address: int
    mailing: int | None
    event: Event

    @property
    def place(self) -> tuple[int, int, str]:
        """Where it stands among all of them, in order of time."""
        return self.event.occurred_at, self.address, self.event.key


def first(predicate: Predicate) -> tuple[int, int, str]:
    """The place before all failures of its time."""
    return predicate.since, 0, ""


def next_ones(
    cursor: CursorWrapper, after: tuple[int, int, str], until: int, rereads: Collection[int]
) -> list[Failure]:
    """The next failures in order of time; empty at its end."""
    cursor.execute(
        f"{_SELECT} AND e.occurred_at BETWEEN %s AND %s"
        " AND (e.occurred_at, e.address_id, e.key) > (%s, %s, %s)"
        f" ORDER BY e.occurred_at, e.address_id, e.key LIMIT {WINDOW}",
        [after[0], until, *after],
    )
    return _read(cursor, cursor.fetchall(), rereads)


def of_addresses(
    cursor: CursorWrapper, predicate: Predicate, after: int, rereads: Collection[int]
) -> list[Failure]:
    """Those that it covers, of the ``WINDOW`` addresses whose ids come after that one."""
    cursor.execute(
        f"{_SELECT} AND e.address_id > %s AND e.address_id <= %s"
        " AND e.occurred_at BETWEEN %s AND %s",
        [after, after + WINDOW, predicate.since, predicate.until],
    )
    found = _read(cursor, cursor.fetchall(), rereads)
    return [each for each in found if predicate.covers(each.event)]


def _read(
    cursor: CursorWrapper, rows: Iterable[tuple[Any, ...]], rereads: Collection[int]
) -> list[Failure]:
    rows = list(rows)
    read = annulments.readings(cursor, {row[0] for row in rows}, rereads)
    found = []
    for id_, mailing, channel, value, kind, at, source, key, detail in rows:
        address = Address(cast(Channel, channel), value)
        said = Event(kind, at, address, source, key, detail=msgspec.json.decode(detail))
        found.append(Failure(id_, mailing, as_read(said, read.get((id_, key)))))
    return found
