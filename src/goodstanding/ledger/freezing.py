"""What messages remembered when their statistics froze: read from the events, where it matters.

A delivery's memory keeps the first and the last of each thing. What comes after the time that the
policy's ``statistics_days`` allow may take the place of a last that counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import msgspec
from django.db.backends.utils import CursorWrapper

from goodstanding.core import memory
from goodstanding.core.addresses import Address, Channel
from goodstanding.core.annulments import is_annulled
from goodstanding.core.events import Event
from goodstanding.core.memory import Memory
from goodstanding.ledger import annulments, bulk


def by_then(
    cursor: CursorWrapper, frozen: Mapping[int, int], addresses: set[int]
) -> dict[int, tuple[Memory, bool]]:
    """What those deliveries, to those addresses, remembered by then, and their lanes' habits.

    ``frozen``: by delivery the last moment that counts (microseconds).
    """
    remembered = dict.fromkeys(frozen, (Memory(), True))
    if not frozen:
        return remembered
    holding = annulments.holding(cursor)
    anew = annulments.readings(cursor, addresses, holding.rereads)
    cursor.execute(
        "SELECT e.address_id, e.key, e.delivery_id, a.channel, a.value, e.kind, e.occurred_at,"
        " e.source, e.detail"
        " FROM ledger_event e JOIN ledger_address a ON a.id = e.address_id"
        f" WHERE {bulk.among('e.address_id')} AND {bulk.among('e.delivery_id')}",
        [bulk.listed(addresses), bulk.listed(frozen)],
    )
    for id_, key, delivery, channel, value, kind, at, source, text in cursor.fetchall():
        if at > frozen[delivery]:
            continue
        address = Address(cast(Channel, channel), value)
        said = Event(kind, at, address, source, detail=msgspec.json.decode(text))
        event = annulments.as_read(said, anew.get((id_, key)))
        if not is_annulled(event, holding.predicates):
            before, reports = remembered[delivery]
            after = memory.remember(before, kind, at, event.detail)
            remembered[delivery] = (after, reports and event.detail.get("reports") is not False)
    return remembered
