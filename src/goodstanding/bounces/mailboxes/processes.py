"""Work read by several processes at once, and given back in its order.

The processes are forks of this one, so they know at once what it knows: the rules, and what to make
of a mail. Each has pipes to this one alone, and ends when these are closed, however this one ends.
"""

from __future__ import annotations

import os
import selectors
import signal
from collections import deque
from collections.abc import Callable, Generator, Iterator
from typing import Final

import msgspec

from goodstanding.bounces.mailboxes.pieces import Outcome, Piece, outcome

_AHEAD: Final = 2  # works that a process has at once, so that it never waits for the next
_WAITING: Final = 4  # works for each process that are begun or wait for those before them
_LENGTH: Final = 4  # bytes that say how long a frame is
_CHUNK: Final = 256 * 1024
_WORK: Final = msgspec.msgpack.Decoder(list[Piece])
_ANSWER: Final = msgspec.msgpack.Decoder(list[Outcome] | str)


class Died(Exception):
    """A process that read mails failed, or ended before it was done, as when it is killed."""


class _Work(msgspec.Struct):
    pieces: list[Piece]
    outcomes: list[Outcome] | None = None


def at_once(
    works: Iterator[list[Piece]], make: Callable[[bytes], bytes], processes: int
) -> Generator[tuple[Piece, Outcome]]:
    """Each piece of ``works``, in order, and what came of it, read by so many processes.

    Raises:
        Died: one of them did.
    """
    readers: list[_Reader] = []
    waiting: deque[_Work] = deque()
    more = True
    with selectors.DefaultSelector() as selector:
        try:
            for _ in range(processes):
                readers.append(_Reader(make, readers))
                selector.register(readers[-1].answers, selectors.EVENT_READ, readers[-1].hear)
            while more or waiting:
                room = _free(readers) if more and len(waiting) < _WAITING * processes else None
                if room is not None:
                    pieces = next(works, None)
                    if pieces is None:
                        more = False
                        continue
                    waiting.append(_Work(pieces))
                    room.take(waiting[-1])
                _exchange(selector, readers, wait=room is None and waiting[0].outcomes is None)
                if (came := waiting[0].outcomes) is not None:
                    yield from zip(waiting.popleft().pieces, came, strict=True)
        finally:
            for reader in readers:
                reader.end()


def _free(readers: list[_Reader]) -> _Reader | None:
    """The one with least to do, if it may have more."""
    reader = min(readers, key=lambda each: len(each.works))
    return reader if len(reader.works) < _AHEAD else None


def _exchange(selector: selectors.BaseSelector, readers: list[_Reader], *, wait: bool) -> None:
    """Say and hear what can be said and heard, and ``wait`` until there is something."""
    for reader in readers:
        reader.say()
        if bool(reader.unsaid) == (reader.requests in selector.get_map()):
            continue
        if reader.unsaid:
            selector.register(reader.requests, selectors.EVENT_WRITE, reader.say)
        else:
            selector.unregister(reader.requests)
    for key, _ in selector.select(None if wait else 0):
        key.data()


class _Reader:
    """A process that reads, seen from the one that began it."""

    def __init__(self, make: Callable[[bytes], bytes], earlier: list[_Reader]) -> None:
        self.works: deque[_Work] = deque()
        self.unsaid = bytearray()
        self._heard = bytearray()
        asked, self.requests = os.pipe()
        self.answers, answering = os.pipe()
        self._process = os.fork()
        if self._process == 0:
            for each in (self, *earlier):
                os.close(each.requests)
                os.close(each.answers)
            _serve(asked, answering, make)
        os.close(asked)
        os.close(answering)
        os.set_blocking(self.requests, False)
        os.set_blocking(self.answers, False)

    def take(self, work: _Work) -> None:
        """Have it read that, after what it has."""
        self.works.append(work)
        self.unsaid += _frame(msgspec.msgpack.encode(work.pieces))

    def say(self) -> None:
        """Write what it takes."""
        try:
            while self.unsaid:
                del self.unsaid[: os.write(self.requests, self.unsaid[:_CHUNK])]
        except BlockingIOError:
            return
        except OSError:
            self._mourn()

    def hear(self) -> None:
        """Hear what it has said."""
        said = os.read(self.answers, _CHUNK)
        if not said:
            self._mourn()
        self._heard += said
        while len(self._heard) >= _LENGTH:
            end = _LENGTH + int.from_bytes(self._heard[:_LENGTH], "big")
            if len(self._heard) < end:
                return
            answer = _ANSWER.decode(self._heard[_LENGTH:end])
            if isinstance(answer, str):
                raise Died(f"A process that read mails failed: {answer}")
            self.works.popleft().outcomes = answer
            del self._heard[:end]

    def end(self) -> None:
        """End it; it has nothing to lose."""
        os.close(self.requests)
        os.close(self.answers)
        if self._process:
            os.kill(self._process, signal.SIGTERM)
            os.waitpid(self._process, 0)

    def _mourn(self) -> None:
        _, status = os.waitpid(self._process, 0)
        self._process = 0
        code = os.waitstatus_to_exitcode(status)
        how = signal.strsignal(-code) if code < 0 else f"status {code}"
        raise Died(f"A process that read mails ended before it was done ({how}).")


def _serve(asked: int, answering: int, make: Callable[[bytes], bytes]) -> None:
    """The life of a process that reads: works in, outcomes out, until nobody asks any more."""
    status = 1
    try:
        # Who presses Ctrl-C speaks to the process that began this one.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        with open(asked, "rb") as asking, open(answering, "wb") as answers:
            while length := asking.read(_LENGTH):
                pieces = _WORK.decode(asking.read(int.from_bytes(length, "big")))
                answers.write(_frame(msgspec.msgpack.encode(_answer(pieces, make))))
                answers.flush()
        status = 0
    except OSError:
        # Nobody is there to hear it.
        status = 0
    finally:
        # Not as a process ends that was not forked: what it shares is not its to close.
        os._exit(status)


def _answer(pieces: list[Piece], make: Callable[[bytes], bytes]) -> list[Outcome] | str:
    try:
        return [outcome(piece, make) for piece in pieces]
    except Exception as error:  # noqa: BLE001 - a fault of ours is told where it is seen
        return f"{type(error).__name__}: {error}"


def _frame(said: bytes) -> bytes:
    return len(said).to_bytes(_LENGTH, "big") + said
