"""Paces: what this worker knows of how fast each lane goes to each provider, shared with others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from django.db import connection, transaction
from django.db.backends.utils import CursorWrapper

from goodstanding.bounces.waiting import asked_to_wait
from goodstanding.gateways.base import Handover
from goodstanding.ledger import bulk
from goodstanding.mailings import models
from goodstanding.mailings.lanes import Lane
from goodstanding.mailings.outbox import OpenLot, Outcome, PaceKey
from goodstanding.mailings.pacing import Pace, State, joined

_TABLE: Final = bulk.Table(
    models.Pace,
    ("lane", "provider_id", "level", "changed_at", "slowed_at", "not_before", "why"),
)


class Paces:
    """Makes paces, lets them hear of attempts, and exchanges their states over the database."""

    def __init__(self, lanes: Mapping[str, Lane]) -> None:
        self._lanes = lanes
        self._met: dict[PaceKey, Pace] = {}
        self._known: dict[PaceKey, State] = {}
        self._workers: list[int] = []
        self._worker = 0

    def begin(self, lot: OpenLot) -> Pace:
        """The pace of the lot's lane to its provider."""
        key = lot.pace
        limits = self._lanes[lot.lane].towards(lot.provider_name)
        pace = Pace(limits, self._known.get(key, State()))
        self._met[key] = pace
        self._share(key, pace)
        return pace

    def heard(self, pace: Pace, handover: Handover, outcome: Outcome, now: int) -> None:
        """Let a pace learn from an attempt."""
        detail = outcome.events[-1].detail if outcome.events else {}
        text = handover.text or handover.error or ""
        pace.heard(
            handover.outcome,
            now=now,
            code=handover.code,
            category=detail.get("category"),
            text=text,
            wait=asked_to_wait(text) if handover.outcome in ("deferred", "refused") else None,
        )

    def learnt(self) -> dict[PaceKey, State]:
        """What the others may not know yet."""
        return {
            key: pace.state
            for key, pace in self._met.items()
            if pace.state != self._known.get(key, State())
        }

    def adopt(self, known: Mapping[PaceKey, State], workers: list[int], worker: int) -> None:
        """Learn from the others, and divide the limits among those that work now."""
        self._known, self._workers, self._worker = dict(known), workers, worker
        for key, pace in self._met.items():
            pace.merge(self._known.get(key, State()))
            self._share(key, pace)

    def _share(self, key: PaceKey, pace: Pace) -> None:
        if self._worker in self._workers:
            # Where there are too few connections it is not always the same who have none.
            place = (self._workers.index(self._worker) + key[1]) % len(self._workers)
            pace.share(place, len(self._workers))


def exchange(learnt: Mapping[PaceKey, State]) -> tuple[dict[PaceKey, State], list[int]]:
    """Tell the other workers what was learnt; what all know by now, and who works."""
    with transaction.atomic(), connection.cursor() as cursor:
        write(cursor, learnt)
        cursor.execute("SELECT id FROM mailings_worker ORDER BY id")
        return read(cursor), [row[0] for row in cursor.fetchall()]


def read(cursor: CursorWrapper) -> dict[PaceKey, State]:
    """How fast each lane goes to each provider; who is not there goes at full speed."""
    cursor.execute(
        "SELECT lane, provider_id, level, changed_at, slowed_at, not_before, why FROM mailings_pace"
    )
    return {(row[0], row[1]): State(*row[2:]) for row in cursor.fetchall()}


def write(cursor: CursorWrapper, states: Mapping[PaceKey, State]) -> None:
    """Keep states, each joined with what another worker wrote meanwhile."""
    if not states:
        return
    if connection.vendor == "postgresql":
        # Reading and writing again must not be interleaved with another worker's.
        cursor.execute("LOCK TABLE mailings_pace IN SHARE ROW EXCLUSIVE MODE")
    known = read(cursor)
    rows = []
    for key, state in sorted(states.items()):
        both = joined(state, known.get(key, State()))
        rows.append((*key, both.level, both.changed_at, both.slowed_at, both.not_before, both.why))
    _TABLE.insert(
        cursor,
        rows,
        on_conflict="ON CONFLICT (lane, provider_id) DO UPDATE SET level = excluded.level,"
        " changed_at = excluded.changed_at, slowed_at = excluded.slowed_at,"
        " not_before = excluded.not_before, why = excluded.why",
    )
