"""A parsed mail by the roles of its parts: the notice, the machine's report, the original."""

from __future__ import annotations

import re
from functools import cached_property, lru_cache
from importlib import resources
from itertools import islice
from typing import Final

import msgspec

from goodstanding.bounces import text
from goodstanding.bounces.part import Part, read_headers

ORIGINAL_FIELDS: Final = 200
_NAME: Final = 80  # characters of a field's name

_ORIGINALS: Final = {
    "message/rfc822",
    "message/global",
    "message/partial",
    "message/global-headers",
    "text/rfc822-headers",
    "text/rfc822-header",
    "text/rfc822",
}

_HEADER: Final = re.compile(
    r"([A-Za-z][A-Za-z0-9-]{0,60}):[ \t]*([^\n]{0,2000}(?:\n[ \t][^\n]{0,2000}){0,50})(?:\n|\Z)"
)
_HEADER_START: Final = re.compile(
    r"^(?=(?:return-path|received|from|to|subject|date|message-id|mime-version|x-[a-z-]+|"
    r"dkim-signature|delivered-to|reply-to|content-type): )",
    re.IGNORECASE | re.MULTILINE,
)


class View(msgspec.Struct, dict=True):
    """``texts`` and ``markup`` are the parts meant for people (``markup`` the first in HTML),
    ``status`` and ``feedback`` the contents of those for machines; ``returned`` is the part that
    holds the original, ``inner_status`` the machine's report inside it. ``halves`` are the notice
    and what follows it, once they are known.

    What is derived from the parts is made when it is asked for: most reports need little of it.
    """

    root: Part
    texts: list[Part] = []
    markup: Part | None = None
    status: list[str] = []
    feedback: list[str] = []
    returned: Part | None = None
    inner_status: list[str] = []
    halves: tuple[str, str] | None = None

    def notice(self) -> str:
        """The text for people, without the original."""
        return (self.halves or self._halve())[0]

    def behind(self) -> str:
        """The text that follows the notice in its own part."""
        return (self.halves or self._halve())[1]

    def _halve(self) -> tuple[str, str]:
        # Kept by hand: every mail asks, and a cached property would cost a short one 2 % more.
        whole = "\n".join(map(text.of_part, self.texts)) or self.html_notice()
        # Lower case is several times faster to search than any case, and from line end to line
        # end several times faster than from place to place.
        low = whole.lower()
        if "virus" in low or "malware" in low:
            whole = _forms().clean.sub("", whole)
            low = whole.lower()
        begins = _forms().original.search("\n" + low)
        at = begins.start() if begins else len(whole)
        self.halves = whole[: min(at, text.BODY)], whole[at : at + text.BODY]
        return self.halves

    def html_notice(self) -> str:
        """The text of the part in HTML."""
        return text.of_part(self.markup) if self.markup else ""

    @cached_property
    def original(self) -> dict[str, str]:
        """The returned mail's headers, by lower-cased name, the first value of each."""
        found = _original(self.returned) if self.returned else {}
        return found or _headers_in(self.behind())

    def first(self, name: str) -> str:
        """The mail's own header ``name`` (lower case), first value."""
        return self.root.headers.get(name, "")


class _Read(msgspec.Struct, forbid_unknown_fields=True):
    clean: list[str]
    original: list[str]


class _Forms(msgspec.Struct):
    """``original`` finds where an original begins in lower-cased lines, ``clean`` what a scanner
    that found nothing says of itself.
    """

    original: re.Pattern[str]
    clean: re.Pattern[str]


@lru_cache(1)
def _forms() -> _Forms:
    file = resources.files("goodstanding.bounces").joinpath("rules", "forms.toml")
    read = msgspec.toml.decode(file.read_bytes(), type=_Read)
    return _Forms(
        original=re.compile("\n(?:" + "|".join(read.original).lower() + ")"),
        clean=re.compile("|".join(read.clean), re.IGNORECASE),
    )


def view(root: Part) -> View:
    """Sort the parts of ``root`` by their roles."""
    seen = View(root)
    _walk(root, seen)
    return seen


def _walk(part: Part, seen: View) -> None:
    kind = part.content_type
    if kind.endswith("delivery-status"):
        seen.status.append(text.of_part(part))
    elif kind == "message/feedback-report":
        seen.feedback.append(text.of_part(part))
    elif kind in _ORIGINALS:
        _return(part, seen)
    elif part.children:
        for child in part.children:
            _walk(child, seen)
    elif seen.returned is None:
        # What follows the original belongs to it.
        if kind == "text/html":
            seen.markup = seen.markup or part
        elif kind.startswith("text/") or kind == "application/json":
            seen.texts.append(part)
        elif kind == "application/octet-stream" and _is_status(part):
            seen.status.append(text.of_part(part))


def _return(part: Part, seen: View) -> None:
    if seen.returned is not None or not part.body.strip():
        return
    seen.returned = part
    seen.inner_status = [
        text.of_part(inner)
        for child in part.children
        for inner in child.children
        if inner.content_type.endswith("delivery-status")
    ]


def _is_status(part: Part) -> bool:
    """Whether the fields of a delivery status hide in a part of an unknown type."""
    return b"inal-Recipient:" in part.content[:4000]


def _original(part: Part) -> dict[str, str]:
    if part.content_type in ("message/rfc822", "message/global"):
        return _decoded(read_headers(part.content.lstrip(b"\n").partition(b"\n\n")[0]))
    return _headers_in(text.of_part(part))


def _decoded(headers: dict[str, str]) -> dict[str, str]:
    kept = islice((name for name in headers if len(name) <= _NAME), ORIGINAL_FIELDS)
    return {name: text.header(headers[name]) for name in kept}


def _headers_in(body: str) -> dict[str, str]:
    start = _HEADER_START.search(body)
    headers: dict[str, str] = {}
    at = start.start() if start else len(body)
    while len(headers) < ORIGINAL_FIELDS and (found := _HEADER.match(body, at)):
        headers.setdefault(found[1].lower(), text.header(" ".join(found[2].split())))
        at = found.end()
    return headers
