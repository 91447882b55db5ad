"""An opt-out by SMS is acknowledged once: what is stored of it, and when it falls due."""

from __future__ import annotations

import random
from typing import Any

import pytest

from goodstanding.core import policy_files
from goodstanding.core.addresses import Address
from goodstanding.core.events import SECOND, Event
from goodstanding.core.gate import REASONS
from goodstanding.ledger import clock, models, rebuilding, recording
from tests.ledger import books

pytestmark = pytest.mark.django_db(transaction=True)

DEFAULT = policy_files.load("default")
START = 1_700_000_000_000_000
MINUTE = 60 * SECOND
ANA = Address("sms", "+34600000001")
BO = Address("sms", "+34600000002")
BY_MAIL = Address("email", "ana@example.com")


def event(kind: str, at: int, address: Address = ANA, **said: Any) -> Event:
    return Event(kind, START + at, address, **{"source": "api", **said})


def goodbye(kind: str, at: int, address: Address = ANA, mailing: str = "goodbye") -> Event:
    return event(kind, at, address, mailing=mailing, purpose="acknowledgement")


def hear(*events: Event, now: int) -> None:
    assert not recording.record(events, START + now).refused


def row(address: Address = ANA) -> models.Address:
    return models.Address.objects.get(channel=address.channel, value=address.value)


def refusal(address: Address = ANA) -> str | None:
    place = row(address).blocks_acknowledgement
    return None if place is None else REASONS[place]


def test_the_clock_ends_it_after_five_minutes() -> None:
    hear(event("replied", 0, detail={"text": "STOP"}), now=SECOND)
    assert refusal() is None
    assert row().due_at == START + 5 * MINUTE
    assert clock.tick(START + 5 * MINUTE - 1) == 0
    assert clock.tick(START + 5 * MINUTE) == 1
    assert refusal() == "opted_out"
    assert row().due_at is None


def test_one_that_left_ends_it_and_one_that_waits_may_leave() -> None:
    hear(event("opted_out", 0), goodbye("planned", 1), now=SECOND)
    assert refusal() is None
    hear(goodbye("sent", SECOND), now=2 * SECOND)
    assert refusal() == "opted_out"
    assert row().due_at != START + 5 * MINUTE
    hear(event("opted_in", MINUTE), event("opted_out", 2 * MINUTE), now=2 * MINUTE)
    assert refusal() is None


def test_on_the_carriers_word_there_is_none() -> None:
    blocked = {"category": "carrier_opted_out"}
    hear(event("bounced", 0, mailing="spring", detail=blocked), now=SECOND)
    assert (row().status, refusal()) == ("opted_out", "opted_out")
    hear(event("opted_out", SECOND), now=SECOND)
    assert refusal() == "opted_out"
    hear(event("opted_in", MINUTE), event("opted_out", 2 * MINUTE), now=2 * MINUTE)
    assert refusal() is None


def test_by_email_it_is_refused_for_good() -> None:
    hear(event("opted_out", 0, BY_MAIL), now=SECOND)
    assert (refusal(BY_MAIL), row(BY_MAIL).due_at) == ("not_requested", None)


@pytest.mark.parametrize("seed", range(6))
def test_order_batches_and_repeats_do_not_matter(seed: int) -> None:
    chance = random.Random(seed)
    kinds = ("opted_in", "opted_out", "opted_out", "admin_opted_out", "admin_opted_in")
    events = []
    for number in range(240):
        address = Address("sms", f"+346000000{chance.randrange(10, 40)}")
        at = chance.randrange(12) * MINUTE
        if chance.random() < 0.3:
            kind = chance.choice(("planned", "sent", "delivered"))
            events.append(goodbye(kind, at, address, f"goodbye{number % 5}"))
        elif chance.random() < 0.15:
            detail = {"category": "carrier_opted_out"}
            events.append(event("bounced", at, address, key=f"b{number}", detail=detail))
        else:
            topic = chance.choice((None, None, "news"))
            said = {"key": f"k{number}", "topic": topic}
            events.append(event(chance.choice(kinds), at, address, **said))
    now = START + 12 * MINUTE
    books.in_batches(events, chance, now)
    books.settle(now)
    at_once = books.book()
    assert rebuilding.rebuild(now, verify=True) == []
    of_core = books.of_core(events, DEFAULT, now)
    assert books.differences(books.as_core_says(at_once), of_core) == []
    found = {refusal(Address("sms", value)) for value in _numbers()}
    assert {None, "opted_out", "not_requested"} <= found
    books.empty()
    books.in_batches(events, chance, now)
    books.settle(now)
    assert books.differences(at_once, books.book()) == []


def _numbers() -> list[str]:
    return list(models.Address.objects.values_list("value", flat=True))
