"""Our categories of bounce in other systems' words, and theirs in ours.

The words are data (``taxonomies.toml``), read at first use. What an enhanced status code means is
not written there again: ``rules/codes.toml`` says it.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable
from functools import lru_cache
from importlib import resources
from typing import Final, Literal

import msgspec

from goodstanding.bounces.classify import classify
from goodstanding.bounces.report import Kind
from goodstanding.bounces.rulebook import rulebook
from goodstanding.core.categories import CATEGORIES

_CODE: Final = re.compile(r"([245x])\.\d{1,3}\.\d{1,3}")  # RFC 3463 section 2
_SURE: Final = 20  # a code of a lower priority says less than a vague word does
_WITH_CATEGORY: Final = ("bounce", "delayed")


class UnknownName(LookupError):
    """No such category, system or word; the message names those there are."""


class Explained(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a category means, in a sentence, and a reply that is read so."""

    meaning: str
    example: str


class Word(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a system calls a category; ``nearest``: it says less, more or other than it."""

    name: str
    nearest: bool = False


class Meaning(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a system's word is to us.

    ``category`` is there where the word is about a failure (``kind`` is ``bounce`` or ``delayed``).
    ``nearest``: the word says less, more or something else a little, as ``note`` tells. ``title``:
    the system's name for a word that is a number. ``until``: the last version that had the word.
    """

    kind: Kind = "bounce"
    category: str | None = None
    nearest: bool = False
    note: str | None = None
    title: str | None = None
    until: str | None = None

    def __post_init__(self) -> None:
        if (self.category is not None) != (self.kind in _WITH_CATEGORY):
            raise ValueError("a bounce or a delay has a category, and nothing else has")
        if self.category is not None:
            _known(self.category, CATEGORIES, "category")


class System(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A system's words, and from where they are known.

    ``looked_up``: the day on which the sources were read. ``codes``: its words are the enhanced
    status codes. ``channel``: it has words for the categories of that channel alone.
    """

    title: str
    channel: Literal["email", "sms"]
    version: str
    looked_up: dt.date
    sources: tuple[str, ...]
    categories: dict[str, Word]
    words: dict[str, Meaning] = {}
    note: str | None = None
    codes: bool = False


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    category: dict[str, Explained]
    system: dict[str, System]


def explained() -> dict[str, Explained]:
    """Every category with what it means. Read once; not to be changed."""
    return _file().category


def systems() -> dict[str, System]:
    """Every system by its name (``sisimai``, ``rfc3463``, …). Read once; not to be changed."""
    return _file().system


def to_other(category: str, system: str) -> Word | None:
    """What a system calls one of our categories; None of a category of another channel.

    Raises:
        UnknownName: there is no such category or system.
    """
    ours = CATEGORIES[_known(category, CATEGORIES, "category")]
    other = systems()[_known(system, systems(), "system")]
    if ours.channel not in (None, other.channel):
        return None
    return other.categories[category]


def from_other(system: str, word: str) -> str | None:
    """The category that a system's word means; None where the word is not about a failure.

    Raises:
        UnknownName: there is no such system, or it has no such word.
    """
    return meaning_of(system, word).category


def meaning_of(system: str, word: str) -> Meaning:
    """All that a system's word is to us: what kind of report, which category, how nearly.

    An enhanced status code may be any that is well-formed, also with ``x`` for its class.

    Raises:
        UnknownName: there is no such system, or it has no such word.
    """
    other = systems()[_known(system, systems(), "system")]
    if other.codes:
        return _code(word)
    return other.words[_known(word, other.words, f"word of {other.title}")]


def words_of(system: str) -> dict[str, Meaning]:
    """Every word of a system; of the enhanced status codes those that have a meaning of their own.

    Not to be changed.

    Raises:
        UnknownName: there is no such system.
    """
    other = systems()[_known(system, systems(), "system")]
    return _codes() if other.codes else other.words


def _code(word: str) -> Meaning:
    formed = _CODE.fullmatch(word)
    if formed is None and word not in _codes():
        raise UnknownName(f"{word!r} is no enhanced status code: one is like 5.1.1")
    if formed is not None and formed[1] == "2":
        return Meaning(kind="delivered")
    listed = _codes().get(word) or _codes().get(f"x{word[1:]}")
    return listed or _vague(classify((), status=word).category)


@lru_cache(1)
def _codes() -> dict[str, Meaning]:
    return {
        word: _vague(code.category) if code.priority < _SURE else Meaning(category=code.category)
        for word, code in rulebook().status.items()
    }


def _vague(category: str) -> Meaning:
    return Meaning(category=category, nearest=True, note="the code alone says little")


def _known(name: str, among: Iterable[str], what: str) -> str:
    names = list(among)
    if name not in names:
        raise UnknownName(f"no {what} named {name!r}; there are {', '.join(names)}")
    return name


@lru_cache(1)
def _file() -> _File:
    file = resources.files("goodstanding.bounces").joinpath("taxonomies.toml")
    return msgspec.toml.decode(file.read_bytes(), type=_File)
