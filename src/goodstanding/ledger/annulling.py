"""Annulling: failures that were not the addresses' are taken out of the fold, or put back.

What is annulled is said once, durably; then whoever it touches is folded anew. If that is
interrupted, the worker's clock goes on with it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Final, cast

import msgspec
from django.db import connection, transaction
from django.db.backends.utils import CursorWrapper

from goodstanding.core.addresses import Address, Channel
from goodstanding.core.annulments import Annulment, Predicate, standing
from goodstanding.core.categories import CATEGORIES
from goodstanding.core.events import KINDS, Event
from goodstanding.ledger import annulments, bulk, lookup, models
from goodstanding.ledger.acts import NotAllowed, reasoned
from goodstanding.ledger.rebuilding import fold_anew, narrow

WINDOW: Final = 5_000
"""Addresses whose events are looked through at once."""

BATCH: Final = 500
"""Addresses that are folded anew in one transaction."""

INTERRUPTED: Final = 60_000_000
"""Microseconds after which somebody else goes on with what is not done."""

_FAILURES: Final = tuple(name for name, kind in KINDS.items() if kind.failure)


class Touched(msgspec.Struct):
    """What an annulment touches.

    ``changed``: how many addresses stand otherwise now, by channel, from which status to which.
    """

    failures: int = 0
    addresses: int = 0
    changed: Counter[tuple[str, str, str]] = msgspec.field(default_factory=Counter)

    def add(self, window: _Window) -> None:
        """Count what is found there, too."""
        self.failures += window.failures.total()
        self.addresses += len(window.failures)


Progress = Callable[[int], None]
"""Told how many addresses have been looked through."""


def annul(predicate: Predicate, *, why: str, by: str, now: int) -> int:
    """Say that those failures count for nothing, whenever they are recorded; the annulment's id.

    To be followed by :func:`apply`. Times in microseconds.

    Raises:
        ValueError: there is no reason, or the predicate cannot hold of anything.
    """
    if predicate.since > predicate.until:
        raise ValueError("It begins after it ends.")
    if predicate.category is not None and predicate.category not in CATEGORIES:
        raise ValueError(f"{predicate.category!r} is not a category of bounce.")
    said = msgspec.structs.asdict(predicate)
    return _made(models.Annulment(made_at=now, why=reasoned(why), by=by, **said))


def undo(annulment: int, *, why: str, by: str, now: int) -> int:
    """Say that an annulment holds no longer; the id of what says so. It may be undone itself.

    Raises:
        ValueError: there is no reason.
        NotAllowed: there is no such annulment, or it is undone already.
    """
    with connection.cursor() as cursor:
        made = annulments.every(cursor)
    if annulment not in {each.id for each in made}:
        raise NotAllowed(f"There is no annulment {annulment}.")
    if annulment not in standing(made):
        raise NotAllowed(f"The annulment {annulment} is undone already.")
    return _made(models.Annulment(made_at=now, undoes_id=annulment, why=reasoned(why), by=by))


def touched(predicate: Predicate, progress: Progress | None = None) -> Touched:
    """What such an annulment would touch, without making it; nothing is said of statuses."""
    found = Touched()
    for window in _windows(predicate, progress):
        found.add(window)
    return found


def apply(annulment: int, now: int, progress: Progress | None = None) -> Touched:
    """Fold anew whoever has failures that an annulment, or its undoing, is about."""
    with connection.cursor() as cursor:
        predicate = _about({each.id: each for each in annulments.every(cursor)}, annulment)
    found = Touched()
    for window in _windows(predicate, progress):
        found.add(window)
        ids = sorted(window.failures)
        for start in range(0, len(ids), BATCH):
            found.changed += fold_anew(ids[start : start + BATCH], now)
        narrow(window.mailings)
    models.Annulment.objects.filter(pk=annulment).update(is_applied=True)
    return found


def finish(now: int) -> bool:
    """Go on with one that was interrupted; whether there was one. Safe to do more than once."""
    unfinished = models.Annulment.objects.filter(is_applied=False, made_at__lte=now - INTERRUPTED)
    first = unfinished.order_by("pk").values_list("pk", flat=True).first()
    if first is None:
        return False
    apply(first, now)
    return True


def _made(row: models.Annulment) -> int:
    with transaction.atomic(), connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            # Whoever looked before it was there has stored by then what must be folded anew.
            cursor.execute("SET LOCAL lock_timeout = '60s'")
            cursor.execute("LOCK TABLE ledger_annulment IN ACCESS EXCLUSIVE MODE")
        row.save(force_insert=True)
    return int(row.pk)


def _about(made: dict[int, Annulment], annulment: int) -> Predicate:
    each = made[annulment]
    while each.predicate is None:
        each = made[each.undoes or 0]
    return each.predicate


class _Window(msgspec.Struct):
    """What is found among some addresses: their failures, counted, and the mailings of those."""

    failures: Counter[int] = msgspec.field(default_factory=Counter)
    mailings: set[int] = msgspec.field(default_factory=set)


def _windows(predicate: Predicate, progress: Progress | None) -> Iterator[_Window]:
    with connection.cursor() as cursor:
        last = lookup.last_address(cursor)
        for after in range(0, last, WINDOW):
            window = _Window()
            for address, mailing, event in _failures(cursor, predicate, after):
                if predicate.covers(event):
                    window.failures[address] += 1
                    window.mailings |= {mailing} - {None}
            yield window
            if progress is not None:
                progress(min(WINDOW, last - after))


def _failures(
    cursor: CursorWrapper, predicate: Predicate, after: int
) -> Iterator[tuple[int, int, Event]]:
    """Failures of the time, with their addresses and mailings."""
    cursor.execute(
        "SELECT e.address_id, d.mailing_id, a.channel, a.value, e.kind, e.occurred_at, e.source,"
        " e.detail FROM ledger_event e JOIN ledger_address a ON a.id = e.address_id"
        " LEFT JOIN ledger_delivery d ON d.id = e.delivery_id"
        " WHERE e.address_id > %s AND e.address_id <= %s AND e.occurred_at BETWEEN %s AND %s"
        f" AND {bulk.among('e.kind', text=True)}",
        [after, after + WINDOW, predicate.since, predicate.until, bulk.listed(_FAILURES)],
    )
    for id_, mailing, channel, value, kind, at, source, detail in cursor.fetchall():
        address = Address(cast(Channel, channel), value)
        yield id_, mailing, Event(kind, at, address, source, detail=msgspec.json.decode(detail))
