"""`rules`: put the rules for bounces to the test. Needs no database, and no Django."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from goodstanding.cli import parameters
from goodstanding.cli.output import BadInput, print_json, print_text, progress
from goodstanding.cli.parameters import Json, Replies, RulesFile

if TYPE_CHECKING:
    from goodstanding.bounces.checking import Text


def rules(
    own: RulesFile = None,
    against: Annotated[
        list[Path] | None,
        typer.Option(metavar="PATH", help="Mails to try them on: a file, an mbox, a folder."),
    ] = None,
    replies: Replies = None,
    as_json: Json = False,
) -> None:
    """Are the rules for bounces in order? With --rules FILE: are yours, beside the package's?

    Told are patterns that match nothing, or decide nothing; examples that another rule decides, and
    counter-examples that their own does; texts that only the length of the words decides; patterns
    that stand twice, or are slow. The exit status is 1 where there is any, 2 where the file is
    wrong.

    Example: goodstanding rules --rules ours.toml --replies replies.txt
    """
    parameters.use_rules(own)
    from goodstanding.bounces import checking

    total = sum(len(rule.patterns) for rule in checking.concerned())
    with progress("Trying the rules", total) as advance:
        findings = checking.check(_material(against or [], replies), advance)
    for finding in findings:
        if as_json:
            print_json(finding)
        else:
            fault = finding.fault.replace("_", " ")
            print_text(f"{finding.file}: rule {finding.rule}: {fault}: {finding.says}")
    if findings:
        raise typer.Exit(1)
    if not as_json:
        count = len(checking.concerned())
        print_text("One rule, in order." if count == 1 else f"{count:,} rules, all in order.")


def _material(paths: list[Path], replies: Path | None) -> Iterator[Text]:
    """What was said in the mails at ``paths``, and the replies in a file.

    Raises:
        BadInput: one of them cannot be read.
    """
    from goodstanding.bounces.checking import Text
    from goodstanding.bounces.mailboxes import read_all

    try:
        for mail in read_all(*map(str, paths)):
            for report in mail.reports:
                if report.text:
                    yield Text(report.text, report.provider)
    except OSError as error:
        raise BadInput(f"{error.filename} cannot be read: {error.strerror or error}.") from None
    if replies is not None:
        yield from (Text(said) for _, said in parameters.replies(replies))
