"""Notifications that arrive as JSON in a mail: Amazon SES by way of SNS.

Source: https://docs.aws.amazon.com/ses/latest/dg/notification-contents.html
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

from goodstanding.bounces.report import Kind, Report
from goodstanding.bounces.said import Said
from goodstanding.bounces.text import clean_address

_LIMIT: Final = 100
_STATUS: Final = re.compile(r"[245]\.\d{1,3}\.\d{1,3}", re.ASCII)
_WORD: Final = re.compile(r"[a-z-]{1,60}", re.IGNORECASE)


class _Recipient(msgspec.Struct, rename="camel"):
    email_address: str
    action: str | None = None
    status: str | None = None
    diagnostic_code: str = ""


class _Bounce(msgspec.Struct, rename="camel"):
    bounced_recipients: list[_Recipient] = []
    bounce_type: str = ""
    bounce_sub_type: str = ""


class _Complaint(msgspec.Struct, rename="camel"):
    complained_recipients: list[_Recipient] = []
    complaint_feedback_type: str | None = None


class _Delivery(msgspec.Struct, rename="camel"):
    recipients: list[str] = []
    smtp_response: str = ""


class _Delay(msgspec.Struct, rename="camel"):
    delayed_recipients: list[_Recipient] = []


class _Notification(msgspec.Struct, rename="camel"):
    notification_type: str = ""
    event_type: str = ""
    bounce: _Bounce | None = None
    complaint: _Complaint | None = None
    delivery: _Delivery | None = None
    delivery_delay: _Delay | None = None


class _Envelope(msgspec.Struct):
    message: str = msgspec.field(default="", name="Message")


_ENVELOPE: Final = msgspec.json.Decoder(_Envelope)
_NOTIFICATION: Final = msgspec.json.Decoder(_Notification)


def extract(text: str) -> tuple[list[Said], list[Report]]:
    """What a notification says: recipients to classify, and reports that need no classifying."""
    text = text.strip()
    if not text.startswith("{") or ("otificationType" not in text and "eventType" not in text):
        return [], []
    # Sendmail breaks over-long lines by "!", a line end and a space.
    heard = _decode(text) or _decode(text.replace("!\n ", ""))
    if heard is None:
        return [], []
    said: list[Said] = []
    if heard.bounce:
        suppressed = "suppress" in heard.bounce.bounce_sub_type.lower()
        context = ["on the suppression list"] if suppressed else []
        said += [_said("bounce", one, context) for one in heard.bounce.bounced_recipients]
    if heard.delivery_delay:
        said += [_said("delayed", one, []) for one in heard.delivery_delay.delayed_recipients]
    if heard.delivery:
        text = heard.delivery.smtp_response
        said += [
            Said(kind="delivered", recipient=clean_address(to), text=text)
            for to in heard.delivery.recipients
        ]
    reports: list[Report] = []
    if heard.complaint:
        kind: Kind = "complaint"
        reports = [
            Report(
                kind=kind,
                recipient=clean_address(one.email_address),
                feedback_type=_fits(_WORD, heard.complaint.complaint_feedback_type) or "abuse",
                provider="amazonses.com",
            )
            for one in heard.complaint.complained_recipients[:_LIMIT]
        ]
    return said[:_LIMIT], reports


def _decode(text: str) -> _Notification | None:
    text = text[: text.rfind("}") + 1]  # a footer may follow
    try:
        inner = _ENVELOPE.decode(text).message
        return _NOTIFICATION.decode(inner or text)
    except (msgspec.DecodeError, RecursionError):
        return None


def _said(kind: Kind, one: _Recipient, context: list[str]) -> Said:
    text = one.diagnostic_code.removeprefix("smtp;").strip()
    return Said(
        kind=kind,
        recipient=clean_address(one.email_address),
        action=_fits(_WORD, one.action),
        status=_fits(_STATUS, one.status),
        text=text,
        wider=context.copy,
    )


def _fits(form: re.Pattern[str], value: str | None) -> str | None:
    """A value that has the form it should have, lower-cased."""
    return value.lower() if value and form.fullmatch(value) else None
