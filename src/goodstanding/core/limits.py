"""Limits in time: how often an address may be asked, tried, and written to at all.

Source: design, section 5. They count what left or may have left, whenever they are asked: while a
mailing is planned, when it is claimed, and before it goes. What is put off and tried again does
not count, or it would refuse itself. One thing more is counted for a single message before it is
planned (``planning``): what waits already. So ten that come at once do not all pass before the
first of them is sent.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from goodstanding.core import consent
from goodstanding.core.consent import Word
from goodstanding.core.policies import Policy
from goodstanding.core.registers import Consent, Registers
from goodstanding.core.responses import DAY, Response

if TYPE_CHECKING:
    from goodstanding.core.standings import Delivery

_CAPPED: Final = ("broadcast", "sequence")
_TRYING: Final = ("transactional", "confirmation", "acknowledgement")
"""Purposes whose messages go to a soft-stopped address."""


class Clock:
    """Gathers the next moment at which time alone changes something (microseconds)."""

    def __init__(self, now: int) -> None:
        self.now = now
        self.due_at: int | None = None

    def has_come(self, at: int) -> bool:
        """Whether that moment has come; if not, it is one to come back for."""
        if at <= self.now:
            return True
        if self.due_at is None or at < self.due_at:
            self.due_at = at
        return False


def capped(deliveries: Sequence[Delivery], policy: Policy, clock: Clock) -> bool:
    """Whether the frequency cap is reached.

    What was heard of mail that we did not send is not counted: nobody knows how many mails it was.
    """
    cap = policy.frequency_cap
    if cap.mails < 1:
        return False
    gone = [
        at
        for each in deliveries
        if each.purpose in _CAPPED
        and each.mailing is not None
        and (at := each.memory.gone_at) is not None
    ]
    return _reached(gone, cap.mails, cap.within, clock)


def tried_lately(
    deliveries: Sequence[Delivery],
    responses: Sequence[Response],
    policy: Policy,
    clock: Clock,
    *,
    planning: bool,
) -> bool:
    """Whether a soft-stopped address was tried too recently for another transactional mail.

    A try goes on until nothing is tried again: what is deferred is still the same one.
    """
    tried = []
    for each, response in zip(deliveries, responses, strict=True):
        at = each.memory.sent_at
        if response.name == "deferred" and not planning:
            continue
        if at is None and planning and each.purpose in _TRYING and _waits(response):
            at = each.memory.waiting_since
        if at is not None:
            tried.append(at)
    return _reached(tried, 1, policy.transactional.retry_soft_stopped, clock)


class Asking:
    """Whether a request to confirm may go: how often was asked, and does the person want it."""

    def __init__(
        self,
        registers: Registers,
        deliveries: Sequence[Delivery],
        responses: Sequence[Response],
        policy: Policy,
        clock: Clock,
        *,
        planning: bool,
    ) -> None:
        self._registers = registers
        self._settings = policy.confirmation
        self._clock = clock
        self._requests = gone_at(deliveries, responses, "confirmation", planning=planning)
        self._limit_reached = _reached(self._requests, self._settings.a_day, DAY, clock)
        asked = consent.asked_at(registers)
        self._asked = -1 if asked is None else asked
        self._complaint = consent.complaint(registers)
        outs = (self._complaint, registers.person.opted_out, registers.admin_opted_out)
        self._refused = max((said.at for said in outs if said is not None), default=-1)

    def refusal(self, word: Word, said: Consent | None = None) -> str | None:
        """Why it may not go, given the word that decides and what was said of the topic itself.

        A general opt-in does not undo an opt-out of the topic, and so asks for nothing about it.
        """
        if self._limit_reached:
            return "limit_reached"
        asked, refused = self._asked, self._refused
        if said is not None and said.opted_out is not None:
            asked = said.asked.at if said.asked is not None else -1
            refused = max(refused, said.opted_out.at)
        if asked > refused:
            return None
        if self._complaint is not None or not self._settings.to_claimed:
            return "not_requested"
        if not consent.is_claim(word, self._registers):
            return "not_requested"
        lately = _reached(self._requests, 1, self._settings.imported_every, self._clock)
        return "limit_reached" if lately else None


def gone_at(
    deliveries: Sequence[Delivery], responses: Sequence[Response], purpose: str, *, planning: bool
) -> list[int]:
    """When messages of that purpose left or may have left; those that wait, since when they do."""
    gone = []
    for each, response in zip(deliveries, responses, strict=True):
        if each.purpose != purpose:
            continue
        at = each.memory.gone_at
        if at is None and planning and _waits(response):
            at = each.memory.waiting_since
        if at is not None:
            gone.append(at)
    return gone


def _reached(times: list[int], most: int, within: int, clock: Clock) -> bool:
    """Whether so many lie no longer back than that; if so, until when is a moment to come back."""
    if most < 1:
        return True
    if len(times) < most:
        return False
    return not clock.has_come(sorted(times)[-most] + within)


def _waits(response: Response) -> bool:
    """Whether it has still to leave."""
    return response.group == "preparing" or response.name == "deferred"
