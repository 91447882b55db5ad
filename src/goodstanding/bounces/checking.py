"""The rules put to the test: what never matches, never decides, decides by chance, or is slow."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Final, Literal

import hyperscan
import msgspec

from goodstanding.bounces import compiled
from goodstanding.bounces.classify import holds
from goodstanding.bounces.matcher import SCANNED, fold, matcher
from goodstanding.bounces.reply import take_apart
from goodstanding.bounces.report import Report
from goodstanding.bounces.rulebook import OwnRule, Rule, package_rules, rulebook
from goodstanding.bounces.session import parts, read_reply

Fault = Literal["never_matched", "shadowed", "too_wide", "ambiguous", "duplicate", "slow"]

LARGEST: Final = 256 * 1024
"""Bytes of one pattern when it is compiled; all of the package's together have two million."""

SLOWEST: Final = 0.25
"""The share that one may take of the time of all the package's together, on hostile texts."""

_SHOWN: Final = 80  # characters of a text or a pattern in a sentence
_TRIES: Final = 3  # the shortest of so many times counts
_HOSTILE: Final = (
    "a",
    "a ",
    "1.",
    "user ",
    "mailbox message mail address recipient account ",
    "could not be delivered to your host because of ",
)


class Text(msgspec.Struct, frozen=True):
    """A reply to try the rules on; ``rule`` has it as an example, or as its counter-example."""

    text: str
    provider: str | None = None
    rule: str | None = None
    counter: bool = False


class Finding(msgspec.Struct, frozen=True):
    """What is wrong with a rule, or with one pattern of it, in a sentence."""

    fault: Fault
    file: str
    rule: str
    pattern: str | None
    says: str


def check(
    material: Iterable[Text] = (), advance: Callable[[int], None] = lambda _: None
) -> list[Finding]:
    """Try the rules in force on all their examples and on ``material``, and time their patterns.

    Where rules of one's own are in force (``use_rules``), what concerns those is told, else all.
    ``advance`` is called with the number of patterns, or texts, that were done.
    """
    trial = _Trial()
    for text in _examples():
        trial.hear(text)
        advance(1)
    for text in material:
        trial.hear(text)
        advance(1)
    return [*trial.findings(), *_duplicates(), *_slow(advance)]


def concerned() -> list[Rule]:
    """The rules that are told of: those of one's own, else all."""
    rules = rulebook().rules
    return [rule for rule in rules if isinstance(rule, OwnRule)] or rules


def _examples() -> Iterable[Text]:
    for rule in rulebook().rules:
        provider = rule.provider[0] if rule.provider else None
        for text in (rule.example, *rule.examples):
            yield Text(text, provider, rule.name)
        yield Text(rule.counter, provider, rule.name, counter=True)


class _Trial:
    """What became of the rules on the texts that were heard so far."""

    def __init__(self) -> None:
        self._rules = {rule.name: rule for rule in rulebook().rules}
        self._told = {rule.name for rule in concerned()}
        self._found: dict[tuple[str, ...], Finding] = {}
        self._matched: dict[tuple[str, str], int] = {}
        self._decided: set[tuple[str, str]] = set()
        self._outranked_by: dict[tuple[str, str], str] = {}

    def hear(self, text: Text) -> None:
        """Read one text and remember what matched it and what decided."""
        report = read_reply(text.text, text.provider, explain=True)
        self._note_patterns(text, report)
        if text.rule is not None:
            self._judge_example(text, report)
        self._judge_chance(text, report)

    def findings(self) -> list[Finding]:
        """What was found, and the patterns that did nothing on all texts."""
        return [*self._found.values(), *self._idle()]

    def _note_patterns(self, text: Text, report: Report) -> None:
        answer, *own = parts(text.text, take_apart(text.text))
        for hit in [hit for said in (answer.text, *own) for hit in matcher().scan(fold(said))]:
            rule = hit.entry
            if not isinstance(rule, Rule):
                continue
            if not holds(rule, report.status, report.code, report.provider):
                continue
            key = (rule.name, hit.pattern)
            self._matched[key] = self._matched.get(key, 0) + 1
            if report.rule == rule.name:
                self._decided.add(key)
            elif report.rule is not None:
                self._outranked_by.setdefault(key, report.rule)

    def _judge_example(self, text: Text, report: Report) -> None:
        rule = self._rules[text.rule or ""]
        involved = {rule.name, report.rule}
        if text.counter:
            if report.rule == rule.name:
                self._add(involved, "too_wide", rule, f"it decides its counter-example{_of(text)}")
            elif report.category == rule.category:
                says = f"its counter-example{_of(text)} means {rule.category} all the same"
                self._add(involved, "too_wide", rule, f"{says}, by {report.rule}")
        elif report.rule != rule.name:
            by = f"is decided by {report.rule}" if report.rule else "is decided by no rule"
            self._add(involved, "shadowed", rule, f"its example{_of(text)} {by}")

    def _judge_chance(self, text: Text, report: Report) -> None:
        decider = self._rules.get(report.rule or "")
        if decider is None:
            return
        for other in report.others:
            rival = self._rules.get(other.rule)
            if rival is not None and rival.rank == decider.rank:
                says = (
                    f"{rival.name} matches{_of(text)} as well and is of the same rank, but means"
                    f" {rival.category}: only the longer words decide"
                )
                self._add({decider.name, rival.name}, "ambiguous", decider, says)

    def _add(self, involved: Iterable[str | None], fault: Fault, rule: Rule, says: str) -> None:
        names = sorted(name for name in involved if name is not None)
        if self._told.intersection(names):
            finding = Finding(fault, _file(rule), rule.name, None, f"{says}.")
            self._found.setdefault((fault, rule.name, *names), finding)

    def _idle(self) -> Iterable[Finding]:
        for rule in concerned():
            for pattern in rule.patterns:
                key = (rule.name, pattern)
                times = self._matched.get(key, 0)
                if times == 0:
                    says = (
                        f"the pattern {_short(pattern)} matches no example: give one in examples."
                    )
                    yield Finding("never_matched", _file(rule), rule.name, pattern, says)
                elif key not in self._decided:
                    by = self._outranked_by.get(key, "a code")
                    says = (
                        f"the pattern {_short(pattern)} matches {_texts(times)} and decides none,"
                        f" as {by} does."
                    )
                    yield Finding("shadowed", _file(rule), rule.name, pattern, says)


def _duplicates() -> Iterable[Finding]:
    """Patterns that stand twice, in one rule or in two that hold at once."""
    first: dict[str, Rule] = {}
    told = {rule.name for rule in concerned()}
    for rule in rulebook().rules:
        for pattern in rule.patterns:
            earlier = first.setdefault(pattern, rule)
            if earlier is rule and rule.patterns.count(pattern) == 1:
                continue
            if not told.intersection((earlier.name, rule.name)) or _apart(earlier, rule):
                continue
            says = f"the pattern {_short(pattern)} stands in {earlier.name} already."
            yield Finding("duplicate", _file(rule), rule.name, pattern, says)


def _apart(one: Rule, other: Rule) -> bool:
    """Whether no reply can concern both: providers, or codes, that have nothing in common."""
    return one is not other and (
        bool(one.provider) != bool(other.provider)
        or bool(one.provider and not set(one.provider) & set(other.provider))
        or bool(one.status or one.code) != bool(other.status or other.code)
    )


def _slow(advance: Callable[[int], None]) -> Iterable[Finding]:
    """Patterns that are large when compiled, or slow on texts that are made to make them so."""
    package = package_rules()
    patterns = [pattern for rule in package.rules for pattern in rule.patterns]
    patterns += [pattern for provider in package.providers for pattern in provider.patterns]
    whole = _Timed(compiled.database([pattern.encode() for pattern in patterns]))
    hostile = [_long(text) for text in _HOSTILE]
    usual = whole.seconds(hostile)
    for rule in concerned():
        own = [_long(rule.example)]
        texts = [*hostile, *own]
        allowed = SLOWEST * (usual + whole.seconds(own))
        for pattern in rule.patterns:
            advance(1)
            alone = _Timed(compiled.compile_patterns([pattern.encode()]))
            says = None
            if alone.size > LARGEST:
                says = f"takes {alone.size // 1024:,} KB when compiled, over {LARGEST // 1024:,}"
            elif alone.seconds(texts) > allowed and (
                # Both once more: what else the machine does may have come between.
                alone.seconds(texts) > SLOWEST * whole.seconds(texts)
            ):
                says = (
                    "takes over a quarter as long on hostile texts as all of the package's together"
                )
            if says is not None:
                says = f"the pattern {_short(pattern)} {says}: make its repeats fewer or smaller."
                yield Finding("slow", _file(rule), rule.name, pattern, says)


class _Timed:
    """Compiled patterns against a clock."""

    def __init__(self, database: hyperscan.Database) -> None:
        self._database = database
        self._scratch = hyperscan.Scratch(self._database)
        self.size = self._database.size()

    def seconds(self, texts: list[bytes]) -> float:
        """The processor's time that ``texts`` take, the shortest of some tries."""
        times = []
        for _ in range(_TRIES):
            begun = time.thread_time()
            for text in texts:
                self._database.scan(text, match_event_handler=_ignore, scratch=self._scratch)
            times.append(time.thread_time() - begun)
        return min(times)


def _long(text: str) -> bytes:
    return fold(text * (SCANNED // max(1, len(text.encode())) + 1))


def _ignore(_pattern: int, _start: int, _end: int, _flags: int, _context: object) -> None:
    """Hear a match."""


def _file(rule: Rule) -> str:
    return rulebook().files[rule.name]


def _of(text: Text) -> str:
    return f" “{_short(' '.join(text.text.split()))}”"


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"


def _texts(count: int) -> str:
    return "one text" if count == 1 else f"{count:,} texts"
