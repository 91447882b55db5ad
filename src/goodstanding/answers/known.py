"""What is known of an address: as stored, or as of an earlier time, from its events."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Final

from django.db import connection
from django.db.backends.utils import CursorWrapper

from goodstanding.core.addresses import Address
from goodstanding.core.annulments import Holding
from goodstanding.core.events import Event
from goodstanding.core.history import DeliveryKey, History, Remembered, fold, freeze
from goodstanding.core.policies import Policy
from goodstanding.core.responses import is_late
from goodstanding.ledger import accounts, annulments, lookup
from goodstanding.ledger.accounts import Account, Row
from goodstanding.ledger.rebuilding import history_as_read

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
            holding = annulments.holding(cursor, at) if at is not None else None
            for address in batch:
                account = loaded.get(ids.get(address, 0))
                if account is None:
                    yield address, History(address.channel)
                else:
                    yield address, _known(cursor, account, at, holding)


def by_id(
    ids: Collection[int], at: int | None = None, policy: Policy | None = None
) -> Iterator[History]:
    """What is known of the addresses with those ids; ``policy``: whose statistics are asked for."""
    with connection.cursor() as cursor:
        holding = annulments.holding(cursor, at) if at is not None else None
        for account in accounts.load(cursor, ids, lock=False).values():
            history = _known(cursor, account, at, holding)
            if policy is not None and any(
                is_late(each.memory, policy) for each in history.deliveries.values()
            ):
                holding = holding or annulments.holding(cursor)
                heard = _until(_events(account, cursor, holding), at)
                history = freeze(history, heard, policy, holding.predicates)
            yield history


def stored(account: Account) -> History:
    """What the ledger has folded."""
    deliveries = sorted(
        ((_key(row), _remembered(row)) for row in account.rows.values()),
        key=lambda item: (item[0][0] or "", item[0][1]),
    )
    return History(account.channel, account.registers, dict(deliveries))


def as_of(account: Account, heard: Sequence[Event], at: int, holding: Holding) -> History:
    """What had happened by then, folded from the events as they are read.

    ``holding``: what did not count then.
    """
    purposes = {
        row.mailing.name: row.mailing.purpose for row in account.rows.values() if row.mailing
    }
    return fold(account.channel, _until(heard, at), purposes, holding.predicates)


def _until(heard: Sequence[Event], at: int | None) -> Sequence[Event]:
    return heard if at is None else [event for event in heard if event.occurred_at <= at]


def _known(
    cursor: CursorWrapper, account: Account, at: int | None, holding: Holding | None
) -> History:
    if at is None or holding is None:
        return stored(account)
    return as_of(account, _events(account, cursor, holding), at, holding)


def _events(account: Account, cursor: CursorWrapper, holding: Holding) -> list[Event]:
    """All that was heard of the account, in order of time, as it is read."""
    return history_as_read(account, cursor, holding.rereads)


def _key(row: Row) -> DeliveryKey:
    return (row.mailing.name if row.mailing else None, row.recipient)


def _remembered(row: Row) -> Remembered:
    purpose = row.mailing.purpose if row.mailing else "broadcast"
    counts = (row.opens, row.clicks, row.machine_opens)
    return Remembered(row.memory, purpose, row.reports, *counts)
