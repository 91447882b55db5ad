"""Tokens that come in at a door: every door believes ours, and nothing else."""

from __future__ import annotations

from goodstanding.core.tokens import BadToken
from goodstanding.ledger.signing import signer


def named(purpose: str, token: str, numbers: int = 1) -> tuple[int, ...] | None:
    """The numbers in a token of ours for that purpose, None where it is not one."""
    try:
        found = signer().verify(purpose, token)
    except BadToken:
        return None
    return found if len(found) == numbers else None


def preferences(delivery: int) -> str:
    """The token of a delivery's preferences page."""
    return signer().sign("preferences", delivery)
