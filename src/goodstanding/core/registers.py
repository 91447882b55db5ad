"""The registers of an address: what was said of it, each joining on its own (design, section 4).

A ``Said`` is the latest word of its sort. In a tie in time the more restrictive wins, then the
lesser key; so every register is a semilattice and the whole is one too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeVar

import msgspec

from goodstanding.core.events import KINDS


class Said(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """Who said what when: ``at`` in microseconds, ``what`` the manner, ``key`` of the event."""

    at: int
    what: str
    key: str


class Consent(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """A person's word, on everything or on one topic: the latest of each.

    ``asked_before``: the latest opt-in by which they asked themselves, where ``opted_in`` is a
    later one of another manner.
    """

    opted_in: Said | None = None
    confirmed: Said | None = None
    opted_out: Said | None = None
    asked_before: Said | None = None

    @property
    def asked(self) -> Said | None:
        """The latest opt-in by which the person themselves asked for it."""
        return self.opted_in if asks(self.opted_in) else self.asked_before


class Registers(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """All that was said of an address, apart from what its deliveries remember.

    ``complaints`` and ``withdrawn`` are by mailing, ``""`` where none was named: a withdrawal
    takes back the complaint about the same mailing only. ``admin_opted_ins`` and ``locks`` (locked
    and unlocked) are the latest few, oldest first: an operator's opt-in while the address was
    locked has no effect, so an earlier one must still be known. ``carrier_opted_out`` is the last
    opt-out that a carrier told us of: it is the person's word too, and stands there beside others.
    """

    person: Consent = Consent()
    topics: dict[str, Consent] = {}
    admin_opted_ins: tuple[Said, ...] = ()
    admin_opted_out: Said | None = None
    permitted: Said | None = None
    unpermitted: Said | None = None
    complaints: dict[str, Said] = {}
    withdrawn: dict[str, Said] = {}
    invalid: Said | None = None
    corrected: Said | None = None
    blocked: Said | None = None
    unblocked: Said | None = None
    locks: tuple[Said, ...] = ()
    carrier_opted_out: Said | None = None
    engaged: Said | None = None
    machine_opened: Said | None = None

    @property
    def admin_opted_in(self) -> Said | None:
        """The operator's last opt-in, whether it had an effect or not."""
        return self.admin_opted_ins[-1] if self.admin_opted_ins else None

    @property
    def locked(self) -> Said | None:
        """When it was last locked."""
        return next((said for said in reversed(self.locks) if said.what == "locked"), None)

    @property
    def unlocked(self) -> Said | None:
        """When it was last unlocked."""
        return next((said for said in reversed(self.locks) if said.what == "unlocked"), None)


EMPTY: Final = Registers()

_ASKING: Final = frozenset({"", "form", "link", "keyword"})
"""Manners of an opt-in by which the person asks us; nobody having said how, too.

What they said on the phone, with an order or to whoever made a file, others tell us of.
"""


def asks(said: Said | None) -> bool:
    """Whether by that opt-in the person themselves asked for it."""
    return said is not None and said.what in _ASKING


_RESTRICTIVE: Final = {
    name: place
    for place, name in enumerate(
        (
            *("form", "link", "keyword", "order", "phone", "import", "api"),
            *("custom", "standard", "opted_out", "list_unsubscribed", "opted_out_with_feedback"),
            *("spam_reported", "complained"),
        )
    )
}
_OPT_OUTS: Final = frozenset({"opted_out", "list_unsubscribed", "opted_out_with_feedback"})
_COMPLAINTS: Final = frozenset({"complained", "spam_reported"})
_LATEST_OF: Final = {
    "admin_opted_out": "admin_opted_out",
    "found_invalid": "invalid",
    "declared_invalid": "invalid",
    "corrected": "corrected",
    "blocked": "blocked",
    "unblocked": "unblocked",
}
_FEW_OF: Final = {"admin_opted_in": "admin_opted_ins", "locked": "locks", "unlocked": "locks"}
_FEW: Final = 16
_LONGEST_MANNER: Final = 40  # characters


def hear(
    registers: Registers,
    kind: str,
    at: int,
    key: str,
    detail: Mapping[str, Any],
    *,
    topic: str | None = None,
    mailing: str = "",
) -> Registers:
    """The registers after hearing one event more; the same object where it says nothing new."""
    field = _LATEST_OF.get(kind)
    if field is not None:
        return _set(registers, field, latest(getattr(registers, field), Said(at, kind, key)))
    field = _FEW_OF.get(kind)
    if field is not None:
        return _set(
            registers, field, _latest_few(getattr(registers, field), (Said(at, kind, key),))
        )
    about = KINDS[kind]
    if about.human:
        said = Said(at, kind, key)
        registers = _set(registers, "engaged", latest(registers.engaged, said))
    if about.machine:
        said = Said(at, kind, key)
        return _set(registers, "machine_opened", latest(registers.machine_opened, said))
    if kind in _COMPLAINTS:
        complaint = {mailing: Said(at, kind, key)}
        return _set(registers, "complaints", _by_key(registers.complaints, complaint, latest))
    if kind == "complaint_withdrawn":
        back = {mailing: Said(at, kind, key)}
        return _set(registers, "withdrawn", _by_key(registers.withdrawn, back, latest))
    if kind == "imported":
        field = "permitted" if detail.get("permission") else "unpermitted"
        said = Said(at, "import", key)
        return _set(registers, field, earliest(getattr(registers, field), said))
    return _hear_person(registers, kind, at, key, detail, topic)


def _hear_person(
    registers: Registers,
    kind: str,
    at: int,
    key: str,
    detail: Mapping[str, Any],
    topic: str | None,
) -> Registers:
    """What the person said, on everything or on one topic."""
    if kind == "opted_in":
        return _opted_in(registers, at, key, detail, topic)
    if kind == "confirmed":
        method = "custom" if detail.get("method") == "custom" else "standard"
        return _consent(registers, topic, Consent(confirmed=Said(at, method, key)))
    if kind in _OPT_OUTS:
        return _consent(registers, topic, Consent(opted_out=Said(at, kind, key)))
    if kind == "bounced" and detail.get("category") == "carrier_opted_out":
        # The carrier knows nothing of our topics: it stops everything.
        said = Said(at, "opted_out", key)
        by_carrier = latest(registers.carrier_opted_out, said)
        registers = _set(registers, "carrier_opted_out", by_carrier)
        return _consent(registers, None, Consent(opted_out=said))
    return registers


def latest(one: Said | None, other: Said | None) -> Said | None:
    """The later word; in a tie the more restrictive, then the one with the lesser key."""
    if one is None or other is None:
        return other if one is None else one
    if one.at != other.at:
        return one if one.at > other.at else other
    mine, yours = _RESTRICTIVE.get(one.what, -1), _RESTRICTIVE.get(other.what, -1)
    if mine != yours:
        return one if mine > yours else other
    return one if (one.key, one.what) <= (other.key, other.what) else other


def earliest(one: Said | None, other: Said | None) -> Said | None:
    """The earlier word; in a tie the one with the lesser key."""
    if one is None or other is None:
        return other if one is None else one
    return min(one, other, key=lambda said: (said.at, said.key, said.what))


def _latest_few(one: tuple[Said, ...], other: tuple[Said, ...]) -> tuple[Said, ...]:
    """The latest of both, oldest first. Keeping so many of a union joins like the union itself."""
    both = {*one, *other}
    return tuple(sorted(both, key=lambda said: (said.at, said.key, said.what))[-_FEW:])


def join(one: Registers, other: Registers) -> Registers:
    """All that both hold."""
    if one == other:
        return one
    return Registers(
        person=_join_consent(one.person, other.person),
        topics=_by_key(one.topics, other.topics, _join_consent),
        permitted=earliest(one.permitted, other.permitted),
        unpermitted=earliest(one.unpermitted, other.unpermitted),
        complaints=_by_key(one.complaints, other.complaints, latest),
        withdrawn=_by_key(one.withdrawn, other.withdrawn, latest),
        admin_opted_ins=_latest_few(one.admin_opted_ins, other.admin_opted_ins),
        locks=_latest_few(one.locks, other.locks),
        **{
            field: latest(getattr(one, field), getattr(other, field))
            for field in (*_FIELDS, "carrier_opted_out", "engaged", "machine_opened")
        },
    )


_FIELDS: Final = tuple(dict.fromkeys(_LATEST_OF.values()))
_T = TypeVar("_T")


def _set(registers: Registers, field: str, value: object) -> Registers:
    if getattr(registers, field) == value:
        return registers
    return msgspec.structs.replace(registers, **{field: value})


def _opted_in(
    registers: Registers, at: int, key: str, detail: Mapping[str, Any], topic: str | None
) -> Registers:
    manner = str(detail.get("how") or "")[:_LONGEST_MANNER]
    registers = _consent(registers, topic, Consent(opted_in=Said(at, manner, key)))
    if manner != "form":
        return registers
    return _set(registers, "engaged", latest(registers.engaged, Said(at, "form", key)))


def _consent(registers: Registers, topic: str | None, word: Consent) -> Registers:
    if topic is None:
        return _set(registers, "person", _join_consent(registers.person, word))
    return _set(registers, "topics", _by_key(registers.topics, {topic: word}, _join_consent))


def _join_consent(one: Consent, other: Consent) -> Consent:
    opted_in = latest(one.opted_in, other.opted_in)
    return Consent(
        opted_in=opted_in,
        confirmed=latest(one.confirmed, other.confirmed),
        opted_out=latest(one.opted_out, other.opted_out),
        asked_before=None if asks(opted_in) else latest(one.asked, other.asked),
    )


def _by_key(one: dict[str, Any], other: dict[str, Any], joined: Any) -> dict[str, Any]:
    """Both maps, what stands in both joined; keys in order, so that equal maps are equal text."""
    both = {
        key: joined(one[key], other[key])
        if key in one and key in other
        else one.get(key, other.get(key))
        for key in one.keys() | other.keys()
    }
    return dict(sorted(both.items()))
