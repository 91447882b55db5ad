"""`reread`: replies are read again, once the rules are better."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Final

import typer

from goodstanding.cli import parameters
from goodstanding.cli.output import (
    BadInput,
    asked_of_a_rule,
    print_json,
    print_table,
    print_text,
    progress,
)
from goodstanding.cli.parameters import (
    By,
    Category,
    Domain,
    Json,
    Provider,
    Rule,
    Since,
    Until,
    Why,
)

if TYPE_CHECKING:
    from goodstanding.answers.rereading import As, ReadingChange, Some, Told
    from goodstanding.core.annulments import Predicate

_MOST_SHOWN: Final = 100_000


def reread(
    apply: Annotated[
        bool, typer.Option("--apply", help="Let the new readings count; else nothing is changed.")
    ] = False,
    why: Why = None,
    provider: Provider = None,
    domain: Domain = None,
    category: Category = None,
    rule: Rule = None,
    since: Since = None,
    until: Until = None,
    show: Annotated[
        int,
        typer.Option(metavar="N", min=0, max=_MOST_SHOWN, help="Addresses to name of each change."),
    ] = 10,
    by: By = None,
    as_json: Json = False,
) -> None:
    """Read what mail servers said once more, by the rules that are installed now.

    Every failure is kept with the words in which it was told. Where an earlier version of the
    rules read them, this says what today's would make of them: who returns from the dead, and who
    would be mailed no more. With --apply the new readings count, until `annul --undo` takes them
    back.

    Example: goodstanding reread

    then: goodstanding reread --apply --why "the rules of version 1.2"
    """
    which = parameters.failures(
        since, until, provider=provider, domain=domain, category=category, rule=rule
    )
    if apply and not why:
        raise BadInput("Say why: --why TEXT is kept for good.")

    from goodstanding.cli.setup import prepare

    prepare()
    from goodstanding.ledger import annulling

    with asked_of_a_rule():
        annulling.must_be_possible(which)
        if apply:
            told = _applied(which, show, why or "", by or parameters.login())
        else:
            told = _tried(which, show)
    if as_json:
        for change in (*told.readings, *told.statuses):
            print_json(change)
        print_json(told.totals)
    else:
        _print(told, applied=apply)


def _tried(which: Predicate, show: int) -> Told:
    from goodstanding.answers import rereading as answers
    from goodstanding.ledger import lookup, rereading
    from goodstanding.ledger.rebuilding import Named

    found, named = rereading.Found(), Named(show)
    trial = answers.Trial(parameters.present(), named)
    with progress("Reading again", lookup.last_address()) as advance:
        for window in rereading.windows(which, advance):
            found.add(window)
            trial.add(window)
    return answers.tell(found, trial.changed, named)


def _applied(which: Predicate, show: int, why: str, by: str) -> Told:
    from goodstanding.answers import rereading as answers
    from goodstanding.ledger import annulling, lookup, rereading
    from goodstanding.ledger.acts import reasoned
    from goodstanding.ledger.rebuilding import Named

    reasoned(why)
    found, named = rereading.Found(), Named(show)
    with rereading.gathering() as gathered:
        with progress("Reading again", lookup.last_address()) as advance:
            for window in rereading.windows(which, advance):
                found.add(window)
                gathered.add(window)
        if not found.otherwise:
            return answers.tell(found, annulling.Touched().changed, named)
        number = rereading.reread(gathered, why=why, by=by, now=parameters.present())
    with progress("Folding anew", annulling.to_apply(number)) as advance:
        touched = annulling.apply(number, parameters.present(), advance, named)
    return answers.tell(found, touched.changed, named, number)


def _print(told: Told, *, applied: bool) -> None:
    totals = told.totals
    if not totals.failures:
        print_text(
            "There is nothing to read again: no failure was read by other rules than today's."
        )
        return
    if not totals.otherwise:
        print_text(f"Failures read again: {totals.failures:,}. All read as they did.")
        return
    print_table(
        ("Was read as", "Is read as", "Failures"), [_reading_row(each) for each in told.readings]
    )
    stands, stood = ("Stands now", "Stood") if applied else ("Would stand", "Stands")
    if told.statuses:
        print_table(
            (stood, stands, "Channel", "Addresses"),
            [(each.before, each.after, each.channel, each.count) for each in told.statuses],
            styles=_by_family,
        )
    _print_some("Back from the dead" if applied else "Would be back from the dead", totals.returned)
    _print_some("Newly stopped" if applied else "Would newly be stopped", totals.stopped)
    print_text(
        f"Failures read again: {totals.failures:,}. Read otherwise: {totals.otherwise:,}, of"
        f" {totals.addresses:,} addresses.",
        style="bold",
    )
    if totals.reread is None:
        print_text("Nothing was changed: `goodstanding reread --apply --why TEXT` does it.")
    else:
        print_text(
            f"It is reread {totals.reread}; `goodstanding annul --undo {totals.reread}` takes it"
            " back."
        )


def _reading_row(change: ReadingChange) -> tuple[object, ...]:
    return (_as(change.before), _as(change.after), change.failures)


def _as(read: As) -> str:
    return f"{read.category} ({read.disposition})"


def _print_some(what: str, some: Some) -> None:
    if not some.count:
        return
    more = some.count - len(some.examples)
    names = ", ".join(some.examples)
    rest = f"{' and ' if names else ''}{more:,} more" if more and names else ""
    print_text(f"{what}: {some.count:,}{f' ({names}{rest})' if names else ''}")


def _by_family(row: Sequence[object]) -> str:
    """The colour of the family that it is in then."""
    from goodstanding.core.standings import STATUSES

    return {"good": "green", "bad": "yellow"}.get(STATUSES[str(row[1])].family, "red")
