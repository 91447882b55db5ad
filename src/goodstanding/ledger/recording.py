"""Recording: the one way in. Events are stored, folded and committed in one transaction."""

from __future__ import annotations

from collections.abc import Collection, Container, Iterable, Sequence
from typing import Any, Final

import msgspec
from django.db import connection, transaction
from django.db.backends.utils import CursorWrapper

from goodstanding.core import keywords, memory, registers
from goodstanding.core.addresses import Address
from goodstanding.core.annulments import is_annulled
from goodstanding.core.categories import CATEGORIES
from goodstanding.core.events import KINDS, Event, key_of, not_ahead
from goodstanding.core.gate import ORDER, PURPOSE_ORDER, PURPOSES
from goodstanding.ledger import accounts, annulments, bulk, models, traffic
from goodstanding.ledger.accounts import Account, Mailing, MailingFacts, Row
from goodstanding.ledger.collecting import uncollected
from goodstanding.ledger.policy import active_policy
from goodstanding.ledger.readings import READING

EVENTS: Final = bulk.Table(
    models.Event,
    (
        "address_id",
        "key",
        "kind",
        "occurred_at",
        "recorded_at",
        "source",
        "delivery_id",
        "topic",
        "detail",
    ),
)
_NEW_ADDRESSES: Final = bulk.Table(models.Address, ("channel", "value", "domain"))
_NEW_MAILINGS: Final = bulk.Table(models.Mailing, ("name", "channel", "purpose", "topic"))
_REFUSED: Final = bulk.Table(
    models.RefusedEvent, ("recorded_at", "address_id", "key", "kind", "why", "detail")
)
_encode = msgspec.json.Encoder(order="sorted").encode
_decode = msgspec.json.decode


class Refused(msgspec.Struct, frozen=True):
    """An event that was not taken, and why."""

    event: Event
    why: str


class Recorded(msgspec.Struct):
    """What became of a batch: stored, heard before, or refused.

    ``words``: the words on consent, new too, that were read in replies and stored beside them.
    """

    stored: int = 0
    repeated: int = 0
    refused: list[Refused] = []
    words: int = 0


class _Heard(msgspec.Struct, frozen=True, gc=False):
    """An event with its key and the text of its detail.

    ``reply``: what it was read in, where it is a word on consent that was read in a reply.
    """

    event: Event
    key: str
    detail: str
    reply: _Heard | None = None

    @property
    def given(self) -> Event:
        """The event that was given to be recorded."""
        return (self.reply or self).event


MAILING: Final = "@mailing"
"""Where a stored event's detail names its mailing, if there is no delivery that holds it."""


def record(events: Iterable[Event], now: int) -> Recorded:
    """Store and fold a batch of events; returns when it is on disk.

    Give a few thousand at a time: they are one transaction. ``now`` in microseconds. Replies by SMS
    are read here, whoever heard them: beside one that is a keyword the person's word is stored.
    """
    with uncollected():
        return _recorded(events, now)


def _recorded(events: Iterable[Event], now: int) -> Recorded:
    recorded = Recorded()
    heard: list[_Heard] = []
    for event in events:
        try:
            _check(event)
            timely = not_ahead(event, now)
            heard.append(_Heard(timely, key_of(timely), _encode(timely.detail).decode()))
        except (ValueError, TypeError, OverflowError) as error:
            recorded.refused.append(Refused(event, str(error)))
            continue
        word = keywords.word_in(timely)
        if word is not None:
            said = _encode(word.detail).decode()
            heard.append(_Heard(word, word.key, said, reply=heard[-1]))
    if heard:
        # Within a transaction of the caller's it is part of that, without a savepoint of its own.
        with transaction.atomic(savepoint=False), connection.cursor() as cursor:
            bulk.look_up_by_keys(cursor)
            _record(cursor, heard, now, recorded)
    return recorded


def _check(event: Event) -> None:
    """See that the event can be stored and understood.

    Raises:
        ValueError: it cannot; the message says what is wrong.
    """
    if event.kind not in KINDS:
        raise ValueError(f"{event.kind[:40]!r} is not a kind of event")
    if event.purpose is not None and event.purpose not in PURPOSES:
        raise ValueError(f"{event.purpose[:40]!r} is not a purpose")
    if event.address.channel not in ("email", "sms"):
        raise ValueError(f"{event.address.channel[:40]!r} is not a channel")
    for name, text, most in (
        ("key", event.key, 200),
        ("mailing", event.mailing, 200),
        ("recipient", event.recipient, 200),
        ("topic", event.topic, 100),
        ("address", event.address.value, 320),
        ("source", event.source, 40),
    ):
        if text and (len(text) > most or "\0" in text or not _is_text(text)):
            raise ValueError(f"{name} is longer than {most} characters or is not plain text")
    if not 0 <= event.occurred_at < 1 << 62:
        raise ValueError("occurred_at is out of range")
    if event.detail:
        _check_detail(event.kind, event.detail)


def _check_detail(kind: str, detail: dict[str, Any]) -> None:
    if MAILING in detail:
        raise ValueError(f"detail may not hold {MAILING!r}")
    for name, names in _KNOWN.get(kind, {}).items():
        said = detail.get(name)
        if said not in (None, "") and not (isinstance(said, str) and said in names):
            raise ValueError(f"{str(said)[:40]!r} is not a {name} of what was {kind}")


_READ: Final[dict[str, Container[str]]] = {
    "category": CATEGORIES,
    "disposition": ("hard", "soft", "block", "none"),
}
_KNOWN: Final[dict[str, dict[str, Container[str]]]] = {
    "bounced": _READ,
    "deferred": _READ,
    "skipped": {"reason": ORDER},
}
"""What a detail may say, where that decides something."""


def _is_text(text: str) -> bool:
    """Whether a database can hold it: not half of a surrogate pair."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _record(cursor: CursorWrapper, heard: list[_Heard], now: int, recorded: Recorded) -> None:
    mailings, raised = _mailings(cursor, heard)
    ids = known_or_made(cursor, {each.event.address for each in heard})
    _reopen(cursor, raised, ids.values(), now)
    places = [(ids[each.event.address], each.key) for each in heard]
    loaded, known = accounts.load_and_ask(cursor, ids.values(), _heard_before(places))
    if raised:
        _tell(loaded.values(), raised)
    fresh = _unheard(cursor, heard, places, loaded, known, now, recorded)
    placed = [_place(loaded[ids[each.event.address]], each, mailings, recorded) for each in fresh]
    new = list({id(row): row for row in placed if row is not None and row.id == 0}.values())
    for made, id_ in zip(new, bulk.new_ids(cursor, "ledger_delivery", len(new)), strict=True):
        made.id = id_
    failed = any(KINDS[each.event.kind].failure for each in fresh)
    annulled = annulments.in_force(cursor) if failed else ()
    stored = []
    said = []
    news = traffic.News()
    for each, row in zip(fresh, placed, strict=True):
        if row is _NOWHERE:
            continue
        event = each.event
        recorded.words += each.reply is not None
        account = loaded[ids[event.address]]
        if not is_annulled(event, annulled):
            hear(account, row, event, each.key)
        news.hear(event)
        delivery = row.id if row is not None else None
        if KINDS[event.kind].starts:
            said.append((now, account.id, delivery, "", event.kind, each.key))
        stored.append(
            (
                account.id,
                each.key,
                event.kind,
                event.occurred_at,
                now,
                event.source,
                delivery,
                event.topic,
                _with_mailing(each, row),
            )
        )
    recorded.stored += len(stored) - recorded.words
    EVENTS.insert(cursor, stored)
    news.write(cursor)
    accounts.settle(cursor, loaded.values(), active_policy(), now, facts=raised, said=said)


def _tell(loaded: Iterable[Account], raised: dict[int, MailingFacts]) -> None:
    """Let the deliveries know what their mailings are said to be."""
    for account in loaded:
        for row in account.rows.values():
            if row.mailing is not None and row.mailing.id in raised:
                purpose = raised[row.mailing.id].purpose
                row.mailing = msgspec.structs.replace(row.mailing, purpose=purpose)


def hear(account: Account, row: Row | None, event: Event, key: str) -> None:
    """Fold one event that was not heard before into its address and delivery."""
    mailing = event.mailing or (row.mailing.name if row is not None and row.mailing else "")
    account.registers = registers.hear(
        account.registers,
        event.kind,
        event.occurred_at,
        key,
        event.detail,
        topic=event.topic,
        mailing=mailing,
    )
    if row is None:
        return
    row.memory = memory.remember(row.memory, event.kind, event.occurred_at, event.detail)
    if event.detail.get("reports") is False:
        row.reports = False
    counts = KINDS[event.kind].counts
    if counts == "opens":
        row.opens += 1
    elif counts == "clicks":
        row.clicks += 1
    elif counts == "machine_opens":
        row.machine_opens += 1


class _Facts(msgspec.Struct):
    """What a batch says of a mailing; the same whatever the order it says it in."""

    channel: str
    purpose: str = ""
    topic: str | None = None


def _mailings(
    cursor: CursorWrapper, heard: Sequence[_Heard]
) -> tuple[dict[str, Mailing], dict[int, MailingFacts]]:
    """The mailings that the events name, made where they are new.

    And, by id, those of which the events say more than is stored. That is written at the end, in
    the one order in which mailings are locked.
    """
    said: dict[str, _Facts] = {}
    for each in heard:
        event = each.event
        if event.mailing is None:
            continue
        facts = said.setdefault(event.mailing, _Facts(event.address.channel))
        if event.purpose is not None:
            facts.purpose = max(facts.purpose, event.purpose, key=PURPOSE_ORDER.__getitem__)
        if event.topic is not None and KINDS[event.kind].about == "delivery":
            facts.topic = max(facts.topic or "", event.topic) or None
    if not said:
        return {}, {}
    known = _known_mailings(cursor, said)
    missing = sorted(said.keys() - known.keys())
    if missing:
        _NEW_MAILINGS.insert(
            cursor,
            [
                (name, facts.channel, facts.purpose or "broadcast", facts.topic)
                for name in missing
                for facts in (said[name],)
            ],
            on_conflict="ON CONFLICT (name) DO NOTHING",
        )
        known |= _known_mailings(cursor, missing)
    mailings: dict[str, Mailing] = {}
    raised: dict[int, MailingFacts] = {}
    for name, (mailing, topic) in known.items():
        facts = said[name]
        purpose = max(mailing.purpose, facts.purpose, key=PURPOSE_ORDER.__getitem__)
        more = max(topic or "", facts.topic or "") or None
        mailings[name] = Mailing(mailing.id, name, purpose)
        if (purpose, more) != (mailing.purpose, topic):
            raised[mailing.id] = MailingFacts(purpose, more, was=mailing.purpose)
    return mailings, raised


def _known_mailings(
    cursor: CursorWrapper, names: Iterable[str]
) -> dict[str, tuple[Mailing, str | None]]:
    cursor.execute(
        "SELECT id, name, purpose, topic FROM ledger_mailing WHERE "
        + bulk.among("name", text=True),
        [bulk.listed(names)],
    )
    return {row[1]: (Mailing(*row[:3]), row[3]) for row in cursor.fetchall()}


def _reopen(
    cursor: CursorWrapper, raised: dict[int, MailingFacts], ids: Collection[int], now: int
) -> None:
    """Let the clock fold again whoever was folded while a mailing counted as another purpose.

    Takes the locks on them together with those on the batch's own addresses, in the one order.
    """
    changed = [id_ for id_, facts in raised.items() if facts.purpose != facts.was]
    if not changed:
        return
    cursor.execute(
        f"SELECT DISTINCT address_id FROM ledger_delivery WHERE {bulk.among('mailing_id')}",
        [bulk.listed(changed)],
    )
    others = {row[0] for row in cursor.fetchall()} - set(ids)
    cursor.execute(
        f"SELECT id FROM ledger_address WHERE {bulk.among('id')} ORDER BY id {bulk.for_update()}",
        [bulk.listed(sorted({*others, *ids}))],
    )
    cursor.execute(
        f"UPDATE ledger_address SET due_at = %s WHERE {bulk.among('id')}"
        " AND (due_at IS NULL OR due_at > %s)",
        [now, bulk.listed(others), now],
    )


def known_or_made(cursor: CursorWrapper, wanted: set[Address]) -> dict[Address, int]:
    """The ids of the addresses, made where they are new."""
    ids = _find(cursor, wanted)
    missing = sorted(wanted - ids.keys(), key=lambda address: (address.channel, address.value))
    if missing:
        _NEW_ADDRESSES.insert(
            cursor,
            [
                (
                    a.channel,
                    a.value,
                    a.value.rpartition("@")[2][:255] if a.channel == "email" else "",
                )
                for a in missing
            ],
            on_conflict="ON CONFLICT (channel, value) DO NOTHING",
        )
        ids.update(_find(cursor, set(missing)))
    return ids


def _find(cursor: CursorWrapper, wanted: set[Address]) -> dict[Address, int]:
    found: dict[Address, int] = {}
    for channel in {address.channel for address in wanted}:
        values = [address.value for address in wanted if address.channel == channel]
        cursor.execute(
            "SELECT value, id FROM ledger_address WHERE channel = %s AND "
            + bulk.among("value", text=True),
            [channel, bulk.listed(values)],
        )
        found.update((Address(channel, row[0]), row[1]) for row in cursor.fetchall())
    return found


def _unheard(
    cursor: CursorWrapper,
    heard: list[_Heard],
    places: list[tuple[int, str]],
    loaded: dict[int, Account],
    found: Iterable[tuple[Any, ...]],
    now: int,
    recorded: Recorded,
) -> list[_Heard]:
    """The events that are new; the others are counted, contradictions refused and kept.

    ``places``: each event's address and key; ``found``: what is stored of them.
    """
    known = {
        (address, key): _content(kind, at, source, topic, text, _about(loaded[address], delivery))
        for address, key, kind, at, source, topic, text, delivery in found
    }
    fresh: dict[tuple[int, str], _Heard] = {}
    refused = []
    silenced: set[int] = set()  # what was refused comes before the word that was read in it
    for each, place in zip(heard, places, strict=True):
        if each.reply is not None and id(each.reply) in silenced:
            continue
        before = known.get(place)
        if before is None and place not in fresh:
            fresh[place] = each
            continue
        if before is None:
            before = known[place] = _content_of(fresh[place], loaded[place[0]])
        if before == _content_of(each, loaded[place[0]]):
            recorded.repeated += each.reply is None
        else:
            why = "the same key was heard before with other content"
            silenced.add(id(each))
            recorded.refused.append(Refused(each.given, why))
            refused.append((now, place[0], each.key, each.event.kind, why, each.detail))
    _REFUSED.insert(cursor, refused)
    return list(fresh.values())


def _heard_before(places: list[tuple[int, str]]) -> accounts.Query:
    """What asks for the events that were heard with those addresses' keys."""
    return (
        "SELECT t.address_id, t.key, t.kind, t.occurred_at, t.source, t.topic, t.detail,"
        " t.delivery_id FROM " + bulk.pairs("address_id", "key", "ledger_event"),
        bulk.paired(places),
    )


_About = tuple[str | None, str]
_Content = tuple[Any, ...]


def _about(account: Account, delivery: int | None) -> _About | None:
    """The mailing and the recipient of one of the address's deliveries."""
    if delivery is None:
        return None
    row = next((row for row in account.rows.values() if row.id == delivery), _NOWHERE)
    return (row.mailing.name, row.recipient) if row.mailing is not None else (None, "")


def _content_of(each: _Heard, account: Account) -> _Content:
    event = each.event
    about = _about(account, event.delivery)
    if about is None:
        kept = event.mailing is not None and memory.slot_of(event.kind, event.detail) is not None
        about = (event.mailing, event.recipient if kept else "")
    return _content(event.kind, event.occurred_at, event.source, event.topic, each.detail, about)


def _content(
    kind: str, at: int, source: str, topic: str | None, detail: str, about: _About | None
) -> _Content:
    """What must be equal in two events with one key."""
    said = _decode(detail)
    mailing = said.pop(MAILING, None)
    at = said.pop("claimed_at", at)
    if said.get("text"):
        said = {name: value for name, value in said.items() if name not in READING}
    return (kind, at, source, topic, said, about or (mailing, ""))


_NOWHERE: Final = Row(-1, None, "")
"""Stands for a delivery that does not exist."""


def _place(
    account: Account,
    each: _Heard,
    mailings: dict[str, Mailing],
    recorded: Recorded,
) -> Row | None:
    """The delivery that an event is about, made where it is new (with id 0)."""
    event = each.event
    if event.delivery is not None:
        for row in account.rows.values():
            if row.id == event.delivery:
                return row
        if each.reply is None:  # else that was said of the reply itself
            recorded.refused.append(Refused(event, "that delivery is not one to this address"))
        return _NOWHERE
    if memory.slot_of(event.kind, event.detail) is None:
        return None
    if event.mailing is None:
        if KINDS[event.kind].about != "delivery":
            return None
        place: tuple[int | None, str] = (None, each.key)
        mailing = None
    else:
        mailing = mailings[event.mailing]
        place = (mailing.id, event.recipient)
    if place not in account.rows:
        account.rows[place] = Row(0, mailing, place[1])
    return account.rows[place]


def _with_mailing(each: _Heard, row: Row | None) -> str:
    """The detail as stored: the mailing's name goes in where no delivery holds it."""
    if row is not None or each.event.mailing is None:
        return each.detail
    return _encode({**each.event.detail, MAILING: each.event.mailing}).decode()
