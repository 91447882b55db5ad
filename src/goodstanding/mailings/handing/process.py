"""A process that hands over for this one, so that making and saying a mail has an interpreter of
its own: what decides and remembers goes on meanwhile."""

from __future__ import annotations

import asyncio
import itertools
import socket
import subprocess
import sys
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Final

import structlog
from django.conf import settings

from goodstanding.gateways.base import Fence, Handover, Outcome, Stage
from goodstanding.mailings.handing import wire
from goodstanding.mailings.handing.hander import MOST_RECIPES, Job, Unfit
from goodstanding.mailings.handing.wire import Wire
from goodstanding.mailings.mail.compose import Recipe

COMMAND: Final = [sys.executable, "-P", "-m", "goodstanding.mailings.handing"]
"""What is run; it finds its end of the wire as its standard input."""

END_WITHIN: Final = 15.0
"""Seconds that it has to end once it is told to, or has hung up."""

_log = structlog.get_logger(__name__)


class Gone(Exception):
    """The process is gone."""

    def __str__(self) -> str:
        return "the process that hands over is gone"


class Broke(Exception):
    """It came to nothing by a fault of ours."""


class HandingProcess:
    """Hands over in a process of its own.

    It remembers nothing that matters. If it dies, that is to the mails in its hands as if their
    connections had been cut, and the next one begins another.
    """

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._starting = asyncio.Lock()
        self._running: _Running | None = None

    async def begin(self) -> None:
        """See :class:`goodstanding.mailings.handing.hander.Hands`.

        Raises:
            Gone: it ended before it was ready; it has said why on standard error.
            OSError: it cannot be started.
        """
        async with self._starting:
            if self._running is None:
                self._running = await _Running.begin(self._ended)

    def prepare(self, job: Job, recipe: Recipe) -> _Prepared:
        """See :class:`goodstanding.mailings.handing.hander.Hands`."""
        return _Prepared(self, next(self._numbers), job, recipe)

    @property
    def running(self) -> _Running | None:
        """The process, while there is one."""
        return self._running

    async def close(self) -> None:
        """See :class:`goodstanding.mailings.handing.hander.Hands`."""
        if self._running is not None:
            await self._running.close()

    def _ended(self, running: _Running) -> None:
        if self._running is running:
            self._running = None


class _Prepared:
    """A message that the process has taken on, or that its successor will."""

    def __init__(self, hands: HandingProcess, number: int, job: Job, recipe: Recipe) -> None:
        self._hands = hands
        self._number = number
        self._job = job
        self._recipe = recipe
        self._taken_by: _Running | None = None
        if hands.running is not None:
            self._give_to(hands.running)

    async def hand_over(self, fence: Fence, most: int | None, *, ahead: bool = False) -> Handover:
        """See :class:`goodstanding.mailings.handing.hander.Prepared`.

        Raises:
            Unfit: the message cannot be made.
            Broke: something in the process broke, and the content may have left.
            Gone, OSError: the process cannot be begun.
        """
        while (running := self._hands.running) is None:
            await self._hands.begin()
        if running is not self._taken_by:
            self._give_to(running)
        outcome: Outcome = "unsent"
        try:
            answer = running.ask(wire.Hand(self._number, most, ahead))
            if ahead or isinstance(await answer, wire.Asking):
                allowed = await fence()
                # From here on the content may have left, unless it was gone already.
                outcome = "lost" if allowed and not running.is_over else "unsent"
                fenced = wire.Fenced(self._number, allowed)
                if ahead:
                    running.say(fenced)
                else:
                    answer = running.ask(fenced)
            said = await answer
        except Gone as error:
            stage: Stage = "dot" if outcome == "lost" else "connect"
            return Handover(outcome, stage, error=str(error))
        if isinstance(said, wire.Handed):
            return said.handover
        if not isinstance(said, wire.Failed):
            raise Broke("it asked twice")
        if said.unfit:
            raise Unfit(said.error)
        if not said.asked:
            # Its fence may be set all the same, ahead.
            return Handover("unsent", "connect", error=said.error)
        raise Broke(said.error)

    def drop(self) -> None:
        """See :class:`goodstanding.mailings.handing.hander.Prepared`."""
        if self._taken_by is not None:
            self._taken_by.say(wire.Drop(self._number))

    def _give_to(self, running: _Running) -> None:
        self._taken_by = running
        running.teach(self._job.mailing, self._recipe)
        running.say(wire.Prepare(self._number, self._job))


class _Running:
    """The process while it is there, and what it was asked. ``ended`` is called when it is gone."""

    def __init__(self, process: subprocess.Popen[bytes], ended: Callable[[_Running], None]) -> None:
        self._process = process
        self._ended = ended
        self._asked: dict[int, asyncio.Future[wire.Answer]] = {}
        self._taught: OrderedDict[int, None] = OrderedDict()
        self._wire = Wire(wire.ToSender, self._heard, self._lost)
        self._ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._over = asyncio.Event()
        self._is_closing = False

    @property
    def is_over(self) -> bool:
        """Whether it is gone."""
        return self._over.is_set()

    @classmethod
    async def begin(cls, ended: Callable[[_Running], None]) -> _Running:
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                # Begun at once: no more than a fork, and nothing in it comes from outside.
                process = subprocess.Popen(COMMAND, stdin=theirs.fileno())  # noqa: ASYNC220, S603
            except BaseException:
                ours.close()
                raise
        running = cls(process, ended)
        loop = asyncio.get_running_loop()
        await loop.create_connection(lambda: running._wire, sock=ours)
        secrets = map(str, (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS))
        running._wire.say(wire.Begin(settings.OPTIONS, list(secrets)))
        await running._ready
        return running

    def teach(self, mailing: int, recipe: Recipe) -> None:
        """See to it that it knows how a mailing's messages are made."""
        if mailing in self._taught:
            self._taught.move_to_end(mailing)
            return
        self._taught[mailing] = None
        self.say(wire.Learn(mailing, recipe))
        if len(self._taught) > MOST_RECIPES:
            self.say(wire.Forget(self._taught.popitem(last=False)[0]))

    def say(self, message: wire.ToHands) -> None:
        """Say what needs no answer; to nobody, once it is gone."""
        if not self.is_over:
            self._wire.say(message)

    def ask(self, asked: wire.Hand | wire.Fenced) -> asyncio.Future[wire.Answer]:
        """Say what has an answer; the answer, or ``Gone`` where it is gone before it has answered.

        Raises:
            Gone: it is gone now.
        """
        if self.is_over:
            raise Gone
        said: asyncio.Future[wire.Answer] = asyncio.get_running_loop().create_future()
        self._asked[asked.number] = said
        self._wire.say(asked)
        return said

    async def close(self) -> None:
        """Have it hang up and end."""
        self._is_closing = True
        if not self.is_over:
            self._wire.say(wire.Close())
            try:
                await asyncio.wait_for(self._over.wait(), END_WITHIN)
            except TimeoutError:
                self._process.kill()
        await asyncio.to_thread(self._reap)

    def _heard(self, message: wire.ToSender) -> None:
        if isinstance(message, wire.Ready):
            self._ready.set_result(None)
            return
        said = self._asked.pop(message.number)
        if not said.done():
            said.set_result(message)

    def _lost(self) -> None:
        self._over.set()
        if not self._is_closing:
            _log.warning(str(Gone()), mails=len(self._asked))
            asyncio.get_running_loop().run_in_executor(None, self._reap)
        waiting: list[asyncio.Future[Any]] = [self._ready, *self._asked.values()]
        self._asked.clear()
        for each in waiting:
            if not each.done():
                each.set_exception(Gone())
        self._ended(self)

    def _reap(self) -> None:
        try:
            self._process.wait(END_WITHIN)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
