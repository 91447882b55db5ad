"""What every mailing of these tests is sent with."""

import msgspec
import pytest


@pytest.fixture(autouse=True)
def _options(monkeypatch: pytest.MonkeyPatch) -> None:
    from django.conf import settings

    options = msgspec.structs.replace(
        settings.OPTIONS,
        sender_name="The Shop",
        sender_address="news@shop.example",
        postal_address="1 High Street, Anytown",
        base_url="https://go.shop.example",
        bounce_domain="bounces.shop.example",
    )
    monkeypatch.setattr(settings, "OPTIONS", options)
