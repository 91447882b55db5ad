"""Chance that repeats: every draw is a hash of the seed and of what is being drawn for.

So a run with the same seed does the same to the same mailbox, in whatever order mails come.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Sequence

T = TypeVar("T")


def digest(seed: int, *about: str) -> int:
    """Return 64 bits that depend on nothing but the arguments."""
    text = "\x1f".join((str(seed), *about)).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big")


def draw(seed: int, *about: str) -> float:
    """Return a number in [0, 1)."""
    return (digest(seed, *about) >> 11) / (1 << 53)


def pick(choices: Sequence[T], seed: int, *about: str) -> T:
    """Return one of ``choices``, all equally likely."""
    return choices[digest(seed, *about) % len(choices)]


def between(bounds: tuple[float, float], seed: int, *about: str) -> float:
    """Return a number between the two bounds."""
    low, high = bounds
    return low + (high - low) * draw(seed, *about)
