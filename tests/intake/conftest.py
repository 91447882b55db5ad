"""A ledger with a delivery or two in it, and a sender with a name.

This is loaded before Django is set up: whatever has models is imported within.
"""

from typing import TYPE_CHECKING

import msgspec
import pytest

from goodstanding.core.addresses import normalise
from goodstanding.core.events import SECOND, Event

if TYPE_CHECKING:
    from tests.intake.post import SendIt, Sent


@pytest.fixture(autouse=True)
def _options(monkeypatch: pytest.MonkeyPatch) -> None:
    from django.conf import settings

    from tests.intake.post import DOMAIN, SENDER

    options = msgspec.structs.replace(
        settings.OPTIONS, sender_address=SENDER, sender_name="The Shop", bounce_domain=DOMAIN
    )
    monkeypatch.setattr(settings, "OPTIONS", options)


@pytest.fixture
def send() -> "SendIt":
    """Record that a mailing was sent to somebody who had opted in; give the delivery."""
    from goodstanding.ledger import models
    from goodstanding.ledger.recording import record
    from tests.intake.post import SENT, Sent

    def sent(
        address: str = "ann@example.net", mailing: str = "spring", topic: str | None = None
    ) -> Sent:
        whom = normalise("email", address)
        record(
            [
                Event("opted_in", SENT - 86_400 * SECOND, whom, "import"),
                Event("sent", SENT, whom, "smtp", mailing=mailing, topic=topic),
            ],
            SENT,
        )
        row = models.Delivery.objects.get(address__value=whom.value, mailing__name=mailing)
        return Sent(row.pk, whom.value)

    return sent


@pytest.fixture
def ann(send: "SendIt") -> "Sent":
    return send()
