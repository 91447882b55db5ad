"""What commands print: JSON or tables on standard output, all else on standard error."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console

PATIENCE: Final = 2.0
"""Seconds after which a progress bar appears."""

_PIPED_WIDTH: Final = 200  # columns, where nobody says how wide the terminal is


class Stop(Exception):
    """The command ends here, with a plain sentence on standard error."""

    status = 2


class BadInput(Stop):
    """Bad usage or input."""


class Refused(Stop):
    """The answer is no."""

    status = 1


@contextmanager
def asked_of_a_rule() -> Iterator[None]:
    """Around an act: a rule that forbids it answers no, and what it does not take is bad input."""
    from goodstanding.ledger.acts import NotAllowed

    try:
        yield
    except NotAllowed as error:
        raise Refused(str(error)) from None
    except ValueError as error:
        raise BadInput(str(error)) from None


def complain(sentence: str) -> None:
    """Say what is wrong, on a line of standard error."""
    sys.stdout.flush()
    sys.stderr.write(f"{plain(' '.join(sentence.split()))}\n")


def plain(text: str) -> str:
    """A foreign text without anything that a terminal would obey."""
    if text.isprintable():
        return text
    return "".join(
        letter if letter.isprintable() or letter == "\n" else f"\\x{ord(letter):02x}"
        for letter in text
    )


def print_json(item: object) -> None:
    """One item on one line of standard output, in UTF-8 wherever that goes."""
    import msgspec

    line = msgspec.json.encode(item).decode()
    buffer = getattr(sys.stdout, "buffer", None)
    if buffer is None:
        sys.stdout.write(f"{line}\n")
    else:
        sys.stdout.flush()
        buffer.write(f"{line}\n".encode())


def console() -> Console:
    """Standard output for people: colours on a terminal only."""
    from rich.console import Console

    return Console(
        file=sys.stdout,
        width=None if sys.stdout.isatty() else _PIPED_WIDTH,
        highlight=False,
        markup=False,
        emoji=False,
    )


def print_text(text: str = "", style: str | None = None) -> None:
    """A line for people; nothing in it is obeyed."""
    console().print(plain(text), style=style, soft_wrap=not sys.stdout.isatty())


def print_table(
    headings: Sequence[str],
    rows: Sequence[Sequence[object]],
    *,
    title: str | None = None,
    styles: Callable[[Sequence[object]], str | None] | None = None,
) -> None:
    """A table for people; numbers to the right, None as a dash."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for place, heading in enumerate(headings):
        numbers = bool(rows) and all(isinstance(row[place], int) for row in rows)
        table.add_column(
            heading, justify="right" if numbers else "left", overflow="fold", no_wrap=numbers
        )
    for row in rows:
        cells = [Text(_cell(value)) for value in row]
        table.add_row(*cells, style=styles(row) if styles is not None else None)
    console().print(table)


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return plain(str(value))


@contextmanager
def progress(what: str, total: int | None = None) -> Iterator[Callable[[int], None]]:
    """Show how far it is, on a terminal and only after ``PATIENCE``; call with what was done."""
    meter = _Meter(what, total)
    try:
        yield meter.advance
    finally:
        meter.end()


class _Meter:
    def __init__(self, what: str, total: int | None) -> None:
        self._what = what
        self._total = total
        self._done = 0
        self._begun = time.monotonic()
        self._bar: Any = None
        self._task: Any = None

    def advance(self, by: int) -> None:
        self._done += by
        if self._bar is None and time.monotonic() - self._begun > PATIENCE:
            self._show()
        if self._bar is not None:
            self._bar.update(self._task, completed=self._done)

    def _show(self) -> None:
        if not sys.stderr.isatty():
            return
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn
        from rich.progress import TimeRemainingColumn as Remaining

        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            Remaining(),
            console=Console(file=sys.stderr),
            transient=True,
        )
        self._bar.start()
        self._task = self._bar.add_task(self._what, total=self._total)

    def end(self) -> None:
        if self._bar is not None:
            self._bar.stop()
