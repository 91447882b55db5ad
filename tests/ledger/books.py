"""What a ledger says, without ids: to be compared with another ledger, or with core's fold."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from django.db import connection

from goodstanding.core.addresses import Address
from goodstanding.core.events import Event
from goodstanding.core.gate import ORDER, PURPOSES, Blocks
from goodstanding.core.history import fold, freeze
from goodstanding.core.memory import SLOTS
from goodstanding.core.policies import Policy
from goodstanding.ledger import clock, models, recording

TABLES = ("refusedevent", "change", "event", "delivery", "topicstanding", "mailingtally")
TABLES += ("statustally", "link", "mailing", "address", "traffic", "trafficnews")

_STANDING = ("status", "family", "consent", "since", "led_by", "category", "streak", "engaged_at")
_STANDING += ("due_at", "policy", "registers")
_BLOCKS = tuple(f"blocks_{purpose}" for purpose in PURPOSES)
_NOTES = ("hard_category", "deferred_category", "category", "skip_reason", "stop_reason")
_DELIVERY = ("reports", "response", "since", "opens", "clicks", "machine_opens", *_NOTES)
_TIMES = tuple(f"{slot}_{which}" for slot in SLOTS for which in ("first", "last"))

Book = dict[str, dict[Any, Any]]


def empty() -> None:
    """Forget everything, for a second ledger in the same database."""
    with connection.cursor() as cursor:
        for table in TABLES:
            cursor.execute(f"DELETE FROM ledger_{table}")


def book(*, events: bool = True) -> Book:
    """All rows but changes, which tell of the way and not of the place."""
    said: Book = {
        "addresses": {
            tuple(row[:2]): tuple(row[2:])
            for row in models.Address.objects.values_list("channel", "value", *_STANDING, *_BLOCKS)
        },
        "topics": {
            tuple(row[:2]): tuple(row[2:])
            for row in models.TopicStanding.objects.values_list("address__value", "topic", *_BLOCKS)
        },
        "deliveries": {
            tuple(row[:3]): tuple(row[3:])
            for row in models.Delivery.objects.values_list(
                "address__value", "mailing__name", "recipient", *_DELIVERY, *_TIMES
            )
        },
        "mailings": {
            row[0]: tuple(row[1:])
            for row in models.Mailing.objects.values_list(
                "name", "purpose", "topic", "started_at", "ended_at"
            )
        },
        "mailing tallies": {
            tuple(row[:2]): row[2]
            for row in models.MailingTally.objects.values_list("mailing__name", "name", "count")
            if row[2]
        },
        "status tallies": {
            tuple(row[:3]): row[3]
            for row in models.StatusTally.objects.values_list("day", "channel", "status", "count")
            if row[3]
        },
    }
    if events:
        said["events"] = {
            tuple(row[:2]): tuple(row[2:])
            for row in models.Event.objects.values_list(
                "address__value", "key", "kind", "occurred_at", "source", "topic", "detail"
            )
        }
    return said


def differences(one: Book, other: Book) -> list[str]:
    return [
        f"{what} {place}: {one[what].get(place)} / {other[what].get(place)}"
        for what in one
        for place in one[what].keys() | other[what].keys()
        if one[what].get(place) != other[what].get(place)
    ]


def settle(now: int) -> None:
    """Let the clock run until nothing is due."""
    while clock.tick(now):
        pass


def in_batches(events: Sequence[Event], chance: random.Random, now: int, largest: int = 40) -> None:
    """Record in any order, in batches of any size, some events twice."""
    again = [*events, *chance.choices(events, k=len(events) // 3)]
    chance.shuffle(again)
    while again:
        size = chance.randint(1, largest)
        batch, again = again[:size], again[size:]
        assert not recording.record(batch, now).refused


def of_core(events: Sequence[Event], policy: Policy, now: int) -> Book:
    """What core's fold makes of the same events; without what only a ledger has."""
    said: Book = {"addresses": {}, "topics": {}, "deliveries": {}}
    by_address: dict[Address, list[Event]] = {}
    for event in events:
        by_address.setdefault(event.address, []).append(event)
    for address, heard in by_address.items():
        history = freeze(fold(address.channel, heard), heard, policy)
        standing = history.standing(policy, now)
        said["addresses"][address.channel, address.value] = (
            *(getattr(standing, name) for name in _STANDING[:-2]),
            *_places(standing.blocks),
        )
        for topic, blocks in standing.topics.items():
            said["topics"][address.value, topic] = _places(blocks)
        for place, each, response in zip(
            history.deliveries, history.deliveries.values(), standing.responses, strict=True
        ):
            memory = each.memory
            said["deliveries"][address.value, *place] = (
                *(each.reports, response.name, response.since),
                *(each.opens, each.clicks, each.machine_opens),
                *(getattr(memory, note) for note in _NOTES),
                *memory.times,
            )
    return said


def as_core_says(said: Book) -> Book:
    """The part of a ledger's book that core knows of."""
    known = len(_STANDING) - 2
    return {
        "addresses": {
            place: (*row[:known], *row[len(_STANDING) :])
            for place, row in said["addresses"].items()
        },
        "topics": said["topics"],
        "deliveries": said["deliveries"],
    }


def _places(blocks: Blocks) -> tuple[int | None, ...]:
    return tuple(ORDER[reason] if (reason := blocks[purpose]) else None for purpose in PURPOSES)
