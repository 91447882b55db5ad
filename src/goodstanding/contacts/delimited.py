"""Reading CSV: every line that is wrong is named, all others are kept.

Memory is bounded by the longest record allowed, and time is linear in the size of the file,
wherever its quotes stand.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final, TextIO

from goodstanding.contacts.headings import recognised
from goodstanding.contacts.problems import ImportProblem, Problems, shown
from goodstanding.contacts.table import LONGEST_CELL, Table, too_long

LONGEST_RECORD: Final = 1_000_000
"""Characters of a record, over all its lines."""

_DELIMITERS: Final = (",", ";", "\t")
_BOMS: Final = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
# What is no text comes out of the decoders as lone surrogates, which text never has.
_NO_TEXT: Final = re.compile("[\ud800-\udfff]")
_MARK: Final = "goodstanding.mark"
_SEPARATOR: Final = re.compile(r'"?sep=([,;\t])"?\s*', re.IGNORECASE)
_REREADING: Final = (4 * LONGEST_RECORD, 4)  # characters: so many, and so many times those read


@contextmanager
def opened(path: Path, encoding: str | None, problems: Problems) -> Iterator[Table]:
    """Open a CSV file with a delimiter of its own choice: comma, semicolon or tab.

    ``encoding`` is what it is written in where it does not begin by saying so; UTF-8 if left out.

    Raises:
        ImportProblem: there is no such encoding, the file is empty, or its headings cannot be read.
    """
    with path.open("rb") as file:
        named = _encoding(file, encoding)
        lines = _Lines(_text(file, named))
        records = _Records(lines, _delimiter(lines), problems, named)
        headings = records.headings()
        yield Table(headings, records.rows(headings))


class _TooLong(Exception):
    """The record that is being read is longer than any may be."""


class _Lines:
    """The lines of a file, counted; those of the present record can be read again."""

    def __init__(self, file: TextIO) -> None:
        self.number = 0
        self.record: list[str] = []
        self._file = file
        self._again: deque[str] = deque()
        self._size = 0
        self._read = 0
        self._reread = 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._again.popleft() if self._again else self._next()
        if not line:
            raise StopIteration
        self.number += 1
        self.record.append(line)
        self._size += len(line)
        if self._size > LONGEST_RECORD:
            raise _TooLong
        return line

    def begin(self) -> None:
        """Let a record begin with the line to come."""
        self.record.clear()
        self._size = 0

    def back_to(self, place: int) -> bool:
        """Go back to a line of the record (from 0), unless too much was read again already."""
        some, times = _REREADING
        if self._reread > some + times * self._read:
            return False
        self._reread += self._size
        self._again.extendleft(reversed(self.record[place:]))
        self.number -= len(self.record) - place
        return True

    def _next(self) -> str:
        line = self._file.readline(LONGEST_RECORD + 1)
        self._read += len(line)
        rest = line
        while len(line) > LONGEST_RECORD and rest and rest[-1] not in "\r\n":
            rest = self._file.readline(LONGEST_RECORD)
            self._read += len(rest)
        return line


class _Records:
    def __init__(self, lines: _Lines, delimiter: str, problems: Problems, encoding: str) -> None:
        self._lines = lines
        self._delimiter = delimiter
        self._problems = problems
        self._encoding = encoding
        # Strict: text after a closing quote is an error, not something to glue to the cell.
        self._reader = csv.reader(lines, delimiter=delimiter, strict=True)

    def headings(self) -> list[str]:
        """The first record.

        Raises:
            ImportProblem: it cannot be read.
        """
        try:
            cells, why = self._next()
        except StopIteration:
            raise ImportProblem("The file has no headings.") from None
        why = why or self._broken()[1]
        if why is not None:
            raise ImportProblem(f"The headings in line {self._first} cannot be read: {why}.")
        while cells and not cells[-1].strip():
            cells.pop()
        return cells

    def rows(self, headings: list[str]) -> Iterator[tuple[int, list[str]]]:
        """The records after it that can be read, each with the number of its first line."""
        width = len(headings)
        while True:
            try:
                cells, why = self._next()
            except StopIteration:
                return
            if len(cells) > width and not any(cells[width:]):
                del cells[width:]
            if why is None and not any(cells):
                continue
            if why is None and len(cells) != width:
                why = f"it has {len(cells)} cells, the headings have {width}"
            if why is None and sum(map(len, cells)) > LONGEST_CELL:
                why = next(
                    (
                        too_long(headings[place], place)
                        for place, cell in enumerate(cells)
                        if len(cell) > LONGEST_CELL
                    ),
                    None,
                )
            line, broken = self._broken()
            if why is None and broken is None:
                yield self._first, cells
            else:
                self._wrong(why, line, broken)

    @property
    def _first(self) -> int:
        return self._lines.number - len(self._lines.record) + 1

    def _next(self) -> tuple[list[str], str | None]:
        """The cells of the next record, or why it is none."""
        self._lines.begin()
        try:
            return next(self._reader), None
        except _TooLong:
            return [], self._unreadable(f"it is longer than {LONGEST_RECORD:,} characters")
        except csv.Error:
            return [], self._unreadable("text follows a closing quote, or a quote is not closed")

    def _unreadable(self, otherwise: str) -> str:
        if len(self._lines.record) > 1:
            return "a quote that opens in it is not closed as it should be"
        place = _long_cell(self._lines.record[0], self._delimiter)
        return otherwise if place is None else too_long("as its delimiters say", place)

    def _broken(self) -> tuple[int, str | None]:
        """The first line of the record that is no text, and why."""
        for line, text in enumerate(self._lines.record, self._first):
            if "\0" in text:
                return line, "it has a NUL character"
            if not text.isascii() and _NO_TEXT.search(text):
                other = "" if self._encoding != "utf-8" else " (perhaps it is windows-1252)"
                return line, f"it is not {self._encoding.upper()}{other}"
        return 0, None

    def _wrong(self, why: str | None, line: int, broken: str | None) -> None:
        """Note what is wrong with the record; give its other lines a chance of their own."""
        first, last = self._first, self._lines.number
        if why is None or first == last:
            self._problems.note(line if broken else first, broken or why or "")
        elif self._lines.back_to(1):
            self._problems.note(first, broken if broken and line == first else why)
        else:
            self._problems.note(first, f"{why}; all up to line {last} was left out")


def _encoding(file: BinaryIO, said: str | None) -> str:
    head = file.read(3)
    file.seek(0)
    for bom, encoding in _BOMS.items():
        if head.startswith(bom):
            return encoding
    return (said or "utf-8").lower()


def _text(file: BinaryIO, encoding: str) -> TextIO:
    """The file's text, line ends as they are, and a lone surrogate for what is none."""
    errors = "surrogateescape" if encoding.startswith("utf-8") else _MARK
    try:
        return io.TextIOWrapper(file, encoding=encoding, errors=errors, newline="")
    except LookupError:
        raise ImportProblem(f"There is no encoding {shown(encoding)}.") from None


def _delimiter(lines: _Lines) -> str:
    """The delimiter that the file names, or under which most headings are known."""
    try:
        while True:
            lines.begin()
            line = next(lines)
            if line.strip():
                break
    except StopIteration:
        raise ImportProblem("The file is empty.") from None
    except _TooLong:
        raise ImportProblem(
            f"Line {lines.number}, which should hold the headings, is longer than "
            f"{LONGEST_RECORD:,} characters."
        ) from None
    named = _SEPARATOR.fullmatch(line)
    if named:
        return named[1]
    lines.back_to(0)
    return max(_DELIMITERS, key=lambda delimiter: _likeliness(line, delimiter))


def _likeliness(line: str, delimiter: str) -> tuple[bool, int, int]:
    try:
        headings = next(csv.reader([line], delimiter=delimiter))
    except csv.Error:
        return (False, 0, 0)
    return (*recognised(headings), len(headings))


def _long_cell(text: str, delimiter: str) -> int | None:
    """The place of the first cell that is longer than any may be."""
    place, start, inside = 0, 0, False
    for mark in re.finditer(f'["{delimiter}]', text):
        if mark[0] == '"':
            inside = not inside
        elif not inside:
            if mark.start() - start > LONGEST_CELL:
                return place
            place, start = place + 1, mark.end()
    return place if len(text) - start > LONGEST_CELL else None


def _mark(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return "\udcff", error.end


codecs.register_error(_MARK, _mark)
