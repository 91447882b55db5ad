"""A file as a table: its headings, and its rows as they are asked for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec

LONGEST_CELL: Final = 100_000
"""Characters of a cell; a spreadsheet's own limit is 32,767."""


class Table(msgspec.Struct, frozen=True):
    """Headings, and rows with their line: as many cells as headings, none of them with a NUL."""

    headings: list[str]
    rows: Iterator[tuple[int, list[str]]]


def too_long(heading: str, place: int) -> str:
    """Say that a cell is longer than any may be; ``place`` counted from zero."""
    return f"the cell in column {place + 1} ({heading}) is longer than {LONGEST_CELL:,} characters"
