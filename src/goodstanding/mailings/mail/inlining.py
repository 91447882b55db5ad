"""Style sheets inlined: many mail programs read ``style`` attributes and nothing else.

A library says which style each element gets; that alone is taken over. The source stays as it was
written, template tags and all, and so do its style sheets, for what cannot be inlined. Nothing is
fetched from anywhere.
"""

from __future__ import annotations

import html
import re
from html.parser import HTMLParser
from typing import Final

import css_inline

from goodstanding.mailings.mail import links

MOST: Final = 20_000_000
"""Rules times elements: more takes seconds."""

_MARK: Final = "data-goodstanding"
_NEVER: Final = frozenset({"html", "head", "title", "meta", "base", "link", "style", "script"})
_MARKS: Final = re.compile(f"[{links.FIELD_MARK}{links.TAG_MARK}]")


class CannotInline(ValueError):
    """Styles that cannot be inlined; one plain sentence."""


def inlined(source: str) -> str:
    """The HTML template with its style sheets in its elements' ``style`` attributes.

    An element that template tags have a part in (its ``class``, say) is left to the style sheet.
    ``source``: nested no deeper than ``links.DEEPEST``, lines end with ``\\n``.

    Raises:
        CannotInline: the style sheets are too many, or not to be understood.
    """
    if "<style" not in source.lower():
        return source
    masked = links.mask(source)
    reader = _Tags(masked)
    reader.feed(masked)
    reader.close()
    if masked.count("{") * len(reader.tags) > MOST:
        raise CannotInline("its style sheets have too many rules for so many elements")
    edits = [_Edit(tag) for tag in reader.tags]
    styles = _styles(_marked(masked, edits))
    pieces: list[str] = []
    at = 0
    for number, edit in enumerate(edits):
        if (style := styles.get(number)) and not edit.kept:
            start, end, written = edit.put(style, source)
            pieces += (source[at:start], written)
            at = end
    return "".join([*pieces, source[at:]])


class _Tags(links.Reader):
    def __init__(self, masked: str) -> None:
        super().__init__(masked)
        self.tags: list[links.Tag] = []

    def found(self, tag: links.Tag) -> None:
        self.tags.append(tag)


class _Edit:
    """What may become of one start tag."""

    def __init__(self, tag: links.Tag) -> None:
        self.name = tag.name
        self.start = tag.start
        self.end = tag.start + len(tag.text)
        self.after_name = tag.start + 1 + len(tag.name)
        # With tags outside of quotes nobody knows what attributes it will have.
        self.kept = tag.name in _NEVER or _MARKS.search(tag.bare()) is not None
        self.style: tuple[int, int] | None = None
        self.by_tags = False
        for name, start, end in tag.attributes():
            if name == "style" and self.style is None:
                self.style = (start, end)
                self.by_tags = (
                    _MARKS.search(tag.text, start - tag.start, end - tag.start) is not None
                )

    def put(self, style: str, source: str) -> tuple[int, int, str]:
        """From where to where of the source is replaced, and by what."""
        escaped = html.escape(style, quote=True)
        if self.style is None:
            return self.after_name, self.after_name, f' style="{escaped}"'
        start, end = self.style
        if self.by_tags:
            # What stands later wins: the element's own style.
            said = source[start:end]
            quote = said[0] if said[0] in "\"'" else '"'
            return start, end, f"{quote}{escaped.rstrip(';')};{said.strip(quote)}{quote}"
        return start, end, f'"{escaped}"'


def _marked(masked: str, edits: list[_Edit]) -> str:
    """The HTML as the library gets it: numbered elements, and no reference to any file."""
    pieces: list[str] = []
    at = 0
    for number, edit in enumerate(edits):
        if edit.name in ("link", "base"):
            pieces.append(masked[at : edit.start])
            at = edit.end
        elif edit.name not in _NEVER:
            pieces += (masked[at : edit.after_name], f' {_MARK}="{number}"')
            at = edit.after_name
            if edit.by_tags and edit.style is not None:
                pieces += (masked[at : edit.style[0]], '""')
                at = edit.style[1]
    return "".join([*pieces, masked[at:]])


def _styles(marked: str) -> dict[int, str]:
    inliner = css_inline.CSSInliner(load_remote_stylesheets=False)
    try:
        done = inliner.inline(marked)
    except css_inline.InlineError as error:
        raise CannotInline(f"its style sheets cannot be read: {error}") from None
    except BaseException as error:
        # A library in Rust that gives up says so by what is no Exception.
        if type(error).__name__ != "PanicException":
            raise
        raise CannotInline("its style sheets cannot be read") from None
    reader = _Styles()
    reader.feed(done)
    reader.close()
    return reader.styles


class _Styles(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=False)
        self.styles: dict[int, str] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002
        found = dict(attrs)
        number, style = found.get(_MARK), found.get("style")
        if number and style and number.isdecimal():
            self.styles.setdefault(int(number), style)
