"""Consent: whose word counts, on everything or on one topic (design, section 4)."""

from __future__ import annotations

from typing import Final

import msgspec

from goodstanding.core.registers import Consent, Registers, Said, asks, latest

CONFIRMED: Final = ("confirmed", "confirmed_custom")
"""The words that say that consent was confirmed, whatever else there is to say of the address."""


class Word(msgspec.Struct, frozen=True, gc=False):
    """The word that decides: the status it makes, who said it when, and the gate's reason."""

    status: str
    said: Said | None = None
    refusal: str | None = None


def general(registers: Registers) -> Word:
    """The word on everything."""
    person = registers.person
    person_in = _later(person.opted_in, person.confirmed)
    if _not_before(person.opted_out, person_in):
        assert person.opted_out is not None  # noqa: S101 - what the line above found
        return Word(person.opted_out.what, person.opted_out, "opted_out")
    admin_in = _effective(registers)
    admin_out = registers.admin_opted_out
    if _not_before(admin_out, _later(person_in, admin_in)):
        return Word("opted_out_by_admin", admin_out, "opted_out")
    if _stands(person.confirmed, person.opted_out, admin_out):
        assert person.confirmed is not None  # noqa: S101 - what the line above found
        custom = person.confirmed.what == "custom"
        return Word("confirmed_custom" if custom else "confirmed", person.confirmed)
    deciding = _later(person_in, admin_in) or registers.permitted
    if deciding is None:
        return Word("non_marketable", None, "never_opted_in")
    return Word("opted_in", deciding)


def on_topic(word: Word, said: Consent) -> Word:
    """The word that decides for one topic, given the one on everything.

    The latest decides, save that a general opt-in does not undo an earlier opt-out of the topic.
    """
    topic_in = _later(said.opted_in, said.confirmed)
    if _not_before(said.opted_out, topic_in):
        if word.refusal == "opted_out":
            return word
        return Word(word.status, said.opted_out, "opted_out_of_topic")
    if word.refusal == "opted_out" and _not_before(word.said, topic_in):
        return word
    return Word(word.status, topic_in) if word.refusal else word


def complaint(registers: Registers) -> Said | None:
    """The complaint that stands: not withdrawn, and no confirmation came later."""
    standing: Said | None = None
    for mailing, said in registers.complaints.items():
        if is_active(said, registers.withdrawn.get(mailing)):
            standing = latest(standing, said)
    if standing is None or _after(registers.person.confirmed, standing):
        return None
    return standing


def asked_at(registers: Registers) -> int | None:
    """When the person last asked for something themselves (microseconds)."""
    words = [registers.person, *registers.topics.values()]
    return max((word.asked.at for word in words if word.asked is not None), default=None)


def let_in_at(registers: Registers) -> int | None:
    """When somebody last said that the person may be written to, on anything (microseconds).

    What an import says is too weak to count.
    """
    words = [registers.person, *registers.topics.values()]
    said = [each for word in words for each in (word.opted_in, word.confirmed)]
    return max((each.at for each in (*said, _effective(registers)) if each), default=None)


def is_claim(word: Word, registers: Registers) -> bool:
    """Whether the person is allowed only by what others say that they agreed to."""
    said = word.said
    if word.refusal is not None or said is None:
        return False
    if said == registers.permitted:
        return True
    words = (registers.person, *registers.topics.values())
    return not asks(said) and any(said == each.opted_in for each in words)


def is_active(on: Said | None, off: Said | None) -> bool:
    """Whether the restriction stands: in a tie with what lifts it, it does."""
    return on is not None and not _after(off, on)


def _effective(registers: Registers) -> Said | None:
    """The operator's last opt-in that was given while the address was not locked."""
    for given in reversed(registers.admin_opted_ins):
        if not _locked_at(registers, given.at):
            return given
    return None


def _locked_at(registers: Registers, at: int) -> bool:
    before = [said for said in registers.locks if said.at <= at]
    if not before:
        return False
    last = before[-1].at
    return any(said.what == "locked" for said in before if said.at == last)


def _stands(confirmed: Said | None, *outs: Said | None) -> bool:
    return confirmed is not None and all(out is None or out.at < confirmed.at for out in outs)


def _later(one: Said | None, other: Said | None) -> Said | None:
    if one is None or other is None:
        return other if one is None else one
    return one if one.at >= other.at else other


def _after(one: Said | None, other: Said) -> bool:
    return one is not None and one.at > other.at


def _not_before(restriction: Said | None, permission: Said | None) -> bool:
    """Whether the restriction is the latest word; in a tie it is."""
    return restriction is not None and (permission is None or restriction.at >= permission.at)
