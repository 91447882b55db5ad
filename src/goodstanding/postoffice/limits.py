"""Limits of a provider towards those who send to it, and the meter that keeps them."""

from __future__ import annotations

import time
from collections import deque
from typing import Annotated, Any, Final

import msgspec

PRESENT: Final = 10  # seconds over which the rate in the status is counted

_Count = Annotated[int, msgspec.Meta(ge=0)]


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How much a provider takes; None: as much as comes.

    ``connections`` at once; ``rate``, mails accepted in any ``per`` seconds;
    ``mails_per_connection``, after which it hangs up.
    """

    connections: _Count | None = None
    rate: _Count | None = None
    per: Annotated[float, msgspec.Meta(gt=0)] = 60.0
    mails_per_connection: _Count | None = None


class Meter:
    """Counts what one provider is sent, and says whether its limits let in one more.

    The doors' thread alone changes it, but for ``limits``; others may read it.
    """

    def __init__(self) -> None:
        self.limits = Limits()
        self.open = 0
        self.most_open = 0
        self.turned_away = 0
        self.did: dict[str, int] = {"accepted": 0, "deferred": 0, "refused": 0}
        self._underway = 0
        self._taken: deque[float] = deque()
        self._seconds = [(0, 0)] * (PRESENT + 1)

    def enter(self) -> bool:
        """Count one more connection; say whether it is let in."""
        most = self.limits.connections
        if most is not None and self.open >= most:
            self.turned_away += 1
            return False
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        return True

    def leave(self) -> None:
        """Forget a connection that was let in."""
        self.open -= 1

    def begin(self) -> float:
        """Let in one mail, of which it is not yet known whether it will be accepted.

        Returns:
            0.0, or the seconds until there is room for it; then it was not let in.
        """
        limits = self.limits
        if limits.rate is not None:
            now = time.monotonic()
            while self._taken and self._taken[0] <= now - limits.per:
                self._taken.popleft()
            surplus = len(self._taken) + self._underway - limits.rate
            if surplus >= 0:
                # As many as are too many have to grow old first.
                known = surplus < len(self._taken)
                return max(self._taken[surplus] + limits.per - now, 0.001) if known else limits.per
        self._underway += 1
        return 0.0

    def end(self, *, accepted: bool) -> None:
        """Say what became of a mail that was let in."""
        self._underway -= 1
        if accepted and self.limits.rate is not None:
            self._taken.append(time.monotonic())

    def count(self, did: str) -> None:
        """Count an answer."""
        if did not in self.did:
            return
        self.did[did] += 1
        if did == "accepted":
            second = int(time.monotonic())
            begun, times = self._seconds[second % len(self._seconds)]
            times = times + 1 if begun == second else 1
            self._seconds[second % len(self._seconds)] = (second, times)

    @property
    def rate(self) -> float:
        """Mails accepted a minute, over the last seconds."""
        oldest = int(time.monotonic()) - PRESENT
        return sum(times for begun, times in self._seconds if begun > oldest) * 60 / PRESENT

    def status(self) -> dict[str, Any]:
        """Return what GET /status says of the provider."""
        return {
            "open": self.open,
            "most_open": self.most_open,
            "turned_away": self.turned_away,
            **self.did,
            "rate": self.rate,
            "limits": msgspec.to_builtins(self.limits),
        }
