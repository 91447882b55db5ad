"""The rules as data: what the files of ``rules/`` may say, and reading them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from functools import cached_property, lru_cache
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Final, Literal

import msgspec

from goodstanding.core.categories import CATEGORIES


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, dict=True):
    """Words (or a provider's code) that mean a category.

    ``example`` and ``examples`` are replies that the rule decides, ``counter`` one that comes near
    its words and means another category. ``patterns`` are regular expressions over lower-cased text
    with single spaces; any one of them will do; they match bytes, so no character outside ASCII may
    stand in a class. With ``provider`` the rule holds only for replies of these providers, and
    outranks every rule without. With ``status`` or ``code`` the enhanced status code or the reply
    code must be one of them. Among the rules that match, the highest ``priority`` decides, then the
    longest words. 50 is a plain statement; 20 and below is vaguer than a status code.
    """

    name: str
    category: str
    example: str
    counter: str
    examples: list[str] = []
    patterns: list[str] = []
    provider: list[str] = []
    status: list[str] = []
    code: list[str] = []
    priority: int = 50
    source: str | None = None

    def __post_init__(self) -> None:
        if self.category not in CATEGORIES:
            raise ValueError(f"no such category: {self.category}")
        if not self.patterns and not (self.provider and (self.status or self.code)):
            raise ValueError("without patterns, name a provider and a code")

    @cached_property
    def rank(self) -> tuple[bool, int, bool]:
        """What outranks what: a provider's own meaning, the priority, then a rule of one's own."""
        return bool(self.provider), self.priority, isinstance(self, OwnRule)

    @cached_property
    def is_bound(self) -> bool:
        """Whether it holds only for some providers or codes."""
        return bool(self.provider or self.status or self.code)


class OwnRule(Rule, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A rule of the user's own: at the same priority it outranks those of the package."""


class Provider(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A mailbox provider: known by the names of its hosts, its domains and its way of speaking."""

    name: str
    domains: list[str] = []
    hosts: list[str] = []
    patterns: list[str] = []


Where = Literal["from", "subject", "body"]


class Signal(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Words by which a kind of mail is known: where they stand, and how much they weigh.

    ``example`` is heard by it; ``counter`` comes near its words and is not.
    """

    name: str
    kind: Literal[
        "bounce", "delayed", "delivered", "auto_reply", "unsubscribe_request", "challenge"
    ]
    where: Where
    weight: int
    patterns: list[str]
    example: str
    counter: str


class Code(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What an enhanced status code, or a basic reply code, means where the words say nothing."""

    category: str
    priority: int = 20

    def __post_init__(self) -> None:
        if self.category not in CATEGORIES:
            raise ValueError(f"no such category: {self.category}")


class _RuleFile(msgspec.Struct, forbid_unknown_fields=True):
    rule: list[Rule]


class _ProviderFile(msgspec.Struct, forbid_unknown_fields=True):
    provider: list[Provider]


class _SignalFile(msgspec.Struct, forbid_unknown_fields=True):
    signal: list[Signal]


class _CodeFile(msgspec.Struct, forbid_unknown_fields=True):
    status: dict[str, Code]
    code: dict[str, Code]


class Rulebook(msgspec.Struct, frozen=True, eq=False):
    """Everything the reading of words goes by. ``files`` says in which file a rule or signal is."""

    rules: list[Rule]
    providers: list[Provider]
    signals: list[Signal]
    status: dict[str, Code]
    code: dict[str, Code]
    files: dict[str, str]
    version: str


_OTHER: Final = {"providers.toml", "signals.toml", "codes.toml", "forms.toml", "likeness.json"}


def rules_folder() -> Traversable:
    """Where the package's rules lie."""
    return resources.files("goodstanding.bounces").joinpath("rules")


def _files() -> list[Traversable]:
    return sorted(
        (file for file in rules_folder().iterdir() if file.name.endswith((".toml", ".json"))),
        key=lambda file: file.name,
    )


@lru_cache(1)
def package_rules() -> Rulebook:
    """The rules of the package.

    Raises:
        msgspec.ValidationError: a file does not have its shape.
        ValueError: two rules have one name.
    """
    rules: dict[str, Rule] = {}
    files: dict[str, str] = {}
    for file in _files():
        if file.name in _OTHER:
            continue
        for rule in msgspec.toml.decode(file.read_bytes(), type=_RuleFile).rule:
            if rules.setdefault(rule.name, rule) is not rule:
                raise ValueError(f"{file.name}: a second rule named {rule.name}")
            files[rule.name] = file.name
    folder = rules_folder()
    providers = msgspec.toml.decode(
        folder.joinpath("providers.toml").read_bytes(), type=_ProviderFile
    )
    signals = msgspec.toml.decode(folder.joinpath("signals.toml").read_bytes(), type=_SignalFile)
    codes = msgspec.toml.decode(folder.joinpath("codes.toml").read_bytes(), type=_CodeFile)
    return Rulebook(
        rules=list(rules.values()),
        providers=providers.provider,
        signals=signals.signal,
        status=codes.status,
        code=codes.code,
        files={signal.name: "signals.toml" for signal in signals.signal} | files,
        version=_version([(file.name, file.read_bytes()) for file in _files()]),
    )


def with_own(rules: Sequence[OwnRule], file: str, content: bytes) -> Rulebook:
    """The package's rules with ``rules`` of one's own; one of the same name takes its place."""
    package = package_rules()
    every = {rule.name: rule for rule in [*package.rules, *rules]}
    return msgspec.structs.replace(
        package,
        rules=list(every.values()),
        files=package.files | {rule.name: file for rule in rules},
        version=_version([("package", package.version.encode()), ("own", content)]),
    )


def _version(contents: Iterable[tuple[str, bytes]]) -> str:
    digest = hashlib.blake2b(digest_size=6)
    for name, content in contents:
        digest.update(name.encode() + b"\0" + content + b"\0")
    return digest.hexdigest()


class _InForce:
    """What this process reads by: chosen once, at its start, for all its threads."""

    book: Rulebook | None = None


def rulebook() -> Rulebook:
    """The rules in force: the package's, or what ``put_in_force`` was given."""
    return _InForce.book or package_rules()


def put_in_force(book: Rulebook | None) -> None:
    """Read by ``book`` from now on; None: by the package's rules alone."""
    _InForce.book = book


def version() -> str:
    """A short hash of all rules in force: two readings with the same version read the same."""
    return rulebook().version
