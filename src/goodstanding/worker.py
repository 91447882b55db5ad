"""The worker: runs the loops of mailings, intake and the clock in one process."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeVar

import structlog
from django.conf import settings
from django.db import DatabaseError, connection, connections

from goodstanding.config.options import host_and_port
from goodstanding.intake import digest
from goodstanding.intake.listener import Listener
from goodstanding.ledger import annulling, clock, guarding
from goodstanding.ledger.clock import present
from goodstanding.mailings import checking, course, domains, planning, sequences
from goodstanding.mailings.committing import WAIT_FOR_DATABASE
from goodstanding.mailings.handing.hander import Hander, Hands
from goodstanding.mailings.handing.process import HandingProcess
from goodstanding.mailings.providers import MxLookup
from goodstanding.mailings.sender import (
    WAIT_AFTER_ERROR,
    Sender,
)

TURN: Final = 0.001
"""Seconds for which a thread that computes keeps waiting those that have heard from the database or
the network; Python's own five milliseconds are longer than a fence takes."""

IDLE: Final = 0.2
"""Seconds that a loop rests when it found nothing to do."""

CLOSE_AGAIN: Final = 5_000_000
"""Microseconds between looks for lots that are empty."""

GUARD_AGAIN: Final = 5_000_000
"""Microseconds between looks for outages."""

GUARD_SHARE: Final = 10
"""Where a look takes longer, it rests so many times as long."""

LOOK_UP_AGAIN: Final = 10.0
"""Seconds between looks for domains whose MX nobody has asked for."""

LOOK_UP_AT_ONCE: Final = 200
"""Domains asked for at a time."""

LOOK_UP_WITHIN: Final = 10.0
"""Seconds that this may take."""

BATCH: Final = 500
"""What was heard is understood so many at a time."""

_log = structlog.get_logger(__name__)
_T = TypeVar("_T")


class CannotListen(Exception):
    """Mail cannot be heard where the settings say; the message is one plain sentence."""


class Worker:
    """All loops of one process.

    On SQLite, which has one writer, all loops share one thread; on PostgreSQL each has its own. So
    has the guard on both: it reads much and writes little.
    """

    def __init__(self) -> None:
        self._stopping = asyncio.Event()
        self._shared: ThreadPoolExecutor | None = None
        self._threads: list[ThreadPoolExecutor] = []

    @property
    def is_stopping(self) -> bool:
        """Whether it was told to stop."""
        return self._stopping.is_set()

    def stop(self) -> None:
        """Finish what is in flight and return from ``run``."""
        self._stopping.set()

    async def run(self, *, listen: bool = True, ready: Callable[[], None] | None = None) -> None:
        """Work until ``stop``, SIGTERM or SIGINT.

        ``listen``: hear mail too. ``ready`` is called when all is running.

        Raises:
            CannotListen: the port is taken, or the host is not this machine's.
        """
        sys.setswitchinterval(TURN)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)
        listener = await _listening() if listen else None
        hands = _hands()
        await hands.begin()
        sender = Sender(
            self._thread("claiming"), hands, self._thread("writing"), self._thread("recording")
        )
        tasks = [
            asyncio.create_task(sender.run()),
            asyncio.create_task(self._repeat("digest", _digest)),
            asyncio.create_task(self._repeat("planning", _plan)),
            asyncio.create_task(self._repeat("course", _Course().step)),
            asyncio.create_task(self._repeat("sequences", lambda: sequences.step(present()))),
            asyncio.create_task(self._repeat("clock", _Clock().tick)),
            asyncio.create_task(self._repeat("guard", _Guard().step, shares=False)),
        ]
        looking_up = asyncio.create_task(self._look_up_domains())
        if ready is not None:
            ready()
        stopping = asyncio.create_task(self._stopping.wait())
        await asyncio.wait([stopping, *tasks], return_when=asyncio.FIRST_COMPLETED)
        self.stop()
        sender.stop()
        looking_up.cancel()
        if listener is not None:
            await listener.stop()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(looking_up, return_exceptions=True)
        for thread in self._threads:
            thread.submit(connections.close_all).result()
            thread.shutdown()
        for result in results:
            if isinstance(result, BaseException):
                raise result

    async def _repeat(self, name: str, step: Callable[[], bool], *, shares: bool = True) -> None:
        """Take one step after the other; rest where a step found nothing to do."""
        thread = self._thread(name, shares=shares)
        loop = asyncio.get_running_loop()
        while not self._stopping.is_set():
            try:
                busy = await loop.run_in_executor(thread, _connected, step)
                pause = 0.0 if busy else IDLE
            except DatabaseError as error:
                _log.warning("the database is not to be had", loop=name, error=str(error)[:200])
                pause = WAIT_FOR_DATABASE
            except Exception:  # noqa: BLE001 - one loop's trouble must not stop the others
                _log.exception("a loop failed", loop=name)
                pause = WAIT_AFTER_ERROR
            if pause:
                await _first(self._stopping.wait(), pause)

    async def _look_up_domains(self) -> None:
        """Ask for the MX of domains, so that each provider is known by what takes its mail."""
        if not settings.OPTIONS.mx_lookup:
            return
        thread = self._thread("domains")
        loop = asyncio.get_running_loop()
        lookup = MxLookup()
        while not self._stopping.is_set():
            pause = LOOK_UP_AGAIN
            try:
                due = await loop.run_in_executor(
                    thread, _connected, lambda: domains.to_look_up(LOOK_UP_AT_ONCE, present())
                )
                if due:
                    found = await lookup.lookup_all(due, LOOK_UP_WITHIN)
                    await loop.run_in_executor(
                        thread, _connected, lambda found=found: domains.looked_up(found, present())
                    )
                    pause = IDLE
            except Exception as error:  # noqa: BLE001 - mail goes without
                _log.warning("mail hosts could not be looked up", error=str(error)[:200])
            await _first(self._stopping.wait(), pause)

    def _thread(self, name: str, *, shares: bool = True) -> ThreadPoolExecutor:
        if shares and self._shared is not None:
            return self._shared
        thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)
        self._threads.append(thread)
        if shares and connection.vendor == "sqlite":
            self._shared = thread
        return thread


class _Clock:
    """Folds what is due; now and then what another policy folded, and prunes what was kept."""

    def __init__(self) -> None:
        self._renewed: int | None = 0
        self._prune_at = 0

    def tick(self) -> bool:
        now = present()
        if now >= self._prune_at:
            self._prune_at = now + 3_600_000_000
            digest.prune(now)
        if self._renewed is not None:
            self._renewed = clock.renew(now, self._renewed)
            return True
        return annulling.finish(now) or clock.tick(now) == clock.BATCH


class _Guard:
    """Holds what looks like an outage, and says so."""

    def __init__(self) -> None:
        self._look_at = 0

    def step(self) -> bool:
        now = present()
        if now < self._look_at:
            return False
        self._look_at = now + GUARD_AGAIN
        acts = guarding.look(now)
        for act in acts:
            if act.what != "moved":
                _log.warning("the incident guard", what=act.what, hold=act.hold, why=act.why)
        for act in acts:
            annulling.apply(act.annulment, present())
        self._look_at = max(self._look_at, now + GUARD_SHARE * (present() - now))
        return False


class _Course:
    """Ends what was stopped or has expired; now and then closes lots that are empty."""

    def __init__(self) -> None:
        self._close_at = 0

    def step(self) -> bool:
        now = present()
        if now >= self._close_at:
            self._close_at = now + CLOSE_AGAIN
            course.close()
        return course.end(now)


def _digest() -> bool:
    # A batch that is not full waits for more to come: what is grouped is committed once.
    return digest.digest(present(), BATCH).read == BATCH


def _plan() -> bool:
    """Plan a chunk of every mailing; one that fails does not keep the others waiting."""
    failed: Exception | None = None
    unfinished = planning.unfinished(present())
    for mailing in unfinished:
        try:
            if planning.plan(mailing, present(), most=1):
                checking.check(mailing, present(), most=1)
        except Exception as error:  # noqa: BLE001 - raised when the others have had their turn
            failed = error
    if failed is not None:
        raise failed
    return bool(unfinished)


def _hands() -> Hands:
    """Who hands over: another process, unless there is one processor for everything anyway."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return HandingProcess() if (usable or 1) > 1 else Hander()


async def _listening() -> Listener:
    host, port = host_and_port("listen_mail", settings.OPTIONS.listen_mail)
    listener = Listener(lmtp=settings.OPTIONS.listen_mail_protocol == "lmtp")
    try:
        await listener.start(host, port)
    except OSError as error:
        await listener.stop()
        why = (error.errno and error.errno > 0 and os.strerror(error.errno)) or str(error)
        raise CannotListen(
            f"Mail cannot be heard on listen_mail = {host}:{port}: {why}."
        ) from error
    return listener


def _connected(step: Callable[[], _T]) -> _T:
    for alias in connections:
        connections[alias].close_if_unusable_or_obsolete()
    return step()


async def _first(event: Any, seconds: float) -> None:
    try:
        await asyncio.wait_for(event, seconds)
    except TimeoutError:
        return
