"""Small readers of text: character sets, HTML, header words, dates, addresses. All bounded."""

from __future__ import annotations

import codecs
import html
import re
import unicodedata
from datetime import UTC, datetime
from email.errors import HeaderParseError
from email.header import decode_header
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import Final

from goodstanding.bounces.part import Part

BODY = 48 * 1024  # characters of a text part that are read
SAID = 2000  # characters kept of what a server said

# What stands round an address; also the full-width punctuation of Chinese and Japanese.
_APART: Final = r"\s<>()\[\],;:\"'@\\{}|*\u3001-\u301f\uff01-\uff0f\uff1a-\uff20\uff3b-\uff3d"
ADDRESS: Final = rf"[^{_APART}]{{1,128}}@[^{_APART}=/?&]{{1,255}}"
_ADDRESS: Final = re.compile(rf'(?:"[^"\n]{{1,64}}"@[\w.-]{{1,255}}|{ADDRESS})')
_CHARSET: Final = re.compile(r"""charset\s*=\s*["']?([\w.:+-]{1,40})""", re.IGNORECASE)
_ASCII_DOMAIN: Final = re.compile(r"(?:[a-z0-9-]+\.)+[a-z]{2,}(?=[^a-z0-9.-])", re.IGNORECASE)
_TAG: Final = re.compile(r"<(?:!--|[a-zA-Z/!?])[^<>]*>")
_BREAK: Final = re.compile(r"<(?:br|/p|/div|/tr|/h\d|/li|p)\b[^<>]*>", re.IGNORECASE)
_CELL: Final = re.compile(r"</t[dh][ \t]*>", re.IGNORECASE)
_SILENT: Final = re.compile(r"<(style|script|head)\b[^<>]*>", re.IGNORECASE)
_SILENT_ENDS: Final = {
    name: re.compile(f"</{name}", re.IGNORECASE) for name in ("style", "script", "head")
}


# Only character sets of mail: the standard library's other codecs (punycode, idna) are quadratic.
_CHARSETS: Final = re.compile(
    r"(?:us-ascii|utf-?(?:8|16|32)|iso-?(?:8859|2022)|windows-?\d|cp\d|koi8|shift|sjis|ms932|euc|gb|hz"
    r"|big5|latin|mac|tis|ks_?c)"
)


@lru_cache(64)
def _codec(name: str) -> str | None:
    name = name.lower()
    if not _CHARSETS.match(name):
        return None
    try:
        return codecs.lookup(name).name
    except LookupError:
        return None


def decode(content: bytes, content_type: str) -> str:
    """``content`` as text, by the charset its Content-Type names, else UTF-8, else Latin-1."""
    content = content[:BODY]
    found = _CHARSET.search(content_type)
    if found and (codec := _codec(found[1].lower())) and codec not in ("ascii", "utf-8"):
        try:
            return content.decode(codec)
        except (ValueError, LookupError):
            pass
        try:
            return content.decode()
        except UnicodeDecodeError:
            return content.decode(codec, "replace")
    try:
        if b"\x1b$" in content:
            return content.decode("iso2022_jp", "replace")
        return content.decode()
    except UnicodeDecodeError as error:
        # A character cut in two at the end says nothing about the rest.
        return content.decode("utf-8" if error.start > len(content) - 4 else "latin-1", "replace")


def of_part(part: Part) -> str:
    """The text of a leaf; HTML becomes its plain text."""
    content = part.content
    if not content:
        return ""
    text = decode(content, part.first("content-type"))
    return plain(text) if part.content_type == "text/html" else text


def plain(markup: str) -> str:
    """The text of HTML, a line a block, without styles and scripts."""
    kept: list[str] = []
    at = 0
    while found := _SILENT.search(markup, at):
        kept.append(markup[at : found.start()])
        end = _SILENT_ENDS[found[1].lower()].search(markup, found.end())
        if end is None:
            at = found.end()
            break
        at = end.start()
    kept.append(markup[at:])
    text = _BREAK.sub("\n", "".join(kept).replace("\n", " "))
    text = _TAG.sub("", _CELL.sub(" ", text))
    return html.unescape(text).replace("\xa0", " ")


def header(value: str) -> str:
    """A header's value with its encoded words (RFC 2047) decoded; bounded."""
    value = value[:1000]
    if "=?" not in value:
        return value
    try:
        return "".join(
            piece
            if isinstance(piece, str)
            else piece.decode(_codec(name or "") or "latin-1", "replace")
            for piece, name in decode_header(value)
        )
    except (HeaderParseError, ValueError, LookupError):
        return value


def addresses(text: str, limit: int = 50) -> list[str]:
    """The distinct addresses that occur in ``text``, in order, at most ``limit``."""
    if "@" not in text:
        return []
    found: dict[str, None] = {}
    for match in _ADDRESS.finditer(text):
        if cleaned := clean_address(match[0]):
            found.setdefault(cleaned)
            if len(found) == limit:
                break
    return list(found)


def clean_address(text: str) -> str | None:
    """One address without its brackets and trailing punctuation, or None where it is none."""
    text = text.strip().lstrip("`").strip("<>").rstrip(".,;:!?'\"").removeprefix("mailto:")
    local, at, domain = text.rpartition("@")
    if domain and not domain.isascii() and (ascii_domain := _ASCII_DOMAIN.match(domain)):
        # Languages without spaces run on behind the address.
        domain = ascii_domain[0]
        text = f"{local}@{domain}"
    if not at or not local or not domain or domain[0] in ".-" or len(text) > 320:
        return None
    return text if text.isprintable() else _seen(text)


def _seen(text: str) -> str | None:
    """An address without what cannot be seen, as HTML has it; None with control characters."""
    text = "".join(letter for letter in text if unicodedata.category(letter) != "Cf")
    return clean_address(text) if text.isprintable() else None


_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def date(value: str) -> int | None:
    """A Date header (RFC 5322 section 3.3) in microseconds since 1970 UTC."""
    try:
        moment = parsedate_to_datetime(value[:100])
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        since = moment - _EPOCH
    except (TypeError, ValueError, OverflowError, IndexError):
        return None
    return (since.days * 86_400 + since.seconds) * 1_000_000


def sender(value: str) -> str | None:
    """The address in a From header; a name before it may hold another."""
    found = addresses(value[:1000])
    return found[-1] if found else None


def sender_domain(value: str) -> str | None:
    """The domain of the address in a From header."""
    found = sender(value)
    return found.rpartition("@")[2] if found else None
