"""Histories of events to fold: drawn by hypothesis, or by a seeded chance where many are wanted.

Few addresses, mailings, topics and moments, so that ties, repeats and clashes happen.
"""

from __future__ import annotations

import random
from typing import Any

from hypothesis import strategies as st

from goodstanding.core.addresses import Address
from goodstanding.core.events import KINDS, Event

HOUR = 3_600_000_000
DAY = 24 * HOUR
START = 1_700_000_000_000_000

ADDRESSES = (
    Address("email", "ana@example.com"),
    Address("email", "bo@example.net"),
    Address("sms", "+34600000001"),
)
MAILINGS = {
    "spring": "broadcast",
    "summer": "broadcast",
    "autumn": "sequence",
    "receipt": "transactional",
    "welcome": "confirmation",
    "note": "one_off",
    "goodbye": "acknowledgement",
}
TOPICS = ("news", "offers")
CATEGORIES = (
    *("mailbox_unknown", "domain_unknown", "mailbox_full", "greylisted", "timed_out"),
    *("reputation", "rate_limited", "spam_content", "provider_suppressed", "undetermined"),
    *("carrier_opted_out", "forwarding_failed"),
)
# Hours and minutes after the start: close together, so that they collide, and months away.
MOMENTS = tuple(
    START + at
    for at in (
        *(0, 1, 2, HOUR, 2 * HOUR, DAY, 3 * DAY, 3 * DAY + 1, 5 * DAY, 8 * DAY, 13 * DAY),
        *(14 * DAY, 15 * DAY, 20 * DAY, 31 * DAY, 50 * DAY, 121 * DAY, 130 * DAY, 370 * DAY),
    )
)
END = MOMENTS[-1] + 400 * DAY


class Chance:
    """Draws from hypothesis or from a seeded generator alike."""

    def __init__(self, draw: Any = None, seed: int = 0) -> None:
        self._draw = draw
        self._random = random.Random(seed)

    def pick(self, choices: Any) -> Any:
        return (
            self._draw(st.sampled_from(choices))
            if self._draw is not None
            else self._random.choice(choices)
        )


def detail_of(chance: Chance, kind: str, mood: tuple[str, ...]) -> dict[str, Any]:
    if kind in ("bounced", "deferred") and mood == MOODS[3]:
        return {
            "category": chance.pick(("mailbox_full", "mailbox_full", "mailbox_full", "reputation"))
        }
    if kind in ("bounced", "deferred"):
        category = chance.pick((None, *CATEGORIES))
        said: dict[str, Any] = {"category": category} if category else {}
        if category == "timed_out":
            said["disposition"] = chance.pick(("soft", "block"))
        return said
    if kind == "sent":
        return chance.pick(({}, {}, {"reports": False}, {"reports": True}))
    if kind == "skipped":
        return {"reason": chance.pick(("opted_out", "duplicate", "control_group"))}
    if kind == "stopped":
        return {"reason": chance.pick(("expired", "by hand"))}
    if kind == "opted_in":
        return {"how": chance.pick(("form", "order", "phone", "link"))}
    if kind == "confirmed":
        return {"method": chance.pick(("standard", "custom"))}
    if kind == "imported":
        return {"permission": chance.pick((True, False))}
    return {}


_COMMON = ("sent", "sent", "sent", "delivered", "delivered", "bounced", "bounced", "deferred")
FOLDED = tuple(kind for kind in KINDS if KINDS[kind].about != "record")
# What a history tells of: with everything in it, nearly every address ends up complained.
MOODS = (
    FOLDED,
    (*_COMMON, *(kind for kind in FOLDED if KINDS[kind].about in ("delivery", "operator"))),
    (*_COMMON, "opened", "clicked", "opted_in", "confirmed", "imported", "opted_out"),
    ("sent", "deferred", "bounced", "bounced", "bounced", "undelivered", "opted_in"),
    ("sent", "delivered", "delivered", "delivered", "machine_opened", "opted_in", "imported"),
)


def event_of(
    chance: Chance,
    number: int,
    addresses: tuple[Address, ...] = ADDRESSES,
    mood: tuple[str, ...] = FOLDED,
) -> Event:
    kind = chance.pick(mood)
    about = KINDS[kind].about
    mailing = chance.pick((*MAILINGS, *MAILINGS, None)) if about in ("delivery", "person") else None
    return Event(
        kind=kind,
        occurred_at=chance.pick(MOMENTS),
        address=chance.pick(addresses),
        source="api",
        # Some keys are near each other in order, some are hashes.
        key=chance.pick(("", f"{9 - number % 10}-{number}")),
        mailing=mailing,
        recipient=chance.pick(("", "", "", "contact-2")) if mailing else "",
        purpose=MAILINGS[mailing] if mailing else None,
        topic=chance.pick((None, None, *TOPICS)),
        detail=detail_of(chance, kind, mood),
    )


@st.composite
def histories(draw: Any, most: int = 25, addresses: tuple[Address, ...] = ADDRESSES) -> list[Event]:
    count = draw(st.integers(1, most))
    chance = Chance(draw)
    mood = chance.pick(MOODS)
    return [event_of(chance, number, addresses, mood) for number in range(count)]


def history(seed: int, count: int, addresses: tuple[Address, ...] = ADDRESSES) -> list[Event]:
    """A history whose addresses each have a mood of their own."""
    chance = Chance(seed=seed)
    moods = {address: chance.pick(MOODS) for address in addresses}
    events = []
    for number in range(count):
        address = chance.pick(addresses)
        events.append(event_of(chance, number, (address,), moods[address]))
    return events
