"""How far the newest mailings have come, and what came back. Asks tallies, counts no deliveries."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Final, Literal, cast

import msgspec
from django.db.models import Exists, OuterRef
from django.utils.translation import get_language, pgettext

from goodstanding.core import vocabularies
from goodstanding.core.addresses import Channel
from goodstanding.core.vocabularies import Vocabulary
from goodstanding.ledger import models
from goodstanding.ledger.policy import active_policy
from goodstanding.mailings.models import Outbox

NEWEST: Final = 10

State = Literal["planning", "sending", "completed"]

_SKIPPED: Final = "skipped:"
_ON_HOLD: Final = "deferred"
_SENT: Final = ("delivered", "in_flight", "not_delivered", "on_hold")
_SEVERAL: Final = ("delivered", "not_delivered", "not_sent")
_IN_ALL: Final = ("opens", "clicks", "unsubscribes", "complaints")


class Line(msgspec.Struct, frozen=True):
    """A name and how many have it."""

    name: str
    count: int


class Part(msgspec.Struct, frozen=True):
    """What became of some of a mailing's messages: the responses of one group.

    ``start`` and ``width`` place it on the bar, in thousandths of all that is scheduled, as text
    with a decimal point whatever the language.
    """

    key: str
    name: str
    count: int
    lines: tuple[Line, ...]
    start: str
    width: str

    @property
    def says_more(self) -> bool:
        """Whether its responses say more than its name does."""
        return len(self.lines) > 1 or self.key in _SEVERAL


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """One mailing's progress. Times in microseconds; ``percent`` is rounded down.

    ``scheduled`` is everybody it was planned for: those skipped, those it was sent to (or tried:
    ``on_hold`` where a server asked to try again later), those it is still to be sent to
    (``waiting``), and those it could not be sent to. ``starts_at`` is None once the first of it was
    sent. ``bar`` is everybody, ``parts`` all but the skipped, who are in ``reasons``.
    """

    name: str
    state: State
    starts_at: int | None
    started_at: int | None
    ended_at: int | None
    scheduled: int
    skipped: int
    sent: int
    waiting: int
    on_hold: int
    percent: int
    bar: tuple[Part, ...]
    parts: tuple[Part, ...]
    reasons: tuple[Line, ...]
    opens: int
    clicks: int
    unsubscribes: int
    complaints: int

    @property
    def under_way(self) -> bool:
        """Whether there is more to come of it."""
        return self.state != "completed"


def newest(now: int, most: int = NEWEST) -> list[Progress]:
    """The newest mailings, the newest first. ``now`` in microseconds."""
    mailings = list(
        models.Mailing.objects.select_related("content")
        .annotate(to_send=Exists(Outbox.objects.filter(mailing=OuterRef("pk"))))
        .order_by("-pk")[:most]
    )
    tallies: dict[int, dict[str, int]] = {mailing.pk: {} for mailing in mailings}
    for pk, name, count in models.MailingTally.objects.filter(
        mailing__in=list(tallies), count__gt=0
    ).values_list("mailing_id", "name", "count"):
        tallies[pk][name] = count
    return [_progress(mailing, tallies[mailing.pk], now) for mailing in mailings]


def _progress(mailing: models.Mailing, tally: Mapping[str, int], now: int) -> Progress:
    # Imported history has a mailing, but nothing that we would send.
    content = getattr(mailing, "content", None)
    state: State = "completed"
    if content is not None and content.planned_to < content.plan_until:
        state = "planning"
    elif mailing.to_send:  # type: ignore[attr-defined]  # annotated above
        state = "sending"
    begins = content.starts_at if content is not None and mailing.started_at is None else 0
    responses = {name: count for name, count in tally.items() if name not in _IN_ALL}
    words = vocabularies.choose("goodstanding", get_language())
    parts = _parts(responses, words, cast(Channel, mailing.channel))
    counts = Counter({part.key: part.count for part in parts})
    scheduled = sum(responses.values())
    waiting = counts["preparing"]
    # What somebody else holds back, in history that was imported, is not ours to send.
    left = waiting + counts["on_hold"] if state != "completed" else 0
    return Progress(
        name=mailing.name,
        state=state,
        starts_at=begins if begins > now else None,
        started_at=mailing.started_at,
        ended_at=mailing.ended_at if state == "completed" else None,
        scheduled=scheduled,
        skipped=counts["skipped"],
        sent=sum(counts[key] for key in _SENT),
        waiting=waiting,
        on_hold=counts["on_hold"],
        percent=100 * (scheduled - left) // scheduled if scheduled else 0,
        bar=parts,
        parts=tuple(part for part in parts if part.key != "skipped"),
        reasons=tuple(line for part in parts if part.key == "skipped" for line in part.lines),
        **{name: tally.get(name, 0) for name in _IN_ALL},
    )


def _parts(responses: Mapping[str, int], words: Vocabulary, channel: Channel) -> tuple[Part, ...]:
    """The parts of the bar, from its left, each with its responses in the policy's order."""
    rules = active_policy().responses
    place = {rule.name: number for number, rule in enumerate(rules)}
    group = {rule.name: str(rule.group) for rule in rules} | {_ON_HOLD: "on_hold"}
    ordered = sorted(responses, key=lambda name: (place.get(name, -1), -responses[name], name))
    lines: dict[str, list[Line]] = {}
    for name in ordered:
        skipped = name.startswith(_SKIPPED)
        line = Line(_name(name, words, channel), responses[name])
        lines.setdefault("skipped" if skipped else group.get(name, "in_flight"), []).append(line)
    whole = sum(responses.values()) or 1
    parts, start = [], 0
    for key, name in _names().items():
        count = sum(line.count for line in lines.get(key, ()))
        if count:
            edges = f"{1000 * start / whole:.2f}", f"{1000 * count / whole:.2f}"
            parts.append(Part(key, name, count, tuple(lines[key]), *edges))
            start += count
    return tuple(parts)


def _names() -> dict[str, str]:
    """What the parts are called, in the order of the bar."""
    return {
        "delivered": pgettext("messages", "Delivered"),
        "in_flight": pgettext("messages", "Sent, nothing heard yet"),
        "not_delivered": pgettext("messages", "Not delivered"),
        "on_hold": pgettext("messages", "On hold, to be tried again"),
        "not_sent": pgettext("messages", "Not sent"),
        "skipped": pgettext("messages", "Skipped"),
        "preparing": pgettext("messages", "Waiting"),
    }


def _name(response: str, words: Vocabulary, channel: Channel) -> str:
    """What we call a response; a reason to skip without the word "skipped" before it."""
    name = words.response_name(response, channel=channel) or response
    if not response.startswith(_SKIPPED):
        return name
    reason = name.partition(": ")[2] or name
    return reason[:1].upper() + reason[1:]
