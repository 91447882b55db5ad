"""Events for tests: times in days after a fixed day, addresses at example.com."""

from typing import Any

from goodstanding.core.addresses import Address, normalise
from goodstanding.core.events import Event
from goodstanding.ledger.recording import record

DAY = 86_400_000_000
START = 20_500 * DAY
"""2026-02-16."""

NOW = START + 30 * DAY


def address(name: str = "ann") -> Address:
    return normalise("email", f"{name}@example.com")


def event(kind: str, day: float, name: str = "ann", **said: Any) -> Event:
    said.setdefault("source", "import")
    return Event(kind=kind, occurred_at=START + int(day * DAY), address=address(name), **said)


def hear(*events: Event, now: int = NOW) -> None:
    recorded = record(events, now)
    assert not recorded.refused


def bounce(category: str, day: float, name: str = "ann", **said: Any) -> Event:
    return event("bounced", day, name, detail={"category": category}, **said)
