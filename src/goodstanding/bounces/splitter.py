"""A MIME splitter of our own, for mails that the parser cannot be trusted with or makes nothing of.

It believes the mail rather than its declarations: a line that begins with ``--`` and is followed by
a ``Content-`` header starts a part whatever boundary was announced. Linear in its input; bounded in
parts and depth.
"""

from __future__ import annotations

import base64
import binascii
import quopri
import re

from goodstanding.bounces.part import Part

PARTS = 60
FIELDS = 400
FIELD = 4000  # bytes of one unfolded field

_FIELD = re.compile(rb"([!-9;-~]{1,80})[ \t]*:(.*)", re.DOTALL)
_PART = re.compile(
    rb"^--(?:[^\n]*\n(?=(?i:content-[a-z-]+[ \t]*:))|(?=-*[^\s-])\S*\n(?=\n))", re.MULTILINE
)
_TERMINAL = re.compile(rb"\n--(?=-*[^\s-])\S*--[ \t]*(?:\n|\Z)")


def split(message: bytes) -> Part:
    """The tree of ``message`` (line ends LF), two levels deep: the mail and its parts."""
    headers, body = _headers_and_body(message)
    root = Part(_mime_type(headers), headers, None, [])
    starts = _part_starts(body)
    if not starts:
        root.content = _decode(headers, body)
        if root.content_type.startswith(("multipart/", "message/")):
            root.content_type = "text/plain"
        return root
    preamble = body[: starts[0][0]]
    if preamble.strip():
        root.children.append(Part("text/plain", {}, preamble, []))
    ends = [start for start, _ in starts[1:]] + [len(body)]
    for (_, begin), end in zip(starts, ends, strict=True):
        part = _part(body[begin:end])
        if part is not None:
            root.children.append(part)
    return root


def _part_starts(body: bytes) -> list[tuple[int, int]]:
    starts: list[tuple[int, int]] = []
    for found in _PART.finditer(body):
        starts.append(found.span())
        if len(starts) == PARTS:
            break
    return starts


def _part(text: bytes) -> Part | None:
    terminal = _TERMINAL.search(text)
    if terminal:
        text = text[: terminal.start()]
    headers, body = _headers_and_body(text)
    kind = _mime_type(headers)
    if kind.startswith("multipart/"):
        # Its parts follow as parts of ours.
        return None
    part = Part(kind, headers, None, [])
    if kind in ("message/rfc822", "message/global"):
        inner, rest = _headers_and_body(body)
        part.children.append(Part(_mime_type(inner), inner, _decode(inner, rest), []))
    else:
        part.content = _decode(headers, body)
    return part


def _headers_and_body(text: bytes) -> tuple[dict[str, list[str]], bytes]:
    if text.startswith(b"\n"):
        return {}, text[1:]
    block, _, body = text.partition(b"\n\n")
    headers: dict[str, list[str]] = {}
    fields: list[list[bytes]] = []
    for line in block.split(b"\n", FIELDS * 4)[: FIELDS * 4]:
        if line[:1] in (b" ", b"\t") and fields:
            if len(fields[-1]) < 200:
                fields[-1].append(line)
        elif len(fields) < FIELDS:
            fields.append([line])
    for lines in fields:
        found = _FIELD.match(b"".join(lines)[:FIELD])
        if found:
            name = found[1].decode("ascii").lower()
            value = found[2].decode("utf-8", "replace").strip()
            headers.setdefault(name, []).append(value)
    if not headers:
        return {}, text
    return headers, body


def _mime_type(headers: dict[str, list[str]]) -> str:
    declared = headers.get("content-type", [""])[0].partition(";")[0].strip().lower()
    return declared if "/" in declared else "text/plain"


def _decode(headers: dict[str, list[str]], body: bytes) -> bytes:
    encoding = headers.get("content-transfer-encoding", [""])[0].strip().lower()
    try:
        if encoding == "base64":
            return base64.b64decode(body)
        if encoding == "quoted-printable":
            return quopri.decodestring(body)
    except (binascii.Error, ValueError):
        pass
    return body
