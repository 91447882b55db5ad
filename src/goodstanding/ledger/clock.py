"""The clock: folds what time alone, or a new policy, has changed.

It only writes down what follows from the times.
"""

from __future__ import annotations

import time
from collections.abc import Iterable

from django.db import connection, transaction

from goodstanding.ledger import accounts
from goodstanding.ledger.policy import active_policy

BATCH = 500
"""Addresses folded in one transaction: a small part of a second."""


def present() -> int:
    """The present time in microseconds."""
    return time.time_ns() // 1_000


def tick(now: int, most: int = BATCH) -> int:
    """Fold up to ``most`` addresses that are due at ``now`` (microseconds); how many there were."""
    return _refold(
        f"SELECT a.id FROM ledger_address a WHERE a.due_at <= %s ORDER BY a.due_at LIMIT {most}",
        [now],
        now,
    )


def renew(now: int, after: int = 0, most: int = BATCH) -> int | None:
    """Fold up to ``most`` addresses with ids above ``after`` that another policy folded.

    Returns the last id looked at, None when there are no more.
    """
    policy = active_policy()
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT id, policy FROM ledger_address WHERE id > %s ORDER BY id LIMIT %s",
            [after, most * 10],
        )
        found = cursor.fetchall()
    if not found:
        return None
    old = [id_ for id_, revision in found if revision != policy.revision]
    for start in range(0, len(old), most):
        refold(old[start : start + most], now)
    return int(found[-1][0])


def refold(ids: Iterable[int], now: int) -> None:
    """Fold those addresses as of ``now``."""
    with transaction.atomic(), connection.cursor() as cursor:
        loaded = accounts.load(cursor, ids)
        accounts.settle(cursor, loaded.values(), active_policy(), now)


def _refold(query: str, parameters: list[int], now: int) -> int:
    with connection.cursor() as cursor:
        cursor.execute(query, parameters)
        ids = [row[0] for row in cursor.fetchall()]
    if ids:
        refold(ids, now)
    return len(ids)
