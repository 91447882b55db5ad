"""What is known of an address: as stored, or as of an earlier time, from its events."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Final

from django.db import connection
from django.db.backends.utils import CursorWrapper

from goodstanding.core.addresses import Address
from goodstanding.core.annulments import Predicates
from goodstanding.core.events import Event
from goodstanding.core.history import DeliveryKey, History, Remembered, fold
from goodstanding.ledger import accounts, annulments, lookup
from goodstanding.ledger.accounts import Account, Row
from goodstanding.ledger.rebuilding import history

BATCH: Final = 500
"""Addresses that are loaded at once."""


def of(wanted: Sequence[Address], at: int | None = None) -> Iterator[tuple[Address, History]]:
    """What is known of each address, in the order given; nothing, where it was never heard of.

    ``at``: as of that time (microseconds); None: as stored.
    """
    for start in range(0, len(wanted), BATCH):
        batch = wanted[start : start + BATCH]
        ids = lookup.address_ids(batch)
        with connection.cursor() as cursor:
            loaded = accounts.load(cursor, ids.values(), lock=False)
            annulled = annulments.in_force(cursor, at)
            for address in batch:
                account = loaded.get(ids.get(address, 0))
                yield address, _known(cursor, address, account, at, annulled)


def by_id(ids: Collection[int], at: int | None = None) -> Iterator[History]:
    """What is known of the addresses with those ids."""
    with connection.cursor() as cursor:
        annulled = annulments.in_force(cursor, at)
        for account in accounts.load(cursor, ids, lock=False).values():
            if at is None:
                yield stored(account)
            else:
                yield as_of(account, events(account, cursor), at, annulled)


def events(account: Account, cursor: CursorWrapper) -> list[Event]:
    """All that was heard of the account, in order of time."""
    return [event for _, event in history(account, cursor)]


def stored(account: Account) -> History:
    """What the ledger has folded."""
    deliveries = sorted(
        ((_key(row), _remembered(row)) for row in account.rows.values()),
        key=lambda item: (item[0][0] or "", item[0][1]),
    )
    return History(account.channel, account.registers, dict(deliveries))


def as_of(account: Account, heard: Sequence[Event], at: int, annulled: Predicates) -> History:
    """What had happened by then, folded from the events; ``annulled``: what did not count then."""
    purposes = {
        row.mailing.name: row.mailing.purpose for row in account.rows.values() if row.mailing
    }
    past = [event for event in heard if event.occurred_at <= at]
    return fold(account.channel, past, purposes, annulled)


def _known(
    cursor: CursorWrapper,
    address: Address,
    account: Account | None,
    at: int | None,
    annulled: Predicates,
) -> History:
    if account is None:
        return History(address.channel)
    if at is None:
        return stored(account)
    return as_of(account, events(account, cursor), at, annulled)


def _key(row: Row) -> DeliveryKey:
    return (row.mailing.name if row.mailing else None, row.recipient)


def _remembered(row: Row) -> Remembered:
    purpose = row.mailing.purpose if row.mailing else "broadcast"
    counts = (row.opens, row.clicks, row.machine_opens)
    return Remembered(row.memory, purpose, row.reports, *counts)
