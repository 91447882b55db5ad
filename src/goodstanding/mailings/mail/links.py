"""The addresses in an HTML template: which become click links, and which are built from fields."""

from __future__ import annotations

import html
import re
from bisect import bisect_right
from collections import Counter
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Final, NamedTuple

from goodstanding.mailings.mail.merge import TAG

if TYPE_CHECKING:
    from collections.abc import Iterator

FIELD_MARK: Final = "\ufdd0"
TAG_MARK: Final = "\ufdd1"
"""Noncharacters of Unicode: they stand in for template tags while the HTML is read."""

DEEPEST: Final = 250
"""Elements within elements, beyond which HTML is refused: readers of it run out of stack."""

VOID: Final = frozenset({
    "area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param", "source",
    "track", "wbr",
})  # fmt: skip
"""Elements that hold nothing (HTML 13.1.2)."""
_CLOSED_BY_OTHERS: Final = frozenset({
    "p", "li", "dt", "dd", "option", "optgroup", "tr", "td", "th", "tbody", "thead", "tfoot",
    "caption", "colgroup", "html", "head", "body",
})  # fmt: skip
"""Elements that need no end tag: they cannot lie in themselves without another in between."""

_WEB: Final = re.compile(r"https?://[^/]", re.IGNORECASE)
_SETTLED: Final = re.compile(
    rf"\s*(?:https?://[^/?#\s{FIELD_MARK}{TAG_MARK}]+[/?#]|mailto:|tel:|sms:)", re.IGNORECASE
)
_OURS: Final = re.compile(
    r"\s*{{\s*(?:unsubscribe_url|preferences_url|confirm_url(?:_\w+)?)\s*}}\s*"
)
_ALLOWED: Final = re.compile(r"https?://[^/?#\s]|mailto:|tel:|sms:|cid:", re.IGNORECASE)
_AROUND: Final = "".join(map(chr, range(33)))
_WITHIN: Final = re.compile(r"[\t\n\r]")
_ATTRIBUTE: Final = re.compile(
    r"""(?P<name>[^\s=>"'/]+)\s*=\s*(?P<value>"[^"]*"|'[^']*'|[^\s>"']+)|[^\s=>"'/]+|["'/=]"""
)
_QUOTED: Final = re.compile(r'"[^"]*"|' r"'[^']*'")
_TAG_NAME: Final = re.compile(r"<\s*/?\s*" + FIELD_MARK)
_UNCLOSED: Final = re.compile(r"<[A-Za-z/!?]")
_CONDITIONAL: Final = re.compile(r"\[if[^\]]*\]>", re.IGNORECASE)
_LINKING: Final = frozenset({"a", "area"})
_RAW: Final = frozenset({"script", "style"})
_ADDRESSES: Final = frozenset({
    "href", "src", "action", "formaction", "background", "cite", "data", "poster", "longdesc",
    "ping", "xlink:href",
})  # fmt: skip
_NOT_MARKUP: Final = frozenset({"style", "srcdoc", "srcset"})
"""Attributes in which escaping for HTML protects nothing; and whatever begins with ``on``."""


class Place(NamedTuple):
    """Where a link stands: ``source[start:end]`` is its attribute's value, quotes and all."""

    start: int
    end: int
    url: str


class Built(NamedTuple):
    """Where an address stands that merge fields decide; ``source[start:end]`` as above."""

    start: int
    end: int
    template: str
    """What makes the address, no longer escaped for HTML."""
    line: int


class Scan(NamedTuple):
    """What was found in an HTML template."""

    places: list[Place]
    """Links to the web that no template tag has a part in, in order."""
    built: list[Built]
    """Addresses that begin with what a recipient's fields say."""
    body_end: int
    """Where ``</body>`` begins, or the end."""
    commented: list[tuple[int, int]]
    """The comments, from where to where."""
    unquoted: list[int]
    """Lines where a merge field would be taken for markup."""
    depth: int
    """How many elements are open at once, at most."""
    unclosed: int | None
    """The line of a tag at the end that has no ``>``."""


def scan(source: str) -> Scan:
    """Read an HTML template without rendering it. Lines end with ``\\n``."""
    masked = mask(source)
    reader = _Reader(source, masked, 0)
    reader.feed(masked)
    reader.close()
    unquoted = reader.unquoted + [m.start() for m in _TAG_NAME.finditer(masked)]
    lines = sorted({masked.count("\n", 0, position) + 1 for position in unquoted})
    body_end = len(source) if reader.body_end is None else reader.body_end
    end = _UNCLOSED.search(TAG.sub(_mask, source), masked.rfind(">") + 1)
    unclosed = source.count("\n", 0, end.start()) + 1 if end is not None else None
    return Scan(
        reader.places, reader.built, body_end, reader.commented, lines, reader.depth, unclosed
    )


def mask(source: str) -> str:
    """The source with a mark for every character of a template tag: as long as it was.

    After the last ``>`` nothing is a tag. There a ``<`` is a space: ``html.parser`` would look for
    the end of each of them again and again.
    """
    masked = TAG.sub(_mask, source)
    end = masked.rfind(">") + 1
    return masked[:end] + masked[end:].replace("<", " ")


def _mask(tag: re.Match[str]) -> str:
    return (FIELD_MARK if tag[0].startswith("{{") else TAG_MARK) * len(tag[0])


def unescaped(source: str) -> str:
    """The source with HTML's character references resolved, save in template tags."""
    pieces: list[str] = []
    at = 0
    for tag in TAG.finditer(source):
        pieces += (html.unescape(source[at : tag.start()]), tag[0])
        at = tag.end()
    return "".join([*pieces, html.unescape(source[at:])])


def is_whole(url: str) -> bool:
    """Whether an address is one that a mail may lead to: the web, a mailbox, a telephone.

    White space is dropped as a browser drops it (WHATWG URL), so that nothing hides in it.
    """
    return _ALLOWED.match(_WITHIN.sub("", url).strip(_AROUND)) is not None


class Tag(NamedTuple):
    """A start tag of masked HTML."""

    name: str
    start: int
    text: str

    def attributes(self) -> Iterator[tuple[str, int, int]]:
        """Each attribute that has a value: its name, and from where to where that stands."""
        for match in _ATTRIBUTE.finditer(self.text, len(self.name) + 1):
            if match["name"] is not None:
                start, end = match.span("value")
                yield match["name"].lower(), self.start + start, self.start + end

    def bare(self) -> str:
        """The tag without what stands in quotes."""
        return _QUOTED.sub("", self.text)


class Reader(HTMLParser):
    """Reads masked HTML; knows where things stand."""

    def __init__(self, masked: str, offset: int = 0) -> None:
        super().__init__(convert_charrefs=False)
        self._offset = offset
        self._line_starts = [0, *(match.end() for match in re.finditer("\n", masked))]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002
        """Hand on to :meth:`found`."""
        self.found(Tag(tag, self.position(), self.get_starttag_text() or ""))

    def found(self, tag: Tag) -> None:
        """Take a start tag."""

    def position(self) -> int:
        """Where the thing at hand begins."""
        line, column = self.getpos()
        return self._offset + self._line_starts[line - 1] + column


class _Reader(Reader):
    def __init__(self, source: str, masked: str, offset: int) -> None:
        super().__init__(masked, offset)
        self._source = source
        self._raw: str | None = None
        self._open: Counter[str] = Counter()
        self.depth = 0
        self.places: list[Place] = []
        self.built: list[Built] = []
        self.commented: list[tuple[int, int]] = []
        self.unquoted: list[int] = []
        self.body_end: int | None = None

    def found(self, tag: Tag) -> None:
        self._raw = tag.name if tag.name in _RAW else None
        if FIELD_MARK in tag.bare():
            self.unquoted.append(tag.start)
        if tag.name not in VOID and tag.name not in _CLOSED_BY_OTHERS:
            self._open[tag.name] += 1
            self.depth = max(self.depth, self._open.total())
        linking = tag.name in _LINKING
        for name, start, end in tag.attributes():
            value = self._bare(start, end)
            if FIELD_MARK in value or TAG_MARK in value:
                self._with_tags(name, start, end, value)
            elif linking and name == "href":
                # White space around an address is nothing, line ends within it neither.
                url = _WITHIN.sub("", html.unescape(value)).strip()
                if _WEB.match(url):
                    self.places.append(Place(start, end, url))
            if name == "href":
                linking = False

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self._open[tag] -= tag not in VOID and tag not in _CLOSED_BY_OTHERS
        self._raw = None

    def handle_endtag(self, tag: str) -> None:
        self._raw = None
        if self._open[tag]:
            self._open[tag] -= 1
        if tag == "body":
            self.body_end = self.position()

    def handle_data(self, data: str) -> None:
        # Escaping is for markup: in a script or a style sheet it protects nothing.
        if self._raw is not None and FIELD_MARK in data:
            self.unquoted.append(self.position() + data.index(FIELD_MARK))

    def handle_comment(self, data: str) -> None:
        start = self.position()
        self.commented.append((start, start + len(data) + len("<!---->")))
        # Outlook reads what other programs take for a comment.
        if (condition := _CONDITIONAL.match(data)) is not None and FIELD_MARK in data:
            inner = data[condition.end() :]
            reader = _Reader(self._source, inner, start + len("<!--") + condition.end())
            reader.feed(inner)
            reader.close()
            self.built += reader.built
            self.unquoted += reader.unquoted

    def _with_tags(self, name: str, start: int, end: int, value: str) -> None:
        if FIELD_MARK not in value:
            return
        if name in _NOT_MARKUP or name.startswith("on"):
            self.unquoted.append(start)
        elif name in _ADDRESSES:
            said = self._source[start:end]
            said = said[1:-1] if said[0] in "\"'" else said
            if not _SETTLED.match(html.unescape(value)) and not _OURS.fullmatch(said):
                line = self._source.count("\n", 0, start) + 1
                self.built.append(Built(start, end, unescaped(said), line))

    def _bare(self, start: int, end: int) -> str:
        text = self.get_starttag_text() or ""
        value = text[start - self.position() : end - self.position()]
        return value[1:-1] if value[0] in "\"'" else value


def within(position: int, ranges: list[tuple[int, int]]) -> bool:
    """Whether a position lies in one of the ranges, which are in order and apart."""
    at = bisect_right(ranges, position, key=lambda each: each[0]) - 1
    return at >= 0 and position < ranges[at][1]
