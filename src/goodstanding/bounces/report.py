"""What a reading says."""

from __future__ import annotations

from typing import Literal

import msgspec

from goodstanding.core.categories import Disposition

Kind = Literal[
    "bounce",
    "delayed",
    "delivered",
    "complaint",
    "auto_reply",
    "unsubscribe_request",
    "authentication_report",
    "challenge",
    "not_a_report",
]


class Other(msgspec.Struct, frozen=True):
    """A rule, or a code, that would have decided otherwise; the words that it matched."""

    rule: str
    category: str
    words: str | None = None


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was said about one recipient; None wherever nothing was said.

    ``code`` is the SMTP reply code (three digits), ``status`` the enhanced status code (RFC 3463),
    ``text`` what the server said (at most about 2 KB), ``rule`` the rule that decided and ``words``
    the words of the text that it matched, lower-cased. ``category`` and ``disposition`` are there
    for a bounce or a delay only. ``original_recipient`` is the address before any forwarding
    (RFC 3464 section 2.3.1), ``action`` the Action field as reported, lower-cased.
    ``feedback_type`` is that of a complaint as reported; of a wish to leave it is ``opt-out``.
    ``others``, where it was asked for, is what else was in the running: at most five, best first.
    """

    kind: Kind
    recipient: str | None = None
    status: str | None = None
    code: str | None = None
    category: str | None = None
    disposition: Disposition | None = None
    rule: str | None = None
    text: str | None = None
    provider: str | None = None
    feedback_type: str | None = None
    original_recipient: str | None = None
    action: str | None = None
    words: str | None = None
    others: tuple[Other, ...] = ()


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """A mail as read: its reports (none for plain mail) and what tells where it belongs.

    ``date`` is the Date header in microseconds since 1970 UTC. ``original`` holds the headers of
    the returned original message, by lower-cased name, the first value of each.
    """

    reports: tuple[Report, ...] = ()
    date: int | None = None
    subject: str = ""
    original: dict[str, str] = {}
