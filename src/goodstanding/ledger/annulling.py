"""Annulling: failures that were not the addresses' are taken out of the fold, or put back.

What is annulled is said once, durably; then whoever it touches is folded anew. If that is
interrupted, the worker's clock goes on with it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Final

import msgspec
from django.db import connection, transaction
from django.db.backends.utils import CursorWrapper

from goodstanding.core.annulments import Annulment, Predicate, standing
from goodstanding.core.categories import CATEGORIES
from goodstanding.ledger import annulments, lookup, models, rereading
from goodstanding.ledger.acts import NotAllowed, reasoned
from goodstanding.ledger.failing import WINDOW, failures
from goodstanding.ledger.rebuilding import Named, fold_anew, narrow

BATCH: Final = 500
"""Addresses that are folded anew in one transaction."""

INTERRUPTED: Final = 60_000_000
"""Microseconds after which somebody else goes on with what is not done."""


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
    must_be_possible(predicate)
    said = msgspec.structs.asdict(predicate)
    return _made(models.Annulment(made_at=now, why=reasoned(why), by=by, **said))


def must_be_possible(predicate: Predicate) -> None:
    """See that it can hold of something.

    Raises:
        ValueError: it cannot; the message is a plain sentence.
    """
    if predicate.since > predicate.until:
        raise ValueError("It begins after it ends.")
    if predicate.category is not None and predicate.category not in CATEGORIES:
        raise ValueError(f"{predicate.category!r} is not a category of bounce.")


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
    for window in _windows(_covered(predicate), progress):
        found.add(window)
    return found


def apply(
    annulment: int, now: int, progress: Progress | None = None, named: Named | None = None
) -> Touched:
    """Fold anew whoever has failures that an annulment, a reread or its undoing is about.

    ``named``: where a few of those that change are to be named.
    """
    with connection.cursor() as cursor:
        about = _about({each.id: each for each in annulments.every(cursor)}, annulment)
    among = partial(rereading.touched, about.id)
    found = Touched()
    for window in _windows(_covered(about.predicate) if about.predicate else among, progress):
        found.add(window)
        ids = sorted(window.failures)
        for start in range(0, len(ids), BATCH):
            found.changed += fold_anew(ids[start : start + BATCH], now, named)
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


def _about(made: dict[int, Annulment], annulment: int) -> Annulment:
    """What it undoes in the end, or itself."""
    each = made[annulment]
    while each.undoes is not None:
        each = made[each.undoes]
    return each


class _Window(msgspec.Struct):
    """What is found among some addresses: their failures, counted, and the mailings of those."""

    failures: Counter[int] = msgspec.field(default_factory=Counter)
    mailings: set[int] = msgspec.field(default_factory=set)


_Found = Callable[[CursorWrapper, int], Iterable[tuple[int, int | None]]]
"""Finds failures of the window after an address: the ids of their addresses and mailings."""


def _covered(predicate: Predicate) -> _Found:
    """Finds those that it covers."""

    def find(cursor: CursorWrapper, after: int) -> Iterator[tuple[int, int | None]]:
        rereads = annulments.holding(cursor).rereads
        for failure in failures(cursor, predicate, after, rereads):
            yield failure.address, failure.mailing

    return find


def _windows(find: _Found, progress: Progress | None) -> Iterator[_Window]:
    with connection.cursor() as cursor:
        last = lookup.last_address(cursor)
        for after in range(0, last, WINDOW):
            window = _Window()
            for address, mailing in find(cursor, after):
                window.failures[address] += 1
                if mailing is not None:
                    window.mailings.add(mailing)
            yield window
            if progress is not None:
                progress(min(WINDOW, last - after))
