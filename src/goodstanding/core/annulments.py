"""Annulments: failures that count for nothing, because it was not the addresses that failed.

Design, section 9: an annulment is a predicate over failures, whenever they are recorded; another
one may undo it, and be undone itself. Consent and complaints are never annulled. A reread is one of
them that has no predicate, but readings by better rules.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

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

    def includes(self, other: Predicate) -> bool:
        """Whether it covers all that the other covers."""
        return (
            self.since <= other.since
            and other.until <= self.until
            and all(
                mine in (None, theirs)
                for mine, theirs in (
                    (self.provider, other.provider),
                    (self.domain, other.domain),
                    (self.category, other.category),
                    (self.rule, other.rule),
                )
            )
        )

    def overlaps(self, since: int, until: int) -> bool:
        """Whether it is about some of that time, both ends within."""
        return self.since <= until and since <= self.until


Predicates = tuple[Predicate, ...]


class Annulment(msgspec.Struct, frozen=True):
    """One, as it was made. ``undoes``: an earlier one that it undoes; it has no predicate then.

    ``upholds``: a hold of which it says that it stays, and nothing else. ``by_guard``: the incident
    guard made it: a hold, or (``undoes``) that it takes one back.
    """

    id: int
    made_at: int
    undoes: int | None = None
    predicate: Predicate | None = None
    is_reread: bool = False
    upholds: int | None = None
    by_guard: bool = False


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


State = Literal["undecided", "upheld", "released", "withdrawn"]
"""Of a hold: nobody has decided; it stays; its failures count again; the guard took it back."""


def holds(annulments: Iterable[Annulment]) -> dict[int, State]:
    """By their ids, the states of all holds that were ever made."""
    made = {each.id: each for each in annulments}
    holding = standing(made.values())
    decided = set()
    for each in made.values():
        if not each.by_guard:
            decided.add(about(each, made).id)
    states: dict[int, State] = {}
    for id_, each in made.items():
        if each.by_guard and each.predicate is not None:
            if id_ in decided:
                states[id_] = "upheld" if id_ in holding else "released"
            else:
                states[id_] = "undecided" if id_ in holding else "withdrawn"
    return states


def about(annulment: Annulment, made: Mapping[int, Annulment]) -> Annulment:
    """The one with the predicate, that this one undoes or upholds, or undoes the undoing of …"""
    while (earlier := annulment.undoes or annulment.upholds) is not None:
        annulment = made[earlier]
    return annulment


def undecided(annulments: Iterable[Annulment], at: int | None = None) -> dict[int, Annulment]:
    """The holds of which nobody has decided; ``at``: as of that time (microseconds)."""
    made = {each.id: each for each in annulments if at is None or each.made_at <= at}
    return {id_: made[id_] for id_, state in holds(made.values()).items() if state == "undecided"}


def spoken_of(annulments: Iterable[Annulment]) -> Predicates:
    """What an operator has said something about, whatever it was: not the guard's to hold."""
    made = list(annulments)
    own = {id_ for id_, state in holds(made).items() if state in ("undecided", "withdrawn")}
    return tuple(
        each.predicate for each in made if each.predicate is not None and each.id not in own
    )


def is_annulled(event: Event, predicates: Predicates) -> bool:
    """Whether one of them covers the event."""
    return any(predicate.covers(event) for predicate in predicates)


def held_by(event: Event, holds: Iterable[Annulment]) -> Annulment | None:
    """The first of those holds that covers the event."""
    for each in holds:
        if each.predicate is not None and each.predicate.covers(event):
            return each
    return None
