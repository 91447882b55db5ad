"""Recording: the one way in. Events are stored, folded and committed in one transaction."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec
from django.db import connection, transaction
from django.db.backends.utils import CursorWrapper

from goodstanding.core import memory, registers
from goodstanding.core.addresses import Address
from goodstanding.core.events import KINDS, Event, key_of, not_ahead
from goodstanding.core.gate import PURPOSES
from goodstanding.ledger import accounts, bulk, models
from goodstanding.ledger.accounts import Account, Mailing, Row
from goodstanding.ledger.policy import active_policy

READING: Final = frozenset({"category", "disposition", "rule", "rules", "words", "provider"})
"""What a reading adds to what was said: another reading of the same words is no contradiction."""

EVENTS: Final = bulk.Table(
    models.Event,
    (
        "address_id",
        "key",
        "kind",
        "occurred_at",
        "recorded_at",
        "source",
        "delivery_id",
        "topic",
        "detail",
    ),
)
_NEW_ADDRESSES: Final = bulk.Table(models.Address, ("channel", "value", "domain"))
_REFUSED: Final = bulk.Table(
    models.RefusedEvent, ("recorded_at", "address_id", "key", "kind", "why", "detail")
)
_encode = msgspec.json.Encoder(order="sorted").encode
_decode = msgspec.json.decode


class Refused(msgspec.Struct, frozen=True):
    """An event that was not taken, and why."""

    event: Event
    why: str


class Recorded(msgspec.Struct):
    """What became of a batch: stored, heard before, or refused."""

    stored: int = 0
    repeated: int = 0
    refused: list[Refused] = []


class _Heard(msgspec.Struct, frozen=True):
    """An event with its key and the text of its detail."""

    event: Event
    key: str
    detail: str


def record(events: Iterable[Event], now: int) -> Recorded:
    """Store and fold a batch of events; returns when it is on disk.

    Give a few thousand at a time: they are one transaction. ``now`` in microseconds.
    """
    recorded = Recorded()
    heard: list[_Heard] = []
    for event in events:
        why = _unfit(event)
        if why is None:
            timely = not_ahead(event, now)
            heard.append(_Heard(timely, key_of(timely), _encode(timely.detail).decode()))
        else:
            recorded.refused.append(Refused(event, why))
    if heard:
        with transaction.atomic(), connection.cursor() as cursor:
            _record(cursor, heard, now, recorded)
    return recorded


def _unfit(event: Event) -> str | None:
    if event.kind not in KINDS:
        return f"{event.kind[:40]!r} is not a kind of event"
    if event.purpose is not None and event.purpose not in PURPOSES:
        return f"{event.purpose[:40]!r} is not a purpose"
    for name, text, most in (
        ("key", event.key, 200),
        ("mailing", event.mailing or "", 200),
        ("recipient", event.recipient, 200),
        ("topic", event.topic or "", 100),
        ("address", event.address.value, 320),
        ("source", event.source, 40),
    ):
        if len(text) > most or "\0" in text:
            return f"{name} is longer than {most} characters or holds a NUL"
    if not 0 <= event.occurred_at < 1 << 62:
        return "occurred_at is out of range"
    return None


def _record(cursor: CursorWrapper, heard: list[_Heard], now: int, recorded: Recorded) -> None:
    mailings = _mailings(cursor, heard, now)
    ids = _addresses(cursor, {each.event.address for each in heard})
    loaded = accounts.load(cursor, ids.values())
    fresh = _unheard(cursor, heard, ids, now, recorded)
    placed = [_place(loaded[ids[each.event.address]], each, mailings, recorded) for each in fresh]
    new = list({id(row): row for row in placed if row is not None and row.id == 0}.values())
    for made, id_ in zip(new, bulk.new_ids(cursor, "ledger_delivery", len(new)), strict=True):
        made.id = id_
    stored = []
    for each, row in zip(fresh, placed, strict=True):
        if row is _NOWHERE:
            continue
        event = each.event
        account = loaded[ids[event.address]]
        hear(account, row, event, each.key)
        stored.append(
            (
                account.id,
                each.key,
                event.kind,
                event.occurred_at,
                now,
                event.source,
                row.id if row is not None else None,
                event.topic,
                _with_mailing(each, row),
            )
        )
    EVENTS.insert(cursor, stored)
    recorded.stored += len(stored)
    accounts.settle(cursor, loaded.values(), active_policy(), now)


def hear(account: Account, row: Row | None, event: Event, key: str) -> None:
    """Fold one event that was not heard before into its address and delivery."""
    mailing = event.mailing or (row.mailing.name if row is not None and row.mailing else "")
    account.registers = registers.hear(
        account.registers,
        event.kind,
        event.occurred_at,
        key,
        event.detail,
        topic=event.topic,
        mailing=mailing,
    )
    if row is None:
        return
    alone = memory.of_event(event.kind, event.occurred_at, event.detail)
    if alone is not None:
        row.memory = memory.join(row.memory, alone)
    if event.detail.get("reports") is False:
        row.reports = False
    counts = KINDS[event.kind].counts
    if counts == "opens":
        row.opens += 1
    elif counts == "clicks":
        row.clicks += 1


class _Facts(msgspec.Struct):
    """What a batch says of a mailing; the same whatever the order it says it in."""

    channel: str
    purpose: str = ""
    topic: str | None = None


PURPOSE_RANK: Final = {purpose: place for place, purpose in enumerate(("", *PURPOSES))}
"""Of two purposes said of one mailing the later in the list stands."""


def _note_mailing(cursor: CursorWrapper, name: str, facts: _Facts, now: int) -> None:
    """Make the mailing where it is new; let its purpose and topic be what was said in all."""
    cursor.execute(
        "INSERT INTO ledger_mailing (name, channel, purpose, topic) VALUES (%s, %s, %s, %s)"
        " ON CONFLICT (name) DO NOTHING",
        [name, facts.channel, facts.purpose or "broadcast", facts.topic],
    )
    if facts.topic is not None:
        cursor.execute(
            "UPDATE ledger_mailing SET topic = %s WHERE name = %s"
            " AND (topic IS NULL OR topic < %s)",
            [facts.topic, name, facts.topic],
        )
    if facts.purpose in ("", "broadcast"):
        return
    lower = [purpose for purpose in PURPOSES if PURPOSE_RANK[purpose] < PURPOSE_RANK[facts.purpose]]
    cursor.execute(
        "UPDATE ledger_mailing SET purpose = %s WHERE name = %s AND "
        + bulk.among("purpose", text=True),
        [facts.purpose, name, bulk.listed(lower)],
    )
    if cursor.rowcount:
        # What was folded while it counted as another purpose is folded again, by the clock.
        cursor.execute(
            "UPDATE ledger_address SET due_at = %s WHERE id IN (SELECT address_id FROM"
            " ledger_delivery d JOIN ledger_mailing m ON m.id = d.mailing_id WHERE m.name = %s)",
            [now, name],
        )


def _mailings(cursor: CursorWrapper, heard: Sequence[_Heard], now: int) -> dict[str, Mailing]:
    """The mailings that the events name, made where they are new."""
    said: dict[str, _Facts] = {}
    for each in heard:
        event = each.event
        if event.mailing is None:
            continue
        facts = said.setdefault(event.mailing, _Facts(event.address.channel))
        facts.purpose = max(facts.purpose, event.purpose or "", key=PURPOSE_RANK.__getitem__)
        if KINDS[event.kind].about == "delivery":
            facts.topic = max(facts.topic or "", event.topic or "") or None
    if not said:
        return {}
    for name, facts in sorted(said.items()):
        _note_mailing(cursor, name, facts, now)
    cursor.execute(
        f"SELECT id, name, purpose FROM ledger_mailing WHERE {bulk.among('name', text=True)}",
        [bulk.listed(said)],
    )
    return {row[1]: Mailing(*row) for row in cursor.fetchall()}


def _addresses(cursor: CursorWrapper, wanted: set[Address]) -> dict[Address, int]:
    """The ids of the addresses, made where they are new."""
    ids = _find(cursor, wanted)
    missing = sorted(wanted - ids.keys(), key=lambda address: (address.channel, address.value))
    if missing:
        _NEW_ADDRESSES.insert(
            cursor,
            [
                (
                    a.channel,
                    a.value,
                    a.value.rpartition("@")[2][:255] if a.channel == "email" else "",
                )
                for a in missing
            ],
            on_conflict="ON CONFLICT (channel, value) DO NOTHING",
        )
        ids.update(_find(cursor, set(missing)))
    return ids


def _find(cursor: CursorWrapper, wanted: set[Address]) -> dict[Address, int]:
    found: dict[Address, int] = {}
    for channel in {address.channel for address in wanted}:
        values = [address.value for address in wanted if address.channel == channel]
        cursor.execute(
            "SELECT value, id FROM ledger_address WHERE channel = %s AND "
            + bulk.among("value", text=True),
            [channel, bulk.listed(values)],
        )
        found.update((Address(channel, row[0]), row[1]) for row in cursor.fetchall())
    return found


def _unheard(
    cursor: CursorWrapper,
    heard: list[_Heard],
    ids: dict[Address, int],
    now: int,
    recorded: Recorded,
) -> list[_Heard]:
    """The events that are new; the others are counted, contradictions refused and kept."""
    places = [(ids[each.event.address], each.key) for each in heard]
    cursor.execute(
        "SELECT t.address_id, t.key, t.kind, t.occurred_at, t.source, t.topic, t.detail FROM "
        + bulk.pairs("address_id", "key", "ledger_event"),
        bulk.paired(places),
    )
    known = {
        (row[0], row[1]): _content(row[2], row[3], row[4], row[5], row[6])
        for row in cursor.fetchall()
    }
    fresh: list[_Heard] = []
    refused = []
    for each, place in zip(heard, places, strict=True):
        event = each.event
        content = _content(event.kind, event.occurred_at, event.source, event.topic, each.detail)
        before = known.get(place)
        if before is None:
            known[place] = content
            fresh.append(each)
        elif before == content:
            recorded.repeated += 1
        else:
            why = "the same key was heard before with other content"
            recorded.refused.append(Refused(event, why))
            refused.append((now, place[0], each.key, event.kind, why, each.detail))
    _REFUSED.insert(cursor, refused)
    return fresh


def _content(kind: str, at: int, source: str, topic: str | None, detail: str) -> tuple[Any, ...]:
    """What must be equal in two events with one key."""
    said = {name: value for name, value in _decode(detail).items() if name not in READING}
    said.pop("mailing", None)
    return (kind, said.pop("claimed_at", at), source, topic, said)


_NOWHERE: Final = Row(-1, None, "")
"""Stands for a delivery that does not exist."""


def _place(
    account: Account,
    each: _Heard,
    mailings: dict[str, Mailing],
    recorded: Recorded,
) -> Row | None:
    """The delivery that an event is about, made where it is new (with id 0)."""
    event = each.event
    if event.delivery is not None:
        for row in account.rows.values():
            if row.id == event.delivery:
                return row
        recorded.refused.append(Refused(event, "that delivery is not one to this address"))
        return _NOWHERE
    if memory.slot_of(event.kind, event.detail) is None:
        return None
    if event.mailing is None:
        if KINDS[event.kind].about != "delivery":
            return None
        place: tuple[int | None, str] = (None, each.key)
        mailing = None
    else:
        mailing = mailings[event.mailing]
        place = (mailing.id, event.recipient)
    if place not in account.rows:
        account.rows[place] = Row(0, mailing, place[1])
    return account.rows[place]


def _with_mailing(each: _Heard, row: Row | None) -> str:
    """The detail as stored: the mailing's name goes in where no delivery holds it."""
    if row is not None or each.event.mailing is None:
        return each.detail
    return _encode({**each.event.detail, "mailing": each.event.mailing}).decode()
