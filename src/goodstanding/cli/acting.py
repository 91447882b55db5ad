"""What an operator does to an address: `opt-in`, `opt-out`, `block`, `unblock`, `lock`, `unlock`,
`invalid`."""

from __future__ import annotations

from typing import Annotated

import typer

from goodstanding.cli import parameters
from goodstanding.cli.output import asked_of_a_rule, print_json, print_text
from goodstanding.cli.parameters import By, Json

Address = Annotated[str, typer.Argument(help="An email address, or a number.")]
Reason = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; kept for good.")]
At = Annotated[
    str | None,
    typer.Option("--at", metavar="TIME", help="When it was done (RFC 3339); now if left out."),
]


def opt_in(
    address: Address, reason: Reason, by: By = None, at: At = None, as_json: Json = False
) -> None:
    """Opt an address in on the person's behalf.

    Only from never opted in, unengaged, or opted out by an operator, and not while it is locked:
    what a person said, only that person undoes. The exit status is 1 where that is so.

    Example: goodstanding opt-in ann@example.com --reason "asked for it by phone" --by bob
    """
    _act("opt-in", address, reason, by, at, as_json=as_json)


def opt_out(
    address: Address, reason: Reason, by: By = None, at: At = None, as_json: Json = False
) -> None:
    """Opt an address out on the person's behalf.

    Example: goodstanding opt-out ann@example.com --reason "asked for it by phone"
    """
    _act("opt-out", address, reason, by, at, as_json=as_json)


def block(
    address: Address, reason: Reason, by: By = None, at: At = None, as_json: Json = False
) -> None:
    """Block an address: nothing goes there until it is unblocked.

    Example: goodstanding block ann@example.com --reason "left the company"
    """
    _act("block", address, reason, by, at, as_json=as_json)


def unblock(
    address: Address, reason: Reason, by: By = None, at: At = None, as_json: Json = False
) -> None:
    """Unblock an address; what had bounced before no longer counts.

    Example: goodstanding unblock ann@example.com --reason "the mailbox is there again"
    """
    _act("unblock", address, reason, by, at, as_json=as_json)


def lock(
    address: Address, reason: Reason, by: By = None, at: At = None, as_json: Json = False
) -> None:
    """Lock an address: no broadcast goes there, and nobody may opt it in, until it is unlocked.

    Example: goodstanding lock ann@example.com --reason "complained by letter"
    """
    _act("lock", address, reason, by, at, as_json=as_json)


def unlock(
    address: Address, reason: Reason, by: By = None, at: At = None, as_json: Json = False
) -> None:
    """Unlock an address.

    Example: goodstanding unlock ann@example.com --reason "the matter is settled"
    """
    _act("unlock", address, reason, by, at, as_json=as_json)


def invalid(
    address: Address, reason: Reason, by: By = None, at: At = None, as_json: Json = False
) -> None:
    """Declare that an address is none to which anything can be sent.

    Example: goodstanding invalid ann@exmaple.example --reason "misspelt"
    """
    _act("invalid", address, reason, by, at, as_json=as_json)


def _act(
    name: str, text: str, reason: str, by: str | None, at: str | None, *, as_json: bool
) -> None:
    done_at = parameters.moment(at)

    from goodstanding.cli.setup import prepare

    prepare()
    from goodstanding.ledger import acts

    [address] = parameters.addresses([text])
    with asked_of_a_rule():
        standing = acts.act(
            name,
            address,
            reason=reason,
            by=by or parameters.login(),
            now=parameters.present(),
            at=done_at,
        )
    if as_json:
        print_json(
            {
                "address": address.value,
                "channel": address.channel,
                "kind": acts.ACTS[name],
                "status": standing.status,
                "family": standing.family,
            }
        )
    else:
        print_text(f"{address.value} is now {standing.status} ({standing.family}).")
