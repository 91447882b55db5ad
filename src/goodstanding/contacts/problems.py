"""What goes wrong in an import: for the whole file an error, for one line a note."""

from __future__ import annotations

from typing import Final

import msgspec

KEPT: Final = 1000
"""How many problems are kept with their lines; the others are only counted."""

_SHOWN: Final = 60  # characters of a foreign text that a sentence repeats


class ImportProblem(ValueError):
    """A file that cannot be imported; the message is one plain sentence."""


class Problem(msgspec.Struct, frozen=True):
    """What is wrong with a line (of a workbook: a row), counted from one."""

    line: int
    why: str


class Problems:
    """The problems found so far: the first of them kept, all of them counted."""

    def __init__(self) -> None:
        self.kept: list[Problem] = []
        self.total = 0

    def note(self, line: int, why: str) -> None:
        """Add one."""
        self.total += 1
        if len(self.kept) < KEPT:
            self.kept.append(Problem(line, why))


def shown(text: str) -> str:
    """A foreign text as a sentence may repeat it: short, quoted, printable."""
    return repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…")
