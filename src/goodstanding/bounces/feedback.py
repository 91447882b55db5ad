"""Feedback reports: RFC 5965 (ARF), RFC 6591 (authentication failures), and older forms."""

from __future__ import annotations

import re
from typing import Final

from goodstanding.bounces import fields, providers, text
from goodstanding.bounces.report import Kind, Report
from goodstanding.bounces.view import View

_TYPE: Final = re.compile(r"[a-z-]+")
_AUTHENTICATION: Final = {"auth-failure", "dmarc"}
_RECIPIENTS: Final = ("original-rcpt-to", "removal-recipient", "x-original-rcpt-to")
_OLD_FORM: Final = b"X-HmXmrOriginalRecipient"
_LIMIT: Final = 100


def extract(seen: View) -> list[Report]:
    """A report for each recipient that is named; one without recipient where none is."""
    reports: list[Report] = []
    for content in seen.feedback[:5]:
        merged: fields.Group = {}
        for group in fields.groups(content):
            for name, values in group.items():
                merged.setdefault(name, []).extend(values)
        found = _TYPE.search(merged.get("feedback-type", ["other"])[0].lower())
        kind_said = found[0] if found else "other"
        reports += _reports(seen, kind_said, merged)
    return reports


def old_form(seen: View) -> list[Report]:
    """Complaints from before RFC 5965 was followed: the recipient is in the original's headers."""
    if _OLD_FORM not in seen.root.body:
        return []
    recipient = seen.original().get(_OLD_FORM.decode().lower())
    if recipient is None:
        return []
    return _reports(seen, "abuse", {"original-rcpt-to": [recipient]})


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
            if found := text.addresses(seen.original().get(header, "")):
                return found[:_LIMIT]
    return list(named)[:_LIMIT]
