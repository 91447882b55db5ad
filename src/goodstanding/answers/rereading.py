"""What reading all replies again by the rules of today would change, or has changed."""

from __future__ import annotations

from collections import Counter
from itertools import islice
from typing import Final

import msgspec
from django.db import connection

from goodstanding.answers.whatif import StatusChange
from goodstanding.core.standings import STATUSES
from goodstanding.ledger import accounts, annulments, rebuilding
from goodstanding.ledger.annulments import Reread
from goodstanding.ledger.policy import active_policy
from goodstanding.ledger.rebuilding import Named
from goodstanding.ledger.rereading import Found, Otherwise, ReadAs, Window

_BATCH: Final = 500
"""Addresses that are loaded at once."""


class As(msgspec.Struct, frozen=True):
    """How a failure is read."""

    category: str
    disposition: str


class ReadingChange(msgspec.Struct, frozen=True):
    """So many failures are read otherwise."""

    before: As = msgspec.field(name="from")
    after: As = msgspec.field(name="to")
    failures: int


class Some(msgspec.Struct, frozen=True):
    """So many addresses; ``examples``: a few of them."""

    count: int
    examples: list[str]


class Totals(msgspec.Struct, frozen=True):
    """``reread``: its number, None where nothing was changed. ``failures``: that were read again,
    ``otherwise``: those that read otherwise, ``addresses``: whose those are. ``returned``: who may
    be mailed again, ``stopped``: who may be mailed no more.
    """

    reread: int | None
    failures: int
    otherwise: int
    addresses: int
    returned: Some
    stopped: Some


class Told(msgspec.Struct, frozen=True):
    """What a reread changes; the changes that concern the most come first."""

    readings: list[ReadingChange]
    statuses: list[StatusChange]
    totals: Totals


class Trial:
    """Tries new readings on those whom they are about; nothing is changed.

    ``changed``: how many would stand otherwise, by channel, from which status to which.
    """

    def __init__(self, now: int, named: Named) -> None:
        self._now = now
        self._named = named
        self.changed: Counter[rebuilding.StatusChange] = Counter()

    def add(self, window: Window) -> None:
        """Try those of a window, too."""
        ids = iter(sorted({each.address for each in window.otherwise}))
        by_address: dict[int, list[Otherwise]] = {}
        for each in window.otherwise:
            by_address.setdefault(each.address, []).append(each)
        while batch := list(islice(ids, _BATCH)):
            self._try([each for id_ in batch for each in by_address[id_]])

    def _try(self, otherwise: list[Otherwise]) -> None:
        policy = active_policy()
        anew = {(each.address, each.key): Reread(0, each.reading) for each in otherwise}
        with connection.cursor() as cursor:
            loaded = accounts.load(cursor, {each.address for each in otherwise}, lock=False)
            # Both are judged at one moment: what time alone changes is no difference.
            before = {id_: each.standing(policy, self._now).status for id_, each in loaded.items()}
            rebuilding.hear_anew(cursor, loaded, annulments.holding(cursor), anew=anew)
        for id_, account in loaded.items():
            after = account.standing(policy, self._now).status
            if after != before[id_]:
                change = (account.channel, before[id_], after)
                self.changed[change] += 1
                self._named.add(change, account.value)


def tell(
    found: Found,
    changed: Counter[rebuilding.StatusChange],
    named: Named,
    number: int | None = None,
) -> Told:
    """Put together what was found and what changed by it; ``number``: of the reread made of it."""
    statuses = StatusChange.every(changed, named)
    returned = [each for each in statuses if _refused(each.before) and not _refused(each.after)]
    stopped = [each for each in statuses if _refused(each.after) and not _refused(each.before)]
    return Told(
        [
            ReadingChange(As(*before), As(*after), count)
            for (before, after), count in sorted(found.changed.items(), key=_most)
        ],
        statuses,
        Totals(
            number,
            found.failures,
            found.otherwise,
            found.addresses,
            _some(returned, named.most),
            _some(stopped, named.most),
        ),
    )


def _some(changes: list[StatusChange], most: int) -> Some:
    examples = [name for each in changes for name in each.examples]
    return Some(sum(each.count for each in changes), examples[:most])


def _refused(status: str) -> bool:
    return STATUSES[status].refusal is not None


def _most(counted: tuple[tuple[ReadAs, ReadAs], int]) -> tuple[int, ReadAs, ReadAs]:
    (before, after), count = counted
    return (-count, before, after)
