"""Where all addresses stand, by family, status and channel. Asks tallies, counts no addresses."""

from __future__ import annotations

from typing import Final, cast

import msgspec
from django.db.models import Sum
from django.utils.translation import get_language, gettext, pgettext

from goodstanding.core import vocabularies
from goodstanding.core.addresses import Channel
from goodstanding.core.standings import STATUSES
from goodstanding.ledger import models

CHANNELS: Final[tuple[Channel, ...]] = ("email", "sms")


class Status(msgspec.Struct, frozen=True):
    """One status: how many addresses stand in it, in all and by channel."""

    key: str
    name: str
    meaning: str
    count: int
    counts: tuple[int, ...]


class Family(msgspec.Struct, frozen=True):
    """The statuses of one family in which there is anybody; ``percent`` of all, None of none."""

    key: str
    name: str
    meaning: str
    count: int
    counts: tuple[int, ...]
    percent: float | None
    statuses: tuple[Status, ...]


class Standings(msgspec.Struct, frozen=True):
    """All addresses. ``channels`` names the columns that all ``counts`` have."""

    count: int
    channels: tuple[str, ...]
    families: tuple[Family, ...]


def now_standing() -> Standings:
    """Where all addresses stand at present."""
    counts: dict[tuple[str, str], int] = {
        (row["channel"], row["status"]): row["total"]
        for row in models.StatusTally.objects.values("channel", "status").annotate(
            total=Sum("count")
        )
        if row["total"]
    }
    channels = tuple(
        channel for channel in CHANNELS if any(channel == heard for heard, _ in counts)
    )
    total = sum(counts.values())
    families = tuple(
        _family(key, name, meaning, counts, channels, total)
        for key, name, meaning in (
            (
                "good",
                pgettext("family of standings", "Good"),
                gettext("They agreed, and what is sent to them arrives."),
            ),
            (
                "bad",
                pgettext("family of standings", "Bad"),
                gettext("They never agreed, or no longer do, or something is in the way."),
            ),
            (
                "ugly",
                pgettext("family of standings", "Ugly"),
                gettext("They complained, or nothing can be delivered to them."),
            ),
        )
    )
    names = {"email": gettext("Email"), "sms": gettext("SMS")}
    return Standings(total, tuple(names[channel] for channel in channels), families)


def _family(
    key: str,
    name: str,
    meaning: str,
    counts: dict[tuple[str, str], int],
    channels: tuple[Channel, ...],
    total: int,
) -> Family:
    words = vocabularies.choose("goodstanding", get_language())
    statuses = []
    for status, entry in STATUSES.items():
        by_channel = tuple(counts.get((channel, status), 0) for channel in channels)
        if entry.family == key and any(by_channel):
            statuses.append(
                Status(
                    status,
                    cast(str, words.status_name(status)),
                    words.status_meaning(status) or "",
                    sum(by_channel),
                    by_channel,
                )
            )
    statuses.sort(key=lambda status: -status.count)
    sums = tuple(sum(column) for column in zip(*(each.counts for each in statuses), strict=True))
    count = sum(sums)
    return Family(
        key,
        name,
        meaning,
        count,
        sums or (0,) * len(channels),
        100 * count / total if total else None,
        tuple(statuses),
    )
