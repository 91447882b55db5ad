"""What a delivery remembers: for each kind of thing heard, when that first and last happened.

The memory only grows. Joining two takes the earlier firsts and the later lasts, so it depends
neither on the order in which events arrive nor on hearing one twice (design, section 3).
"""

from __future__ import annotations

import operator
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from goodstanding.core import data
from goodstanding.core.categories import CATEGORIES
from goodstanding.core.events import KINDS
from goodstanding.core.gate import ORDER

Times = tuple[int | None, ...]
"""First and last of each slot in turn, in microseconds; None: never."""


class _Slots(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    slots: tuple[str, ...]
    left: tuple[str, ...]
    human: tuple[str, ...]
    dispositions: dict[str, str]


_TABLE: Final = data.load("slots.toml", _Slots)

SLOTS: Final = _TABLE.slots
FIRST: Final[Mapping[str, int]] = {slot: 2 * place for place, slot in enumerate(SLOTS)}
"""Where in ``times`` a slot's first stands; its last stands one further."""

LEFT: Final = tuple(FIRST[slot] for slot in _TABLE.left)
HUMAN: Final = tuple(FIRST[slot] for slot in _TABLE.human)
BOUNCES: Final = tuple(FIRST[slot] for slot in _TABLE.dispositions.values())
EMPTY: Final[Times] = (None,) * (2 * len(SLOTS))

_SENT: Final = FIRST["sent"]
_DEFERRED: Final = FIRST["deferred"]
_HARD: Final = FIRST["hard_bounced"]
_SKIPPED: Final = FIRST["skipped"]
_STOPPED: Final = FIRST["stopped"]
ATTEMPTS: Final = ("sent", "deferred", "lost", "failed")
"""Slots that say that it was tried to send it."""

TRIED: Final = tuple(dict.fromkeys((*_TABLE.left, *ATTEMPTS)))
"""Slots that show that it was."""

_tried: Final = operator.itemgetter(*(FIRST[slot] for slot in TRIED))
_gone: Final = operator.itemgetter(*(FIRST[slot] for slot in (*_TABLE.left, "lost")))
_waited: Final = operator.itemgetter(*(FIRST[slot] for slot in ("planned", "queued", *ATTEMPTS)))
_attempted: Final = operator.itemgetter(*(FIRST[slot] + 1 for slot in ATTEMPTS))
_NOTED: Final = frozenset({*BOUNCES, _DEFERRED, _SKIPPED, _STOPPED})
_LONGEST_REASON: Final = 100  # characters
_SLOT_OF: Final = {name: kind.slot for name, kind in KINDS.items() if kind.slot}


class Memory(msgspec.Struct, frozen=True, gc=False):
    """A delivery's memory.

    ``hard_category`` belongs to the first hard bounce, ``deferred_category`` to the last deferral,
    ``category`` to the latest bounce or deferral, ``skip_reason`` and ``stop_reason`` to the
    first skip and stop; at the same instant the lesser name.
    """

    times: Times = EMPTY
    hard_category: str | None = None
    deferred_category: str | None = None
    category: str | None = None
    skip_reason: str | None = None
    stop_reason: str | None = None

    def first(self, slot: str) -> int | None:
        """When that was first heard to have happened, in microseconds."""
        return self.times[FIRST[slot]]

    def last(self, slot: str) -> int | None:
        """When that was last heard to have happened, in microseconds."""
        return self.times[FIRST[slot] + 1]

    @property
    def sent_at(self) -> int | None:
        """When it was sent; where nobody said so, the earliest sign of an attempt; else None."""
        at = self.times[_SENT]
        if at is not None:
            return at
        return self.tried_from

    @property
    def gone_at(self) -> int | None:
        """When it left or may have left: sent, else the earliest sign of it; else None.

        What was put off, and is tried again, has not.
        """
        at = self.times[_SENT]
        if at is not None:
            return at
        return min([at for at in _gone(self.times) if at is not None], default=None)

    @property
    def waiting_since(self) -> int | None:
        """When it was planned, queued or first tried, whichever was first; else None."""
        return min([at for at in _waited(self.times) if at is not None], default=None)

    @property
    def tried_from(self) -> int | None:
        """The earliest sign that it was sent or tried; more memory never makes it later."""
        return min([at for at in _tried(self.times) if at is not None], default=None)

    @property
    def tried_until(self) -> int | None:
        """When it was last sent or tried; more memory never makes it earlier."""
        return max([at for at in _attempted(self.times) if at is not None], default=None)


def slot_of(kind: str, detail: Mapping[str, Any]) -> str | None:
    """Which slot an event of that kind goes into; a bounce's by its disposition."""
    if kind == "bounced":
        return _TABLE.dispositions[disposition_of(detail)]
    return _SLOT_OF.get(kind)


def disposition_of(detail: Mapping[str, Any]) -> str:
    """The disposition that a failure's reading has, or that its category has: soft where none.

    Whatever was said, what is the sender's or the content's fault never hurts the address.
    """
    category = CATEGORIES.get(category_of(detail) or "")
    said = detail.get("disposition")
    if not isinstance(said, str) or said not in _TABLE.dispositions:
        return category.disposition if category else "soft"
    if category and category.fault in ("sender", "content") and said in ("hard", "soft"):
        return category.disposition
    return said


def category_of(detail: Mapping[str, Any]) -> str | None:
    """The category that a failure's reading has, None where it has none that we know."""
    said = detail.get("category")
    return said if isinstance(said, str) and said in CATEGORIES else None


def of_event(kind: str, at: int, detail: Mapping[str, Any]) -> Memory | None:
    """The memory that holds this one event alone, or None where a delivery keeps nothing of it."""
    slot = slot_of(kind, detail)
    if slot is None:
        return None
    place = FIRST[slot]
    times = list(EMPTY)
    times[place] = times[place + 1] = at
    category = category_of(detail) if place in BOUNCES or place == _DEFERRED else None
    said = detail.get("reason") if place in (_SKIPPED, _STOPPED) else None
    reason = said if isinstance(said, str) else ""
    return Memory(
        times=tuple(times),
        hard_category=category if place == _HARD else None,
        deferred_category=category if place == _DEFERRED else None,
        category=category,
        skip_reason=(reason if reason in ORDER else "") if place == _SKIPPED else None,
        stop_reason=_tame(reason) if place == _STOPPED else None,
    )


def remember(memory: Memory, kind: str, at: int, detail: Mapping[str, Any]) -> Memory:
    """The memory after hearing one event more; the same object where it tells nothing new."""
    slot = slot_of(kind, detail)
    if slot is None:
        return memory
    place = FIRST[slot]
    if place in _NOTED:
        alone = of_event(kind, at, detail)
        return join(memory, alone) if alone is not None else memory
    first, last = memory.times[place : place + 2]
    if first is not None and last is not None and first <= at <= last:
        return memory
    times = list(memory.times)
    times[place] = at if first is None or at < first else first
    times[place + 1] = at if last is None or at > last else last
    return msgspec.structs.replace(memory, times=tuple(times))


def _tame(reason: str) -> str:
    """A reason in free words as a row can hold it."""
    return reason.replace("\0", "")[:_LONGEST_REASON]


def join(one: Memory, other: Memory) -> Memory:
    """All that both remember."""
    if one == other:
        return one
    mine, yours = one.times, other.times
    joined = list(mine)
    for place in range(0, len(mine), 2):
        theirs = yours[place]
        if theirs is None:
            continue
        first, last = mine[place], mine[place + 1]
        their_last = yours[place + 1]
        joined[place] = theirs if first is None or theirs < first else first
        joined[place + 1] = (
            their_last if last is None or (their_last is not None and their_last > last) else last
        )
    return Memory(
        times=tuple(joined),
        hard_category=_of_earliest(_HARD, one, other, one.hard_category, other.hard_category),
        deferred_category=_of_latest(
            one.times[_DEFERRED + 1],
            other.times[_DEFERRED + 1],
            one.deferred_category,
            other.deferred_category,
        ),
        category=_of_latest(_troubled(one), _troubled(other), one.category, other.category),
        skip_reason=_of_earliest(_SKIPPED, one, other, one.skip_reason, other.skip_reason),
        stop_reason=_of_earliest(_STOPPED, one, other, one.stop_reason, other.stop_reason),
    )


def _troubled(memory: Memory) -> int | None:
    return max(
        (at for place in (*BOUNCES, _DEFERRED) if (at := memory.times[place + 1]) is not None),
        default=None,
    )


def _of_earliest(
    place: int, one: Memory, other: Memory, mine: str | None, yours: str | None
) -> str | None:
    """What belongs to the earlier first of that slot."""
    my_time, your_time = one.times[place], other.times[place]
    if my_time is None or your_time is None:
        return mine if your_time is None else yours
    if my_time == your_time:
        return min((name for name in (mine, yours) if name is not None), default=None)
    return mine if my_time < your_time else yours


def _of_latest(
    my_time: int | None, your_time: int | None, mine: str | None, yours: str | None
) -> str | None:
    if my_time is None or your_time is None:
        return mine if your_time is None else yours
    if my_time == your_time:
        return min((name for name in (mine, yours) if name is not None), default=None)
    return mine if my_time > your_time else yours
