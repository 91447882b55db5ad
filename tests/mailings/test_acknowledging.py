"""An acknowledgement on its way through the outbox: planned once, and only while it may go.

No gateway takes SMS yet: the mailing is made for mail, and its row says then what it is to be.
"""

from __future__ import annotations

import pytest
from django.db import connection, transaction

from goodstanding.core.addresses import Address
from goodstanding.core.events import SECOND, Event
from goodstanding.ledger import models, rebuilding
from goodstanding.ledger.recording import record
from goodstanding.mailings import contents, outbox, planning
from goodstanding.mailings.contents import Draft, RefusedMailing
from goodstanding.mailings.models import Content, Lot, Worker
from goodstanding.mailings.outbox import Outcome
from tests.mailings.audience import NOW, claimed, counted, event_of

pytestmark = pytest.mark.django_db(transaction=True)

MINUTE = 60 * SECOND
NUMBER = Address("sms", "+447700900123")


@pytest.fixture
def me() -> int:
    return int(Worker.objects.create(started_at=NOW, host="here", process=1).pk)


@pytest.fixture
def goodbye() -> int:
    draft = Draft(
        name="goodbye",
        subject="-",
        text="You get no more messages from us.",
        purpose="transactional",
    )
    made = contents.create(draft, NOW)
    models.Mailing.objects.filter(pk=made).update(channel="sms", purpose="acknowledgement")
    return made


def hear(kind: str, at: int) -> None:
    assert record([Event(kind, at, NUMBER, "api")], at).stored == 1


def plan(mailing: int, now: int) -> str | None:
    """Plan one more; what refuses it."""
    with transaction.atomic(), connection.cursor() as cursor:
        content = Content.objects.select_related("mailing").get(pk=mailing)
        wanted = models.Address.objects.values_list("pk", flat=True)
        found = planning.plan_addresses(cursor, content, list(wanted), now)
        assert len(found) == 1, "it must be folded first"
        return found[0].refusal


def leave(claim: outbox.Claim, now: int) -> None:
    assert outbox.commit([claim], [], now)
    outbox.settle([Outcome(claim, (event_of(claim, "sent", now),))], now)


def test_it_leaves_once_for_each_opt_out(goodbye: int, me: int) -> None:
    hear("opted_out", NOW)
    assert plan(goodbye, NOW + SECOND) is None
    [claim] = claimed(me, 9, NOW + 2 * SECOND)
    assert claim.address == NUMBER
    leave(claim, NOW + 2 * SECOND)
    assert plan(goodbye, NOW + 3 * SECOND) == "opted_out"
    hear("opted_in", NOW + MINUTE)
    assert plan(goodbye, NOW + MINUTE) == "not_requested"
    hear("opted_out", NOW + 2 * MINUTE)
    assert plan(goodbye, NOW + 3 * MINUTE) is None
    assert counted(goodbye) == {
        "sent": 1,
        "skipped:opted_out": 1,
        "skipped:not_requested": 1,
        "planned": 1,
    }
    assert rebuilding.rebuild(NOW + 3 * MINUTE, verify=True) == []


@pytest.mark.parametrize(
    ("later", "left"), [(5 * MINUTE - 1, "planned"), (5 * MINUTE, "skipped:opted_out")]
)
def test_what_waited_too_long_does_not_leave(goodbye: int, me: int, later: int, left: str) -> None:
    hear("opted_out", NOW)
    assert plan(goodbye, NOW + SECOND) is None
    claims = claimed(me, 9, NOW + later)
    assert len(claims) == (left == "planned")
    assert counted(goodbye) == {left: 1}


def test_who_is_back_before_it_left_gets_none(goodbye: int, me: int) -> None:
    hear("opted_out", NOW)
    plan(goodbye, NOW + SECOND)
    hear("opted_in", NOW + 2 * SECOND)
    assert claimed(me, 9, NOW + 3 * SECOND) == []
    assert counted(goodbye) == {"skipped:not_requested": 1}


def test_it_overtakes_what_nobody_waits_for(goodbye: int) -> None:
    hear("opted_out", NOW)
    plan(goodbye, NOW + SECOND)
    assert Lot.objects.get().priority == planning.priority("transactional") == 0


def test_no_mail_can_be_one() -> None:
    draft = Draft(name="goodbye", subject="-", text="Gone.", purpose="acknowledgement")
    with pytest.raises(RefusedMailing, match="acknowledgement goes by sms only"):
        contents.create(draft, NOW)
