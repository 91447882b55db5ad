"""The form of an SMTP reply (RFC 5321 section 4.2; RFC 3463 for the enhanced status code)."""

from __future__ import annotations

import re
from typing import Final

import msgspec

_LEAD: Final = re.compile(
    r"\s*(?:smtp;\s*)?(?:(?:SMTP|smtp) (?:error|code)[:# ]*)?([2-5]\d\d)(?=[ :;,\-(#<\t\n]|$)",
    re.ASCII,
)
# A reply code, and what may stand before one in prose.
_CODE: Final = re.compile(
    r"([245][0-5]\d)(?:[ -]+[245]\.\d{1,3}\.\d{1,3}|[ -](?=[^\d\s])|[ ]?\()", re.ASCII
)
# A code that an enhanced one of its class follows, or a quotation, is one wherever it stands.
_SURE: Final = re.compile(
    r"(?<![\d.])(?:([45])\d\d[ -]\1\.\d{1,3}\.\d{1,3}(?![\d.])|[45]\d\d-')", re.ASCII
)
_BEFORE_CODE: Final = (
    *(
        "said",
        "was",
        "with",
        "returned",
        "response",
        "replied",
        "reason",
        "error",
        "message",
        "code",
    ),
    *("status", ":", "]", ")", "],", "...", "<<<", ">>>", "smtp;"),
)
# The rest of an enhanced status code, from its first dot: the engine jumps from dot to dot.
_STATUS: Final = re.compile(
    r"\.(?<=[245]\.)(?<![\d.][245]\.)\d{1,3}\.\d{1,3}(?![\d.]*\d)", re.ASCII
)


class Reply(msgspec.Struct, frozen=True):
    """A reply taken apart; ``text`` is the whole, its lines joined without repeated codes."""

    code: str | None
    status: str | None
    text: str


def take_apart(text: str) -> Reply:
    """The codes and the text of a single-line or multi-line reply, also one quoted in prose."""
    text = text[:8192].strip()
    lead = _LEAD.match(text)
    code = lead[1] if lead else None
    if code is None:
        code = _code_in(text)
    status = find_status(text, code)
    return Reply(code, status, _join(text, code, status))


Codes = tuple[str | None, str | None]
"""A reply code and an enhanced status code."""


def codes(text: str) -> Codes:
    """The reply code and the enhanced status code that are said in prose."""
    text = text[:8192].lstrip()
    lead = _LEAD.match(text)
    code = lead[1] if lead else _code_in(text)
    return code, find_status(text, code)


def is_answer(text: str) -> bool:
    """Whether ``text`` is a reply itself: it begins with a reply code."""
    return _LEAD.match(text) is not None


def _code_in(text: str) -> str | None:
    for found in _CODE.finditer(text):
        at = found.start()
        before = text[max(0, at - 20) : at].rstrip(" \t('[").lower()
        if not before or before[-1] == "\n" or before.rstrip(": \n").endswith(_BEFORE_CODE):
            return found[1]
        if before[-1] in ":)]" or _SURE.match(text, at):
            return found[1]
    return None


def find_status(text: str, code: str | None = None) -> str | None:
    """The enhanced status code said in ``text``, of the reply code's class where there is one."""
    if "." not in text:
        return None
    for found in _STATUS.finditer(text):
        begin = found.start() - 1
        if code is None or text[begin] == code[0]:
            return text[begin : found.end()]
    return None


def _join(text: str, code: str | None, status: str | None) -> str:
    if code is not None and f"{code}-" in text:
        # 550-5.1.1 first line 550-5.1.1 second line 550 5.1.1 last line
        prefix = re.compile(
            rf"(?<=\s){code}[-\s](?:{re.escape(status)}[ \t]*)?"
            if status
            else rf"(?<=\s){code}[-\s]"
        )
        head = prefix.sub("", text)
        text = re.sub(rf"^{code}-", f"{code} ", head)
    return " ".join(text.split())


def is_generic(status: str | None) -> bool:
    """Whether an enhanced status code says no more than its class (RFC 3463: X.0.0)."""
    return status is None or status.endswith(".0.0")
