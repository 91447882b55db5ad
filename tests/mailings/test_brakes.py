"""The brake: a wave at one provider holds that provider's rest, says why, and waits."""

from __future__ import annotations

import pytest

from goodstanding.core.events import SECOND, Event
from goodstanding.ledger.models import Address
from goodstanding.ledger.recording import record
from goodstanding.mailings import brakes, outbox
from goodstanding.mailings.brakes import LOOK_BACK, Brakes
from goodstanding.mailings.braking import Brake
from goodstanding.mailings.models import Lot, Worker
from goodstanding.mailings.outbox import Claim, Outcome
from tests.mailings.audience import NOW, claimed, contact, event_of, opted_in, planned

pytestmark = pytest.mark.django_db(transaction=True)

BRAKE = Brake(window=20, hard=8, blocks=5)
UNKNOWN = {"text": "550 5.1.1 No such user", "category": "mailbox_unknown", "disposition": "hard"}
LISTED = {"text": "550 5.7.1 Listed", "category": "reputation", "disposition": "block"}


@pytest.fixture
def me() -> int:
    return int(Worker.objects.create(started_at=NOW, host="here", process=1).pk)


@pytest.fixture
def audience() -> int:
    """Forty people at each of two providers."""
    for provider in ("one", "two"):
        names = [f"p{n}@{provider}.example" for n in range(40)]
        opted_in(*names)
        for name in names:
            contact(name)
    return planned()


def refused(claim: Claim, said: dict[str, str]) -> Outcome:
    return Outcome(claim, (event_of(claim, "bounced", NOW, **said),))


def taken(claim: Claim) -> Outcome:
    return Outcome(claim, (event_of(claim, "sent", NOW, reports=False),))


def lots() -> dict[str, bool]:
    """Whether each provider's lot is held."""
    return {lot.provider.name: lot.held_at is not None for lot in Lot.objects.all()}


def at(claims: list[Claim], provider: str) -> list[Claim]:
    return [claim for claim in claims if claim.lot.provider_name == provider]


def test_a_wave_heard_while_sending_holds_that_provider_alone(me: int, audience: int) -> None:
    mine = Brakes(BRAKE)
    claims = claimed(me, 80, NOW)
    assert {claim.lot.provider_name for claim in claims} == {"one.example", "two.example"}
    waves = [mine.heard(claim.lot, refused(claim, LISTED)) for claim in at(claims, "one.example")]
    assert waves.index(True) == 4, "the fifth block is one too many"
    for claim in at(claims, "two.example"):
        assert not mine.heard(claim.lot, taken(claim))
    found = mine.found(NOW)
    brakes.hold(found, NOW)
    assert lots() == {"one.example": True, "two.example": False}
    [held] = Lot.objects.filter(held_at__isnull=False)
    assert "20 of the last 20 mails to one.example were refused as blocks" in (held.held_why or "")
    assert "550 5.7.1 Listed" in (held.held_why or "")
    assert len(outbox.commit(claims, [], NOW)) == 40, "the fence asks"
    assert outbox.stayed(NOW) == {held.pk}


def test_what_bounces_later_and_by_other_workers_counts_too(me: int, audience: int) -> None:
    mine = Brakes(BRAKE)
    claims = claimed(me, 60, NOW)
    claims = at(claims, "one.example")[:30] + at(claims, "two.example")[:10]
    outbox.settle([taken(claim) for claim in claims], NOW)
    assert mine.found(NOW) == {}
    record(
        [
            Event(
                "bounced", NOW + SECOND, c.address, "dsn", key=f"dsn:{c.delivery}",
                delivery=c.delivery, detail=UNKNOWN,
            )
            for c in at(claims, "one.example")[:12]
        ],
        NOW + SECOND,
    )  # fmt: skip
    assert mine.found(NOW + SECOND) == {}, "it has just looked"
    found = mine.found(NOW + LOOK_BACK)
    [why] = found.values()
    assert "12 of the last 30 mails to one.example bounced hard" in why
    assert "mailbox unknown" in why


def test_nothing_is_held_where_nothing_is_left(me: int, audience: int) -> None:
    claims = at(claimed(me, 80, NOW), "one.example")
    outbox.settle([refused(claim, UNKNOWN) for claim in claims], NOW)
    assert Brakes(BRAKE).found(NOW) == {}


def test_let_go_it_counts_anew(me: int, audience: int) -> None:
    mine = Brakes(BRAKE)
    claims = at(claimed(me, 30, NOW), "one.example")
    outbox.settle([refused(claim, UNKNOWN) for claim in claims], NOW)
    for claim in claims:
        mine.heard(claim.lot, refused(claim, UNKNOWN))
    brakes.hold(mine.found(NOW), NOW)
    assert lots()["one.example"]
    assert at(claimed(me, 80, NOW), "one.example") == []

    assert brakes.release(audience, "two.example", "ann", "asked them", NOW + SECOND) == []
    assert brakes.release(audience, None, "ann", "asked them", NOW + SECOND) == ["one.example"]
    assert mine.found(NOW + LOOK_BACK) == {}, "what was counted before is forgiven"
    again = at(claimed(me, 80, NOW + SECOND), "one.example")
    assert len(again) == 10
    waves = [mine.heard(claim.lot, refused(claim, UNKNOWN)) for claim in again]
    assert waves.index(True) == 7, "and the next wave is heard"


def test_an_ordinary_list_goes_on(me: int, audience: int) -> None:
    mine = Brakes(Brake())
    claims = claimed(me, 80, NOW)
    outcomes = [
        refused(claim, UNKNOWN) if number % 20 == 0 else taken(claim)
        for number, claim in enumerate(claims)
    ]
    assert not any(mine.heard(o.claim.lot, o) for o in outcomes)
    outbox.settle(outcomes[:40], NOW)
    assert mine.found(NOW) == {}
    assert Address.objects.filter(status="hard_bounced").exists()


def test_it_can_be_switched_off(me: int, audience: int) -> None:
    mine = Brakes(Brake(brakes=False))
    claims = claimed(me, 60, NOW)
    outcomes = [refused(claim, LISTED) for claim in claims]
    assert not any(mine.heard(o.claim.lot, o) for o in outcomes)
    outbox.settle(outcomes, NOW)
    assert mine.found(NOW) == {}
