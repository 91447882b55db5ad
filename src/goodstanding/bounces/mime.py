"""The MIME tree of a guarded mail (RFC 2046). Linear in its input; bounded in parts and depth.

A splitter of our own: bounce mail breaks the rules in its own ways, and most of a mail need not be
looked at to know what it reports. First by the boundaries that are announced; where that leaves a
multipart without parts, the mail is believed rather than its declarations: a line that begins with
``--`` and is followed by a ``Content-`` header starts a part, whatever was announced.
"""

from __future__ import annotations

import re
from typing import Final

from goodstanding.bounces.part import Part, read_part

PARTS: Final = 60  # parts looked at
DEPTH: Final = 8  # levels looked at

_EMBEDDED: Final = {"message/rfc822", "message/global"}
_REPORT: Final = b"elivery-status"  # what makes an embedded mail worth splitting
_BOUNDARY: Final = re.compile(
    r"""boundary[ \t]*=[ \t]*(?:"([^"]{1,200})"|([^\s;"]{1,200}))""", re.IGNORECASE
)
_PART: Final = re.compile(
    rb"^[ \t]?--(?:[^\n]*\n(?=(?i:content-[a-z-]+[ \t]*:))|(?=-*[^\s-])\S*\n(?=\n))", re.MULTILINE
)
_TERMINAL: Final = re.compile(rb"\n--(?=-*[^\s-])\S*--[ \t]*(?:\n|\Z)")


def parse(message: bytes) -> Part:
    """The tree of ``message`` (see ``guard``)."""
    splitter = _Splitter()
    root = splitter.part(message, DEPTH)
    return _undeclared(root) if splitter.hollow else root


class _Splitter:
    """Splits by announced boundaries; ``hollow`` once a multipart turned out to have no parts."""

    def __init__(self) -> None:
        self.left = PARTS
        self.hollow = False

    def part(self, text: bytes, depth: int) -> Part:
        self.left -= 1
        part = read_part(text)
        if not part.content_type.startswith(("multipart/", "message/")) or depth == 0:
            return part
        if part.content_type in _EMBEDDED:
            inner = part.content
            if _REPORT in inner:
                part.children = [self.part(inner.lstrip(b"\n"), depth - 1)]
        elif part.content_type.startswith("multipart/"):
            for piece in _pieces(part):
                if self.left <= 0:
                    break
                part.children.append(self.part(piece, depth - 1))
            self.hollow = self.hollow or not part.children
        return part


def _pieces(part: Part) -> list[bytes]:
    found = _BOUNDARY.search(part.first("content-type"))
    if found is None:
        return []
    delimiter = b"\n--" + (found[1] or found[2]).rstrip().encode("utf-8", "replace")
    pieces: list[bytes] = []
    for text in (b"\n" + part.body).split(delimiter, PARTS)[1:]:
        line, newline, rest = text.partition(b"\n")
        line = line.rstrip()
        if line == b"--":
            break
        if not newline:
            continue
        if line and pieces:
            # A longer boundary that begins like ours.
            pieces[-1] += delimiter + text
        elif not line:
            pieces.append(rest)
    return pieces


def _undeclared(root: Part) -> Part:
    """``root`` with its parts found by what they look like, two levels deep."""
    starts = [
        found.span() for found, _ in zip(_PART.finditer(root.body), range(PARTS), strict=False)
    ]
    root.children = []
    if not starts:
        root.content_type = "text/plain"
        return root
    preamble = root.body[: starts[0][0]]
    if preamble.strip():
        root.children.append(Part({}, preamble))
    ends = [start for start, _ in starts[1:]] + [len(root.body)]
    for (_, begin), end in zip(starts, ends, strict=True):
        text = root.body[begin:end]
        if terminal := _TERMINAL.search(text):
            text = text[: terminal.start()]
        part = read_part(text)
        if not part.content_type.startswith("multipart/"):
            # The parts of a multipart follow as parts of ours.
            root.children.append(part)
    return root
