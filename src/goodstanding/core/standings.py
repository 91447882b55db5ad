"""Standings: where an address stands, from its registers, its deliveries, the policy and the time.

Source: design, section 4. Nothing here is stored cut: the streak and the hard bounces are read off
the deliveries each time, so that the order in which things were heard does not matter.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

import msgspec

from goodstanding.core import acknowledging, consent, data, failures, limits
from goodstanding.core.acknowledging import Bar
from goodstanding.core.consent import Word
from goodstanding.core.gate import PURPOSES, Blocks, first
from goodstanding.core.limits import Asking, Clock
from goodstanding.core.memory import FIRST, Memory
from goodstanding.core.policies import Policy
from goodstanding.core.registers import Consent, Registers, Said
from goodstanding.core.responses import Response, respond

Family = Literal["good", "bad", "ugly"]


class Status(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One row of the table of statuses: its family, and the gate's reason where it refuses."""

    family: Family
    refusal: str | None = None


STATUSES: Final[dict[str, Status]] = data.load("statuses.toml", dict[str, Status])
"""In order: the first that holds is shown."""

_ORDER: Final = {status: place for place, status in enumerate(STATUSES)}
_DELIVERED: Final = FIRST["delivered"]


_WORDS: Final = {"opted_out", "never_opted_in"}
"""Refusals that come from consent, not from what was found beside it."""


class Delivery(msgspec.Struct, frozen=True, gc=False):
    """What a standing needs of one delivery: memory, mailing's purpose, lane's habit, mailing.

    ``mailing`` tells mailings apart (an id or a name); None: one of its own. ``counted``: memory
    and lane's habit as they were when its statistics froze, where something came later.
    """

    memory: Memory
    purpose: str = "broadcast"
    reports: bool = True
    mailing: failures.MailingId = None
    counted: tuple[Memory, bool] | None = None


class Standing(msgspec.Struct, frozen=True, gc=False):
    """Where an address stands now.

    ``since``: when the status began (microseconds; None: always). ``led_by``: the key of the event
    that made it, where one did; ``category``: of the bounce that made it. ``blocks``: what refuses
    each purpose; ``topics``: the same for each topic on which the person had a word of their own.
    ``consent``: the status that consent alone would give. ``streak``: soft outcomes in a row.
    ``bar``: what bars an acknowledgement of the opt-out. ``responses``: of the deliveries, in the
    order given; ``judged``: those by which the address is judged, which never freeze. ``due_at``:
    when time alone changes something next (microseconds).
    """

    status: str
    family: Family
    since: int | None
    led_by: str | None
    category: str | None
    blocks: Blocks
    topics: dict[str, Blocks]
    consent: str
    streak: int
    engaged_at: int | None
    bar: Bar | None
    responses: tuple[Response, ...]
    judged: tuple[Response, ...]
    due_at: int | None

    @property
    def confirmed(self) -> bool:
        """Whether consent was confirmed, whatever else holds."""
        return self.consent in consent.CONFIRMED


class _Finding(msgspec.Struct, frozen=True, gc=False):
    """A status that holds."""

    status: str
    since: int | None = None
    key: str | None = None
    category: str | None = None


def stand(
    registers: Registers,
    deliveries: Sequence[Delivery],
    policy: Policy,
    channel: str,
    now: int,
    *,
    planning: bool = False,
) -> Standing:
    """Where the address stands at ``now`` (microseconds).

    ``planning``: as asked before a single message is planned, when what waits already counts too.
    """
    clock = Clock(now)
    memories = [each.memory for each in deliveries]
    responses = tuple(
        respond(memory, policy, channel, now, reports=reports)
        for each in deliveries
        for memory, reports in (each.counted or (each.memory, each.reports),)
    )
    # What counts in a mailing's statistics may be cut in time; standings never freeze.
    judged = (
        responses if policy.statistics_days is None else _uncut(deliveries, policy, channel, now)
    )
    for response in responses if judged is responses else (*responses, *judged):
        if response.due_at is not None:
            clock.has_come(response.due_at)
    mailings = [each.mailing for each in deliveries]
    word = consent.general(registers)
    streak = failures.soft_streak(registers, memories, judged, policy, channel, mailings)
    findings = [
        *_complaint(registers),
        _Finding(word.status, *_of(word.said)),
        *_invalid(registers),
        *_stopped(failures.hard_stop(registers, memories, policy, mailings), streak),
        *_operators(registers),
        *_unengaged(registers, memories, judged, policy, clock),
    ]
    shown = min(findings, key=lambda finding: _ORDER[finding.status])
    refusals = {
        refusal for finding in findings if (refusal := STATUSES[finding.status].refusal)
    } - _WORDS
    if limits.capped(deliveries, policy, clock):
        refusals.add("limit_reached")
    held = "soft_stopped" in refusals and limits.tried_lately(
        deliveries, judged, policy, clock, planning=planning
    )
    asking = Asking(registers, deliveries, judged, policy, clock, planning=planning)
    bar = acknowledging.bar(
        registers, deliveries, judged, policy, channel, clock, planning=planning
    )
    # That follows from the word on everything, whatever was said of a topic.
    unacknowledged = acknowledging.refusal(bar)

    def blocks(decides: Word, said: Consent | None = None) -> Blocks:
        unasked = asking.refusal(decides, said)
        return _blocks(decides.refusal, refusals, held, unasked, unacknowledged, policy, channel)

    return Standing(
        status=shown.status,
        family=STATUSES[shown.status].family,
        since=shown.since,
        led_by=shown.key,
        category=shown.category,
        blocks=blocks(word),
        topics={
            topic: blocks(consent.on_topic(word, said), said)
            for topic, said in registers.topics.items()
        },
        consent=word.status,
        streak=len(streak.sent),
        engaged_at=registers.engaged.at if registers.engaged else None,
        bar=bar,
        responses=responses,
        judged=judged,
        due_at=clock.due_at,
    )


def _uncut(
    deliveries: Sequence[Delivery], policy: Policy, channel: str, now: int
) -> tuple[Response, ...]:
    """The responses as if statistics counted for ever."""
    return tuple(
        respond(each.memory, policy.uncut, channel, now, reports=each.reports)
        for each in deliveries
    )


def _of(said: Said | None) -> tuple[int | None, str | None]:
    return (said.at, said.key) if said is not None else (None, None)


def _complaint(registers: Registers) -> list[_Finding]:
    said = consent.complaint(registers)
    return [_Finding(said.what, said.at, said.key)] if said is not None else []


def _invalid(registers: Registers) -> list[_Finding]:
    if consent.is_active(registers.invalid, registers.corrected):
        return [_Finding("invalid", *_of(registers.invalid))]
    return []


def _stopped(hard: failures.Stop | None, streak: failures.Streak) -> list[_Finding]:
    found = []
    if hard is not None:
        found.append(_Finding("hard_bounced", hard.at, category=hard.category))
    if streak.stopped_at is not None:
        found.append(_Finding("soft_stopped", streak.stopped_at))
    if streak.sent:
        found.append(_Finding("soft_bouncing", streak.sent[0]))
    return found


def _operators(registers: Registers) -> list[_Finding]:
    found = []
    if consent.is_active(registers.blocked, registers.unblocked):
        found.append(_Finding("blocked", *_of(registers.blocked)))
    if consent.is_active(registers.locked, registers.unlocked):
        found.append(_Finding("locked", *_of(registers.locked)))
    return found


def _unengaged(
    registers: Registers,
    memories: Sequence[Memory],
    responses: Sequence[Response],
    policy: Policy,
    clock: Clock,
) -> list[_Finding]:
    """Whether nobody seems to be there any more.

    Found whatever consent says: a topic that somebody opted in to may need it.
    """
    rule = policy.unengaged
    if rule.after is None:
        return []
    delivered = [
        at
        for memory, response in zip(memories, responses, strict=True)
        if response.group == "delivered" and (at := memory.times[_DELIVERED]) is not None
    ]
    if len(delivered) < rule.delivered:
        return []
    delivered.sort()
    words = [registers.person, *registers.topics.values()]
    signs = [
        said.at
        for said in (
            *(word.opted_in for word in words),
            registers.admin_opted_in,
            registers.engaged,
        )
        if said is not None
    ]
    signs.extend(delivered[:1])
    machine = registers.machine_opened.at if registers.machine_opened else None
    if machine is not None and policy.machine_opens.as_engagement:
        signs.append(machine)
    found = []
    if signs:
        since = _long_silent(max(signs), rule.after, delivered, rule.delivered)
        if since is not None and clock.has_come(since):
            found.append(_Finding("unengaged", since))
    if machine is not None and policy.machine_opens.against_stopping:
        signs.append(machine)
    if signs and rule.stopped_after is not None:
        since = _long_silent(max(signs), rule.stopped_after, delivered, rule.delivered)
        if since is not None and clock.has_come(since):
            found.append(_Finding("unengaged_blocked", since))
    return found


def _long_silent(last_sign: int, after: int, delivered: list[int], needed: int) -> int | None:
    """When the silence since the last sign is long enough and enough was delivered in it."""
    later = [at for at in delivered if at > last_sign]
    if len(later) < needed:
        return None
    return max(last_sign + after, later[needed - 1] if needed else 0)


_OPEN: Final[Blocks] = dict.fromkeys(PURPOSES)


def _blocks(
    refusal: str | None,
    refusals: set[str],
    held: bool,
    unasked: str | None,
    unacknowledged: str | None,
    policy: Policy,
    channel: str,
) -> Blocks:
    """What refuses each purpose (design, section 5, the gate by purpose)."""
    if refusal is None and not refusals:
        return {**_OPEN, "confirmation": unasked, "acknowledgement": unacknowledged}
    opted_out = refusal if channel == "sms" and refusal == "opted_out" else None
    complaints = refusals & {"complained", "spam_reported"}
    unreachable = refusals & {"invalid_address", "hard_bounced", "blocked"}
    stopped = refusals & {"soft_stopped"}
    one_off_word = refusal
    if refusal == "never_opted_in" and policy.one_off.to_never_opted_in:
        one_off_word = None
    if refusal in ("opted_out", "opted_out_of_topic") and policy.one_off.to_opted_out:
        one_off_word = opted_out
    mailing = first(refusal, *refusals)
    said = {
        "broadcast": mailing,
        "sequence": mailing,
        "one_off": first(one_off_word, *complaints, *unreachable, *stopped),
        "transactional": first(opted_out, *unreachable, *(stopped if held else ())),
        "confirmation": first(opted_out, unasked, *unreachable, *(refusals & {"locked"})),
        "acknowledgement": first(unacknowledged, *complaints, *unreachable),
    }
    return {purpose: said[purpose] for purpose in PURPOSES}
