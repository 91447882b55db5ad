"""What if another policy were in force: who would stand otherwise, and to whom would mail go.

It is tried on the whole record, and nothing is changed (design, section 9). Both policies judge
what is known at one and the same moment: what time alone changes is no difference between them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Final, Self

import msgspec
from django.db import connection

from goodstanding.answers import known, past
from goodstanding.core.addresses import Channel
from goodstanding.core.gate import ORDER
from goodstanding.core.policies import Policy
from goodstanding.core.standings import STATUSES, Standing
from goodstanding.core.times import rfc3339
from goodstanding.ledger import accounts, models, rebuilding
from goodstanding.ledger.accounts import Account
from goodstanding.ledger.policy import active_policy
from goodstanding.ledger.rebuilding import Named

EXAMPLES: Final = 3
"""Addresses that are named of each change, where nobody says how many."""

PURPOSE: Final = "broadcast"
"""The purpose for which the gate is asked."""

_PAGE: Final = 10_000
"""Ids that are read at once: of one channel there may be few among them."""

_ORDER: Final = {status: place for place, status in enumerate(STATUSES)}


class StatusChange(msgspec.Struct, frozen=True):
    """So many addresses would stand otherwise; ``examples``: a few, those first heard of."""

    channel: str
    before: str = msgspec.field(name="from")
    after: str = msgspec.field(name="to")
    count: int
    examples: list[str]

    @classmethod
    def every(cls, changed: Mapping[rebuilding.StatusChange, int], named: Named) -> list[Self]:
        """Those that concern the most come first."""
        return [
            cls(*change, count, named.by_change.get(change, []))
            for change, count in sorted(changed.items(), key=_by_count)
        ]


class GateChange(msgspec.Struct, frozen=True):
    """So many would get another answer of the gate: its reason to refuse, None where it allows."""

    channel: str
    purpose: str
    before: str | None = msgspec.field(name="from")
    after: str | None = msgspec.field(name="to")
    count: int


class Totals(msgspec.Struct, frozen=True):
    """How many addresses would change their status, and how many not.

    ``policy``: the one that was tried, ``against``: the one in force, by their names. ``at``: the
    moment at which both were asked, in RFC 3339. ``newly_refused`` and ``newly_allowed``: how many
    a broadcast would not go to any more, and would go to from then on.
    """

    policy: str
    against: str
    at: str
    addresses: int
    changed: int
    unchanged: int
    newly_refused: int
    newly_allowed: int


class Compared(msgspec.Struct, frozen=True):
    """What another policy would change; the changes that concern the most come first."""

    statuses: list[StatusChange]
    gate: list[GateChange]
    totals: Totals


def whatif(
    policy: Policy,
    now: int,
    at: int | None = None,
    *,
    examples: int = EXAMPLES,
    channel: Channel | None = None,
    advance: Callable[[int], None] | None = None,
) -> Compared:
    """What that policy would change if it were in force.

    ``now`` in microseconds. ``at``: as of that time, from what had happened by then. ``examples``:
    addresses to name of each change. ``channel``: of this one alone. ``advance`` is called with how
    many addresses were looked at. Memory does not grow with the number of addresses.
    """
    against = active_policy()
    present = now if at is None else at
    compared = _Comparison(examples)
    for ids in _batches(channel):
        for account in _accounts(ids, at):
            compared.add(
                account, account.standing(against, present), account.standing(policy, present)
            )
        if advance is not None:
            advance(len(ids))
    return compared.told(policy.name, against.name, rfc3339(present))


def how_many(channel: Channel | None = None) -> int:
    """How many addresses there are to look at."""
    addresses = models.Address.objects.exclude(value="")
    return (addresses.filter(channel=channel) if channel else addresses).count()


class _Comparison:
    """The differences so far."""

    def __init__(self, examples: int) -> None:
        self._named = Named(examples)
        self._addresses = 0
        self._statuses: Counter[rebuilding.StatusChange] = Counter()
        self._gate: Counter[tuple[str, str | None, str | None]] = Counter()

    def add(self, account: Account, before: Standing, after: Standing) -> None:
        self._addresses += 1
        if before.status != after.status:
            change = (account.channel, before.status, after.status)
            self._statuses[change] += 1
            self._named.add(change, account.value)
        was, would_be = before.blocks[PURPOSE], after.blocks[PURPOSE]
        if was != would_be:
            self._gate[account.channel, was, would_be] += 1

    def told(self, policy: str, against: str, at: str) -> Compared:
        gate = [
            GateChange(channel, PURPOSE, before, after, count)
            for (channel, before, after), count in sorted(self._gate.items(), key=_gate_by_count)
        ]
        changed = self._statuses.total()
        return Compared(
            StatusChange.every(self._statuses, self._named),
            gate,
            Totals(
                policy=policy,
                against=against,
                at=at,
                addresses=self._addresses,
                changed=changed,
                unchanged=self._addresses - changed,
                newly_refused=sum(each.count for each in gate if each.before is None),
                newly_allowed=sum(each.count for each in gate if each.after is None),
            ),
        )


def _by_count(counted: tuple[rebuilding.StatusChange, int]) -> tuple[int, str, int, int]:
    (channel, before, after), count = counted
    return (-count, channel, _ORDER[before], _ORDER[after])


def _gate_by_count(
    counted: tuple[tuple[str, str | None, str | None], int],
) -> tuple[int, str, int, int]:
    (channel, before, after), count = counted
    return (-count, channel, ORDER.get(before or "", -1), ORDER.get(after or "", -1))


def _accounts(ids: list[int], at: int | None) -> list[Account]:
    """Those addresses as stored, or as they were at that time; a few statements for all of them."""
    with connection.cursor() as cursor:
        loaded = accounts.load(cursor, ids, lock=False)
        return list(loaded.values()) if at is None else past.go_back(cursor, loaded, at)


def _batches(channel: Channel | None) -> Iterator[list[int]]:
    """The ids of all addresses, or of those of one channel, in their order."""
    ids = _ids(channel)
    while batch := list(islice(ids, known.BATCH)):
        yield batch


def _ids(channel: Channel | None) -> Iterator[int]:
    """One page after the other; the channel is looked at here, or an index on it would be walked
    whole for each page.
    """
    after = 0
    while True:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT id, channel FROM ledger_address WHERE id > %s AND value <> ''"
                f" ORDER BY id LIMIT {_PAGE}",
                [after],
            )
            page = cursor.fetchall()
        if not page:
            return
        yield from (id_ for id_, of in page if channel in (None, of))
        after = page[-1][0]
