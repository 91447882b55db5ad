"""Pieces of work: some mails each, small enough that no process waits long for another."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from io import BufferedIOBase
from pathlib import Path
from typing import Final, cast

import msgspec

from goodstanding.bounces.mailboxes.files import Unreadable, files
from goodstanding.bounces.mailboxes.parting import BEGINS, parted, whole

SIZE: Final = 256 * 1024
"""Bytes of a work, and of a part of an mbox, about."""

_FILE: Final = 4 * 1024  # what it costs to open a file, in bytes that could be read meanwhile


class Piece(msgspec.Struct, array_like=True, gc=False):
    """A file (no ``end``), the part of an mbox in which the mails begin, or mails of a stream.

    ``path`` is there for a file only; ``begin`` is 0 for the first piece of each file; ``size`` in
    bytes. ``refused``: why there is nothing, an error's number and text.
    """

    place: str
    path: bytes = b""
    begin: int = 0
    end: int | None = None
    size: int = 0
    mails: list[bytes] | None = None
    numbered: bool = False
    refused: tuple[int | None, str] | None = None


class Outcome(msgspec.Struct, array_like=True, gc=False):
    """What was made of each mail of a piece; ``numbered`` where they stand in an mbox."""

    made: list[bytes]
    numbered: bool = False
    error: tuple[int | None, str] | None = None


def works(paths: tuple[str, ...]) -> Iterator[list[Piece]]:
    """The pieces of all ``paths``, in order, as many together as are one work."""
    work: list[Piece] = []
    weight = 0
    for path in paths:
        for piece in _pieces(path):
            work.append(piece)
            weight += piece.size + _FILE
            if weight >= SIZE:
                yield work
                work, weight = [], 0
    if work:
        yield work


def outcome(piece: Piece, make: Callable[[bytes], bytes]) -> Outcome:
    """Read a piece: what ``make`` makes of each of its mails."""
    made: list[bytes] = []
    came = Outcome(made, piece.numbered, piece.refused)
    if piece.mails is not None:
        made += map(make, piece.mails)
    elif piece.refused is None:
        try:
            with Path(os.fsdecode(piece.path)).open("rb") as file:
                start = file.read(len(BEGINS))
                came.numbered = piece.begin > 0 or start == BEGINS
                if came.numbered:
                    made.extend(map(make, parted(file, piece.begin, piece.end, start=start)))
                else:
                    made.append(make(whole(file, start)))
        except OSError as error:
            came.error = _refusal(error)
    return came


def _pieces(path: str) -> Iterator[Piece]:
    """The pieces of one path.

    What cannot be read is a piece, too, so that it is told of in its place.
    """
    place = printable(path)
    try:
        if path == "-":
            yield from _of_stream(place, cast(BufferedIOBase, sys.stdin.buffer))
        elif Path(path).is_dir():
            for file in files(path):
                if isinstance(file, Unreadable):
                    folder, error = file.args
                    yield Piece(printable(folder), refused=_refusal(error))
                else:
                    yield from _of_file(file)
        elif Path(path).exists() and not Path(path).is_file():
            with Path(path).open("rb") as stream:
                yield from _of_stream(place, stream)
        else:
            yield from _of_file(path)
    except OSError as error:
        yield Piece(place, begin=-1, refused=_refusal(error))


def _of_file(path: str) -> Iterator[Piece]:
    """A file in one piece, or an mbox in several."""
    name, place = os.fsencode(path), printable(path)
    try:
        size = Path(path).stat().st_size
        large = size > 2 * SIZE and _is_mbox(path)
    except OSError as error:
        yield Piece(place, name, refused=_refusal(error))
        return
    if not large:
        yield Piece(place, name, size=size)
        return
    for begin in range(0, size, SIZE):
        yield Piece(place, name, begin, min(begin + SIZE, size), min(SIZE, size - begin))


def _of_stream(place: str, stream: BufferedIOBase) -> Iterator[Piece]:
    """The mails of a stream, some at a time."""
    start = stream.read(len(BEGINS))
    if start != BEGINS:
        mail = whole(stream, start)
        yield Piece(place, size=len(mail), mails=[mail])
        return
    first = 0
    mails: list[bytes] = []
    weight = 0
    for mail in parted(stream, start=start):
        mails.append(mail)
        weight += len(mail)
        if weight >= SIZE:
            yield Piece(place, begin=first, size=weight, mails=mails, numbered=True)
            first, mails, weight = first + len(mails), [], 0
    if mails:
        yield Piece(place, begin=first, size=weight, mails=mails, numbered=True)


def _is_mbox(path: str) -> bool:
    with Path(path).open("rb") as file:
        return file.read(len(BEGINS)) == BEGINS


def _refusal(error: OSError) -> tuple[int | None, str]:
    return error.errno, error.strerror or str(error)


def printable(path: str) -> str:
    """A path as text, whatever bytes it was made of."""
    return os.fsencode(path).decode("utf-8", "replace")
