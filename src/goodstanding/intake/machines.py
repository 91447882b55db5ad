"""Was it a person who opened or clicked, or a machine? The rules are ``machines.toml``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from importlib import resources
from typing import Final, Literal

import msgspec

LONGEST_AGENT: Final = 400
"""Characters of a User-Agent or other header that are kept and looked at."""

_WORD: Final = re.compile(r"[a-z0-9]+")


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One rule; the fields are described in ``machines.toml``."""

    name: str
    about: str
    verdict: Literal["machine", "person"]
    methods: tuple[str, ...] = ()
    headers: dict[str, tuple[str, ...]] = {}
    agents: tuple[str, ...] = ()
    contains: tuple[str, ...] = ()
    words: frozenset[str] = frozenset()


class Verdict(msgspec.Struct, frozen=True):
    """What it was, and the rule that says so (None: none fitted)."""

    machine: bool
    rule: str | None = None


class _Rules(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    rule: tuple[Rule, ...]


RULES: Final = msgspec.toml.decode(
    resources.files("goodstanding.intake").joinpath("machines.toml").read_bytes(), type=_Rules
).rule

TELLING: Final = frozenset(name for rule in RULES for name in rule.headers)
"""The request headers that rules look at, in lower case."""


def judge(method: str, user_agent: str, headers: Mapping[str, str]) -> Verdict:
    """Decide who it was by method, User-Agent and the headers of ``TELLING`` (lower-case names)."""
    for rule in RULES:
        if method in rule.methods or _tells(rule, headers) or _calls_itself(rule.name, user_agent):
            return Verdict(rule.verdict == "machine", rule.name)
    return Verdict(machine=False)


def _tells(rule: Rule, headers: Mapping[str, str]) -> bool:
    return any(
        word in headers.get(name, "").lower()
        for name, words in rule.headers.items()
        for word in words
    )


# Few programs fetch nearly everything.
@lru_cache(maxsize=4096)
def _calls_itself(name: str, user_agent: str) -> bool:
    rule = _BY_NAME[name]
    if user_agent.strip() in rule.agents:
        return True
    said = user_agent.lower()
    if any(word in said for word in rule.contains):
        return True
    return bool(rule.words) and not rule.words.isdisjoint(_WORD.findall(said))


_BY_NAME: Final = {rule.name: rule for rule in RULES}
