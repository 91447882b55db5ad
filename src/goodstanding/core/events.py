"""Events: immutable facts that were heard; everything else is derived (design, section 2)."""

from __future__ import annotations

import hashlib
from typing import Any, Final, Literal

import msgspec

from goodstanding.core import data
from goodstanding.core.addresses import Address

SECOND: Final = 1_000_000
"""Times are whole microseconds since 1970 UTC."""

AHEAD: Final = 600 * SECOND
"""How far ahead of the moment it is recorded an event's time may lie."""

SOURCES: Final = frozenset(
    {"smtp", "dsn", "arf", "link", "form", "import", "api", "operator", "clock"}
)
"""Who said it; ``webhook:<esp>`` beside these."""

About = Literal["delivery", "person", "operator", "record"]


class Kind(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one kind of event tells of, and where it is remembered."""

    about: About
    slot: str | None = None
    human: bool = False
    machine: bool = False
    counts: Literal["opens", "clicks", "machine_opens"] | None = None
    starts: bool = False
    failure: bool = False


KINDS: Final[dict[str, Kind]] = data.load("kinds.toml", dict[str, Kind])


class Event(msgspec.Struct, frozen=True, gc=False):
    """One fact.

    ``key`` is unique per address; left empty it becomes a hash of the event. ``mailing`` is a
    mailing's name, ``delivery`` a delivery's id where a signed token named it, ``recipient`` tells
    deliveries of one mailing to one address apart where a policy sends duplicates.
    """

    kind: str
    occurred_at: int
    address: Address
    source: str
    key: str = ""
    mailing: str | None = None
    delivery: int | None = None
    recipient: str = ""
    purpose: str | None = None
    topic: str | None = None
    detail: dict[str, Any] = {}


def key_of(event: Event) -> str:
    """The event's own key, or a hash of all that it says (128 bits, hexadecimal)."""
    if event.key:
        return event.key
    said = (
        event.kind,
        event.occurred_at,
        event.source,
        event.mailing,
        event.delivery,
        event.recipient,
        event.topic,
        event.detail,
    )
    return hashlib.blake2b(_encode(said), digest_size=16).hexdigest()


def not_ahead(event: Event, now: int) -> Event:
    """The event, its time no later than ``now`` where it claimed one over ten minutes ahead.

    The claim is kept in ``detail``; its key is settled first, so that hearing it again is
    recognised whenever that happens.
    """
    if event.occurred_at <= now + AHEAD:
        return event
    return msgspec.structs.replace(
        event,
        key=key_of(event),
        occurred_at=now,
        detail={**event.detail, "claimed_at": event.occurred_at},
    )


_encode = msgspec.json.Encoder(order="sorted").encode
