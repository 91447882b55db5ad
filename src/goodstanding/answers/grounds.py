"""Grounds: what a standing or a refusal rests on, found in the registers and the deliveries."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from goodstanding.answers.words import words
from goodstanding.core import consent, failures
from goodstanding.core.acknowledging import Bar
from goodstanding.core.history import History
from goodstanding.core.policies import Policy
from goodstanding.core.registers import Registers, Said
from goodstanding.core.standings import STATUSES, Standing
from goodstanding.core.times import in_words


class Ground(msgspec.Struct, frozen=True):
    """What decided.

    ``name``: of the sentence in words.toml. ``at``: when (microseconds). ``key``: of the event,
    where one decided. ``category``: of the bounce. ``count``: of mailings. ``sign``: when a sign of
    life was last given.
    """

    name: str
    at: int | None = None
    key: str | None = None
    category: str | None = None
    count: int = 0
    sign: int | None = None

    def __str__(self) -> str:
        return (
            words()
            .grounds[self.name]
            .format(
                when=in_words(self.at) if self.at is not None else "an unknown day",
                category=self.category or "undetermined",
                n=self.count,
                sign=in_words(self.sign) if self.sign is not None else "ever",
            )
        )


class _Case(msgspec.Struct, frozen=True):
    """All that a ground is sought in."""

    history: History
    standing: Standing
    policy: Policy
    topic: str | None = None


def of_standing(history: History, standing: Standing, policy: Policy) -> Ground:
    """What the status rests on."""
    case = _Case(history, standing, policy)
    refusal = STATUSES[standing.status].refusal
    if standing.status in _BY_STATUS:
        return _BY_STATUS[standing.status](case)
    return _BY_REASON[refusal](case) if refusal is not None else _consent(case)


def of_refusal(
    reason: str, history: History, standing: Standing, policy: Policy, topic: str | None
) -> Ground:
    """What the gate's reason rests on."""
    find = _BY_REASON.get(reason)
    return find(_Case(history, standing, policy, topic)) if find else Ground(reason)


def of_bar(bar: Bar, history: History) -> Ground:
    """What bars an acknowledgement of the opt-out."""
    registers = history.registers
    if bar == "by_the_carrier":
        return _said(bar, registers.carrier_opted_out)
    return _said(bar, consent.general(registers).said)


def of_consent(history: History, standing: Standing, policy: Policy, topic: str | None) -> Ground:
    """Whose word lets it go, or would not."""
    return _consent(_Case(history, standing, policy, topic))


def _consent(case: _Case) -> Ground:
    registers = case.history.registers
    word = consent.general(registers)
    said_of_topic = registers.topics.get(case.topic) if case.topic is not None else None
    if said_of_topic is not None:
        word = consent.on_topic(word, said_of_topic)
    if word.refusal == "opted_out_of_topic":
        return _said("opted_out_of_topic", word.said)
    if word.said is None:
        return Ground("never_opted_in" if _heard(case.history) else "unheard")
    name = word.status
    if word.refusal is None and word.said == registers.permitted:
        name = "permitted"
    elif word.refusal is None and word.said == registers.admin_opted_in:
        name = "admin_opted_in"
    elif name == "non_marketable":
        name = "opted_in"  # to this topic alone
    return _said(name, word.said)


def _complaint(case: _Case) -> Ground:
    said = consent.complaint(case.history.registers)
    return _said(said.what if said is not None else "complained", said)


def _invalid(case: _Case) -> Ground:
    said = case.history.registers.invalid
    return _said(said.what if said is not None else "found_invalid", said)


def _hard(case: _Case) -> Ground:
    memories = [each.memory for each in case.history.deliveries.values()]
    stop = failures.hard_stop(case.history.registers, memories, case.policy)
    if stop is None:
        return Ground("hard_bounced")
    return Ground("hard_bounced", stop.at, category=stop.category)


def _streak(name: str) -> Callable[[_Case], Ground]:
    def find(case: _Case) -> Ground:
        streak = streak_of(case.history, case.standing, case.policy)
        at = streak.stopped_at if name == "soft_stopped" else next(iter(streak.sent), None)
        return Ground(name, at, count=len(streak.sent))

    return find


def streak_of(history: History, standing: Standing, policy: Policy) -> failures.Streak:
    """The soft outcomes in a row."""
    memories = [each.memory for each in history.deliveries.values()]
    return failures.soft_streak(
        history.registers, memories, standing.judged, policy, history.channel
    )


def _unengaged(case: _Case) -> Ground:
    registers = case.history.registers
    signs = [
        said.at
        for said in (registers.person.opted_in, registers.admin_opted_in, registers.engaged)
        if said is not None
    ]
    return Ground("unengaged", case.standing.since, sign=max(signs, default=None))


def _register(name: str, find: Callable[[Registers], Said | None]) -> Callable[[_Case], Ground]:
    return lambda case: _said(name, find(case.history.registers))


def _said(name: str, said: Said | None) -> Ground:
    return Ground(name, said.at, said.key) if said is not None else Ground(name)


def _heard(history: History) -> bool:
    return bool(history.deliveries) or history.registers != Registers()


_BY_REASON: Final[dict[str, Callable[[_Case], Ground]]] = {
    "complained": _complaint,
    "spam_reported": _complaint,
    "opted_out": _consent,
    "opted_out_of_topic": _consent,
    "never_opted_in": _consent,
    "invalid_address": _invalid,
    "hard_bounced": _hard,
    "soft_stopped": _streak("soft_stopped"),
    "blocked": _register("blocked", lambda registers: registers.blocked),
    "locked": _register("locked", lambda registers: registers.locked),
    "unengaged": _unengaged,
}
_BY_STATUS: Final[dict[str, Callable[[_Case], Ground]]] = {
    "soft_bouncing": _streak("soft_bouncing"),
    "unengaged": _unengaged,
}
