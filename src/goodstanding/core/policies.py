"""Policies: the numbers and switches by which events become standings (design, section 5).

What is here is the shape of one; :mod:`.policy_files` reads them.
"""

from __future__ import annotations

import functools
import hashlib
import re
from typing import Annotated, Final, Literal

import msgspec

UNITS: Final = {
    "us": 1,
    "ms": 1_000,
    "s": 1_000_000,
    "m": 60_000_000,
    "h": 3_600_000_000,
    "d": 86_400_000_000,
}


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


Count = Annotated[int, msgspec.Meta(ge=0)]
AtLeastOne = Annotated[int, msgspec.Meta(ge=1)]
Share = Annotated[float, msgspec.Meta(gt=0, le=1)]


class Hard(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """When hard bounces stop an address."""

    mailings: AtLeastOne
    mailings_when_engaged: AtLeastOne
    engaged_within: Span
    lifted_by_engagement: bool


class Soft(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """When a streak of soft bounces stops an address; 0 mailings: never.

    ``warns_at``: a streak from which on it is said that nobody may be there; 0: none.
    """

    mailings: Count
    at_least: Span = Span(0)
    within: Span | None = None
    warns_at: Count = 0


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
    delivered: Count = 0


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

    a_day: Count
    to_claimed: bool
    imported_every: Span


class Acknowledgement(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The one message by SMS that acknowledges an opt-out: how long after it that may go."""

    within: Span


class FrequencyCap(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How many mailings one address gets in a time; 0 mails: any number."""

    mails: Count
    within: Span


class Retry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Pauses between attempts after temporary failures."""

    first: Span
    unreachable: Span
    factor: Annotated[float, msgspec.Meta(ge=1)]
    longest: Span
    jitter: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.0


class Duplicates(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Contacts that share an address: whether all but the first of an audience are skipped."""

    skip: bool


class Lanes(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whether confirmed addresses go by the better lane, where the mailing's lane has one."""

    confirmed_by_better: bool


Leaves = Literal["everything", "topic"]


class Leaving(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one leaves by the link in the footer, and by the mail client's button.

    ``topic``: the mailing's, where it has one.
    """

    footer_link: Leaves
    header_button: Leaves


class Guard(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which hard bounces are a wave that looks like a provider's outage (see ``core.guard``)."""

    at_least: AtLeastOne
    times_usual: Annotated[float, msgspec.Meta(ge=0)]
    usual_over: Span
    share_failed: Share
    share_delivered: Share
    delivered_within: Span


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
    acknowledgement: Acknowledgement
    frequency_cap: FrequencyCap
    duplicates: Duplicates
    lanes: Lanes
    leaving: Leaving
    retry: Retry
    responses: tuple[ResponseRule, ...]
    guard: Guard | None = None
    statistics_days: AtLeastOne | None = None

    @functools.cached_property
    def revision(self) -> int:
        """A fingerprint (63 bits) of all that decides a standing: rows remember which they saw."""
        said = repr(msgspec.structs.replace(self, name="", guard=None)).encode()
        return int.from_bytes(hashlib.blake2b(said, digest_size=8).digest(), "big") >> 1

    @functools.cached_property
    def uncut(self) -> Policy:
        """The same with statistics that count for ever."""
        return msgspec.structs.replace(self, statistics_days=None)
