"""Reading XLSX: the first sheet of a workbook, which may be a bomb."""

from __future__ import annotations

import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from xml.parsers import expat

import msgspec
import openpyxl  # type: ignore[import-untyped]

from goodstanding.contacts.headings import MOST_COLUMNS
from goodstanding.contacts.problems import ImportProblem, Problems
from goodstanding.contacts.table import LONGEST_CELL, Table, too_long

MOST_ROWS: Final = 1_048_576
"""Rows of a sheet: what spreadsheets allow."""

_MB: Final = 1_000_000
_UNPACKED: Final = 1_500 * _MB  # octets of all parts together
_PARTS: Final = 10_000
_BESIDE: Final = 20  # columns beside the headings that are looked into
_CHUNK: Final = 1 << 16


class _Bounds(msgspec.Struct, frozen=True):
    """What one part may be: its octets, its elements, how deep, and octets of one row or string."""

    size: int
    elements: int
    piece: int
    depth: int = 40


_SHEET: Final = _Bounds(1_500 * _MB, 50_000_000, 16 * _MB)
_STRINGS: Final = _Bounds(300 * _MB, 10_000_000, 16 * _MB)
_OTHER: Final = _Bounds(16 * _MB, 200_000, 16 * _MB)
_PIECES: Final = ("row", "si")


@contextmanager
def opened(path: Path, problems: Problems) -> Iterator[Table]:
    """Open a workbook; the rows of its first sheet are read as they are asked for.

    Raises:
        ImportProblem: it is broken or locked, has no sheet or no headings, or is larger unpacked
            than any honest one.
    """
    _look_into(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of styles and extensions that say nothing here
        try:
            book = openpyxl.load_workbook(path, read_only=True, data_only=True, keep_links=False)
        except Exception as error:  # openpyxl lets errors of every sort through
            raise _broken(error) from error
        try:
            if not book.worksheets:
                raise ImportProblem("The workbook has no sheet.")
            sheet = book.worksheets[0]
            sheet.reset_dimensions()
            start, headings = _headings(sheet)
            yield Table(headings, _rows(sheet, start, headings, problems))
        finally:
            book.close()


def _headings(sheet: Any) -> tuple[int, list[str]]:
    rows = sheet.iter_rows(max_row=MOST_ROWS, max_col=MOST_COLUMNS + 1, values_only=True)
    try:
        for number, values in enumerate(rows, 1):
            cells = [_text(value) for value in values]
            while cells and not cells[-1].strip():
                cells.pop()
            if cells:
                return number, cells
    except Exception as error:  # openpyxl lets errors of every sort through
        raise _broken(error) from error
    raise ImportProblem("The first sheet of the workbook is empty.")


def _rows(
    sheet: Any, start: int, headings: list[str], problems: Problems
) -> Iterator[tuple[int, list[str]]]:
    width, number = len(headings), start
    rows = sheet.iter_rows(
        min_row=start + 1, max_row=MOST_ROWS, max_col=width + _BESIDE, values_only=True
    )
    while True:
        number += 1
        try:
            values = next(rows, None)
        except Exception as error:  # noqa: BLE001 - openpyxl lets errors of every sort through
            problems.note(number, f"it and all after it cannot be read: {_first_line(error)}")
            return
        if values is None:
            return
        cells = [_text(value) for value in values]
        if not any(cells):
            continue
        why = _wrong(cells, headings)
        if why is None:
            yield number, cells[:width]
        else:
            problems.note(number, why)


def _wrong(cells: list[str], headings: list[str]) -> str | None:
    for place, cell in enumerate(cells):
        if place >= len(headings):
            if cell:
                return f"it has a cell in column {place + 1}, which has no heading"
        elif len(cell) > LONGEST_CELL:
            return too_long(headings[place], place)
        elif "\0" in cell:
            return f"the cell in column {place + 1} ({headings[place]}) has a NUL character"
    return None


def _text(value: object) -> str:
    """A cell as one would read it; a time without a zone is taken to be UTC."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e16:
        return str(int(value))
    if isinstance(value, datetime):
        return value.replace(tzinfo=value.tzinfo or UTC).isoformat()
    return str(value)


def _look_into(path: Path) -> None:
    """Refuse what would take more memory or time than any honest workbook of a million rows."""
    try:
        with zipfile.ZipFile(path) as archive:
            parts = archive.infolist()
            _weigh(parts)
            for part in parts:
                if part.filename.endswith((".xml", ".rels")):
                    _look_into_part(archive, part)
    except ImportProblem:
        raise
    except Exception as error:  # zipfile lets errors of every sort through
        raise _broken(error) from error


def _weigh(parts: list[zipfile.ZipInfo]) -> None:
    # No part unpacks to more than it claims: zipfile stops there.
    if len(parts) > _PARTS or sum(part.file_size for part in parts) > _UNPACKED:
        raise ImportProblem(
            f"The workbook is too large: over {_UNPACKED // _MB:,} MB unpacked, or over "
            f"{_PARTS:,} parts."
        )


def _look_into_part(archive: zipfile.ZipFile, part: zipfile.ZipInfo) -> None:
    bounds = _bounds(part.filename)
    if part.file_size > bounds.size:
        raise _too_large(part.filename)
    parser = expat.ParserCreate()
    counter = _Counter(parser, part.filename, bounds)
    parser.StartElementHandler = counter.start
    parser.EndElementHandler = counter.end
    parser.StartDoctypeDeclHandler = counter.doctype
    read = 0
    with archive.open(part) as file:
        while chunk := file.read(_CHUNK):
            read += len(chunk)
            parser.Parse(chunk, False)
            if read - counter.began > bounds.piece + _CHUNK:
                raise _too_large(part.filename)
        parser.Parse(b"", True)


class _Counter:
    """Counts what a part is made of as the parser comes to it."""

    def __init__(self, parser: expat.XMLParserType, name: str, bounds: _Bounds) -> None:
        self.began = 0  # where the last row or string began, in octets
        self._parser = parser
        self._name = name
        self._bounds = bounds
        self._elements = 0
        self._depth = 0

    def start(self, name: str, _attributes: object) -> None:
        self._elements += 1
        self._depth += 1
        if self._elements > self._bounds.elements or self._depth > self._bounds.depth:
            raise _too_large(self._name)
        if name.rpartition(":")[2] in _PIECES:
            self.began = self._parser.CurrentByteIndex

    def end(self, _name: str) -> None:
        self._depth -= 1

    def doctype(self, *_said: object) -> None:
        raise ImportProblem(f"The workbook's part {self._name} declares a document type.")


def _bounds(name: str) -> _Bounds:
    if name.startswith("xl/worksheets/sheet"):
        return _SHEET
    return _STRINGS if name.casefold().endswith("/sharedstrings.xml") else _OTHER


def _too_large(name: str) -> ImportProblem:
    return ImportProblem(f"The workbook's part {name[:100]!r} is too large.")


def _broken(error: Exception) -> ImportProblem:
    return ImportProblem(f"The file is not a workbook that can be read: {_first_line(error)}.")


def _first_line(error: Exception) -> str:
    lines = str(error).splitlines()
    return (lines[0][:200] if lines else type(error).__name__).rstrip(".")
