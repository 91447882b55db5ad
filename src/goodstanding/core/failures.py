"""Failures: the hard bounces and the streak of soft ones that stop an address.

Source: design, section 4.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, TypeVar

import msgspec

from goodstanding.core.memory import FIRST, HUMAN, Memory
from goodstanding.core.policies import Policy
from goodstanding.core.registers import Registers
from goodstanding.core.responses import Response

_HARD: Final = FIRST["hard_bounced"]
_LIFTERS: Final = (FIRST["clicked"], FIRST["replied"])


class Stop(msgspec.Struct, frozen=True, gc=False):
    """When an address was stopped (microseconds), and the category that did it."""

    at: int
    category: str | None = None


class Streak(msgspec.Struct, frozen=True, gc=False):
    """Soft outcomes in a row: when each was sent (microseconds), and when they stop the address."""

    sent: tuple[int, ...] = ()
    stopped_at: int | None = None


MailingId = int | str | None
"""What tells mailings apart; None: a mailing of its own."""


def hard_stop(
    registers: Registers,
    memories: Sequence[Memory],
    policy: Policy,
    mailings: Sequence[MailingId] = (),
) -> Stop | None:
    """The hard bounce that stops the address, or None; ``mailings``: of each memory in turn."""
    if all(memory.times[_HARD] is None for memory in memories):
        return None
    lifted = _lifted(registers, with_confirmation=True)
    if policy.hard.lifted_by_engagement:
        # Strictly later than the bounce: sent at t lifts what bounced before t.
        lifted = max(lifted, _engaged_with(memories) - 1)
    bounced = _distinct(
        ((first if first > lifted else last, memory.hard_category or ""), mailing)
        for memory, mailing in _with_mailings(memories, mailings)
        if (first := memory.times[_HARD]) is not None
        and (last := memory.times[_HARD + 1]) is not None
        and last > lifted
    )
    if not bounced:
        return None
    needed = policy.hard.mailings
    if policy.hard.mailings_when_engaged > needed and _engaged_between(
        registers, memories, bounced[0][0] - policy.hard.engaged_within, bounced[0][0]
    ):
        needed = policy.hard.mailings_when_engaged
    if len(bounced) < needed:
        return None
    at, category = bounced[needed - 1]
    return Stop(at, category or None)


def soft_streak(
    registers: Registers,
    memories: Sequence[Memory],
    responses: Sequence[Response],
    policy: Policy,
    channel: str,
    mailings: Sequence[MailingId] = (),
) -> Streak:
    """The soft outcomes since the last good one, unblock or correction, by time sent.

    ``mailings``: of each memory in turn; one mailing counts once.
    """
    soft: list[tuple[int, MailingId]] = []
    for (memory, mailing), said in zip(_with_mailings(memories, mailings), responses, strict=True):
        counts = said.outcome == "soft" or (
            policy.streak.block_bounces and said.name == "block_bounced"
        )
        if counts and (sent := memory.sent_at) is not None:
            soft.append((sent, mailing))
    if not soft:
        return _NO_STREAK
    since = _lifted(registers, with_confirmation=False) + 1
    for memory, said in zip(memories, responses, strict=True):
        if said.outcome == "good" and (sent := memory.sent_at) is not None:
            since = max(since, sent)
    streak = tuple(_distinct(each for each in soft if each[0] >= since))
    return Streak(streak, _stopped_at(streak, policy, channel))


_NO_STREAK: Final = Streak()
_T = TypeVar("_T", int, tuple[int, str])


def _with_mailings(
    memories: Sequence[Memory], mailings: Sequence[MailingId]
) -> Iterable[tuple[Memory, MailingId]]:
    return zip(memories, mailings or [None] * len(memories), strict=True)


def _distinct(found: Iterable[tuple[_T, MailingId]]) -> list[_T]:
    """What was found, in order, of each mailing only the first."""
    distinct: list[_T] = []
    seen: set[MailingId] = set()
    for what, mailing in sorted(found, key=lambda each: each[0]):
        if mailing is None or mailing not in seen:
            distinct.append(what)
            seen.add(mailing)
    return distinct


def _stopped_at(streak: tuple[int, ...], policy: Policy, channel: str) -> int | None:
    limit = policy.soft.get(channel)
    if limit is None or limit.mailings == 0:
        return None
    for place in range(limit.mailings - 1, len(streak)):
        sent = streak[place]
        if sent - streak[0] < limit.at_least:
            continue
        if limit.within is None or sent - streak[place - limit.mailings + 1] <= limit.within:
            return sent
    return None


def _lifted(registers: Registers, *, with_confirmation: bool) -> int:
    words = [registers.unblocked, registers.corrected]
    if with_confirmation:
        words.append(registers.person.confirmed)
        words.extend(topic.confirmed for topic in registers.topics.values())
    return max((said.at - 1 for said in words if said is not None), default=-1)


def _engaged_with(memories: Sequence[Memory]) -> int:
    """When the latest of those mailings was sent to which a person clicked or replied."""
    return max(
        (
            sent
            for memory in memories
            if any(memory.times[place] is not None for place in _LIFTERS)
            and (sent := memory.sent_at) is not None
        ),
        default=0,
    )


def _engaged_between(
    registers: Registers, memories: Sequence[Memory], start: int, end: int
) -> bool:
    """Whether a person engaged in that time, as far as firsts and lasts can tell.

    One who engaged before its end and again after its start counts: otherwise hearing of a further
    open could stop an address.
    """
    if registers.engaged is not None and start <= registers.engaged.at <= end:
        return True
    return any(
        first is not None and last is not None and first <= end and last >= start
        for memory in memories
        for place in HUMAN
        for first, last in (memory.times[place : place + 2],)
    )
