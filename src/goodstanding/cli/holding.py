"""`holds`: what the incident guard took for outages, and the operator's decision."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from goodstanding.cli import parameters
from goodstanding.cli.output import BadInput, asked_of_a_rule, print_json, print_text, progress
from goodstanding.cli.parameters import By, Json, Why

if TYPE_CHECKING:
    from goodstanding.answers.holds import Hold
    from goodstanding.ledger.annulling import Touched


def holds(
    release: Annotated[
        int | None,
        typer.Option(metavar="NUMBER", help="It was no outage: the failures of that hold count."),
    ] = None,
    uphold: Annotated[
        int | None,
        typer.Option(metavar="NUMBER", help="It was an outage: they count for nothing, for good."),
    ] = None,
    why: Why = None,
    by: By = None,
    as_json: Json = False,
) -> None:
    """List what was held as a provider's outage, or decide about it.

    When hard bounces come back in a wave that looks like an outage, they count for nothing until
    an operator has decided. A hold is decided once; what was decided, `annul --undo` takes back.

    Example: goodstanding holds

    Then: goodstanding holds --uphold 3 --why "their status page says so"
    """
    if release is not None and uphold is not None:
        raise BadInput("Either --release or --uphold, not both.")
    hold = release if release is not None else uphold
    if hold is not None and not why:
        raise BadInput("Say why: --why TEXT is kept for good.")
    if hold is None and (why or by):
        raise BadInput("Say which: --release NUMBER or --uphold NUMBER.")

    from goodstanding.cli.setup import prepare

    prepare()
    if hold is None:
        _list(as_json=as_json)
        return
    from goodstanding.ledger import annulling, guarding

    now, who, reason = parameters.present(), by or parameters.login(), why or ""
    with asked_of_a_rule():
        if release is None:
            guarding.uphold(hold, why=reason, by=who, now=now)
            _tell(hold, None, as_json=as_json)
            return
        made = guarding.release(hold, why=reason, by=who, now=now)
    many = annulling.to_apply(made)
    with progress("Folding anew", many) as advance:
        found = annulling.apply(made, parameters.present(), advance)
    _tell(hold, found, as_json=as_json)


def _list(*, as_json: bool) -> None:
    from goodstanding.answers import holds as answers

    found = answers.every()
    for hold in found:
        if as_json:
            print_json(_as_json(hold))
        else:
            print_text(_in_words(hold), style="yellow" if hold.state == "undecided" else None)
    if as_json:
        return
    if not found:
        print_text("Nothing was ever held.")
    elif any(hold.state == "undecided" for hold in found):
        print_text('Decide: goodstanding holds --release NUMBER --why "…", or --uphold NUMBER.')


def _as_json(hold: Hold) -> dict[str, Any]:
    from goodstanding.core.times import rfc3339

    predicate, decision = hold.predicate, hold.decision
    return {
        "hold": hold.id,
        "state": hold.state,
        "held_at": rfc3339(hold.held_at),
        "from": rfc3339(predicate.since),
        "until": rfc3339(predicate.until),
        "provider": predicate.provider,
        "domain": predicate.domain,
        "category": predicate.category,
        "rule": predicate.rule,
        "why": hold.why,
        "saw": hold.saw,
        "decided": None
        if decision is None
        else {"at": rfc3339(decision.at), "by": decision.by, "why": decision.why},
    }


_STATES = {
    "undecided": "undecided: these failures count for nothing until somebody decides",
    "upheld": "upheld: they count for nothing",
    "released": "released: they count",
    "withdrawn": "the guard took it back: by what was recorded later it is no such wave",
}


def _in_words(hold: Hold) -> str:
    from goodstanding.core.times import in_words

    predicate, decision = hold.predicate, hold.decision
    which = ", ".join(
        f"{name} {value}"
        for name, value in (
            ("provider", predicate.provider),
            ("domain", predicate.domain),
            ("category", predicate.category),
            ("rule", predicate.rule),
        )
        if value is not None
    )
    lines = [
        f"{hold.id}, held on {in_words(hold.held_at)}: {hold.why}.",
        f"   {which}, from {in_words(predicate.since)} until {in_words(predicate.until)}",
        f"   {_STATES[hold.state]}",
    ]
    if decision is not None:
        lines.append(f"   {in_words(decision.at)}, by {decision.by}: {decision.why}")
    return "\n".join(lines)


def _tell(hold: int, found: Touched | None, *, as_json: bool) -> None:
    from goodstanding.cli.annulling import changes, print_changes

    if as_json:
        said: dict[str, Any] = {"hold": hold, "state": "upheld" if found is None else "released"}
        print_json(said if found is None else said | changes(found))
    elif found is None:
        print_text(f"Hold {hold} is upheld; `goodstanding annul --undo {hold}` takes it back.")
    else:
        print_text(
            f"Hold {hold} is released: {found.failures:,} failures of {found.addresses:,}"
            " addresses count."
        )
        print_changes(found)
