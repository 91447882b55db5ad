"""A table into a file for people: CSV or XLSX.

Nothing in it is obeyed: a text that a spreadsheet would take for a formula stays a text.
"""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, Final

import openpyxl  # type: ignore[import-untyped]
from openpyxl.cell import WriteOnlyCell  # type: ignore[import-untyped]
from openpyxl.cell.cell import ILLEGAL_CHARACTERS_RE  # type: ignore[import-untyped]

from goodstanding.contacts.workbook import MOST_ROWS

KINDS: Final = (".csv", ".xlsx")

_MOST_COLUMNS: Final = 16_384  # what a spreadsheet allows
_LONGEST_CELL: Final = 32_767  # characters
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""How a text begins that a spreadsheet may compute; the last four are those of wide scripts."""

_NUMBER: Final = re.compile(r"[+-][0-9][0-9 .,]*", re.ASCII)
"""One with a sign, as phone numbers are, is no danger."""

Write = Callable[[Sequence[str]], None]
"""Adds a row."""


class CannotSave(ValueError):
    """The file cannot be written; the message is one plain sentence."""


def may_be(path: Path) -> None:
    """See, before any work is done, that a file can be made there.

    Raises:
        CannotSave: it is there already, or it is neither CSV nor XLSX.
    """
    if path.suffix.lower() not in KINDS:
        raise CannotSave(f"{path} must end in {' or '.join(KINDS)}.")
    if path.exists():
        raise CannotSave(f"{path} is there already; name a file that is not.")
    if not path.parent.is_dir():
        raise CannotSave(f"{path.parent} is not a folder.")


@contextmanager
def saved(path: Path, headings: Sequence[str]) -> Iterator[Write]:
    """Write a new file: whole and on disk when the block is left, and gone where that fails.

    Only its owner may read it.

    Raises:
        CannotSave: it is there already, cannot be written, or cannot hold what is to be in it.
    """
    may_be(path)
    try:
        with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600), "wb") as raw:
            try:
                with _KINDS[path.suffix.lower()](raw) as write:
                    write(headings)
                    yield write
                raw.flush()
                os.fsync(raw.fileno())
            except BaseException:
                path.unlink(missing_ok=True)
                raise
        _sync(path.parent)
    except FileExistsError:
        raise CannotSave(f"{path} is there already; name a file that is not.") from None
    except OSError as error:
        raise CannotSave(f"{path} cannot be written: {error.strerror or error}.") from error


@contextmanager
def _csv(file: BinaryIO) -> Iterator[Write]:
    """RFC 4180, in UTF-8."""
    text = io.TextIOWrapper(file, "utf-8", newline="")
    rows = csv.writer(text)

    def write(row: Sequence[str]) -> None:
        rows.writerow([_inert(cell) for cell in row])

    try:
        yield write
    finally:
        text.detach()


def _inert(cell: str) -> str:
    """The cell with an apostrophe before it where it would be taken for a formula."""
    if cell.startswith(_FORMULA) and not _NUMBER.fullmatch(cell):
        return f"'{cell}"
    return cell


@contextmanager
def _xlsx(file: BinaryIO) -> Iterator[Write]:
    book = openpyxl.Workbook(write_only=True)
    sheet = book.create_sheet()
    written = 0

    def write(row: Sequence[str]) -> None:
        nonlocal written
        written += 1
        if written > MOST_ROWS or len(row) > _MOST_COLUMNS:
            raise CannotSave(
                f"A sheet holds no more than {MOST_ROWS:,} rows of {_MOST_COLUMNS:,} columns; name"
                " a file that ends in .csv."
            )
        sheet.append([_cell(sheet, text) for text in row])

    try:
        yield write
        book.save(file)
    except BaseException:
        # What it was in the midst of would else complain, later and elsewhere.
        with suppress(Exception):
            sheet.close()
        raise


def _cell(sheet: Any, text: str) -> Any:
    """The text as what it is, whatever it looks like."""
    if len(text) > _LONGEST_CELL:
        raise CannotSave(
            f"A cell of a sheet holds no more than {_LONGEST_CELL:,} characters; name a file that"
            " ends in .csv."
        )
    text = ILLEGAL_CHARACTERS_RE.sub("\ufffd", text)
    if not text.startswith((*_FORMULA, "#")):
        return text
    cell = WriteOnlyCell(sheet, text)
    cell.data_type = "s"
    cell.quotePrefix = True  # it stays a text when somebody edits it
    return cell


def _sync(folder: Path) -> None:
    """Have the folder's list of files on disk."""
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


_KINDS: Final = {".csv": _csv, ".xlsx": _xlsx}
