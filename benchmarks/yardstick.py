"""The fold's yardstick: the rows that an import wrote, written from ready tuples by bare upserts.

``Spy`` notes, on SQLite and with triggers, which rows each transaction of an import wrote, and
reads them as they were when it ended: a row once for each transaction, however often that touched
it. They are then written to an empty database with the same tables, indexes and constraints, in as
many transactions: nothing is decoded, read, looked up or decided.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec
from django.apps import apps
from django.db import connections, models, transaction

from goodstanding.ledger import bulk

Rows = list[tuple[Any, ...]]
Batch = list[tuple[str, Rows]]
"""The rows of one transaction, by table, in an order that foreign keys allow."""

_FIRST: Final = ("ledger_mailing", "ledger_address", "ledger_delivery")


class _Table(msgspec.Struct, frozen=True):
    name: str
    columns: tuple[str, ...]
    keys: tuple[str, ...]
    truths: frozenset[int]
    """Places of columns that are true or false."""
    bulk: bulk.Table

    @property
    def on_conflict(self) -> str:
        others = ", ".join(f"{c} = excluded.{c}" for c in self.columns if c not in self.keys)
        return f"ON CONFLICT ({', '.join(self.keys)}) DO UPDATE SET {others}"

    @property
    def into(self) -> str:
        return f"INSERT INTO {self.name} ({', '.join(self.columns)})"


def _table(model: type[models.Model]) -> _Table:
    # A composite key is a field without a column of its own.
    fields = [(f.column, f.get_internal_type()) for f in model._meta.concrete_fields if f.column]
    return _Table(
        name=model._meta.db_table,
        columns=tuple(column for column, _ in fields),
        keys=tuple(field.column for field in model._meta.pk_fields if field.column),
        truths=frozenset(i for i, (_, kind) in enumerate(fields) if kind == "BooleanField"),
        bulk=bulk.Table(model, [column for column, _ in fields]),
    )


def tables() -> dict[str, _Table]:
    """The ledger's tables, those first that others refer to."""
    found = {t.name: t for t in map(_table, apps.get_app_config("ledger").get_models())}
    order = sorted(found, key=lambda name: (name not in _FIRST, *map(name.__ne__, _FIRST)))
    return {name: found[name] for name in order}


class Spy:
    """Notes what is written to the default database, which is SQLite."""

    def __init__(self) -> None:
        self._tables = tables()
        self.batches: list[Batch] = []
        with connections["default"].cursor() as cursor:
            for table in self._tables.values():
                keys = ", ".join(table.keys)
                cursor.execute(f"CREATE TEMP TABLE wrote_{table.name} ({keys})")
                for what in ("INSERT", "UPDATE"):
                    new = ", ".join(f"new.{key}" for key in table.keys)
                    cursor.execute(
                        f"CREATE TEMP TRIGGER {what}_{table.name} AFTER {what} ON main.{table.name}"
                        f" BEGIN INSERT INTO wrote_{table.name} VALUES ({new}); END"
                    )

    def look(self) -> None:
        """Take what was written since the last look for one batch."""
        batch: Batch = []
        with connections["default"].cursor() as cursor:
            for table in self._tables.values():
                keys = ", ".join(table.keys)
                cursor.execute(
                    f"SELECT {', '.join(table.columns)} FROM {table.name}"
                    f" WHERE ({keys}) IN (SELECT {keys} FROM wrote_{table.name}) ORDER BY {keys}"
                )
                if rows := cursor.fetchall():
                    batch.append((table.name, rows))
                cursor.execute(f"DELETE FROM wrote_{table.name}")
        self.batches.append(batch)


def sqlite_writer(batches: Sequence[Batch]) -> Callable[[], None]:
    """What writes them to the default database by ``executemany``, on its own bare connection."""
    known = tables()
    bare = connections["default"].connection
    statements = {
        name: f"{table.into} VALUES ({', '.join('?' * len(table.columns))}) {table.on_conflict}"
        for name, table in known.items()
    }

    def write() -> None:
        for batch in batches:
            bare.execute("BEGIN IMMEDIATE")
            for name, rows in batch:
                bare.executemany(statements[name], rows)
            bare.execute("COMMIT")

    return write


def postgresql_writer(batches: Sequence[Batch]) -> Callable[[], None]:
    """The same on PostgreSQL, one statement a table over arrays: ``executemany`` takes four times
    as long.
    """
    known = tables()
    ready = [[(known[name], _as_types(known[name], rows)) for name, rows in b] for b in batches]

    def write() -> None:
        for batch in ready:
            with transaction.atomic(), connections["default"].cursor() as cursor:
                for table, rows in batch:
                    table.bulk.insert(cursor, rows, on_conflict=table.on_conflict)

    return write


def _as_types(table: _Table, rows: Rows) -> Rows:
    """SQLite's whole numbers as PostgreSQL's booleans."""
    if not table.truths:
        return rows
    return [tuple(bool(v) if i in table.truths else v for i, v in enumerate(row)) for row in rows]
