"""Acknowledging: the one message by SMS that may follow an opt-out (design, section 5).

Once for an opt-out, however often it is repeated before the person lets us in again: else two
machines that answer each other's messages would never end. And soon, or not at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, Literal

from goodstanding.core import consent
from goodstanding.core.gate import ONLY_BY
from goodstanding.core.limits import Clock, gone_at
from goodstanding.core.policies import Policy
from goodstanding.core.registers import Registers
from goodstanding.core.responses import Response

if TYPE_CHECKING:
    from goodstanding.core.standings import Delivery

PURPOSE: Final = "acknowledgement"

Bar = Literal["by_another_channel", "no_opt_out", "by_the_carrier", "acknowledged", "too_late"]

_UNASKED: Final = ("by_another_channel", "no_opt_out")


def bar(
    registers: Registers,
    deliveries: Sequence[Delivery],
    responses: Sequence[Response],
    policy: Policy,
    channel: str,
    clock: Clock,
    *,
    planning: bool,
) -> Bar | None:
    """What bars an acknowledgement, as far as it is about the opt-out; None: it may go.

    ``planning``: as for ``stand``. An opt-out of one topic is none here: others still go.
    """
    if channel != ONLY_BY[PURPOSE]:
        return "by_another_channel"
    word = consent.general(registers)
    if word.refusal != "opted_out" or word.said is None:
        return "no_opt_out"
    if _is_the_carriers(registers):
        return "by_the_carrier"
    # An opt-in that changed nothing, as to one topic only, may lie after the opt-out.
    let_in = consent.let_in_at(registers)
    since = -1 if let_in is None else min(let_in, word.said.at)
    if any(at >= since for at in gone_at(deliveries, responses, PURPOSE, planning=planning)):
        return "acknowledged"
    return "too_late" if clock.has_come(word.said.at + policy.acknowledgement.within) else None


def refusal(found: Bar | None) -> str | None:
    """The gate's reason for what bars it."""
    if found is None:
        return None
    return "not_requested" if found in _UNASKED else "opted_out"


def _is_the_carriers(registers: Registers) -> bool:
    """Whether the carrier lets nothing through: it told us so, and the person has not come back."""
    person = registers.person
    return all(
        consent.is_active(registers.carrier_opted_out, back)
        for back in (person.opted_in, person.confirmed)
    )
