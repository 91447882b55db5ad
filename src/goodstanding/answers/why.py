"""Why an address stands where it stands: all that was heard, what follows, and in whose words."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import msgspec
from django.db import connection
from django.db.backends.utils import CursorWrapper

from goodstanding.answers import counting, known
from goodstanding.answers.telling import Anew, explain
from goodstanding.core import annulments as core
from goodstanding.core import vocabularies
from goodstanding.core.addresses import Address
from goodstanding.core.annulments import Annulment, Holding, Predicates, held_by, is_annulled
from goodstanding.core.events import KINDS, Event, key_of
from goodstanding.core.history import History, freeze
from goodstanding.core.memory import Memory
from goodstanding.core.policies import Policy
from goodstanding.core.registers import Consent, Registers, Said
from goodstanding.core.standings import Standing
from goodstanding.core.times import rfc3339, rfc3339_or_none
from goodstanding.ledger import accounts, annulments, lookup
from goodstanding.ledger.annulments import as_read
from goodstanding.ledger.policy import active_policy
from goodstanding.ledger.readings import READING
from goodstanding.ledger.rebuilding import history as history_of

Names = dict[str, str | list[str] | None]
"""By vocabulary; None where it has no word for it."""


class ReadAnew(msgspec.Struct, frozen=True):
    """The number of the reread whose reading counts, and what it was read as at first."""

    number: int
    at_first: dict[str, Any]


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
    reread: ReadAnew | None
    """Where ``detail`` has another reading than at first."""
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
    with connection.cursor() as cursor:
        made = annulments.every(cursor)
    holding = core.holding(made, at)
    holds = list(core.undecided(made, at).values())
    for address in addresses:
        with connection.cursor() as cursor:
            history, events, recorded, anew = _heard(cursor, ids.get(address), address, at, holding)
        annulled = holding.predicates
        history = freeze(history, events, policy, annulled)
        standing = history.standing(policy, present)
        yield Reasons(
            address=address.value,
            channel=address.channel,
            status=standing.status,
            family=standing.family,
            names=names_of(address, standing),
            explanation=explain(address, history, standing, events, policy, annulled, anew, holds),
            registers=registers_of(history.registers, standing),
            events=[
                _event(event, recorded[key], annulled, anew.get(key), holds)
                for event in events
                for key in (key_of(event),)
            ],
            deliveries=sorted(
                _deliveries(history, standing, policy),
                key=lambda each: each.sent_at or each.since or "",
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
    cursor: CursorWrapper,
    id_: int | None,
    address: Address,
    at: int | None,
    holding: Holding,
) -> tuple[History, list[Event], dict[str, int], dict[str, Anew]]:
    """What is known and the events it was made of, as they are read.

    And by their keys when each was recorded, and which were read otherwise at first.
    """
    loaded = accounts.load(cursor, [id_] if id_ is not None else [], lock=False)
    if id_ is None or id_ not in loaded:
        return History(address.channel), [], {}, {}
    account = loaded[id_]
    heard = history_of(account, cursor)
    rereads = annulments.readings(cursor, [id_], holding.rereads)
    anew = {
        key: Anew(reread.number, event.detail)
        for key, event in heard
        if (reread := rereads.get((id_, key))) is not None
    }
    # Of what happened at one instant, what comes first in the life of a message is told first.
    events = sorted(
        (as_read(event, rereads.get((id_, key))) for key, event in heard),
        key=lambda event: (event.occurred_at, _ORDER[event.kind]),
    )
    cursor.execute("SELECT key, recorded_at FROM ledger_event WHERE address_id = %s", [id_])
    recorded = dict(cursor.fetchall())
    if at is None:
        return known.stored(account), events, recorded, anew
    past = [event for event in events if event.occurred_at <= at]
    return known.as_of(account, events, at, holding), past, recorded, anew


def _event(
    event: Event,
    recorded_at: int,
    annulled: Predicates,
    anew: Anew | None,
    holds: Iterable[Annulment],
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
        reread=ReadAnew(anew.number, _reading(anew.at_first)) if anew is not None else None,
        held=Held(hold.id, rfc3339(hold.made_at)) if hold is not None else None,
    )


def _reading(detail: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in detail.items() if name in READING}


def _deliveries(history: History, standing: Standing, policy: Policy) -> Iterator[Became]:
    for place, response in zip(history.deliveries, standing.responses, strict=True):
        mailing, recipient = place
        each = history.as_counted(place)
        if mailing is None and each.memory == Memory():
            continue  # something heard of mail that we did not send, and annulled
        counts = counting.shown(msgspec.structs.asdict(each), policy)
        yield Became(
            mailing=mailing,
            response=response.name,
            names=_response_names(response.name, history.channel, each.memory),
            opens=counts["opens"],
            clicks=counts["clicks"],
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
