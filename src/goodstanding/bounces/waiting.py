"""How long a server asks to be left alone, by its words.

A time counts only where words ask for it (``waiting.toml``): a reply is full of other numbers.
"""

from __future__ import annotations

import math
import re
import unicodedata
from functools import lru_cache
from importlib import resources
from typing import Final

import msgspec

from goodstanding.bounces.reply import take_apart

LONGEST: Final = 24 * 60 * 60  # seconds

_READ: Final = 2000  # characters of a reply
_BEFORE: Final = 100  # characters before a time in which somebody may ask for it
_BEHIND: Final = 60
_TIMES: Final = 50  # times in a reply that are looked at

_THOUSANDS: Final = re.compile(r"\d{1,3}(?:,\d{3})+")
_CLOCK: Final = re.compile(r"(?<![\w.:/-])(?:(\d{1,3}):)?(\d{1,2}):(\d\d)(?![\w:]|[.-]\d)")
# "after 14:30" is a time of day.
_OF_DAY: Final = re.compile(r"\b(?:after|at|until|before|nach|um|apres|despues de)\s*\Z")
_UNITLESS: Final = re.compile(
    r"(?<![\w./])(?<!\d[,:-])(?!(?:19|20)\d\d\b)(\d{1,9})(?=[;,)\]]|\.?\Z|\. )"
)
_GAP: Final = r"[ :;,(\"'\[=_\-]"


class _Ask(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    about: str
    cues: list[str]
    links: list[str]
    unitless: bool = False


class _Words(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    units: dict[str, float]
    numbers: dict[str, float]
    ask: list[_Ask]
    followed: list[str]
    never: list[str]


class _Patterns(msgspec.Struct, frozen=True):
    """The words, made into patterns; ``asks`` end where the time begins."""

    duration: re.Pattern[str]
    amount: re.Pattern[str]
    units: list[tuple[re.Pattern[str], float]]
    numbers: dict[str, float]
    asks: re.Pattern[str]
    asks_unitless: re.Pattern[str]
    followed: re.Pattern[str]
    never: re.Pattern[str]


def asked_to_wait(text: str) -> int | None:
    """The seconds that a server's temporary reply asks one to wait; None where it names no time.

    Of several times the longest, as the next try is to be no sooner than asked; at most a day.
    Of a long text the first 2,000 characters are read. Never raises, and takes linear time.
    """
    words = _fold(text)
    patterns = _patterns()
    found: list[float] = []
    for match in _first(patterns.duration, words):
        before, behind = _around(words, match)
        if patterns.never.match(behind):
            continue
        if patterns.asks.search(before) or patterns.followed.match(behind):
            found.append(_seconds(match[0]))
    for match in _first(_CLOCK, words):
        before, _ = _around(words, match)
        if patterns.asks.search(before) and not (int(match[1] or 0) and _OF_DAY.search(before)):
            hours, minutes, seconds = (int(part or 0) for part in match.groups())
            found.append(hours * 3600 + minutes * 60 + seconds)
    for match in _first(_UNITLESS, words):
        before, _ = _around(words, match)
        if patterns.asks_unitless.search(before):
            found.append(int(match[1]))
    return min(math.ceil(max(found)), LONGEST) if found else None


def _first(pattern: re.Pattern[str], words: str) -> list[re.Match[str]]:
    return [match for match, _ in zip(pattern.finditer(words), range(_TIMES), strict=False)]


def _around(words: str, match: re.Match[str]) -> tuple[str, str]:
    begin, end = match.span()
    return words[max(0, begin - _BEFORE) : begin], words[end : end + _BEHIND]


def _fold(text: str) -> str:
    """Lower case, no accents, single spaces, the lines of one reply joined."""
    joined = take_apart(text[:_READ]).text
    plain = unicodedata.normalize("NFKD", joined.casefold())
    letters = "".join(letter for letter in plain if not unicodedata.combining(letter))
    return " ".join(letters.split())[:_READ]


def _seconds(duration: str) -> float:
    patterns = _patterns()
    total = 0.0
    for amount in patterns.amount.finditer(duration):
        number = patterns.numbers.get(amount[1])
        if number is None:
            number = _number(amount[1])
        unit = next(seconds for unit, seconds in patterns.units if unit.fullmatch(amount[2]))
        total += number * unit
    return total


def _number(text: str) -> float:
    if _THOUSANDS.fullmatch(text):
        return float(text.replace(",", ""))
    return float(text.replace(",", "."))


@lru_cache(1)
def _patterns() -> _Patterns:
    """The patterns of the package.

    Raises:
        msgspec.ValidationError: the file does not have its shape.
    """
    file = resources.files("goodstanding.bounces").joinpath("waiting.toml")
    words = msgspec.toml.decode(file.read_bytes(), type=_Words)
    named = "|".join(sorted(words.numbers, key=len, reverse=True))
    digits = r"\d{1,30}(?:[.,]\d{1,6})?|\d{1,3}(?:,\d{3}){2,5}"
    number = rf"(?:{digits}|\b(?:{named})\b)(?![\d.,]*\d)"
    unit = rf"(?:{'|'.join(words.units)})(?![a-z])"
    one = rf"{number}[ -]?(?:an? |of an )?{unit}"
    duration = rf"(?<![\w./])(?<!\d[,:-]){one}(?:,? ?(?:and |und |et |y )?{one}){{0,3}}"
    return _Patterns(
        duration=re.compile(duration),
        amount=re.compile(rf"({number})[ -]?(?:an? |of an )?({unit})"),
        units=[(re.compile(word), seconds) for word, seconds in words.units.items()],
        numbers=words.numbers,
        asks=_asks([ask for ask in words.ask if not ask.unitless]),
        asks_unitless=_asks([ask for ask in words.ask if ask.unitless]),
        followed=re.compile(rf"[ ,)]*(?:{'|'.join(words.followed)})"),
        never=re.compile(rf"[ ,)]*(?:{'|'.join(words.never)})\b"),
    )


def _asks(groups: list[_Ask]) -> re.Pattern[str]:
    return re.compile(
        "|".join(
            rf"\b(?:{'|'.join(group.cues)})(?:{_GAP}+(?:{'|'.join(group.links)}))*{_GAP}*\Z"
            for group in groups
        )
    )
