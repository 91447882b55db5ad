"""A mail server that takes everything and keeps nothing, as fast as asyncio goes.

``python -m benchmarks.sink`` prints its port, serves until standard input ends, and then prints
JSON: how many messages it took. With ``--keep FILE`` it pickles each of them there, one after the
other: ``(sender, recipient, content)``.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import pickle
import pwd
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Final

import msgspec
import typer

from benchmarks import measuring
from goodstanding.cli.ports import free_port

_END: Final = b"\r\n.\r\n"
_ANSWERS: Final = {
    b"EHLO": b"250-sink.example\r\n250-PIPELINING\r\n250-SIZE 52428800\r\n250 8BITMIME\r\n",
    b"HELO": b"250 sink.example\r\n",
    b"MAIL": b"250 2.1.0 Ok\r\n",
    b"RCPT": b"250 2.1.5 Ok\r\n",
    b"DATA": b"354 End data with <CR><LF>.<CR><LF>\r\n",
    b"RSET": b"250 2.0.0 Ok\r\n",
    b"NOOP": b"250 2.0.0 Ok\r\n",
    b"QUIT": b"221 2.0.0 Bye\r\n",
}
_TAKEN: Final = b"250 2.0.0 Ok: queued as %d\r\n"
_UNKNOWN: Final = b"500 5.5.2 What?\r\n"


class _Book:
    """What all sessions took."""

    def __init__(self, keep: BinaryIO | None) -> None:
        self.messages = 0
        self.keep = keep


class _Session(asyncio.Protocol):
    """One connection; several commands in one packet are answered in one."""

    def __init__(self, book: _Book) -> None:
        self._book = book
        self._left = b""
        self._content = False
        self._sender = self._recipient = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport
        self._transport.write(b"220 sink.example ESMTP\r\n")

    def data_received(self, data: bytes) -> None:
        said = self._left + data if self._left else data
        at = 0
        answers = []
        while True:
            if self._content:
                end = said.find(_END, at)
                if end < 0:
                    break
                self._take(said[at:end])
                at = end + len(_END)
                answers.append(_TAKEN % self._book.messages)
            end = said.find(b"\r\n", at)
            if end < 0:
                break
            answers.append(self._answer(said[at:end]))
            # The line end before the content belongs to it: a lone dot may be its first line.
            at = end if self._content else end + 2
        self._left = said[at:]
        if answers:
            self._transport.write(b"".join(answers))
            if answers[-1].startswith(b"221"):
                self._transport.close()

    def _answer(self, line: bytes) -> bytes:
        verb = line[:4].upper()
        if verb == b"DATA":
            self._content = True
        elif verb == b"MAIL":
            self._sender = line
        elif verb == b"RCPT":
            self._recipient = line
        return _ANSWERS.get(verb, _UNKNOWN)

    def _take(self, content: bytes) -> None:
        self._content = False
        self._book.messages += 1
        if self._book.keep is not None:
            whole = (content + b"\r\n").replace(b"\r\n..", b"\r\n.")[2:]
            pickle.dump((_path(self._sender), _path(self._recipient), whole), self._book.keep)


def _path(line: bytes) -> str:
    return line.partition(b"<")[2].partition(b">")[0].decode()


async def _serve(keep: BinaryIO | None) -> None:
    loop = asyncio.get_running_loop()
    book = _Book(keep)
    server = await loop.create_server(lambda: _Session(book), "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()
    sys.stdout.write(msgspec.json.encode({"messages": book.messages}).decode())


def main(
    keep: Annotated[Path | None, typer.Option(help="Pickle the messages here.")] = None,
) -> None:
    with contextlib.ExitStack() as stack:
        asyncio.run(_serve(stack.enter_context(keep.open("wb")) if keep is not None else None))


class Sink:
    """A sink that runs; ``messages``, once it ended: how many it took (None: it does not count)."""

    def __init__(self, name: str, port: int) -> None:
        self.name = name
        self.port = port
        self.messages: int | None = None


def name() -> str:
    """Which sink there is: postfix's ``smtp-sink``, else this one."""
    return "smtp-sink" if shutil.which("smtp-sink") else "benchmarks.sink"


@contextlib.contextmanager
def running(keep: Path | None = None) -> Iterator[Sink]:
    """A sink as a process of its own: postfix's where it is installed and need keep nothing."""
    if keep is None and name() == "smtp-sink":
        with _postfix() as sink:
            yield sink
        return
    more = ["--keep", str(keep)] if keep is not None else []
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.sink", *more],
        cwd=measuring.ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        sink = Sink("benchmarks.sink", int(process.stdout.readline()))
        yield sink
    finally:
        process.stdin.close()
        said = process.stdout.read()
        process.stdout.close()
        process.wait(30)
    sink.messages = msgspec.json.decode(said)["messages"]


@contextlib.contextmanager
def _postfix() -> Iterator[Sink]:
    port = free_port()
    # It refuses to run as root.
    user = ["-u", pwd.getpwnam("nobody").pw_name] if os.geteuid() == 0 else []
    process = subprocess.Popen(["smtp-sink", *user, f"127.0.0.1:{port}", "1024"])
    try:
        _wait_for(port)
        yield Sink("smtp-sink", port)
    finally:
        process.terminate()
        process.wait(30)


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + 10
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return


if __name__ == "__main__":
    typer.run(main)
