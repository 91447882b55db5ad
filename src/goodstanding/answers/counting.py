"""What is counted of messages beside their responses, as the policy counts it.

What people and what machines opened is kept apart, and all of it; only what is shown puts it
together, and leaves out what came after the statistics froze. So another policy changes no count
that is stored.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from typing import Final

from django.db import connection

from goodstanding.core.events import KINDS
from goodstanding.core.policies import Policy
from goodstanding.core.responses import DAY
from goodstanding.ledger import bulk

COUNTS: Final = ("opens", "clicks", "unsubscribes", "complaints")
"""What is shown of a mailing."""

TALLIED: Final = frozenset({*COUNTS, "machine_opens"})
"""What tallies hold beside responses."""


def shown(tallied: Mapping[str, int], policy: Policy) -> dict[str, int]:
    """The counts by which a policy goes: with machines' opens where they are opens to it."""
    counts = {name: tallied.get(name, 0) for name in COUNTS}
    if policy.machine_opens.as_opens:
        counts["opens"] += tallied.get("machine_opens", 0)
    return counts


def late(mailings: Collection[int], policy: Policy) -> dict[int, Counter[str]]:
    """What tallies hold of mailings that came after their statistics froze, by mailing.

    Where the policy's statistics freeze at all, it looks through all deliveries of those mailings.
    """
    found: dict[int, Counter[str]] = {mailing: Counter() for mailing in mailings}
    if policy.statistics_days is None:
        return found
    wanted = bulk.listed(mailings)
    frozen = f"d.sent_first + {policy.statistics_days * DAY}"
    again = " OR ".join(f"d.{slot}_last > {frozen}" for slot in _COUNTED)
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT d.mailing_id, e.kind, count(*) FROM ledger_delivery d JOIN ledger_event e"
            " ON e.address_id = d.address_id AND e.delivery_id = d.id"
            f" WHERE {bulk.among('d.mailing_id')} AND ({again}) AND e.occurred_at > {frozen}"
            f" AND {bulk.among('e.kind', text=True)} GROUP BY d.mailing_id, e.kind",
            [wanted, bulk.listed(_COUNTED)],
        )
        for mailing, kind, count in cursor.fetchall():
            found[mailing][_COUNTED[kind]] += count
        cursor.execute(
            "SELECT d.mailing_id,"
            f" count(CASE WHEN d.unsubscribed_first > {frozen} THEN 1 END),"
            f" count(CASE WHEN d.complained_first > {frozen} THEN 1 END)"
            f" FROM ledger_delivery d WHERE {bulk.among('d.mailing_id')} GROUP BY d.mailing_id",
            [wanted],
        )
        for mailing, unsubscribes, complaints in cursor.fetchall():
            found[mailing].update(unsubscribes=unsubscribes, complaints=complaints)
    return found


_COUNTED: Final = {
    kind.slot: kind.counts for kind in KINDS.values() if kind.counts is not None and kind.slot
}
"""What is counted of each slot; its kind of event has the same name."""
