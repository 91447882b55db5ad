"""Looking through the failures on record, a window of addresses at a time, as they are read."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Final, cast

import msgspec
from django.db.backends.utils import CursorWrapper

from goodstanding.core.addresses import Address, Channel
from goodstanding.core.annulments import Predicate
from goodstanding.core.events import KINDS, Event
from goodstanding.ledger import annulments, bulk
from goodstanding.ledger.annulments import as_read

WINDOW: Final = 5_000
"""Addresses whose events are looked through at once."""

_FAILURES: Final = tuple(name for name, kind in KINDS.items() if kind.failure)


class Failure(msgspec.Struct, frozen=True):
    """One, as those rereads read it that hold; the ids of its address and its mailing."""

    address: int
    mailing: int | None
    event: Event


def failures(
    cursor: CursorWrapper, predicate: Predicate, after: int, rereads: Collection[int]
) -> Iterator[Failure]:
    """Those that it covers, of the ``WINDOW`` addresses whose ids come after that one."""
    cursor.execute(
        "SELECT e.address_id, d.mailing_id, a.channel, a.value, e.kind, e.occurred_at, e.source,"
        " e.key, e.detail FROM ledger_event e JOIN ledger_address a ON a.id = e.address_id"
        " LEFT JOIN ledger_delivery d ON d.id = e.delivery_id"
        " WHERE e.address_id > %s AND e.address_id <= %s AND e.occurred_at BETWEEN %s AND %s"
        f" AND {bulk.among('e.kind', text=True)}",
        [after, after + WINDOW, predicate.since, predicate.until, bulk.listed(_FAILURES)],
    )
    rows = cursor.fetchall()
    read = annulments.readings(cursor, {row[0] for row in rows}, rereads)
    for id_, mailing, channel, value, kind, at, source, key, detail in rows:
        address = Address(cast(Channel, channel), value)
        said = Event(kind, at, address, source, key, detail=msgspec.json.decode(detail))
        event = as_read(said, read.get((id_, key)))
        if predicate.covers(event):
            yield Failure(id_, mailing, event)
