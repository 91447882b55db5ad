"""From the spool to the ledger: what was heard is understood, recorded, and then moved aside.

Killed at any moment, the worst that can happen is that a batch is heard again, and the ledger
knows it by its keys.
"""

from __future__ import annotations

import logging
import zlib
from typing import Final

import msgspec
from django.conf import settings
from django.db import InterfaceError, InternalError, OperationalError, transaction

from goodstanding.core.events import SECOND, Event
from goodstanding.intake import understanding
from goodstanding.intake.models import MAIL, NOT_UNDERSTOOD, UNDERSTOOD, Kept, Spooled
from goodstanding.intake.spool import ALIAS
from goodstanding.intake.understanding import Confirmations, Heard, HeardVisit, NotUnderstood
from goodstanding.ledger import lookup
from goodstanding.ledger.lookup import Found
from goodstanding.ledger.recording import record

MOST_BYTES: Final = 32 * 1024 * 1024
"""A batch holds no more than this, and one row at least."""

_DAY: Final = 86_400 * SECOND
_PRUNED_AT_ONCE: Final = 1_000
_BROKEN: Final = (OperationalError, InterfaceError, InternalError)
"""The database's own trouble: no row is to blame, and all are tried again."""

_log = logging.getLogger(__name__)


class Digested(msgspec.Struct, frozen=True):
    """A batch: rows read, events recorded (heard before or not), rows not understood."""

    read: int = 0
    events: int = 0
    not_understood: int = 0


class _Row(msgspec.Struct):
    """A row on its way: ``why`` is set where nothing can be made of it."""

    row: Spooled
    heard: Heard | None = None
    events: list[Event] = []
    note: str = ""
    why: str | None = None


def digest(now: int, limit: int = 500) -> Digested:
    """Take the oldest rows of the spool, at most ``limit``, all the way; ``now`` in microseconds.

    Raises:
        django.db.OperationalError: a database is not to be had; the rows stay in the spool.
    """
    rows = [_Row(row) for row in _oldest(limit)]
    if not rows:
        return Digested()
    for each in rows:
        _hear(each)
    found = lookup.deliveries(
        delivery for each in rows if each.heard is not None for delivery in each.heard.deliveries
    )
    confirmations = _confirmations(rows)
    for each in rows:
        _understand(each, found, confirmations)
    _record(rows, now)
    _move(rows)
    return Digested(
        read=len(rows),
        events=sum(len(each.events) for each in rows),
        not_understood=sum(each.why is not None for each in rows),
    )


def pending() -> int:
    """How many rows wait in the spool."""
    return Spooled.objects.count()


def not_understood() -> int:
    """How many rows that could not be understood are still kept."""
    return Kept.objects.filter(outcome=NOT_UNDERSTOOD).count()


def prune(now: int) -> int:
    """Drop what was kept for its time (the setting ``keep_raw_days``); gives how many."""
    before = now - settings.OPTIONS.keep_raw_days * _DAY
    pruned = 0
    while True:
        old = Kept.objects.filter(received_at__lt=before).order_by("received_at")
        some = list(old.values_list("pk", flat=True)[:_PRUNED_AT_ONCE])
        pruned += Kept.objects.filter(pk__in=some).delete()[0]
        if len(some) < _PRUNED_AT_ONCE:
            return pruned


def _oldest(limit: int) -> list[Spooled]:
    size = 0
    chosen: list[int] = []
    for pk, more in Spooled.objects.order_by("pk").values_list("pk", "size")[:limit]:
        size += more
        if chosen and size > MOST_BYTES:
            break
        chosen.append(pk)
    return list(Spooled.objects.filter(pk__in=chosen).order_by("pk"))


def _hear(each: _Row) -> None:
    try:
        each.heard = understanding.hear(each.row)
    except Exception as error:  # noqa: BLE001 - one bad row must not stop the others
        _spoilt(each, error)


def _confirmations(rows: list[_Row]) -> Confirmations:
    """What those rows confirm that came by such a link; they are few."""
    links = {each.heard.confirms for each in rows if isinstance(each.heard, HeardVisit)}
    return {named: lookup.confirmation(*named) for named in links if named is not None}


def _understand(each: _Row, found: dict[int, Found], confirmations: Confirmations) -> None:
    if each.heard is None:
        return
    try:
        events = understanding.events(each.heard, found, confirmations)
        msgspec.json.encode(events)
        each.events = events
        each.note = ", ".join(dict.fromkeys(_told(event) for event in events))
    except NotUnderstood as error:
        each.why = str(error)
    except Exception as error:  # noqa: BLE001 - one bad row must not stop the others
        _spoilt(each, error)


def _told(event: Event) -> str:
    category = event.detail.get("category")
    return f"{event.kind} ({category})" if category else event.kind


def _record(rows: list[_Row], now: int) -> None:
    """Record all at once; where one of them spoils that, each on its own."""
    told = [each for each in rows if each.events]
    if not told:
        return
    try:
        recorded = record([event for each in told for event in each.events], now)
    except _BROKEN:
        raise
    except Exception as error:  # noqa: BLE001 - one bad row must not stop the others
        if len(told) > 1:
            for each in told:
                _record([each], now)
        else:
            _spoilt(told[0], error)
        return
    refused = {(each.event.address, each.event.key) for each in recorded.refused}
    for each in told:
        if any((event.address, event.key) in refused for event in each.events):
            each.note += "; refused: heard before with other content"


def _spoilt(each: _Row, error: Exception) -> None:
    # Its words may hold what was in the mail.
    _log.error("Spooled row %d could not be read: %s", each.row.pk, type(error).__name__)
    each.events = []
    each.why = f"reading it failed with {type(error).__name__}"


def _move(rows: list[_Row]) -> None:
    """Keep what is to be kept and empty the spool, in one transaction of the spool's."""
    kept = {each.row.pk: kept for each in rows if (kept := _kept(each)) is not None}
    with transaction.atomic(using=ALIAS):
        ours = Spooled.objects.select_for_update().filter(pk__in=[each.row.pk for each in rows])
        # Another worker may have taken the same batch: each row is kept once.
        there = sorted(ours.values_list("pk", flat=True))
        Kept.objects.bulk_create([kept[pk] for pk in there if pk in kept])
        Spooled.objects.filter(pk__in=there).delete()


def _kept(each: _Row) -> Kept | None:
    row = each.row
    if each.why is None and row.kind != MAIL:
        return None  # its event holds all that it said
    return Kept(
        received_at=row.received_at,
        kind=row.kind,
        envelope=row.envelope,
        content=zlib.compress(bytes(row.content)),
        outcome=UNDERSTOOD if each.why is None else NOT_UNDERSTOOD,
        note=(each.note if each.why is None else each.why)[:300],
        events=len(each.events),
    )
