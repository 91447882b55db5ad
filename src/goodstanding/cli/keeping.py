"""`rebuild`."""

from __future__ import annotations

from typing import Annotated

import typer

from goodstanding.cli import parameters
from goodstanding.cli.output import complain, print_json, print_text, progress
from goodstanding.cli.parameters import Json

_SHOWN = 20


def rebuild(
    verify: Annotated[
        bool,
        typer.Option("--verify", help="Change nothing; exit status 1 where anything differs."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Make every standing and response again from the events.

    Example: goodstanding rebuild --verify
    """
    from goodstanding.cli.setup import prepare

    prepare()
    from goodstanding.ledger import models, rebuilding

    done = 0
    with progress("Rebuilding", models.Address.objects.count()) as advance:

        def count(addresses: int) -> None:
            nonlocal done
            done += addresses
            advance(addresses)

        differences = rebuilding.rebuild(parameters.present(), verify=verify, progress=count)
    if as_json:
        for difference in differences:
            print_json(difference)
    else:
        for difference in differences[:_SHOWN]:
            print_text(f"{difference.what}:")
            print_text(f"  stored  {difference.stored}")
            print_text(f"  rebuilt {difference.rebuilt}")
        if len(differences) > _SHOWN:
            print_text(f"and {len(differences) - _SHOWN:,} more.")
        print_text(f"{done:,} addresses folded anew, {len(differences):,} differences.")
    if verify and differences:
        complain(f"What is stored differs from the events in {len(differences):,} places.")
        raise typer.Exit(1)
