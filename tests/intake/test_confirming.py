"""Confirming: the page that asks, its button, and what the ledger then knows."""

import random
import time
from typing import Any

import pytest
from django.db import OperationalError
from django.test import Client

from goodstanding.core.addresses import Address
from goodstanding.core.events import SECOND, Event
from goodstanding.core.tokens import Signer
from goodstanding.intake import digest, pages, spool
from goodstanding.intake.models import HTTP, Kept, Spooled
from goodstanding.intake.spool import Visit
from goodstanding.ledger import models as ledger
from goodstanding.ledger.recording import record
from tests.intake.post import SENT, Sent

pytestmark = [
    pytest.mark.django_db(databases=["default", "spool"]),
    pytest.mark.urls("tests.intake.site"),
]

FIREFOX = "Mozilla/5.0 (X11; Ubuntu; Linux x86_64; rv:139.0) Gecko/20100101 Firefox/139.0"
ANN = Address("email", "ann@example.net")
LINKS = (
    ("https://shop.example/danke-schön?a=1", "standard", None),
    ("", "custom", None),
    ("", "standard", "Spring offers"),
)


@pytest.fixture
def web() -> Client:
    return Client(enforce_csrf_checks=True, headers={"user-agent": FIREFOX})


@pytest.fixture
def asked() -> Sent:
    """A request for confirmation, sent to somebody who filled in a form; its links: LINKS."""
    record(
        [
            Event("opted_in", SENT - 60 * SECOND, ANN, "form", detail={"how": "form"}),
            Event("sent", SENT, ANN, "smtp", mailing="welcome", purpose="confirmation"),
        ],
        SENT,
    )
    row = ledger.Delivery.objects.get()
    for number, (url, confirms, topic) in enumerate(LINKS):
        ledger.Link.objects.create(
            mailing_id=row.mailing_id, number=number, url=url, confirms=confirms, topic=topic
        )
    return Sent(row.pk, ANN.value)


def url(asked: Sent, number: int = 0) -> str:
    return f"/confirm/{asked.token('confirm', number)}/"


def heard() -> None:
    digest.digest(time.time_ns() // 1000)


def text(response: Any) -> str:
    return str(response.content.decode())


def say(kind: str, at: int, **more: Any) -> None:
    record([Event(kind, at, ANN, "link", **more)], time.time_ns() // 1000)


def test_the_page_says_who_asks_what_and_has_one_button(web: Client, asked: Sent) -> None:
    page = text(web.get(url(asked, 2)))
    for said in ("Please confirm", "The Shop", "Spring offers", "a…@example.net"):
        assert said in page
    assert "ann@" not in page
    assert "<script" not in page
    assert page.count("<button") == 1
    assert "about “" not in text(web.get(url(asked, 1)))


@pytest.mark.parametrize("method", ["get", "head"])
def test_who_only_fetches_confirms_nothing(web: Client, asked: Sent, method: str) -> None:
    for number in range(len(LINKS)):
        response = getattr(web, method)(url(asked, number) + "?act=confirm")
        assert response.status_code == 200
        assert "no-store" in response["Cache-Control"]
        assert not response.cookies
    assert Spooled.objects.count() == 0
    assert asked.status() == "opted_in"


@pytest.mark.parametrize(("number", "status"), [(0, "confirmed"), (1, "confirmed_custom")])
def test_from_opted_in_to_confirmed(web: Client, asked: Sent, number: int, status: str) -> None:
    assert asked.status() == "opted_in"
    response = web.post(url(asked, number), {"act": "confirm"})
    assert Spooled.objects.count() == 1  # before anybody has understood it
    if number == 0:
        assert response.status_code == 303
        assert response["Location"] == "https://shop.example/danke-sch%C3%B6n?a=1"
        assert response["Referrer-Policy"] == "no-referrer"
    else:
        assert response.status_code == 200
        assert "Thank you" in text(response)
        assert "The Shop" in text(response)
    heard()
    assert asked.status() == status
    event = ledger.Event.objects.get(kind="confirmed")
    assert (event.source, event.topic, event.delivery_id) == ("link", None, asked.delivery)
    (clicked, confirmed) = sorted(asked.events())
    method = LINKS[number][1]
    assert confirmed == ("confirmed", {"method": method, "link": number, "user_agent": FIREFOX})
    assert clicked[0] == "clicked"
    assert (asked.row().response, asked.row().clicks) == ("clicked", 1)
    assert ledger.Address.objects.get().engaged_at == event.occurred_at


def test_one_topic_is_confirmed_and_no_other(web: Client, asked: Sent) -> None:
    say("opted_out", SENT + SECOND)
    assert "mail about “Spring offers”" in text(web.post(url(asked, 2)))
    heard()
    event = ledger.Event.objects.get(kind="confirmed")
    assert event.topic == "Spring offers"
    assert asked.status() == "opted_out"
    row = ledger.TopicStanding.objects.get()
    assert (row.topic, row.blocks_broadcast) == ("Spring offers", None)
    assert ledger.Address.objects.get().blocks_broadcast is not None
    assert ledger.Mailing.objects.get().topic is None


def test_confirming_twice_changes_nothing_more(web: Client, asked: Sent) -> None:
    for _ in range(2):
        assert web.post(url(asked)).status_code == 303
    spooled = [(row.kind, row.received_at, row.envelope) for row in Spooled.objects.all()]
    heard()
    heard()
    assert asked.status() == "confirmed"
    assert ledger.Event.objects.filter(kind="confirmed").count() == 2
    # Killed before it was forgotten, a press is heard again: the same event.
    for kind, received_at, envelope in spooled:
        Spooled.objects.create(kind=kind, received_at=received_at, envelope=envelope, content=b"")
    heard()
    assert ledger.Event.objects.filter(kind="confirmed").count() == 2
    assert ledger.RefusedEvent.objects.count() == 0
    assert Kept.objects.count() == 0


@pytest.mark.parametrize("kind", ["opted_out", "list_unsubscribed", "spam_reported", "complained"])
def test_who_had_left_since_the_request_and_confirms_is_back(
    web: Client, asked: Sent, kind: str
) -> None:
    say(kind, SENT + SECOND, mailing="welcome")
    assert asked.status() == kind
    web.post(url(asked))
    heard()
    assert asked.status() == "confirmed"


def test_who_confirms_leaves_and_confirms_again_is_back(web: Client, asked: Sent) -> None:
    web.post(url(asked))
    heard()
    say("opted_out", ledger.Event.objects.get(kind="confirmed").occurred_at + 1)
    assert asked.status() == "opted_out"
    web.post(url(asked))
    heard()
    assert asked.status() == "confirmed"


def test_a_link_that_confirms_cannot_be_followed_as_another_and_no_other_confirms(
    web: Client, asked: Sent
) -> None:
    mailing = ledger.Mailing.objects.get()
    ledger.Link.objects.create(mailing=mailing, number=7, url="https://shop.example/")
    assert web.get(f"/link/{asked.token('click', 0)}").status_code == 404
    for number in (7, 8):
        assert web.get(url(asked, number)).status_code == 404
        assert web.post(url(asked, number)).status_code == 404
    assert Spooled.objects.count() == 0


def _tokens(asked: Sent) -> list[str]:
    """Tokens for other things, cut, forged, and changed at random."""
    good = asked.token("confirm", 0)
    others = [asked.token("click", 0), asked.token("unsubscribe"), asked.token("preferences")]
    forged = Signer([b"another key altogether"]).sign("confirm", asked.delivery, 0)
    shapes = [asked.token("confirm"), asked.token("confirm", 0, 0), forged, "x", "ä", "a" * 199]
    chance = random.Random(7)
    letters = "abcdefghijklmnopqrstuvwxyz234567=-_.%"
    changed = []
    for _ in range(200):
        spoilt = list(good)
        for _ in range(chance.randint(1, 4)):
            spoilt[chance.randrange(len(spoilt))] = chance.choice(letters)
        changed.append("".join(spoilt[: chance.randint(1, len(spoilt))]))
    return [*others, *shapes, *(good[:n] for n in range(1, len(good))), *changed]


def test_a_token_that_is_not_ours_gets_a_plain_answer(web: Client, asked: Sent) -> None:
    good = asked.token("confirm", 0)
    for token in _tokens(asked):
        if token.lower() == good or "%" in token:
            continue
        for method in (web.get, web.post):
            response = method(f"/confirm/{token}/")
            assert response.status_code == 404, token
    assert "This link is not one of ours" in text(web.get("/confirm/aaaa/"))
    assert Spooled.objects.count() == 0


@pytest.mark.parametrize("slash", ["", "/"])
def test_in_capitals_and_without_its_last_slash(web: Client, asked: Sent, slash: str) -> None:
    token = asked.token("confirm", 0).upper()
    assert web.post(f"/confirm/{token}{slash}").status_code == 303


def test_while_the_spool_fails_nobody_is_told_it_is_done(
    web: Client, asked: Sent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool, "_try", lambda _: OperationalError("disk full"))
    for number in range(len(LINKS)):
        response = web.post(url(asked, number))
        assert (response.status_code, response.get("Location")) == (503, None)
        assert response["Retry-After"]
        assert "Please try again" in text(response)


def test_one_can_confirm_while_the_ledger_is_away(
    web: Client, asked: Sent, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object) -> None:
        raise OperationalError

    with monkeypatch.context() as patched:
        patched.setattr(pages.lookup, "confirmation", away)
        assert "Please confirm" in text(web.get(url(asked, 1)))
        assert "Thank you" in text(web.post(url(asked, 1)))
    heard()
    assert asked.status() == "confirmed_custom"


def test_a_link_that_is_gone_confirms_nothing(asked: Sent) -> None:
    spool.put(HTTP, Visit("confirm", asked.delivery, "POST", link=9))
    spool.put(HTTP, Visit("confirm", asked.delivery, "POST"))
    heard()
    assert asked.kinds() == []
    assert {kept.note for kept in Kept.objects.all()} == {
        "the link that its token names confirms nothing"
    }


def test_other_methods_are_refused(web: Client, asked: Sent) -> None:
    assert web.put(url(asked)).status_code == 405
    assert Spooled.objects.count() == 0
