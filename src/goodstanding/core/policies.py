"""Policies: the numbers and switches by which events become standings (design, section 5)."""

from __future__ import annotations

import functools
import hashlib
import re
import tomllib
from importlib import resources
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

UNITS: Final = {
    "us": 1,
    "ms": 1_000,
    "s": 1_000_000,
    "m": 60_000_000,
    "h": 3_600_000_000,
    "d": 86_400_000_000,
}


class BadPolicy(ValueError):
    """A policy file that cannot be used; the message names the file and what was expected."""


class Span(int):
    """A length of time in microseconds, written as a number and a unit: ``"72h"``."""

    @classmethod
    def parse(cls, text: object) -> Span:
        """Read ``"14d"``.

        Raises:
            ValueError: not a number and one of the units us, ms, s, m, h, d.
        """
        match = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,6})?)(us|ms|s|m|h|d)", str(text))
        if match is None:
            raise ValueError(f'{text!r} is not a span of time such as "72h" or "14d"')
        return cls(round(float(match[1]) * UNITS[match[2]]))


class Hard(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """When hard bounces stop an address."""

    mailings: int
    mailings_when_engaged: int
    engaged_within: Span
    lifted_by_engagement: bool


class Soft(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """When a streak of soft bounces stops an address; 0 mailings: never."""

    mailings: int
    at_least: Span = Span(0)
    within: Span | None = None


class Silence(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """When no answer becomes an answer."""

    after: Span


class Streak(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What counts in the streak."""

    block_bounces: bool


class Unengaged(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """When an address counts as unengaged, and when it is stopped for it."""

    after: Span | None = None
    stopped_after: Span | None = None
    delivered: int = 0


class MachineOpens(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the opens of privacy proxies count for."""

    as_opens: bool
    as_engagement: bool
    against_stopping: bool


class OneOff(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whom a named person may write to although no broadcast may go there."""

    to_opted_out: bool
    to_never_opted_in: bool


class Transactional(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Receipts and passwords."""

    retry_soft_stopped: Span


class Confirmation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Requests to confirm.

    ``to_claimed``: whether those may be asked of whom it is only claimed that they agreed, once in
    the time ``imported_every``.
    """

    a_day: int
    to_claimed: bool
    imported_every: Span


class FrequencyCap(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How many mailings one address gets in a time; 0 mails: any number."""

    mails: int
    within: Span


class Retry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Pauses between attempts after temporary failures."""

    first: Span
    unreachable: Span
    factor: float
    longest: Span
    jitter: float = 0.0


class ResponseRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One row of the table of responses; its rank is its place in the list."""

    name: str
    group: Literal["preparing", "not_sent", "in_flight", "not_delivered", "delivered"]
    slot: str | None = None
    stop: str | None = None
    reason: str | None = None
    outcome: Literal["good", "soft", "hard"] | None = None
    final: bool = False
    unless_left: bool = False
    contests_delivery: bool = False
    contested: bool = False
    outranks: tuple[str, ...] = ()


class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True, dict=True):
    """All settings by which events become responses and standings, and the gate decides."""

    name: str
    hard: Hard
    soft: dict[str, Soft]
    silence: dict[str, Silence]
    streak: Streak
    unengaged: Unengaged
    machine_opens: MachineOpens
    one_off: OneOff
    transactional: Transactional
    confirmation: Confirmation
    frequency_cap: FrequencyCap
    retry: Retry
    responses: tuple[ResponseRule, ...]
    statistics_days: int | None = None

    @functools.cached_property
    def revision(self) -> int:
        """A fingerprint (63 bits) of everything the policy says: rows remember which they saw."""
        said = repr(msgspec.structs.replace(self, name="")).encode()
        return int.from_bytes(hashlib.blake2b(said, digest_size=8).digest(), "big") >> 1

    @functools.cached_property
    def uncut(self) -> Policy:
        """The same with statistics that count for ever."""
        return msgspec.structs.replace(self, statistics_days=None)


def load(name_or_path: str) -> Policy:
    """The preset of that name, or the policy file at that path.

    Raises:
        BadPolicy: there is none, or it does not hold what a policy holds.
    """
    return _build(name_or_path, ())


@functools.cache
def _build(name_or_path: str, seen: tuple[str, ...]) -> Policy:
    table = _table(name_or_path, seen)
    table["name"] = Path(name_or_path).stem
    try:
        return msgspec.convert(table, Policy, dec_hook=_decode)
    except (msgspec.ValidationError, ValueError) as error:
        raise BadPolicy(f"policy {name_or_path}: {error}") from error


def _table(name_or_path: str, seen: tuple[str, ...]) -> dict[str, Any]:
    if name_or_path in seen:
        raise BadPolicy(f"policy {name_or_path} is its own base")
    try:
        table = tomllib.loads(_read(name_or_path))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadPolicy(f"policy {name_or_path}: {error}") from error
    base = table.pop("base", None)
    if base is None:
        return table
    return _merge(_table(str(base), (*seen, name_or_path)), table)


def _read(name_or_path: str) -> str:
    if re.fullmatch(r"[a-z0-9_-]+", name_or_path):
        preset = resources.files("goodstanding.core.data").joinpath(f"policies/{name_or_path}.toml")
        if preset.is_file():
            return preset.read_text()
    path = Path(name_or_path)
    if not path.is_file():
        raise BadPolicy(f"there is no policy {name_or_path!r}: neither a preset nor a file")
    return path.read_text()


def _merge(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        under = below.get(key)
        if isinstance(value, dict) and isinstance(under, dict):
            merged[key] = _merge(under, value)
        else:
            merged[key] = value
    return merged


def _decode(shape: type, value: object) -> object:
    if shape is Span:
        return Span.parse(value)
    raise NotImplementedError(shape)
