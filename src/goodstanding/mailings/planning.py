"""Planning: every recipient of a mailing gets a delivery, sent or skipped with its reason.

In set-based SQL, a few thousand contacts in a transaction: no lock is held for long, and a planner
that dies is taken over where it stopped.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from typing import Final

import msgspec
from django.db import connection, transaction
from django.db.backends.utils import CursorWrapper

from goodstanding.core.consent import CONFIRMED
from goodstanding.core.gate import ORDER, REASONS
from goodstanding.ledger import accounts, bulk, clock, gate
from goodstanding.ledger.policy import active_policy
from goodstanding.mailings import domains, lanes
from goodstanding.mailings.models import Content, Course

CHUNKS: Final = {"sqlite": 5_000, "postgresql": 1_500}
"""Contacts planned in one transaction: well under a quarter of a second."""

_INVALID: Final = ORDER["invalid_address"]
_DUPLICATE: Final = ORDER["duplicate"]
_NO_ADDRESS: Final = ORDER["no_address"]
_CONTROL: Final = ORDER["control_group"]

_PRIORITIES: Final = {
    "transactional": 0,
    "confirmation": 0,
    "acknowledgement": 0,
    "one_off": 1,
    "sequence": 2,
}
"""Who waits for a mail overtakes those who do not; broadcasts come last."""

_LAST: Final = 3

_CONFIRMED: Final = ", ".join(f"'{consent}'" for consent in CONFIRMED)

_LANE: Final = f"CASE WHEN consent IN ({_CONFIRMED}) THEN %s ELSE %s END"
"""SQL for the lane to an address; takes the better one and the mailing's own."""

_HAS_IT: Final = (
    "(SELECT d.id FROM ledger_delivery d WHERE d.address_id = a.id"
    " AND d.mailing_id = %s AND d.recipient = '') IS NOT NULL"
)
"""SQL that is true of an address ``a`` to which there is a delivery already; takes the mailing.

Not EXISTS: for each chunk PostgreSQL would read all that was planned of the mailing so far.
"""

_DRAWN: Final = "(p.id %% 2147483647) * 1327217885 %% 2147483647"
"""Neighbours in the audience lie far apart (multiplicative hashing by the golden ratio)."""

_PLACE: Final = (
    f"CASE WHEN l.provider_id = {domains.OTHERS} THEN {_DRAWN}"
    + "".join(f" WHEN {_DRAWN} < {2**31 // 4**n} THEN {4 - n}" for n in (4, 3, 2, 1))
    + " ELSE 4 END"
)
"""SQL for when it goes, within its lot.

First one in 256 of the whole audience, then up to one in 64, in 16, in 4, then the rest: a wave of
failures shows in a sample. Within each they go as they were planned, so that the index grows at a
few places and not all over: drawing each one's place made planning a million take twice as long.
Small domains share a lot; theirs are drawn, lest one of them gets all of its mail at once.
"""


INTO_LOTS: Final = "INSERT INTO mailings_lot (mailing_id, provider_id, lane, priority, planned)"
ADDED_TO: Final = (
    "ON CONFLICT (mailing_id, provider_id, lane) DO UPDATE SET is_open = excluded.is_open,"
    " planned = mailings_lot.planned + excluded.planned"
)
"""SQL around what is put into lots: one that is there takes it in, and is open again."""


class Planned(msgspec.Struct, frozen=True):
    """What an address got of a mailing: its delivery, and why it is skipped (None: it is sent)."""

    address: int
    delivery: int
    refusal: str | None


def plan_addresses(
    cursor: CursorWrapper, content: Content, addresses: Collection[int], now: int
) -> list[Planned]:
    """Plan a mailing for those addresses, in the caller's transaction, whoever holds them.

    One that is missing in the answer must be folded first (``clock.refold``), in a transaction of
    its own. An address that had the mailing already gets a further delivery of its own.
    """
    _gather_addresses(cursor, content, addresses, now)
    cursor.execute("DELETE FROM plan_chunk WHERE stale")
    _write(cursor, content, now)
    cursor.execute("SELECT address_id, id, refusal FROM plan_chunk ORDER BY address_id")
    return [
        Planned(address, delivery, None if refusal is None else REASONS[refusal])
        for address, delivery, refusal in cursor.fetchall()
    ]


def plan(mailing: int, now: int, most: int | None = None) -> bool:
    """Plan the mailing's next chunks, ``most`` at the most; whether it is planned to the end."""
    done = 0
    while most is None or done < most:
        if not _plan_chunk(mailing, now):
            return True
        done += 1
        bulk.give_way()
    return False


def priority(purpose: str) -> int:
    """What of two mails goes out first: the one of the lesser number."""
    return _PRIORITIES.get(purpose, _LAST)


def unfinished(now: int) -> Sequence[int]:
    """The mailings that have started and are not planned, or not checked, to the end."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT mailing_id FROM mailings_content WHERE NOT one_by_one AND starts_at <= %s"
            " AND (plan_until IS NULL OR planned_to < plan_until"
            f" OR NOT is_checked AND course = '{Course.RUNNING.value}') ORDER BY mailing_id",
            [now],
        )
        return [row[0] for row in cursor.fetchall()]


def _plan_chunk(mailing: int, now: int) -> bool:
    """Plan one chunk; False when there is none left."""
    settled = False
    while True:
        with transaction.atomic(), connection.cursor() as cursor:
            bulk.look_up_by_keys(cursor)
            lock = "" if connection.vendor == "sqlite" else " FOR UPDATE"
            content = Content.objects.raw(
                f"SELECT * FROM mailings_content WHERE mailing_id = %s{lock}", [mailing]
            )[0]
            if content.one_by_one or now < content.starts_at:
                return False
            last = content.plan_until if content.plan_until is not None else _draw(cursor, mailing)
            if content.planned_to >= last:
                return False
            upto = _end_of_chunk(cursor, content.planned_to, last)
            _gather(cursor, content, upto, now)
            stale = [] if settled else _stale(cursor)
            if not stale:
                _write(cursor, content, now)
                cursor.execute(
                    "UPDATE mailings_content SET planned_to = %s WHERE mailing_id = %s",
                    [upto, mailing],
                )
                return True
        # Not in the same transaction: it would lock addresses and tallies out of their order.
        clock.refold(stale, now)
        settled = True


def _draw(cursor: CursorWrapper, mailing: int) -> int:
    """Say who is the audience: whoever is a contact by now; the last one's id."""
    cursor.execute("SELECT coalesce(max(id), 0) FROM contacts_contact")
    [last] = cursor.fetchone()
    cursor.execute(
        "UPDATE mailings_content SET plan_until = %s WHERE mailing_id = %s", [last, mailing]
    )
    return int(last)


def _end_of_chunk(cursor: CursorWrapper, begin: int, last: int) -> int:
    cursor.execute(
        f"SELECT id FROM contacts_contact WHERE id > %s AND id <= %s ORDER BY id"
        f" LIMIT 1 OFFSET {CHUNKS[connection.vendor] - 1}",
        [begin, last],
    )
    row = cursor.fetchone()
    return int(row[0]) if row else last


def _gather(cursor: CursorWrapper, content: Content, upto: int, now: int) -> None:
    """Put the chunk's recipients, each with what refuses it, into ``plan_chunk``.

    ``own``: it is the first delivery to its address; others say why there is no second one, or are
    one more each, where the policy sends duplicates.
    """
    _empty_chunk(cursor)
    mailing, policy = content.mailing, active_policy()
    refusal = gate.refusal(mailing.purpose)
    duplicate = f"WHEN NOT own THEN {_DUPLICATE}" if policy.duplicates.skip else ""
    drawn = int(content.control_share * 16**8)
    listed = (
        " JOIN contacts_membership l ON l.contact_id = c.id"
        " JOIN contacts_contactlist n ON n.id = l.list_id AND n.name = %s"
    )
    cursor.execute(
        "INSERT INTO plan_chunk"
        " (contact_id, address_id, recipient, refusal, stale, provider_id, lane)"
        " SELECT contact_id, coalesce(address_id, %s),"
        " CASE WHEN own THEN '' ELSE 'contact:' || contact_id END,"
        f" CASE WHEN address_id IS NULL THEN {_NO_ADDRESS}"
        f" WHEN refusal <= {_INVALID} THEN refusal {duplicate}"
        f" WHEN refusal IS NOT NULL THEN refusal WHEN drawn < %s THEN {_CONTROL} END,"
        f" coalesce(stale, 1 = 0), provider_id, {_LANE}"
        " FROM (SELECT c.id AS contact_id, a.id AS address_id, a.consent, dm.provider_id,"
        " (a.id IS NOT NULL AND row_number() OVER (PARTITION BY a.id ORDER BY c.id) = 1"
        f" AND NOT {_HAS_IT}) AS own,"
        f" {refusal} AS refusal, {gate.unsettled(refusal)} AS stale,"
        f" {'substr(md5(%s || a.id), 1, 8)' if drawn else '%s'} AS drawn"
        f" FROM contacts_contact c{listed if content.list_name is not None else ''}"
        " LEFT JOIN ledger_address a ON a.id = (SELECT ca.address_id FROM contacts_contactaddress"
        " ca WHERE ca.contact_id = c.id AND ca.channel = %s ORDER BY ca.address_id LIMIT 1)"
        " LEFT JOIN mailings_domain dm ON dm.domain = a.domain"
        f" {gate.on_topic()}"
        " WHERE c.id > %s AND c.id <= %s) AS audience",
        [
            _nobody(cursor, mailing.channel),
            f"{drawn:08x}",
            lanes.better(content.lane, policy),
            content.lane,
            mailing.pk,
            policy.revision,
            now,
            content.salt if drawn else "f" * 8,
            *([content.list_name] if content.list_name is not None else []),
            mailing.channel,
            mailing.topic,
            content.planned_to,
            upto,
        ],
    )


def _gather_addresses(
    cursor: CursorWrapper, content: Content, addresses: Collection[int], now: int
) -> None:
    """Put those addresses, each with what refuses it, into ``plan_chunk``."""
    _empty_chunk(cursor)
    mailing, policy = content.mailing, active_policy()
    refusal = gate.refusal(mailing.purpose)
    cursor.execute(
        "INSERT INTO plan_chunk"
        " (contact_id, address_id, recipient, refusal, stale, provider_id, lane)"
        " SELECT (SELECT min(ca.contact_id) FROM contacts_contactaddress ca"
        f" WHERE ca.address_id = a.id), a.id, CASE WHEN NOT {_HAS_IT} THEN '' END,"
        f" {refusal}, coalesce({gate.unsettled(refusal)}, 1 = 0), dm.provider_id,"
        f" {_LANE}"
        " FROM ledger_address a LEFT JOIN mailings_domain dm ON dm.domain = a.domain"
        f" {gate.on_topic()} WHERE {bulk.among('a.id')} ORDER BY a.id",
        [
            mailing.pk,
            policy.revision,
            now,
            lanes.better(content.lane, policy),
            content.lane,
            mailing.topic,
            bulk.listed(addresses),
        ],
    )


def _empty_chunk(cursor: CursorWrapper) -> None:
    """Have the table in which recipients are put together.

    ``id``: the delivery's to be.
    ``recipient`` tells deliveries to one address apart: empty is the first, null one more.
    """
    boolean, number = "boolean", "bigint DEFAULT nextval('ledger_delivery_id_seq')"
    if connection.vendor == "sqlite":
        boolean, number = "integer", "integer PRIMARY KEY"
    cursor.execute(
        f"CREATE TEMPORARY TABLE IF NOT EXISTS plan_chunk (id {number}, contact_id bigint,"
        f" address_id bigint, recipient varchar(200), refusal smallint, stale {boolean},"
        " provider_id bigint, lane varchar(40))"
    )
    # Rows deleted from a temporary table stay where they are for as long as the session lasts.
    empty = "DELETE FROM" if connection.vendor == "sqlite" else "TRUNCATE"
    cursor.execute(f"{empty} plan_chunk")
    if connection.vendor == "sqlite":
        # What is put in gets the ids after this one's.
        cursor.execute(
            "INSERT INTO plan_chunk (id) SELECT max("
            "coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'ledger_delivery'), 0),"
            " coalesce((SELECT max(id) FROM ledger_delivery), 0))"
        )


def _nobody(cursor: CursorWrapper, channel: str) -> int:
    """The address that stands for none: skipped deliveries of contacts without one are its."""
    cursor.execute(
        "INSERT INTO ledger_address (channel, value) VALUES (%s, '')"
        " ON CONFLICT (channel, value) DO NOTHING",
        [channel],
    )
    cursor.execute("SELECT id FROM ledger_address WHERE channel = %s AND value = ''", [channel])
    return int(cursor.fetchone()[0])


def _stale(cursor: CursorWrapper) -> list[int]:
    """Whom to fold, for time or a new policy, before the gate may be trusted."""
    cursor.execute("SELECT DISTINCT address_id FROM plan_chunk WHERE stale ORDER BY address_id")
    return [row[0] for row in cursor.fetchall()]


def _write(cursor: CursorWrapper, content: Content, now: int) -> None:
    """Turn the chunk into deliveries with their events, rows of the outbox, and tallies."""
    if connection.vendor == "sqlite":
        cursor.execute("DELETE FROM plan_chunk WHERE id = (SELECT min(id) FROM plan_chunk)")
    mailing = content.mailing.pk
    reason = _reason()
    cursor.execute(
        "INSERT INTO ledger_delivery (id, mailing_id, address_id, recipient, response, since,"
        " planned_first, planned_last, skipped_first, skipped_last, skip_reason)"
        " SELECT id, %s, address_id,"
        " coalesce(recipient, 'again:' || id),"
        f" CASE WHEN refusal IS NULL THEN 'planned' ELSE 'skipped:' || {reason} END, %s,"
        " CASE WHEN refusal IS NULL THEN %s END, CASE WHEN refusal IS NULL THEN %s END,"
        " CASE WHEN refusal IS NOT NULL THEN %s END, CASE WHEN refusal IS NOT NULL THEN %s END,"
        f" {reason} FROM plan_chunk",
        [mailing, now, now, now, now, now],
    )
    cursor.execute(
        "INSERT INTO ledger_event"
        " (address_id, key, kind, occurred_at, recorded_at, source, delivery_id, detail)"
        " SELECT address_id, 'planned:' || id,"
        " CASE WHEN refusal IS NULL THEN 'planned' ELSE 'skipped' END, %s, %s, 'operator', id,"
        " CASE WHEN refusal IS NULL THEN '{}' ELSE '{\"reason\":\"' || "
        f"{reason} || '\"}}' END FROM plan_chunk ORDER BY address_id, id",
        [now, now],
    )
    _queue(cursor, content, now)
    cursor.execute("SELECT refusal, count(*) FROM plan_chunk GROUP BY refusal")
    tallies = Counter(
        {
            (mailing, "planned" if refusal is None else f"skipped:{REASONS[refusal]}"): count
            for refusal, count in cursor.fetchall()
        }
    )
    accounts.add_to_tallies(cursor, tallies, Counter())


def _queue(cursor: CursorWrapper, content: Content, now: int) -> None:
    """Put what may be sent into the outbox, each row in its lot and at a place of its own."""
    mailing = content.mailing
    # Of those who came one by one, who came first goes first.
    due = max(content.starts_at, now) if content.one_by_one else content.starts_at
    domains.know(cursor)
    cursor.execute(
        f"{INTO_LOTS} SELECT %s, provider_id, lane, %s, count(*) FROM plan_chunk"
        " WHERE refusal IS NULL GROUP BY provider_id, lane ORDER BY provider_id, lane"
        f" {ADDED_TO}",
        [mailing.pk, priority(mailing.purpose)],
    )
    cursor.execute(
        "INSERT INTO mailings_outbox"
        " (delivery_id, mailing_id, lot_id, address_id, contact_id, place, not_before)"
        f" SELECT p.id, l.mailing_id, l.id, p.address_id, p.contact_id, {_PLACE}, %s"
        " FROM plan_chunk p JOIN mailings_lot l ON l.mailing_id = %s"
        " AND l.provider_id = p.provider_id AND l.lane = p.lane WHERE p.refusal IS NULL",
        [due, mailing.pk],
    )


def _reason() -> str:
    """SQL for the name of the reason."""
    cases = " ".join(f"WHEN {place} THEN '{reason}'" for place, reason in enumerate(REASONS))
    return f"CASE refusal {cases} END"
