"""Whole mailboxes: mbox files, Maildirs, folders of mails, streams; read over all processors.

``files`` finds the files, in order; ``pieces`` makes of them, or of parts of a large mbox, pieces
of work of about equal size; ``parting`` finds the mails in a piece; ``processes`` has the pieces
read at once and gives back, in the mails' order, what came of each. Memory does not grow with the
mailbox: of a mail its beginning and its end are kept, of pieces a few for each process, and the
names of a large folder are sorted on disk.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from itertools import chain, islice
from typing import Final

import msgspec

from goodstanding.bounces.mail import read
from goodstanding.bounces.mailboxes.files import size
from goodstanding.bounces.mailboxes.pieces import Outcome, Piece, outcome, printable, works
from goodstanding.bounces.mailboxes.processes import Died, at_once
from goodstanding.bounces.report import Report

__all__ = ["Died", "Mail", "each", "printable", "processors", "read_all", "size"]


class Mail(msgspec.Struct, frozen=True):
    """The reports of one mail, and where it is: ``PATH`` or, in an mbox, ``PATH#n``."""

    place: str
    reports: list[Report]


_REPORTS: Final = msgspec.msgpack.Decoder(list[Report])


def read_all(
    *paths: str,
    processes: int | None = None,
    onerror: Callable[[str, OSError], None] | None = None,
) -> Iterator[Mail]:
    """What the mails at ``paths`` report, in their order, as ``read`` would say of each.

    A path is a mail, an mbox, a Maildir, a folder with any of them, or ``-`` for standard input.
    ``processes``: how many read (as many as there are processors); a few mails are read without
    starting any. They are forked when the first mail is asked for, and end with the iterator.
    ``onerror`` is told of what cannot be read, and the rest is read all the same.

    Raises:
        OSError: something cannot be read, and there is no ``onerror``.
        Died: one of the processes did.
    """
    found = each(paths, _encoded, processes=processes, onerror=onerror)
    with closing(found):
        for place, made in found:
            yield Mail(place, _REPORTS.decode(made))


def each(
    paths: tuple[str, ...],
    make: Callable[[bytes], bytes],
    *,
    processes: int | None = None,
    onerror: Callable[[str, OSError], None] | None = None,
    advance: Callable[[int], None] | None = None,
) -> Generator[tuple[str, bytes]]:
    """The place of each mail at ``paths``, and what ``make`` makes of it in one of the processes.

    ``advance`` is told of the bytes that are done with. All else is as ``read_all`` says.
    """
    number = 0
    done = _outcomes(works(paths), make, processors() if processes is None else processes)
    with closing(done):
        for piece, came in done:
            number = 0 if piece.begin == 0 else number
            for made in came.made:
                number += 1
                yield (f"{piece.place}#{number}" if came.numbered else piece.place), made
            if came.error is not None:
                error = OSError(*came.error)
                if onerror is None:
                    raise error
                onerror(piece.place, error)
            if advance is not None:
                advance(piece.size)


def processors() -> int:
    """How many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _encoded(message: bytes) -> bytes:
    return msgspec.msgpack.encode(read(message))


def _outcomes(
    found: Iterator[list[Piece]], make: Callable[[bytes], bytes], processes: int
) -> Generator[tuple[Piece, Outcome]]:
    """Each piece and what came of it; here, where there is one work alone or one processor."""
    begun = list(islice(found, 2))
    all_of_them = chain(begun, found)
    if len(begun) == 2 and processes > 1 and hasattr(os, "fork"):
        return at_once(all_of_them, make, processes)
    return ((piece, outcome(piece, make)) for work in all_of_them for piece in work)
