"""The gate: may this purpose and topic be sent to this address? (design, section 5)."""

from __future__ import annotations

from typing import Final

import msgspec

from goodstanding.core import data


class _Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    reasons: tuple[str, ...]
    purposes: tuple[str, ...]
    only_by: dict[str, str]


_TABLE: Final = data.load("reasons.toml", _Table)

REASONS: Final = _TABLE.reasons
"""Why a send is refused, in the gate's order."""

PURPOSES: Final = _TABLE.purposes

ONLY_BY: Final = _TABLE.only_by
"""Purposes that go by one channel only, and that channel."""

PURPOSE_ORDER: Final = {purpose: place for place, purpose in enumerate(("", *PURPOSES))}
"""Of two purposes said of one mailing the later stands; none said: an empty text, the first."""

ORDER: Final = {reason: place for place, reason in enumerate(REASONS)}

Blocks = dict[str, str | None]
"""For each purpose the reason that refuses it, None where it may go."""


def first(*reasons: str | None) -> str | None:
    """Of the reasons that hold the first in the gate's order, None where none does."""
    return min((reason for reason in reasons if reason), key=ORDER.__getitem__, default=None)
