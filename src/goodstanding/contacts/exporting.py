"""Writing to a file what is about to be purged: a row for each address of each contact."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec
from django.db import connection

from goodstanding.contacts import saving
from goodstanding.contacts.purging import Advance, Found
from goodstanding.core.times import rfc3339
from goodstanding.ledger import bulk

CHUNK: Final = 5_000
"""Rows read at a time."""

COLUMNS: Final = (
    *("address", "channel", "status", "since", "category"),
    *("first_name", "last_name", "company", "external_id", "lists"),
)
"""After these come the contacts' fields, each in a column of its own."""

_fields = msgspec.json.Decoder(dict[str, str]).decode


def export(found: Found, path: Path, advance: Advance) -> None:
    """Write what was found; ``advance`` comes to twice its pairs.

    Raises:
        CannotSave: the file cannot be written.
    """
    fields = _headings(found, advance)
    with saving.saved(path, (*COLUMNS, *map(_untaken, fields))) as write:
        for rows in _chunks(found, _SAID):
            lists = _lists({row[0] for row in rows})
            for contact, address, channel, status, since, category, *named, external, said in rows:
                told = _fields(said) if said != "{}" else {}
                write(
                    (
                        *(address, channel, status, rfc3339(since), category or ""),
                        *(*named, external or "", "; ".join(lists.get(contact, ()))),
                        *(told.get(heading, "") for heading in fields),
                    )
                )
            advance(len(rows))


_SAID: Final = (
    "f.contact_id, a.value, a.channel, f.status, f.since, a.category,"
    " c.first_name, c.last_name, c.company, c.external_id, c.fields"
)


def _chunks(found: Found, columns: str) -> Iterator[list[tuple[Any, ...]]]:
    for begin in range(0, found.pairs, CHUNK):
        with connection.cursor() as cursor:
            cursor.execute(
                f"SELECT {columns} FROM purge_found f"
                " JOIN ledger_address a ON a.id = f.address_id"
                " JOIN contacts_contact c ON c.id = f.contact_id"
                " WHERE f.place > %s AND f.place <= %s ORDER BY f.place",
                [begin, begin + CHUNK],
            )
            yield cursor.fetchall()


def _headings(found: Found, advance: Advance) -> list[str]:
    """The names of all their fields, in the order in which they come."""
    names: dict[str, None] = {}
    for rows in _chunks(found, "c.fields"):
        for (said,) in rows:
            if said != "{}":
                names.update(dict.fromkeys(_fields(said)))
        advance(len(rows))
    return list(names)


def _untaken(heading: str) -> str:
    """The heading of a field's column: not one of ours."""
    return f"{heading} (field)" if heading in COLUMNS else heading


def _lists(contacts: set[int]) -> dict[int, list[str]]:
    """The names of the lists that each contact is on."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT m.contact_id, l.name FROM contacts_membership m JOIN contacts_contactlist l"
            f" ON l.id = m.list_id WHERE {bulk.among('m.contact_id')} ORDER BY l.name",
            [bulk.listed(contacts)],
        )
        named: dict[int, list[str]] = {}
        for contact, name in cursor.fetchall():
            named.setdefault(contact, []).append(name)
    return named
