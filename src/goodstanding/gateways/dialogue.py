"""What is said over one open SMTP connection, several commands at once if need be (RFC 2920).

aiosmtplib opens the connection, secures it and signs in; its protocol takes one answer for one
command, and drops what else comes. From then on this one has the wire.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from asyncio import BaseTransport

LONGEST: Final = 32_768
"""Bytes of one answer, all its lines together, beyond which nobody means well."""

Answer = tuple[int, str]
"""The code, and what was said: lines joined by ``\\n``, bytes that are no UTF-8 as surrogates."""


class Cut(ConnectionError):
    """The connection is gone, or what came is no SMTP."""


class Dialogue(asyncio.Protocol):
    """Commands out, answers in, in the same order."""

    __slots__ = (
        "_answers", "_expected", "_gone", "_lines", "_part", "_size", "_transport", "_waiter",
    )  # fmt: skip

    def __init__(self, transport: BaseTransport) -> None:
        """Take over an open connection on which nothing is left to be read."""
        self._transport: Any = transport
        self._answers: deque[Answer] = deque()
        self._lines: list[bytes] = []
        self._part = b""
        self._size = 0
        self._expected = 0
        self._waiter: asyncio.Future[None] | None = None
        self._gone: Exception | None = None
        self._transport.set_protocol(self)

    @property
    def is_open(self) -> bool:
        """Whether something can still be said."""
        return self._gone is None and not self._transport.is_closing()

    @property
    def expected(self) -> int:
        """How many answers have not been read yet."""
        return self._expected

    def say(self, commands: bytes, answers: int) -> None:
        """Write commands, or a message's content, to which so many answers will come.

        Raises:
            Cut: the connection is gone.
        """
        if not self.is_open:
            raise Cut("the connection is closed") from self._gone
        self._expected += answers
        self._transport.write(commands)

    async def answer(self, within: float) -> Answer:
        """The next answer, waited for ``within`` so many seconds.

        Raises:
            Cut: the connection was lost before it came, or it is none.
            TimeoutError: it did not come.
        """
        if not self._answers:
            if self._gone is not None:
                raise Cut(str(self._gone)) from self._gone
            loop = asyncio.get_running_loop()
            waiter = self._waiter = loop.create_future()
            alarm = loop.call_later(within, _ring, waiter)
            try:
                await waiter
            finally:
                self._waiter = None
                alarm.cancel()
        self._expected -= 1
        return self._answers.popleft()

    def close(self) -> None:
        """Hang up once all that was said is written."""
        self._transport.close()

    def cut(self) -> None:
        """Hang up now: what is not written yet never will be."""
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Read the answers that are complete; wake whoever waits for one."""
        if self._gone is not None:
            return
        self._size += len(data)
        lines = (self._part + data).split(b"\n")
        self._part = lines.pop()
        for line in lines:
            if not self._read(line):
                said = line[:200].decode("utf-8", "replace")
                self._lose(Cut(f"an answer that is not SMTP: {said!r}"))
                return
        if self._size > LONGEST:
            self._lose(Cut("an answer that does not end"))
        elif len(self._answers) > self._expected:
            # Nobody asked: whatever it means, nothing here can be trusted to answer the next.
            self._lose(Cut("an answer to nothing"))
        elif self._answers and self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _read(self, line: bytes) -> bool:
        """Take one line; whether it is part of an answer."""
        code = line[:3]
        if len(code) != 3 or not code.isdigit() or len(line) > LONGEST:
            return False
        self._lines.append(line[4:].strip(b" \t\r"))
        if line[3:4] != b"-":
            text = b"\n".join(self._lines).decode("utf-8", "surrogateescape")
            self._answers.append((int(code), text))
            self._lines.clear()
            self._size = len(self._part)
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell whoever waits."""
        self._lose(Cut(str(exc) or type(exc).__name__) if exc else Cut("the connection was lost"))

    def _lose(self, why: Exception) -> None:
        if self._gone is None:
            self._gone = why
        if self._waiter is not None and not self._waiter.done():
            if self._answers:
                self._waiter.set_result(None)
            else:
                self._waiter.set_exception(why)
        if not self._transport.is_closing():
            self._transport.abort()


def _ring(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_exception(TimeoutError("no answer came in time"))
