"""The sentences that answers are made of: words.toml."""

from __future__ import annotations

import functools
from importlib import resources
from typing import Final

import msgspec

_UNITS: Final = (
    ("day", 86_400_000_000),
    ("hour", 3_600_000_000),
    ("minute", 60_000_000),
    ("second", 1_000_000),
)


class Words(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Templates by what they are of."""

    grounds: dict[str, str]
    policy: dict[str, str]
    notes: dict[str, str]
    faults: dict[str, str]


@functools.cache
def words() -> Words:
    """Give the sentences. Read once; not to be changed."""
    text = resources.files("goodstanding.answers").joinpath("words.toml").read_bytes()
    return msgspec.toml.decode(text, type=Words)


def span(length: int) -> str:
    """A length of time (microseconds) in the largest unit that fits: ``14 days``."""
    for name, unit in _UNITS:
        if length >= unit and length % unit == 0:
            count = length // unit
            return f"{count} {name}{'' if count == 1 else 's'}"
    return f"{length / 1_000_000:g} seconds"


def listed(names: list[str]) -> str:
    """``a, b and c``."""
    return " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))
