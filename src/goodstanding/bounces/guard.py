"""Makes any bytes into a mail of bounded size with one kind of line end.

Bounce mail is hostile input. What follows here costs at most a fixed time and memory, because what
leaves here is bounded.
"""

from __future__ import annotations

import re

HEAD = 384 * 1024  # bytes kept from the beginning: the report and the original's headers
TAIL = 64 * 1024  # and from the end: some mailers put the report behind what they return
HEADERS = 64 * 1024  # bytes of one header block

_BLANKS = (b"\n", b" ", b"\t")
_LEADING = re.compile(rb"(?:[ \t]*\n)+")
_FROM = (b"From ", b">From ")
_MBOX_FROM = re.compile(rb">?From [^\n]*\n")


def guard(message: bytes) -> bytes:
    """``message`` bounded, its line ends LF, without NUL. Any bytes will do; takes linear time."""
    message = _unify_line_ends(_cut(message))
    # A leading blank line or an mbox separator would make headers into body.
    if message.startswith(_BLANKS) and (leading := _LEADING.match(message)):
        message = message[leading.end() :]
    if message.startswith(_FROM) and (separator := _MBOX_FROM.match(message)):
        message = message[separator.end() :]
    return _bound_header_block(message)


def _cut(message: bytes) -> bytes:
    if len(message) <= HEAD + TAIL:
        return bytes(message)
    return bytes(message[:HEAD]) + b"\n" + bytes(message[-TAIL:]).partition(b"\n")[2]


def _unify_line_ends(message: bytes) -> bytes:
    if b"\0" in message:
        message = message.replace(b"\0", b"")
    if b"\r" in message:
        # CR CR LF comes of converting twice; a CR alone is an old line end.
        message = message.replace(b"\r\r\n", b"\n").replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return message


def _bound_header_block(message: bytes) -> bytes:
    end = message.find(b"\n\n")
    if end < 0:
        end = len(message)
    if end <= HEADERS:
        return message
    # The first and the last fields are kept; a field may itself be longer than all that.
    half = HEADERS // 2
    first = message[:half]
    last = message[end - half : end].partition(b"\n")[2]
    if b"\n" in first:
        first = first[: first.rindex(b"\n")]
    return first + b"\n" + last + message[end:]
