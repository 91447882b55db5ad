"""Weeks of a sender's life, as events: mailings that arrive, and bounces, ordinary or false."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from goodstanding.core.addresses import Address
from goodstanding.core.events import Event
from goodstanding.ledger.recording import record

SECOND = 1_000_000
HOUR = 3_600 * SECOND
DAY = 24 * HOUR
START = 20_500 * DAY + 9 * HOUR
NOW = START + 100 * DAY
WEEK = 7 * DAY

GONE = {
    "category": "mailbox_unknown",
    "disposition": "hard",
    "rule": "user-unknown",
    "words": "user unknown",
}


def people(many: int, *domains: str, name: str = "p") -> list[Address]:
    return [Address("email", f"{name}{n}@{domains[n % len(domains)]}") for n in range(many)]


def sent(
    mailing: str, who: Sequence[Address], at: int, over: int = HOUR, **detail: Any
) -> Iterator[Event]:
    """Handed over, one after the other in that time."""
    for place, person in enumerate(who):
        when = at + over * place // len(who)
        yield Event("sent", when, person, "smtp", mailing=mailing, detail=detail)


def arrived(
    mailing: str, who: Sequence[Address], at: int, over: int = HOUR, **detail: Any
) -> Iterator[Event]:
    """The same, and a second later each of them is delivered."""
    for event in sent(mailing, who, at, over, **detail):
        yield event
        yield Event("delivered", event.occurred_at + SECOND, event.address, "smtp", mailing=mailing)


def failed(
    mailing: str, who: Sequence[Address], at: int, over: int = HOUR, **detail: Any
) -> Iterator[Event]:
    """The same, but each of them bounces hard."""
    for event in sent(mailing, who, at, over):
        yield event
        when = event.occurred_at + SECOND
        said = GONE | detail
        yield Event("bounced", when, event.address, "dsn", mailing=mailing, detail=said)


def hear(*streams: Iterable[Event], now: int = NOW, largest: int = 5_000) -> None:
    batch: list[Event] = []
    for event in (event for stream in streams for event in stream):
        batch.append(event)
        if len(batch) == largest:
            assert not record(batch, now).refused
            batch = []
    assert not record(batch, now).refused
