"""Several mails in one, parted as mbox files part them (RFC 4155)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

MAILS: Final = 100
LINES: Final = 10_000  # lines that begin with "From " are looked at

_SEPARATOR: Final = re.compile(
    rb"From [^\r\n]{1,200}? [A-Z][a-z]{2} [A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d [^\r\n]{0,12}\d{4}"
    rb"(?:\r\n|\n|\r)[!-9;-~]{1,60}:"
)
_BOUNDARY: Final = re.compile(
    rb"""boundary\s*=\s*(?:"([^"\r\n]{1,200})"|([^\s;"]{1,200}))""", re.IGNORECASE
)
_BLANK: Final = 100  # bytes of blank lines that may stand before the first mail
_HEAD: Final = 20_000  # bytes in which a mail announces its boundary


def mails(message: bytes) -> list[bytes]:
    """The mails in ``message``, at most ``MAILS``; itself where it begins otherwise."""
    if not message[:_BLANK].lstrip(b"\r\n").startswith(b"From "):
        return [message]
    found: list[bytes] = []
    begin = 0
    whole = _end(message, begin)
    for at in _separators(message):
        if at < whole:
            # A mail returned inside this one, with its own separator.
            continue
        found.append(message[begin:at])
        if len(found) == MAILS:
            return found
        begin, whole = at, _end(message, at)
    return [*found, message[begin:]]


def _separators(message: bytes) -> Iterator[int]:
    at = 0
    for _ in range(LINES):
        at = message.find(b"From ", at + 1)
        if at < 0:
            return
        if message[at - 1] in b"\r\n" and _SEPARATOR.match(message, at):
            yield at


def _end(message: bytes, begin: int) -> int:
    """Where the parts of the mail that begins there end; there, where it has none."""
    announced = _BOUNDARY.search(message, begin, begin + _HEAD)
    if announced is None:
        return begin
    last = message.find(b"--" + (announced[1] or announced[2]) + b"--", begin)
    return len(message) if last < 0 else last
