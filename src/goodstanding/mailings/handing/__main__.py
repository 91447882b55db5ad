"""The process that hands over: ``python -m goodstanding.mailings.handing``, run by its sender.

It ends with its sender, or when that tells it to; whoever stops both by a signal stops the sender.
"""

from __future__ import annotations

import asyncio
import gc
import signal
import socket
from collections.abc import Coroutine

from django.conf import settings

from goodstanding.mailings.handing import wire
from goodstanding.mailings.handing.ahead import Ahead
from goodstanding.mailings.handing.hander import Hander, Making, Unfit
from goodstanding.mailings.handing.wire import Wire
from goodstanding.mailings.mail.compose import Recipe


class Serving:
    """Does what the sender at the other end of ``wire`` asks for."""

    def __init__(self) -> None:
        self.wire = Wire(wire.ToHands, self._heard, self._lost)
        self.over = asyncio.Event()
        self._hander: Hander
        self._recipes: dict[int, Recipe] = {}
        self._prepared: dict[int, Making] = {}
        self._ahead = Ahead()
        self._fences: dict[int, asyncio.Future[bool]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def _heard(self, message: wire.ToHands) -> None:
        match message:
            case wire.Prepare():
                making = self._hander.prepare(message.job, self._recipes[message.job.mailing])
                self._prepared[message.number] = making
                self._ahead.add(making)
            case wire.Hand():
                if message.ahead:
                    self._fences[message.number] = asyncio.get_running_loop().create_future()
                self._begin(self._hand(message, self._prepared.pop(message.number)))
            case wire.Drop():
                self._ahead.remove(self._prepared.pop(message.number))
            case wire.Fenced():
                self._fenced(message)
            case wire.Learn():
                self._recipes[message.mailing] = message.recipe
            case wire.Forget():
                del self._recipes[message.mailing]
            case wire.Begin():
                [key, *fallbacks] = message.secrets
                settings.configure(
                    OPTIONS=message.options, SECRET_KEY=key, SECRET_KEY_FALLBACKS=fallbacks
                )
                self._hander = Hander()
                self.wire.say(wire.Ready())
            case wire.Close():
                self._begin(self._close())

    def _fenced(self, message: wire.Fenced) -> None:
        # One that did not ask may have come to its end before it is told.
        if fence := self._fences.get(message.number):
            fence.set_result(message.allowed)

    async def _hand(self, hand: wire.Hand, making: Making) -> None:
        number = hand.number
        asked = False

        async def fence() -> bool:
            nonlocal asked
            asked = True
            if not hand.ahead:
                self._fences[number] = asyncio.get_running_loop().create_future()
                self.wire.say(wire.Asking(number))
            return await self._fences[number]

        self._ahead.remove(making)
        said: wire.Answer
        try:
            said = wire.Handed(number, await making.hand_over(fence, hand.most))
        except Unfit as error:
            said = wire.Failed(number, str(error), unfit=True, asked=asked)
        except Exception as error:  # noqa: BLE001 - one mail's trouble is not the others'
            said = wire.Failed(number, f"{type(error).__name__}: {error}", unfit=False, asked=asked)
        self._fences.pop(number, None)
        self.wire.say(said)

    async def _close(self) -> None:
        await self._hander.close()
        self.wire.close()

    def _begin(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _lost(self) -> None:
        self.over.set()


async def serve(end: socket.socket) -> None:
    """Serve until the other end hangs up; what is in flight then is cut."""
    serving = Serving()
    await asyncio.get_running_loop().create_connection(lambda: serving.wire, sock=end)
    await serving.over.wait()


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    gc.freeze()
    asyncio.run(serve(socket.socket(fileno=0)))
