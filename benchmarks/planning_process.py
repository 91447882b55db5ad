"""One step of measuring the planning, in a process of its own; prints JSON.

``GOODSTANDING_HOME`` and ``DATABASE_URL`` say where, as in life.
"""

from __future__ import annotations

import os
import sqlite3
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import msgspec
import typer

from benchmarks.measuring import memory_mb

app = typer.Typer()

TABLES: Final = {
    "ledger_delivery": "mailing_id IS NOT NULL",
    "ledger_event": "kind IN ('planned', 'skipped')",
    "mailings_outbox": "1 = 1",
}
"""What planning fills, and with which rows; the rest of what it writes is a row here and there."""

_PAUSE: Final = 0.005  # seconds between two writes of whoever works beside the planner


@app.command()
def prepare(addresses: int) -> None:
    """Make the tables, an audience of so many, and two mailings to all of it."""
    _set_up()
    from benchmarks import audience
    from goodstanding.mailings import contents

    now = time.time_ns() // 1_000
    audience.make(addresses, now, audience.MIXED)
    body = "Hello {{ first_name }}\n{{ unsubscribe_url }}\n{{ postal_address }}\n"
    drafts = [contents.Draft(name=name, subject="News", text=body) for name in ("news", "more")]
    _print(mailings=[contents.create(draft, now) for draft in drafts])


@app.command()
def plan(mailing: int) -> None:
    """Plan it to its end, timed."""
    connection = _set_up()
    from goodstanding.mailings import planning

    watch = _Transactions(connection)
    before, _ = memory_mb()
    started = time.perf_counter()
    done = planning.plan(mailing, time.time_ns() // 1_000)
    seconds = time.perf_counter() - started
    if not done:
        raise SystemExit("the mailing is not planned to its end")
    _print(
        seconds=seconds,
        deliveries=_one(f"SELECT count(*) FROM ledger_delivery WHERE mailing_id = {mailing}"),
        memory=memory_mb()[1],
        memory_before=before,
        transactions=watch.count,
        longest=watch.longest * 1e3,
        within=watch.spent / seconds,
    )


@app.command()
def write_beside(mailing: int) -> None:
    """Write a row every few milliseconds until standard input ends; the longest that one took.

    The row is the tally that every message of the mailing counts in when it leaves: whoever sends
    while the rest is planned waits for the planner there.
    """
    connection = _set_up()
    if connection.vendor == "sqlite":
        # SQLite's own way of waiting sleeps longer and longer: it would measure its naps.
        connection.connection.execute("PRAGMA busy_timeout = 0")
    took = []
    print("ready", flush=True)
    os.set_blocking(sys.stdin.fileno(), False)
    while sys.stdin.buffer.read(1) is None:
        started = time.perf_counter()
        _write(connection, mailing)
        took.append(time.perf_counter() - started)
        time.sleep(_PAUSE)
    took.sort()
    _print(writes=len(took), longest=took[-1] * 1e3, usual=took[len(took) // 2] * 1e3)


def _write(connection: Any, mailing: int) -> None:
    from django.db import OperationalError, transaction

    while True:
        try:
            with transaction.atomic(), connection.cursor() as cursor:
                cursor.execute(
                    "INSERT INTO ledger_mailingtally (mailing_id, name, count)"
                    " VALUES (%s, 'planned', 0) ON CONFLICT (mailing_id, name)"
                    " DO UPDATE SET count = ledger_mailingtally.count + excluded.count",
                    [mailing],
                )
        except OperationalError:
            if connection.vendor != "sqlite":
                raise
            time.sleep(0.0005)
        else:
            return


@app.command()
def yardstick(planned: Path) -> None:
    """Insert the planned rows again, into empty tables, in one transaction; timed.

    On SQLite ``planned`` is the database that was planned in, and the default one is as it was
    before. On PostgreSQL the default one was planned in: its rows are put aside first.
    """
    connection = _set_up()
    if connection.vendor == "sqlite":
        statements = _from_attached(connection.connection, planned)
    else:
        statements = _put_aside(connection)
    bare = connection.connection
    started = time.perf_counter()
    bare.execute("BEGIN IMMEDIATE" if connection.vendor == "sqlite" else "BEGIN")
    rows = {name: bare.execute(statement).rowcount for name, statement in statements.items()}
    bare.execute("COMMIT")
    _print(seconds=time.perf_counter() - started, rows=rows)


def _from_attached(bare: sqlite3.Connection, planned: Path) -> dict[str, str]:
    bare.execute("ATTACH DATABASE ? AS planned", [str(planned)])
    # The outbox refers to lots, which are made along the way.
    bare.execute("PRAGMA foreign_keys = OFF")
    return {
        name: f"INSERT INTO {name} SELECT * FROM planned.{name} WHERE {which}"
        for name, which in TABLES.items()
    }


def _put_aside(connection: Any) -> dict[str, str]:
    with connection.cursor() as cursor:
        for name, which in TABLES.items():
            kept = f"SELECT * FROM {name} WHERE {which}"
            cursor.execute(f"CREATE UNLOGGED TABLE kept_{name} AS {kept}")
        cursor.execute(f"TRUNCATE {', '.join(TABLES)} CASCADE")
        for name in TABLES:
            cursor.execute(f"ANALYZE kept_{name}")
    return {name: f"INSERT INTO {name} SELECT * FROM kept_{name}" for name in TABLES}


class _Transactions:
    """Watches how long transactions are open: from when one begins until it is on disk."""

    def __init__(self, connection: Any) -> None:
        self.longest = self.spent = 0.0
        self.count = 0
        self._began: float | None = None
        begin, commit = connection.set_autocommit, connection.commit

        def set_autocommit(autocommit: bool, *args: Any, **kwargs: Any) -> None:
            if not autocommit:
                self._began = time.perf_counter()
            begin(autocommit, *args, **kwargs)

        connection.set_autocommit = set_autocommit
        connection.commit = self._counted(commit)

    def _counted(self, commit: Callable[[], None]) -> Callable[[], None]:
        def counted() -> None:
            commit()
            if self._began is not None:
                took = time.perf_counter() - self._began
                self.longest = max(self.longest, took)
                self.spent += took
                self.count += 1
                self._began = None

        return counted


def _one(query: str) -> int:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(query)
        return int(cursor.fetchone()[0])


def _set_up() -> Any:
    from goodstanding.cli.setup import prepare

    prepare()
    from django.db import connections

    connections["default"].ensure_connection()
    return connections["default"]


def _print(**said: Any) -> None:
    sys.stdout.write(msgspec.json.encode(said).decode() + "\n")


if __name__ == "__main__":
    app()
