"""`import-contacts` and `import-events`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import typer

from goodstanding.cli import parameters
from goodstanding.cli.output import BadInput, complain, print_json, print_text, progress
from goodstanding.cli.parameters import Json


def import_events(
    file: Annotated[Path, typer.Argument(help="The file, or - for standard input.")],
    strict: Annotated[
        bool, typer.Option("--strict", help="Keep nothing where a single line is bad.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Import events, one JSON object a line.

    A bad line is named with its number and what is wrong with it, the good ones are kept, and the
    exit status is 2. Importing a file again changes nothing.

    Example: goodstanding import-events history.jsonl

    A line of it: {"kind": "bounced", "occurred_at": "2026-03-01T09:30:00Z",
    "address": "ann@example.com", "mailing": "spring",
    "detail": {"text": "550 5.1.1 user unknown"}}
    """
    from goodstanding.cli.setup import prepare

    with _opened(file) as opened:
        prepare()
        from goodstanding.ledger import importing

        with progress("Importing events", _size(file)) as advance:
            done = importing.import_events(
                importing.bounded_lines(opened),
                parameters.present(),
                strict=strict,
                progress=advance,
                on_problem=lambda problem: complain(f"Line {problem.line}: {problem.why}"),
            )
    if as_json:
        print_json({"file": str(file), **_plain(done)})
    else:
        print_text(
            f"{done.read:,} lines read: {done.stored:,} events stored, {done.repeated:,} heard"
            f" before, {done.bad:,} bad lines."
        )
        if strict and done.bad:
            print_text("Nothing was kept.")
    if done.bad:
        raise typer.Exit(2)


def _plain(done: Any) -> dict[str, Any]:
    import msgspec

    plain: dict[str, Any] = msgspec.to_builtins(done)
    return plain


def _opened(file: Path) -> BinaryIO:
    if str(file) == "-":
        return sys.stdin.buffer
    try:
        return file.open("rb")
    except OSError as error:
        raise BadInput(f"{file} cannot be read: {error.strerror}.") from None


def _size(file: Path) -> int | None:
    return file.stat().st_size if file.is_file() else None
