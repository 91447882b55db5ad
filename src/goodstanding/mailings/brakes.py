"""Brakes: holds what a mailing still has for a provider that answers it with a wave of failures.

What is refused in the session is counted here as it is heard. What bounces later, and what other
workers hear, is read from the ledger.
"""

from __future__ import annotations

from typing import Final

from django.db import connection, transaction
from django.db.backends.utils import CursorWrapper

from goodstanding.ledger import bulk
from goodstanding.mailings import braking
from goodstanding.mailings.braking import Brake, Counts, Watched
from goodstanding.mailings.models import Course
from goodstanding.mailings.outbox import OpenLot, Outcome

LOOK_BACK: Final = 5_000_000
"""Microseconds between two looks at what a mailing's bounces are by now."""

MOST_WATCHED: Final = 2_000
"""Lots watched at once; those that were quiet longest are forgotten first."""


class Brakes:
    """What this worker heard of each lot, and which lots must be held for it."""

    def __init__(self, brake: Brake) -> None:
        self._brake = brake
        self._watched: dict[tuple[int, int | None], Watched] = {}
        self._found: dict[int, str] = {}
        self._looked_at = 0
        self._bounced: dict[int, int] = {}
        self._before: dict[tuple[int, int], Counts] = {}

    def heard(self, lot: OpenLot, outcome: Outcome) -> bool:
        """Take note of what became of an attempt; whether the lot must be held now."""
        last = outcome.events[-1] if outcome.events else None
        if last is None or last.kind not in ("sent", "delivered", "bounced"):
            return False
        kind = braking.kind(
            "refused" if last.kind == "bounced" else "accepted", last.detail.get("disposition")
        )
        # An operator's release begins a new count.
        key = (lot.id, lot.released_at)
        watched = self._watched.pop(key, None) or Watched(lot.provider_name, self._brake)
        self._watched[key] = watched
        if len(self._watched) > MOST_WATCHED:
            del self._watched[next(iter(self._watched))]
        why = watched.heard(kind, last.detail.get("text", "")) if kind is not None else None
        if why is not None:
            self._found[lot.id] = why
        return why is not None

    def found(self, now: int) -> dict[int, str]:
        """The lots to hold now, each with why; from here on they are the caller's to hold."""
        found, self._found = self._found, {}
        if self._brake.brakes and now >= self._looked_at + LOOK_BACK:
            self._looked_at = now
            for lot, why in self._in_the_ledger().items():
                found.setdefault(lot, why)
        return found

    def _in_the_ledger(self) -> dict[int, str]:
        with connection.cursor() as cursor:
            return {
                lot: why
                for mailing in self._worse(cursor)
                for lot, why in self._look_at(cursor, mailing).items()
            }

    def _worse(self, cursor: CursorWrapper) -> list[int]:
        """The mailings on their way that have bounced more since the last look."""
        cursor.execute(
            "SELECT t.mailing_id, sum(t.count) FROM mailings_content c JOIN ledger_mailingtally t"
            " ON t.mailing_id = c.mailing_id AND t.name IN ('hard_bounced', 'block_bounced')"
            f" WHERE c.course = '{Course.RUNNING.value}' AND EXISTS (SELECT 1 FROM mailings_lot l"
            " WHERE l.mailing_id = c.mailing_id AND l.is_open) GROUP BY t.mailing_id"
            " HAVING sum(t.count) >= %s",
            [min(self._brake.lot_at_least, self._brake.blocks, self._brake.hard)],
        )
        bounced = {row[0]: int(row[1]) for row in cursor.fetchall()}
        worse = [mailing for mailing in bounced if bounced[mailing] > self._bounced.get(mailing, 0)]
        self._bounced = bounced
        return worse

    def _look_at(self, cursor: CursorWrapper, mailing: int) -> dict[int, str]:
        cursor.execute(
            "SELECT l.provider_id, p.name, l.id, l.planned, l.released_handed,"
            " coalesce(l.released_at, 0), (SELECT count(*) FROM mailings_outbox o"
            " WHERE o.mailing_id = l.mailing_id AND o.lot_id = l.id) FROM mailings_lot l"
            " JOIN mailings_provider p ON p.id = l.provider_id"
            " WHERE l.mailing_id = %s AND l.held_at IS NULL",
            [mailing],
        )
        found = {}
        failures: dict[tuple[int, int], tuple[int, int, str]] = {}
        for provider, name, lot, planned, handed, released_at, left in cursor.fetchall():
            if not left:
                continue
            if (provider, released_at) not in failures:
                failures[provider, released_at] = _failures(cursor, mailing, provider, released_at)
            hard, blocks, category = failures[provider, released_at]
            whole = Counts(max(planned - left - handed, hard + blocks), hard, blocks)
            before = self._before.get((lot, released_at), Counts())
            self._before[lot, released_at] = whole
            why = braking.recent_verdict(
                name, whole - before, self._brake, category
            ) or braking.lot_verdict(name, whole, self._brake, category)
            if why is not None:
                found[lot] = why
        return found


def _failures(
    cursor: CursorWrapper, mailing: int, provider: int, since: int
) -> tuple[int, int, str]:
    """A mailing's hard bounces and blocks at a provider, and what most of them were."""
    cursor.execute(
        "SELECT d.response, coalesce(d.hard_category, d.category), count(*) FROM ledger_delivery d"
        " JOIN ledger_address a ON a.id = d.address_id"
        " JOIN mailings_domain m ON m.domain = a.domain AND m.provider_id = %s"
        " WHERE d.mailing_id = %s AND d.response IN ('hard_bounced', 'block_bounced')"
        " AND d.since >= %s GROUP BY 1, 2 ORDER BY 3 DESC",
        [provider, mailing, since],
    )
    rows = cursor.fetchall()
    hard, blocks = (
        sum(count for response, _, count in rows if response == which)
        for which in ("hard_bounced", "block_bounced")
    )
    return hard, blocks, str(rows[0][1] or "").replace("_", " ") if rows else ""


def hold(lots: dict[int, str], now: int) -> None:
    """Hold lots, until an operator lets them go."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.executemany(
            "UPDATE mailings_lot SET held_at = %s, held_why = %s WHERE id = %s AND held_at IS NULL",
            [(now, why[:500], lot) for lot, why in sorted(lots.items())],
        )


def release(mailing: int, provider: str | None, who: str, why: str, now: int) -> list[str]:
    """Let go what the brake holds of a mailing, at one provider or all; the providers' names.

    From here on what comes back is counted anew.
    """
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            "SELECT l.id, p.name FROM mailings_lot l JOIN mailings_provider p"
            " ON p.id = l.provider_id WHERE l.mailing_id = %s AND l.held_at IS NOT NULL"
            f"{'' if provider is None else ' AND p.name = %s'} ORDER BY l.id",
            [mailing, *([] if provider is None else [provider])],
        )
        held = dict(cursor.fetchall())
        cursor.execute(
            "UPDATE mailings_lot SET held_at = NULL, held_why = NULL, released_at = %s,"
            " released_by = %s, released_why = %s,"
            " released_handed = planned - (SELECT count(*) FROM mailings_outbox o"
            " WHERE o.mailing_id = mailings_lot.mailing_id AND o.lot_id = mailings_lot.id)"
            f" WHERE {bulk.among('id')}",
            [now, who[:200], why[:500], bulk.listed(held)],
        )
    return sorted(set(held.values()))
