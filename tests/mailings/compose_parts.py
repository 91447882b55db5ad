"""What the tests of composing share: a content, a stamp, and a strict reader of messages."""

from __future__ import annotations

import email.policy
from collections.abc import Mapping
from dataclasses import dataclass
from email.message import EmailMessage
from typing import Any, cast

from goodstanding.mailings.mail.compose import compile_content
from goodstanding.mailings.mail.content import Content
from goodstanding.mailings.mail.rendering import Compiled
from goodstanding.mailings.mail.slots import Stamp

FOOTER = "{{ postal_address }} {{ unsubscribe_url }}"
HTML_FOOTER = '<p>{{ postal_address }} <a href="{{ unsubscribe_url }}">leave</a></p>'


@dataclass(frozen=True)
class FakeStamp:
    delivery: int = 7
    date: int = 1_700_000_000_123_456
    message_id: str = "m7@news.example.com"
    unsubscribe_url: str = "https://news.example.com/u/abc?x=1&y=2"
    preferences_url: str = "https://news.example.com/p/abc"
    one_click_url: str = "https://news.example.com/one/abc"
    unsubscribe_mailto: str | None = "mailto:leave+abc@news.example.com"
    open_url: str | None = "https://news.example.com/o/abc"
    feedback_id: tuple[str, ...] = ("spring", "news", "b", "goodco")
    list_id: str | None = "news.example.com"

    def click_url(self, n: int, /) -> str:
        return f"https://news.example.com/c/{n}?s=1&t=2"

    def confirm_url(self, n: int, /) -> str:
        return f"https://news.example.com/confirm/{n}?a=1&b=2"


STAMP: Stamp = FakeStamp()


def content(**more: Any) -> Content:
    plain: dict[str, Any] = {
        "from_address": "news@example.com",
        "subject": "Hello",
        "text": f"Hello\n{FOOTER}\n",
        "postal_address": "1 High Street\nTown",
    }
    return Content(**(plain | more))


def compiled(*fields: str, **more: Any) -> Compiled:
    return compile_content(content(**more), fields)


def rendered(
    fields: Mapping[str, str] | None = None,
    recipient: str = "ann@example.com",
    stamp: Stamp = STAMP,
    **more: Any,
) -> EmailMessage:
    given = fields or {}
    return strictly(compiled(*given, **more).render(given, recipient, stamp))


def strictly(raw: bytes) -> EmailMessage:
    """Parse with the standard library; any defect, bad line end or overlong line fails."""
    assert raw.count(b"\r\n") == raw.count(b"\n") == raw.count(b"\r")
    assert b"\x00" not in raw
    head, _, _ = raw.partition(b"\r\n\r\n")
    assert all(len(line) <= 998 for line in raw.split(b"\r\n"))
    assert not any(line.isspace() for line in head.split(b"\r\n"))
    policy = email.policy.default.clone(raise_on_defect=True)
    message = cast("EmailMessage", email.message_from_bytes(raw, policy=policy))
    for part in message.walk():
        assert not part.defects
        for value in part.values():
            assert not value.defects
        if not part.is_multipart():
            encoded = raw if part is message else cast(bytes, part.as_bytes())
            body = encoded.split(b"\r\n\r\n" if part is message else b"\n\n", 1)[1]
            assert body.isascii()
            assert all(len(line.rstrip(b"\r")) <= 76 for line in body.split(b"\n"))
    return message


def text_of(message: EmailMessage, kind: str) -> str:
    part = message.get_body((kind,))
    assert part is not None
    return cast(str, part.get_content()).replace("\r\n", "\n")
