"""Everything can be made again from the events, and what differs from them is found."""

from __future__ import annotations

import random

import pytest
from django.db import connection

from goodstanding.core.addresses import Address
from goodstanding.ledger.rebuilding import rebuild
from tests.core.histories import END, MOMENTS, history
from tests.ledger import books

pytestmark = pytest.mark.django_db(transaction=True)

PEOPLE = tuple(Address("email", f"person-{number}@example.com") for number in range(12))
NOW = MOMENTS[-5]


def fill(seed: int) -> None:
    books.in_batches(history(seed, 400, PEOPLE), random.Random(seed), END)
    books.settle(END)


@pytest.mark.parametrize("seed", range(5))
def test_rebuilding_gives_the_rows_that_are_there(seed: int) -> None:
    fill(seed)
    before = books.book()
    assert rebuild(END, verify=True) == []
    assert rebuild(END) == []
    assert books.differences(before, books.book()) == []


def test_time_alone_is_no_difference() -> None:
    books.in_batches(history(9, 400, PEOPLE), random.Random(9), MOMENTS[6])
    assert rebuild(MOMENTS[6], verify=True) == []
    assert rebuild(MOMENTS[6] + 1, verify=True) == []
    assert rebuild(END, verify=True) == []


TAMPERED = {
    "status": "UPDATE ledger_address SET status = 'confirmed', family = 'good'"
    " WHERE id = (SELECT min(id) FROM ledger_address WHERE status <> 'confirmed')",
    "gate": "UPDATE ledger_address SET blocks_broadcast = NULL"
    " WHERE id = (SELECT min(id) FROM ledger_address WHERE blocks_broadcast IS NOT NULL)",
    "registers": "UPDATE ledger_address SET registers = '{}'"
    " WHERE id = (SELECT min(id) FROM ledger_address WHERE registers <> '{}')",
    "due": "UPDATE ledger_address SET due_at = 9000000000000000"
    " WHERE id = (SELECT min(id) FROM ledger_address)",
    "response": "UPDATE ledger_delivery SET response = 'replied'"
    " WHERE id = (SELECT min(id) FROM ledger_delivery WHERE response <> 'replied')",
    "memory": "UPDATE ledger_delivery SET hard_bounced_first = 5, hard_bounced_last = 5"
    " WHERE id = (SELECT min(id) FROM ledger_delivery)",
    "clicks": "UPDATE ledger_delivery SET clicks = clicks + 1"
    " WHERE id = (SELECT min(id) FROM ledger_delivery WHERE mailing_id IS NOT NULL)",
    "topic": "UPDATE ledger_topicstanding SET blocks_one_off = 3 WHERE topic = 'news'"
    " AND address_id = (SELECT min(address_id) FROM ledger_topicstanding WHERE topic = 'news'"
    " AND (blocks_one_off IS NULL OR blocks_one_off <> 3))",
    "no topic": "DELETE FROM ledger_topicstanding",
    "another topic": "INSERT INTO ledger_topicstanding (address_id, topic)"
    " SELECT min(id), 'made up' FROM ledger_address",
    "mailing's tally": "UPDATE ledger_mailingtally SET count = count + 1 WHERE name = 'opens'",
    "negative tally": "INSERT INTO ledger_mailingtally (mailing_id, name, count)"
    " SELECT min(id), 'made up', -3 FROM ledger_mailing",
    "statuses' tally": "UPDATE ledger_statustally SET count = 0 WHERE status = 'complained'",
    "mailing's start": "UPDATE ledger_mailing SET started_at = 5"
    " WHERE id = (SELECT min(id) FROM ledger_mailing)",
    "an event": "DELETE FROM ledger_event WHERE kind = 'opened' AND address_id ="
    " (SELECT min(address_id) FROM ledger_event WHERE kind = 'opened')",
}


@pytest.mark.parametrize("what", TAMPERED)
def test_what_was_tampered_with_is_found_and_repaired(what: str) -> None:
    fill(1)
    right = books.book()
    with connection.cursor() as cursor:
        cursor.execute(TAMPERED[what])
        assert cursor.rowcount > 0, "nothing was tampered with"
    wrong = books.book()

    assert rebuild(END, verify=True), "not found"
    assert books.differences(wrong, books.book()) == [], "verifying changes nothing"
    assert rebuild(END)
    assert rebuild(END, verify=True) == []
    if what != "an event":
        assert books.differences(right, books.book()) == []


def test_progress_counts_addresses() -> None:
    fill(2)
    seen: list[int] = []
    rebuild(END, verify=True, progress=seen.append)
    assert sum(seen) == len(PEOPLE)
