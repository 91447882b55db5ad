"""Recording: what is new is kept, what was heard before is harmless, what contradicts is shown."""

from __future__ import annotations

from typing import Any

import pytest

from goodstanding.core.addresses import Address
from goodstanding.core.events import Event
from goodstanding.ledger import models, rebuilding, recording
from goodstanding.ledger.recording import Recorded
from tests.ledger import books

pytestmark = pytest.mark.django_db(transaction=True)

NOW = 1_700_000_000_000_000
MINUTE = 60_000_000
ANA = Address("email", "ana@example.com")
BO = Address("email", "bo@example.net")


def event(kind: str, at: int = NOW, address: Address = ANA, **said: Any) -> Event:
    return Event(kind, at, address, **{"source": "api", **said})


def record(*events: Event, now: int = NOW) -> Recorded:
    return recording.record(events, now)


def why(recorded: Recorded) -> str:
    [refused] = recorded.refused
    return refused.why


def test_hearing_it_twice_changes_nothing() -> None:
    opened = event("opened", mailing="spring", key="open-1")
    assert record(opened).stored == 1
    before = books.book()

    again = record(opened, opened)
    assert (again.stored, again.repeated, again.refused) == (0, 2, [])
    assert books.differences(before, books.book()) == []


def test_opens_are_counted_by_key() -> None:
    record(*(event("opened", NOW - at, mailing="spring", key=f"open-{at}") for at in (3, 1, 2)))
    record(event("opened", mailing="spring", key="open-9"))
    record(event("opened", NOW - 1, mailing="spring", key="open-1"))
    assert models.Delivery.objects.get().opens == 4
    assert models.MailingTally.objects.get(name="opens").count == 4


def test_without_a_key_what_says_the_same_is_the_same() -> None:
    clicked = event("clicked", mailing="spring", detail={"url": "https://example.com/"})
    assert record(clicked, clicked).repeated == 1
    other = event("clicked", mailing="spring", detail={"url": "https://example.com/other"})
    assert record(other).stored == 1
    assert models.Delivery.objects.get().clicks == 2


def test_a_key_is_an_address_own() -> None:
    record(event("opted_in", key="1"), event("opted_in", address=BO, key="1"))
    assert models.Event.objects.count() == 2


CONTRADICTIONS = {
    "kind": event("clicked", mailing="spring", key="1"),
    "time": event("opened", NOW - 1, mailing="spring", key="1"),
    "source": event("opened", mailing="spring", key="1", source="link"),
    "topic": event("opened", mailing="spring", key="1", topic="news"),
    "detail": event("opened", mailing="spring", key="1", detail={"agent": "a phone"}),
    "mailing": event("opened", mailing="summer", key="1"),
    "no mailing": event("opened", key="1"),
    "recipient": event("opened", mailing="spring", key="1", recipient="contact-2"),
}


@pytest.mark.parametrize("what", CONTRADICTIONS)
@pytest.mark.parametrize("together", [True, False], ids=["in one batch", "later"])
def test_the_same_key_with_other_content_is_refused_and_kept(what: str, together: bool) -> None:
    first = event("opened", mailing="spring", key="1")
    other = CONTRADICTIONS[what]
    if together:
        recorded = record(first, other)
        assert recorded.stored == 1
    else:
        record(first)
        recorded = record(other)
        assert recorded.stored == 0
    assert why(recorded) == "the same key was heard before with other content"
    kept = models.RefusedEvent.objects.get()
    assert (kept.key, kept.kind, kept.address.value) == ("1", other.kind, ANA.value)
    assert models.Delivery.objects.get(mailing__name="spring").opens == 1
    assert rebuilding.rebuild(NOW, verify=True) == []


def test_another_reading_of_the_same_words_is_no_contradiction() -> None:
    text = {"text": "552 5.2.2 mailbox full"}
    bounced = event("bounced", mailing="m", key="1", detail={**text, "category": "mailbox_full"})
    reread = event("bounced", mailing="m", key="1", detail={**text, "category": "undetermined"})
    forwarded = {**text, "category": "forwarding_failed", "read_as": {"category": "mailbox_full"}}
    elsewhere = event("bounced", mailing="m", key="1", detail=forwarded)
    record(bounced)
    assert [record(each).repeated for each in (reread, elsewhere)] == [1, 1]
    assert models.Delivery.objects.get().category == "mailbox_full"


def test_two_readings_of_no_words_contradict_each_other() -> None:
    record(event("bounced", mailing="m", key="1", detail={"category": "mailbox_full"}))
    other = event("bounced", mailing="m", key="1", detail={"category": "mailbox_unknown"})
    assert "other content" in why(record(other))


def test_a_word_about_a_mailing_that_keeps_no_delivery_remembers_it() -> None:
    back = event("complaint_withdrawn", mailing="spring", key="1")
    record(event("complained", NOW - 5, mailing="spring"), back)
    assert record(back).repeated == 1
    assert "other content" in why(record(event("complaint_withdrawn", mailing="x", key="1")))
    assert models.Address.objects.get().status == "non_marketable"
    assert rebuilding.rebuild(NOW, verify=True) == []


def test_what_a_webhook_calls_mailing_is_not_ours() -> None:
    record(event("complained", NOW - 5, mailing="spring"))
    record(event("complaint_withdrawn", detail={"mailing": "spring"}))
    assert models.Address.objects.get().status == "complained"
    assert rebuilding.rebuild(NOW, verify=True) == []


def test_a_time_ten_minutes_ahead_is_believed() -> None:
    record(event("opted_in", NOW + 10 * MINUTE))
    assert models.Event.objects.get().occurred_at == NOW + 10 * MINUTE


@pytest.mark.parametrize("key", ["1", ""], ids=["with a key", "without"])
def test_a_time_further_ahead_is_replaced_and_the_claim_kept(key: str) -> None:
    claimed = NOW + 10 * MINUTE + 1
    ahead = event("opted_in", claimed, key=key, detail={"how": "form"})
    record(ahead)
    stored = models.Event.objects.get()
    assert stored.occurred_at == NOW
    assert stored.detail == f'{{"claimed_at":{claimed},"how":"form"}}'
    for later in (NOW + 1, claimed, claimed + MINUTE):
        assert record(ahead, now=later).repeated == 1
    assert models.Event.objects.get().occurred_at == NOW


UNFIT: dict[str, tuple[Event, str]] = {
    "kind": (event("exploded"), "'exploded' is not a kind of event"),
    "purpose": (event("sent", mailing="m", purpose="spam"), "'spam' is not a purpose"),
    "channel": (event("sent", address=Address("fax", "1")), "'fax' is not a channel"),  # type: ignore[arg-type]
    "NUL in key": (event("opted_in", key="a\0b"), "key is"),
    "NUL in mailing": (event("sent", mailing="a\0b"), "mailing is"),
    "NUL in recipient": (event("sent", mailing="m", recipient="\0"), "recipient is"),
    "NUL in topic": (event("opted_in", topic="\0"), "topic is"),
    "NUL in address": (event("opted_in", address=Address("email", "a\0@example.com")), "address"),
    "NUL in source": (event("opted_in", source="\0"), "source is"),
    "long key": (event("opted_in", key="k" * 201), "key is longer than 200"),
    "long topic": (event("opted_in", topic="t" * 101), "topic is longer than 100"),
    "half a character": (event("opted_in", key="\ud800"), "key is"),
    "half a character in detail": (event("opted_in", detail={"a": "\ud800"}), "surrogates"),
    "no JSON": (event("opted_in", detail={"a": object()}), "object"),
    "before time": (event("opted_in", -1), "occurred_at is out of range"),
    "after time": (event("opted_in", 1 << 62), "occurred_at is out of range"),
    "category": (
        event("bounced", mailing="m", detail={"category": "gone"}),
        "'gone' is not a category of what was bounced",
    ),
    "disposition": (event("bounced", mailing="m", detail={"disposition": []}), "disposition"),
    "skip": (event("skipped", mailing="m", detail={"reason": "tired"}), "'tired' is not a reason"),
    "reserved": (event("opted_in", detail={"@mailing": "m"}), "may not hold"),
    "delivery": (event("opened", delivery=123_456), "not one to this address"),
}


@pytest.mark.parametrize("what", UNFIT)
def test_what_cannot_be_understood_is_refused_and_the_rest_is_kept(what: str) -> None:
    unfit, words = UNFIT[what]
    recorded = record(event("opted_in", address=BO), unfit, event("opened", address=BO))
    assert words in why(recorded)
    assert recorded.stored == 2
    assert models.Event.objects.count() == 2


def test_odd_details_are_stored_as_they_are() -> None:
    long = "\0" + "x" * 100_000
    record(
        event("stopped", mailing="m", detail={"reason": long}),
        event("opted_in", detail={"how": long}),
        event("opted_in", NOW - 1, detail={"how": ["a", {"list": 1}]}, topic="news"),
        event("skipped", mailing="n", detail={"reason": ""}),
        event("bounced", mailing="n", recipient="2", detail={"category": None, "text": long}),
    )
    assert models.Event.objects.count() == 5
    assert models.Delivery.objects.get(mailing__name="m").response == "stopped"
    assert rebuilding.rebuild(NOW, verify=True) == []


def test_a_delivery_named_by_its_id_is_found() -> None:
    record(event("sent", NOW - 5, mailing="spring"))
    delivery = models.Delivery.objects.get()
    record(event("clicked", delivery=delivery.pk), event("complained", delivery=delivery.pk))
    delivery.refresh_from_db()
    assert (delivery.response, delivery.clicks) == ("complained", 1)
    assert record(event("clicked", address=BO, delivery=delivery.pk)).stored == 0
    back = event("complaint_withdrawn", NOW + 1, delivery=delivery.pk)
    record(back)
    assert models.Address.objects.get(value=ANA.value).status == "non_marketable"


def test_a_mailing_known_late_to_ask_for_confirmation_counts_as_asked() -> None:
    people = [Address("email", f"{number}@example.com") for number in range(3)]
    asked = [
        event("sent", NOW - at, each, mailing=f"ask-{at}") for at in (1, 2, 3) for each in people
    ]
    wanted = [event("opted_in", NOW - 9, each, detail={"how": "form"}) for each in people]
    record(*asked, *wanted)
    assert set(models.Address.objects.values_list("blocks_confirmation", flat=True)) == {None}

    last = [
        event("queued", NOW - at, people[0], mailing=f"ask-{at}", purpose="confirmation")
        for at in (1, 2, 3)
    ]
    record(*last)
    books.settle(NOW)
    late = books.book()
    assert None not in set(models.Address.objects.values_list("blocks_confirmation", flat=True))
    assert rebuilding.rebuild(NOW, verify=True) == []
    books.empty()
    record(*last, *wanted, *asked)
    books.settle(NOW)
    assert books.differences(late, books.book()) == []


def test_a_change_is_written_for_whoever_wants_to_react() -> None:
    record(event("opted_in", NOW - 9), event("sent", NOW - 5, mailing="spring"))
    record(event("complained", mailing="spring"))
    became = models.Change.objects.filter(event=None).order_by("pk")
    changes = became.values_list("delivery_id", "old", "new")
    delivery = models.Delivery.objects.get().pk
    assert sorted(changes, key=str) == sorted(
        [
            (None, "", "opted_in"),
            (delivery, "", "sent"),
            (None, "opted_in", "complained"),
            (delivery, "sent", "complained"),
        ],
        key=str,
    )
