"""A user's own rules: read from a file, checked, and added to those of the package."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, Final

import msgspec

from goodstanding.bounces.patterns import fault, width
from goodstanding.bounces.rulebook import OwnRule, Rulebook, package_rules, put_in_force, with_own

_LARGEST: Final = 1024 * 1024  # bytes of a file
_MOST: Final = 500  # rules in it
_WIDEST: Final = 100_000  # places of all its patterns together: what compiling them costs
_TOLD: Final = 60  # characters of a pattern or a name that are told


class BadRules(ValueError):
    """A file of rules that cannot be used. ``wrong`` has a sentence for each thing amiss."""

    def __init__(self, wrong: list[str]) -> None:
        super().__init__(wrong[0] if len(wrong) == 1 else f"{wrong[0]} (and {len(wrong) - 1} more)")
        self.wrong = wrong


def use_rules(path: str | Path | None) -> None:
    """Read by the rules in the file at ``path`` too, in this process and from now on.

    They rank before the package's at the same priority; one of the same name takes its place. None:
    by the package's alone. Call it before anything is read: readings are kept with ``version``.

    Raises:
        BadRules: the file cannot be read, or something in it cannot be used; nothing has changed.
    """
    put_in_force(None if path is None else own_rules(path))


def own_rules(path: str | Path) -> Rulebook:
    """The package's rules with those in the file at ``path``: TOML with a ``[[rule]]`` for each.

    Raises:
        BadRules: the file cannot be read, or something in it cannot be used.
    """
    file = str(path)
    try:
        with Path(path).open("rb") as opened:
            content = opened.read(_LARGEST + 1)
    except OSError as error:
        raise BadRules([f"{file} cannot be read: {error.strerror or error}."]) from None
    if len(content) > _LARGEST:
        raise BadRules([f"{file} is larger than {_LARGEST // 1024:,} KB."])
    rules = _rules(file, content)
    if wrong := _wrong(file, rules):
        raise BadRules(wrong)
    return with_own(rules, file, content)


def _rules(file: str, content: bytes) -> list[OwnRule]:
    """The rules that a file's content has, each of its shape."""
    try:
        said = tomllib.loads(content.decode("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadRules([f"{file} is not TOML: {error}."]) from None
    if unknown := sorted(set(said) - {"rule"}):
        raise BadRules([f"{file}: there is no {unknown[0]!r} in a file of rules, only [[rule]]."])
    entries = said.get("rule")
    if not isinstance(entries, list) or not entries:
        raise BadRules([f"{file} has no [[rule]]."])
    if len(entries) > _MOST:
        raise BadRules([f"{file} has more than {_MOST} rules."])
    rules: list[OwnRule] = []
    wrong: list[str] = []
    for number, entry in enumerate(entries, start=1):
        try:
            rules.append(msgspec.convert(entry, OwnRule))
        except msgspec.ValidationError as error:
            wrong.append(f"{file}: {_named(entry, number)}: {_reason(error)}.")
    if wrong:
        raise BadRules(wrong)
    return rules


def _wrong(file: str, rules: list[OwnRule]) -> list[str]:
    """What cannot be used in rules that have their shape."""
    wrong: list[str] = []
    names: set[str] = set()
    providers = {provider.name for provider in package_rules().providers}
    places = sum(width(pattern) for rule in rules for pattern in rule.patterns)
    if places > _WIDEST:
        return [
            f"{file}: with their repeats written out its patterns have over {_WIDEST:,} places."
        ]
    for rule in rules:
        told = f"{file}: rule {_short(rule.name)}"
        if rule.name in names:
            wrong.append(f"{told}: there is a second of that name.")
        names.add(rule.name)
        wrong += [
            f"{told}: no such provider: {_short(name)}; see providers.toml."
            for name in rule.provider
            if name not in providers
        ]
        wrong += [
            f"{told}, pattern {_short(pattern)}: {why}."
            for pattern in rule.patterns
            if (why := fault(pattern)) is not None
        ]
    return wrong


def _named(entry: Any, number: int) -> str:
    name = entry.get("name") if isinstance(entry, dict) else None
    return f"rule {_short(name)}" if isinstance(name, str) else f"rule number {number}"


def _reason(error: msgspec.ValidationError) -> str:
    """What msgspec says, with the key that it is about first."""
    why, _, place = str(error).partition(" - at `$")
    key = place.strip("`.")
    return f"{key}: {why[:1].lower()}{why[1:]}" if key else f"{why[:1].lower()}{why[1:]}"


def _short(text: str) -> str:
    return text if len(text) <= _TOLD else f"{text[:_TOLD]}…"
