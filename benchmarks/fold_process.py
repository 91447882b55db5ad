"""One measurement of the fold, in a process of its own; prints JSON.

``GOODSTANDING_HOME`` and ``DATABASE_URL`` say where, as in life.
"""

from __future__ import annotations

import pickle
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import msgspec
import typer

from benchmarks.history import NOW
from benchmarks.measuring import memory_mb
from goodstanding.cli.setup import prepare

PHASES: Final = ("reading lines", "reading replies", "deciding", "statements", "commits")
app = typer.Typer()


@app.command(name="import")
def import_(file: Path, batch: int) -> None:
    """Import a history, timed."""
    importing, connection = _ready(batch)
    from goodstanding import bounces

    # What a worker does once in its life: the rules are compiled, the statements' modules loaded.
    bounces.read_reply("550 5.1.1 Unknown user")
    spent: dict[str, float] = defaultdict(float)
    bounces.read_reply = _timed(bounces.read_reply, spent, "reading replies")
    importing.record = _timed(importing.record, spent, "recording")
    connection.commit = _timed(connection.commit, spent, "commits")
    before, _ = memory_mb()
    with file.open("rb") as opened, connection.execute_wrapper(_Statements(spent)):
        started = time.perf_counter()
        done = importing.import_events(importing.bounded_lines(opened), NOW)
        seconds = time.perf_counter() - started
    if done.bad:
        raise SystemExit(f"{done.bad} bad lines: {done.problems[0]}")
    spent["reading lines"] = seconds - spent["recording"] - spent["reading replies"]
    spent["deciding"] = spent["recording"] - spent["statements"] - spent["commits"]
    _print(
        seconds=seconds,
        stored=done.stored,
        repeated=done.repeated,
        memory=memory_mb()[1],
        memory_before=before,
        shares={phase: spent[phase] / seconds for phase in PHASES},
    )


@app.command()
def spy(file: Path, batch: int, rows: Path) -> None:
    """Import a history into SQLite, and keep in ``rows`` what each transaction wrote."""
    importing, _ = _ready(batch)
    from benchmarks.yardstick import Spy

    watching = Spy()
    with file.open("rb") as opened:
        lines = importing.bounded_lines(opened)
        importing.import_events(lines, NOW, progress=lambda _bytes: watching.look())
    rows.write_bytes(pickle.dumps(watching.batches))
    written: Counter[str] = Counter()
    for each in watching.batches:
        for name, found in each:
            written[name.removeprefix("ledger_")] += len(found)
    _print(transactions=len(watching.batches), rows=dict(written))


@app.command()
def yardstick(rows: Path, arrays: bool = False) -> None:
    """Write what was kept in ``rows``, timed."""
    _, connection = _ready(0)
    from benchmarks.yardstick import postgresql_writer, sqlite_writer

    batches = pickle.loads(rows.read_bytes())
    if connection.vendor == "sqlite":
        write = sqlite_writer(batches)
    else:
        write = postgresql_writer(batches, arrays=arrays)
    started = time.perf_counter()
    write()
    _print(seconds=time.perf_counter() - started)


def _ready(batch: int) -> tuple[Any, Any]:
    """The importing module, and the default database's connection, tables made."""
    prepare()
    from django.db import connections

    from goodstanding.ledger import importing

    if batch:
        importing.BATCH = batch  # type: ignore[misc]
    connections["default"].ensure_connection()
    return importing, connections["default"]


class _Statements:
    """Adds up what statements take."""

    def __init__(self, spent: dict[str, float]) -> None:
        self.spent = spent

    def __call__(self, execute: Any, sql: Any, params: Any, many: Any, context: Any) -> Any:
        started = time.perf_counter()
        try:
            return execute(sql, params, many, context)
        finally:
            self.spent["statements"] += time.perf_counter() - started


def _timed(work: Callable[..., Any], spent: dict[str, float], phase: str) -> Callable[..., Any]:
    def timed(*args: Any, **kwargs: Any) -> Any:
        started = time.perf_counter()
        try:
            return work(*args, **kwargs)
        finally:
            spent[phase] += time.perf_counter() - started

    return timed


def _print(**said: Any) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(said))


if __name__ == "__main__":
    app()
