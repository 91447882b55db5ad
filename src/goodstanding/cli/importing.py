"""`import-contacts` and `import-events`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import typer

from goodstanding.cli import parameters
from goodstanding.cli.output import BadInput, complain, print_json, print_text, progress
from goodstanding.cli.parameters import Json


def import_contacts(
    file: Annotated[Path, typer.Argument(help="A CSV or XLSX file with a row of headings.")],
    permission: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT",
            help="How all of them agreed to be sent mailings; leave it out where they did not.",
        ),
    ] = None,
    list_name: Annotated[
        str | None, typer.Option("--list", metavar="NAME", help="The list that they go on.")
    ] = None,
    column: Annotated[
        list[str] | None,
        typer.Option(
            metavar="HEADING=WHAT", help="What a column holds, where its heading does not tell."
        ),
    ] = None,
    region: Annotated[
        str | None,
        typer.Option(metavar="CC", help="The country of numbers without a country code."),
    ] = None,
    encoding: Annotated[
        str | None, typer.Option(metavar="NAME", help="What a CSV file is written in.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Import contacts, a row each.

    A bad row is named with its number and what is wrong with it, the good ones are kept, and the
    exit status is 2. Importing a file again changes nothing.

    Example: goodstanding import-contacts people.csv --permission "ticked the box on our site"
    """
    from goodstanding.cli.setup import prepare

    prepare()
    from django.conf import settings

    from goodstanding.contacts import importing

    columns = dict(_column(text) for text in column or [])
    try:
        with progress("Importing contacts") as advance:
            rows = 0

            def taken(so_far: int) -> None:
                nonlocal rows
                advance(so_far - rows)
                rows = so_far

            done = importing.import_contacts(
                file,
                permission=permission,
                list_name=list_name,
                now=parameters.present(),
                progress=taken,
                columns=columns,
                region=region or settings.OPTIONS.region,
                encoding=encoding,
            )
    except importing.ImportProblem as error:
        raise BadInput(str(error)) from None
    for malformed in done.malformed_lines:
        complain(f"Line {malformed.line}: {malformed.why} It is kept, and nothing is sent there.")
    for problem in done.problems:
        complain(f"Line {problem.line}: {problem.why}")
    if done.problems_total > len(done.problems):
        complain(f"And {done.problems_total - len(done.problems):,} problems more.")
    if as_json:
        print_json({"file": str(file), **_plain(done)})
    else:
        print_text(
            f"{done.rows:,} contacts: {done.contacts_new:,} new, {done.contacts_known:,} known"
            f" before; {done.addresses:,} addresses, {done.malformed:,} malformed;"
            f" {done.without_address:,} without an address."
        )
    if done.problems_total:
        raise typer.Exit(2)


def _column(text: str) -> tuple[str, str]:
    heading, equals, what = text.rpartition("=")
    if not equals:
        raise BadInput(f"{text!r} is not of the form HEADING=WHAT.")
    return heading, what


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
        if done.words:
            print_text(f"Opt-outs and opt-ins read in replies by SMS: {done.words:,}.")
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
