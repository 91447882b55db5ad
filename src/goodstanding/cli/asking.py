"""`check` and `why`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from goodstanding.cli import parameters
from goodstanding.cli.output import BadInput, print_json, print_table, print_text
from goodstanding.cli.parameters import At, Json, PolicyName

if TYPE_CHECKING:
    from goodstanding.answers.why import Heard, Reasons

Addresses = Annotated[
    list[str],
    typer.Argument(
        help="Email addresses, or numbers: with country code, or as in the setting region."
        " Malformed ones, too, as an import kept them."
    ),
]


def check(
    addresses: Addresses,
    purpose: Annotated[
        str,
        typer.Option(
            help="broadcast, sequence, one_off, transactional, confirmation; or acknowledgement, of"
            " an opt-out, by SMS."
        ),
    ] = "broadcast",
    topic: Annotated[str | None, typer.Option(help="What it is about.")] = None,
    at: At = None,
    policy: PolicyName = None,
    as_json: Json = False,
) -> None:
    """May this be sent to these addresses?

    The exit status is 1 where one of them is refused.

    Example: goodstanding check ann@example.com bob@example.com --purpose sequence
    """
    from goodstanding.core.gate import PURPOSES

    if purpose not in PURPOSES:
        raise BadInput(f"{purpose!r} is not a purpose: {', '.join(PURPOSES)}.")
    as_of, another = parameters.moment(at), parameters.policy(policy)

    from goodstanding.cli.setup import prepare

    prepare()
    from goodstanding.answers.checking import check as ask

    asked = parameters.known_addresses(addresses)
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


def why(
    addresses: Addresses, at: At = None, policy: PolicyName = None, as_json: Json = False
) -> None:
    """Why does an address stand where it stands?

    Tells what decided, all that was heard, and what became of every message.

    Example: goodstanding why ann@example.com

    As it was when a mailing went out: goodstanding why ann@example.com --at 2026-03-01T09:30:00Z
    """
    as_of, another = parameters.moment(at), parameters.policy(policy)

    from goodstanding.cli.setup import prepare

    prepare()
    from goodstanding.answers.why import why as ask

    for reasons in ask(parameters.known_addresses(addresses), parameters.present(), another, as_of):
        if as_json:
            print_json(reasons)
        else:
            _print_reasons(reasons)


def _print_reasons(reasons: Reasons) -> None:
    colour = {"good": "green", "bad": "yellow", "ugly": "red"}[reasons.family]
    print_text(f"{reasons.address}: {reasons.status} ({reasons.family})", style=f"bold {colour}")
    print_text(reasons.explanation)
    print_table(
        ("Vocabulary", "Its name"),
        [
            (name, " + ".join(said) if isinstance(said, list) else said)
            for name, said in reasons.names.items()
        ],
    )
    if reasons.deliveries:
        print_table(
            ("Mailing", "What became of it", "Since", "Opens", "Clicks"),
            [(d.mailing, d.response, d.since, d.opens, d.clicks) for d in reasons.deliveries],
        )
    if reasons.events:
        print_table(
            ("When", "What", "Mailing", "Source", "What was said"),
            [(e.occurred_at, e.kind, e.mailing, e.source, _said(e)) for e in reasons.events],
        )


def _said(heard: Heard) -> str:
    detail = heard.detail
    said = detail.get("text") or detail.get("reason") or detail.get("url") or ""
    if detail.get("to"):
        said = f"{said} (now {detail['to']})"
    category = detail.get("category")
    anew = heard.reread
    first = f"(reread {anew.number}; at first {anew.at_first.get('category')})" if anew else ""
    state = f"(held: {heard.held.hold})" if heard.held else "(annulled)" if heard.annulled else ""
    parts = (said, f"[{category}]" if category else "", first, state)
    return " ".join(str(part) for part in parts if part)
