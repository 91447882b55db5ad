"""`goodstanding providers`: every limit towards each mailbox provider, and what holds now."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from goodstanding.cli import parameters
from goodstanding.cli.output import BadInput, print_json, print_table, print_text
from goodstanding.cli.parameters import Json
from goodstanding.cli.setup import prepare

if TYPE_CHECKING:
    from goodstanding.answers.throttles import HeldLot, Limit


def providers(
    lane: Annotated[str | None, typer.Option(help="Only this lane.")] = None,
    as_json: Json = False,
) -> None:
    """Say how fast each lane goes to each mailbox provider, and what the brake holds.

    Connections and mails a minute are what holds now, of what the settings allow. A lane slows by
    itself where a provider asks for it, and recovers step by step.

    Example: goodstanding providers --lane main
    """
    prepare()
    from goodstanding.answers import throttles
    from goodstanding.mailings import lanes

    if lane is not None and lane not in lanes.every():
        raise BadInput(f"There is no lane {lane!r}; there are {', '.join(lanes.every())}.")
    limits = throttles.limits(parameters.present(), lane)
    held = [each for each in throttles.held() if lane in (None, each.lane)]
    if as_json:
        for limit in limits:
            print_json(_limit_as_json(limit))
        for lot in held:
            print_json(_held_as_json(lot))
        return
    print_table(
        ("Lane", "Provider", "Connections", "Mails a minute", "Mails each", "Level", "Now"),
        [_row(limit) for limit in limits],
        styles=lambda row: "yellow" if row[-1] != "at full speed" else None,
    )
    if held:
        from goodstanding.core.times import in_words

        print_table(
            ("The brake holds", "At", "By lane", "Since", "Because"),
            [(lot.mailing, lot.provider, lot.lane, in_words(lot.since), lot.why) for lot in held],
            styles=lambda _: "red",
        )
        print_text('goodstanding release MAILING --reason "…" lets it go.')


def _row(limit: Limit) -> tuple[object, ...]:
    from goodstanding.answers import throttles

    return (
        limit.lane,
        limit.provider,
        f"{limit.connections:,} of {limit.most_connections:,}",
        _rate(limit),
        limit.mails_per_connection,
        throttles.share(limit.level),
        _now(limit),
    )


def _rate(limit: Limit) -> str:
    if limit.most_rate is None:
        return "no limit" if limit.rate is None else f"{limit.rate:,.0f}"
    return f"{limit.rate:,.0f} of {limit.most_rate:,.0f}"


def _now(limit: Limit) -> str:
    from goodstanding.core.times import in_words

    said = []
    if limit.resting_until is not None:
        said.append(f"rests until {in_words(limit.resting_until)}")
    if limit.slowed_at is not None:
        said.append(f"slowed since {in_words(limit.slowed_at)}")
    how = ", ".join(said) or "at full speed"
    return f"{how}: {limit.why}" if limit.why else how


def _limit_as_json(limit: Limit) -> dict[str, object]:
    from goodstanding.core.times import rfc3339_or_none

    return {
        "lane": limit.lane,
        "provider": limit.provider,
        "level": limit.level,
        "connections": {"now": limit.connections, "limit": limit.most_connections},
        "mails_a_minute": {"now": limit.rate, "limit": limit.most_rate},
        "mails_per_connection": limit.mails_per_connection,
        "slowed_at": rfc3339_or_none(limit.slowed_at),
        "resting_until": rfc3339_or_none(limit.resting_until),
        "why": limit.why or None,
    }


def _held_as_json(lot: HeldLot) -> dict[str, object]:
    from goodstanding.core.times import rfc3339

    return {
        "held": lot.mailing,
        "lane": lot.lane,
        "provider": lot.provider,
        "since": rfc3339(lot.since),
        "why": lot.why,
    }
