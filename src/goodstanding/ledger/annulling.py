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
from goodstanding.core.annulments import Predicate, about, standing
from goodstanding.core.categories import CATEGORIES
from goodstanding.core.events import Event
from goodstanding.ledger import annulments, bulk, models
from goodstanding.ledger.acts import NotAllowed, reasoned
from goodstanding.ledger.rebuilding import fold_anew, narrow

WINDOW: Final = 5_000
"""Failures that are looked through at once."""

BATCH: Final = 500
"""Addresses that are folded anew in one transaction."""

INTERRUPTED: Final = 60_000_000
"""Microseconds after which somebody else goes on with what is not done."""

# Literal, so that it is seen that the index on failures has them all.
FAILURE: Final = "e.kind IN ('" + "', '".join(models.FAILURES) + "')"
"""SQL that is true of failures ``e``."""


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


def apply(annulment: int, now: int, progress: Progress | None = None) -> Touched:
    """Fold anew whoever has failures that an annulment, or its undoing, is about."""
    found = Touched()
    for window in _windows(predicate_of(annulment), progress):
        found.add(window)
        ids = sorted(window.addresses)
        for start in range(0, len(ids), BATCH):
            found.changed += fold_anew(ids[start : start + BATCH], now)
            bulk.give_way()
        narrow(window.mailings)
    models.Annulment.objects.filter(pk=annulment).update(is_applied=True)
    return found


def predicate_of(annulment: int) -> Predicate:
    """Which failures an annulment, or its undoing, is about.

    Raises:
        KeyError: there is no such annulment.
    """
    with connection.cursor() as cursor:
        made = {each.id: each for each in annulments.every(cursor)}
    predicate = about(made[annulment], made).predicate
    if predicate is None:
        raise ValueError(f"the annulment {annulment} is about nothing")
    return predicate


def to_look_through(predicate: Predicate) -> int:
    """How many failures there are in its time."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM ledger_event e"
            f" WHERE {FAILURE} AND e.occurred_at BETWEEN %s AND %s",
            [predicate.since, predicate.until],
        )
        return int(cursor.fetchone()[0])


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


class _Window(msgspec.Struct):
    """What is found among some failures: how many, of which addresses, and their mailings.

    ``addresses``: those that no window before had.
    """

    failures: int = 0
    addresses: set[int] = msgspec.field(default_factory=set)
    mailings: set[int] = msgspec.field(default_factory=set)


def _windows(predicate: Predicate, progress: Progress | None) -> Iterator[_Window]:
    seen: set[int] = set()
    after = (predicate.since, 0, "")
    with connection.cursor() as cursor:
        while page := _failures(cursor, after, predicate.until):
            window = _Window()
            for address, mailing, event in page:
                if predicate.covers(event):
                    window.failures += 1
                    window.addresses.add(address)
                    if mailing is not None:
                        window.mailings.add(mailing)
            window.addresses -= seen
            seen |= window.addresses
            yield window
            if progress is not None:
                progress(len(page))
            address, _, last = page[-1]
            after = (last.occurred_at, address, last.key)


def _failures(
    cursor: CursorWrapper, after: tuple[int, int, str], until: int
) -> list[tuple[int, int | None, Event]]:
    """The next failures of the time, with their addresses and mailings, in order."""
    cursor.execute(
        "SELECT e.address_id, d.mailing_id, a.channel, a.value, e.kind, e.occurred_at, e.source,"
        " e.key, e.detail FROM ledger_event e JOIN ledger_address a ON a.id = e.address_id"
        " LEFT JOIN ledger_delivery d ON d.id = e.delivery_id"
        f" WHERE {FAILURE} AND e.occurred_at BETWEEN %s AND %s"
        " AND (e.occurred_at, e.address_id, e.key) > (%s, %s, %s)"
        f" ORDER BY e.occurred_at, e.address_id, e.key LIMIT {WINDOW}",
        [after[0], until, *after],
    )
    return [
        (
            id_,
            mailing,
            Event(
                kind,
                at,
                Address(cast(Channel, channel), value),
                source,
                key=key,
                detail=msgspec.json.decode(detail),
            ),
        )
        for id_, mailing, channel, value, kind, at, source, key, detail in cursor.fetchall()
    ]
