"""Making messages ahead of their turn, while the others wait for what is not theirs to hurry."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Final

from goodstanding.mailings.handing.hander import Making, Unfit

MOST_BYTES: Final = 8_000_000
"""What messages that wait for their turn may keep, or one message more."""


class Ahead:
    """Makes one message between any two turns of the event loop, in the order of coming."""

    def __init__(self) -> None:
        self._waiting: dict[Making, None] = {}
        self._sizes: dict[Making, int] = {}
        self._bytes = 0
        self._is_coming = False

    def add(self, making: Making) -> None:
        """Make it when there is a moment."""
        self._waiting[making] = None
        self._come_again()

    def remove(self, making: Making) -> None:
        """It is no longer waiting."""
        self._waiting.pop(making, None)
        self._bytes -= self._sizes.pop(making, 0)
        self._come_again()

    def _come_again(self) -> None:
        if self._waiting and self._bytes < MOST_BYTES and not self._is_coming:
            self._is_coming = True
            asyncio.get_running_loop().call_soon(self._make_one)

    def _make_one(self) -> None:
        self._is_coming = False
        if not self._waiting:
            return
        making = next(iter(self._waiting))
        del self._waiting[making]
        # What cannot be made is said when it is its turn.
        with suppress(Unfit):
            self._sizes[making] = size = making.make()
            self._bytes += size
        self._come_again()
