"""What an operator does to an address: each act is an event that says who did it and why.

Source: design, section 4. An opt-in obeys Keap's rule: what a person said, that person undoes.
"""

from __future__ import annotations

from typing import Final

from django.db import connection, transaction

from goodstanding.core import consent
from goodstanding.core.addresses import Address
from goodstanding.core.events import Event
from goodstanding.core.history import fold
from goodstanding.core.registers import Registers
from goodstanding.core.standings import Standing, stand
from goodstanding.ledger import accounts, annulments, lookup
from goodstanding.ledger.policy import active_policy
from goodstanding.ledger.rebuilding import history_as_read
from goodstanding.ledger.recording import known_or_made, record

ACTS: Final = {
    "opt-in": "admin_opted_in",
    "opt-out": "admin_opted_out",
    "block": "blocked",
    "unblock": "unblocked",
    "lock": "locked",
    "unlock": "unlocked",
    "invalid": "declared_invalid",
}
"""Each act, and the kind of event it is."""

LONGEST: Final = 2_000  # characters of a reason


class NotAllowed(ValueError):
    """A rule forbids the act; the message names the rule in one plain sentence."""


def act(
    name: str, address: Address, *, reason: str, by: str, now: int, at: int | None = None
) -> Standing:
    """Record an act, and give where the address stands after it.

    ``now`` in microseconds; ``at``: when it was done, where that was earlier.

    Raises:
        KeyError: there is no such act.
        ValueError: there is no reason, or the time has not come.
        NotAllowed: an opt-in that is not the operator's to give.
    """
    event = _event(ACTS[name], address, {"reason": reason, "by": by}, now, at)
    with transaction.atomic():
        if event.kind == "admin_opted_in":
            _may_opt_in(address, *_as_of(address, event.occurred_at, earlier=at is not None))
        return _recorded(event, now)


def correct(
    address: Address, to: Address, *, reason: str, by: str, now: int, at: int | None = None
) -> Standing:
    """Record that an address was a mistake for another, and give where it stands after it.

    The other is known from then on, and says nothing that it did not say before. Who holds them is
    not the ledger's to know: see ``contacts.correcting``.

    Raises:
        ValueError: there is no reason, or the time has not come.
    """
    detail = {"reason": reason, "by": by, "to": to.value}
    event = _event("corrected", address, detail, now, at)
    with transaction.atomic():
        with connection.cursor() as cursor:
            known_or_made(cursor, {to})
        return _recorded(event, now)


def reasoned(reason: str) -> str:
    """A reason that may be kept.

    Raises:
        ValueError: it says nothing, or too much.
    """
    if not reason.strip() or len(reason) > LONGEST:
        raise ValueError(f"A reason is needed, of at most {LONGEST:,} characters.")
    return reason


def _event(kind: str, address: Address, detail: dict[str, str], now: int, at: int | None) -> Event:
    """The event of an act.

    Raises:
        ValueError: there is no reason, or the time has not come.
    """
    done_at = now if at is None else at
    reasoned(detail["reason"])
    if done_at > now:
        raise ValueError("An act cannot have been done at a time that has not come.")
    return Event(kind=kind, occurred_at=done_at, address=address, source="operator", detail=detail)


def _recorded(event: Event, now: int) -> Standing:
    recorded = record([event], now)
    if recorded.refused:
        raise ValueError(recorded.refused[0].why)
    return _standing(event.address, now)[1]


def _standing(address: Address, now: int) -> tuple[Registers, Standing]:
    ids = lookup.address_ids([address])
    policy = active_policy()
    with connection.cursor() as cursor:
        for account in accounts.load(cursor, ids.values()).values():
            return account.registers, account.standing(policy, now)
    return Registers(), stand(Registers(), (), policy, address.channel, now)


def _as_of(address: Address, at: int, *, earlier: bool) -> tuple[Registers, Standing]:
    """What held when it was done."""
    if not earlier:
        return _standing(address, at)
    ids = lookup.address_ids([address])
    past: list[Event] = []
    with connection.cursor() as cursor:
        holding = annulments.holding(cursor, at)
        for account in accounts.load(cursor, ids.values()).values():
            heard = history_as_read(account, cursor, holding.rereads)
            past = [event for event in heard if event.occurred_at <= at]
    folded = fold(address.channel, past, annulled=holding.predicates)
    return folded.registers, folded.standing(active_policy(), at)


def _may_opt_in(address: Address, registers: Registers, standing: Standing) -> None:
    """Refuse what Keap's rule does not leave to operators.

    Raises:
        NotAllowed: it is the person's to undo, the address is locked, or it is opted in already.
    """
    word = consent.general(registers)
    complaint = consent.complaint(registers)
    if consent.is_active(registers.locked, registers.unlocked):
        why = "it is locked, and while it is nobody may opt it in by hand"
    elif complaint is not None:
        what = "reported a message as spam" if complaint.what == "spam_reported" else "complained"
        why = f"the person {what}, and only that person can undo it"
    elif word.refusal == "opted_out" and word.status != "opted_out_by_admin":
        why = "the person opted out, and only that person can undo it"
    elif word.refusal is None and not standing.status.startswith("unengaged"):
        why = "it is opted in already"
        if standing.status != word.status:
            why += f", and what stands against it is that it is {standing.status}"
    else:
        return
    raise NotAllowed(
        f"{address.value} cannot be opted in by an operator: {why} (an operator's opt-in is for"
        " addresses that never opted in, are unengaged, or were opted out by an operator)."
    )
