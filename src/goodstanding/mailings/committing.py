"""Committing: fences and what became of mails, written in groups by a thread with a connection."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeVar

import structlog
from django.db import (
    DatabaseError,
    InterfaceError,
    InternalError,
    OperationalError,
    connection,
)

from goodstanding.ledger.clock import present
from goodstanding.mailings import outbox, outcomes
from goodstanding.mailings.outbox import Claim, Outcome

FENCES_WITHIN: Final = 0.02
"""Seconds for which what became of a mail waits for a fence to be committed with."""

SETTLE_AT: Final = 100
"""What became of so many mails is recorded together."""

SETTLE_WITHIN: Final = 0.1
"""Seconds for which it waits for others."""

WAIT_FOR_DATABASE: Final = 1.0
"""Seconds between tries while there is no database."""

_AWAY: Final = (OperationalError, InterfaceError, InternalError)
"""The database's own trouble: nothing is wrong with what was to be written."""

_log = structlog.get_logger(__name__)
_T = TypeVar("_T")


class Committer:
    """Writes for a sender, one group after the other.

    Whoever takes a place is not let past the fence before what became of the one before is on
    disk: they are committed together or in that order. No more are ever being handed over, by what
    the database says, than there are places.
    """

    def __init__(
        self, thread: ThreadPoolExecutor, settler: ThreadPoolExecutor | None = None
    ) -> None:
        """``thread`` commits, and ``settler`` records, where that is another one."""
        self._thread = thread
        self._settler = settler or thread
        self._fences: list[tuple[Claim, asyncio.Future[bool]]] = []
        # What is to be told, is being told, was told, and is being recorded now.
        self._outcomes: list[Outcome] = []
        self._telling: list[Outcome] = []
        self._told: list[Outcome] = []
        self._settling: list[Outcome] = []
        self._to_tell = _Call()
        self._to_settle = _Call()
        self._hurried = False
        self._written = asyncio.Event()
        self._written.set()

    def fence(self, claim: Claim) -> asyncio.Future[bool]:
        """Have the fence set with the next group; done when that is on disk: whether it was set."""
        done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._fences.append((claim, done))
        self._to_tell.now()
        return done

    def record(self, outcome: Outcome) -> None:
        """Have it written: with the next fence, or alone a little later. Nobody waits for it."""
        self._outcomes.append(outcome)
        self._written.clear()
        self._to_tell.within(FENCES_WITHIN)

    def unwritten(self) -> Iterator[Outcome]:
        """What is not known to be recorded yet."""
        for some in (self._outcomes, self._telling, self._told, self._settling):
            yield from some

    async def written(self) -> None:
        """Wait until all is recorded."""
        self._hurried = True
        self._plan_to_settle()
        await self._written.wait()

    async def run(self) -> None:
        """Commit in groups, until cancelled: whatever came up while the last one was written.

        Without a database everybody waits here: what was said is neither lost nor said again.
        """
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._tell_forever())
            tasks.create_task(self._settle_forever())

    async def _tell_forever(self) -> None:
        while True:
            await self._to_tell.wait()
            fences = self._next_fences()
            self._telling, self._outcomes = self._outcomes, []
            allowed = await self._commit([claim for claim, _ in fences], self._telling)
            self._told += self._telling
            self._telling = []
            for claim, fenced in fences:
                fenced.set_result(claim.delivery in allowed)
            self._plan_to_settle()

    def _plan_to_settle(self) -> None:
        if len(self._told) >= SETTLE_AT or (self._told and self._hurried):
            self._to_settle.now()
        elif self._told:
            self._to_settle.within(SETTLE_WITHIN)

    async def _settle_forever(self) -> None:
        while True:
            await self._to_settle.wait()
            self._settling, self._told = self._told[:SETTLE_AT], self._told[SETTLE_AT:]
            if self._settling:
                await self._settle(self._settling)
            self._settling = []
            self._plan_to_settle()
            if next(self.unwritten(), None) is None:
                self._written.set()

    def _next_fences(self) -> list[tuple[Claim, asyncio.Future[bool]]]:
        """What to commit next, every delivery once.

        Who was taken over from, and has claimed a delivery anew, may ask for both its claims.
        """
        first: dict[int, tuple[Claim, asyncio.Future[bool]]] = {}
        for each in self._fences:
            first.setdefault(each[0].delivery, each)
        again = [each for each in self._fences if first[each[0].delivery] is not each]
        self._fences = again
        if again:
            self._to_tell.now()
        return list(first.values())

    async def _commit(self, fences: list[Claim], done: list[Outcome]) -> set[int]:
        """Commit, however long it takes; the deliveries whose fence was set."""
        while True:
            try:
                return await in_thread(self._thread, outbox.commit, fences, done, present())
            except _AWAY as error:
                _log.warning("the database is not to be had", error=first_line(error))
                await asyncio.sleep(WAIT_FOR_DATABASE)
            except Exception as error:  # noqa: BLE001 - one of them must not stop the others
                if len(fences) + len(done) == 1:
                    _log.error("it cannot be noted", error=first_line(error), exc_info=error)
                    return set()
                allowed = set()
                for outcome in done:
                    await self._commit([], [outcome])
                for fence in fences:
                    allowed |= await self._commit([fence], [])
                return allowed

    async def _settle(self, done: list[Outcome]) -> None:
        """Record, however long it takes."""
        while True:
            try:
                return await in_thread(self._settler, outbox.settle, done, present())
            except _AWAY as error:
                _log.warning("the database is not to be had", error=first_line(error))
                await asyncio.sleep(WAIT_FOR_DATABASE)
            except Exception as error:  # noqa: BLE001 - one of them must not stop the others
                if len(done) == 1:
                    return await self._give_up(done[0], error)
                for outcome in done:
                    await self._settle([outcome])
                return None

    async def _give_up(self, outcome: Outcome, error: Exception) -> None:
        """What became of it cannot be written: nobody knows, then."""
        _log.error("it cannot be recorded", error=first_line(error), exc_info=error)
        unknown = outcomes.unknown(outcome.claim, first_line(error), present())
        try:
            await in_thread(self._settler, outbox.settle, [unknown], present())
        except DatabaseError as again:
            _log.error("nor that it is not known", error=first_line(again))


class _Call:
    """Wakes whoever waits: at once, or a little later."""

    def __init__(self) -> None:
        self._event = asyncio.Event()
        self._later: asyncio.TimerHandle | None = None

    def now(self) -> None:
        self._event.set()

    def within(self, seconds: float) -> None:
        if self._later is None:
            self._later = asyncio.get_running_loop().call_later(seconds, self._event.set)

    async def wait(self) -> None:
        await self._event.wait()
        self._event.clear()
        if self._later is not None:
            self._later.cancel()
            self._later = None


async def in_thread(thread: ThreadPoolExecutor, call: Callable[..., _T], *arguments: Any) -> _T:
    """Call it in a thread, with a connection that is not known to be of no use."""
    return await asyncio.get_running_loop().run_in_executor(
        thread, _with_connection, call, *arguments
    )


def _with_connection(call: Callable[..., _T], *arguments: Any) -> _T:
    # Only after an error: a health check every time is one trip more for every group.
    if connection.errors_occurred:
        connection.close_if_unusable_or_obsolete()
    return call(*arguments)


def first_line(error: Exception) -> str:
    """An error in a line of a log."""
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0][:200]}"
