"""Planning a broadcast, against one INSERT … SELECT of the same rows.

``python -m benchmarks.planning [--addresses N] [--database sqlite] [--json]``; see
docs/performance.md.
"""

from __future__ import annotations

import shutil
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.console import Console

from benchmarks import measuring
from benchmarks.measuring import DATABASES, Figure, Target

TARGET: Final = Target(ratio=2.5, memory=200, longest=250)
_PROCESS: Final = "benchmarks.planning_process"
_SETTINGS: Final = """\
sender_address = "news@shop.example"
postal_address = "1 High Street, Anytown"
base_url = "https://go.shop.example"
bounce_domain = "bounces.shop.example"
"""

_Measured = dict[str, Any]


def measure(
    *,
    addresses: int = 200_000,
    repeat: int = 3,
    databases: tuple[str, ...] = DATABASES,
    tell: Console | None = None,
) -> list[Figure]:
    """Measure it, each repeat in a fresh database; a figure for each kind of database."""
    found: dict[str, list[_Measured]] = {name: [] for name in databases}
    with ExitStack() as stack:
        server = measuring.postgresql(stack) if "postgresql" in databases else ""
        for number in range(repeat):
            if tell is not None:
                tell.print(f"Repeat {number + 1}")
            for database in databases:
                with measuring.database(database, server) as place:
                    measured = _once(place, addresses)
                found[database].append(measured)
                if tell is not None:
                    tell.print(f"  {database}: {_said(measured)}")
    return [_figure(database, addresses, found[database]) for database in databases]


def _said(measured: _Measured) -> str:
    return (
        f"{measured['deliveries'] / measured['seconds']:,.0f} addresses/s,"
        f" {measured['seconds'] / measured['yardstick']:.2f} times the yardstick's"
        f" {measured['yardstick']:.2f} s; the longest of {measured['transactions']} transactions"
        f" {measured['longest']:.0f} ms, the longest wait beside it {measured['waited']:.0f} ms"
        f" (usually {measured['usual']:.1f})"
    )


def _once(place: dict[str, str], addresses: int) -> _Measured:
    """The planning, timed; its yardstick; and what another planning makes others wait."""
    home = Path(place["GOODSTANDING_HOME"])
    (home / "goodstanding.toml").write_text(_SETTINGS, encoding="utf-8")
    timed, other = measuring.run(_PROCESS, "prepare", str(addresses), **place)["mailings"]
    with tempfile.TemporaryDirectory(prefix="goodstanding-bench-home-") as name:
        if "DATABASE_URL" in place:
            before = place
        else:
            shutil.copytree(home, name, dirs_exist_ok=True)
            before = {"GOODSTANDING_HOME": name}
        ours = measuring.run(_PROCESS, "plan", str(timed), **place)
        planned = str(home / "goodstanding.sqlite3")
        bare = measuring.run(_PROCESS, "yardstick", planned, **before)
    if bare["rows"]["ledger_delivery"] != ours["deliveries"]:
        raise RuntimeError(f"not the same rows: {ours}, {bare}")
    with measuring.beside(_PROCESS, "write-beside", str(other), **place) as writer:
        again = measuring.run(_PROCESS, "plan", str(other), **place)
    return ours | {
        "yardstick": bare["seconds"],
        "longest": max(ours["longest"], again["longest"]),
        "waited": writer["longest"],
        "usual": writer["usual"],
    }


def _figure(database: str, addresses: int, found: list[_Measured]) -> Figure:
    return Figure(
        work="planning",
        where=database,
        unit="addresses",
        count=addresses,
        seconds=[each["seconds"] for each in found],
        yardstick=[each["yardstick"] for each in found],
        target=TARGET,
        memory=max(each["memory"] for each in found),
        memory_before=found[-1]["memory_before"],
        shares={"in transactions": found[-1]["within"]},
        longest={
            "transaction": max(each["longest"] for each in found),
            "wait": max(each["waited"] for each in found),
        },
    )


def main(
    addresses: Annotated[int, typer.Option(min=100, help="In the audience.")] = 200_000,
    database: Annotated[list[str] | None, typer.Option(help="sqlite, postgresql.")] = None,
    repeat: Annotated[int, typer.Option(min=1, help="How often; the median counts.")] = 3,
    as_json: Annotated[
        bool, typer.Option("--json", help="A line of JSON for each figure.")
    ] = False,
) -> None:
    """Measure how fast a broadcast is planned."""
    console = Console(stderr=as_json)
    figures = measure(
        addresses=addresses,
        repeat=repeat,
        databases=tuple(database or DATABASES),
        tell=console,
    )
    measuring.show(figures, console)
    if as_json:
        measuring.print_json(figures)


if __name__ == "__main__":
    typer.run(main)
