"""One part of a mail."""

from __future__ import annotations

import binascii
from typing import Final

FIELD: Final = 4000  # characters of one unfolded field
_BLOCK: Final = 64 * 1024  # bytes of one header block
_BODY: Final = 256 * 1024  # bytes of a body that are decoded

_BLANK: Final = (" ", "\t")


class Part:
    """A node of the MIME tree.

    ``headers`` maps lower-cased names to their unfolded values in order; ``content_type`` is lower
    case without parameters; ``body`` the bytes behind the headers, still encoded. ``children`` are
    the parts of a multipart; a ``message/rfc822`` part has the embedded mail as its one child where
    that holds a report.
    """

    __slots__ = ("body", "children", "content_type", "headers")

    def __init__(self, headers: dict[str, list[str]], body: bytes) -> None:
        self.headers = headers
        self.body = body
        self.children: list[Part] = []
        declared = self.first("content-type").partition(";")[0].strip().lower()
        self.content_type = declared if "/" in declared else "text/plain"

    def first(self, name: str) -> str:
        """The first value of the header ``name`` (lower case), or an empty string."""
        values = self.headers.get(name)
        return values[0] if values else ""

    @property
    def content(self) -> bytes:
        """The body decoded (RFC 2045 section 6); as it is where it cannot be."""
        encoding = self.first("content-transfer-encoding").strip().lower()
        if encoding == "base64":
            coded = self.body[:_BODY].translate(None, b"\r\n\t ")
            try:
                # The end may have been cut off.
                return binascii.a2b_base64(coded[: len(coded) // 4 * 4])
            except binascii.Error:
                return self.body
        if encoding == "quoted-printable":
            return binascii.a2b_qp(self.body[:_BODY])
        return self.body


def read_part(text: bytes) -> Part:
    """The part that ``text`` (line ends LF) is; without header fields all of it is the body."""
    if text.startswith(b"\n"):
        return Part({}, text[1:])
    block, _, body = text.partition(b"\n\n")
    headers = read_headers(block)
    return Part(headers, body) if headers else Part({}, text)


def read_headers(block: bytes) -> dict[str, list[str]]:
    """The fields of a header block; lines that are none are passed over."""
    try:
        text = block[:_BLOCK].decode()
    except UnicodeDecodeError:
        text = block[:_BLOCK].decode("latin-1")
    headers: dict[str, list[str]] = {}
    last: list[str] | None = None
    for line in text.split("\n"):
        if line[:1] in _BLANK:
            if last is not None and len(last[-1]) < FIELD:
                last[-1] = f"{last[-1]} {line.strip()}"
            continue
        name, colon, value = line.partition(":")
        name = name.rstrip().lower()
        if not colon or not name or " " in name or not name.isascii():
            last = None
            continue
        last = headers.get(name)
        if last is None:
            last = headers[name] = []
        last.append(value[:FIELD].strip())
    return headers
