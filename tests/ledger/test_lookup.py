"""What tokens name is found: links that lead somewhere, and links that confirm."""

from __future__ import annotations

import pytest

from goodstanding.core.addresses import Address
from goodstanding.core.events import Event
from goodstanding.ledger import lookup, models, recording
from goodstanding.ledger.lookup import Confirmation

pytestmark = pytest.mark.django_db

NOW = 1_700_000_000_000_000
ANA = Address("email", "ana@example.com")


def delivery(mailing: str) -> int:
    """A delivery of a mailing with a plain link, one that confirms, and one for a topic alone."""
    event = Event("sent", NOW, ANA, "smtp", mailing=mailing, purpose="confirmation")
    recording.record([event], NOW)
    row = models.Delivery.objects.get(mailing__name=mailing)
    for number, url, confirms, topic in (
        (1, "https://shop.example/", None, None),
        (2, "https://shop.example/thanks", "standard", None),
        (3, "", "custom", "news"),
    ):
        models.Link.objects.create(
            mailing_id=row.mailing_id, number=number, url=url, confirms=confirms, topic=topic
        )
    return row.pk


def test_a_link_that_confirms_says_what_and_for_whom() -> None:
    welcome, other = delivery("welcome"), delivery("other")
    assert lookup.confirmation(welcome, 2) == Confirmation(
        ANA, "welcome", "https://shop.example/thanks", None, "standard", 2
    )
    assert lookup.confirmation(other, 3) == Confirmation(ANA, "other", "", "news", "custom", 3)


def test_a_link_either_leads_or_confirms() -> None:
    welcome = delivery("welcome")
    assert lookup.link(welcome, 1) == "https://shop.example/"
    assert lookup.confirmation(welcome, 1) is None
    assert lookup.link(welcome, 2) is None
    assert lookup.link(welcome, 3) is None


def test_what_nobody_made_is_not_found() -> None:
    welcome = delivery("welcome")
    assert lookup.confirmation(welcome, 4) is None
    assert lookup.confirmation(welcome + 1, 2) is None
    assert lookup.link(welcome + 1, 1) is None
