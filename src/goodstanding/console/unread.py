"""What was heard and could not be used: not understood, refused, or still waiting to be read.

Nothing here names anybody: the mails themselves stay where they are kept.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
from django.db.models import QuerySet

from goodstanding.core.events import KINDS
from goodstanding.intake.models import NOT_UNDERSTOOD, Kept, Spooled
from goodstanding.ledger.models import RefusedEvent

LATEST: Final = 5
MOST: Final = 10_000
"""Counting stops here: more than this is shown as "more than"."""


class Count(msgspec.Struct, frozen=True):
    """How many there are; ``more`` where counting stopped at ``MOST``."""

    count: int
    more: bool


class Puzzle(msgspec.Struct, frozen=True):
    """Something that could not be understood, or an event that was refused, and why."""

    at: int
    what: str
    why: str


class Unread(msgspec.Struct, frozen=True):
    """All of it, with the latest few of each. Times in microseconds."""

    not_understood: Count
    latest: tuple[Puzzle, ...]
    refused: Count
    latest_refused: tuple[Puzzle, ...]
    waiting: Count


def now_unread() -> Unread:
    """What there is at present."""
    puzzles = Kept.objects.filter(outcome=NOT_UNDERSTOOD)
    return Unread(
        not_understood=_count(puzzles),
        latest=tuple(
            Puzzle(*row)
            for row in puzzles.order_by("-received_at").values_list("received_at", "kind", "note")[
                :LATEST
            ]
        ),
        refused=_count(RefusedEvent.objects.all()),
        latest_refused=tuple(
            Puzzle(at, kind if kind in KINDS else "?", why)
            for at, kind, why in RefusedEvent.objects.order_by("-pk").values_list(
                "recorded_at", "kind", "why"
            )[:LATEST]
        ),
        waiting=_count(Spooled.objects.all()),
    )


def _count(rows: QuerySet[Any]) -> Count:
    """Count up to ``MOST``: a flood must not slow down the page that shows it."""
    counted = rows.order_by()[: MOST + 1].count()
    return Count(min(counted, MOST), counted > MOST)
