"""The spool: what was heard is on disk before anybody is told that it was heard.

``put`` is for threads, ``Spooler`` for an event loop. Both let those who come at the same time
share one commit, so that many doors cost one wait for the disk.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from typing import Final

import msgspec
from django.db import DatabaseError, InterfaceError, connections, transaction

from goodstanding.intake.models import Spooled

ALIAS: Final = "spool"
MOST_ROWS: Final = 256
MOST_BYTES: Final = 32 * 1024 * 1024
"""A commit holds no more rows and bytes than these, and one row at least."""


class SpoolFailed(RuntimeError):
    """It is not on disk; whoever sent it must send it again."""


class Envelope(msgspec.Struct, frozen=True, rename={"sender": "from", "recipients": "to"}):
    """How a mail was addressed: the reverse path (empty for a report) and the recipients."""

    sender: str
    recipients: tuple[str, ...]


class Visit(msgspec.Struct, frozen=True, omit_defaults=True):
    """A visit over HTTP by somebody who holds a token of ours for ``delivery``.

    ``door`` is ``open``, ``link``, ``confirm``, ``one_click`` (RFC 8058) or ``page``; ``act`` the
    button that was pressed on a page, ``link`` the number of the link followed, or confirmed by.
    ``headers`` holds only those by which machines are known.
    """

    door: str
    delivery: int
    method: str = "GET"
    user_agent: str = ""
    headers: dict[str, str] = {}
    link: int | None = None
    url: str | None = None
    act: str | None = None
    reason: str | None = None


class _Wish:
    """A row that somebody waits for."""

    __slots__ = ("done", "error", "row")

    def __init__(self, row: Spooled) -> None:
        self.row = row
        self.done = False
        self.error: BaseException | None = None


_wishes: deque[_Wish] = deque()
_turn = Lock()


def put(kind: str, envelope: Envelope | Visit, content: bytes = b"") -> None:
    """Spool it; it is on disk when this returns. Not to be called within a transaction.

    Raises:
        SpoolFailed: it could not be written.
    """
    wish = _Wish(_row(kind, envelope, content))
    _wishes.append(wish)
    # Whoever gets the turn writes for all who wait; the others find it done.
    with _turn:
        while not wish.done:
            fit = _measure(wish.row.size for wish in tuple(_wishes))
            _grant([_wishes.popleft() for _ in range(fit)])
    if wish.error is not None:
        raise SpoolFailed("The spool could not be written.") from wish.error


class Spooler:
    """Puts for an event loop: one thread writes, and those who come meanwhile go together."""

    def __init__(self) -> None:
        self.commits = 0
        self._wishes: deque[tuple[Spooled, asyncio.Future[None]]] = deque()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="spool")
        self._writing: asyncio.Task[None] | None = None

    async def put(self, kind: str, envelope: Envelope | Visit, content: bytes = b"") -> None:
        """Spool it; it is on disk when this returns.

        Raises:
            SpoolFailed: it could not be written.
        """
        loop = asyncio.get_running_loop()
        written: asyncio.Future[None] = loop.create_future()
        self._wishes.append((_row(kind, envelope, content), written))
        if self._writing is None:
            self._writing = loop.create_task(self._write())
        await written

    async def close(self) -> None:
        """Write what waits, and let go of the database."""
        if self._writing is not None:
            await self._writing
        await asyncio.get_running_loop().run_in_executor(self._thread, connections.close_all)
        self._thread.shutdown()

    async def _write(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._wishes:
                fit = _measure(row.size for row, _ in self._wishes)
                some = [self._wishes.popleft() for _ in range(fit)]
                error = await loop.run_in_executor(self._thread, _try, [row for row, _ in some])
                self.commits += error is None
                for _, written in some:
                    if written.done():  # whoever waited has gone
                        continue
                    if error is None:
                        written.set_result(None)
                    else:
                        failed = SpoolFailed("The spool could not be written.")
                        failed.__cause__ = error
                        written.set_exception(failed)
        finally:
            self._writing = None


def _row(kind: str, envelope: Envelope | Visit, content: bytes) -> Spooled:
    return Spooled(
        kind=kind,
        received_at=time.time_ns() // 1000,
        envelope=msgspec.json.encode(envelope).decode(),
        content=content,
        size=len(content),
    )


def _measure(sizes: Iterable[int]) -> int:
    """How many of those who wait, each with so many bytes, fit into one commit."""
    total = count = 0
    for size in sizes:
        total += size
        if count and (count >= MOST_ROWS or total > MOST_BYTES):
            break
        count += 1
    return count


def _grant(wishes: list[_Wish]) -> None:
    error: BaseException | None = SpoolFailed("The writing was broken off.")
    try:
        error = _try([wish.row for wish in wishes])
    finally:
        for wish in wishes:
            wish.error = error
            wish.done = True


def _try(rows: list[Spooled]) -> Exception | None:
    """Write the rows in one commit; what went wrong is the answer."""
    connection = connections[ALIAS]
    for again in (True, False):
        try:
            with transaction.atomic(using=ALIAS, durable=True):
                Spooled.objects.using(ALIAS).bulk_create(rows)
        except (DatabaseError, InterfaceError) as error:
            # A server that was restarted is met on the next connection: that is worth a try.
            connection.close_if_unusable_or_obsolete()
            if connection.connection is None and again:
                for row in rows:
                    row.pk = None
                continue
            return error
        except Exception as error:  # noqa: BLE001 - whoever waits must hear of it
            return error
        return None
    return None
