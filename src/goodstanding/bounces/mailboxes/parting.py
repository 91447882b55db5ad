"""The mails in a file or a stream. Of each its beginning and its end, so memory stays bounded."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from io import BufferedIOBase
from typing import Final

HEAD: Final = 512 * 1024
"""Bytes that are kept of a mail's beginning, more than its reading looks at …"""

TAIL: Final = 128 * 1024
"""… and of its end."""

BEGINS: Final = b"From "
"""What an mbox begins with, and every mail in it (RFC 4155)."""

_BLOCK: Final = 256 * 1024
_LINE: Final = 512  # bytes of a line that say whether a mail begins with it
_BEFORE: Final = 3  # bytes before that line that say so, too: an empty line
# "From ann@example.com Thu Jan  1 00:00:00 2026" after an empty line; nothing is tried twice.
_SEPARATOR: Final = re.compile(
    rb"\n\r?\n(?=From (?>\S[^\n]{0,200}? (?:Mon|Tue|Wed|Thu|Fri|Sat|Sun),? )"
    rb"(?>[^\n]{0,40}?\d\d:\d\d)(?>[^\n]{0,40}?\d{4}))"
)
_QUOTED: Final = re.compile(rb"^>(?=>*From )", re.MULTILINE)


def parted(
    file: BufferedIOBase, begin: int = 0, end: int | None = None, *, start: bytes = b""
) -> Iterator[bytes]:
    """The mails of the mbox ``file`` that begin at ``begin`` or later, and before ``end``.

    So ranges of a file that follow on each other have each of its mails once. ``start`` is what was
    read of it already; it must be seekable only where ``begin`` is not 0.

    Raises:
        OSError: it cannot be read.
    """
    mail = None if begin else _Kept()
    data, seen, base = start, 0, 0  # what was read, what of that is done with, where it begins
    if begin:
        data, seen, base = b"", _BEFORE, begin - _BEFORE
        file.seek(base)
    size = _BLOCK if end is None else end - base + _LINE
    while True:
        # A pipe gives what it has.
        block = file.read1(size) if end is None else file.read(size)
        data += block
        known = max(seen, len(data) - _LINE) if block else len(data)
        for at in _separators(data, seen, known):
            if mail is not None:
                mail.add(data[seen:at])
                yield mail.message()
                mail = None
            if end is not None and base + at >= end:
                return
            mail, seen = _Kept(), at
        if mail is not None:
            mail.add(data[seen:known])
        elif end is not None and base + known >= end:
            return
        if not block:
            break
        cut = max(known - _BEFORE, 0)
        data, seen, base = data[cut:], known - cut, base + cut
        size = _BLOCK
    if mail is not None:
        yield mail.message()


def whole(file: BufferedIOBase, start: bytes = b"") -> bytes:
    """The one mail that ``file`` holds, of which ``start`` was read already.

    Raises:
        OSError: it cannot be read.
    """
    mail = _Kept()
    mail.add(start)
    mail.add(file.read(HEAD + TAIL))
    if mail.size >= HEAD + TAIL and file.seekable():
        # What lies between is not read at all.
        file.seek(max(mail.size, file.seek(0, os.SEEK_END) - TAIL))
    while block := file.read(_BLOCK):
        mail.add(block)
    return mail.content()


def _separators(data: bytes, begin: int, end: int) -> Iterator[int]:
    """Where in ``data``, from ``begin`` and before ``end``, the lines begin that begin a mail."""
    for found in _SEPARATOR.finditer(data, max(begin - _BEFORE, 0)):
        at = found.end()
        if at >= end:
            return
        if at >= begin:
            yield at


class _Kept:
    """The beginning and the end of a mail; in an mbox it has the line that began it."""

    __slots__ = ("_head", "_tail", "size")

    def __init__(self) -> None:
        self._head = bytearray()
        self._tail = bytearray()
        self.size = 0

    def add(self, piece: bytes) -> None:
        """What follows on what was added so far."""
        room = max(0, HEAD - self.size)
        self.size += len(piece)
        self._head += piece[:room]
        if room < len(piece):
            self._tail += piece[room:]
            if len(self._tail) > 4 * TAIL:
                del self._tail[:-TAIL]

    def content(self) -> bytes:
        """All that is kept."""
        return bytes(self._head) + self._tail[-TAIL:]

    def message(self) -> bytes:
        """The mail as it was before it was put into an mbox."""
        kept = self.content()
        mail = kept[kept.find(b"\n") + 1 or len(kept) :]
        return _QUOTED.sub(b"", mail) if b">From " in mail else mail
