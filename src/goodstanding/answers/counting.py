"""What is counted of messages beside their responses, as the policy counts it.

What people and what machines opened is kept apart; only what is shown puts it together. So another
policy changes no count that is stored.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from goodstanding.core.policies import Policy

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
