"""The brake: whether what comes back is a wave that must stop a mailing at one provider.

A wave is a sudden run of blocks or hard bounces among the last mails, or a share of them over all
that a mailing has for a provider which no list in use has. A list of which two or three in a
hundred bounce is ordinary, and stops nothing. No clock, no database: counts go in, a sentence
comes out.
"""

from __future__ import annotations

import math
import re
from collections import Counter, deque
from typing import Annotated, Final, Literal

import msgspec

from goodstanding.gateways.base import Outcome

MOST_TEXT: Final = 200
"""Characters of a reply."""

Wave = Literal["hard", "block"]
Kind = Literal["taken", "hard", "block", "other"]
"""A final answer: accepted, or refused with that disposition (``other``: soft or none)."""

_OWN: Final = re.compile(r"<[^<>]*>|\S+@\S+|\b(?=\w*\d)\w{6,}(?:[-.]\w+)*|\d+(?:\.\d+){3}")
"""What differs from mail to mail in replies that say the same: addresses, identifiers."""

Count = Annotated[int, msgspec.Meta(ge=2, le=10_000)]
Share = Annotated[float, msgspec.Meta(gt=0, le=1)]


class Brake(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When a mailing is stopped at one provider.

    Raises:
        ValueError: two settings contradict each other.
    """

    brakes: bool = True
    """False: nothing is ever stopped."""
    window: Count = 50
    """The last mails answered that are looked at by themselves."""
    hard: Count = 15
    """Hard bounces among them."""
    hard_share: Share = 0.3
    blocks: Count = 10
    """Blocks among them."""
    blocks_share: Share = 0.2
    lot_at_least: Count = 20
    """Hard bounces (or blocks) over all that the mailing has for the provider."""
    lot_hard_share: Share = 0.1
    lot_blocks_share: Share = 0.1

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if isinstance(value, float) and not math.isfinite(value):
                raise ValueError(f"{name} is not a number")
        for name in ("hard", "blocks"):
            if getattr(self, name) > self.window:
                raise ValueError(
                    f"{name} ({getattr(self, name)}) of the last window ({self.window}) can"
                    " never be: lower the one or raise the other"
                )


class Counts(msgspec.Struct, frozen=True, gc=False):
    """What became of some mails."""

    answered: int = 0
    """Accepted or refused for good; those that wait for another try are not among them."""
    hard: int = 0
    blocks: int = 0

    def __add__(self, other: Counts) -> Counts:
        """Both together."""
        return Counts(
            self.answered + other.answered, self.hard + other.hard, self.blocks + other.blocks
        )

    def __sub__(self, earlier: Counts) -> Counts:
        """What was added since ``earlier``, such as since an operator released the brake."""
        return Counts(
            self.answered - earlier.answered,
            self.hard - earlier.hard,
            self.blocks - earlier.blocks,
        )


def kind(outcome: Outcome, disposition: str | None) -> Kind | None:
    """What an attempt counts as; None: it is no final answer of the other side.

    ``disposition`` is how the reply reads. What was refused on our own side must not come here.
    """
    if outcome == "accepted":
        return "taken"
    if outcome != "refused":
        return None
    if disposition == "hard":
        return "hard"
    return "block" if disposition == "block" else "other"


def recent_verdict(provider: str, recent: Counts, brake: Brake, text: str = "") -> str | None:
    """Why the last mails to a provider are a wave; None: they are not.

    ``recent`` may be any late stretch of a lot, such as what was added to its totals of late: over
    more mails than the window it takes as many more failures. ``text``: what most replies said.
    """
    wave = _recent_wave(recent, brake)
    return wave and _sentence(wave, recent, f"the last {_mails(recent)} to {provider}", text)


def lot_verdict(provider: str, whole: Counts, brake: Brake, text: str = "") -> str | None:
    """Why all that a mailing has sent to a provider must be the end of it; None: go on.

    ``whole``: the lot's totals, those that failed after they were accepted among them.
    """
    wave = _lot_wave(whole, brake)
    return wave and _sentence(wave, whole, f"{_mails(whole)} of this mailing to {provider}", text)


def _recent_wave(recent: Counts, brake: Brake) -> Wave | None:
    if brake.brakes and _reached(recent.blocks, recent.answered, brake.blocks, brake.blocks_share):
        return "block"
    if brake.brakes and _reached(recent.hard, recent.answered, brake.hard, brake.hard_share):
        return "hard"
    return None


def _lot_wave(whole: Counts, brake: Brake) -> Wave | None:
    least = brake.lot_at_least
    if brake.brakes and _reached(whole.blocks, whole.answered, least, brake.lot_blocks_share):
        return "block"
    if brake.brakes and _reached(whole.hard, whole.answered, least, brake.lot_hard_share):
        return "hard"
    return None


def _reached(failures: int, answered: int, at_least: int, share: float) -> bool:
    return failures >= at_least and failures >= share * answered


def _mails(counts: Counts) -> str:
    return f"{counts.answered:,} mails"


def _sentence(wave: Wave, counts: Counts, mails: str, text: str) -> str:
    failures, how = (
        (counts.blocks, "were refused as blocks")
        if wave == "block"
        else (counts.hard, "bounced hard")
    )
    why = f"{failures:,} of {mails} {how}"
    return f"{why}, most of all: “{_cut(text)}”" if text else why


class Watched:
    """What one worker sees come back of one lot: the last answers, and all since it began.

    Takes little memory, however long it watches. To begin anew once an operator has released the
    brake, make another.
    """

    __slots__ = ("_brake", "_last", "_last_blocks", "_last_hard", "_provider", "whole")

    def __init__(self, provider: str, brake: Brake) -> None:
        self._provider = provider
        self._brake = brake
        self._last: deque[tuple[Kind, str]] = deque()
        self._last_hard = 0
        self._last_blocks = 0
        self.whole = Counts()

    @property
    def recent(self) -> Counts:
        """Of the last mails answered."""
        return Counts(len(self._last), self._last_hard, self._last_blocks)

    def heard(self, kind: Kind, text: str = "") -> str | None:
        """Count an answer; why the lot must stop, or None. ``text``: the reply."""
        self._last.append((kind, "" if kind == "taken" else text[:MOST_TEXT]))
        self._last_hard += kind == "hard"
        self._last_blocks += kind == "block"
        if len(self._last) > self._brake.window:
            gone, _ = self._last.popleft()
            self._last_hard -= gone == "hard"
            self._last_blocks -= gone == "block"
        self.whole += Counts(1, int(kind == "hard"), int(kind == "block"))
        if kind not in ("hard", "block"):
            # Nothing got worse.
            return None
        if wave := _recent_wave(self.recent, self._brake):
            said = self.commonest(wave)
            return recent_verdict(self._provider, self.recent, self._brake, said)
        if wave := _lot_wave(self.whole, self._brake):
            return lot_verdict(self._provider, self.whole, self._brake, self.commonest(wave))
        return None

    def commonest(self, wave: Wave) -> str:
        """What most of the last replies of that kind said, in the words of the latest."""
        said = [(_alike(text), text) for kind, text in self._last if kind == wave and text]
        often = Counter(alike for alike, _ in said)
        return dict(said)[often.most_common(1)[0][0]] if said else ""


def _alike(text: str) -> str:
    return _OWN.sub("…", text)


def _cut(text: str) -> str:
    return text if len(text) <= MOST_TEXT else text[: MOST_TEXT - 1] + "…"
