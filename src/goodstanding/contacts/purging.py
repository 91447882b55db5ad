"""Purging: addresses to which nothing more is sent are taken from their contacts.

The seeds recommend it: who tries dead addresses again and again looks like a spammer. A contact
that then holds no address is deleted. The ledger stays as it is: whoever imports the address again
finds it standing where it stood.

What is found is kept in a table of this session's, so that what is shown, what is written to a file
and what is purged are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

import msgspec
import structlog
from django.db import connection, transaction
from django.db.backends.utils import CursorWrapper

from goodstanding.contacts import storing
from goodstanding.contacts.seen import Seen
from goodstanding.core.standings import STATUSES
from goodstanding.ledger import bulk, clock, gate, lookup
from goodstanding.ledger.policy import active_policy

PURGEABLE: Final = tuple(name for name, status in STATUSES.items() if status.refusal)
"""The statuses that refuse broadcasts."""

USUAL: Final = ("hard_bounced", "invalid")

CHUNK: Final = 1_000
"""Addresses taken from contacts in one transaction: well under a quarter of a second."""

_WINDOW: Final = 20_000
"""Ids of addresses that are looked through at a time."""

_SINCE: Final = (
    "coalesce(a.since,"
    " (SELECT min(e.recorded_at) FROM ledger_event e WHERE e.address_id = a.id), %s)"
)
"""SQL for since when address ``a`` stands so; takes the present.

One that never opted in does so for as long as it is known; one of which nothing was ever said, such
as what another was corrected to, is as good as new.
"""

_log = structlog.get_logger(__name__)

Advance = Callable[[int], None]
"""Called with how much was done since it was last called."""


class Terms(msgspec.Struct, frozen=True):
    """What is purged: who stands in one of the statuses since ``until`` or longer, as of ``now``.

    Times in microseconds.
    """

    statuses: tuple[str, ...]
    until: int
    now: int


class Found(msgspec.Struct, frozen=True):
    """How many addresses there are to purge, of how many contacts; each address of each: a pair.

    ``contacts_deleted``: those of the contacts who hold no other address.
    """

    terms: Terms
    pairs: int
    addresses: int
    contacts: int
    contacts_deleted: int


class OfStatus(msgspec.Struct, frozen=True):
    """How many of what was found stand so, and since when: the first and the last of them."""

    status: str
    addresses: int
    contacts: int
    since_first: int
    since_last: int


class Example(msgspec.Struct, frozen=True):
    """One of the addresses that were found, and how many contacts hold it."""

    address: str
    channel: str
    status: str
    since: int
    category: str | None
    contacts: int


class Purged(msgspec.Struct, frozen=True):
    """How many addresses were taken from how many contacts, and how many of these are deleted."""

    addresses: int
    contacts: int
    contacts_deleted: int


class NotPurgeable(ValueError):
    """Mail goes to addresses that stand so, or nobody stands so; the message is one sentence."""


def terms(statuses: Iterable[str], older_than: int, now: int) -> Terms:
    """What is to be purged: who stands so for ``older_than`` microseconds or longer.

    Raises:
        NotPurgeable: one of the statuses does not refuse broadcasts, or is none.
    """
    wanted = tuple(dict.fromkeys(statuses)) or USUAL
    for status in wanted:
        if status not in PURGEABLE:
            why = "mail goes to who stands so" if status in STATUSES else "it is no status"
            raise NotPurgeable(
                f"{status!r} cannot be purged: {why}. What can be: {', '.join(PURGEABLE)}."
            )
    return Terms(wanted, now - older_than, now)


def find(wanted: Terms, advance: Advance) -> Found:
    """Find what there is to purge, once it is written down where everybody stands by now.

    ``advance`` comes to the id of the last address.
    """
    last = lookup.last_address()
    with connection.cursor() as cursor:
        _make_table(cursor)
        for begin in range(0, last, _WINDOW):
            _settle(cursor, begin, wanted.now)
            cursor.execute(
                "INSERT INTO purge_found (address_id, contact_id, status, since)"
                f" SELECT a.id, h.contact_id, a.status, {_SINCE} FROM ledger_address a"
                " JOIN contacts_contactaddress h ON h.address_id = a.id"
                f" WHERE a.id > %s AND a.id <= %s AND {_stands_so()} ORDER BY a.id, h.contact_id",
                [wanted.now, begin, begin + _WINDOW, *_standing_so(wanted)],
            )
            advance(min(_WINDOW, last - begin))
        cursor.execute(
            "SELECT count(*), count(DISTINCT address_id), count(DISTINCT contact_id)"
            " FROM purge_found"
        )
        pairs, addresses, contacts = cursor.fetchone()
        cursor.execute(
            "SELECT count(*) FROM (SELECT contact_id, count(*) AS taken FROM purge_found"
            " GROUP BY contact_id) AS g WHERE taken ="
            " (SELECT count(*) FROM contacts_contactaddress k WHERE k.contact_id = g.contact_id)"
        )
        [deleted] = cursor.fetchone()
    return Found(wanted, pairs, addresses, contacts, deleted)


def by_status() -> list[OfStatus]:
    """What was found, by status, in the order of the statuses."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT status, count(DISTINCT address_id), count(DISTINCT contact_id), min(since),"
            " max(since) FROM purge_found GROUP BY status"
        )
        found = [OfStatus(*row) for row in cursor.fetchall()]
    return sorted(found, key=lambda each: PURGEABLE.index(each.status))


def examples(most: int) -> list[Example]:
    """Some of what was found: those that have stood so for longest."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT a.value, a.channel, g.status, g.since, a.category, g.contacts FROM"
            " (SELECT address_id, status, since, count(*) AS contacts FROM purge_found"
            " GROUP BY address_id, status, since ORDER BY since, address_id LIMIT %s) AS g"
            " JOIN ledger_address a ON a.id = g.address_id ORDER BY g.since, g.address_id",
            [most],
        )
        return [Example(*row) for row in cursor.fetchall()]


def purge(found: Found, *, by: str, reason: str | None, advance: Advance) -> Purged:
    """Purge what was found and still stands so, a chunk in a transaction.

    Broken off, what was done is done, and the rest is found the next time; what is then logged may
    be short of the last chunk.
    """
    addresses, contacts, deleted = Seen(), Seen(), 0
    try:
        for begin in range(0, found.pairs, CHUNK):
            with transaction.atomic(), connection.cursor() as cursor:
                taken = _take(cursor, begin, found.terms)
                gone = _delete_contacts(cursor, {contact for contact, _ in taken})
            for contact, address in taken:
                contacts.add(contact)
                addresses.add(address)
            deleted += gone
            advance(min(CHUNK, found.pairs - begin))
            bulk.give_way()
    finally:
        _log.info(
            "purged",
            statuses=",".join(found.terms.statuses),
            found=found.addresses,
            addresses=addresses.count,
            contacts=contacts.count,
            contacts_deleted=deleted,
            by=by,
            reason=reason,
        )
    return Purged(addresses.count, contacts.count, deleted)


def _make_table(cursor: CursorWrapper) -> None:
    """Have an empty table for what is found; ``place`` counts its rows from one."""
    place = "bigint GENERATED ALWAYS AS IDENTITY"
    if connection.vendor == "sqlite":
        place = "integer"
    cursor.execute("DROP TABLE IF EXISTS purge_found")
    cursor.execute(
        f"CREATE TEMPORARY TABLE purge_found (place {place} PRIMARY KEY, address_id bigint,"
        " contact_id bigint, status varchar(32), since bigint)"
    )


def _settle(cursor: CursorWrapper, begin: int, now: int) -> None:
    """Fold the contacts' addresses in a window that time or a new policy has changed."""
    cursor.execute(
        f"SELECT a.id FROM ledger_address a WHERE a.id > %s AND a.id <= %s AND {gate.stale()}"
        " AND EXISTS (SELECT 1 FROM contacts_contactaddress k WHERE k.address_id = a.id)"
        " ORDER BY a.id",
        [begin, begin + _WINDOW, now, active_policy().revision],
    )
    ids = [row[0] for row in cursor.fetchall()]
    for start in range(0, len(ids), clock.BATCH):
        clock.refold(ids[start : start + clock.BATCH], now)
        bulk.give_way()


def _stands_so() -> str:
    """SQL that is true of an address ``a`` that is to be purged; takes ``_standing_so``."""
    # Not by the index of the statuses: whoever is looked at is looked up by ids.
    status = bulk.among("coalesce(a.status, '')", text=True)
    return f"{status} AND {_SINCE} <= %s AND a.value <> '' AND NOT coalesce({gate.stale()}, 1 = 0)"


def _standing_so(wanted: Terms) -> list[Any]:
    revision = active_policy().revision
    return [bulk.listed(wanted.statuses), wanted.now, wanted.until, wanted.now, revision]


def _take(cursor: CursorWrapper, begin: int, wanted: Terms) -> list[tuple[int, int]]:
    """Take a chunk's addresses that still stand so from their contacts: (contact, address)."""
    bulk.look_up_by_keys(cursor)
    storing.by_turns(cursor)
    chunk = "FROM purge_found WHERE place > %s AND place <= %s"
    cursor.execute(
        f"SELECT a.id FROM ledger_address a WHERE a.id IN (SELECT address_id {chunk})"
        f" AND {_stands_so()} ORDER BY a.id {bulk.for_update()}",
        [begin, begin + CHUNK, *_standing_so(wanted)],
    )
    ids = [row[0] for row in cursor.fetchall()]
    if not ids:
        return []
    cursor.execute(
        "DELETE FROM contacts_contactaddress WHERE (contact_id, address_id) IN"
        f" (SELECT contact_id, address_id {chunk} AND {bulk.among('address_id')})"
        " RETURNING contact_id, address_id",
        [begin, begin + CHUNK, bulk.listed(ids)],
    )
    return list(cursor.fetchall())


def _delete_contacts(cursor: CursorWrapper, contacts: Iterable[int]) -> int:
    """Delete those of the contacts who hold no address any more; how many there were."""
    cursor.execute(
        f"SELECT c.id FROM contacts_contact c WHERE {bulk.among('c.id')} AND NOT EXISTS"
        " (SELECT 1 FROM contacts_contactaddress k WHERE k.contact_id = c.id)",
        [bulk.listed(contacts)],
    )
    gone = [row[0] for row in cursor.fetchall()]
    if gone:
        listed = [bulk.listed(gone)]
        cursor.execute(f"DELETE FROM contacts_membership WHERE {bulk.among('contact_id')}", listed)
        cursor.execute(f"DELETE FROM contacts_contact WHERE {bulk.among('id')}", listed)
    return len(gone)
