"""A pattern database for rules and providers, and for signals: one linear pass over a text."""

from __future__ import annotations

import re
import threading
from collections.abc import Sequence
from functools import lru_cache

import hyperscan
import msgspec

from goodstanding.bounces import compiled
from goodstanding.bounces.rulebook import (
    OwnRule,
    Provider,
    Rule,
    Rulebook,
    Signal,
    Where,
    package_rules,
    rulebook,
)

Entry = Rule | Provider | Signal

SCANNED = 8192  # bytes of one text that are looked at
_WORDS = (60, 300)  # bytes before the end of a match in which its beginning is sought


class Hit(msgspec.Struct, frozen=True, gc=False):
    """``pattern`` of ``entry`` matched, its first match ending at ``end`` (bytes of the text)."""

    entry: Entry
    pattern: str
    end: int


def fold(text: str) -> bytes:
    """``text`` as the patterns expect it: lower case, single spaces, straight quotes, UTF-8."""
    folded = " ".join(text[:SCANNED].lower().split())
    if not folded.isascii():
        folded = folded.replace("\u2019", "'").replace("\u2018", "'")
    return folded.encode("utf-8", "replace")[:SCANNED]


def words(hit: Hit, folded: bytes) -> str:
    """The words of ``folded`` that ``hit`` matched, as far as they are near its end."""
    if isinstance(hit.entry, OwnRule):
        start = _began(hit, folded)
    else:
        start = None
        for reach in _WORDS:
            found = _regex(hit.pattern).search(folded, max(0, hit.end - reach), hit.end)
            if found:
                start = found.start()
                break
    if start is None:
        start = max(0, hit.end - 40)
    return folded[start : hit.end].decode("utf-8", "ignore").strip()


def _began(hit: Hit, folded: bytes) -> int | None:
    """Where the match of a pattern began that nobody vouches for: found in linear time."""
    database = compiled.with_starts(hit.pattern.encode())
    if database is None:
        return None
    begun: list[int] = []

    def hear(_pattern: int, start: int, end: int, _flags: int, _context: object) -> None:
        if end == hit.end:
            begun.append(start)

    scratch = hyperscan.Scratch(database)
    database.scan(folded, match_event_handler=hear, scratch=scratch)
    return max(min(begun), hit.end - _WORDS[-1]) if begun else None


@lru_cache(1024)
def _regex(pattern: str) -> re.Pattern[bytes]:
    return re.compile(pattern.encode())


class Matcher:
    """The compiled patterns. Safe for many threads: each has a scratch space of its own."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        self._patterns = [(entry, pattern) for entry in entries for pattern in entry.patterns]
        self._database = compiled.database([pattern.encode() for _, pattern in self._patterns])
        self._local = threading.local()

    def scan(self, folded: bytes) -> list[Hit]:
        """The first match of every pattern in ``folded`` (see ``fold``)."""
        scratch = getattr(self._local, "scratch", None)
        if scratch is None:
            scratch = self._local.scratch = hyperscan.Scratch(self._database)
        found: list[Hit] = []
        patterns = self._patterns

        def hear(number: int, _start: int, end: int, _flags: int, _context: object) -> None:
            entry, pattern = patterns[number]
            found.append(Hit(entry, pattern, end))

        self._database.scan(folded, match_event_handler=hear, scratch=scratch)
        return found


# Held while compiling: a thread that comes second then finds the patterns on disk.
_lock = threading.Lock()


@lru_cache(1)
def _compiled_signals() -> dict[Where, Matcher]:
    found: dict[Where, list[Signal]] = {}
    for one in package_rules().signals:
        found.setdefault(one.where, []).append(one)
    with _lock:
        return {where: Matcher(signals) for where, signals in found.items()}


@lru_cache(2)
def _compiled(book: Rulebook) -> Matcher:
    with _lock:
        return Matcher([*book.rules, *book.providers])


def matcher() -> Matcher:
    """The matcher of the rules in force and of the providers, compiled at first use."""
    return _compiled(rulebook())


def signal_matcher(where: Where) -> Matcher:
    """The matcher of the package's signals for one place of a mail; all compiled at first use."""
    return _compiled_signals()[where]
