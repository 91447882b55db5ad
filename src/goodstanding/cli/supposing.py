"""`whatif`: a policy, tried on the whole record before it is set."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Final, cast, get_args

import typer

from goodstanding.cli import parameters
from goodstanding.cli.output import BadInput, print_json, print_table, print_text, progress
from goodstanding.cli.parameters import At, Json

if TYPE_CHECKING:
    from goodstanding.answers.whatif import Compared, GateChange, StatusChange, Totals
    from goodstanding.core.addresses import Channel

_MOST_EXAMPLES: Final = 1_000
_NEWLY_REFUSED: Final = "newly refused"
_NEWLY_ALLOWED: Final = "newly allowed"
_GATE_STYLES: Final = {_NEWLY_REFUSED: "red", _NEWLY_ALLOWED: "green"}


def whatif(
    policy: Annotated[
        str,
        typer.Option("--policy", metavar="NAME", help="The policy to try, a preset or a file."),
    ],
    examples: Annotated[
        int,
        typer.Option(
            metavar="N", min=0, max=_MOST_EXAMPLES, help="Addresses to name of each change."
        ),
    ] = 3,
    channel: Annotated[
        str | None, typer.Option(metavar="email|sms", help="Only the addresses of this channel.")
    ] = None,
    at: At = None,
    as_json: Json = False,
) -> None:
    """Say what another policy would change, without changing anything.

    Every address is judged by the policy in force and by the other one, at the same moment: how
    many would stand otherwise, to how many a broadcast would go no more, and to how many it newly
    would.

    Example: goodstanding whatif --policy strict.toml

    As of another time, for emails alone: goodstanding whatif --policy strict.toml --channel email
    --at 2026-03-01T09:30:00Z
    """
    as_of, tried = parameters.moment(at), parameters.policy(policy)
    assert tried is not None  # noqa: S101 - an option that must be given
    only = _channel(channel)

    from goodstanding.cli.setup import prepare

    prepare()
    from goodstanding.answers import whatif as answers

    with progress("Comparing", answers.how_many(only)) as advance:
        compared = answers.whatif(
            tried, parameters.present(), as_of, examples=examples, channel=only, advance=advance
        )
    if as_json:
        for change in (*compared.statuses, *compared.gate):
            print_json(change)
        print_json(compared.totals)
    else:
        _print(compared, as_of)


def _channel(name: str | None) -> Channel | None:
    from goodstanding.core.addresses import Channel

    if name is None or name in get_args(Channel):
        return cast("Channel | None", name)
    raise BadInput(f"{name!r} is not a channel: {', '.join(get_args(Channel))}.")


def _print(compared: Compared, at: int | None) -> None:
    totals = compared.totals
    policies = (f"Under {totals.against}", f"Under {totals.policy}")
    if compared.statuses:
        print_table(
            (*policies, "Family", "Channel", "Addresses"),
            [_status_row(change) for change in compared.statuses],
            styles=_by_family,
        )
        _print_examples(compared.statuses)
    if compared.gate:
        print_table(
            ("A broadcast", *policies, "Channel", "Addresses"),
            [_gate_row(change) for change in compared.gate],
            styles=lambda row: _GATE_STYLES.get(str(row[0])),
        )
    _print_totals(totals, at)


def _status_row(change: StatusChange) -> tuple[object, ...]:
    from goodstanding.core.standings import STATUSES

    before, after = STATUSES[change.before].family, STATUSES[change.after].family
    family = after if before == after else f"{before} to {after}"
    return (change.before, change.after, family, change.channel, change.count)


def _print_examples(changes: list[StatusChange]) -> None:
    """Below the table: beside the numbers, addresses would be cut to pieces on a terminal."""
    for change in changes:
        if change.examples:
            print_text(f"{change.before} to {change.after}: {', '.join(change.examples)}")


def _by_family(row: Sequence[object]) -> str:
    """The colour of the family that it would be in."""
    return {"good": "green", "bad": "yellow"}.get(str(row[2]).split()[-1], "red")


def _gate_row(change: GateChange) -> tuple[object, ...]:
    if change.before is None:
        said = _NEWLY_REFUSED
    elif change.after is None:
        said = _NEWLY_ALLOWED
    else:
        said = "stays refused"
    reasons = (change.before or "allowed", change.after or "allowed")
    return (said, *reasons, change.channel, change.count)


def _print_totals(totals: Totals, at: int | None) -> None:
    from goodstanding.core.times import in_words

    when = f" on {in_words(at)}" if at is not None else ""
    print_text(
        f"Under {totals.policy} {totals.changed:,} of {totals.addresses:,} addresses would stand"
        f" otherwise than under {totals.against}{when}, and {totals.unchanged:,} as they do.",
        style="bold",
    )
    print_text(
        f"A broadcast would no longer go to {totals.newly_refused:,} of them, and newly to"
        f" {totals.newly_allowed:,}."
    )
