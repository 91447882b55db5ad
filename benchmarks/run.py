"""Run the benchmarks: ``python -m benchmarks.run [names]``, or ``make bench``."""

from __future__ import annotations

import importlib
from typing import Annotated, Final

import typer
from rich.console import Console

from benchmarks import measuring

NAMES: Final = ("fold", "planning", "reading", "sending")
"""Every benchmark there is: a module with ``measure(repeat=…, tell=…)`` that gives figures."""


def main(
    names: Annotated[list[str] | None, typer.Argument(help=f"Of: {', '.join(NAMES)}.")] = None,
    repeat: Annotated[int, typer.Option(min=1, help="How often; the median counts.")] = 3,
    as_json: Annotated[
        bool, typer.Option("--json", help="A line of JSON for each figure.")
    ] = False,
) -> None:
    """Run all benchmarks, or those named."""
    unknown = sorted(set(names or ()) - set(NAMES))
    if unknown:
        raise typer.BadParameter(f"{unknown[0]!r} is not one of {', '.join(NAMES)}")
    console = Console(stderr=as_json)
    figures = []
    for name in names or NAMES:
        console.rule(name)
        figures += importlib.import_module(f"benchmarks.{name}").measure(
            repeat=repeat, tell=console
        )
    measuring.show(figures, console)
    if as_json:
        measuring.print_json(figures)


if __name__ == "__main__":
    typer.run(main)
