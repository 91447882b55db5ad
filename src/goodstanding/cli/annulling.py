"""`annul` and `annulments`: failures that were not the addresses'."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from goodstanding.cli import parameters
from goodstanding.cli.output import BadInput, asked_of_a_rule, print_json, print_text, progress
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
    from goodstanding.core.annulments import State
    from goodstanding.ledger.annulling import Touched
    from goodstanding.ledger.models import Annulment


def annul(
    why: Why = None,
    provider: Provider = None,
    domain: Domain = None,
    category: Category = None,
    rule: Rule = None,
    since: Since = None,
    until: Until = None,
    undo: Annotated[
        int | None,
        typer.Option(
            metavar="NUMBER", help="Instead: annul that annulment or reread; it counts no more."
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what it would touch, and change nothing.")
    ] = False,
    by: By = None,
    as_json: Json = False,
) -> None:
    """Take failures out of what addresses stand on, because the addresses did not fail.

    When a provider has an outage, it may say of everybody that they do not exist. All failures
    (bounced, deferred, undelivered; never consent or complaints) that match count for nothing,
    those too that are heard later; every address stands as if they had not been.

    Example: goodstanding annul --provider gmail.com --from 2026-12-14T20:00:00Z
    --until 2026-12-15T23:00:00Z --why "outage: it said so of everybody"
    """
    now = parameters.present()
    predicate = parameters.failures(
        since, until, provider=provider, domain=domain, category=category, rule=rule
    )
    if not dry_run and not why:
        raise BadInput("Say why: --why TEXT is kept for good.")
    if undo is None and since is None:
        raise BadInput("Say since when: --from TIME.")

    from goodstanding.cli.setup import prepare

    prepare()
    from goodstanding.ledger import annulling

    if dry_run and undo is None:
        with progress("Looking", annulling.to_look_through(predicate)) as advance:
            _tell(None, annulling.touched(predicate, advance), as_json=as_json)
        return
    with asked_of_a_rule():
        who = by or parameters.login()
        if undo is not None:
            made = annulling.undo(undo, why=why or "", by=who, now=now)
        else:
            made = annulling.annul(predicate, why=why or "", by=who, now=now)
    many = annulling.to_apply(made)
    with progress("Folding anew", many) as advance:
        found = annulling.apply(made, parameters.present(), advance)
    _tell(made, found, as_json=as_json)


def annulments(as_json: Json = False) -> None:
    """List all annulments and rereads that were ever made, and which of them hold.

    Those that the incident guard made are holds: `goodstanding holds` says what it saw.

    Example: goodstanding annulments
    """
    from goodstanding.cli.setup import prepare

    prepare()
    from goodstanding.ledger import annulments as stored
    from goodstanding.ledger import models

    holding, states = stored.by_id(), stored.holds()
    rows = list(models.Annulment.objects.order_by("pk"))
    readings = _readings() if any(row.is_reread for row in rows) else {}
    for row in rows:
        said = _as_json(
            row, holds=row.pk in holding, readings=readings.get(row.pk), state=states.get(row.pk)
        )
        if as_json:
            print_json(said)
        else:
            print_text(_in_words(said))
    if not rows and not as_json:
        print_text("Nothing was ever annulled.")


def _readings() -> dict[int, int]:
    """How many failures each reread reads."""
    from django.db.models import Count

    from goodstanding.ledger import models

    counted = models.Reading.objects.values_list("annulment_id").annotate(Count("key"))
    return dict(counted.order_by())


def _as_json(
    row: Annulment, *, holds: bool, readings: int | None, state: State | None
) -> dict[str, Any]:
    from goodstanding.core.times import rfc3339, rfc3339_or_none

    return {
        "annulment": row.pk,
        "made_at": rfc3339(row.made_at),
        "by": row.by,
        "why": row.why,
        "undoes": row.undoes_id,
        "upholds": row.upholds_id,
        "from": rfc3339_or_none(row.since),
        "until": rfc3339_or_none(row.until),
        "provider": row.provider,
        "domain": row.domain,
        "category": row.category,
        "rule": row.rule,
        "rereads": readings,
        "holds": holds,
        "hold": state,
    }


def _in_words(said: dict[str, Any]) -> str:
    first = f"{said['annulment']}, {said['made_at']}, by {said['by']}: {said['why']}"
    if said["undoes"] is not None:
        return f"{first}\n   undoes {said['undoes']}"
    if said["upholds"] is not None:
        return f"{first}\n   upholds {said['upholds']}"
    which = ", ".join(
        f"{name} {said[name]}"
        for name in ("provider", "domain", "category", "rule")
        if said[name] is not None
    )
    state = "holds" if said["holds"] else "is undone"
    if said["rereads"] is not None:
        return f"{first}\n   reads {said['rereads']:,} failures anew; {state}"
    which = which or "all failures"
    if said["hold"] is not None:
        state += f"; a hold of the guard, {said['hold']}"
    return f"{first}\n   {which} from {said['from']} until {said['until']}; {state}"


def _tell(made: int | None, found: Touched, *, as_json: bool) -> None:
    if as_json:
        print_json({"annulment": made, **changes(found)})
        return
    what = "would be touched" if made is None else "touched"
    print_text(f"{found.failures:,} failures of {found.addresses:,} addresses {what}.")
    print_changes(found)
    if made is not None:
        print_text(f"It is annulment {made}; `goodstanding annul --undo {made}` takes it back.")


def print_changes(found: Touched) -> None:
    """Who stands otherwise by it."""
    for each in changes(found)["changed"]:
        print_text(f"{each['count']:>10,} {each['channel']}: {each['from']} → {each['to']}")


def changes(found: Touched) -> dict[str, Any]:
    """What was touched, as JSON says it; the most frequent change first."""
    changed = sorted(found.changed.items(), key=lambda item: (-item[1], item[0]))
    return {
        "failures": found.failures,
        "addresses": found.addresses,
        "changed": [
            {"channel": channel, "from": before, "to": after, "count": count}
            for (channel, before, after), count in changed
        ],
    }
