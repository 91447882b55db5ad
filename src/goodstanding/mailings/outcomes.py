"""Outcomes: what an attempt's reply means, as events, and when to try again."""

from __future__ import annotations

import random
from typing import Any

from goodstanding.bounces.waiting import asked_to_wait
from goodstanding.core.events import SECOND, Event
from goodstanding.core.policies import Policy
from goodstanding.gateways.base import Handover
from goodstanding.ledger.readings import in_session
from goodstanding.mailings.lanes import OTHERS, Lane
from goodstanding.mailings.outbox import Claim, Outcome


def judge(claim: Claim, handover: Handover, policy: Policy, now: int, lane: Lane) -> Outcome:
    """What became of an attempt at ``now`` (microseconds)."""
    said = _said(handover, claim)
    match handover.outcome:
        case "accepted":
            taken = {**said, **_taken_by(claim), "reports": lane.reports}
            events = [_event("sent", claim, now, taken)]
            if lane.direct:
                events.append(_event("delivered", claim, now, said))
            return Outcome(claim, tuple(events))
        case "refused" if handover.error is not None:
            # Decided on our side: nobody has refused anything, and nothing left.
            return Outcome(claim, (_event("failed", claim, now, said),))
        case "refused":
            return Outcome(
                claim, (_event("bounced", claim, now, {**said, **_reading(handover, claim)}),)
            )
        case "deferred":
            event = _event("deferred", claim, now, {**said, **_reading(handover, claim)})
            retry_at = _retry_at(claim, policy, now, asked=asked_to_wait(handover.text))
            return Outcome(claim, (event,), retry_at)
        case "lost":
            return Outcome(claim, (_event("lost", claim, now, said),))
        case "dropped":
            return Outcome(claim, (), now, given_back=True)
    return _unsent(claim, handover, policy, now)


def _unsent(claim: Claim, handover: Handover, policy: Policy, now: int) -> Outcome:
    retry_at = _retry_at(claim, policy, now, first=policy.retry.unreachable)
    trouble = (handover.error or handover.text or "it could not be handed over")[:200]
    if retry_at is None:
        return Outcome(claim, (_event("failed", claim, now, _said(handover, claim)),))
    return Outcome(claim, (), retry_at, trouble)


def broken(claim: Claim, error: str, policy: Policy, now: int, *, fenced: bool) -> Outcome:
    """An attempt that ended in an error of our own; ``fenced``: the content may have left."""
    if fenced:
        return unknown(claim, error, now)
    return _unsent(claim, Handover("unsent", "connect", error=error[:500]), policy, now)


def unknown(claim: Claim, why: str, now: int) -> Outcome:
    """An attempt of which nobody knows what became."""
    return Outcome(claim, (_event("lost", claim, now, {"error": why[:500]}),))


def unfit(claim: Claim, why: str, now: int) -> Outcome:
    """A message that cannot be made for this recipient."""
    return Outcome(claim, (_event("failed", claim, now, {"error": why[:500]}),))


def _event(kind: str, claim: Claim, now: int, detail: dict[str, Any]) -> Event:
    return Event(
        kind=kind,
        occurred_at=now,
        address=claim.address,
        source="smtp",
        key=f"{kind}:{claim.delivery}:{claim.attempt}",
        delivery=claim.delivery,
        detail=detail,
    )


def _said(handover: Handover, claim: Claim) -> dict[str, Any]:
    said = {
        "text": handover.text,
        "host": handover.host,
        "stage": handover.stage,
        "error": handover.error,
        "attempt": claim.attempt,
    }
    return {name: value for name, value in said.items() if value not in (None, "")}


def _reading(handover: Handover, claim: Claim) -> dict[str, Any]:
    return in_session(
        handover.text,
        claim.address,
        stage=handover.stage,
        temporary=handover.outcome == "deferred",
        provider=_provider(claim),
    )


def _provider(claim: Claim) -> str | None:
    """Who takes the address's mail, where that is known: by the domain's mail hosts."""
    name = claim.lot.provider_name
    return name if name != OTHERS else None


def _taken_by(claim: Claim) -> dict[str, str]:
    """The provider that took it, where the address's domain does not say."""
    name = _provider(claim)
    return {} if name in (None, claim.address.value.rpartition("@")[2]) else {"provider": str(name)}


def _retry_at(
    claim: Claim, policy: Policy, now: int, *, first: int | None = None, asked: int | None = None
) -> int | None:
    """When to try again: after a growing pause, until the policy's time is up.

    ``asked``: not before so many seconds, says the other side.
    """
    retry = policy.retry
    pause = min((first or retry.first) * retry.factor ** min(claim.attempt - 1, 60), retry.longest)
    pause *= 1 + retry.jitter * (2 * random.random() - 1)  # noqa: S311 - not a secret
    silence = policy.silence[claim.address.channel]
    at = now + max(int(pause), (asked or 0) * SECOND)
    return at if at < claim.first_attempt_at + silence.after else None
