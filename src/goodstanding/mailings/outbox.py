"""The outbox: a send is claimed, fenced, sent, recorded (design, section 7).

1. *Claim* gates and marks rows as one worker's, under a new token.
2. *Fence* durably says that the content is about to leave, where the token still holds and the
   gate still allows.
3. The gateway sends.
4. *Tell* notes in the row what became of it: cheap, so that it is on disk before the next fence is.
5. *Record* stores that as an event, in larger groups, whoever holds the row by now; only the
   token's holder removes or reschedules the row.
6. *Recover*: what a dead worker had told is recorded, what it had claimed becomes ready again, what
   it was handing is lost.

Everything here is in transactions of a few milliseconds.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final, cast

import msgspec
from django.db import connection, transaction
from django.db.backends.utils import CursorWrapper

from goodstanding.core.addresses import Address, Channel
from goodstanding.core.events import Event
from goodstanding.core.gate import ORDER, PURPOSES, REASONS
from goodstanding.ledger import bulk, clock, gate
from goodstanding.ledger.policy import active_policy
from goodstanding.ledger.recording import record
from goodstanding.mailings import liveness
from goodstanding.mailings.models import Course, Outbox, State

_READY: Final = State.READY.value
_CLAIMED: Final = State.CLAIMED.value
_HANDING: Final = State.HANDING.value
_INVALID: Final = ORDER["invalid_address"]

_MAY_GO_ON: Final = (
    f"c.course = '{Course.RUNNING.value}' AND c.is_checked"
    " AND (c.expires_at IS NULL OR c.expires_at > %s)"
)
"""SQL that is true of the content ``c`` of a mailing of which more may leave; takes the time."""


PaceKey = tuple[str, int]
"""A lane and a provider."""


class OpenLot(msgspec.Struct, frozen=True):
    """A lot in which something is due: to be tried for the first time, or again."""

    id: int
    mailing: int
    lane: str
    provider: int
    provider_name: str
    priority: int
    released_at: int | None
    is_one_by_one: bool
    first: bool
    again: bool

    @property
    def pace(self) -> PaceKey:
        """Whose pace it goes at."""
        return self.lane, self.provider


class Share(msgspec.Struct, frozen=True):
    """How much to claim from a lot."""

    lot: OpenLot
    most: int


class Claim(msgspec.Struct, frozen=True):
    """One delivery that this worker may send, under ``token``.

    ``first_attempt_at`` is when the first of its attempts began that came to an end.
    """

    delivery: int
    mailing: int
    lot: OpenLot
    address_id: int
    address: Address
    recipient: str
    contact: int | None
    attempt: int
    first_attempt_at: int
    token: int


class Outcome(msgspec.Struct, frozen=True):
    """What became of an attempt: its events, and when to try again (microseconds; None: never).

    ``trouble``: what kept it from being tried at all, such as a relay that is not there.
    ``given_back``: it was stopped before anything was tried; that was no attempt.
    """

    claim: Claim
    events: tuple[Event, ...] = ()
    retry_at: int | None = None
    trouble: str | None = None
    given_back: bool = False


class Told(msgspec.Struct, frozen=True, array_like=True):
    """An outcome as it is noted in its row, for whoever records it."""

    delivery: int
    token: int
    first_attempt_at: int
    events: tuple[Event, ...]
    retry_at: int | None
    trouble: str | None
    given_back: bool

    @classmethod
    def of(cls, outcome: Outcome) -> Told:
        """What an outcome says."""
        claim = outcome.claim
        return cls(
            claim.delivery,
            claim.token,
            claim.first_attempt_at,
            outcome.events,
            outcome.retry_at,
            outcome.trouble,
            outcome.given_back,
        )


_TOLD: Final = bulk.Table(Outbox, ("delivery_id", "token", "told"))
_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(Told).decode


def open_lots(now: int) -> list[OpenLot]:
    """The lots in which something is due of mailings that may go on, by what overtakes what."""
    ready = "SELECT 1 FROM mailings_outbox o WHERE o.lot_id = l.id AND o.worker_id IS NULL"
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT * FROM (SELECT l.id, l.mailing_id, l.lane, l.provider_id, p.name, l.priority,"
            " l.released_at, c.one_by_one,"
            f" EXISTS ({ready} AND o.attempt = 0 AND o.not_before <= %s) AS first_tries,"
            f" EXISTS ({ready} AND o.attempt > 0 AND o.not_before <= %s) AS again"
            " FROM mailings_lot l JOIN mailings_content c ON c.mailing_id = l.mailing_id"
            " JOIN mailings_provider p ON p.id = l.provider_id"
            f" WHERE l.is_open AND l.held_at IS NULL AND {_MAY_GO_ON}) AS lots"
            " WHERE first_tries OR again ORDER BY priority, id",
            [now, now, now],
        )
        return [OpenLot(*row[:7], *map(bool, row[7:])) for row in cursor.fetchall()]


def claim(worker: int, shares: Sequence[Share], now: int) -> list[Claim]:
    """Take rows that are due and that the gate allows, so many from each lot.

    What the gate refuses by now is skipped with its reason.
    """
    lots = {share.lot.id: share.lot for share in shares}
    token = secrets.randbits(62)
    settled = False
    while True:
        with transaction.atomic(), connection.cursor() as cursor:
            bulk.look_up_by_keys(cursor)
            if not liveness.vouch(cursor, worker):
                return []
            due = [delivery for share in shares for delivery in _found(cursor, share, now)]
            asked = _at_the_gate(cursor, due, lots, token, now)
            unsettled = {each.claim.address_id for each in asked if each.is_unsettled}
            if not unsettled or settled:
                asked = [each for each in asked if each.claim.address_id not in unsettled]
                _skip(cursor, [each for each in asked if each.reason is not None], now)
                claims = [each.claim for each in asked if each.reason is None]
                _take(cursor, claims, worker, token)
                return claims
        # In a transaction of its own: two folds in one would lock addresses after tallies.
        clock.refold(unsettled, now)
        settled = True


def _found(cursor: CursorWrapper, share: Share, now: int) -> list[int]:
    """What is due; half of it tried before: a long queue must not use up its retries' time."""
    lot, most = share.lot, share.most
    found: list[int] = []
    if lot.again:
        many = most if not lot.first else (most + secrets.randbelow(2)) // 2
        found = _due(cursor, lot.id, "attempt > 0", many, now)
    if lot.first:
        found += _due(cursor, lot.id, "attempt = 0", most - len(found), now)
    return found


class _Asked(msgspec.Struct, frozen=True):
    """A claim that could be made, and what the gate says of it by now.

    ``is_unsettled``: the gate cannot answer until the address is folded.
    """

    claim: Claim
    reason: int | None
    is_unsettled: bool


def _at_the_gate(
    cursor: CursorWrapper,
    deliveries: Collection[int],
    lots: Mapping[int, OpenLot],
    token: int,
    now: int,
) -> list[_Asked]:
    if not deliveries:
        return []
    cursor.execute(
        "SELECT delivery_id, mailing_id, lot_id, address_id, channel, value, recipient, contact_id,"
        " attempt + 1, coalesce(first_attempt_at, %s), refusal,"
        f" {gate.unsettled('refusal', 'w')} FROM ("
        "SELECT o.delivery_id, o.mailing_id, o.lot_id, o.address_id, a.channel, a.value,"
        " d.recipient, o.contact_id, o.attempt, o.first_attempt_at, a.due_at, a.policy,"
        f" {_refusal('o')} AS refusal"
        " FROM mailings_outbox o JOIN ledger_address a ON a.id = o.address_id"
        " JOIN ledger_delivery d ON d.id = o.delivery_id"
        " JOIN ledger_mailing m ON m.id = o.mailing_id"
        " LEFT JOIN ledger_topicstanding t ON t.address_id = a.id AND t.topic = m.topic"
        f" WHERE {bulk.among('o.delivery_id')}) AS w ORDER BY delivery_id",
        [now, active_policy().revision, now, bulk.listed(deliveries)],
    )
    return [
        _Asked(
            Claim(
                delivery=row[0],
                mailing=row[1],
                lot=lots[row[2]],
                address_id=row[3],
                address=Address(cast(Channel, row[4]), row[5]),
                recipient=row[6],
                contact=row[7],
                attempt=row[8],
                first_attempt_at=row[9],
                token=token,
            ),
            reason=row[10],
            is_unsettled=row[11],
        )
        for row in cursor.fetchall()
    ]


def _take(cursor: CursorWrapper, claims: Sequence[Claim], worker: int, token: int) -> None:
    """Mark the rows as the worker's, under the token."""
    if not claims:
        return
    cursor.execute(
        f"UPDATE mailings_outbox SET state = {_CLAIMED}, token = %s, worker_id = %s,"
        f" attempt = attempt + 1 WHERE worker_id IS NULL AND {bulk.among('delivery_id')}",
        [token, worker, bulk.listed([claim.delivery for claim in claims])],
    )


def _due(cursor: CursorWrapper, lot: int, which: str, most: int, now: int) -> list[int]:
    """The ids of a lot's deliveries that are due, locked till the commit."""
    if most <= 0:
        return []
    skip = "" if connection.vendor == "sqlite" else " FOR UPDATE SKIP LOCKED"
    order = "not_before, place" if which == "attempt = 0" else "not_before"
    cursor.execute(
        f"SELECT delivery_id FROM mailings_outbox WHERE lot_id = %s"
        f" AND worker_id IS NULL AND {which} AND not_before <= %s ORDER BY {order} LIMIT %s{skip}",
        [lot, now, most],
    )
    return [row[0] for row in cursor.fetchall()]


def stayed(now: int) -> set[int]:
    """The lots of which nothing may leave now although there may be something in them."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT l.id FROM mailings_lot l JOIN mailings_content c ON c.mailing_id = l.mailing_id"
            f" WHERE l.is_open AND (l.held_at IS NOT NULL OR NOT ({_MAY_GO_ON}))",
            [now],
        )
        return {row[0] for row in cursor.fetchall()}


def commit(fences: Sequence[Claim], outcomes: Sequence[Outcome], now: int) -> set[int]:
    """Note outcomes and set fences in one transaction; the deliveries whose fence was set."""
    with transaction.atomic(), connection.cursor() as cursor:
        bulk.look_up_by_keys(cursor)
        _tell(cursor, [Told.of(outcome) for outcome in outcomes])
        return _fence(cursor, fences, now) if fences else set()


def settle(outcomes: Sequence[Outcome], now: int) -> None:
    """Record outcomes, and let go of their rows."""
    with transaction.atomic(), connection.cursor() as cursor:
        _record(cursor, [Told.of(outcome) for outcome in outcomes], now)


def release(claims: Iterable[Claim], until: int | None = None) -> None:
    """Give back what was claimed and not handed over; ``until``: not to be claimed before then."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.executemany(
            f"UPDATE mailings_outbox SET state = {_READY}, token = NULL, worker_id = NULL,"
            " attempt = attempt - 1, not_before = coalesce(%s, not_before)"
            f" WHERE delivery_id = %s AND token = %s AND state = {_CLAIMED}",
            [(until, claim.delivery, claim.token) for claim in claims],
        )


def give_back(worker: int, but: Collection[int]) -> int:
    """Give back what the worker has claimed and knows nothing of; ``but``: what it knows of."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            f"UPDATE mailings_outbox SET state = {_READY}, token = NULL, worker_id = NULL"
            f" WHERE state = {_CLAIMED} AND worker_id = %s AND NOT {bulk.among('delivery_id')}",
            [worker, bulk.listed(but)],
        )
        return int(cursor.rowcount)


def recover(dead: Sequence[int], now: int) -> tuple[int, int]:
    """Take over from dead workers; how many rows became ready again, and how many were lost."""
    if not dead:
        return 0, 0
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            "SELECT o.told, o.delivery_id, o.token, o.attempt, a.channel, a.value"
            " FROM mailings_outbox o JOIN ledger_address a ON a.id = o.address_id"
            f" WHERE (o.state = {_HANDING} OR o.told IS NOT NULL)"
            f" AND {bulk.among('o.worker_id')}"
            f" {'' if connection.vendor == 'sqlite' else 'FOR UPDATE OF o'}",
            [bulk.listed(dead)],
        )
        found = cursor.fetchall()
        told = [_decode(row[0]) for row in found if row[0] is not None]
        lost = [
            _abandoned(delivery, token, attempt, Address(channel, value), now)
            for text, delivery, token, attempt, channel, value in found
            if text is None
        ]
        # Together: two folds in one transaction would lock addresses after tallies.
        _record(cursor, told + lost, now)
        cursor.execute(
            f"UPDATE mailings_outbox SET state = {_READY}, token = NULL, worker_id = NULL"
            f" WHERE state = {_CLAIMED} AND {bulk.among('worker_id')}",
            [bulk.listed(dead)],
        )
        return cursor.rowcount, len(lost)


def _abandoned(delivery: int, token: int, attempt: int, address: Address, now: int) -> Told:
    """What there is to say of a mail whose worker died while it handed it over."""
    event = Event(
        kind="lost",
        occurred_at=now,
        address=address,
        source="clock",
        # Not the key of what the worker itself may still say of this attempt.
        key=f"abandoned:{delivery}:{attempt}",
        delivery=delivery,
        detail={"reason": "the worker died while it handed the message over"},
    )
    return Told(delivery, token, now, (event,), None, None, given_back=False)


def _fence(cursor: CursorWrapper, claims: Sequence[Claim], now: int) -> set[int]:
    cursor.execute(
        f"UPDATE mailings_outbox SET state = {_HANDING} WHERE state = {_CLAIMED}"
        f" AND {_under_its_token()} AND EXISTS ("
        "SELECT 1 FROM ledger_address a JOIN ledger_mailing m ON m.id = mailings_outbox.mailing_id"
        " JOIN mailings_content c ON c.mailing_id = m.id"
        " JOIN mailings_lot l ON l.id = mailings_outbox.lot_id"
        " LEFT JOIN ledger_topicstanding t ON t.address_id = a.id AND t.topic = m.topic"
        f" WHERE a.id = mailings_outbox.address_id AND {_refusal('mailings_outbox')} IS NULL"
        f" AND NOT coalesce({gate.stale()}, 1 = 0) AND l.held_at IS NULL AND {_MAY_GO_ON})"
        " RETURNING delivery_id",
        [
            *_tokens(claims),
            now,
            active_policy().revision,
            now,
        ],
    )
    return {row[0] for row in cursor.fetchall()}


def _tell(cursor: CursorWrapper, told: Sequence[Told]) -> None:
    _TOLD.update(
        cursor, [(each.delivery, each.token, _encode(each).decode()) for each in told], keys=2
    )


def _under_its_token() -> str:
    """SQL for the rows that are still held by the claims of which the ``_tokens`` are given.

    Each by its own: who was taken over from may have claimed a delivery anew, among others.
    """
    if connection.vendor == "sqlite":
        pairs = "SELECT value ->> 0, value ->> 1 FROM json_each(%s)"
    else:
        pairs = "SELECT * FROM unnest(%s::bigint[], %s::bigint[])"
    return f"{bulk.among('delivery_id')} AND (delivery_id, token) IN ({pairs})"


def _tokens(claims: Sequence[Claim | Told]) -> list[str]:
    """The parameters that go with ``_under_its_token``."""
    deliveries = bulk.listed([claim.delivery for claim in claims])
    if connection.vendor == "sqlite":
        return [deliveries, json.dumps([(claim.delivery, claim.token) for claim in claims])]
    return [deliveries, deliveries, bulk.listed([claim.token for claim in claims])]


def _refusal(outbox: str) -> str:
    """SQL for what refuses the purpose of mailing ``m``; ``outbox``: the alias of its row there."""
    cases = " ".join(f"WHEN '{purpose}' THEN {gate.refusal(purpose)}" for purpose in PURPOSES)
    return f"CASE WHEN {_corrected(outbox)} THEN {_INVALID} ELSE CASE m.purpose {cases} END END"


def _corrected(outbox: str) -> str:
    """SQL that is true where address ``a`` was corrected to another since this was planned.

    By when that was recorded, and by who holds it now: a correction may be told late, and one that
    was under way meanwhile has an earlier time.
    """
    return (
        "(a.registers LIKE '%%\"corrected\"%%' AND (EXISTS (SELECT 1 FROM ledger_event e"
        f" JOIN ledger_delivery d ON d.id = {outbox}.delivery_id WHERE e.address_id = a.id"
        " AND e.kind = 'corrected' AND e.recorded_at >= d.planned_first)"
        f" OR {outbox}.contact_id IS NOT NULL AND NOT EXISTS ("
        f"SELECT 1 FROM contacts_contactaddress h WHERE h.contact_id = {outbox}.contact_id"
        " AND h.address_id = a.id)))"
    )


def _record(cursor: CursorWrapper, told: Sequence[Told], now: int) -> None:
    record([event for each in told for event in each.events], now)
    again = [
        (
            each.retry_at,
            None if each.given_back else each.first_attempt_at,
            each.trouble,
            int(each.given_back),
            each.delivery,
            each.token,
        )
        for each in told
        if each.retry_at is not None
    ]
    if again:
        cursor.executemany(
            f"UPDATE mailings_outbox SET state = {_READY}, token = NULL, worker_id = NULL,"
            " not_before = %s, first_attempt_at = coalesce(first_attempt_at, %s), trouble = %s,"
            " attempt = attempt - %s, told = NULL"
            " WHERE delivery_id = %s AND token = %s",
            again,
        )
    done = [each for each in told if each.retry_at is None]
    if done:
        cursor.execute(f"DELETE FROM mailings_outbox WHERE {_under_its_token()}", _tokens(done))


def _skip(cursor: CursorWrapper, refused: Sequence[_Asked], now: int) -> None:
    if not refused:
        return
    record(
        [
            skipped(each.claim.delivery, each.claim.address, REASONS[each.reason], now)
            for each in refused
            if each.reason is not None
        ],
        now,
    )
    cursor.execute(
        f"DELETE FROM mailings_outbox WHERE {bulk.among('delivery_id')}",
        [bulk.listed([each.claim.delivery for each in refused])],
    )


def skipped(delivery: int, address: Address, reason: str, now: int) -> Event:
    """What is recorded of a planned delivery that the gate refuses after all."""
    return Event(
        kind="skipped",
        occurred_at=now,
        address=address,
        source="clock",
        key=f"skipped:{delivery}",
        delivery=delivery,
        detail={"reason": reason},
    )
