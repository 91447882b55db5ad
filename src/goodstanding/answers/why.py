"""Why an address stands where it stands: all that was heard, what follows, and in whose words."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import msgspec
from django.db import connection
from django.db.backends.utils import CursorWrapper

from goodstanding.answers import known
from goodstanding.answers.telling import explain
from goodstanding.core import vocabularies
from goodstanding.core.addresses import Address
from goodstanding.core.annulments import Annulment, Predicates, held_by, is_annulled
from goodstanding.core.events import KINDS, Event, key_of
from goodstanding.core.history import History
from goodstanding.core.memory import Memory
from goodstanding.core.policies import Policy
from goodstanding.core.registers import Consent, Registers, Said
from goodstanding.core.standings import Standing
from goodstanding.core.times import rfc3339, rfc3339_or_none
from goodstanding.ledger import accounts, annulments, lookup
from goodstanding.ledger.policy import active_policy

Names = dict[str, str | list[str] | None]
"""By vocabulary; None where it has no word for it."""


class Held(msgspec.Struct, frozen=True):
    """A hold of the incident guard that nobody has decided about, and since when (RFC 3339)."""

    hold: int
    since: str
    decision: str = "needed"


class Heard(msgspec.Struct, frozen=True):
    """One event; times in RFC 3339."""

    kind: str
    occurred_at: str
    recorded_at: str
    source: str
    key: str
    mailing: str | None
    recipient: str
    topic: str | None
    detail: dict[str, Any]
    annulled: bool
    """Whether it counts for nothing, by an annulment."""
    held: Held | None
    """The hold that does that, where no operator has decided about it yet."""


class Became(msgspec.Struct, frozen=True):
    """What became of one message; times in RFC 3339."""

    mailing: str | None
    response: str
    names: Names
    opens: int
    clicks: int
    since: str | None
    sent_at: str | None
    category: str | None
    recipient: str


class Reasons(msgspec.Struct, frozen=True):
    """Why one address stands where it stands."""

    address: str
    channel: str
    status: str
    family: str
    names: Names
    explanation: str
    registers: dict[str, Any]
    events: list[Heard]
    deliveries: list[Became]


def why(
    addresses: Sequence[Address],
    now: int,
    policy: Policy | None = None,
    at: int | None = None,
) -> Iterator[Reasons]:
    """Say why of each address, in the order given.

    ``now`` in microseconds. ``policy``: another than the settings name. ``at``: as of that time,
    from what had happened by then.
    """
    policy = policy or active_policy()
    present = now if at is None else at
    ids = lookup.address_ids(addresses)
    for address in addresses:
        with connection.cursor() as cursor:
            history, events, recorded = _heard(cursor, ids.get(address), address, at)
            annulled = annulments.in_force(cursor, at)
            holds = annulments.undecided(cursor, at).values()
        standing = history.standing(policy, present)
        yield Reasons(
            address=address.value,
            channel=address.channel,
            status=standing.status,
            family=standing.family,
            names=names_of(address, standing),
            explanation=explain(address, history, standing, events, policy, annulled, list(holds)),
            registers=registers_of(history.registers, standing),
            events=[_event(event, recorded[key_of(event)], annulled, holds) for event in events],
            deliveries=sorted(
                _deliveries(history, standing), key=lambda each: each.sent_at or each.since or ""
            ),
        )


def names_of(address: Address, standing: Standing) -> Names:
    """What each vocabulary calls the standing."""
    return {
        name: vocabulary.status_name(
            standing.status,
            channel=address.channel,
            category=standing.category,
            consent=standing.consent,
            confirmed=standing.confirmed,
        )
        for name, vocabulary in vocabularies.load().items()
    }


def registers_of(registers: Registers, standing: Standing) -> dict[str, Any]:
    """The registers by the names that design section 4 gives them."""
    held = {
        name: {field: _said(getattr(registers, field)) for field in fields}
        for name, fields in _REGISTERS.items()
    }
    return {
        "person": _consent(registers.person),
        "topics": {topic: _consent(said) for topic, said in registers.topics.items()},
        **held,
        "complaint": {
            "complaints": {name: _said(said) for name, said in registers.complaints.items()},
            "withdrawn": {name: _said(said) for name, said in registers.withdrawn.items()},
        },
        "outcomes": {"streak": standing.streak},
    }


_ORDER: Final = {kind: place for place, kind in enumerate(KINDS)}
_REGISTERS: Final = {
    "operator": ("admin_opted_in", "admin_opted_out"),
    "import": ("permitted", "unpermitted"),
    "invalid": ("invalid", "corrected"),
    "block": ("blocked", "unblocked"),
    "lock": ("locked", "unlocked"),
    "engagement": ("engaged", "machine_opened"),
}


def _consent(said: Consent) -> dict[str, Any]:
    return {field: _said(getattr(said, field)) for field in ("opted_in", "confirmed", "opted_out")}


def _said(said: Said | None) -> dict[str, str] | None:
    if said is None:
        return None
    return {"at": rfc3339(said.at), "what": said.what, "key": said.key}


def _heard(
    cursor: CursorWrapper, id_: int | None, address: Address, at: int | None
) -> tuple[History, list[Event], dict[str, int]]:
    """What is known, the events it was made of, and when each was recorded, by their keys."""
    loaded = accounts.load(cursor, [id_] if id_ is not None else [], lock=False)
    if id_ is None or id_ not in loaded:
        return History(address.channel), [], {}
    account = loaded[id_]
    # Of what happened at one instant, what comes first in the life of a message is told first.
    events = sorted(
        known.events(account, cursor), key=lambda event: (event.occurred_at, _ORDER[event.kind])
    )
    cursor.execute("SELECT key, recorded_at FROM ledger_event WHERE address_id = %s", [id_])
    recorded = dict(cursor.fetchall())
    if at is None:
        return known.stored(account), events, recorded
    past = [event for event in events if event.occurred_at <= at]
    annulled = annulments.in_force(cursor, at)
    return known.as_of(account, events, at, annulled), past, recorded


def _event(
    event: Event, recorded_at: int, annulled: Predicates, holds: Iterable[Annulment]
) -> Heard:
    hold = held_by(event, holds)
    return Heard(
        kind=event.kind,
        occurred_at=rfc3339(event.occurred_at),
        recorded_at=rfc3339(recorded_at),
        source=event.source,
        key=key_of(event),
        mailing=event.mailing,
        recipient=event.recipient,
        topic=event.topic,
        detail=event.detail,
        annulled=is_annulled(event, annulled),
        held=Held(hold.id, rfc3339(hold.made_at)) if hold is not None else None,
    )


def _deliveries(history: History, standing: Standing) -> Iterator[Became]:
    for ((mailing, recipient), each), response in zip(
        history.deliveries.items(), standing.responses, strict=True
    ):
        if mailing is None and each.memory == Memory():
            continue  # something heard of mail that we did not send, and annulled
        yield Became(
            mailing=mailing,
            response=response.name,
            names=_response_names(response.name, history.channel, each.memory),
            opens=each.opens,
            clicks=each.clicks,
            since=rfc3339_or_none(response.since),
            sent_at=rfc3339_or_none(each.memory.sent_at),
            category=each.memory.category,
            recipient=recipient if mailing is not None else "",
        )


def _response_names(response: str, channel: Any, memory: Memory) -> Names:
    deferred = memory.first("deferred") is not None
    return {
        name: vocabulary.response_name(response, channel=channel, deferred=deferred)
        for name, vocabulary in vocabularies.load().items()
    }
