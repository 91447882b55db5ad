"""Finding what tokens and imports name: deliveries, addresses, links. Reads only."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import msgspec
from django.db.models import Max

from goodstanding.core.addresses import Address, Channel
from goodstanding.ledger import models


class Found(msgspec.Struct, frozen=True):
    """A delivery: whose it is, of which mailing, and when it was sent (microseconds)."""

    delivery: int
    address: Address
    address_id: int
    mailing: str | None
    topic: str | None
    recipient: str
    sent_at: int | None


def deliveries(ids: Iterable[int]) -> dict[int, Found]:
    """The deliveries with those ids; what is not there is left out."""
    rows = models.Delivery.objects.filter(pk__in=set(ids)).values_list(
        "pk",
        "address__channel",
        "address__value",
        "address_id",
        "mailing__name",
        "mailing__topic",
        "recipient",
        "sent_first",
    )
    return {
        row[0]: Found(
            row[0], Address(cast(Channel, row[1]), row[2]), row[3], row[4], row[5], row[6], row[7]
        )
        for row in rows
    }


def address_ids(addresses: Iterable[Address]) -> dict[Address, int]:
    """The ids of those addresses that the ledger has heard of."""
    found: dict[Address, int] = {}
    by_channel: dict[str, list[str]] = {}
    for address in set(addresses):
        by_channel.setdefault(address.channel, []).append(address.value)
    for channel, values in by_channel.items():
        for start in range(0, len(values), 10_000):
            rows = models.Address.objects.filter(
                channel=channel, value__in=values[start : start + 10_000]
            ).values_list("value", "pk")
            found.update((Address(cast(Channel, channel), value), pk) for value, pk in rows)
    return found


def last_address() -> int:
    """The highest id of an address, 0 where there is none: whoever looks through all goes there."""
    return models.Address.objects.aggregate(last=Max("pk"))["last"] or 0


def link(delivery: int, number: int) -> str | None:
    """Where that link of the delivery's mailing leads, None where there is none.

    One that confirms is not among them: see ``confirmation``.
    """
    return (
        models.Link.objects.filter(mailing__delivery=delivery, number=number, confirms__isnull=True)
        .values_list("url", flat=True)
        .first()
    )


class Confirmation(msgspec.Struct, frozen=True):
    """A link by which a person confirms, and who they are.

    ``url``: the page that it leads to, empty for our own. ``topic``: what they confirm, None for
    everything. ``method``: ``standard`` or ``custom``.
    """

    address: Address
    mailing: str
    url: str
    topic: str | None
    method: str
    number: int


def confirmation(delivery: int, number: int) -> Confirmation | None:
    """What that link of the delivery's mailing confirms, None where it confirms nothing."""
    row = (
        models.Delivery.objects.filter(
            pk=delivery, mailing__link__number=number, mailing__link__confirms__isnull=False
        )
        .values_list(
            "address__channel",
            "address__value",
            "mailing__name",
            "mailing__link__url",
            "mailing__link__topic",
            "mailing__link__confirms",
        )
        .first()
    )
    if row is None:
        return None
    address = Address(cast(Channel, row[0]), row[1])
    return Confirmation(address, row[2], row[3], row[4], cast(str, row[5]), number)
