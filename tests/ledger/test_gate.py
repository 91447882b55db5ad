"""The gate in SQL and the gate in core say the same (design, section 7, invariant 5)."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any, get_args

import msgspec
import pytest
from django.db import connection, transaction

from goodstanding.core import acknowledging, memory, policy_files, registers
from goodstanding.core.events import KINDS
from goodstanding.core.gate import PURPOSES, REASONS
from goodstanding.core.memory import Memory
from goodstanding.core.policies import Acknowledgement, FrequencyCap, Policy, Span
from goodstanding.core.registers import Registers
from goodstanding.core.standings import Delivery, Standing, stand
from goodstanding.ledger import accounts, bulk, gate, models, recording
from goodstanding.ledger.accounts import Account, Mailing, Row
from tests.core.histories import ADDRESSES, END, MAILINGS, MOMENTS, TOPICS, history

pytestmark = pytest.mark.django_db(transaction=True)

DEFAULT = policy_files.load("default")
CAPPED = msgspec.structs.replace(DEFAULT, frequency_cap=FrequencyCap(1, Span.parse("9d")))
PATIENT = msgspec.structs.replace(DEFAULT, acknowledgement=Acknowledgement(Span.parse("20d")))
"""Acknowledges what was said days ago: the moments of the histories lie days apart."""
BATCH = 20_000
NOW = MOMENTS[-4]


def some_registers(seed: int) -> Registers:
    said = Registers()
    for event in history(seed, seed % 7, ADDRESSES[:1]):
        said = registers.hear(
            said,
            event.kind,
            event.occurred_at,
            event.key or "hash",
            event.detail,
            topic=event.topic,
            mailing=event.mailing or "",
        )
    return said


def some_memory(seed: int) -> Memory:
    remembered = Memory()
    for event in history(seed, 1 + seed % 5, ADDRESSES[:1]):
        if KINDS[event.kind].about == "delivery":
            remembered = memory.remember(remembered, event.kind, event.occurred_at, event.detail)
    return remembered


def make(count: int) -> list[Account]:
    """Accounts with registers and deliveries put together by chance, and the rows they need."""
    chance = random.Random(count)
    mailings = [
        Mailing(models.Mailing.objects.create(name=name, purpose=purpose).pk, name, purpose)
        for name, purpose in MAILINGS.items()
    ]
    said = [some_registers(seed) for seed in range(2_000)]
    memories = [some_memory(seed) for seed in range(2_000)]
    made = []
    delivery = 0
    for number in range(1, count + 1):
        channel = "sms" if number % 5 == 0 else "email"
        account = Account(number, channel, f"{number}@example.com")
        account.registers = chance.choice(said)
        for mailing in chance.sample(mailings, chance.choice((0, 0, 1, 1, 2, 6))):
            delivery += 1
            row = Row(delivery, mailing, "")
            row.memory = chance.choice(memories)
            row.reports = chance.random() < 0.7
            account.rows[mailing.id, ""] = row
        if chance.random() < 0.1:
            delivery += 1
            row = account.rows[None, "key"] = Row(delivery, None, "key")
            row.memory = chance.choice(memories)
        made.append(account)
    return made


@pytest.mark.parametrize(
    ("policy", "standings"),
    [(DEFAULT, 60_000), (CAPPED, 20_000), (PATIENT, 20_000)],
    ids=["default", "capped", "patient"],
)
def test_sql_and_core_agree_on_a_hundred_thousand_standings(policy: Policy, standings: int) -> None:
    addresses = bulk.Table(models.Address, ("id", "channel", "value"))
    refusals: Counter[tuple[str, str]] = Counter()
    bars: set[str | None] = set()
    made = make(standings)
    for start in range(0, standings, BATCH):
        part = made[start : start + BATCH]
        with transaction.atomic(), connection.cursor() as cursor:
            addresses.insert(cursor, [(each.id, each.channel, each.value) for each in part])
            accounts.settle(cursor, part, policy, NOW)
            # Else PostgreSQL plans for the empty tables of the test before.
            cursor.execute("ANALYZE")
        expected = {each.id: standing_of(each, policy) for each in part}
        bars.update(each.bar for each in expected.values())
        for topic in (None, *TOPICS, "never heard of"):
            answers = asked(topic, start, start + BATCH)
            assert answers == {
                id_: [REASONS.index(reason) if reason else None for reason in said.values()]
                for id_, standing in expected.items()
                for said in (standing.topics.get(topic or "", standing.blocks),)
            }
            for answer in answers.values():
                refusals.update(
                    (purpose, REASONS[place])
                    for purpose, place in zip(PURPOSES, answer, strict=True)
                    if place is not None
                )
    assert len(refusals) > 30, "too little of what may refuse was met"
    assert ("sequence", "limit_reached") in refusals or policy is not CAPPED
    assert bars == {None, *get_args(acknowledging.Bar)}


def standing_of(account: Account, policy: Policy) -> Standing:
    deliveries = [
        Delivery(
            row.memory,
            row.mailing.purpose if row.mailing else "broadcast",
            row.reports,
            row.mailing.name if row.mailing else None,
        )
        for row in account.rows.values()
    ]
    return stand(account.registers, deliveries, policy, account.channel, NOW)


def asked(topic: str | None, above: int, until: int) -> dict[int, list[Any]]:
    """What the gate in SQL says of each address, for every purpose in turn."""
    columns = ", ".join(gate.refusal(purpose) for purpose in PURPOSES)
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT a.id, {columns} FROM ledger_address a {gate.on_topic()}"
            " WHERE a.id > %s AND a.id <= %s",
            [topic, above, until],
        )
        return {row[0]: list(row[1:]) for row in cursor.fetchall()}


def test_a_row_that_time_has_overtaken_is_stale() -> None:
    recording.record(history(5, 400, ADDRESSES), MOMENTS[9])
    soon = models.Address.objects.filter(due_at__isnull=False).order_by("due_at").first()
    assert soon is not None
    assert soon.due_at is not None
    assert not stale(soon.pk, soon.due_at - 1)
    assert stale(soon.pk, soon.due_at)


def test_a_row_that_another_policy_folded_is_stale() -> None:
    recording.record(history(5, 40, ADDRESSES), END)
    first = models.Address.objects.values_list("pk", flat=True)[0]
    assert not stale(first, END)
    assert stale(first, END, policy_files.load("demo").revision)


def stale(address: int, now: int, revision: int = DEFAULT.revision) -> bool:
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT count(*) FROM ledger_address a WHERE a.id = %s AND {gate.stale()}",
            [address, now, revision],
        )
        return bool(cursor.fetchone()[0])


def test_what_is_no_purpose_is_an_error() -> None:
    with pytest.raises(ValueError, match="'spam' is not a purpose"):
        gate.refusal("spam")
