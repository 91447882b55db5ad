"""Rereading: what was said is read again by better rules (design, section 9).

The events stay as they are. What reads otherwise by now is written beside them under a number of
its own, all of it or nothing; from then on every fold goes by that, until it is undone. Whoever it
touches is then folded anew: see ``annulling.apply``.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import IO, Any, Final

import msgspec
from django.db import connection, transaction
from django.db.backends.utils import CursorWrapper

from goodstanding.core.annulments import Predicate
from goodstanding.core.memory import category_of, disposition_of
from goodstanding.ledger import annulments, bulk, lookup, models, readings
from goodstanding.ledger.acts import reasoned
from goodstanding.ledger.failing import WINDOW, of_addresses

READINGS: Final = bulk.Table(models.Reading, ("address_id", "key", "annulment_id", "detail"))

_IN_MEMORY: Final = 8_000_000
"""Bytes of what was gathered that are not yet put on disk."""

_ROWS: Final = 5_000
"""Readings that are written at once."""

_encode = msgspec.json.Encoder(order="sorted").encode

ReadAs = tuple[str, str]
"""A category and a disposition."""


class Otherwise(msgspec.Struct, frozen=True):
    """A failure that reads otherwise now: how it was read, and the new reading."""

    address: int
    key: str
    before: ReadAs
    reading: dict[str, Any]

    @property
    def after(self) -> ReadAs:
        """How it is read."""
        return _read_as(self.reading)


class Window(msgspec.Struct):
    """Some addresses: how many of their failures were read again, and which read otherwise."""

    failures: int = 0
    otherwise: list[Otherwise] = []


class Found(msgspec.Struct):
    """What was found: failures that were read again, those that read otherwise, and whose.

    ``changed``: how many of them, by how they were read and are read now.
    """

    failures: int = 0
    otherwise: int = 0
    addresses: int = 0
    changed: Counter[tuple[ReadAs, ReadAs]] = msgspec.field(default_factory=Counter)

    def add(self, window: Window) -> None:
        """Count what is found there, too."""
        self.failures += window.failures
        self.otherwise += len(window.otherwise)
        self.addresses += len({each.address for each in window.otherwise})
        self.changed.update((each.before, each.after) for each in window.otherwise)


def windows(which: Predicate, progress: Callable[[int], None] | None = None) -> Iterator[Window]:
    """Read those failures again, a window of addresses at a time; nothing is written.

    One that counts the same under another rule does not read otherwise. ``progress`` is told how
    many of their ids have been looked through.
    """
    with connection.cursor() as cursor:
        rereads = annulments.holding(cursor).rereads
        last = lookup.last_address()
        for after in range(0, last, WINDOW):
            window = Window()
            for failure in of_addresses(cursor, which, after, rereads):
                reading = readings.again(failure.event)
                if reading is None:
                    continue
                window.failures += 1
                before = _read_as(failure.event.detail)
                if _read_as(reading) != before:
                    window.otherwise.append(
                        Otherwise(failure.address, failure.event.key, before, reading)
                    )
            yield window
            if progress is not None:
                progress(min(WINDOW, last - after))


class Gathered:
    """New readings, kept aside until all of them are there."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def add(self, window: Window) -> None:
        """Keep what reads otherwise there."""
        for each in window.otherwise:
            self._file.write(_encode((each.address, each.key, _encode(each.reading).decode())))
            self._file.write(b"\n")

    def rows(self, number: int) -> Iterator[tuple[int, str, int, str]]:
        """All of them, as rows of that reread."""
        self._file.seek(0)
        for line in self._file:
            address, key, detail = msgspec.json.decode(line)
            yield address, key, number, detail


@contextmanager
def gathering() -> Iterator[Gathered]:
    """Gather new readings, in memory as long as they are few."""
    with tempfile.SpooledTemporaryFile(_IN_MEMORY) as file:
        yield Gathered(file)


def reread(gathered: Gathered, *, why: str, by: str, now: int) -> int:
    """Say that those failures are to be read so; the number of the reread.

    To be followed by ``annulling.apply``. ``now`` in microseconds.

    Raises:
        ValueError: there is no reason.
    """
    row = models.Annulment(made_at=now, is_reread=True, why=reasoned(why), by=by)
    with transaction.atomic(), connection.cursor() as cursor:
        row.save(force_insert=True)
        rows = gathered.rows(row.pk)
        while some := list(islice(rows, _ROWS)):
            READINGS.insert(cursor, some)
    return int(row.pk)


def touched(number: int, cursor: CursorWrapper, after: int) -> Iterator[tuple[int, int | None]]:
    """The addresses and mailings of the failures that it reads, of the window after an address."""
    cursor.execute(
        "SELECT r.address_id, d.mailing_id FROM ledger_reading r"
        " JOIN ledger_event e ON e.address_id = r.address_id AND e.key = r.key"
        " LEFT JOIN ledger_delivery d ON d.id = e.delivery_id"
        " WHERE r.address_id > %s AND r.address_id <= %s AND r.annulment_id = %s",
        [after, after + WINDOW, number],
    )
    yield from cursor.fetchall()


def _read_as(detail: dict[str, Any]) -> ReadAs:
    return category_of(detail) or "undetermined", disposition_of(detail)
