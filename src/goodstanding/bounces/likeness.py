"""What an answer is most like, where no rule knows its words: a Bayes classifier over its words.

It is learnt from answers whose category is known (``learn``, see ``tests/bounces/learning.py``) and
kept as counts in ``rules/likeness.json``. What is only likely never makes an address dead, but it
may keep one alive: a rule knows a few words, likeness looks at all of them.
"""

from __future__ import annotations

import math
import re
import struct
from collections import Counter
from collections.abc import Iterable
from functools import lru_cache
from itertools import pairwise
from typing import Final, NamedTuple

import msgspec

from goodstanding.bounces.matcher import fold
from goodstanding.bounces.rulebook import rules_folder
from goodstanding.core.categories import CATEGORIES

_LIKELY: Final = 0.8  # the share of all that is likely from which on it counts
_SURER: Final = 0.9  # where a rule knows some of the words
_EXCLUDED: Final = 0.01  # the share of all that is hard below which nothing hard was meant
_SMOOTHING: Final = 1.0  # answers of each category that are thought to have every word
_FEWEST: Final = 3  # words, and pairs of them, that must be known
_MORE: Final = 6  # to overrule a rule
_TWICE: Final = 2  # answers in which a word must have stood to be kept
_STEPS: Final = 24  # of a natural logarithm
_STEEPEST: Final = 255
_FIELD: Final = 16  # bits
_MOST: Final = 256  # words that are added up: what they tell stays within its field
_SEEN: Final = 600  # characters of a text that are looked at
_LONG: Final = 9  # blanks in a text that says enough to overrule a rule

# What likeness never says.
_NEVER: Final = {"undetermined"} | {
    name for name, category in CATEGORIES.items() if category.disposition == "hard"
}

# An enhanced status code counts without its class.
_STATUS: Final = re.compile(r"(?<![\d.])[245](\.\d{1,3}\.\d{1,3})(?![\d.]*\d)")
_IP: Final = re.compile(r"\d{1,3}(?:\.\d{1,3}){3}")
_WORD: Final = re.compile(r"[^\W\d_]+(?:'[a-z]+)?|(?<!\d)[45]\d\d(?!\d)")


class Counts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Of how many answers of each category was learnt, and in how many a word stood.

    ``words`` maps a word, or two with a space between, to pairs of a category's place in
    ``answers`` and a number of answers.
    """

    answers: dict[str, int]
    words: dict[str, list[tuple[int, int]]]


def learn(known: Iterable[tuple[str, str]]) -> Counts:
    """The counts of ``known`` answers, each with its category."""
    answers: Counter[str] = Counter()
    words: dict[str, Counter[str]] = {}
    for text, category in known:
        answers[category] += 1
        for word in set(_words(fold(text).decode("utf-8", "ignore"))):
            words.setdefault(word, Counter())[category] += 1
    places = {category: place for place, category in enumerate(sorted(answers))}
    return Counts(
        answers={category: answers[category] for category in places},
        words={
            word: sorted((places[category], count) for category, count in found.items())
            for word, found in sorted(words.items())
            if found.total() >= _TWICE and (" " not in word or len(found) <= found.total() // 2)
        },
    )


def _words(text: str) -> list[str]:
    """The words of ``text``, every two that follow each other, and its codes.

    An address, a link and an IP address are each one word, whatever they are; what is folded has no
    capitals of its own.
    """
    text = text[:_SEEN].partition(" (in reply to ")[0]  # what Postfix adds
    if "@" in text or "://" in text:
        text = " ".join(
            ["AT" if "@" in one else "LINK" if "://" in one else one for one in text.split(" ")]
        )
    if "." not in text:
        words = _WORD.findall(text)
        return [*words, *map(" ".join, pairwise(words))]
    words = _WORD.findall(_IP.sub(" IP ", text))
    return [*words, *map(" ".join, pairwise(words)), *_STATUS.findall(text)]


def _steps(logarithm: float) -> int:
    return min(_STEEPEST, round(logarithm * _STEPS))


class Weighed(NamedTuple):
    """The likeliest category, its share of all that is likely and that of all that is hard.

    ``much``: whether so much is known that a rule may be overruled. ``words``: what stood in the
    text that tells most for the category.
    """

    category: str
    share: float
    hard: float
    much: bool
    words: str | None

    def likely(self, *, surer: bool = False) -> str | None:
        """The category, where it is likely enough (``surer``: much likelier than all else).

        None where that would be hard or says nothing.
        """
        if self.share < (_SURER if surer else _LIKELY) or self.category in _NEVER:
            return None
        return self.category

    def rather(self) -> str | None:
        """What was meant rather than that an address is dead; None where that may be meant."""
        if not self.much or self.hard >= _EXCLUDED:
            return None
        return self.category if self.share >= _LIKELY else "undetermined"


def says_enough(folded: bytes) -> bool:
    """Whether a text is long enough for a rule to be overruled."""
    return folded.count(b" ") >= _LONG


class Likeness:
    """What was learnt from known answers, as logarithms in whole steps.

    What a word tells for all categories is one number, a field of bits for each: adding up words
    is adding numbers.
    """

    def __init__(self, counts: Counts) -> None:
        everything = sum(counts.answers.values())
        self._categories = list(counts.answers)
        self._hard = [
            place
            for place, category in enumerate(self._categories)
            if CATEGORIES[category].disposition == "hard"
        ]
        answers = list(counts.answers.values())
        self._before = [_steps(math.log(count / everything) / 2) for count in answers]
        # What a word tells against a category none of whose answers had it.
        self._absent = [_steps(math.log(_SMOOTHING / (count + _SMOOTHING))) for count in answers]
        self._words: dict[str, int] = {}
        for word, found in counts.words.items():
            share = sum(count for _, count in found) / everything
            self._words[word] = sum(
                _steps(math.log(count / share / _SMOOTHING + 1)) << place * _FIELD
                for place, count in found
            )

    def weigh(self, folded: bytes) -> Weighed | None:
        """What the text ``folded`` (see ``matcher.fold``) is like; None where little is known."""
        weights = self._words
        words = _words(folded.decode("utf-8", "ignore"))
        known = [word for word in dict.fromkeys(words) if word in weights][:_MOST]
        said = sum([word[0].isalpha() for word in known])
        if said < _FEWEST:
            return None
        count = len(known)
        told = self._fields(sum([weights[word] for word in known]))
        sums = [
            before + count * absent + one
            for before, absent, one in zip(self._before, self._absent, told, strict=True)
        ]
        highest = max(sums)
        # Words that follow each other don't tell independently of each other.
        spread = math.sqrt(count) * _STEPS
        shares = [math.exp((one - highest) / spread) for one in sums]
        whole = sum(shares)
        hard = sum([shares[place] for place in self._hard])
        place = sums.index(highest)
        return Weighed(
            category=self._categories[place],
            share=1 / whole,
            hard=hard / whole,
            much=said >= _MORE,
            words=self._telling(known, place, folded),
        )

    def _fields(self, told: int) -> tuple[int, ...]:
        """What is told for each category."""
        count = len(self._categories)
        return struct.unpack(f"<{count}H", told.to_bytes(count * _FIELD // 8, "little"))

    def _telling(self, known: list[str], place: int, folded: bytes) -> str | None:
        """What stands in ``folded`` that tells most for a category."""
        below = place * _FIELD
        told = [(self._words[word] >> below & _STEEPEST, word) for word in known]
        told.sort(reverse=True)
        return next((word for _, word in told if word.encode() in folded), None)


@lru_cache(1)
def likeness() -> Likeness:
    """What the package has learnt."""
    file = rules_folder().joinpath("likeness.json")
    return Likeness(msgspec.json.decode(file.read_bytes(), type=Counts))
