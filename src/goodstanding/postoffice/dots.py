"""Reads a message up to its final dot (RFC 5321 section 4.5.2), in pieces and not line by line."""

from __future__ import annotations

import asyncio
from typing import Final

LONGEST_LINE: Final = 1001

_END: Final = b"\r\n.\r\n"


class Refused(Exception):
    """The message was read to its end, but is not one to take; the text is the reply."""


async def read_message(reader: asyncio.StreamReader, most_bytes: int) -> bytes:
    """Return a message as it was before the sender doubled its dots.

    Raises:
        Refused: it is too long, or one of its lines is.
    """
    # As if a line had ended before the first: the end then looks the same wherever it comes.
    reader._buffer[:0] = b"\r\n"  # type: ignore[attr-defined]  # noqa: SLF001
    taken = bytearray()
    size = 0
    while True:
        try:
            piece = await reader.readuntil(_END)
            is_end = True
        except asyncio.LimitOverrunError as error:
            piece = await reader.read(error.consumed)
            is_end = False
        size += len(piece)
        if size <= most_bytes:
            taken += piece
        if is_end:
            break
    if size > most_bytes:
        raise Refused("552 Error: Too much mail data")
    if max(map(len, taken.split(b"\r\n"))) + 2 > LONGEST_LINE:
        raise Refused("500 Line too long (see RFC5321 4.5.3.1.6)")
    return bytes(taken[:-3].replace(b"\r\n.", b"\r\n")[2:])
