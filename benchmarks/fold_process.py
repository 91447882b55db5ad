"""One measurement of the fold, in a process of its own; prints JSON.

``GOODSTANDING_HOME`` and ``DATABASE_URL`` say where, as in life.
"""

from __future__ import annotations

import pickle
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import typer

from benchmarks.history import NOW
from benchmarks.measuring import memory_mb
from goodstanding.cli.setup import prepare

app = typer.Typer()


@app.command(name="import")
def import_(file: Path, batch: int) -> None:
    """Import a history, timed."""
    importing, connection = _ready(batch)
    from goodstanding import bounces
    from goodstanding.ledger import bulk

    # What a worker does once in its life: the rules are compiled.
    bounces.read_reply("550 5.1.1 Unknown user")
    watch = _Watch("reading lines")
    bounces.read_reply = watch.over(bounces.read_reply, "reading replies")
    importing.record = watch.over(importing.record, "deciding")
    bulk.Table.insert = watch.over(bulk.Table.insert, "writing rows")  # type: ignore[method-assign]
    bulk.Table.update = watch.over(bulk.Table.update, "writing rows")  # type: ignore[method-assign]
    connection.commit = watch.over(connection.commit, "committing")
    before, _ = memory_mb()
    with file.open("rb") as opened, connection.execute_wrapper(watch.statement):
        watch.start()
        done = importing.import_events(importing.bounded_lines(opened), NOW)
        seconds = watch.stop()
    if done.bad:
        raise SystemExit(f"{done.bad} bad lines: {done.problems[0]}")
    _print(
        seconds=seconds,
        stored=done.stored,
        repeated=done.repeated,
        memory=memory_mb()[1],
        memory_before=before,
        shares={phase: spent / seconds for phase, spent in watch.spent.items()},
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
def yardstick(rows: Path) -> None:
    """Write what was kept in ``rows``, timed."""
    _, connection = _ready(0)
    from benchmarks.yardstick import postgresql_writer, sqlite_writer

    batches = pickle.loads(rows.read_bytes())
    writer = sqlite_writer if connection.vendor == "sqlite" else postgresql_writer
    write = writer(batches)
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


class _Watch:
    """Adds up what each phase takes; a phase within another interrupts it."""

    def __init__(self, phase: str) -> None:
        self.spent = {phase: 0.0}
        self._phase = phase
        self._since = 0.0

    def start(self) -> None:
        self._begun = self._since = time.perf_counter()

    def stop(self) -> float:
        self._turn(self._phase)
        return self._since - self._begun

    def over(self, work: Callable[..., Any], phase: str) -> Callable[..., Any]:
        """The same work, counted as that phase."""

        def counted(*args: Any, **kwargs: Any) -> Any:
            before = self._turn(phase)
            try:
                return work(*args, **kwargs)
            finally:
                self._turn(before)

        return counted

    def statement(self, execute: Any, sql: Any, params: Any, many: Any, context: Any) -> Any:
        """Count what does not write rows as looking them up."""
        before = self._turn("writing rows" if self._phase == "writing rows" else "looking up")
        try:
            return execute(sql, params, many, context)
        finally:
            self._turn(before)

    def _turn(self, phase: str) -> str:
        now = time.perf_counter()
        before = self._phase
        self.spent[before] = self.spent.get(before, 0.0) + now - self._since
        self._phase, self._since = phase, now
        return before


def _print(**said: Any) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(said))


if __name__ == "__main__":
    app()
