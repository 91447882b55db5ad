"""How far the newest mailings have come, and what came back, in the operator's language."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Final, cast

import msgspec
from django.utils.translation import get_language, pgettext

from goodstanding.answers import progress
from goodstanding.answers.progress import Progress, State
from goodstanding.core import vocabularies
from goodstanding.core.addresses import Channel
from goodstanding.core.vocabularies import Vocabulary
from goodstanding.ledger.policy import active_policy
from goodstanding.mailings.checking import NOBODY

NEWEST: Final = 10

_ON_HOLD: Final = "deferred"
_SENT: Final = ("delivered", "in_flight", "not_delivered", "on_hold")
_SEVERAL: Final = ("delivered", "not_delivered", "not_sent")


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


class Shown(msgspec.Struct, frozen=True, kw_only=True):
    """One mailing's progress as it is shown; ``percent`` is rounded down.

    ``sent``: those it was sent to, or tried (on hold where a server asked to try again later).
    ``starts_at`` (µs) is None once the first of it was sent. ``bar`` is everybody, ``parts`` all
    but the skipped, who are in ``reasons``. ``told``: who paused or stopped it and why.
    """

    of: Progress
    state_name: str
    told: Told | None
    starts_at: int | None
    skipped: int
    sent: int
    percent: int
    bar: tuple[Part, ...]
    parts: tuple[Part, ...]
    reasons: tuple[Line, ...]


class Told(msgspec.Struct, frozen=True):
    """Since when (µs) a mailing is paused or stopped, and why; ``by`` is None where it was us."""

    since: int | None
    by: str | None
    why: str


def newest(now: int, most: int = NEWEST) -> list[Shown]:
    """The newest mailings, the newest first. ``now`` in microseconds."""
    return [_shown(each, now) for each in progress.newest(now, most)]


def _shown(of: Progress, now: int) -> Shown:
    words = vocabularies.choose("goodstanding", get_language())
    skipped = {f"{progress.SKIPPED}{reason}": count for reason, count in of.skipped.items()}
    parts = _parts({**of.responses, **skipped}, words, cast(Channel, of.channel))
    counts = Counter({part.key: part.count for part in parts})
    begins = of.starts_at if of.started_at is None else None
    left = min(of.left, of.scheduled)
    return Shown(
        of=of,
        state_name=_state_names()[of.state],
        told=_told(of),
        starts_at=begins if begins is not None and begins > now else None,
        skipped=counts["skipped"],
        sent=sum(counts[key] for key in _SENT),
        percent=100 * (of.scheduled - left) // of.scheduled if of.scheduled else 0,
        bar=parts,
        parts=tuple(part for part in parts if part.key != "skipped"),
        reasons=tuple(line for part in parts if part.key == "skipped" for line in part.lines),
    )


def _told(of: Progress) -> Told | None:
    if of.state not in ("paused", "stopped"):
        return None
    return Told(of.since, None if of.by == NOBODY else of.by, of.why or "")


def _parts(responses: Mapping[str, int], words: Vocabulary, channel: Channel) -> tuple[Part, ...]:
    """The parts of the bar, from its left, each with its responses in the policy's order."""
    rules = active_policy().responses
    place = {rule.name: number for number, rule in enumerate(rules)}
    group = {rule.name: str(rule.group) for rule in rules} | {_ON_HOLD: "on_hold"}
    ordered = sorted(responses, key=lambda name: (place.get(name, -1), -responses[name], name))
    lines: dict[str, list[Line]] = {}
    for name in ordered:
        skipped = name.startswith(progress.SKIPPED)
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


def _state_names() -> dict[State, str]:
    return {
        "scheduled": pgettext("mailing", "Scheduled"),
        "planning": pgettext("mailing", "Planning"),
        "checking": pgettext("mailing", "Checking"),
        "sending": pgettext("mailing", "Sending"),
        "held": pgettext("mailing", "Held by the brake"),
        "paused": pgettext("mailing", "Paused"),
        "open": pgettext("mailing", "Open"),
        "completed": pgettext("mailing", "Completed"),
        "stopped": pgettext("mailing", "Stopped"),
        "expired": pgettext("mailing", "Expired"),
    }


def _name(response: str, words: Vocabulary, channel: Channel) -> str:
    """What we call a response; a reason to skip without the word "skipped" before it."""
    name = words.response_name(response, channel=channel) or response
    if not response.startswith(progress.SKIPPED):
        return name
    reason = name.partition(": ")[2] or name
    return reason[:1].upper() + reason[1:]
