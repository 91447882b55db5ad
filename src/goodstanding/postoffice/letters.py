"""Writes what comes back: reports (RFC 3464, RFC 5965), prose bounces, answers of people."""

from __future__ import annotations

import re
from email.header import Header
from email.utils import formatdate
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from goodstanding.postoffice import chance, data
from goodstanding.postoffice.world import mailbox

if TYPE_CHECKING:
    from goodstanding.postoffice.desk import Mail
    from goodstanding.postoffice.received import Letter

MOST_RETURNED: Final = 256 * 1024

_STATUS: Final = re.compile(r"\b([245]\.\d{1,3}\.\d{1,3})\b")
_TO: Final = re.compile(rb"^(to|delivered-to|x-original-to):[^\r\n]*", re.IGNORECASE | re.MULTILINE)


class ReportStyle(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"author": "from"}
):
    """How a provider words its delivery reports."""

    returns: Literal["full", "headers"]
    author: str
    failed_subject: str
    failed_text: str
    delayed_subject: str
    delayed_text: str


class ProseStyle(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"author": "from"}
):
    """How an old mail server words its bounces."""

    author: str
    subject: str
    text: str
    failed_header: bool = False


class Away(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one says who is away."""

    subject: str
    text: str


class PersonReply(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one says who writes back."""

    text: str


class Reasons(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Why one leaves."""

    texts: tuple[str, ...]


class Words(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Words by which the links that are not what a mail is about are known."""

    leave: tuple[str, ...]
    service: tuple[str, ...]


class Phrases(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All of ``letters.toml``."""

    reports: dict[str, ReportStyle]
    prose: dict[str, ProseStyle]
    away: tuple[Away, ...]
    reply: tuple[PersonReply, ...]
    reasons: Reasons
    words: Words


PHRASES: Final = data.load("letters.toml", Phrases)


def report(
    mail: Mail,
    letter: Letter,
    *,
    host: str,
    style: str,
    action: Literal["failed", "delayed"],
    status: str,
    reply: str,
) -> bytes:
    """Write a delivery report about one recipient (RFC 3464, in the frame of RFC 6522).

    Args:
        mail: the mail that it is about.
        letter: the same, read.
        host: who reports.
        style: one of the styles of ``letters.toml``.
        action: what became of the mail.
        status: the enhanced status code, where ``reply`` says none.
        reply: what was said; lines are separated by newlines.
    """
    words = PHRASES.reports[style]
    said = " ".join(reply.split("\n"))
    found = _STATUS.search(said)
    is_failure = action == "failed"
    blanks = _blanks(mail, letter, host) | {"reply": said}
    fields = [
        f"Reporting-MTA: dns; {host}",
        f"Arrival-Date: {formatdate(mail.arrived)}",
        "",
        f"Final-Recipient: rfc822; {mail.recipient}",
        f"Original-Recipient: rfc822;{mail.recipient}",
        f"Action: {action}",
        f"Status: {found[1] if found else status}",
        f"Remote-MTA: dns; {host}",
        f"Diagnostic-Code: smtp; {_folded(reply)}",
    ]
    if not is_failure:
        fields.append(f"Will-Retry-Until: {formatdate(mail.arrived + 5 * 86400)}")
    text = (words.failed_text if is_failure else words.delayed_text).format_map(blanks)
    subject = (words.failed_subject if is_failure else words.delayed_subject).format_map(blanks)
    head = [
        *_own_headers(mail, words.author.format_map(blanks), mail.envelope_from, subject, host),
        ("Auto-Submitted", "auto-replied"),
    ]
    if words.returns == "full" and len(mail.content) <= MOST_RETURNED:
        returned = ("message/rfc822", _as_delivered(mail, host))
    else:
        returned = ("text/rfc822-headers", _headers(_as_delivered(mail, host)))
    parts = [
        ("text/plain; charset=utf-8", _body(text)),
        ("message/delivery-status", _body("\n".join(fields))),
        returned,
    ]
    return _multipart(head, "delivery-status", parts, mail)


def prose(mail: Mail, letter: Letter) -> bytes:
    """Write a bounce from before there were reports."""
    words = PHRASES.prose[mail.provider.prose]
    host = mail.provider.host
    blanks = _blanks(mail, letter, host)
    head = _own_headers(
        mail, words.author.format_map(blanks), mail.envelope_from, words.subject, host
    )
    if words.failed_header:
        head += [("X-Failed-Recipients", mail.recipient), ("Auto-Submitted", "auto-replied")]
    head += [
        ("MIME-Version", "1.0"),
        ("Content-Type", "text/plain; charset=utf-8"),
        ("Content-Transfer-Encoding", "8bit"),
    ]
    returned = _as_delivered(mail, host)
    if len(returned) > MOST_RETURNED:
        returned = _headers(returned)
    return _head(head) + b"\r\n" + _body(words.text.format_map(blanks)) + b"\r\n" + returned


def complaint(mail: Mail, letter: Letter, to: str) -> bytes:
    """Write a feedback report of type abuse, with the mail attached (RFC 5965)."""
    host, domain = mail.provider.host, mail.provider.name
    is_redacted = mail.provider.complaints == "redacted"
    fields = [
        "Feedback-Type: abuse",
        f"User-Agent: {domain}-feedback/1.0",
        "Version: 1",
        f"Original-Mail-From: <{mail.envelope_from}>",
        f"Arrival-Date: {formatdate(mail.arrived)}",
        "Source-IP: 192.0.2.25",
        f"Reported-Domain: {letter.author.rpartition('@')[2] or 'unknown.example'}",
    ]
    returned = _as_delivered(mail, host)
    if is_redacted:
        returned = _TO.sub(rb"\1: redacted@" + domain.encode(), returned)
    else:
        fields.insert(4, f"Original-Rcpt-To: <{mail.recipient}>")
    text = (
        f"This is an email abuse report for a message received from 192.0.2.25 "
        f"on {formatdate(mail.arrived)}.\nThe recipient marked it as spam."
    )
    subject = f"FW: {letter.subject}"
    head = _own_headers(mail, f"Feedback loop <feedback@{domain}>", to, subject, host)
    parts = [
        ("text/plain; charset=utf-8", _body(text)),
        ("message/feedback-report", _body("\n".join(fields))),
        ("message/rfc822", returned),
    ]
    return _multipart(head, "feedback-report", parts, mail)


def away(mail: Mail, letter: Letter, seed: int) -> bytes:
    """Write the answer of somebody who is away (RFC 3834)."""
    words = chance.pick(PHRASES.away, seed, "away", mailbox(mail.recipient))
    blanks = _blanks(mail, letter, mail.provider.host)
    head = [
        *_own_headers(
            mail,
            mail.recipient,
            mail.envelope_from,
            words.subject.format_map(blanks),
            mail.provider.host,
        ),
        ("In-Reply-To", letter.message_id),
        ("References", letter.message_id),
        ("Auto-Submitted", "auto-replied"),
        ("X-Auto-Response-Suppress", "All"),
        ("Precedence", "bulk"),
    ]
    return _plain(head, words.text.format_map(blanks))


def answer(mail: Mail, letter: Letter, to: str, seed: int) -> bytes:
    """Write the answer of a person."""
    words = chance.pick(PHRASES.reply, seed, "reply", mailbox(mail.recipient))
    head = [
        *_own_headers(mail, mail.recipient, to, f"Re: {letter.subject}", mail.provider.host),
        ("In-Reply-To", letter.message_id),
        ("References", letter.message_id),
    ]
    quoted = f"{words.text}\nOn {formatdate(mail.arrived)}, {letter.author} wrote:\n> (...)\n"
    return _plain(head, quoted)


def farewell(mail: Mail, letter: Letter, to: str, subject: str) -> bytes:
    """Write what a mail program sends to a mailto: address of List-Unsubscribe."""
    head = _own_headers(mail, mail.recipient, to, subject, mail.provider.host)
    return _plain([*head, ("In-Reply-To", letter.message_id)], "unsubscribe")


def _blanks(mail: Mail, letter: Letter, host: str) -> dict[str, str]:
    return {
        "recipient": mail.recipient,
        "host": host,
        "domain": mail.provider.name,
        "subject": letter.subject,
    }


def _own_headers(
    mail: Mail, author: str, to: str, subject: str, host: str
) -> list[tuple[str, str]]:
    number = chance.digest(0, mail.recipient, mail.message_id or "", subject, str(mail.arrived))
    return [
        ("Date", formatdate()),
        ("From", author),
        ("To", to),
        ("Subject", subject),
        ("Message-ID", f"<{number:016x}@{host}>"),
    ]


def _head(fields: list[tuple[str, str]]) -> bytes:
    lines = []
    for name, value in fields:
        text = " ".join(value.split())
        if not text.isascii():
            text = Header(text, "utf-8", header_name=name).encode(linesep="\r\n")
        if text:
            lines.append(f"{name}: {text}\r\n")
    return "".join(lines).encode("ascii", "replace")


def _body(text: str) -> bytes:
    return text.lstrip("\n").replace("\n", "\r\n").encode("utf-8", "replace") + b"\r\n"


def _plain(head: list[tuple[str, str]], text: str) -> bytes:
    kind = [
        ("MIME-Version", "1.0"),
        ("Content-Type", "text/plain; charset=utf-8"),
        ("Content-Transfer-Encoding", "8bit"),
    ]
    return _head(head + kind) + b"\r\n" + _body(text)


def _multipart(
    head: list[tuple[str, str]], report_type: str, parts: list[tuple[str, bytes]], mail: Mail
) -> bytes:
    number = chance.digest(0, "boundary", mail.recipient, str(mail.arrived))
    boundary = f"=_{number:016x}/{mail.provider.name}"
    kind = [
        ("MIME-Version", "1.0"),
        (
            "Content-Type",
            f'multipart/report; report-type={report_type}; boundary="{boundary}"',
        ),
    ]
    pieces = [_head(head + kind), b"\r\n"]
    for content_type, content in parts:
        pieces += [f"--{boundary}\r\nContent-Type: {content_type}\r\n".encode()]
        if not content.isascii():
            pieces.append(b"Content-Transfer-Encoding: 8bit\r\n")
        pieces += [b"\r\n", content, b"\r\n"]
    pieces.append(f"--{boundary}--\r\n".encode())
    return b"".join(pieces)


def _as_delivered(mail: Mail, host: str) -> bytes:
    """Return the mail with what the receiving server wrote above it."""
    trace = (
        f"Return-Path: <{mail.envelope_from}>\r\n"
        f"Delivered-To: {mail.recipient}\r\n"
        f"Received: from sender ([192.0.2.25]) by {host} with ESMTP;\r\n"
        f"\t{formatdate(mail.arrived)}\r\n"
    )
    return trace.encode("utf-8", "replace") + mail.content


def _headers(content: bytes) -> bytes:
    end = content.find(b"\r\n\r\n")
    return content[: end + 2] if end >= 0 else content[:MOST_RETURNED]


def _folded(reply: str) -> str:
    """Return a reply for a header: its lines as folded lines."""
    return "\n    ".join(line.strip() for line in reply.split("\n"))
