"""Replies by SMS that are keywords: the person's word is stored beside them, whoever heard them."""

from __future__ import annotations

import json
import random
from typing import Any

import msgspec
import pytest
from django.db import connection

from goodstanding.core import policy_files
from goodstanding.core.addresses import Address
from goodstanding.core.events import Event
from goodstanding.core.gate import ORDER, PURPOSES
from goodstanding.ledger import accounts, models, rebuilding, recording
from goodstanding.ledger.recording import Recorded
from tests.ledger import books

pytestmark = pytest.mark.django_db(transaction=True)

NOW = 1_700_000_000_000_000
MINUTE = 60_000_000
ANA = Address("sms", "+34600000001")
BO = Address("sms", "+34600000002")
BY_MAIL = Address("email", "ana@example.com")


def event(kind: str, at: int = NOW, address: Address = ANA, **said: Any) -> Event:
    return Event(kind, at, address, **{"source": "api", **said})


def reply(text: str, at: int = NOW, address: Address = ANA, **said: Any) -> Event:
    return event("replied", at, address, **{"mailing": "spring", "detail": {"text": text}, **said})


def record(*events: Event, now: int = NOW) -> Recorded:
    return recording.record(events, now)


def status(address: Address = ANA) -> str:
    return models.Address.objects.get(channel=address.channel, value=address.value).status


def kinds(address: Address = ANA) -> list[str]:
    found = models.Event.objects.filter(address__value=address.value)
    return list(found.order_by("occurred_at", "kind").values_list("kind", flat=True))


def test_a_stop_is_stored_as_it_was_and_as_the_persons_word() -> None:
    said = record(
        event("imported", NOW - MINUTE, detail={"permission": True}),
        event("sent", NOW - MINUTE, mailing="spring"),
        reply(" Stop!! ", key="r1", source="webhook:sms"),
    )
    assert (said.stored, said.words, said.repeated, said.refused) == (3, 1, 0, [])
    heard = models.Event.objects.get(kind="replied")
    word = models.Event.objects.get(kind="opted_out")
    assert json.loads(heard.detail) == {"text": " Stop!! "}
    detail = json.loads(word.detail)
    assert (detail["text"], detail["how"], detail["reply"]) == ("Stop!!", "keyword", "r1")
    assert (word.occurred_at, word.source, word.topic) == (NOW, "webhook:sms", None)
    assert word.delivery_id == heard.delivery_id
    assert status() == "opted_out"
    assert models.Delivery.objects.get().response == "unsubscribed"
    assert models.MailingTally.objects.get(name="unsubscribed").count == 1


def test_every_purpose_is_refused_after_it_save_its_acknowledgement() -> None:
    record(event("opted_in", NOW - MINUTE), reply("STOP"))
    row = models.Address.objects.get()
    refused = {each for each in PURPOSES if getattr(row, f"blocks_{each}") == ORDER["opted_out"]}
    assert refused == {*PURPOSES} - {"acknowledgement"}
    assert row.blocks_acknowledgement is None


def test_the_mailing_s_topic_is_not_all_that_is_left() -> None:
    record(event("opted_in", NOW - MINUTE), reply("STOP", topic="offers"))
    assert models.Event.objects.get(kind="opted_out").topic is None
    assert status() == "opted_out"


def test_by_start_the_person_comes_back_and_the_delivery_stays() -> None:
    said = record(
        event("sent", NOW - 3 * MINUTE, mailing="spring"),
        reply("STOP", NOW - 2 * MINUTE),
        reply("START", NOW - MINUTE),
    )
    assert said.words == 2
    assert status() == "opted_in"
    assert models.Delivery.objects.get().response == "unsubscribed"
    record(reply("baja", NOW))
    assert status() == "opted_out"


def test_heard_twice_it_is_one_word() -> None:
    given = reply("STOP", key="r1"), reply("START", NOW + MINUTE)
    record(*given, *given, now=NOW + MINUTE)
    before = books.book()
    for now in (NOW + MINUTE, NOW + 10 * MINUTE):
        again = record(*given, *given, now=now)
        assert (again.stored, again.words, again.repeated, again.refused) == (0, 0, 4, [])
    assert books.differences(before, books.book()) == []
    assert kinds() == ["opted_out", "replied", "opted_in", "replied"]


@pytest.mark.parametrize("key", ["", "r1"])
def test_a_reply_from_the_future_is_heard_twice_too(key: str) -> None:
    early = reply("STOP", NOW + 60 * MINUTE, key=key)
    record(early)
    assert record(early, now=NOW + 5 * MINUTE).refused == []
    assert set(models.Event.objects.values_list("occurred_at", flat=True)) == {NOW}
    assert kinds() == ["opted_out", "replied"]


def test_what_was_heard_before_it_was_read_is_read_when_it_is_heard_again() -> None:
    given = reply("STOP", key="r1")
    record(given)
    models.Event.objects.filter(kind="opted_out").delete()
    rebuilding.rebuild(NOW)
    assert status() == "non_marketable"
    again = record(given)
    assert (again.repeated, again.words) == (1, 1)
    assert status() == "opted_out"


@pytest.mark.parametrize("together", [True, False])
def test_a_reply_that_is_refused_says_nothing(together: bool) -> None:
    first, second = reply("see you", key="r1"), reply("START", key="r1")
    if together:
        said = record(first, second)
    else:
        record(first)
        said = record(second)
    assert [refused.event for refused in said.refused] == [second]
    assert kinds() == ["replied"]
    assert models.RefusedEvent.objects.get().kind == "replied"
    said = record(reply("START", key="r2", mailing=None, delivery=10**9))
    assert len(said.refused) == 1
    assert kinds() == ["replied"]


def test_of_a_delivery_named_by_its_id() -> None:
    record(event("sent", NOW - MINUTE, mailing="spring"))
    delivery = models.Delivery.objects.get().pk
    given = reply("STOP", mailing=None, delivery=delivery)
    assert record(given).words == 1
    assert models.Delivery.objects.get().response == "unsubscribed"
    assert record(given).repeated == 1


def test_a_stop_to_no_mailing_is_a_word_on_everything() -> None:
    record(reply("STOP", mailing=None))
    assert status() == "opted_out"
    assert models.Delivery.objects.get().response == "replied"


@pytest.mark.parametrize("detail", [{}, {"text": None}, {"text": 7}, {"text": "HELP"}])
def test_other_replies_are_only_replies(detail: dict[str, Any]) -> None:
    assert record(reply("", detail=detail)).words == 0
    assert kinds() == ["replied"]


def test_by_email_nothing_is_read_so() -> None:
    record(
        event("opted_in", NOW - MINUTE, BY_MAIL),
        reply("STOP", NOW, BY_MAIL),
        reply("unsubscribe", NOW + 1, BY_MAIL),
    )
    assert kinds(BY_MAIL) == ["opted_in", "replied", "replied"]
    assert status(BY_MAIL) == "opted_in"


def test_other_numbers_are_not_touched() -> None:
    record(event("opted_in", NOW - MINUTE, BO), reply("STOP"))
    assert (status(ANA), status(BO)) == ("opted_out", "opted_in")


TEXTS = ("STOP", "start", "HELP", "see you", "Alta", "退订")


@pytest.mark.parametrize("seed", range(4))
def test_order_batches_and_repeats_do_not_matter(seed: int) -> None:
    chance = random.Random(seed)
    events = [
        reply(
            chance.choice(TEXTS),
            NOW + chance.randrange(12) * MINUTE,
            chance.choice((ANA, BO, BY_MAIL)),
            key=f"r{number}",
            mailing=chance.choice((None, "spring", "summer")),
        )
        for number in range(60)
    ]
    events += [event("opted_in", NOW, each) for each in (ANA, BO, BY_MAIL)]
    now = NOW + 20 * MINUTE
    record(*events, now=now)
    books.settle(now)
    at_once = books.book()
    assert rebuilding.rebuild(now, verify=True) == []
    beside = [each for each in _stored() if each.kind in ("opted_in", "opted_out")]
    assert len(beside) > 20
    assert (
        books.differences(
            books.as_core_says(at_once), books.of_core(_stored(), policy_files.load("default"), now)
        )
        == []
    )
    books.empty()
    books.in_batches(events, chance, now)
    books.settle(now)
    assert books.differences(at_once, books.book()) == []


def _stored() -> list[Event]:
    """The events as they were stored, the words among them."""
    ids = models.Address.objects.values_list("pk", flat=True)
    with connection.cursor() as cursor:
        loaded = accounts.load(cursor, ids)
        return [
            msgspec.structs.replace(event, key=key)
            for account in loaded.values()
            for key, event in rebuilding.history(account, cursor)
        ]
