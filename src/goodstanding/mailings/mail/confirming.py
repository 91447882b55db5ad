"""The links of a request for confirmation: each confirms one thing, and then leads somewhere.

In its template ``{{ confirm_url }}`` is the first of them, ``{{ confirm_url_NAME }}`` the one of
that name.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, Literal, get_args
from urllib.parse import urlsplit

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

PURPOSE: Final = "confirmation"
FIELD: Final = "confirm_url"
"""The merge field of the first link; with ``_NAME`` behind it, that of the one so named."""

Method = Literal["standard", "custom"]

LONGEST_URL: Final = 2_000
LONGEST_TOPIC: Final = 100

_NAME: Final = re.compile(r"[a-z0-9_]{1,40}")
_FIELD: Final = re.compile(rf"{FIELD}(?:_\w+)?")
_NOT_IN_URL: Final = re.compile(r"[\s\x00-\x1f\x7f]")


class Confirm(msgspec.Struct, frozen=True):
    """A link by which a person confirms.

    ``name``: what the template calls it (``[a-z0-9_]``, at most 40); only the first may have none.
    ``url``: the page that it leads to once they have, ``http(s)://…``; empty: our own, which says
    thanks. ``topic``: what they confirm; None: mail of every sort.
    """

    name: str = ""
    url: str = ""
    topic: str | None = None
    method: Method = "standard"


def fields(confirms: Sequence[Confirm]) -> dict[str, int]:
    """The merge fields of such links, and which of them each is, counted from 0."""
    named = {f"{FIELD}_{each.name}": n for n, each in enumerate(confirms) if each.name}
    return {FIELD: 0, **named} if confirms else {}


def is_field(name: str) -> bool:
    """Whether a merge field's name is one of ours, and so no column's."""
    return _FIELD.fullmatch(name) is not None


def fields_in(source: str) -> set[str]:
    """What in a text may be such a merge field."""
    return set(_FIELD.findall(source))


def problems(confirms: Sequence[Confirm]) -> list[str]:
    """What is wrong with the links of a request, one plain sentence each."""
    found = []
    names = [each.name for each in confirms]
    for n, each in enumerate(confirms):
        what = f"the link {each.name[:40]!r} to confirm by" if each.name else "the link to confirm"
        if each.name and not _NAME.fullmatch(each.name):
            found.append(f"{what}: a name has 1 to 40 of a to z, 0 to 9 and _")
        elif not each.name and n:
            found.append(f"link {n + 1} to confirm by has no name: only the first may have none")
        elif each.name in names[:n]:
            found.append(f"{what}: there are two of that name")
        if each.url and not _is_page(each.url):
            found.append(f"{what}: {each.url[:80]!r} is no page to lead to: http(s)://… or nothing")
        if each.topic is not None and not _is_topic(each.topic):
            found.append(f"{what}: a topic has 1 to {LONGEST_TOPIC} printable characters")
        if each.method not in get_args(Method):
            found.append(f"{what}: its method is standard or custom, not {str(each.method)[:40]!r}")
    return found


def unused(confirms: Sequence[Confirm], used: Iterable[str]) -> list[str]:
    """A sentence for each link that no part of the mail holds; ``used``: its merge fields."""
    known = fields(confirms)
    there = {known[name] for name in used if name in known}
    return [
        f"link {n + 1} to confirm by is nowhere in the mail: write {{{{ {field} }}}} there"
        for n, each in enumerate(confirms)
        if n not in there
        for field in [f"{FIELD}_{each.name}" if each.name else FIELD]
    ]


def _is_page(url: str) -> bool:
    if len(url) > LONGEST_URL or _NOT_IN_URL.search(url):
        return False
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        return False


def _is_topic(text: str) -> bool:
    return 0 < len(text) <= LONGEST_TOPIC and text.isprintable() and not text.isspace()
