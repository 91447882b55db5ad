"""Counting different ids, however many come."""

from __future__ import annotations


class Seen:
    """How many different ids were seen: a bit for each id there is."""

    def __init__(self) -> None:
        self.count = 0
        self._bits = bytearray()

    def add(self, id_: int) -> None:
        """Count it, unless it was seen before."""
        place, bit = id_ >> 3, 1 << (id_ & 7)
        if place >= len(self._bits):
            self._bits.extend(bytes(place + 1 - len(self._bits)))
        if not self._bits[place] & bit:
            self._bits[place] |= bit
            self.count += 1
