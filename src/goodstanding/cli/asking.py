"""`check` and `why`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from goodstanding.cli import parameters
from goodstanding.cli.output import BadInput, print_json, print_table
from goodstanding.cli.parameters import At, Json, PolicyName

Addresses = Annotated[
    list[str], typer.Argument(help="Email addresses, or numbers with their country code.")
]


def check(
    addresses: Addresses,
    purpose: Annotated[
        str,
        typer.Option(help="broadcast, sequence, one_off, transactional or confirmation."),
    ] = "broadcast",
    topic: Annotated[str | None, typer.Option(help="What it is about.")] = None,
    at: At = None,
    policy: PolicyName = None,
    as_json: Json = False,
) -> None:
    """May this be sent to these addresses? The exit status is 1 where one is refused.

    Example: goodstanding check ann@example.com bob@example.com --purpose sequence
    """
    from goodstanding.core.gate import PURPOSES

    if purpose not in PURPOSES:
        raise BadInput(f"{purpose!r} is not a purpose: {', '.join(PURPOSES)}.")
    as_of, another = parameters.moment(at), parameters.policy(policy)

    from goodstanding.cli.setup import prepare

    prepare()
    from goodstanding.answers.checking import check as ask

    asked = parameters.addresses(addresses)
    answers = list(ask(asked, purpose, topic, parameters.present(), another, as_of))
    if as_json:
        for answer in answers:
            print_json(answer)
    else:
        print_table(
            ("Address", "May go", "Reason", "Status", "Why"),
            [(a.address, "yes" if a.allowed else "no", a.reason, a.status, a.why) for a in answers],
            styles=_refused,
        )
    if not all(answer.allowed for answer in answers):
        raise typer.Exit(1)


def _refused(row: Sequence[object]) -> str | None:
    return None if row[1] == "yes" else "red"
