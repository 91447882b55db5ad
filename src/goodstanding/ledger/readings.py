"""How failures read, as the details of their events keep it: at first, and again by better rules.

Whatever a reading goes by beside the words is kept with them, so that they can be read again: in a
session the stage at which they were said, of a mail the codes that it gave apart from them.
"""

from __future__ import annotations

from typing import Any, Final

from goodstanding import bounces
from goodstanding.bounces import Report
from goodstanding.core.addresses import Address, domain_of
from goodstanding.core.categories import CATEGORIES
from goodstanding.core.events import KINDS, Event

READING: Final = frozenset(
    {"category", "disposition", "rule", "rules", "words", "provider", "read_as"}
)
"""What a reading adds to what was said: another reading of the same words is no contradiction."""

IN_MAIL: Final = "mail:"
"""How the keys of events begin that a mail tells of."""

_ABOUT_US: Final = frozenset({"connect", "mail"})
"""Stages of a session at which nothing has been said of the recipient yet."""

_OURS: Final = frozenset({"sender", "content"})
"""Whose fault hurts no address."""


def reading_of(report: Report) -> dict[str, Any]:
    """The reading of a report, with the revision of the rules that gave it.

    What no rule tells is soft: an address stays good until something says otherwise.
    """
    reading = {
        "category": report.category or "undetermined",
        "disposition": report.disposition or "soft",
        "rule": report.rule,
        "rules": bounces.rules_version(),
        "words": report.words,
        "provider": report.provider,
        "code": report.code,
        "status": report.status,
    }
    return {name: value for name, value in reading.items() if value is not None}


def of_reply(text: str, address: Address) -> dict[str, Any]:
    """How a reply reads of which no more is known than whose address it is about."""
    domain = domain_of(address) if address.channel == "email" else None
    return reading_of(bounces.read_reply(text, domain))


def in_session(
    text: str, address: Address, *, stage: str, temporary: bool, provider: str | None
) -> dict[str, Any]:
    """How a reply in a session reads; before a recipient was named it cannot be about them.

    ``temporary``: it is to be tried again. ``provider``: who takes the address's mail, where the
    reading does not tell.
    """
    reading = of_reply(text, address)
    if provider is not None:
        reading.setdefault("provider", provider)
    if stage in _ABOUT_US and CATEGORIES[reading["category"]].fault not in _OURS:
        # Neither a bounce, nor giving up after deferrals, may then count against the address.
        reading.update(category="sender_refused", disposition="block")
    if temporary:
        # A temporary refusal in a session is temporary whatever its words say.
        reading["disposition"] = "none"
    return reading


def in_mail(report: Report, *, forwarded: bool) -> dict[str, Any]:
    """How the report of a mail reads.

    ``forwarded``: another mailbox failed, which the address forwards to; the address's own took it.
    """
    reading = reading_of(report)
    if not forwarded:
        return reading
    read_as = {"category": reading["category"], "disposition": reading["disposition"]}
    disposition = "soft" if report.kind == "bounce" else read_as["disposition"]
    return {
        **reading,
        "category": "forwarding_failed",
        "disposition": disposition,
        "read_as": read_as,
    }


def again(event: Event) -> dict[str, Any] | None:
    """How a failure reads by the rules of today, with what was known of it at first.

    None where nothing was said, where its reading was given and is not ours, where the rules of
    today gave it, and where it rests on words of a mail of which only others were kept.
    """
    detail = event.detail
    text = detail.get("text")
    if not KINDS[event.kind].failure or not isinstance(text, str) or not text:
        return None
    if detail.get("rules") in (None, bounces.rules_version()):
        return None
    if event.key.startswith(IN_MAIL):
        return _in_mail_again(event, text)
    if "stage" in detail:
        return in_session(
            text,
            event.address,
            stage=detail["stage"],
            temporary=event.kind == "deferred",
            provider=detail.get("provider"),
        )
    return of_reply(text, event.address)


def _in_mail_again(event: Event, text: str) -> dict[str, Any] | None:
    detail = event.detail
    report = bounces.read_again(
        "bounce" if event.kind == "bounced" else "delayed",
        text,
        status=detail.get("status"),
        code=detail.get("code"),
        provider=detail.get("provider"),
        recipient=event.address.value,
        rule=detail.get("rule"),
        words=detail.get("words"),
    )
    return in_mail(report, forwarded="read_as" in detail) if report is not None else None
