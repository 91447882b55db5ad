"""Reads a received mail as a mail program does: its links, its images, its buttons."""

from __future__ import annotations

import email
import re
from email.header import decode_header, make_header
from email.utils import parseaddr
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from email.message import Message

MOST_BYTES: Final = 4 * 1024 * 1024
MOST_LINKS: Final = 500

_URL: Final = re.compile(r"https?://[^\s<>\"']{1,2000}")
_IN_BRACKETS: Final = re.compile(r"<\s*([^<>\s]{1,2000})\s*>")


class Link(msgspec.Struct, frozen=True):
    """One link, with the words that one clicks on."""

    url: str
    text: str


class Letter(msgspec.Struct, frozen=True):
    """What a person or a program can do with a mail. Absent headers are empty."""

    subject: str
    author: str
    reply_to: str
    message_id: str
    links: tuple[Link, ...]
    images: tuple[str, ...]
    pixel: str
    unsubscribe_url: str
    unsubscribe_mail: str
    one_click: bool


class _Page(HTMLParser):
    """Collects links and images."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[Link] = []
        self.images: list[str] = []
        self.pixel = ""
        self._href: str | None = None
        self._words: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: (value or "").strip() for name, value in attrs}
        if tag == "a":
            self._end_link()
            self._href = given.get("href", "")
        elif tag == "img" and given.get("src", "").startswith(("http://", "https://")):
            if len(self.images) < MOST_LINKS:
                self.images.append(given["src"])
            if given.get("width") == "1" and given.get("height") == "1":
                self.pixel = given["src"]
        elif tag == "img":
            self._words.append(given.get("alt", ""))

    def handle_endtag(self, tag: str) -> None:
        if tag == "a":
            self._end_link()

    def handle_data(self, data: str) -> None:
        if self._href is not None:
            self._words.append(data)

    def _end_link(self) -> None:
        href, self._href = self._href, None
        words, self._words = " ".join(" ".join(self._words).split()), []
        if href and href.startswith(("http://", "https://")) and len(self.links) < MOST_LINKS:
            self.links.append(Link(href, words))


def read(content: bytes) -> Letter:
    """Read a mail; of a very long one, the beginning."""
    message = email.message_from_bytes(content[:MOST_BYTES])
    page = _Page()
    plain: list[Link] = []
    for part in message.walk():
        if part.get_content_type() == "text/html":
            page.feed(_text(part))
            page.close()
        elif part.get_content_type() == "text/plain":
            plain += _plain_links(_text(part))
    header = " ".join(_header(message, "List-Unsubscribe").split())
    ways = _IN_BRACKETS.findall(header)
    return Letter(
        subject=_header(message, "Subject"),
        author=parseaddr(_header(message, "From"))[1],
        reply_to=parseaddr(_header(message, "Reply-To"))[1],
        message_id=_header(message, "Message-ID").strip(),
        links=tuple(page.links or plain[:MOST_LINKS]),
        images=tuple(dict.fromkeys(page.images)),
        pixel=page.pixel or next(iter(page.images), ""),
        unsubscribe_url=next((w for w in ways if w.lower().startswith(("http:", "https:"))), ""),
        unsubscribe_mail=next((w for w in ways if w.lower().startswith("mailto:")), ""),
        one_click=_header(message, "List-Unsubscribe-Post").strip().lower()
        == "list-unsubscribe=one-click",
    )


def _header(message: Message, name: str) -> str:
    value = message.get(name)
    if value is None:
        return ""
    try:
        text = str(make_header(decode_header(str(value))))
    except (ValueError, LookupError):
        text = str(value)
    return " ".join(text.split())


def _text(part: Message) -> str:
    payload = part.get_payload(decode=True)
    if not isinstance(payload, bytes):
        return ""
    try:
        return payload.decode(part.get_content_charset() or "utf-8", "replace")
    except LookupError:
        return payload.decode("utf-8", "replace")


def _plain_links(text: str) -> list[Link]:
    """Return the links of a plain text, each with the rest of its line as its words."""
    return [
        Link(url.rstrip(".,;:)"), line.replace(url, " ").strip())
        for line in text.splitlines()
        for url in _URL.findall(line)
    ]
