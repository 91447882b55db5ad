"""Recording: the one way in. Events are stored, folded and committed in one transaction."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from goodstanding.core.events import Event


class Refused(msgspec.Struct, frozen=True):
    """An event that was not taken, and why."""

    event: Event
    why: str


class Recorded(msgspec.Struct):
    """What became of a batch: stored, heard before, or refused."""

    stored: int = 0
    repeated: int = 0
    refused: list[Refused] = []


def record(events: Iterable[Event], now: int) -> Recorded:
    """Store and fold; returns when it is on disk."""
    raise NotImplementedError
