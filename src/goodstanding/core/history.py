"""The fold over one address's whole history, in memory: what `why`, what-if and rebuilding use."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from goodstanding.core import memory, registers
from goodstanding.core.annulments import Predicates, is_annulled
from goodstanding.core.events import KINDS, Event, key_of
from goodstanding.core.gate import PURPOSE_ORDER
from goodstanding.core.memory import Memory
from goodstanding.core.policies import Policy
from goodstanding.core.registers import Registers
from goodstanding.core.responses import frozen_at, is_late
from goodstanding.core.standings import Delivery, Standing, stand

DeliveryKey = tuple[str | None, str]
"""A mailing's name and the recipient; without a mailing None and the event's key."""


class Remembered(msgspec.Struct):
    """One delivery as folded from its events."""

    memory: Memory = Memory()
    purpose: str = "broadcast"
    reports: bool = True
    opens: int = 0
    clicks: int = 0
    machine_opens: int = 0


class History(msgspec.Struct):
    """All that is known of one address."""

    channel: str
    registers: Registers = Registers()
    deliveries: dict[DeliveryKey, Remembered] = {}
    counted: dict[DeliveryKey, Remembered] = {}
    """Deliveries of which something came after their statistics froze, as they were then."""

    def as_counted(self, place: DeliveryKey) -> Remembered:
        """One of the deliveries, as its mailing's statistics count it."""
        return self.counted.get(place) or self.deliveries[place]

    def standing(self, policy: Policy, now: int, *, planning: bool = False) -> Standing:
        """Where the address stands; its responses in the order of ``deliveries``.

        ``planning``: as for ``stand``.
        """
        facts = [
            Delivery(
                each.memory, each.purpose, each.reports, place[0], (by_then.memory, by_then.reports)
            )
            for place, each in self.deliveries.items()
            for by_then in (self.as_counted(place),)
        ]
        return stand(self.registers, facts, policy, self.channel, now, planning=planning)


def fold(
    channel: str,
    events: Iterable[Event],
    purposes: Mapping[str, str] | None = None,
    annulled: Predicates = (),
) -> History:
    """Fold events of one address, in any order, hearing those with the same key once.

    ``purposes``: mailings' purposes by name, where other than what the events say. ``annulled``:
    what is not to count.
    """
    history = History(channel)
    heard: set[str] = set()
    said: dict[str, str] = {}
    for event in events:
        key = key_of(event)
        if key in heard:
            continue
        heard.add(key)
        delivery = _delivery(history, event, key)
        if not is_annulled(event, annulled):
            history.registers = registers.hear(
                history.registers,
                event.kind,
                event.occurred_at,
                key,
                event.detail,
                topic=event.topic,
                mailing=event.mailing or "",
            )
            if delivery is not None:
                _remember(delivery, event)
        if event.mailing is not None:
            said[event.mailing] = max(
                said.get(event.mailing, ""), event.purpose or "", key=PURPOSE_ORDER.__getitem__
            )
    said.update(purposes or {})
    for (mailing, _), delivery in history.deliveries.items():
        if mailing is not None:
            delivery.purpose = said[mailing] or "broadcast"
    history.deliveries = dict(sorted(history.deliveries.items(), key=lambda item: _order(item[0])))
    return history


def freeze(
    history: History, events: Iterable[Event], policy: Policy, annulled: Predicates = ()
) -> History:
    """The history with what its statistics count by that policy; ``events``: it was folded from."""
    frozen = {
        place: at
        for place, each in history.deliveries.items()
        if is_late(each.memory, policy) and (at := frozen_at(each.memory, policy)) is not None
    }
    if not frozen:
        return history
    by_then = [
        event
        for event in events
        if (place := _place(event, key_of(event))) in frozen and event.occurred_at <= frozen[place]
    ]
    counted = fold(history.channel, by_then, annulled=annulled).deliveries
    for place, each in counted.items():
        each.purpose = history.deliveries[place].purpose
    return msgspec.structs.replace(history, counted=counted)


def _delivery(history: History, event: Event, key: str) -> Remembered | None:
    """The delivery that an event is about."""
    place = _place(event, key)
    return None if place is None else history.deliveries.setdefault(place, Remembered())


def _place(event: Event, key: str) -> DeliveryKey | None:
    """Which delivery an event is about."""
    if memory.slot_of(event.kind, event.detail) is None:
        return None
    if event.mailing is None and KINDS[event.kind].about != "delivery":
        return None
    return (event.mailing, event.recipient if event.mailing is not None else key)


def _remember(delivery: Remembered, event: Event) -> None:
    delivery.memory = memory.remember(delivery.memory, event.kind, event.occurred_at, event.detail)
    delivery.reports = delivery.reports and event.detail.get("reports") is not False
    counts = KINDS[event.kind].counts
    if counts == "opens":
        delivery.opens += 1
    elif counts == "clicks":
        delivery.clicks += 1
    elif counts == "machine_opens":
        delivery.machine_opens += 1


def _order(place: DeliveryKey) -> tuple[str, str]:
    return (place[0] or "", place[1])
