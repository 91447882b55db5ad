"""The links of an HTML template: which of them become click links, and where they stand."""

from __future__ import annotations

import html
import re
from bisect import bisect_right
from html.parser import HTMLParser
from typing import Final, NamedTuple

from goodstanding.mailings.merge import TAG

_FIELD_MARK: Final = "\ufdd0"
_TAG_MARK: Final = "\ufdd1"
"""Noncharacters of Unicode: they stand in for template tags while the HTML is read."""

_WEB: Final = re.compile(r"https?://[^/]", re.IGNORECASE)
_HREF: Final = re.compile(
    r"""(?P<name>[^\s=>"'/]+)\s*=\s*(?P<value>"[^"]*"|'[^']*'|[^\s>"']+)|[^\s=>"'/]+|["'/=]"""
)
_QUOTED: Final = re.compile(r'"[^"]*"|' r"'[^']*'")
_TAG_NAME: Final = re.compile(r"<\s*/?\s*" + _FIELD_MARK)
_LINKING: Final = frozenset({"a", "area"})
_RAW: Final = frozenset({"script", "style"})


class Place(NamedTuple):
    """Where a link stands: ``source[start:end]`` is its attribute's value, quotes and all."""

    start: int
    end: int
    url: str


class Scan(NamedTuple):
    """What was found in an HTML template."""

    places: list[Place]
    """Links to the web that no template tag has a part in, in order."""
    body_end: int
    """Where ``</body>`` begins, or the end."""
    commented: list[tuple[int, int]]
    """The comments, from where to where."""
    unquoted: list[int]
    """Lines where a merge field would be taken for markup."""


def scan(source: str) -> Scan:
    """Read an HTML template without rendering it. Lines end with ``\\n``."""
    masked = TAG.sub(_mask, source)
    reader = _Reader(masked)
    reader.feed(masked)
    reader.close()
    unquoted = reader.unquoted + [m.start() for m in _TAG_NAME.finditer(masked)]
    lines = sorted({masked.count("\n", 0, position) + 1 for position in unquoted})
    body_end = len(source) if reader.body_end is None else reader.body_end
    return Scan(reader.places, body_end, reader.commented, lines)


def _mask(tag: re.Match[str]) -> str:
    return (_FIELD_MARK if tag[0].startswith("{{") else _TAG_MARK) * len(tag[0])


class _Reader(HTMLParser):
    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=False)
        self._line_starts = [0, *(match.end() for match in re.finditer("\n", source))]
        self._raw: str | None = None
        self.places: list[Place] = []
        self.commented: list[tuple[int, int]] = []
        self.unquoted: list[int] = []
        self.body_end: int | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002
        start, text = self._position(), self.get_starttag_text() or ""
        self._raw = tag if tag in _RAW else None
        if _FIELD_MARK in _QUOTED.sub("", text):
            self.unquoted.append(start)
        if tag in _LINKING and (place := self._link(text, start, len(tag) + 1)) is not None:
            self.places.append(place)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self._raw = None

    def handle_endtag(self, tag: str) -> None:
        self._raw = None
        if tag == "body":
            self.body_end = self._position()

    def handle_data(self, data: str) -> None:
        # Escaping is for markup: in a script or a style sheet it protects nothing.
        if self._raw is not None and _FIELD_MARK in data:
            self.unquoted.append(self._position() + data.index(_FIELD_MARK))

    def handle_comment(self, data: str) -> None:
        start = self._position()
        self.commented.append((start, start + len(data) + len("<!---->")))

    def _position(self) -> int:
        line, column = self.getpos()
        return self._line_starts[line - 1] + column

    def _link(self, text: str, start: int, offset: int) -> Place | None:
        for match in _HREF.finditer(text, offset):
            if match["name"] is None or match["name"].lower() != "href":
                continue
            value = match["value"]
            bare = value[1:-1] if value[0] in "\"'" else value
            if _FIELD_MARK in bare or _TAG_MARK in bare:
                return None
            # White space around an address is nothing, line ends within it neither (WHATWG URL).
            url = re.sub(r"[\t\n\r]", "", html.unescape(bare)).strip()
            if not _WEB.match(url):
                return None
            return Place(start + match.start("value"), start + match.end("value"), url)
        return None


def within(position: int, ranges: list[tuple[int, int]]) -> bool:
    """Whether a position lies in one of the ranges, which are in order and apart."""
    at = bisect_right(ranges, position, key=lambda each: each[0]) - 1
    return at >= 0 and position < ranges[at][1]
