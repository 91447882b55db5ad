"""A text made from HTML, for mails that bring none. Template tags stay what and where they are.

A library lays the text out. What a mail's reader wants of it is prepared here: addresses beside
their links, pictures by their words, a row of a layout's table no row of columns, nothing hidden.
"""

from __future__ import annotations

import html
import re
from typing import TYPE_CHECKING, Any, Final

from inscriptis.css_profiles import CSS_PROFILES  # type: ignore[import-untyped]
from inscriptis.html_engine import Inscriptis  # type: ignore[import-untyped]
from inscriptis.html_properties import Display  # type: ignore[import-untyped]
from inscriptis.model.config import ParserConfig  # type: ignore[import-untyped]
from inscriptis.model.html_element import HtmlElement  # type: ignore[import-untyped]
from lxml import etree  # type: ignore[import-untyped]
from lxml import html as lxml_html

from goodstanding.mailings.mail.merge import TAG

if TYPE_CHECKING:
    from collections.abc import Iterator

# Noncharacters of Unicode: they stand for template tags while the text is made.
_FIRST, _LAST, _CONTROL = "\ufdd2", "\ufdd3", "\ufdd4"
_TOKEN: Final = re.compile(f"{_FIRST}{_CONTROL}?([0-9]+){_LAST}")
_CONTROLS: Final = re.compile(rf"\s*(?:{_FIRST}{_CONTROL}[0-9]+{_LAST}\s*)+")
_OURS: Final = re.compile(f"[{_FIRST}{_LAST}{_CONTROL}]")

_COMMENTS: Final = re.compile(r"{%\s*comment\b.*?%}(?s:.*?){%\s*endcomment\s*%}|{#.*?#}")
_START_TAG: Final = re.compile(r"<[A-Za-z](?:[^<>\"']|\"[^\"]*\"|'[^']*')*>")
_QUOTED: Final = re.compile(r'"[^"]*"|' r"'[^']*'")
_DECLARATION: Final = re.compile(r"\s*<\?xml[^>]*\?>")
_MARKING_UP: Final = re.compile(
    r"""("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')|\s*\|\s*linebreaks(?:br)?\b"""
)
_HIDDEN: Final = re.compile(
    r"(?:^|;)\s*(?:display\s*:\s*none|visibility\s*:\s*hidden|mso-hide\s*:\s*all)", re.IGNORECASE
)
_SAME: Final = re.compile(r"^(?:https?://)?(?:www\.)?|^(?:mailto|tel):|/$", re.IGNORECASE)
_SHOWN: Final = ("http://", "https://", "mailto:", "tel:", "sms:")
_BLANKS: Final = re.compile(r"\n{3,}")
_BRACES: Final = re.compile(r"{(?=[{%#])")
_BLOCKS: Final = frozenset({
    "address", "article", "blockquote", "center", "dd", "div", "dl", "dt", "footer", "h1", "h2",
    "h3", "h4", "h5", "h6", "header", "hr", "li", "main", "nav", "ol", "p", "pre", "section",
    "table", "ul",
})  # fmt: skip
_TABLE: Final = ("table", "tbody", "thead", "tfoot", "tr", "td", "th")
_BETWEEN_CELLS: Final = " | "
_BLOCK: Final = ("section", "center", "form", "fieldset", "dl", "dt", "caption")


class NoText(ValueError):
    """No text can be made; one plain sentence."""


def from_html(source: str) -> str:
    """The template of a text that says what a template of HTML says.

    ``source``: nested no deeper than ``links.DEEPEST``, lines end with ``\\n``.

    Raises:
        NoText: it cannot be read.
    """
    tags: list[str] = []

    def token(tag: re.Match[str]) -> str:
        tags.append(tag[0])
        control = _CONTROL if tag[0].startswith("{%") else ""
        return f"{_FIRST}{control}{len(tags) - 1}{_LAST}"

    bare = _DECLARATION.sub("", _COMMENTS.sub("", _OURS.sub("", source)), count=1)
    marked = _START_TAG.sub(_without_loose_tokens, TAG.sub(token, bare))
    try:
        tree = lxml_html.document_fromstring(marked, parser=_parser())
        _prepare(tree)
        text = str(Inscriptis(tree, ParserConfig(css=_CSS)).get_text())
    except (etree.LxmlError, RecursionError, ValueError) as error:
        raise NoText(f"no text can be made from it: {error}") from None
    literal = _BRACES.sub('{{ "{" }}', _tidied(text))
    return _TOKEN.sub(lambda found: _in_text(tags[int(found[1])]), literal)


def _parser() -> Any:
    return lxml_html.HTMLParser(
        remove_comments=True, remove_pis=True, no_network=True, huge_tree=False, encoding="utf-8"
    )


def _css() -> dict[str, Any]:
    css = dict(CSS_PROFILES["strict"])
    css["ul"] = css["ol"] = HtmlElement(display=Display.block, padding_inline=2)
    for name in _BLOCK:
        css[name] = HtmlElement(display=Display.block)
    css["dd"] = HtmlElement(display=Display.block, padding_inline=2)
    css["blockquote"] = HtmlElement(
        display=Display.block, margin_before=1, margin_after=1, padding_inline=2
    )
    return css


_CSS: Final = _css()


def _without_loose_tokens(tag: re.Match[str]) -> str:
    """A start tag whose template tags stand in quotes only; the others are no attributes."""
    pieces: list[str] = []
    at = 0
    for quoted in _QUOTED.finditer(tag[0]):
        pieces += (_TOKEN.sub(" ", tag[0][at : quoted.start()]), quoted[0])
        at = quoted.end()
    return "".join([*pieces, _TOKEN.sub(" ", tag[0][at:])])


def _prepare(tree: Any) -> None:
    for element in list(tree.iter()):
        if _is_hidden(element) and element.getparent() is not None:
            element.drop_tree()
    for picture in tree.iter("img"):
        picture.text, picture.tag = picture.get("alt") or "", "span"
    for rule in tree.iter("hr"):
        rule.text, rule.tag = "-" * 40, "p"
    for link in tree.iter("a"):
        _write_address(link)
    for row in tree.iter("tr"):
        _lay_out(row)
    for element in tree.iter(*_TABLE):
        element.tag = "div"
    # A text has no margins by pixels.
    etree.strip_attributes(tree, "style", "align", "valign")


def _is_hidden(element: Any) -> bool:
    return element.get("hidden") is not None or bool(_HIDDEN.search(element.get("style") or ""))


def _write_address(link: Any) -> None:
    """The address behind the words, in what RFC 3986 appendix C delimits it by."""
    address = "".join((link.get("href") or "").split())
    if not address.lower().startswith((*_SHOWN, _FIRST)):
        return
    said = " ".join(link.text_content().split())
    shown = re.sub(r"^(?:mailto|tel|sms):", "", address, flags=re.IGNORECASE)
    if _SAME.sub("", said).lower() == _SAME.sub("", address).lower():
        return
    written = f" <{shown}>" if said else f"<{shown}>"
    if len(link):
        link[-1].tail = (link[-1].tail or "").rstrip() + written
    else:
        link.text = (link.text or "").rstrip() + written


def _lay_out(row: Any) -> None:
    """Short cells stay on one line; others come one below the other."""
    cells = [cell for cell in row if cell.tag in ("td", "th")]
    if any(below.tag in _BLOCKS for cell in cells for below in cell.iterdescendants()):
        return
    filled = [cell for cell in cells if cell.text_content().strip()]
    for cell in filled[:-1]:
        cell.tail = _BETWEEN_CELLS + (cell.tail or "").lstrip()
    for cell in cells:
        cell.tag = "span"


def _tidied(text: str) -> str:
    """Without needless white space; a line of nothing but tags leaves no line behind."""
    lines = [line.replace("\xa0", " ").rstrip() for line in text.split("\n")]
    return _BLANKS.sub("\n\n", "\n".join(_joined(lines))).strip("\n") + "\n"


def _joined(lines: list[str]) -> Iterator[str]:
    held, before, blank = "", 0, 0
    for line in lines:
        if not line:
            blank += 1
        elif _CONTROLS.fullmatch(line):
            if not held:
                before, blank = blank, 0
                yield from [""] * min(before, 1)
            held += line.strip()
        else:
            gap = min(blank, 1)
            if held:
                gap = max(gap - min(before, 1), 0)
                # What follows a loop's last line stands apart from the loop.
                yield held + "\n" * gap + line
            else:
                yield from [""] * gap
                yield line
            held, before, blank = "", 0, 0
    if held:
        yield held


def _in_text(tag: str) -> str:
    """A template tag as it must be where nothing is markup."""
    if not tag.startswith("{{"):
        return tag
    plain = html.unescape(tag)
    if any(plain.count(quote) != tag.count(quote) for quote in "\"'{}"):
        plain = tag
    return _MARKING_UP.sub(lambda found: found[1] or "", plain)
