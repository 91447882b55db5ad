"""The gate in SQL: what refuses a purpose, read off the columns that the fold keeps.

It says the same as ``core.standings.stand`` of every address that is folded: see ``stale``.
Until a new policy has folded an address, the stricter of the two stands: what the old one refused
is refused, and what that allowed is folded first.
"""

from __future__ import annotations

from goodstanding.core.gate import PURPOSES


def refusal(purpose: str, address: str = "a", topic: str = "t") -> str:
    """SQL for the place of the reason in ``core.gate.REASONS``, NULL where it may go.

    ``address`` and ``topic`` are the aliases of ``ledger_address`` and of what ``on_topic`` joins.

    Raises:
        ValueError: that is not a purpose.
    """
    if purpose not in PURPOSES:
        raise ValueError(f"{purpose!r} is not a purpose: {', '.join(PURPOSES)}")
    column = f"blocks_{purpose}"
    return f"CASE WHEN {topic}.address_id IS NULL THEN {address}.{column} ELSE {topic}.{column} END"


def on_topic(address: str = "a", topic: str = "t") -> str:
    """SQL that joins the word on a topic; takes the topic (or NULL) as a parameter."""
    return (
        f"LEFT JOIN ledger_topicstanding {topic}"
        f" ON {topic}.address_id = {address}.id AND {topic}.topic = %s"
    )


def stale(address: str = "a") -> str:
    """SQL that is true where time or a new policy has not been folded in yet.

    Takes the present time and the policy's revision as parameters.
    """
    return f"({address}.due_at <= %s OR {address}.policy <> %s)"


def unsettled(refusal: str, address: str = "a") -> str:
    """SQL that is true of who is to be folded before the gate can answer: stale, and not refused.

    ``refusal``: what refuses it as it is stored. Where another policy folded it, that stands until
    it is folded anew. Takes the policy's revision and the present time as parameters.
    """
    return f"CASE WHEN {address}.policy = %s THEN {address}.due_at <= %s ELSE {refusal} IS NULL END"
