"""Accounts: an address with its deliveries, loaded in sets, settled, and written back.

The one place that writes standings and responses.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec
from django.db.backends.utils import CursorWrapper

from goodstanding.core.gate import ORDER, PURPOSE_ORDER, PURPOSES, REASONS, Blocks
from goodstanding.core.memory import FIRST, SLOTS, Memory
from goodstanding.core.policies import Policy
from goodstanding.core.registers import EMPTY, Registers
from goodstanding.core.responses import frozen_at, is_blurred
from goodstanding.core.standings import Delivery, Standing, stand
from goodstanding.ledger import bulk, freezing, models

_TIMES: Final = tuple(f"{slot}_{which}" for slot in SLOTS for which in ("first", "last"))
_NOTES: Final = (
    "hard_category",
    "deferred_category",
    "category",
    "skip_reason",
    "stop_reason",
)
_BLOCKS: Final = tuple(f"blocks_{purpose}" for purpose in PURPOSES)
_DERIVED: Final = (
    "registers",
    "status",
    "family",
    "consent",
    "since",
    "led_by",
    "category",
    "streak",
    "engaged_at",
    "due_at",
    "policy",
    *_BLOCKS,
)
_STATUS: Final = _DERIVED.index("status")
_DUE_AT: Final = _DERIVED.index("due_at")
_POLICY: Final = _DERIVED.index("policy")
_COUNTS: Final = ("opens", "clicks", "machine_opens")
_FIRST_BLOCK: Final = len(_DERIVED) - len(_BLOCKS)
_FOLDED: Final = ("reports", "response", "since", *_COUNTS, *_NOTES, *_TIMES)

ADDRESSES: Final = bulk.Table(models.Address, ("id", *_DERIVED))
DELIVERIES: Final = bulk.Table(
    models.Delivery, ("id", "address_id", "mailing_id", "recipient", *_FOLDED)
)
FOLDED: Final = bulk.Table(models.Delivery, ("id", *_FOLDED))
TOPICS: Final = bulk.Table(models.TopicStanding, ("address_id", "topic", *_BLOCKS))
CHANGES: Final = bulk.Table(
    models.Change, ("recorded_at", "address_id", "delivery_id", "old", "new", "event")
)
MAILING_TALLIES: Final = bulk.Table(models.MailingTally, ("mailing_id", "name", "count"))
STATUS_TALLIES: Final = bulk.Table(models.StatusTally, ("day", "channel", "status", "count"))

_UNSUBSCRIBED: Final = FIRST["unsubscribed"]
_COMPLAINED: Final = FIRST["complained"]
_DAY: Final = 86_400_000_000
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Registers).decode
_EMPTY_TEXT: Final = "{}"


class Mailing(msgspec.Struct, frozen=True):
    """What the fold needs of a mailing."""

    id: int
    name: str
    purpose: str


class MailingFacts(msgspec.Struct, frozen=True):
    """What a mailing's row is to say from now on; ``was``: the purpose that it says."""

    purpose: str
    topic: str | None
    was: str


class Row:
    """One delivery while it is folded."""

    __slots__ = (*_COUNTS, "id", "mailing", "memory", "recipient", "reports", "stored")

    def __init__(self, id: int, mailing: Mailing | None, recipient: str) -> None:  # noqa: A002
        self.id = id
        self.mailing = mailing
        self.recipient = recipient
        self.memory = Memory()
        self.reports = True
        self.opens = 0
        self.clicks = 0
        self.machine_opens = 0
        self.stored: tuple[Any, ...] | None = None

    def folded(self, response: str, since: int | None) -> tuple[Any, ...]:
        """The row as it is stored, in the order of ``_FOLDED``."""
        memory = self.memory
        return (
            self.reports,
            response,
            since,
            self.opens,
            self.clicks,
            self.machine_opens,
            memory.hard_category,
            memory.deferred_category,
            memory.category,
            memory.skip_reason,
            memory.stop_reason,
            *memory.times,
        )


class Account:
    """One address while it is folded."""

    __slots__ = ("channel", "id", "registers", "rows", "stored", "topics", "value")

    def __init__(self, id: int, channel: str, value: str) -> None:  # noqa: A002
        self.id = id
        self.channel = channel
        self.value = value
        self.registers = EMPTY
        self.rows: dict[tuple[int | None, str], Row] = {}
        self.stored: tuple[Any, ...] | None = None
        self.topics: dict[str, tuple[Any, ...]] = {}

    @property
    def status(self) -> str:
        """As it is stored."""
        return str(self.stored[_STATUS]) if self.stored is not None else ""

    def forget(self) -> None:
        """Back to before anything was heard, for folding anew."""
        self.registers = EMPTY
        for row in self.rows.values():
            row.memory = Memory()
            row.reports = True
            row.opens = row.clicks = row.machine_opens = 0

    def is_stale(self, policy: Policy, now: int) -> bool:
        """Whether time or a new policy has not been folded in yet."""
        if self.stored is None:
            return True
        due_at, revision = self.stored[_DUE_AT], self.stored[_POLICY]
        return revision != policy.revision or (due_at is not None and due_at <= now)

    def refusal_before(self, policy: Policy, purpose: str, topic: str | None) -> str | None:
        """What refuses it as another policy than that one has folded it; None where none has."""
        if self.stored is None or self.stored[_POLICY] in (0, policy.revision):
            return None
        blocks = self.topics.get(topic or "", self.stored[_FIRST_BLOCK:])
        place = blocks[PURPOSES.index(purpose)]
        return REASONS[place] if place is not None else None

    def standing(
        self,
        policy: Policy,
        now: int,
        *,
        planning: bool = False,
        counted: Mapping[int, tuple[Memory, bool]] | None = None,
    ) -> Standing:
        """Where the address stands; ``planning``: as for ``stand``.

        ``counted``: memory and lane's habit of deliveries as they were when their statistics froze,
        by their ids. Without it the responses alone may be other than they are stored.
        """
        known = counted or {}
        facts = [
            Delivery(
                row.memory, row.mailing.purpose, row.reports, row.mailing.id, known.get(row.id)
            )
            if row.mailing
            else Delivery(row.memory, "broadcast", row.reports)
            for row in self.rows.values()
        ]
        return stand(self.registers, facts, policy, self.channel, now, planning=planning)


Query = tuple[str, Sequence[Any]]
"""SQL and its parameters."""


def load(cursor: CursorWrapper, ids: Iterable[int], *, lock: bool = True) -> dict[int, Account]:
    """The accounts with those ids, in the order of their ids, locked until the transaction ends."""
    return _loaded(cursor, ids, lock=lock)[0]


def load_and_ask(
    cursor: CursorWrapper, ids: Iterable[int], query: Query
) -> tuple[dict[int, Account], list[tuple[Any, ...]]]:
    """The accounts, see :func:`load`, and what a query gives once they are locked."""
    accounts, [found] = _loaded(cursor, ids, query, lock=True)
    return accounts, found


def _loaded(
    cursor: CursorWrapper, ids: Iterable[int], *more: Query, lock: bool
) -> tuple[dict[int, Account], list[list[tuple[Any, ...]]]]:
    wanted = bulk.listed(sorted(ids))
    of_addresses = (
        f"SELECT id, channel, value, {', '.join(_DERIVED)} FROM ledger_address"
        f" WHERE {bulk.among('id')} ORDER BY id {bulk.for_update() if lock else ''}"
    )
    of_deliveries = (
        "SELECT d.id, d.address_id, d.mailing_id, d.recipient, m.name, m.purpose,"
        f" {', '.join(f'd.{column}' for column in _FOLDED)} FROM ledger_delivery d"
        f" LEFT JOIN ledger_mailing m ON m.id = d.mailing_id WHERE {bulk.among('d.address_id')}"
    )
    of_topics = (
        f"SELECT address_id, topic, {', '.join(_BLOCKS)} FROM ledger_topicstanding"
        f" WHERE {bulk.among('address_id')}"
    )
    queries = [(query, [wanted]) for query in (of_addresses, of_deliveries, of_topics)]
    addresses, deliveries, topics, *found = bulk.gather(cursor, *queries, *more)
    accounts: dict[int, Account] = {}
    for row in addresses:
        account = accounts[row[0]] = Account(row[0], row[1], row[2])
        account.stored = tuple(row[3:])
        if row[3] != _EMPTY_TEXT:
            account.registers = _decode(row[3])
    _take_deliveries(accounts, deliveries)
    for row in topics:
        accounts[row[0]].topics[row[1]] = tuple(row[2:])
    return accounts, found


def _take_deliveries(accounts: dict[int, Account], found: Iterable[tuple[Any, ...]]) -> None:
    mailings: dict[int | None, Mailing | None] = {None: None}
    folded = 6
    counts = folded + 3
    notes = counts + len(_COUNTS)
    times = notes + len(_NOTES)
    for stored in found:
        id_, address, mailing, recipient, name, purpose = stored[:folded]
        if mailing not in mailings:
            mailings[mailing] = Mailing(mailing, name, purpose)
        row = Row(id_, mailings[mailing], recipient)
        row.reports = bool(stored[folded])
        row.opens, row.clicks, row.machine_opens = stored[counts:notes]
        row.memory = Memory(tuple(stored[times:]), *stored[notes:times])
        row.stored = (row.reports, *stored[folded + 1 :])
        accounts[address].rows[mailing, recipient] = row


def settle(
    cursor: CursorWrapper,
    accounts: Iterable[Account],
    policy: Policy,
    now: int,
    *,
    facts: Mapping[int, MailingFacts] | None = None,
    said: Iterable[tuple[Any, ...]] = (),
) -> dict[int, Standing]:
    """Decide where each address stands, and write all that differs from what is stored.

    ``facts``: what else is to be written of mailings, by their ids. ``said``: rows of changes that
    tell what was said, before those that tell what it changed.
    """
    writing = _Writing(now, facts or {})
    writing.changes.extend(said)
    standings = {}
    accounts = list(accounts)
    counted = _counted(cursor, accounts, policy)
    for account in accounts:
        standing = standings[account.id] = account.standing(policy, now, counted=counted)
        writing.address(account, standing, policy.revision)
        for row, response in zip(account.rows.values(), standing.responses, strict=True):
            writing.delivery(account, row, response.name, response.since)
    writing.write(cursor)
    return standings


def _counted(
    cursor: CursorWrapper, accounts: Sequence[Account], policy: Policy
) -> Mapping[int, tuple[Memory, bool]]:
    """What deliveries remembered when their statistics froze, where their memory does not tell."""
    if policy.statistics_days is None:
        return {}
    frozen: dict[int, int] = {}
    addresses = set()
    for account in accounts:
        for row in account.rows.values():
            at = frozen_at(row.memory, policy)
            if at is not None and is_blurred(row.memory, policy):
                frozen[row.id] = at
                addresses.add(account.id)
    return freezing.by_then(cursor, frozen, addresses)


class _Writing:
    """What differs from what is stored, gathered over many accounts."""

    def __init__(self, now: int, facts: Mapping[int, MailingFacts]) -> None:
        self.now = now
        self.facts = facts
        self.addresses: list[tuple[Any, ...]] = []
        self.fresh: list[tuple[Any, ...]] = []
        self.folded: list[tuple[Any, ...]] = []
        self.topics: list[tuple[Any, ...]] = []
        self.stale_topics: list[tuple[int, str]] = []
        self.changes: list[tuple[Any, ...]] = []
        self.by_mailing: Counter[tuple[int, str]] = Counter()
        self.by_status: Counter[tuple[int, str, str]] = Counter()
        self.spans: dict[int, tuple[int | None, int | None]] = {}

    def address(self, account: Account, standing: Standing, revision: int) -> None:
        self._topics(account, standing)
        registers = _encode(account.registers).decode()
        new = (
            registers,
            standing.status,
            standing.family,
            standing.consent,
            standing.since,
            standing.led_by,
            standing.category,
            standing.streak,
            standing.engaged_at,
            standing.due_at,
            revision,
            *_numbers(standing.blocks),
        )
        old = account.stored
        if new == old:
            return
        self.addresses.append((account.id, *new))
        account.stored = new
        if account.value == "":
            return  # It stands for contacts without an address, and is nobody's.
        tallied = old is not None and old[_POLICY] != 0
        was = (_day(old[4]), account.channel, old[1]) if old is not None and tallied else None
        place = (_day(standing.since), account.channel, standing.status)
        if was != place:
            self.by_status[place] += 1
            if was is not None:
                self.by_status[was] -= 1
        if was is None or was[2] != standing.status:
            before = was[2] if was is not None else ""
            self.changes.append((self.now, account.id, None, before, standing.status, None))

    def _topics(self, account: Account, standing: Standing) -> None:
        for topic, blocks in standing.topics.items():
            numbers = tuple(_numbers(blocks))
            if account.topics.get(topic) != numbers:
                self.topics.append((account.id, topic, *numbers))
                account.topics[topic] = numbers
        for topic in account.topics.keys() - standing.topics.keys():
            self.stale_topics.append((account.id, topic))
            del account.topics[topic]

    def delivery(self, account: Account, row: Row, response: str, since: int | None) -> None:
        new = row.folded(response, since)
        old = row.stored
        if new == old:
            return
        row.stored = new
        mailing = row.mailing
        if old is None:
            place = mailing.id if mailing else None
            self.fresh.append((row.id, account.id, place, row.recipient, *new))
        else:
            self.folded.append((row.id, *new))
        was = old[1] if old is not None else ""
        if was != response:
            self.changes.append((self.now, account.id, row.id, was, response, None))
        if mailing is None:
            return
        self._tally(mailing.id, old, new)
        start, end = self.spans.get(mailing.id, (None, None))
        self.spans[mailing.id] = (
            _least(start, row.memory.tried_from),
            _most(end, row.memory.tried_until),
        )

    def _tally(self, mailing: int, old: tuple[Any, ...] | None, new: tuple[Any, ...]) -> None:
        for sign, row in ((-1, old), (1, new)):
            if row is None:
                continue
            for name, count in contributions(row):
                if count:
                    self.by_mailing[mailing, name] += sign * count

    def write(self, cursor: CursorWrapper) -> None:
        ADDRESSES.update(cursor, self.addresses)
        DELIVERIES.insert(cursor, self.fresh)
        FOLDED.update(cursor, self.folded)
        if self.stale_topics:
            cursor.executemany(
                "DELETE FROM ledger_topicstanding WHERE address_id = %s AND topic = %s",
                self.stale_topics,
            )
        TOPICS.insert(
            cursor,
            self.topics,
            on_conflict="ON CONFLICT (address_id, topic) DO UPDATE SET "
            + ", ".join(f"{column} = excluded.{column}" for column in _BLOCKS),
        )
        CHANGES.insert(cursor, self.changes)
        for mailing in sorted(self.spans.keys() | self.facts.keys()):
            if mailing in self.facts:
                _note(cursor, mailing, self.facts[mailing])
            _widen(cursor, mailing, *self.spans.get(mailing, (None, None)))
        add_to_tallies(cursor, self.by_mailing, self.by_status)


def contributions(folded: Sequence[Any]) -> tuple[tuple[str, int], ...]:
    """What a delivery's row, in the order of ``_FOLDED``, counts for in its mailing's tallies."""
    times = folded[3 + len(_COUNTS) + len(_NOTES) :]
    return (
        (folded[1], 1),
        *zip(_COUNTS, folded[3:], strict=False),
        ("unsubscribes", int(times[_UNSUBSCRIBED] is not None)),
        ("complaints", int(times[_COMPLAINED] is not None)),
    )


def add_to_tallies(
    cursor: CursorWrapper,
    by_mailing: Counter[tuple[int, str]],
    by_status: Counter[tuple[int, str, str]],
) -> None:
    """Add to the tallies, in one order, so that two folds at once cannot lock each other out."""
    MAILING_TALLIES.insert(
        cursor,
        [(*place, count) for place, count in sorted(by_mailing.items()) if count],
        on_conflict="ON CONFLICT (mailing_id, name) DO UPDATE"
        " SET count = ledger_mailingtally.count + excluded.count",
    )
    STATUS_TALLIES.insert(
        cursor,
        [(*place, count) for place, count in sorted(by_status.items()) if count],
        on_conflict="ON CONFLICT (day, channel, status) DO UPDATE"
        " SET count = ledger_statustally.count + excluded.count",
    )


def _widen(cursor: CursorWrapper, mailing: int, start: int | None, end: int | None) -> None:
    """Let a mailing's first and last attempt span what was heard."""
    if start is not None:
        cursor.execute(
            "UPDATE ledger_mailing SET started_at = %s"
            " WHERE id = %s AND (started_at IS NULL OR started_at > %s)",
            [start, mailing, start],
        )
    if end is not None:
        cursor.execute(
            "UPDATE ledger_mailing SET ended_at = %s"
            " WHERE id = %s AND (ended_at IS NULL OR ended_at < %s)",
            [end, mailing, end],
        )


def _note(cursor: CursorWrapper, mailing: int, facts: MailingFacts) -> None:
    """Write a mailing's purpose and topic, unless another fold meanwhile wrote more."""
    lower = [
        purpose for purpose in PURPOSES if PURPOSE_ORDER[purpose] < PURPOSE_ORDER[facts.purpose]
    ]
    cursor.execute(
        f"UPDATE ledger_mailing SET purpose = %s WHERE id = %s AND"
        f" {bulk.among('purpose', text=True)}",
        [facts.purpose, mailing, bulk.listed(lower)],
    )
    if facts.topic is not None:
        cursor.execute(
            "UPDATE ledger_mailing SET topic = %s WHERE id = %s AND (topic IS NULL OR topic < %s)",
            [facts.topic, mailing, facts.topic],
        )


def _least(one: int | None, other: int | None) -> int | None:
    return other if one is None else one if other is None else min(one, other)


def _most(one: int | None, other: int | None) -> int | None:
    return other if one is None else one if other is None else max(one, other)


def _numbers(blocks: Blocks) -> list[int | None]:
    return [ORDER[reason] if (reason := blocks[purpose]) else None for purpose in PURPOSES]


def _day(since: int | None) -> int:
    return since // _DAY if since is not None else 0
