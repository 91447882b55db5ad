"""`report statuses` and `report mailing`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from goodstanding.cli import parameters
from goodstanding.cli.output import (
    BadInput,
    print_json,
    print_table,
    print_text,
    progress,
)
from goodstanding.cli.parameters import At, Json, PolicyName

if TYPE_CHECKING:
    from goodstanding.answers.reports import MailingReport

report = typer.Typer(add_completion=False, no_args_is_help=True)


@report.callback()
def _report() -> None:
    """How many addresses stand where, and what became of a mailing.

    Example: goodstanding report statuses --vocabulary keap
    """


@report.command()
def statuses(
    vocabulary: Annotated[
        str, typer.Option(metavar="NAME", help="In whose words: keap, emma, engage, creatio, ….")
    ] = "goodstanding",
    lang: Annotated[
        str | None, typer.Option(metavar="CODE", help="In which language: en, es.")
    ] = None,
    at: At = None,
    policy: PolicyName = None,
    as_json: Json = False,
) -> None:
    """How many addresses stand where.

    Example: goodstanding report statuses --vocabulary keap --lang es
    """
    as_of, another = parameters.moment(at), parameters.policy(policy)

    from goodstanding.cli.setup import prepare

    prepare()
    from goodstanding.answers import reports
    from goodstanding.ledger.models import Address

    try:
        words = reports.choose_vocabulary(vocabulary, lang)
    except LookupError as error:
        raise BadInput(str(error.args[0])) from None
    total = Address.objects.count() if as_of or another else None
    with progress("Counting", total) as advance:
        lines = reports.statuses(words, parameters.present(), another, as_of, advance)
    if as_json:
        for line in lines:
            print_json(line)
        return
    print_table(
        ("Status", words.title, "Family", "Channel", "Addresses"),
        [
            (
                line.status,
                " + ".join(line.name) if isinstance(line.name, list) else line.name,
                line.family,
                line.channel,
                line.count,
            )
            for line in lines
        ],
        styles=lambda row: {"good": "green", "bad": "yellow"}.get(str(row[2]), "red"),
    )


@report.command()
def mailing(
    name: Annotated[str, typer.Argument(help="The mailing's name.")],
    follow: Annotated[
        bool,
        typer.Option(
            "--follow",
            help="First watch it until nothing more happens to it: a bar, or a line now and then.",
        ),
    ] = False,
    vocabulary: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Count the responses in whose words: engage, creatio, …."
        ),
    ] = None,
    at: At = None,
    policy: PolicyName = None,
    as_json: Json = False,
) -> None:
    """What became of a mailing, and how it goes on at each mailbox provider.

    Its state is one of scheduled, planning, checking, sending, held (by the brake), paused, open
    (sent one by one, as they are asked for), completed, stopped and expired.

    Example: goodstanding report mailing spring --follow
    """
    as_of, another = parameters.moment(at), parameters.policy(policy)
    if follow and (at or policy):
        raise BadInput("--follow shows the present: it goes with neither --at nor --policy.")

    from goodstanding.cli.setup import prepare

    prepare()
    from goodstanding.answers import reports

    if follow:
        _follow(name)
    try:
        words = reports.choose_vocabulary(vocabulary, None) if vocabulary else None
        found = reports.mailing(name, parameters.present(), another, as_of, words)
    except LookupError as error:
        raise BadInput(str(error.args[0])) from None
    if as_json:
        print_json(found)
    else:
        _print_mailing(found, reports.categories(name))
        if as_of is None and another is None:
            _print_way(name)


def _follow(name: str) -> None:
    """Watch it, on standard error, until nothing more happens to it."""
    from goodstanding.cli import watching
    from goodstanding.ledger.models import Mailing

    found = Mailing.objects.filter(name=name).first()
    if found is not None:
        watching.until(lambda now: now.rests, found.pk, aloud=True)


def _print_way(name: str) -> None:
    """What has still to leave, to whom, and why it does not."""
    from goodstanding.answers import progress
    from goodstanding.cli import watching
    from goodstanding.ledger.models import Mailing

    now = progress.of(Mailing.objects.get(name=name).pk, parameters.present())
    watching.print_left(now)
    if (why := watching.stands_still(now)) is not None:
        print_text(why, style="yellow")


def _print_mailing(found: MailingReport, categories: list[tuple[str, int]]) -> None:
    print_text(f"{found.mailing}: {found.state}", style="bold")
    print_table(
        ("Started", "Ended", "Scheduled", "Skipped", "Sent"),
        [
            (
                found.started_at,
                found.ended_at,
                found.scheduled,
                sum(found.skipped.values()),
                found.sent,
            )
        ],
    )
    for title, counts in (
        ("Skipped", found.skipped),
        ("Responses", found.responses),
        ("Commonest categories of bounces and deferrals", dict(categories)),
    ):
        if counts:
            print_table((title, "Count"), list(counts.items()))
    print_table(
        ("Opens", "Clicks", "Unsubscribes", "Complaints"),
        [(found.opens, found.clicks, found.unsubscribes, found.complaints)],
    )
