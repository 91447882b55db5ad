"""The outbox: claimed, fenced, recorded; whatever comes between, nobody is sent a mail twice."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator, Sequence

import pytest
from django.db import connection, transaction

from goodstanding.contacts import correcting
from goodstanding.core.events import SECOND, Event
from goodstanding.ledger import clock, rebuilding
from goodstanding.ledger.models import Address, RefusedEvent
from goodstanding.ledger.policy import active_policy
from goodstanding.ledger.recording import record
from goodstanding.mailings import checking, outbox, planning
from goodstanding.mailings.models import Outbox, State, Worker
from goodstanding.mailings.outbox import Claim, Outcome
from tests.mailings.audience import (
    DAY,
    NOW,
    address,
    at_once,
    claimed,
    contact,
    counted,
    event_of,
    kinds,
    mailing,
    opted_in,
    pending,
    people,
    planned,
    response,
    responses,
    told,
)

pytestmark = pytest.mark.django_db(transaction=True)

ME, OTHER = 101, 102
MINUTE = 60 * SECOND


@pytest.fixture(autouse=True)
def _workers() -> None:
    for number in (ME, OTHER):
        Worker.objects.create(pk=number, started_at=NOW, host="here", process=number)


def sent(claim: Claim, at: int = NOW) -> Outcome:
    return Outcome(claim, (event_of(claim, "sent", at, reports=False),))


def deferred(claim: Claim, until: int | None, at: int = NOW) -> Outcome:
    said = event_of(claim, "deferred", at, text="450 4.2.1 later", category="greylisted")
    return Outcome(claim, (said,), until)


def names(claims: Sequence[Claim]) -> list[str]:
    return [claim.address.value.partition("@")[0] for claim in claims]


def states() -> list[int]:
    return list(Outbox.objects.order_by("delivery_id").values_list("state", flat=True))


def test_from_claim_to_record() -> None:
    people(3)
    made = planned()
    claims = claimed(ME, 10, NOW)
    assert names(claims) == ["p0", "p1", "p2"]
    assert {claim.attempt for claim in claims} == {1}
    assert {claim.first_attempt_at for claim in claims} == {NOW}
    assert states() == [State.CLAIMED] * 3
    assert claimed(OTHER, 10, NOW) == []

    assert outbox.commit(claims[:2], [], NOW) == {claim.delivery for claim in claims[:2]}
    assert states() == [State.HANDING, State.HANDING, State.CLAIMED]
    done = [sent(claim) for claim in claims[:2]]
    assert outbox.commit([claims[2]], done, NOW) == {claims[2].delivery}
    assert counted(made) == {"planned": 3}, "noted, and not recorded yet"
    outbox.settle(done, NOW)
    assert pending(made) == 1
    assert counted(made) == {"sent": 2, "planned": 1}
    assert rebuilding.rebuild(NOW, verify=True) == []


def test_no_more_than_asked_for_and_none_before_its_time() -> None:
    people(5)
    made = mailing(starts_at=NOW + 60 * SECOND)
    people(1, "late")
    assert planning.unfinished(NOW + 59 * SECOND) == []
    assert planning.plan(made, NOW + 59 * SECOND)
    assert claimed(ME, 3, NOW + 59 * SECOND) == []
    assert planning.unfinished(NOW + 60 * SECOND) == [made]
    assert planning.plan(made, NOW + 60 * SECOND)
    assert checking.check(made, NOW + 60 * SECOND)
    assert len(claimed(ME, 3, NOW + 60 * SECOND)) == 3
    assert len(claimed(ME, 5, NOW + 60 * SECOND)) == 3


def test_who_left_after_planning_is_skipped_when_claimed() -> None:
    people(3)
    made = planned(topic="offers")
    told("opted_out", "p0", NOW + SECOND, source="link")
    told("opted_out", "p1", NOW + SECOND, source="link", topic="offers")
    assert names(claimed(ME, 10, NOW + 2 * SECOND)) == ["p2"]
    assert response(made, "p0") == "skipped:opted_out"
    assert response(made, "p1") == "skipped:opted_out_of_topic"
    assert pending() == 1
    assert rebuilding.rebuild(NOW + 2 * SECOND, verify=True) == []


def test_who_left_after_the_claim_is_not_let_past_the_fence() -> None:
    people(3)
    made = planned()
    claims = claimed(ME, 10, NOW)
    told("complained", "p1", NOW + SECOND, source="arf")
    assert outbox.commit(claims, [], NOW + SECOND) == {claims[0].delivery, claims[2].delivery}
    outbox.settle([Outcome(claims[1], (), NOW + SECOND)], NOW + SECOND)  # dropped
    assert claimed(ME, 10, NOW + SECOND) == []
    assert response(made, "p1") == "skipped:complained"
    assert pending() == 2


def corrected(old: str, new: str, at: int, *, done_at: int | None = None) -> None:
    correcting.correct(address(old), address(new), reason="misspelt", by="eve", now=at, at=done_at)


@pytest.mark.parametrize("done_at", [NOW + SECOND, NOW - DAY], ids=["now", "told late"])
def test_what_waits_for_an_address_that_was_corrected_is_skipped(done_at: int) -> None:
    people(2)
    made = planned()
    corrected("p0", "new", NOW + SECOND, done_at=done_at)
    assert names(claimed(ME, 10, NOW + 2 * SECOND)) == ["p1"]
    assert response(made, "p0") == "skipped:invalid_address"
    assert ("new", "") not in responses(made), "the new one has not opted in"
    assert pending() == 1
    assert rebuilding.rebuild(NOW + 2 * SECOND, verify=True) == []


def test_what_waits_to_be_tried_again_there_is_skipped_too() -> None:
    people(1)
    made = planned()
    [claim] = claimed(ME, 10, NOW)
    assert outbox.commit([claim], [], NOW) == {claim.delivery}
    outbox.settle([deferred(claim, NOW + MINUTE)], NOW)
    corrected("p0", "new", NOW + SECOND)
    assert claimed(ME, 10, NOW + MINUTE) == []
    assert (response(made, "p0"), pending()) == ("skipped:invalid_address", 0)


def test_a_correction_after_the_claim_stops_it_at_the_fence_and_not_after_it() -> None:
    people(2)
    made = planned()
    claims = claimed(ME, 10, NOW)
    assert outbox.commit(claims[:1], [], NOW) == {claims[0].delivery}
    corrected("p0", "new0", NOW + SECOND)
    corrected("p1", "new1", NOW + SECOND)
    assert outbox.commit(claims[1:], [], NOW + SECOND) == set()
    outbox.settle([sent(claims[0]), Outcome(claims[1], (), NOW + SECOND)], NOW + SECOND)
    assert claimed(ME, 10, NOW + SECOND) == []
    assert counted(made) == {"sent": 1, "skipped:invalid_address": 1}


def test_one_that_was_corrected_while_it_was_planned_is_skipped() -> None:
    """The planner read who holds it before that, and the clock after the correction did."""
    people(1)
    made = planned(at=NOW + MINUTE)
    corrected("p0", "new", NOW)
    assert claimed(ME, 10, NOW + MINUTE) == []
    assert response(made, "p0") == "skipped:invalid_address"


def test_whoever_holds_it_anew_is_sent_what_is_planned_then() -> None:
    people(2)
    corrected("p0", "new", NOW - DAY)
    contact("p0")
    planned()
    assert names(claimed(ME, 10, NOW)) == ["p0", "p1"]


def test_what_time_changed_after_the_claim_is_not_let_past_the_fence() -> None:
    people(2)
    planned()
    claims = claimed(ME, 10, NOW)
    Address.objects.filter(value="p0@example.com").update(due_at=NOW + 5)
    assert outbox.commit(claims, [], NOW + 10) == {claims[1].delivery}
    outbox.settle([Outcome(claims[0], (), NOW + 10)], NOW + 10)
    [again] = claimed(ME, 10, NOW + 10)  # folded first, and still allowed
    assert outbox.commit([again], [], NOW + 10) == {again.delivery}


def test_who_is_due_is_folded_before_being_claimed() -> None:
    """A hard bounce that was never folded under this policy refuses all the same."""
    people(3)
    made = planned()
    told("complained", "p0", NOW + SECOND, source="arf")
    Address.objects.update(policy=7, blocks_broadcast=None)
    assert names(claimed(ME, 10, NOW + SECOND)) == ["p1", "p2"]
    assert response(made, "p0") == "skipped:complained"
    revisions = Address.objects.exclude(value="").values_list("policy", flat=True)
    assert set(revisions) == {active_policy().revision}


def test_two_workers_share_without_waiting() -> None:
    if connection.vendor == "sqlite":
        pytest.skip("SQLite has one writer")
    people(10)
    planned()
    taken, done = threading.Event(), threading.Event()
    theirs: list[Claim] = []

    def other() -> None:
        try:
            with transaction.atomic():
                theirs.extend(claimed(OTHER, 6, NOW))
                taken.set()
                done.wait(30)
        finally:
            connection.close()

    thread = threading.Thread(target=other)
    thread.start()
    assert taken.wait(30)
    mine = claimed(ME, 6, NOW)  # while the other's rows are locked
    done.set()
    thread.join()
    assert len(theirs) == 6
    assert len(mine) == 4
    assert not {c.delivery for c in mine} & {c.delivery for c in theirs}


def test_only_the_token_opens_the_fence_and_only_once() -> None:
    people(2)
    planned()
    [mine, _] = claimed(ME, 10, NOW)
    wrong = Claim(*(getattr(mine, f) for f in mine.__struct_fields__[:-1]), token=mine.token + 1)
    assert outbox.commit([wrong], [], NOW) == set()
    assert outbox.commit([mine], [], NOW) == {mine.delivery}
    assert outbox.commit([mine], [], NOW) == set()


def test_a_dead_worker_is_taken_over_and_what_it_says_late_is_heard() -> None:
    people(4)
    made = planned()
    claims = claimed(ME, 10, NOW)
    outbox.commit(claims[:2], [], NOW)
    assert outbox.recover([ME], NOW + SECOND) == (2, 2)
    assert outbox.recover([ME], NOW + SECOND) == (0, 0)
    assert outbox.recover([], NOW + SECOND) == (0, 0)
    assert counted(made) == {"lost": 2, "planned": 2}
    assert kinds("p0") == ["opted_in", "planned", "lost"]

    again = claimed(OTHER, 10, NOW + 2 * SECOND)
    assert names(again) == ["p2", "p3"]
    # The dead wakes up: it had handed over two, and is at the fence with the others.
    assert outbox.commit(claims[2:], [sent(claims[0], NOW)], NOW + 3 * SECOND) == set()
    outbox.settle([sent(claims[0], NOW)], NOW + 3 * SECOND)
    lost = Outcome(claims[1], (event_of(claims[1], "lost", NOW, error="cut"),))
    outbox.settle([lost], NOW + 3 * SECOND)
    outbox.settle([Outcome(claims[2], (), NOW), sent(claims[3])], NOW + 3 * SECOND)
    assert response(made, "p0") == "sent"
    assert response(made, "p1") == "lost"
    assert response(made, "p3") == "sent", "recorded, by whomever it is said"
    assert states() == [State.CLAIMED] * 2, "only who holds the token removes or reschedules"
    assert RefusedEvent.objects.count() == 0

    assert outbox.commit(again[:1], [], NOW + 4 * SECOND) == {again[0].delivery}
    outbox.settle([sent(again[0], NOW + 5 * SECOND)], NOW + 5 * SECOND)
    assert pending() == 1
    assert rebuilding.rebuild(NOW + DAY, verify=True) == []


def test_what_a_dead_worker_had_told_is_recorded_by_who_takes_over() -> None:
    people(5)
    made = planned()
    claims = claimed(ME, 10, NOW)
    outbox.commit(claims[:4], [], NOW)
    unreachable = Outcome(claims[4], (), NOW + 90 * SECOND, "no connection")
    told = [sent(claims[0]), deferred(claims[1], NOW + 60 * SECOND), unreachable]
    outbox.commit([], told, NOW)
    # Of the last two that were fenced nothing was told.
    assert outbox.recover([ME], NOW + SECOND) == (0, 2)
    assert counted(made) == {"sent": 1, "deferred": 1, "lost": 2, "planned": 1}
    assert claimed(OTHER, 10, NOW + 59 * SECOND) == [], "each when it was to be tried again"
    [again] = claimed(OTHER, 10, NOW + 60 * SECOND)
    assert (again.address.value, again.attempt) == ("p1@example.com", 2)
    [later] = claimed(OTHER, 10, NOW + 90 * SECOND)
    assert (later.address.value, later.attempt) == ("p4@example.com", 2)

    outbox.settle(told, NOW + 91 * SECOND)  # It was only asleep.
    assert counted(made) == {"sent": 1, "deferred": 1, "lost": 2, "planned": 1}
    assert states() == [State.CLAIMED] * 2
    assert RefusedEvent.objects.count() == 0
    assert rebuilding.rebuild(NOW + 91 * SECOND, verify=True) == []


def test_an_outcome_recorded_twice_changes_nothing() -> None:
    """As when the connection broke while the commit was acknowledged."""
    people(2)
    made = planned()
    claims = claimed(ME, 10, NOW)
    outcomes = [sent(claims[0]), deferred(claims[1], NOW + 60 * SECOND)]
    for _ in range(2):
        outbox.settle(outcomes, NOW)
    assert counted(made) == {"sent": 1, "deferred": 1}
    assert sorted(kinds("p1")) == ["deferred", "opted_in", "planned"]
    assert claimed(ME, 10, NOW + 59 * SECOND) == []
    [again] = claimed(ME, 10, NOW + 60 * SECOND)
    outbox.settle(outcomes, NOW + 61 * SECOND)
    assert outbox.commit([again], [], NOW + 61 * SECOND) == {again.delivery}


def test_what_is_given_back_is_as_it_was() -> None:
    people(3)
    planned()
    claims = claimed(ME, 10, NOW)
    outbox.commit(claims[:1], [], NOW)
    outbox.release(claims)
    assert states() == [State.HANDING, State.READY, State.READY], "what is handed over is not"
    again = claimed(OTHER, 10, NOW + 5 * DAY)
    assert [claim.attempt for claim in again] == [1, 1]
    assert {claim.first_attempt_at for claim in again} == {NOW + 5 * DAY}, "its time begins now"
    outbox.release(claims)  # those of another token stay
    assert states() == [State.HANDING, State.CLAIMED, State.CLAIMED]
    outbox.release(again, until=NOW + 6 * DAY)
    assert claimed(ME, 10, NOW + 6 * DAY - 1) == []
    assert len(claimed(ME, 10, NOW + 6 * DAY)) == 2


def test_time_runs_from_the_first_attempt_that_ended() -> None:
    people(1)
    planned()
    claimed(ME, 1, NOW)
    outbox.recover([ME], NOW)
    [claim] = claimed(ME, 1, NOW + 4 * DAY)
    assert claim.attempt == 2, "what a dead worker may still say is not of this attempt"
    assert claim.first_attempt_at == NOW + 4 * DAY
    outbox.settle([deferred(claim, NOW + 4 * DAY + MINUTE)], NOW + 4 * DAY)
    [again] = claimed(ME, 1, NOW + 5 * DAY)
    assert again.first_attempt_at == NOW + 4 * DAY


@pytest.mark.parametrize("most", [1, 8])
def test_a_long_queue_does_not_use_up_the_time_of_retries(most: int) -> None:
    people(60)
    planned()
    first = claimed(ME, 10, NOW)
    outbox.settle([deferred(claim, NOW + MINUTE) for claim in first], NOW)
    assert 1 not in {claim.attempt - 1 for claim in claimed(ME, most, NOW + MINUTE - 1)}
    seen = [claim.attempt for _ in range(40 // most) for claim in claimed(ME, most, NOW + MINUTE)]
    assert len(seen) == 40
    assert 5 <= seen.count(2) <= 10
    assert seen.count(1) >= 30


def test_workers_at_once_claim_each_mail_once() -> None:
    people(60)
    planned()

    def work(worker: int) -> list[int]:
        mine = []
        while claims := claimed(worker, 7, NOW):
            mine += [claim.delivery for claim in claims]
            outbox.settle([sent(claim) for claim in claims], NOW)
        return mine

    got = at_once(*(lambda n=n: work(n) for n in (ME, OTHER, ME)))
    deliveries = [delivery for mine in got for delivery in mine]
    assert len(deliveries) == len(set(deliveries)) == 60
    assert rebuilding.rebuild(NOW, verify=True) == []


def test_claiming_while_the_same_people_are_folded() -> None:
    """Neither locks the other out: a claim folds, skips and takes in one order."""

    everyone = people(60)
    made = planned()

    def claim() -> int:
        taken = 0
        for _ in range(15):
            claims = claimed(ME, 10, NOW + SECOND)
            taken += len(claims)
            outbox.settle([sent(each, NOW + SECOND) for each in claims], NOW + SECOND)
        return taken

    def hear() -> None:
        for place in range(0, len(everyone), 3):
            batch = everyone[place : place + 3]
            record([Event("opted_out", NOW, address(n), "link") for n in batch], NOW + SECOND)

    Address.objects.update(policy=7)
    taken, nothing = at_once(claim, hear)
    assert nothing is None
    assert isinstance(taken, int), taken
    assert pending() == 0
    assert sum(counted(made).values()) == 60
    assert rebuilding.rebuild(NOW + SECOND, verify=True) == []


def test_a_relay_that_says_only_250_hurts_nobody() -> None:
    """Ten mailings over a year by a lane that reports nothing: no news tells nothing."""
    opted_in("ann", "bob", at=NOW - DAY)
    told("confirmed", "bob", NOW - DAY, detail={"method": "standard"})
    contact("ann")
    contact("bob")
    at = NOW
    for number in range(10):
        made = planned(f"news-{number}", at)
        claims = claimed(ME, 10, at)
        assert names(claims) == ["ann", "bob"]
        if number % 3 == 0:  # it also keeps some waiting
            outbox.settle([deferred(c, at + MINUTE, at) for c in claims], at)
            at += MINUTE
            claims = claimed(ME, 10, at)
        assert len(outbox.commit(claims, [], at)) == 2
        outbox.settle([sent(claim, at) for claim in claims], at)
        at += 36 * DAY
        while clock.tick(at):
            pass
        assert counted(made) == {"sent": 2}
    assert dict(Address.objects.exclude(value="").values_list("value", "status")) == {
        "ann@example.com": "opted_in",
        "bob@example.com": "confirmed",
    }
    assert rebuilding.rebuild(at, verify=True) == []


def test_what_was_claimed_without_knowing_it_is_given_back() -> None:
    """The commit of a claim may succeed although its answer was lost."""
    people(4)
    planned()
    known = claimed(ME, 2, NOW)
    claimed(ME, 1, NOW)  # and nobody heard of it
    theirs = claimed(OTHER, 1, NOW)
    assert outbox.give_back(ME, {claim.delivery for claim in known}) == 1
    assert len(outbox.commit([*known, *theirs], [], NOW)) == 3
    assert len(claimed(OTHER, 9, NOW)) == 1


def leaving() -> Iterator[Claim]:
    """All that waits, in the order in which it leaves."""
    while claims := claimed(ME, 10, NOW):
        yield from claims


def test_a_sample_of_the_whole_audience_leaves_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "CHUNKS", dict.fromkeys(planning.CHUNKS, 200))
    where = {name: place for place, name in enumerate(people(800))}
    planned()
    order = [where[name] for name in names(list(leaving()))]
    assert sorted(order) == list(range(800))
    for sample in (50, 200):
        tenths = Counter(place // 80 for place in order[:sample])
        assert len(tenths) == 10
        assert max(tenths.values()) <= 2 * sample // 10


def test_small_domains_get_their_mail_by_and_by() -> None:
    everybody = [f"p{number}@d{number // 5}.example" for number in range(400)]
    opted_in(*everybody)
    for name in everybody:
        contact(name)
    planned()
    order = [claim.address.value.partition("@")[2] for claim in leaving()]
    assert len(order) == 400
    for begin in range(0, 400, 20):
        assert max(Counter(order[begin : begin + 20]).values()) <= 2
