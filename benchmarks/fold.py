"""Events into standings: JSON lines to rows on disk, against bare upserts of the same rows.

``python -m benchmarks.fold [--events N] [--database sqlite] [--json]``; see docs/performance.md.
"""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.console import Console

from benchmarks import measuring
from benchmarks.history import history
from benchmarks.measuring import DATABASES, Figure, Target

TARGET: Final = Target(ratio=4, rate=10_000)
_PROCESS: Final = "benchmarks.fold_process"


def measure(
    *,
    events: int = 100_000,
    repeat: int = 3,
    batch: int = 2_000,
    seed: int = 1,
    databases: tuple[str, ...] = DATABASES,
    tell: Console | None = None,
) -> list[Figure]:
    """Measure it, every repeat with another history; a figure for each database."""
    found: dict[str, list[tuple[dict[str, Any], float]]] = {name: [] for name in databases}
    with tempfile.TemporaryDirectory(prefix="goodstanding-bench-") as name, ExitStack() as stack:
        folder = Path(name)
        server = measuring.postgresql(stack) if "postgresql" in databases else ""
        for number in range(repeat):
            lines, rows = folder / f"{number}.jsonl", folder / f"{number}.rows"
            with lines.open("wb") as file:
                file.writelines(history(events, seed + number))
            with measuring.database("sqlite", server) as place:
                wrote = measuring.run(_PROCESS, "spy", str(lines), str(batch), str(rows), **place)
            if tell is not None:
                tell.print(f"Repeat {number + 1}: {_said(wrote)}")
            for database in databases:
                measured = _once(database, server, lines, rows, batch)
                found[database].append(measured)
                if tell is not None:
                    ours, bare = measured
                    rate = events / ours["seconds"]
                    tell.print(
                        f"  {database}: {rate:,.0f} events/s,"
                        f" {ours['seconds'] / bare:.2f} times the yardstick's {bare:.2f} s"
                    )
            lines.unlink()
            rows.unlink()
    return [_figure(database, events, found[database]) for database in databases]


def _said(wrote: dict[str, Any]) -> str:
    rows = ", ".join(f"{name} {count:,}" for name, count in wrote["rows"].items())
    return f"{wrote['transactions']} transactions that write {rows}"


def _once(
    database: str, server: str, lines: Path, rows: Path, batch: int
) -> tuple[dict[str, Any], float]:
    """The import's measurement, and the seconds of the yardstick right before it."""
    with measuring.database(database, server) as place:
        bare = measuring.run(_PROCESS, "yardstick", str(rows), **place)
    with measuring.database(database, server) as place:
        ours = measuring.run(_PROCESS, "import", str(lines), str(batch), **place)
    return ours, bare["seconds"]


def _figure(database: str, events: int, found: list[tuple[dict[str, Any], float]]) -> Figure:
    last = found[-1][0]
    return Figure(
        work="fold",
        where=database,
        unit="events",
        count=events,
        seconds=[ours["seconds"] for ours, _ in found],
        yardstick=[bare for _, bare in found],
        target=TARGET,
        memory=max(ours["memory"] for ours, _ in found),
        memory_before=last["memory_before"],
        shares=last["shares"],
    )


def main(
    events: Annotated[int, typer.Option(min=100, help="Lines of the history.")] = 100_000,
    database: Annotated[list[str] | None, typer.Option(help="sqlite, postgresql.")] = None,
    repeat: Annotated[int, typer.Option(min=1, help="How often; the median counts.")] = 3,
    batch: Annotated[int, typer.Option(min=1, help="Lines in one transaction.")] = 2_000,
    seed: Annotated[int, typer.Option(help="Another seed, another history.")] = 1,
    as_json: Annotated[
        bool, typer.Option("--json", help="A line of JSON for each figure.")
    ] = False,
) -> None:
    """Measure how fast events become standings."""
    console = Console(stderr=as_json)
    figures = measure(
        events=events,
        repeat=repeat,
        batch=batch,
        seed=seed,
        databases=tuple(database or DATABASES),
        tell=console,
    )
    measuring.show(figures, console)
    if as_json:
        measuring.print_json(figures)


if __name__ == "__main__":
    typer.run(main)
