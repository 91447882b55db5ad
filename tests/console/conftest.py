"""An operator, and a broadcast of whom some were skipped, some bounced and some opened.

This is loaded before Django is set up: whatever has models is imported within.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest

from goodstanding.core.addresses import normalise
from goodstanding.core.events import SECOND, Event

if TYPE_CHECKING:
    from django.test import Client

    from tests.console.sending import Broadcast

NOW = 1_790_000_000 * SECOND  # 2026-09-21 14:13:20 UTC
NAME, PASSWORD = "ann", "a long enough secret"


@pytest.fixture(autouse=True)
def _options(monkeypatch: pytest.MonkeyPatch) -> None:
    from django.conf import settings

    options = msgspec.structs.replace(
        settings.OPTIONS,
        sender_name="The Shop",
        sender_address="news@shop.example",
        postal_address="1 High Street, Anytown",
    )
    monkeypatch.setattr(settings, "OPTIONS", options)


@pytest.fixture
def operator(request: pytest.FixtureRequest) -> None:
    request.getfixturevalue("db")
    from goodstanding.console import operators

    operators.create(NAME, PASSWORD)


@pytest.fixture
def signed_in(operator: None, client: "Client") -> "Client":
    assert client.login(username=NAME, password=PASSWORD)
    return client


@pytest.fixture
def broadcast(db: None, tmp_path: Path) -> "Broadcast":
    """Twelve contacts of whom two had left; planned to its end, nothing sent yet."""
    from goodstanding.contacts.importing import import_contacts
    from goodstanding.ledger.recording import record
    from tests.console.sending import Broadcast

    file = tmp_path / "people.csv"
    file.write_text("email\n" + "".join(f"p{n}@example.com\n" for n in range(12)))
    import_contacts(file, permission="signed the guest book", now=NOW)
    left = [normalise("email", f"p{n}@example.com") for n in (10, 11)]
    record(
        [
            Event("opted_out", NOW, left[0], "form"),
            Event("complained", NOW, left[1], "arf"),
        ],
        NOW,
    )
    return Broadcast.of("Autumn", NOW + SECOND)
