"""`explain`: what mails and replies say. Needs no database, and no Django."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from contextlib import closing
from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec
import typer

from goodstanding.cli import parameters
from goodstanding.cli.output import (
    BadInput,
    Stop,
    complain,
    print_json,
    print_table,
    print_text,
    progress,
)
from goodstanding.cli.parameters import Json, Replies, RulesFile

if TYPE_CHECKING:
    from goodstanding.bounces import Report

FIELDS: Final = (
    *("kind", "recipient", "status", "code", "category"),
    *("disposition", "rule", "text", "provider", "feedback_type"),
)
"""What is told of a report (design, section 11)."""


def explain(
    paths: Annotated[
        list[str] | None,
        typer.Argument(metavar="PATH...", help="A mail, an mbox, a Maildir, a folder, or -."),
    ] = None,
    reply: Annotated[
        str | None, typer.Option(metavar="TEXT", help="An SMTP reply, as finally given.")
    ] = None,
    replies: Replies = None,
    provider: Annotated[
        str | None, typer.Option(metavar="DOMAIN", help="Who said it, such as gmail.com.")
    ] = None,
    rules: RulesFile = None,
    processes: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Processes that read (one for each processor)."),
    ] = None,
    as_json: Json = False,
) -> None:
    """What do these mails say? Who bounced, why, and what that does to the address.

    Nothing is sent and nothing is remembered; mails that are no reports are said to be none. Many
    mails are read by as many processes as there are processors.

    Example: goodstanding explain bounces.mbox

    One reply: goodstanding explain --reply "550 5.1.1 user unknown" --provider gmail.com
    """
    if not (paths or reply is not None or replies is not None):
        raise BadInput("Say what to explain: a PATH, --reply TEXT or --replies FILE.")
    parameters.use_rules(rules)
    from goodstanding import bounces

    show = _print_json if as_json else _print_reports
    if reply is not None:
        show(None, [bounces.read_reply(reply, provider, explain=True)])
    if replies is not None:
        for place, text in parameters.replies(replies):
            show(place, [bounces.read_reply(text, provider, explain=True)])
    if paths and not _explained(tuple(paths), processes, as_json=as_json):
        raise typer.Exit(2)


def _explained(paths: tuple[str, ...], processes: int | None, *, as_json: bool) -> bool:
    """Print what the mails at ``paths`` say; whether all of them could be read."""
    from goodstanding.bounces import mailboxes

    unread: list[str] = []

    def tell(place: str, error: OSError) -> None:
        complain(f"{place} cannot be read: {error.strerror or error}.")
        unread.append(place)

    total = mailboxes.size(paths) if sys.stderr.isatty() else None
    make, show = (_json, _print_line) if as_json else (_kept, _print_kept)
    with progress("Reading", total) as advance:
        found = mailboxes.each(paths, make, processes=processes, onerror=tell, advance=advance)
        with closing(found):
            try:
                for place, made in found:
                    show(place, made)
            except mailboxes.Died as died:
                raise Stop(str(died)) from None
    return not unread


def _print_json(place: str | None, reports: Iterable[Report]) -> None:
    print_json({"file": place, "reports": [_told(report) for report in reports]})


def _told(report: Report) -> dict[str, Any]:
    return {field: getattr(report, field) for field in (*FIELDS, "others")}


def _json(message: bytes) -> bytes:
    """The reports of a mail as they are printed: most of that is done where it is read."""
    from goodstanding import bounces

    return msgspec.json.encode([_told(report) for report in bounces.read(message, explain=True)])


def _print_line(place: str, reports: bytes) -> None:
    print_json({"file": place, "reports": msgspec.Raw(reports)})


def _kept(message: bytes) -> bytes:
    """The reports of a mail, whole."""
    from goodstanding import bounces

    return msgspec.msgpack.encode(bounces.read(message, explain=True))


def _print_kept(place: str, reports: bytes) -> None:
    from goodstanding.bounces import Report

    _print_reports(place, msgspec.msgpack.decode(reports, type=list[Report]))


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
