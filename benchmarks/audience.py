"""A made-up audience in the default database: addresses that stand somewhere, and contacts.

A few of each kind are recorded as in life; the others stand as these do. The same numbers give the
same audience.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from typing import Any, Final

from django.db import connection, transaction

from benchmarks.history import FAMILY, GIVEN
from goodstanding.contacts.models import Contact, ContactAddress
from goodstanding.core.addresses import Address
from goodstanding.core.events import SECOND, Event
from goodstanding.ledger import bulk, clock, models
from goodstanding.ledger.recording import record

EVERYBODY_IN: Final = {"opted_in": 100}
"""Everybody may be written to."""

MIXED: Final = {"opted_in": 88, "engaged": 4, "unsubscribed": 4, "bounced": 2, "unknown": 2}
"""Of each hundred."""

_DAY: Final = 86_400 * SECOND
_DOMAINS: Final = 200
_COMPANIES: Final = ("", "Example & Sons", "Sample Ltd", "Beispiel GmbH", "Muestra S.A.")
_STORED: Final = 20_000  # rows in one transaction

_TOLD: Final[dict[str, tuple[tuple[str, int, dict[str, Any]], ...]]] = {
    "opted_in": (("opted_in", 40, {}),),
    "engaged": (("opted_in", 40, {}), ("opened", 5, {})),
    "unsubscribed": (("opted_in", 40, {}), ("opted_out", 3, {})),
    "bounced": (
        ("opted_in", 40, {}),
        ("bounced", 2, {"category": "mailbox_unknown", "disposition": "hard", "text": "550 5.1.1"}),
    ),
    "unknown": (),
}
"""What was heard of each kind, so many days ago."""


def make(count: int, now: int, shares: Mapping[str, int]) -> None:
    """So many contacts, each with an address of its own; ``shares`` of a hundred by kind.

    ``now`` in microseconds.
    """
    columns = [
        field.column for field in models.Address._meta.concrete_fields if field.column != "id"
    ]
    standing = {kind: _standing(kind, columns, now) for kind in shares}
    kinds = [kind for kind, share in shares.items() for _ in range(share)]
    # A step that has no factor in common with a hundred spreads the kinds over the audience.
    kinds = [kinds[n * 37 % 100] for n in range(100)]
    people = iter(range(1, count + 1))
    while batch := list(islice(people, _STORED)):
        _store(batch, columns, [standing[kinds[n % 100]] for n in batch], now)
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE")


def _standing(kind: str, columns: list[str], now: int) -> tuple[Any, ...]:
    """The row of somebody of that kind, of whom all was heard as in life."""
    somebody = Address("email", f"{kind}@model.example")
    events = [
        Event(what, now - days * _DAY, somebody, "form", key=f"{what}:{kind}", detail=detail)
        for what, days, detail in _TOLD[kind]
    ]
    if events:
        done = record(events, now)
        assert done.stored == len(events), done
    else:
        made = models.Address.objects.create(
            channel=somebody.channel, value=somebody.value, domain="model.example"
        )
        clock.refold([made.pk], now)
    found = models.Address.objects.filter(value=somebody.value)
    row: tuple[Any, ...] = found.values_list(*columns).get()
    return row


def _store(people: list[int], columns: list[str], rows: list[tuple[Any, ...]], now: int) -> None:
    value, domain = columns.index("value"), columns.index("domain")
    addresses = bulk.Table(models.Address, ("id", *columns))
    contacts = bulk.Table(
        Contact,
        ("id", "kind", "first_name", "last_name", "company", "fields", "identity", "created_at"),
    )
    held = bulk.Table(ContactAddress, ("contact_id", "address_id", "channel"))
    with transaction.atomic(), connection.cursor() as cursor:
        made, named, holding = [], [], []
        for n, row, address, contact in zip(
            people,
            rows,
            bulk.new_ids(cursor, "ledger_address", len(people)),
            bulk.new_ids(cursor, "contacts_contact", len(people)),
            strict=True,
        ):
            given, family = GIVEN[n % len(GIVEN)], FAMILY[n // 7 % len(FAMILY)]
            mine = list(row)
            mine[domain] = f"example{n % _DOMAINS}.example"
            mine[value] = f"{given}.{family}{n}@{mine[domain]}"
            made.append((address, *mine))
            company = _COMPANIES[n % len(_COMPANIES)]
            fields = f'{{"Plan":"{("basic", "plus")[n % 2]}","City":"Sampleton {n % 97}"}}'
            named.append(
                (contact, "person", given.title(), family.title(), company, fields, "", now)
            )
            holding.append((contact, address, "email"))
        addresses.insert(cursor, made)
        contacts.insert(cursor, named)
        held.insert(cursor, holding)
