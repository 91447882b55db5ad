"""Writing many rows at once, on SQLite and on PostgreSQL.

SQLite takes prepared statements row by row at no cost; PostgreSQL wants one COPY, or arrays in one
statement. Those are written as literals here: psycopg writes a list element by element in Python,
which took a third of a fold's time.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from typing import Any, Final

from django.db import connection, models
from django.db.backends.utils import CursorWrapper

Row = Sequence[Any]

_WORTH_A_COPY: Final = 1_000
"""Fewer rows are written as arrays: a COPY goes to and fro three times, and nobody ends the session
of who was stopped amid one. Workers write fewer, imports more."""

_ARRAYS: Final = {
    "BigAutoField": "bigint",
    "BigIntegerField": "bigint",
    "ForeignKey": "bigint",
    "IntegerField": "integer",
    "SmallIntegerField": "smallint",
    "BooleanField": "boolean",
    "FloatField": "double precision",
}


class Table:
    """Some columns of a model's table, in one order."""

    def __init__(self, model: type[models.Model], columns: Iterable[str]) -> None:
        self.name = model._meta.db_table
        self.columns = tuple(columns)
        by_column = {field.column: field for field in model._meta.concrete_fields}
        self._types = [
            _ARRAYS.get(by_column[column].get_internal_type(), "text") for column in self.columns
        ]

    def insert(self, cursor: CursorWrapper, rows: Sequence[Row], *, on_conflict: str = "") -> None:
        """Insert rows given in the order of ``columns``."""
        if not rows:
            return
        into = f"INSERT INTO {self.name} ({', '.join(self.columns)})"
        if connection.vendor == "sqlite":
            marks = ", ".join(["%s"] * len(self.columns))
            cursor.executemany(f"{into} VALUES ({marks}) {on_conflict}", rows)
        elif on_conflict or len(rows) < _WORTH_A_COPY:
            arrays = self._arrays(rows)
            cursor.execute(f"{into} SELECT * FROM {self._unnest()} {on_conflict}", arrays)
        else:
            copying = f"COPY {self.name} ({', '.join(self.columns)}) FROM STDIN"
            with connection.wrap_database_errors, cursor.copy(copying) as copy:
                for row in rows:
                    copy.write_row(row)

    def update(self, cursor: CursorWrapper, rows: Sequence[Row], *, keys: int = 1) -> None:
        """Update rows; their first ``keys`` columns say which."""
        if not rows:
            return
        which, what = self.columns[:keys], self.columns[keys:]
        if connection.vendor == "sqlite":
            into = ", ".join(f"{column} = %s" for column in what)
            where = " AND ".join(f"{column} = %s" for column in which)
            moved = [(*row[keys:], *row[:keys]) for row in rows]
            cursor.executemany(f"UPDATE {self.name} SET {into} WHERE {where}", moved)
        else:
            into = ", ".join(f"{column} = v.{column}" for column in what)
            where = " AND ".join(f"t.{column} = v.{column}" for column in which)
            cursor.execute(
                f"UPDATE {self.name} t SET {into} FROM {self._unnest()}"
                f" AS v({', '.join(self.columns)}) WHERE {where}",
                self._arrays(rows),
            )

    def _arrays(self, rows: Sequence[Row]) -> list[str]:
        return [
            _text_array(column) if kind == "text" else _array(column)
            for kind, column in zip(self._types, zip(*rows, strict=True), strict=True)
        ]

    def _unnest(self) -> str:
        return f"unnest({', '.join(f'%s::{kind}[]' for kind in self._types)})"


def gather(
    cursor: CursorWrapper, *queries: tuple[str, Sequence[Any]]
) -> list[list[tuple[Any, ...]]]:
    """The rows of each query, in order; on PostgreSQL all are sent at once.

    Only for what is quickly sent: a session whose client is stopped amid it is not ended, as one
    that idles in a transaction is, and its locks hold up all others.
    """
    found = []
    if connection.vendor == "sqlite":
        for query, parameters in queries:
            cursor.execute(query, parameters)
            found.append(cursor.fetchall())
        return found
    with ExitStack() as stack:
        cursors = [stack.enter_context(connection.cursor()) for _ in queries]
        with connection.wrap_database_errors, connection.connection.pipeline():
            for each, (query, parameters) in zip(cursors, queries, strict=True):
                each.execute(query, parameters)
        return [each.fetchall() for each in cursors]


def among(column: str, *, text: bool = False) -> str:
    """SQL that is true where ``column`` is one of a list, given as one parameter: ``listed``."""
    if connection.vendor == "sqlite":
        return f"{column} IN (SELECT value FROM json_each(%s))"
    return f"{column} = ANY(%s::{'text' if text else 'bigint'}[])"


def listed(values: Iterable[Any]) -> Any:
    """The parameter that goes with ``among``."""
    values = list(values)
    if connection.vendor == "sqlite":
        return json.dumps(values)
    return _text_array(values) if values and isinstance(values[0], str) else _array(values)


def pairs(first: str, second: str, table: str) -> str:
    """SQL for ``table`` joined with a list of (integer, text) pairs: ``paired``."""
    if connection.vendor == "sqlite":
        return (
            f"json_each(%s) AS p CROSS JOIN {table} AS t"
            f" ON t.{first} = p.value ->> 0 AND t.{second} = p.value ->> 1"
        )
    return (
        f"unnest(%s::bigint[], %s::text[]) AS p(a, b)"
        f" JOIN {table} AS t ON t.{first} = p.a AND t.{second} = p.b"
    )


def paired(values: Sequence[tuple[int, str]]) -> list[Any]:
    """The parameters that go with ``pairs``."""
    if connection.vendor == "sqlite":
        return [json.dumps(values)]
    return [_array([first for first, _ in values]), _text_array([second for _, second in values])]


def look_up_by_keys(cursor: CursorWrapper) -> None:
    """Until the transaction ends, let PostgreSQL find rows by their keys alone.

    It would read a whole table of some hundred megabytes rather than look up two thousand of its
    rows, as if each of them took a disk's arm to find.
    """
    if connection.vendor == "postgresql":
        names = ("enable_seqscan", "enable_hashjoin", "enable_mergejoin")
        cursor.execute("SELECT " + ", ".join(f"set_config('{n}', 'off', true)" for n in names))


def new_ids(cursor: CursorWrapper, table: str, count: int) -> Sequence[int]:
    """Ids for rows to come; the transaction must hold the write lock on SQLite."""
    if count == 0:
        return ()
    if connection.vendor == "sqlite":
        cursor.execute(
            "SELECT max(coalesce((SELECT seq FROM sqlite_sequence WHERE name = %s), 0),"
            f" coalesce((SELECT max(id) FROM {table}), 0))",
            [table],
        )
        start = int(cursor.fetchone()[0]) + 1
        return range(start, start + count)
    cursor.execute(
        "SELECT nextval(pg_get_serial_sequence(%s, 'id')) FROM generate_series(1, %s)",
        [table, count],
    )
    return [row[0] for row in cursor.fetchall()]


def give_way() -> None:
    """Between two transactions of many: SQLite lets nobody in by turns."""
    if connection.vendor == "sqlite":
        time.sleep(0.001)


def for_update() -> str:
    """SQL that locks the rows read; SQLite's transaction has locked everything already.

    Weak enough that others may refer to the rows meanwhile.
    """
    return "" if connection.vendor == "sqlite" else "FOR NO KEY UPDATE"


def _array(values: Iterable[float | None]) -> str:
    """Numbers or truth values as PostgreSQL writes an array of them."""
    return f"{{{','.join(['NULL' if value is None else str(value) for value in values])}}}"


def _text_array(values: Iterable[str | None]) -> str:
    """Texts as PostgreSQL writes an array of them."""
    return f"{{{','.join(['NULL' if value is None else _quoted(value) for value in values])}}}"


def _quoted(text: str) -> str:
    if "\\" in text or '"' in text:
        text = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'
