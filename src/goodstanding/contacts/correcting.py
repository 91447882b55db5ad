"""Correcting an address: whoever held it holds another one instead (design, section 4).

The old one keeps its history. The new one keeps its own standing, and gets no consent by it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from django.db import connection, transaction
from django.db.backends.utils import CursorWrapper

from goodstanding.contacts import models, storing
from goodstanding.contacts.rows import identity
from goodstanding.core.addresses import Address
from goodstanding.ledger import acts, bulk, clock, lookup
from goodstanding.ledger.models import Address as Known
from goodstanding.ledger.models import Event

_IDENTITY: Final = bulk.Table(models.Contact, ("id", "identity"))
_CHANNELS: Final = {"email": "an email address", "sms": "a phone number"}


class Corrected(msgspec.Struct, frozen=True):
    """How many contacts hold the new address instead, and where both stand after it."""

    contacts: int
    status: str
    family: str
    to_status: str
    to_family: str


def correct(
    old: Address, new: Address, *, reason: str, by: str, now: int, at: int | None = None
) -> Corrected:
    """Have every contact that holds ``old`` hold ``new`` instead, and record who did it and why.

    ``now`` in microseconds; ``at``: when it was done, where that was earlier.

    Raises:
        NotAllowed: there is nothing to correct, or not to that.
        ValueError: there is no reason, or the time has not come.
    """
    with transaction.atomic(), connection.cursor() as cursor:
        storing.by_turns(cursor)
        _may_be_corrected(old, new)
        standing = acts.correct(old, new, reason=reason, by=by, now=now, at=at)
        ids = lookup.address_ids([old, new])
        _know_again(cursor, ids[old], old, new)
        contacts = _move(cursor, ids[old], ids[new])
    # In a transaction of its own: two folds in one would lock addresses after tallies.
    clock.refold([ids[new]], now)
    status, family = Known.objects.values_list("status", "family").get(pk=ids[new])
    return Corrected(contacts, standing.status, standing.family, status, family)


def _may_be_corrected(old: Address, new: Address) -> None:
    """See that there is something to correct.

    Raises:
        NotAllowed: there is not.
    """
    if old == new:
        raise acts.NotAllowed(f"Both are {old.value}: there is nothing to correct.")
    if old.channel != new.channel:
        raise acts.NotAllowed(
            f"{old.value} cannot be corrected to {new.value}: a correction stays within a channel,"
            f" and the one is {_CHANNELS[old.channel]}, the other {_CHANNELS[new.channel]}."
        )
    id_ = lookup.address_ids([old]).get(old)
    if id_ is None or not (
        Event.objects.filter(address_id=id_).exists()
        or models.ContactAddress.objects.filter(address_id=id_).exists()
    ):
        raise acts.NotAllowed(
            f"{old.value} cannot be corrected: it was never heard of, and no contact holds it."
        )


def _know_again(cursor: CursorWrapper, id_: int, old: Address, new: Address) -> None:
    """Let an import know the contacts again by rows that are correct."""
    cursor.execute(
        "SELECT c.id, c.identity, c.first_name, c.last_name, c.company, c.fields,"
        " a.channel, a.value FROM contacts_contactaddress o"
        " JOIN contacts_contact c ON c.id = o.contact_id"
        " JOIN contacts_contactaddress h ON h.contact_id = c.id"
        " JOIN ledger_address a ON a.id = h.address_id WHERE o.address_id = %s ORDER BY c.id",
        [id_],
    )
    held: dict[tuple[Any, ...], list[Address]] = {}
    for *contact, channel, value in cursor.fetchall():
        held.setdefault(tuple(contact), []).append(Address(channel, value))
    changed = []
    for (contact, known_by, *named, fields), addresses in held.items():
        said = (*named, msgspec.json.decode(fields, type=dict[str, str]))
        # As its row was read it may have held no more than that one.
        for before in (addresses, [old]):
            if identity(before, *said) == known_by:
                changed.append((contact, identity(_corrected(before, old, new), *said)))
                break
    _IDENTITY.update(cursor, changed)


def _corrected(addresses: Sequence[Address], old: Address, new: Address) -> list[Address]:
    return list(dict.fromkeys(new if each == old else each for each in addresses))


def _move(cursor: CursorWrapper, old: int, new: int) -> int:
    """Have every contact that holds the one hold the other; how many there are."""
    cursor.execute(
        "INSERT INTO contacts_contactaddress (contact_id, address_id, channel)"
        " SELECT contact_id, %s, channel FROM contacts_contactaddress WHERE address_id = %s"
        " ON CONFLICT DO NOTHING",
        [new, old],
    )
    cursor.execute("DELETE FROM contacts_contactaddress WHERE address_id = %s", [old])
    return int(cursor.rowcount)
