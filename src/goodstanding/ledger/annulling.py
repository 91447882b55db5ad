"""Annulling: failures that were not the addresses' are taken out of the fold, or put back.

What is annulled is said once, durably; then whoever it touches is folded anew. If that is
interrupted, the worker's clock goes on with it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Final

import msgspec
from django.db import connection, transaction

from goodstanding.core.annulments import Annulment, Predicate, about, standing
from goodstanding.core.categories import CATEGORIES
from goodstanding.ledger import annulments, bulk, failing, lookup, models, rereading
from goodstanding.ledger.acts import NotAllowed, reasoned
from goodstanding.ledger.failing import FAILURE, WINDOW
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
        self.failures += window.failures
        self.addresses += len(window.addresses)


Progress = Callable[[int], None]
"""Told how many failures have been looked through."""


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
    for each in made:
        if each.id == annulment and each.upholds is not None:
            raise NotAllowed(
                f"{annulment} says that the hold {each.upholds} stays: undo that one itself."
            )
    if annulment not in standing(made):
        raise NotAllowed(f"The annulment {annulment} is undone already.")
    return _made(models.Annulment(made_at=now, undoes_id=annulment, why=reasoned(why), by=by))


def touched(predicate: Predicate, progress: Progress | None = None) -> Touched:
    """What such an annulment would touch, without making it; nothing is said of statuses."""
    found = Touched()
    for window in _windows(predicate, progress):
        found.add(window)
    return found


def apply(
    annulment: int, now: int, progress: Progress | None = None, named: Named | None = None
) -> Touched:
    """Fold anew whoever has failures that an annulment, a reread or its undoing is about.

    ``named``: where a few of those that change are to be named.
    """
    one = _about(annulment)
    found = Touched()
    windows = _windows(one.predicate, progress) if one.predicate else _reread(one.id, progress)
    for window in windows:
        found.add(window)
        ids = sorted(window.addresses)
        for start in range(0, len(ids), BATCH):
            found.changed += fold_anew(ids[start : start + BATCH], now, named)
            bulk.give_way()
        narrow(window.mailings)
    models.Annulment.objects.filter(pk=annulment).update(is_applied=True)
    return found


def to_look_through(predicate: Predicate) -> int:
    """How many failures there are in its time."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM ledger_event e"
            f" WHERE {FAILURE} AND e.occurred_at BETWEEN %s AND %s",
            [predicate.since, predicate.until],
        )
        return int(cursor.fetchone()[0])


def to_apply(annulment: int) -> int:
    """What ``apply`` tells of its progress comes to that."""
    one = _about(annulment)
    if one.predicate is not None:
        return to_look_through(one.predicate)
    return lookup.last_address()


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
        annulments.alone(cursor)
        row.save(force_insert=True)
    return int(row.pk)


def _about(annulment: int) -> Annulment:
    with connection.cursor() as cursor:
        made = {each.id: each for each in annulments.every(cursor)}
    return about(made[annulment], made)


class _Window(msgspec.Struct):
    """What is found among some failures: how many, of which addresses, and their mailings.

    ``addresses``: those that no window before had.
    """

    failures: int = 0
    addresses: set[int] = msgspec.field(default_factory=set)
    mailings: set[int] = msgspec.field(default_factory=set)

    def add(self, address: int, mailing: int | None) -> None:
        """Count one more failure."""
        self.failures += 1
        self.addresses.add(address)
        if mailing is not None:
            self.mailings.add(mailing)


def _windows(predicate: Predicate, progress: Progress | None) -> Iterator[_Window]:
    """What it covers."""
    seen: set[int] = set()
    after = failing.first(predicate)
    with connection.cursor() as cursor:
        rereads = annulments.holding(cursor).rereads
        while page := failing.next_ones(cursor, after, predicate.until, rereads):
            window = _Window()
            for failure in page:
                if predicate.covers(failure.event):
                    window.add(failure.address, failure.mailing)
            window.addresses -= seen
            seen |= window.addresses
            yield window
            if progress is not None:
                progress(len(page))
            after = page[-1].place


def _reread(number: int, progress: Progress | None) -> Iterator[_Window]:
    """What that reread reads."""
    with connection.cursor() as cursor:
        last = lookup.last_address()
        for after in range(0, last, WINDOW):
            window = _Window()
            for address, mailing in rereading.touched(number, cursor, after):
                window.add(address, mailing)
            yield window
            if progress is not None:
                progress(min(WINDOW, last - after))
