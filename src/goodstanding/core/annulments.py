"""Annulments: failures that count for nothing, because it was not the addresses that failed.

Design, section 9: an annulment is a predicate over failures, whenever they are recorded; another
one may undo it, and be undone itself. Consent and complaints are never annulled. A reread is one of
them that has no predicate, but readings by better rules.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from goodstanding.core.events import KINDS, Event


class Predicate(msgspec.Struct, frozen=True, gc=False):
    """Which failures: those that happened from ``since`` to ``until`` (microseconds), and match.

    ``provider``: of mailboxes, as the event recorded it, else the recipient's domain; ``domain``:
    the recipient's; ``category`` and ``rule``: of the reading. What is None matches any.
    """

    since: int
    until: int
    provider: str | None = None
    domain: str | None = None
    category: str | None = None
    rule: str | None = None

    def covers(self, event: Event) -> bool:
        """Whether it is one of those failures."""
        if not KINDS[event.kind].failure or not self.since <= event.occurred_at <= self.until:
            return False
        detail = event.detail
        domain = event.address.value.rpartition("@")[2]
        return (
            self.provider in (None, detail.get("provider") or domain)
            and self.domain in (None, domain)
            and self.category in (None, detail.get("category"))
            and self.rule in (None, detail.get("rule"))
        )


Predicates = tuple[Predicate, ...]


class Annulment(msgspec.Struct, frozen=True):
    """One, as it was made. ``undoes``: an earlier one that it undoes; it has no predicate then."""

    id: int
    made_at: int
    undoes: int | None = None
    predicate: Predicate | None = None
    is_reread: bool = False


class Holding(msgspec.Struct, frozen=True):
    """What a fold consults: what does not count, and the rereads that hold, the newest last."""

    predicates: Predicates = ()
    rereads: tuple[int, ...] = ()


def standing(annulments: Iterable[Annulment], at: int | None = None) -> dict[int, Annulment]:
    """By their ids, those that nothing undoes; ``at``: as of that time (microseconds)."""
    found: dict[int, Annulment] = {}
    undone: set[int] = set()
    for each in sorted(annulments, key=lambda annulment: -annulment.id):
        if each.id in undone or (at is not None and each.made_at > at):
            continue
        found[each.id] = each
        if each.undoes is not None:
            undone.add(each.undoes)
    return found


def in_force(annulments: Iterable[Annulment], at: int | None = None) -> dict[int, Predicate]:
    """By their ids, the predicates that hold; ``at``: as of that time (microseconds)."""
    return {
        id_: each.predicate
        for id_, each in standing(annulments, at).items()
        if each.predicate is not None
    }


def holding(annulments: Iterable[Annulment], at: int | None = None) -> Holding:
    """All that holds; ``at``: as of that time (microseconds)."""
    found = standing(annulments, at)
    return Holding(
        tuple(each.predicate for each in found.values() if each.predicate is not None),
        tuple(sorted(each.id for each in found.values() if each.is_reread)),
    )


def is_annulled(event: Event, predicates: Predicates) -> bool:
    """Whether one of them covers the event."""
    return any(predicate.covers(event) for predicate in predicates)
