"""How far mailings are: one word for each place on their way, cheaply found."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from goodstanding.answers import progress, reports, throttles
from goodstanding.answers.progress import Progress
from goodstanding.core.events import SECOND
from goodstanding.ledger.models import Mailing
from goodstanding.mailings import brakes, checking, course, outbox, planning, singles
from goodstanding.mailings.models import Content, Course, Lot, Pace, Provider, Worker
from goodstanding.mailings.outbox import Outcome
from tests.answers.heard import event, hear
from tests.mailings.audience import (
    NOW,
    address,
    claimed,
    contact,
    event_of,
    mailing,
    opted_in,
    people,
    planned,
)
from tests.mailings.conftest import _options  # noqa: F401 - every mailing is sent with them

pytestmark = pytest.mark.django_db(transaction=True)

HOUR = 3_600 * SECOND


def far(made: int, now: int = NOW) -> Progress:
    return progress.of(made, now)


def state(made: int, now: int = NOW) -> str:
    """The one word, in whichever place it is asked for."""
    found = far(made, now)
    shown = {each.mailing: each.state for each in progress.newest(now, 100)}
    assert shown.get(made, found.state) == found.state
    assert reports.mailing(found.name, now).state == found.state
    return found.state


def sent(made: int, most: int = 100) -> None:
    """Send so many of those that are due."""
    worker = int(Worker.objects.create(started_at=NOW, host="here", process=1).pk)
    mine = [claim for claim in claimed(worker, most, NOW) if claim.mailing == made]
    outbox.commit(mine, [], NOW)
    outbox.settle([Outcome(c, (event_of(c, "sent", NOW, reports=False),)) for c in mine], NOW)


def test_from_scheduled_to_completed() -> None:
    people(3)
    made = mailing(starts_at=NOW + HOUR)
    assert state(made) == "scheduled"
    assert far(made).starts_at == NOW + HOUR
    assert not far(made).is_over
    later = NOW + HOUR
    assert state(made, later) == "planning"
    planning.plan(made, later)
    assert state(made, later) == "checking"
    checking.check(made, later)
    assert state(made, later) == "sending"
    assert (far(made, later).scheduled, far(made, later).left) == (3, 3)
    Content.objects.update(starts_at=NOW)
    outbox_rows = "UPDATE mailings_outbox SET not_before = %s"
    with connection.cursor() as cursor:
        cursor.execute(outbox_rows, [NOW])
    sent(made, 2)
    assert state(made) == "sending"
    assert (far(made).sent, far(made).left, far(made).ended_at) == (2, 1, None)
    sent(made)
    assert state(made) == "completed"
    assert far(made).is_over
    assert far(made).ended_at == NOW


def test_paused_and_stopped_with_who_and_why() -> None:
    people(2)
    made = planned()
    course.set_course("news", Course.PAUSED, "ann", "wrong price", NOW)
    assert state(made) == "paused"
    assert (far(made).by, far(made).why, far(made).since) == ("ann", "wrong price", NOW)
    assert far(made).rests
    course.set_course("news", Course.STOPPED, "bob", "wrong list", NOW)
    assert state(made) == "stopped"
    assert not far(made).is_over, "two are still in the outbox"
    while course.end(NOW):
        pass
    assert far(made).is_over
    assert far(made).responses == {"stopped": 2}


def test_what_had_all_left_before_is_completed_whatever_comes_then() -> None:
    people(2)
    made = planned(expires_at=NOW + HOUR)
    sent(made)
    course.set_course("news", Course.PAUSED, "ann", "too late", NOW)
    assert state(made) == "completed"
    assert state(made, NOW + 2 * HOUR) == "completed"


def test_expired() -> None:
    people(2)
    made = planned(expires_at=NOW + HOUR)
    assert state(made, NOW + HOUR - 1) == "sending"
    assert state(made, NOW + HOUR) == "expired"
    while course.end(NOW + HOUR):
        pass
    assert state(made, NOW + HOUR) == "expired"
    assert far(made, NOW + HOUR).responses == {"stopped_expired": 2}


def test_held_is_what_can_go_nowhere_at_all() -> None:
    people(30)  # enough to be a provider of their own
    opted_in("x@else.example")
    contact("x@else.example")
    made = planned()
    large, small = Lot.objects.order_by("-planned")
    brakes.hold({large.pk: "9 of 10 bounced hard"}, NOW)
    assert state(made) == "sending"
    [held] = far(made).held
    assert (held.provider, held.since, held.why) == ("example.com", NOW, "9 of 10 bounced hard")
    brakes.hold({small.pk: "and these"}, NOW)
    assert state(made) == "held"
    assert far(made).rests
    course.set_course("news", Course.STOPPED, "bob", "enough", NOW)
    while course.end(NOW):
        pass
    assert far(made).held == ()


def test_sent_one_by_one_it_is_open_while_nothing_waits() -> None:
    opted_in("ann")
    made = mailing(purpose="transactional")
    assert state(made) == "open"
    singles.send("news", address("ann"), "k", {"first_name": "Ann"}, NOW)
    assert state(made) == "sending"
    sent(made)
    assert state(made) == "open"
    one_off = mailing("hello", purpose="one_off", author="Ann Example")
    singles.send("hello", address("ann"), "k", {"first_name": "Ann"}, NOW)
    sent(one_off)
    assert state(one_off) == "completed"
    assert [each.name for each in progress.newest(NOW, 9)] == ["news"], "one-offs would be many"
    assert far(made).ended_at is None


def test_imported_history_is_completed() -> None:
    hear(event("opted_in", 0, "ann"), event("sent", 1, "ann", mailing="spring"))
    assert state(Mailing.objects.get().pk) == "completed"


def test_of_a_large_mailing_the_tallies_say_how_many_are_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    people(12)
    made = planned()
    sent(made, 3)
    monkeypatch.setattr(progress, "COUNTED", 5)
    assert far(made).left == 9
    with CaptureQueriesContext(connection) as asked:
        far(made)
    assert len(asked) <= 2


def test_each_provider_with_what_is_left_and_how_it_goes() -> None:
    people(30)
    opted_in("x@else.example")
    contact("x@else.example")
    made = planned()
    large, small = progress.towards(made)
    assert (large.provider, large.left, small.provider, small.left) == (
        *("example.com", 30),
        *("others", 1),
    )
    assert throttles.in_a_phrase(large, NOW) == "at full speed"
    Pace.objects.create(
        lane="main",
        provider=Provider.objects.get(name="example.com"),
        level=0.25,
        changed_at=NOW,
        slowed_at=NOW,
        not_before=0,
        why="421 slow down",
    )
    slowed: Any = progress.towards(made)[0]
    assert throttles.in_a_phrase(slowed, NOW) == (
        "slowed to 25 % since 14:13 UTC because of: 421 slow down"
    )
    Pace.objects.update(not_before=NOW + 60 * SECOND)
    assert "resting until 14:14 UTC" in throttles.in_a_phrase(progress.towards(made)[0], NOW)
    limits = {each.provider: each for each in throttles.limits(NOW)}
    assert set(limits) == {"default", "example.com", "others"}
    assert (limits["example.com"].level, limits["example.com"].connections) == (0.25, 0)
    assert limits["example.com"].resting_until == NOW + 60 * SECOND
    assert limits["example.com"].why == "421 slow down"
    assert limits["others"].level == 1.0
    brakes.hold({Lot.objects.get(planned=30).pk: "a wave"}, NOW)
    assert throttles.in_a_phrase(progress.towards(made)[0], NOW) == (
        "held by the brake since 14:13 UTC: a wave"
    )
    assert [each.why for each in throttles.held()] == ["a wave"]
    sent(made)
    assert [(each.provider, each.left) for each in progress.towards(made)] == [("example.com", 30)]
