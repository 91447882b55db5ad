"""Finding the mails in files, mboxes, Maildirs and folders. Memory stays bounded."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

import msgspec

HEAD: Final = 512 * 1024
"""Bytes that are kept of a mail's beginning, more than its reading looks at …"""

TAIL: Final = 128 * 1024
"""… and of its end."""

_LINE: Final = 64 * 1024
# "From ann@example.com Thu Jan  1 00:00:00 2026", after an empty line (RFC 4155).
_SEPARATOR: Final = re.compile(
    rb"From \S.*? (?:Mon|Tue|Wed|Thu|Fri|Sat|Sun),? .{0,40}?\d\d:\d\d.{0,40}?\d{4}"
)
_QUOTED: Final = re.compile(rb">+From ")


class Mail(msgspec.Struct, frozen=True):
    """A mail and where it is: ``PATH`` or, in an mbox, ``PATH#n``."""

    place: str
    message: bytes


def mails(path: str) -> Iterator[Mail]:
    """The mails at a path: a file, an mbox, a Maildir, a folder with any of them, ``-``.

    Raises:
        OSError: it cannot be read.
    """
    if path == "-":
        yield from _in_file("-", sys.stdin.buffer)
        return
    if not Path(path).is_dir():
        yield from _at(path)
        return
    for file in _files(path):
        yield from _at(file)


def printable(path: str) -> str:
    """A path as text, whatever bytes it was made of."""
    return os.fsencode(path).decode("utf-8", "replace")


def _files(folder: str) -> Iterator[str]:
    """The files in a folder and those below it, in order; of a Maildir only the mails."""
    for place, folders, names in os.walk(folder):
        if {"cur", "new"} <= set(folders):
            folders[:] = [name for name in folders if name != "tmp"]
            names = []  # noqa: PLW2901 - what lies beside cur and new is no mail
        folders.sort()
        for name in sorted(names):
            file = os.path.join(place, name)  # noqa: PTH118 - may be bytes that are no text
            if not name.startswith(".") and Path(file).is_file():
                yield file


def _at(path: str) -> Iterator[Mail]:
    with Path(path).open("rb") as file:
        yield from _in_file(printable(path), file)


def _in_file(place: str, file: BinaryIO) -> Iterator[Mail]:
    line = file.readline(_LINE)
    if not line.startswith(b"From "):
        yield Mail(place, _whole(line, file))
        return
    number = 0
    while line:
        number += 1
        mail = _Kept()
        empty = False
        while line := file.readline(_LINE):
            if empty and line.startswith(b"From ") and _SEPARATOR.match(line):
                break
            empty = line in (b"\n", b"\r\n")
            mail.add(line[1:] if _QUOTED.match(line) else line)
        yield Mail(f"{place}#{number}", mail.message())


def _whole(start: bytes, file: BinaryIO) -> bytes:
    mail = _Kept()
    while start:
        mail.add(start)
        start = file.read(_LINE)
    return mail.message()


class _Kept:
    """A mail's beginning and, of a large one, its end."""

    def __init__(self) -> None:
        self._head = bytearray()
        self._tail = bytearray()

    def add(self, piece: bytes) -> None:
        if len(self._head) < HEAD:
            self._head += piece
            return
        self._tail += piece
        if len(self._tail) > 4 * TAIL:
            del self._tail[:-TAIL]

    def message(self) -> bytes:
        return bytes(self._head + self._tail)
