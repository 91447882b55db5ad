"""What an answer is most like, where no rule knows its words: a Bayes classifier over its words.

It is learnt from answers whose category is known (``learn``, see ``tests/bounces/learning.py``) and
kept as counts in ``rules/likeness.json``. What is only likely never makes an address dead.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable
from functools import lru_cache
from importlib import resources
from typing import Final, NamedTuple

import msgspec

from goodstanding.bounces.matcher import fold
from goodstanding.core.categories import CATEGORIES

_LIKELY: Final = 0.8  # the share of all that is likely from which on it counts
_SURER: Final = 0.9  # where a rule knows some of the words
_SMOOTHING: Final = 1.0  # answers of each category that are thought to have every word
_FEWEST: Final = 2  # words that must be known, beside codes
_TWICE: Final = 2  # answers in which a word must have stood to be kept
_WORDS: Final = 400  # of a text are looked at

# An address, a link and an IP address are words, whatever they are; an enhanced status code counts
# without its class.
_WORD: Final = re.compile(
    r"(?P<at>[^\s<>@,;:]{1,80}@[^\s<>,;:]{1,120})"
    r"|(?P<link>https?://\S+|www\.\S+)"
    r"|(?P<ip>\d{1,3}(?:\.\d{1,3}){3})"
    r"|(?P<status>(?<![\d.])[245]\.\d{1,3}\.\d{1,3}(?![\d.]*\d))"
    r"|(?P<word>[^\W\d_]+(?:'[a-z]+)?|(?<!\d)[45]\d\d(?!\d))"
)


class Counts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Of how many answers of each category was learnt, and in how many a word stood.

    ``words`` maps a word, or two with a space between, to pairs of a category's place in
    ``answers`` and a number of answers.
    """

    answers: dict[str, int]
    words: dict[str, list[tuple[int, int]]]


class Likely(NamedTuple):
    """A category, and what stood in the text that tells most for it."""

    category: str
    words: str | None


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
            if found.total() >= _TWICE
        },
    )


def likely(folded: bytes, *, surer: bool = False) -> Likely | None:
    """What the text ``folded`` (see ``matcher.fold``) most likely says.

    None where nothing is likely enough (``surer``: much likelier than all else), and where that
    would be hard or says nothing.
    """
    text = folded.decode("utf-8", "ignore")
    found = _weights().likely(_words(text), _SURER if surer else _LIKELY)
    if found is None:
        return None
    category, telling = found
    return Likely(category, next((word for word in telling if word in text), None))


def _words(text: str) -> list[str]:
    """The words of ``text``, and every two that follow each other."""
    words: list[str] = []
    codes: list[str] = []
    for found, _ in zip(_WORD.finditer(text), range(_WORDS), strict=False):
        kind = found.lastgroup
        if kind == "status":
            codes.append(found[0][1:])
        else:
            words.append(found[0] if kind == "word" else f"<{kind}>")
    return [*codes, *words, *(f"{one} {next_}" for one, next_ in zip(words, words[1:], strict=False))]


class _Weights:
    """The counts as logarithms, by category's place."""

    def __init__(self, counts: Counts) -> None:
        everything = sum(counts.answers.values())
        self._categories = list(counts.answers)
        answers = list(counts.answers.values())
        self._before = [math.log(count / everything) / 2 for count in answers]
        # A word that no answer of a category had.
        self._absent = [math.log(_SMOOTHING / (count + _SMOOTHING)) for count in answers]
        self._words: dict[str, list[tuple[int, float]]] = {}
        for word, found in counts.words.items():
            share = sum(count for _, count in found) / everything
            self._words[word] = [
                (place, math.log((count / share + _SMOOTHING) / _SMOOTHING))
                for place, count in found
            ]

    def likely(self, words: list[str], enough: float) -> tuple[str, list[str]] | None:
        """The likely category, and the words, those first that tell most for it."""
        known = [word for word in dict.fromkeys(words) if word in self._words]
        if sum(word.isalpha() for word in known) < _FEWEST:
            return None
        sums = [
            before + len(known) * absent
            for before, absent in zip(self._before, self._absent, strict=True)
        ]
        for word in known:
            for place, weight in self._words[word]:
                sums[place] += weight
        # Words that follow each other don't tell independently of each other.
        spread = math.sqrt(len(known))
        highest = max(sums)
        if 1 / sum(math.exp((one - highest) / spread) for one in sums) < enough:
            return None
        best = sums.index(highest)
        category = self._categories[best]
        if category == "undetermined" or CATEGORIES[category].disposition == "hard":
            return None
        known.sort(key=lambda word: dict(self._words[word]).get(best, 0.0), reverse=True)
        return category, known


@lru_cache(1)
def _weights() -> _Weights:
    file = resources.files("goodstanding.bounces").joinpath("rules", "likeness.json")
    return _Weights(msgspec.json.decode(file.read_bytes(), type=Counts))
