"""Singles: a receipt, a request to confirm, a one-off; once for each key."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from goodstanding.contacts import correcting
from goodstanding.core.addresses import Address
from goodstanding.ledger import rebuilding
from goodstanding.ledger.models import Delivery, Event
from goodstanding.mailings import contents, outbox, singles
from goodstanding.mailings.contents import Draft
from goodstanding.mailings.models import Lot, Message, Outbox, Worker
from goodstanding.mailings.outbox import Outcome
from goodstanding.mailings.singles import Asked, RefusedMessage
from tests.mailings.audience import (
    NOW,
    address,
    at_once,
    claimed,
    contact,
    counted,
    event_of,
    kinds,
    mailing,
    told,
)

pytestmark = pytest.mark.django_db(transaction=True)


CONFIRM = "{{ confirm_url }} {{ postal_address }}"


def receipt(name: str = "receipt", **said: object) -> int:
    draft = Draft(
        name=name,
        subject="Your order {{ order }}",
        text="Thank you for {{ order }}.",
        purpose="transactional",
        **said,  # type: ignore[arg-type]
    )
    return contents.create(draft, NOW)


def send(to: str = "ann", key: str = "k1", **fields: str) -> Asked:
    return singles.send("receipt", address(to), key, {"order": "17", **fields}, NOW)


@pytest.fixture
def me() -> int:
    return int(Worker.objects.create(started_at=NOW, host="here", process=1).pk)


def test_a_receipt_goes_to_somebody_never_heard_of(me: int) -> None:
    made = receipt()
    contact("bob", first_name="Bob")
    assert send() == Asked(Delivery.objects.get().pk)
    [claim] = claimed(me, 9, NOW)
    assert claim.address == address("ann")
    assert contents.merge_fields([claim])[claim.delivery] == {
        "order": "17",
        "email": "ann@example.com",
    }
    outbox.commit([claim], [], NOW)
    outbox.settle([Outcome(claim, (event_of(claim, "sent", NOW),))], NOW)
    assert counted(made) == {"sent": 1}
    assert kinds("ann") == ["planned", "sent"]
    assert rebuilding.rebuild(NOW, verify=True) == []


def test_asked_for_twice_under_one_key_it_goes_once() -> None:
    receipt()
    first = send()
    assert send() == Asked(first.delivery, repeated=True)
    assert Outbox.objects.count() == Message.objects.count() == 1
    second = send(key="k2")
    assert second.delivery != first.delivery, "another order of the same person"
    assert Outbox.objects.count() == 2


def test_what_waits_for_an_address_that_was_corrected_is_skipped(me: int) -> None:
    """Also where no contact holds it; what is asked for after that is meant for it."""
    made = receipt()
    send()
    ann, new = address("ann"), address("anna")
    correcting.correct(ann, new, reason="misspelt", by="eve", now=NOW + 1)
    assert claimed(me, 9, NOW + 2) == []
    assert counted(made) == {"skipped:invalid_address": 1}
    singles.send("receipt", ann, "k2", {"order": "18"}, NOW + 3)
    assert [claim.address for claim in claimed(me, 9, NOW + 3)] == [ann]


def test_a_key_means_one_thing() -> None:
    receipt()
    send()
    with pytest.raises(RefusedMessage, match="'k1' was used before"):
        send("bob")
    with pytest.raises(RefusedMessage, match="'k1' was used before"):
        send(order="18")
    receipt("other")
    assert not singles.send("other", address("ann"), "k1", {"order": "1"}, NOW).repeated


def test_asked_for_by_many_at_once_it_goes_once() -> None:
    receipt()
    got = at_once(*[send] * 6)
    assert Counter(type(each).__name__ for each in got) == {"Asked": 6}, got
    assert len({each.delivery for each in got}) == 1
    assert sum(not each.repeated for each in got) == 1
    assert Outbox.objects.count() == 1
    assert Event.objects.filter(kind="planned").count() == 1


def test_what_the_gate_refuses_is_told_with_its_reason_and_kept() -> None:
    made = receipt()
    told("blocked", "ann", source="operator", detail={"reason": "left", "by": "bob"})
    asked = send()
    assert asked.refused == "blocked"
    assert send() == Asked(asked.delivery, repeated=True, refused="blocked")
    assert counted(made) == {"skipped:blocked": 1}
    assert Outbox.objects.count() == 0
    assert rebuilding.rebuild(NOW, verify=True) == []


def test_who_opted_out_still_gets_a_receipt_but_no_request_to_confirm() -> None:
    receipt()
    told("opted_out", "ann")
    assert send().refused is None
    draft = Draft(
        name="please",
        subject="?",
        text="{{ confirm_url }} {{ postal_address }}",
        purpose="confirmation",
    )
    contents.create(draft, NOW)
    asked = singles.send("please", address("ann"), "k", {}, NOW)
    assert asked.refused == "not_requested"


def test_of_ten_requests_to_confirm_at_once_as_many_go_as_are_allowed() -> None:
    draft = Draft(
        name="please",
        subject="?",
        text="{{ confirm_url }} {{ postal_address }}",
        purpose="confirmation",
    )
    made = contents.create(draft, NOW)
    told("opted_in", "ann", detail={"how": "form"})

    def ask(key: str) -> Asked:
        return singles.send("please", address("ann"), key, {}, NOW)

    got = at_once(*(lambda n=n: ask(f"k{n}") for n in range(10)))
    assert Counter(each.refused for each in got) == {None: 3, "limit_reached": 7}, got
    assert Counter(Delivery.objects.filter(mailing=made).values_list("response", flat=True)) == {
        "planned": 3,
        "skipped:limit_reached": 7,
    }


def test_a_one_off_goes_to_one() -> None:
    draft = Draft(name="letter", subject="Hello", text="Yours", purpose="one_off", author="Bob")
    contents.create(draft, NOW)
    singles.send("letter", address("ann"), "a", {}, NOW)
    with pytest.raises(RefusedMessage, match="one recipient"):
        singles.send("letter", address("carl"), "b", {}, NOW)


def test_the_fields_that_came_with_it_outrank_the_contacts(me: int) -> None:
    contents.create(
        Draft(
            name="receipt", subject="{{ first_name }}", text="{{ order }}", purpose="transactional"
        ),
        NOW,
    )
    contact("ann", first_name="Ann", last_name="Example")
    send(first_name="Annie")
    [claim] = claimed(me, 9, NOW)
    merged = contents.merge_fields([claim])[claim.delivery]
    assert (merged["first_name"], merged["last_name"]) == ("Annie", "Example")


def test_a_mail_that_could_not_be_made_is_refused_before_anything_is_kept() -> None:
    contents.create(
        Draft(name="receipt", subject="{{ order }}", text="x", purpose="transactional"), NOW
    )
    with pytest.raises(RefusedMessage, match="subject would be empty"):
        send(order=" ")
    with pytest.raises(RefusedMessage, match="needs the field 'order'"):
        singles.send("receipt", address("ann"), "k", {"first_name": "Ann"}, NOW)
    with pytest.raises(RefusedMessage, match="larger than"):
        send(order="x" * 300_000)
    for key in ("", "x" * 151, "a\nb"):
        with pytest.raises(RefusedMessage, match="idempotency key"):
            send(key=key)
    assert Message.objects.count() == Delivery.objects.count() == Event.objects.count() == 0


def test_a_broadcast_is_not_sent_one_by_one() -> None:
    mailing("news")
    with pytest.raises(RefusedMessage, match="is a broadcast"):
        singles.send("news", address("ann"), "k", {}, NOW)
    with pytest.raises(RefusedMessage, match="no mailing 'nothing'"):
        singles.send("nothing", address("ann"), "k", {}, NOW)


def test_it_overtakes_broadcasts() -> None:
    receipt()
    send()
    assert Lot.objects.get().priority == 0


def test_it_is_kept_as_it_was_asked_for() -> None:
    receipt()
    singles.send("receipt", Address("email", "ann@example.com"), "k", {"order": "Ünï“"}, NOW)
    assert json.loads(Message.objects.get().fields) == {"order": "Ünï“"}
