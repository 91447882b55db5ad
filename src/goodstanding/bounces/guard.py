"""Makes any bytes into a mail of bounded size with one kind of line end.

Bounce mail is hostile input. What follows here costs at most a fixed time and memory, because what
leaves here is bounded; and ``calm`` tells whether the MIME parser may be trusted with it.
"""

from __future__ import annotations

import re

import msgspec

HEAD = 384 * 1024  # bytes kept from the beginning: the report and the original's headers
TAIL = 64 * 1024  # and from the end: some mailers put the report behind what they return
HEADERS = 64 * 1024  # bytes of one header block
CALM_PARTS = 1000  # boundary lines; more than that is no report
CALM_MESSAGES = 40
CALM_ENCODED_WORDS = 256

_LEADING = re.compile(rb"(?:[ \t]*\n)+")
_MBOX_FROM = re.compile(rb">?From [^\n]*\n")
_BOUNDARY = re.compile(rb"\n-{2,}[^\s-]")
_LONG_LINE = re.compile(rb"[^\n]{2000}")


class Guarded(msgspec.Struct, frozen=True):
    """The bounded mail, line ends LF, no NUL; ``calm`` where it holds no known trap."""

    message: bytes
    calm: bool


def guard(message: bytes) -> Guarded:
    """Bound and normalise ``message``; any bytes will do. Linear in the bytes kept."""
    message = _unify_line_ends(_cut(message))
    # A leading blank line or an mbox separator would make headers into body.
    if leading := _LEADING.match(message):
        message = message[leading.end() :]
    if separator := _MBOX_FROM.match(message):
        message = message[separator.end() :]
    message = _bound_header_block(message)
    return Guarded(message, _is_calm(message))


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


def _is_calm(message: bytes) -> bool:
    # Quadratic: many encoded words in one line. Memory: very many parts.
    if message.count(b"\n--") > CALM_PARTS and _boundary_lines(message) > CALM_PARTS:
        return False
    # Memory: every level of nested messages is a copy.
    if message.count(b"essage/") + message.count(b"ESSAGE/") > CALM_MESSAGES:
        return False
    return message.count(b"=?") <= CALM_ENCODED_WORDS or _LONG_LINE.search(message) is None


def _boundary_lines(message: bytes) -> int:
    # Rules drawn with hyphens are no boundaries.
    return sum(1 for _ in _BOUNDARY.finditer(message))
