"""What an operator may do, and what Keap's rule keeps from them."""

import json

import pytest

from goodstanding.core.events import Event
from goodstanding.ledger import models
from goodstanding.ledger.acts import NotAllowed, act
from tests.answers.heard import DAY, NOW, START, address, event, hear

pytestmark = pytest.mark.django_db(transaction=True)


def do(name: str, at: int | None = None) -> str:
    return act(name, address(), reason="because", by="bob", now=NOW, at=at).status


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("opt-in", "opted_in"),
        ("opt-out", "opted_out_by_admin"),
        ("block", "blocked"),
        ("lock", "locked"),
        ("invalid", "invalid"),
    ],
)
def test_each_act_is_an_event_with_who_and_why(name: str, status: str) -> None:
    assert do(name) == status
    stored = models.Event.objects.get()
    assert stored.source == "operator"
    assert json.loads(stored.detail) == {"reason": "because", "by": "bob"}
    assert stored.occurred_at == NOW


def test_what_is_lifted_is_lifted() -> None:
    hear(event("opted_in", 0))
    do("block", START + DAY)
    assert do("unblock") == "opted_in"
    do("lock", START + DAY)
    assert do("unlock") == "opted_in"


@pytest.mark.parametrize(
    ("heard", "why"),
    [
        ([event("opted_out", 1)], "only that person can undo it"),
        ([event("list_unsubscribed", 1)], "only that person can undo it"),
        ([event("opted_out", 1), event("admin_opted_out", 2)], "only that person can undo it"),
        ([event("complained", 1)], "the person complained"),
        ([event("spam_reported", 1)], "reported a message as spam"),
        ([event("locked", 1)], "it is locked"),
        ([event("opted_in", 1)], "opted in already"),
    ],
)
def test_an_opt_in_that_is_not_the_operators_to_give(heard: list[Event], why: str) -> None:
    hear(*heard)
    before = models.Event.objects.count()
    with pytest.raises(NotAllowed, match=why):
        do("opt-in")
    assert models.Event.objects.count() == before


def test_an_opt_in_that_is() -> None:
    hear(event("admin_opted_out", 1))
    assert do("opt-in") == "opted_in"


def test_an_opt_in_goes_by_what_held_when_it_was_given() -> None:
    hear(event("opted_out", 10))
    assert do("opt-in", START + 5 * DAY) == "opted_out"
    with pytest.raises(NotAllowed):
        do("opt-in", START + 11 * DAY)


def test_no_act_without_a_reason_or_ahead_of_its_time() -> None:
    with pytest.raises(ValueError, match="reason is needed"):
        act("block", address(), reason=" ", by="bob", now=NOW)
    with pytest.raises(ValueError, match="has not come"):
        do("block", NOW + 1)
