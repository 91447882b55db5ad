"""The course of a mailing: paused, resumed, stopped, expired, started later."""

from __future__ import annotations

import pytest

from goodstanding.core.events import SECOND
from goodstanding.ledger import rebuilding
from goodstanding.mailings import checking, course, outbox, planning
from goodstanding.mailings.course import RefusedCourse
from goodstanding.mailings.models import Content, Course, Lot, Outbox, State, Worker
from goodstanding.mailings.outbox import Outcome
from tests.mailings.audience import (
    NOW,
    claimed,
    counted,
    details,
    event_of,
    kinds,
    mailing,
    pending,
    people,
    planned,
)

pytestmark = pytest.mark.django_db(transaction=True)

MINUTE = 60 * SECOND


@pytest.fixture
def me() -> int:
    return int(Worker.objects.create(started_at=NOW, host="here", process=1).pk)


def pause(name: str = "news") -> None:
    course.set_course(name, Course.PAUSED, "ann", "wrong price", NOW)


def resume(name: str = "news") -> None:
    course.set_course(name, Course.RUNNING, "ann", "price is right", NOW)


def stop(name: str = "news") -> None:
    course.set_course(name, Course.STOPPED, "ann", "wrong list", NOW)


def stopped_to_the_end(now: int = NOW) -> None:
    while course.end(now):
        pass


def test_a_pause_takes_hold_of_what_is_claimed_and_lets_go_of_nothing(me: int) -> None:
    people(4)
    planned()
    mine = claimed(me, 2, NOW)
    pause()
    assert outbox.commit(mine, [], NOW) == set(), "the fence asks"
    assert claimed(me, 10, NOW) == []
    assert outbox.stayed(NOW) == {claim.lot.id for claim in mine}
    dropped = [Outcome(claim, (), NOW, given_back=True) for claim in mine]
    outbox.settle(dropped, NOW)
    assert set(Outbox.objects.values_list("state", "attempt", "first_attempt_at")) == {
        (State.READY, 0, None)
    }
    content = Content.objects.get()
    assert (content.course_by, content.course_why) == ("ann", "wrong price")

    resume()
    again = claimed(me, 10, NOW)
    assert len(again) == 4
    assert len(outbox.commit(again, [], NOW)) == 4


def test_what_is_stopped_leaves_nothing_claimed_and_says_so_of_each(me: int) -> None:
    people(5)
    made = planned()
    in_hand, claimed_only = claimed(me, 1, NOW), claimed(me, 2, NOW)
    assert len(outbox.commit(in_hand, [], NOW)) == 1
    stop()
    stopped_to_the_end()
    assert list(Outbox.objects.values_list("state", flat=True)) == [State.HANDING]
    assert outbox.commit(claimed_only, [], NOW) == set()
    # What was being handed over comes to its own end.
    outbox.settle([Outcome(c, (event_of(c, "sent", NOW),)) for c in in_hand], NOW)
    assert counted(made) == {"stopped": 4, "sent": 1}
    assert pending() == 0
    assert not course.end(NOW)
    assert rebuilding.rebuild(NOW, verify=True) == []


def test_what_is_past_its_expiry_is_stopped_for_that(me: int) -> None:
    people(3)
    made = planned(expires_at=NOW + MINUTE)
    assert not course.end(NOW + MINUTE - 1)
    mine = claimed(me, 1, NOW)
    assert outbox.commit(mine, [], NOW + MINUTE) == set(), "the fence asks"
    assert claimed(me, 9, NOW + MINUTE) == []
    stopped_to_the_end(NOW + MINUTE)
    assert counted(made) == {"stopped_expired": 3}
    assert {str(detail) for detail in details("stopped")} == {"{'reason': 'expired'}"}
    assert rebuilding.rebuild(NOW + MINUTE, verify=True) == []


def test_who_waits_for_another_try_when_it_expires_is_stopped_too(me: int) -> None:
    people(1)
    made = planned(expires_at=NOW + MINUTE)
    [claim] = claimed(me, 1, NOW)
    outbox.commit([claim], [], NOW)
    put_off = event_of(claim, "deferred", NOW, text="451 later", category="greylisted")
    outbox.settle([Outcome(claim, (put_off,), NOW + 5 * MINUTE)], NOW)
    stopped_to_the_end(NOW + 2 * MINUTE)
    assert counted(made) == {"stopped_expired": 1}
    assert kinds("p0")[-1] == "stopped"


def test_a_mailing_stopped_in_its_planning_is_planned_and_stopped(
    me: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planning, "CHUNKS", dict.fromkeys(planning.CHUNKS, 2))
    people(5)
    made = mailing()
    assert not planning.plan(made, NOW, most=1)
    stop()
    stopped_to_the_end()
    assert planning.unfinished(NOW) == [made]
    assert planning.plan(made, NOW)
    assert checking.check(made, NOW)
    assert planning.unfinished(NOW) == []
    stopped_to_the_end()
    assert counted(made) == {"stopped": 5}
    assert claimed(me, 9, NOW) == []


def test_a_later_start_can_be_moved_until_it_has_come() -> None:
    people(1)
    made = mailing(starts_at=NOW + MINUTE)
    course.reschedule("news", NOW + 2 * MINUTE, NOW)
    assert planning.unfinished(NOW + MINUTE) == []
    assert planning.unfinished(NOW + 2 * MINUTE) == [made]
    with pytest.raises(RefusedCourse, match="has started"):
        course.reschedule("news", NOW + 9 * MINUTE, NOW + 3 * MINUTE)
    mailing("other", starts_at=NOW + MINUTE, expires_at=NOW + 2 * MINUTE)
    with pytest.raises(RefusedCourse, match="expires before"):
        course.reschedule("other", NOW + 2 * MINUTE, NOW)


def test_there_is_no_way_back_from_a_stop() -> None:
    planned()
    with pytest.raises(RefusedCourse, match="is running already"):
        resume()
    with pytest.raises(RefusedCourse, match="no mailing 'nobody'"):
        pause("nobody")
    pause()
    with pytest.raises(RefusedCourse, match="is paused already"):
        pause()
    stop()
    for act in (pause, resume, stop):
        with pytest.raises(RefusedCourse, match="is stopped already"):
            act()


def test_empty_lots_are_closed_and_opened_again(me: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "CHUNKS", dict.fromkeys(planning.CHUNKS, 2))
    people(3)
    made = mailing()
    planning.plan(made, NOW, most=1)
    course.close()
    assert Lot.objects.get().is_open
    Outbox.objects.all().delete()
    course.close()
    assert not Lot.objects.get().is_open
    planning.plan(made, NOW)
    assert Lot.objects.get().is_open
    assert checking.check(made, NOW)
    assert len(claimed(me, 9, NOW)) == 1
