"""Feedback reports: RFC 5965 (ARF), RFC 6591 (authentication failures), and older forms."""

from __future__ import annotations

import re
from typing import Final

from goodstanding.bounces import fields, providers, text
from goodstanding.bounces.report import Kind, Report
from goodstanding.bounces.view import View

_TYPE: Final = re.compile(r"[a-z-]{1,60}")
_AUTHENTICATION: Final = {"auth-failure", "dmarc"}
_RECIPIENTS: Final = ("original-rcpt-to", "removal-recipient", "x-original-rcpt-to")
_HOTMAIL: Final = b"X-HmXmrOriginalRecipient"
_FIELD: Final = b"eedback-Type:"
_FIELDS: Final = re.compile(r"(?:[^\n]*\n){0,40}?[ \t]*Feedback-Type:", re.IGNORECASE)
_SUBJECT: Final = re.compile(
    r"(?:e-?mail )?(?:feedback|abuse|complaint) report (?:for|from|about)\b"
    r"|complaint about (?:a )?message|client tos notification|spam complaint (?:from|about)",
    re.IGNORECASE,
)
_LIMIT: Final = 100


def extract(contents: list[str], seen: View) -> list[Report]:
    """A report for each recipient that is named; one without recipient where none is."""
    reports: list[Report] = []
    for content in contents[:5]:
        merged: fields.Group = {}
        for group in fields.groups(content):
            for name, values in group.items():
                merged.setdefault(name, []).extend(values)
        found = _TYPE.search(merged.get("feedback-type", ["other"])[0].lower())
        kind_said = found[0] if found else "other"
        reports += _reports(seen, kind_said, merged)
    return reports


def old_form(seen: View) -> list[Report]:
    """Complaints from before RFC 5965 was followed.

    The fields stand in the text, or the provider is known by its own header or subject and the
    recipient by the original's headers.
    """
    if _FIELD in seen.root.body and _FIELDS.match(seen.notice()):
        return extract([seen.notice()], seen)
    named = _SUBJECT.match(text.header(seen.first("subject"))) is not None
    marked = (seen.returned or named) and _HOTMAIL in seen.root.body
    if marked and (recipient := seen.original.get(_HOTMAIL.decode().lower())):
        return _reports(seen, "abuse", {"original-rcpt-to": [recipient]})
    return _reports(seen, "abuse", {}) if seen.returned and named else []


def _reports(seen: View, feedback_type: str, group: fields.Group) -> list[Report]:
    named: list[str | None] = [*_recipients(seen, group)]
    kind: Kind = "authentication_report" if feedback_type in _AUTHENTICATION else "complaint"
    provider = providers.by_host(text.sender_domain(seen.first("from")))
    said = " ".join(seen.notice().split())[: text.SAID] or None
    return [
        Report(
            kind=kind,
            recipient=recipient,
            feedback_type=feedback_type,
            text=said,
            provider=provider,
        )
        for recipient in named or [None]
    ]


def _recipients(seen: View, group: fields.Group) -> list[str]:
    named: dict[str, None] = {}
    for field in _RECIPIENTS:
        for value in group.get(field, []):
            if address := text.clean_address(fields.address(value)):
                named.setdefault(address)
    if not named:
        for header in ("to", "x-original-to", "delivered-to", "cc"):
            if found := text.addresses(seen.original.get(header, "")):
                return found[:_LIMIT]
    return list(named)[:_LIMIT]
