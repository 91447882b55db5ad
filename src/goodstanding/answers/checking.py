"""May this be sent to these? The gate's answer for addresses, each with its reason."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from goodstanding.answers import grounds, known
from goodstanding.answers.words import span, words
from goodstanding.core import acknowledging
from goodstanding.core.addresses import Address
from goodstanding.core.history import History
from goodstanding.core.policies import Policy
from goodstanding.core.standings import Standing
from goodstanding.ledger import asking
from goodstanding.ledger.policy import active_policy


class Checked(msgspec.Struct, frozen=True):
    """The gate's answer for one address; ``why`` is one sentence."""

    address: str
    channel: str
    allowed: bool
    reason: str | None
    status: str
    family: str
    why: str


def check(
    addresses: Sequence[Address],
    purpose: str,
    topic: str | None,
    now: int,
    policy: Policy | None = None,
    at: int | None = None,
) -> Iterator[Checked]:
    """Ask the gate about each address, in the order given.

    ``purpose``: one of ``core.gate.PURPOSES``. ``now`` in microseconds. ``policy``: another than
    the settings name. ``at``: answer as of that time, from what had happened by then.
    """
    before = (
        asking.refusals_before(addresses, purpose, topic) if policy is None and at is None else {}
    )
    policy = policy or active_policy()
    for address, history in known.of(addresses, at):
        # One that waits to be sent may be the last that there is room for.
        standing = history.standing(policy, now if at is None else at, planning=True)
        blocks = standing.topics.get(topic, standing.blocks) if topic else standing.blocks
        reason = before.get(address) or blocks[purpose]
        if reason != blocks[purpose]:
            because = words().policy["before"].format(policy=policy.name, reason=reason)
        else:
            because = _sentence(reason, purpose, topic, history, standing, policy)
        yield Checked(
            address=address.value,
            channel=address.channel,
            allowed=reason is None,
            reason=reason,
            status=standing.status,
            family=standing.family,
            why=because,
        )


def _sentence(
    reason: str | None,
    purpose: str,
    topic: str | None,
    history: History,
    standing: Standing,
    policy: Policy,
) -> str:
    if purpose == acknowledging.PURPOSE and reason == acknowledging.refusal(standing.bar):
        return _of_acknowledging(history, standing, policy)
    if reason is not None:
        ground = grounds.of_refusal(reason, history, standing, policy, topic)
        return " ".join([f"Refused: {ground}.", *_limit(reason, purpose, policy)])
    if purpose in ("transactional", "confirmation"):
        return f"Allowed: {words().grounds['nothing_against']}."
    ground = grounds.of_consent(history, standing, policy, topic)
    if purpose == "one_off" and standing.blocks["broadcast"] is not None:
        although = words().grounds["although"].format(policy=policy.name, ground=ground)
        return f"Allowed: {although}."
    return f"Allowed: {ground}."


def _of_acknowledging(history: History, standing: Standing, policy: Policy) -> str:
    """Where nothing else refuses: whether there is an opt-out to acknowledge."""
    if standing.bar is None:
        ground = grounds.of_consent(history, standing, policy, None)
        said = f"Allowed: {ground}."
    else:
        said = f"Refused: {grounds.of_bar(standing.bar, history)}."
        if standing.bar not in ("acknowledged", "too_late"):
            return said
    within = span(policy.acknowledgement.within)
    return f"{said} {words().policy['acknowledgement'].format(policy=policy.name, span=within)}"


def _limit(reason: str, purpose: str, policy: Policy) -> Iterator[str]:
    """Where a limit in time refuses, which."""
    if reason != "limit_reached":
        return
    if purpose == "confirmation":
        asking = policy.confirmation
        name, most, within = "limit_of_requests", asking.a_day, asking.imported_every
    else:
        cap = policy.frequency_cap
        name, most, within = "limit_reached", cap.mails, cap.within
    yield words().policy[name].format(policy=policy.name, n=most, span=span(within))
