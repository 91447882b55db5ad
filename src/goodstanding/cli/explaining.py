"""`explain`: what mails and replies say. Needs no database, and no Django."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from goodstanding.cli import messages
from goodstanding.cli.output import BadInput, complain, print_json, print_table, print_text
from goodstanding.cli.parameters import Json
from goodstanding.cli.ruling import RulesFile, put_in_force

if TYPE_CHECKING:
    from goodstanding.bounces import Report

FIELDS: Final = (
    *("kind", "recipient", "status", "code", "category"),
    *("disposition", "rule", "text", "provider", "feedback_type"),
)
"""What is told of a report (design, section 11)."""

_LONGEST: Final = 64 * 1024  # bytes of one reply


def explain(
    paths: Annotated[
        list[str] | None,
        typer.Argument(metavar="PATH...", help="A mail, an mbox, a Maildir, a folder, or -."),
    ] = None,
    reply: Annotated[
        str | None, typer.Option(metavar="TEXT", help="An SMTP reply, as finally given.")
    ] = None,
    replies: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A file of such replies, one a line.")
    ] = None,
    provider: Annotated[
        str | None, typer.Option(metavar="DOMAIN", help="Who said it, such as gmail.com.")
    ] = None,
    rules: RulesFile = None,
    as_json: Json = False,
) -> None:
    """What do these mails say? Who bounced, why, and what that does to the address.

    Nothing is sent and nothing is remembered; mails that are no reports are said to be none.

    Example: goodstanding explain bounces.mbox

    One reply: goodstanding explain --reply "550 5.1.1 user unknown" --provider gmail.com
    """
    if not (paths or reply is not None or replies is not None):
        raise BadInput("Say what to explain: a PATH, --reply TEXT or --replies FILE.")
    put_in_force(rules)
    from goodstanding import bounces

    failed = False
    show = _print_json if as_json else _print_reports
    if reply is not None:
        show(None, [bounces.read_reply(reply, provider, explain=True)])
    if replies is not None:
        for place, text in _lines(replies):
            show(place, [bounces.read_reply(text, provider, explain=True)])
    for path in paths or []:
        try:
            for mail in messages.mails(path):
                show(mail.place, bounces.read(mail.message, explain=True))
        except BrokenPipeError:
            raise
        except OSError as error:
            complain(f"{messages.printable(path)} cannot be read: {error.strerror or error}.")
            failed = True
    if failed:
        raise typer.Exit(2)


def _lines(file: Path) -> Iterator[tuple[str, str]]:
    """The replies in a file, each with its place."""
    try:
        with file.open("rb") as opened:
            number = 0
            while line := opened.readline(_LONGEST):
                number += 1
                text = line.decode("utf-8", "replace").strip()
                while len(line) == _LONGEST and not line.endswith(b"\n"):
                    line = opened.readline(_LONGEST)
                if text:
                    yield f"{messages.printable(str(file))}#{number}", text
    except OSError as error:
        raise BadInput(f"{file} cannot be read: {error.strerror or error}.") from None


def _print_json(place: str | None, reports: Iterable[Report]) -> None:
    print_json({"file": place, "reports": [_told(report) for report in reports]})


def _told(report: Report) -> dict[str, Any]:
    return {field: getattr(report, field) for field in (*FIELDS, "others")}


def _print_reports(place: str | None, reports: Iterable[Report]) -> None:
    if place is not None:
        print_text(place, style="bold")
    told = list(reports)
    if not told:
        print_text("  Plain mail: it reports nothing.")
    for report in told:
        rows = [(field, said) for field in FIELDS if (said := getattr(report, field)) is not None]
        if report.words is not None:
            rows.append(("words", report.words))
        for other in report.others:
            words = f" by “{other.words}”" if other.words is not None else ""
            rows.append(("also considered", f"{other.category}: {other.rule}{words}"))
        print_table(("", "What it says"), rows)
