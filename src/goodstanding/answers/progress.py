"""Progress: how far a mailing is, and what is coming back of it. Reads tallies, counts no rows."""

from __future__ import annotations

from typing import Final

import msgspec
from django.db import connection

from goodstanding.answers.reports import that_left
from goodstanding.intake import digest
from goodstanding.ledger.policy import active_policy
from goodstanding.mailings import outbox

_SKIPPED: Final = "skipped:"
_COUNTS: Final = ("opens", "clicks", "unsubscribes", "complaints")


class Progress(msgspec.Struct, frozen=True):
    """A mailing on its way.

    ``left`` have still to leave; ``responses`` are of all but the skipped.
    ``troubles``: why some have not left although they were tried.
    """

    mailing: int
    name: str
    planned_to_the_end: bool
    scheduled: int
    skipped: dict[str, int]
    left: int
    responses: dict[str, int]
    counts: dict[str, int]
    troubles: dict[str, int] = {}

    @property
    def sent(self) -> int:
        """How many have left, or were handed over and refused."""
        left = that_left(active_policy())
        return sum(count for response, count in self.responses.items() if response in left)

    @property
    def is_over(self) -> bool:
        """Whether nothing of it has still to leave."""
        return self.planned_to_the_end and self.left == 0

    @property
    def is_settled(self) -> bool:
        """Whether nothing more is on its way either: nothing waits for a second try or an end."""
        return self.is_over and not self.responses.get("deferred")


def of(mailing: int) -> Progress:
    """How far it is."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT m.name, coalesce(c.planned_to >= c.plan_until, 1 = 1) FROM ledger_mailing m"
            " LEFT JOIN mailings_content c ON c.mailing_id = m.id WHERE m.id = %s",
            [mailing],
        )
        name, planned = cursor.fetchone()
        cursor.execute(
            "SELECT name, count FROM ledger_mailingtally WHERE mailing_id = %s AND count > 0"
            " ORDER BY count DESC, name",
            [mailing],
        )
        tallies = dict(cursor.fetchall())
    responses = {
        name: count
        for name, count in tallies.items()
        if name not in _COUNTS and not name.startswith(_SKIPPED)
    }
    skipped = {
        name.removeprefix(_SKIPPED): count
        for name, count in tallies.items()
        if name.startswith(_SKIPPED)
    }
    return Progress(
        mailing=mailing,
        name=name,
        planned_to_the_end=bool(planned),
        scheduled=sum(responses.values()) + sum(skipped.values()),
        skipped=skipped,
        left=outbox.pending(mailing),
        responses=responses,
        counts={name: tallies.get(name, 0) for name in _COUNTS},
        troubles=outbox.troubles(mailing) if tallies.get("planned") else {},
    )


def unheard() -> int:
    """How much was heard that has not been understood yet."""
    return digest.pending()
