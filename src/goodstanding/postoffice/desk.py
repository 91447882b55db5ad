"""The desk: what a provider answers to a recipient and to a message."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from goodstanding.postoffice import chance

if TYPE_CHECKING:
    from goodstanding.postoffice.options import Options
    from goodstanding.postoffice.world import Provider, World

REMEMBERED: Final = 1_000_000


class Verdict(msgspec.Struct, frozen=True):
    """An answer. ``reply`` may have several lines, separated by newlines; empty: none is given.

    ``weather`` and ``limit``: the state, or the limit, of the provider that it comes from.
    """

    did: Literal["accepted", "refused", "deferred", "cut_before_dot", "cut_after_dot"]
    reply: str
    weather: str | None = None
    limit: str | None = None


class Mail(msgspec.Struct, frozen=True):
    """One message as one mailbox took it. ``arrived`` is in seconds since 1970."""

    provider: Provider
    recipient: str
    temper: str
    envelope_from: str
    message_id: str | None
    content: bytes
    arrived: float


class _Tries(msgspec.Struct):
    first: float
    times: int


class Desk:
    """Answers by the mailbox's temper, remembering who tried before."""

    def __init__(self, world: World, options: Options) -> None:
        self._world = world
        self._options = options
        # By the hash of sender and recipient; the oldest are forgotten.
        self._tries: OrderedDict[int, _Tries] = OrderedDict()

    def at_recipient(
        self, provider: Provider | None, temper: str, sender: str, recipient: str
    ) -> Verdict | None:
        """Answer a RCPT; None means that the recipient may be accepted."""
        answer = self._world.tempers[temper].answer
        if answer in {"accept", "refuse_content"}:
            return None
        reply = self._words(provider, temper, recipient)
        if answer == "refuse":
            return Verdict("refused", reply)
        if answer == "defer":
            return Verdict("deferred", reply)
        patience = self._is_patient if answer == "greylist" else self._is_often
        if patience(temper, sender, recipient):
            return None
        return Verdict("deferred", reply)

    def at_dot(self, provider: Provider | None, temper: str, recipient: str) -> Verdict:
        """Answer the final dot of a message for a recipient that was accepted."""
        if self._world.tempers[temper].answer == "refuse_content":
            return Verdict("refused", self._words(provider, temper, recipient))
        number = chance.digest(self._options.seed, "queue", recipient) & 0xFFFFFFFFFF
        return Verdict("accepted", f"250 2.0.0 OK: queued as {number:010X}")

    def cuts(self, where: Literal["before", "after"], sender: str, recipient: str) -> bool:
        """Draw whether the connection is cut this time; a later try draws anew."""
        options = self._options
        odds = options.cut_before_dot if where == "before" else options.cut_after_dot
        if not odds:
            return False
        tries = self._count(f"cut-{where}", sender, recipient).times
        return chance.draw(options.seed, "cut", where, sender, recipient, str(tries)) < odds

    def _words(self, provider: Provider | None, temper: str, recipient: str) -> str:
        # It lets in who comes back when it said, or sooner.
        pause = self._world.tempers[temper].pause
        seconds = math.ceil(pause[1] * self._options.pace) if pause[1] else 300
        ip = self._options.client_ip
        return self._world.words(provider, temper, recipient, ip, max(1, seconds))

    def _is_patient(self, temper: str, sender: str, recipient: str) -> bool:
        pause = self._world.tempers[temper].pause
        wait = chance.between(pause, self._options.seed, "pause", recipient) * self._options.pace
        tries = self._count(temper, sender, recipient)
        return tries.times > 1 and time.monotonic() - tries.first >= wait

    def _is_often(self, temper: str, sender: str, recipient: str) -> bool:
        low, high = self._world.tempers[temper].tries
        wanted = chance.pick(range(low, high + 1), self._options.seed, "tries", recipient)
        return self._count(temper, sender, recipient).times > wanted

    def _count(self, why: str, sender: str, recipient: str) -> _Tries:
        key = chance.digest(0, why, sender, recipient)
        tries = self._tries.setdefault(key, _Tries(first=time.monotonic(), times=0))
        tries.times += 1
        if len(self._tries) > REMEMBERED:
            self._tries.popitem(last=False)
        return tries
