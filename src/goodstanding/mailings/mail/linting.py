"""What a large mailbox provider's rules for senders would object to in a mailing.

The rules, how grave each is and the pages that say so are data: ``linting.toml`` beside this file.
"""

from __future__ import annotations

import html
import ipaddress
import re
from html.parser import HTMLParser
from importlib import resources
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple
from urllib.parse import urlsplit

import msgspec

from goodstanding.core import addresses
from goodstanding.mailings.mail import compose, confirming, links, mime, plaintext
from goodstanding.mailings.mail.content import BULK, UNSUBSCRIBE, ContentError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from goodstanding.mailings.mail.content import Content
    from goodstanding.mailings.mail.rendering import Compiled
    from goodstanding.mailings.mail.signing import Signer

Severity = Literal["refused", "objection", "advice"]


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One thing that is objected to."""

    severity: Severity
    says: str
    sources: list[str]


class Rules(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``linting.toml``."""

    clipped_at: int
    longest_subject: int
    fewest_words: int
    shortest_shout: int
    free_mail: frozenset[str]
    shorteners: frozenset[str]
    pretended: frozenset[str]
    sources: dict[str, str]
    rules: dict[str, Rule]


RULES: Final = msgspec.toml.decode(
    resources.files(__package__).joinpath("linting.toml").read_bytes(), type=Rules
)


class Setting(msgspec.Struct, frozen=True, kw_only=True):
    """What the settings say of how the mail will leave."""

    base_url: str
    bounce_domain: str
    signer: Signer | None = None


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One objection: where, and who says so."""

    rule: str
    severity: Severity
    place: str
    """``subject``, ``html``, ``text``, ``from`` or ``settings``."""
    line: int | None
    says: str
    sources: list[str]


class _Found(NamedTuple):
    rule: str
    place: str
    line: int | None = None
    said: Mapping[str, Any] = MappingProxyType({})


def lint(content: Content, setting: Setting, fields: Collection[str]) -> list[Finding]:
    """Everything that would be objected to, the gravest first.

    ``fields``: the merge fields that recipients have.
    """
    found = list(_all(content, setting, fields))
    order = ("refused", "objection", "advice")
    told = dict.fromkeys((each.rule, each.place, each.line, _said(each)) for each in found)
    findings = [
        Finding(
            rule=rule,
            severity=RULES.rules[rule].severity,
            place=place,
            line=line,
            says=says,
            sources=[RULES.sources[source] for source in RULES.rules[rule].sources],
        )
        for rule, place, line, says in told
    ]
    return sorted(findings, key=lambda each: order.index(each.severity))


def _said(found: _Found) -> str:
    return RULES.rules[found.rule].says.format_map(found.said)


def _all(content: Content, setting: Setting, fields: Collection[str]) -> Iterator[_Found]:
    try:
        compiled = compose.compile_content(content, fields)
    except ContentError as error:
        for problem in error.problems:
            place, line, text = _placed(problem)
            yield _Found("content", place, line, {"problem": text})
    else:
        yield from _in_message(compiled, content, fields)
    yield from _in_sender(content, setting)
    yield from _in_subject(content.subject)
    if content.html is not None:
        counted = content.purpose in BULK
        yield from _in_html(content.html, setting.base_url if counted else "")
        if content.text is None:
            yield _Found("no_text", "text")
    for url in re.findall(r"https?://[^\s<>\"]+", content.text or ""):
        yield from _in_url(url.rstrip(".,;:!?)"), "text", None)


_PLACED: Final = re.compile(r"(html|text|subject)(?:, line (\d+))?: (.*)", re.DOTALL)


def _placed(problem: str) -> tuple[str, int | None, str]:
    match = _PLACED.match(problem)
    if match is None:
        return "settings", None, problem
    return match[1], int(match[2]) if match[2] else None, match[3]


def _in_sender(content: Content, setting: Setting) -> Iterator[_Found]:
    base = urlsplit(setting.base_url)
    if content.purpose in BULK and base.scheme != "https":
        yield _Found("no_one_click", "settings", None, {"url": setting.base_url})
    if _is_local(base.hostname or ""):
        yield _Found("unreachable", "settings", None, {"host": base.hostname})
    if not content.from_name.strip():
        yield _Found("no_sender_name", "from")
    try:
        address = addresses.normalise("email", content.from_address).value
    except addresses.MalformedAddress:
        return
    local, _, domain = address.rpartition("@")
    if re.fullmatch(r"(?:do-?)?no[-_.]?(?:t[-_.]?)?reply.*", local) and not content.reply_to:
        yield _Found("no_reply", "from", None, {"address": address})
    if domain in RULES.free_mail:
        yield _Found("free_mail", "from", None, {"domain": domain})
        return
    yield from _in_signature(domain, setting)


def _in_signature(domain: str, setting: Setting) -> Iterator[_Found]:
    signer, bounces = setting.signer, setting.bounce_domain
    said = {"domain": domain, "bounces": bounces, "dkim": signer.domain if signer else "none"}
    returned = _organisation(bounces) == _organisation(domain)
    if signer is None:
        yield _Found("unsigned", "settings", None, said)
    elif not returned and _organisation(signer.domain) != _organisation(domain):
        yield _Found("unaligned", "settings", None, said)
        return
    if not returned:
        yield _Found("other_return_path", "settings", None, said)
    if signer is not None and signer.algorithm.startswith("ed25519"):
        yield _Found("unread_key", "settings")
    elif signer is not None and signer.bits < 2048:
        yield _Found("weak_key", "settings", None, {"bits": signer.bits})


def _in_subject(template: str) -> Iterator[_Found]:
    subject = " ".join(re.sub(r"{{.*?}}|{%.*?%}|{#.*?#}", "", template).split())
    letters = [letter for letter in subject if letter.upper() != letter.lower()]
    capitals = sum(letter.isupper() for letter in letters)
    if len(letters) >= RULES.shortest_shout and capitals * 5 >= len(letters) * 4:
        yield _Found("shouting", "subject")
    prefix = re.match(r"([A-Za-z]{2,4})\s*:", subject)
    if prefix is not None and prefix[1].lower() in RULES.pretended:
        yield _Found("pretended_answer", "subject", None, {"prefix": prefix[0]})
    if (marks := re.search(r"[!?$\u20ac\u00a3]{2,}", subject)) is not None:
        yield _Found("excited", "subject", None, {"marks": marks[0]})
    if len(subject) > RULES.longest_subject:
        said = {"length": len(subject), "limit": RULES.longest_subject}
        yield _Found("long_subject", "subject", None, said)


def _in_message(compiled: Compiled, content: Content, fields: Collection[str]) -> Iterator[_Found]:
    """What only the finished message shows: every style inlined, every link rewritten."""
    size = compiled.size(dict.fromkeys(fields, "x" * 10))
    if size > RULES.clipped_at:
        yield _Found("clipped", "html", None, {"size": size, "limit": RULES.clipped_at})
    wanted = _SEEN.get(content.purpose)
    if content.html is None or wanted is None:
        return
    try:
        shown = plaintext.from_html(compose.page_as_shown(content.html))
    except plaintext.NoText:
        return
    rule, field = wanted
    if not re.search(rf"{{{{\s*{field}\s*}}}}", shown):
        yield _Found(rule, "html")


_SEEN: Final = {
    **dict.fromkeys(BULK, ("hidden_unsubscribe", UNSUBSCRIBE)),
    confirming.PURPOSE: ("hidden_confirm", rf"{confirming.FIELD}(?:_\w+)?"),
}
"""The link that nobody may miss, by purpose."""


def _in_html(source: str, counted_by: str) -> Iterator[_Found]:
    """``counted_by``: the address by which links are counted on their way; empty: they are not."""
    masked = links.mask(source.replace("\r\n", "\n"))
    reader = _Elements()
    reader.feed(masked)
    reader.close()
    for element in reader.elements:
        yield from _in_element(element)
    for line, text, href in reader.links:
        yield from _in_link(line, text, href, counted_by)
    if not any(each.name == "html" and each.attributes.get("lang") for each in reader.elements):
        yield _Found("no_language", "html")
    images = sum(each.name == "img" for each in reader.elements)
    words = len(re.findall(r"\w{2,}", reader.text.replace(links.FIELD_MARK, "")))
    if images and words < RULES.fewest_words:
        yield _Found("only_images", "html", None, {"images": images, "words": words})
    yield from (
        _Found("remote_styles", "html", line) for line, text in reader.styles if "@import" in text
    )


class _Element(NamedTuple):
    name: str
    line: int
    attributes: dict[str, str]


_ACTIVE: Final = frozenset({
    "script", "form", "input", "button", "select", "textarea", "iframe", "object", "embed",
    "applet", "frame", "frameset", "base",
})  # fmt: skip


def _in_element(element: _Element) -> Iterator[_Found]:
    name, line, said = element
    if name in _ACTIVE:
        yield _Found("active_content", "html", line, {"tag": name})
    if name == "link" and "stylesheet" in said.get("rel", "").lower().split():
        yield _Found("remote_styles", "html", line)
    if name == "img":
        source = said.get("src", "").strip().lower()
        if "alt" not in said:
            yield _Found("no_alt", "html", line)
        if source.startswith("data:"):
            yield _Found("inline_image", "html", line)
        elif source.startswith("http:"):
            yield _Found("not_https", "html", line, {"url": mime.one_line(said["src"])[:80]})


def _in_link(line: int, text: str, href: str, counted_by: str) -> Iterator[_Found]:
    yield from _in_url(href, "html", line)
    host = _host(href)
    shown = _SHOWN_HOST.fullmatch(text.strip())
    if host is None or shown is None:
        return
    said = {"shown": shown["host"].lower(), "host": host}
    ending = said["shown"].rpartition(".")[2]
    if not shown["web"] and ending not in (*_ENDINGS, host.rpartition(".")[2]):
        return
    if _organisation(host) != _organisation(said["shown"]):
        yield _Found("misleading_link", "html", line, said)
    elif (counting := _host(counted_by)) and _organisation(counting) != _organisation(host):
        yield _Found("counted_link", "html", line, {**said, "host": counting})


_SHOWN_HOST: Final = re.compile(
    r"(?P<web>https?://|(?=www\.))?(?P<host>(?:[\w-]{1,63}\.)+[^\W\d_]{2,24})(?::\d+)?(?:[/?#]\S*)?",
    re.IGNORECASE,
)
_ENDINGS: Final = ("com", "net", "org", "info", "biz", "shop")
"""Without http:// or www. before them, other words with a dot may be no addresses: Node.js."""


def _in_url(url: str, place: str, line: int | None) -> Iterator[_Found]:
    host = _host(url)
    if host is None:
        return
    if host.removeprefix("www.") in RULES.shorteners:
        yield _Found("shortener", place, line, {"host": host})
    if _is_number(host):
        yield _Found("link_to_number", place, line, {"host": host})
    if url.strip().lower().startswith("http:"):
        yield _Found("not_https", place, line, {"url": mime.one_line(url)[:80]})


def _host(url: str) -> str | None:
    """The host of a web address that no merge field has a part in."""
    try:
        parts = urlsplit(url.strip())
        host = (parts.hostname or "").rstrip(".").lower()
    except ValueError:
        return None
    if parts.scheme.lower() not in ("http", "https") or not host:
        return None
    return None if links.FIELD_MARK in host or links.TAG_MARK in host else host


def _organisation(domain: str) -> str:
    """The domain that somebody registered, as far as one can tell without a list of them all."""
    labels = domain.lower().rstrip(".").split(".")
    second = len(labels) > 2 and len(labels[-1]) == 2 and labels[-2] in _SECOND_LEVEL
    return ".".join(labels[-3 if second else -2 :])


_SECOND_LEVEL: Final = frozenset({
    "ac", "co", "com", "edu", "gob", "gov", "gv", "ltd", "me", "mil", "ne", "net", "nom", "or",
    "org", "plc", "sch",
})  # fmt: skip


def _is_number(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _is_local(host: str) -> bool:
    if _is_number(host):
        return not ipaddress.ip_address(host).is_global
    return "." not in host or host.endswith((".localhost", ".local", ".internal"))


class _Elements(HTMLParser):
    """The elements of a masked template, its links with their words, and all its words."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[_Element] = []
        self.links: list[tuple[int, str, str]] = []
        self.styles: list[tuple[int, str]] = []
        self._texts: list[str] = []
        self._link: tuple[int, str, int] | None = None
        self._unseen: str | None = None

    @property
    def text(self) -> str:
        return "".join(self._texts)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        line = self.getpos()[0]
        said = {name: value or "" for name, value in reversed(attrs)}
        self.elements.append(_Element(tag, line, said))
        if tag in ("style", "script", "title"):
            self._unseen = tag
        if tag == "a":
            self._end_link()
            self._link = (line, html.unescape(said.get("href", "")), len(self._texts))

    def handle_endtag(self, tag: str) -> None:
        if tag == self._unseen:
            self._unseen = None
        if tag == "a":
            self._end_link()

    def handle_data(self, data: str) -> None:
        if self._unseen is None:
            self._texts.append(data)
        elif self._unseen == "style":
            self.styles.append((self.getpos()[0], data))

    def close(self) -> None:
        super().close()
        self._end_link()

    def _end_link(self) -> None:
        if self._link is not None:
            line, href, start = self._link
            self.links.append((line, " ".join("".join(self._texts[start:]).split()), href))
            self._link = None
