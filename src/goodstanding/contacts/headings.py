"""Headings: which column of a file holds what."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from goodstanding.contacts import data
from goodstanding.contacts.problems import ImportProblem, shown

MOST_COLUMNS: Final = 500
LONGEST_HEADING: Final = 200  # characters

_BETWEEN_WORDS: Final = re.compile(r"[\W_]+")
_LISTED: Final = 30  # columns that an error names


class Layout(msgspec.Struct):
    """Places of columns, counted from zero: any number of address columns, one of each other."""

    headings: list[str]
    email: list[int] = []
    phone: list[int] = []
    first_name: int | None = None
    last_name: int | None = None
    name: int | None = None
    company: int | None = None
    consent: int | None = None
    consent_at: int | None = None
    external_id: int | None = None
    extra: list[tuple[int, str]] = []


def plain(text: str) -> str:
    """A heading or a word as it is compared: case folded, one space between words."""
    return _BETWEEN_WORDS.sub(" ", unicodedata.normalize("NFKC", text).casefold()).strip()


def recognised(headings: Sequence[str]) -> tuple[bool, int]:
    """Whether one of the headings is known as an address's, and how many are known at all."""
    roles = [_ROLES.get(plain(heading[:LONGEST_HEADING])) for heading in headings]
    return "email" in roles or "phone" in roles, sum(role is not None for role in roles)


def lay_out(headings: Sequence[str], said: Mapping[str, str]) -> Layout:
    """Tell what each column holds.

    ``said`` maps a heading to what its column holds where its heading does not tell: `email`,
    `phone`, `first_name` and the like.

    Raises:
        ImportProblem: there is no column for addresses, there are too many columns, or ``said``
            names a column or a use that there is not.
    """
    if len(headings) > MOST_COLUMNS:
        raise ImportProblem(f"The file has more than {MOST_COLUMNS} columns.")
    layout = Layout([_named(place, heading) for place, heading in enumerate(headings)])
    roles = _said(layout.headings, said)
    taken: set[str] = set()
    for place, heading in enumerate(layout.headings):
        role = roles.get(plain(heading)) or _ROLES.get(plain(heading))
        if role in ("email", "phone"):
            getattr(layout, role).append(place)
        elif role is not None and getattr(layout, role) is None:
            setattr(layout, role, place)
        else:
            layout.extra.append((place, _untaken(heading, taken)))
    if not layout.email and not layout.phone:
        raise ImportProblem(
            "The file has no column for an email address or a phone number; its columns are "
            f"{_list(layout.headings)}."
        )
    return layout


def _said(headings: Sequence[str], said: Mapping[str, str]) -> dict[str, str]:
    known = {plain(heading) for heading in headings}
    for heading, role in said.items():
        if role not in _TABLE:
            raise ImportProblem(f"A column cannot hold {shown(role)}, only {', '.join(_TABLE)}.")
        if plain(heading) not in known:
            raise ImportProblem(
                f"The file has no column {shown(heading)}; its columns are {_list(headings)}."
            )
    return {plain(heading): role for heading, role in said.items()}


def _named(place: int, heading: str) -> str:
    text = " ".join(heading.split())
    if len(text) > LONGEST_HEADING:
        raise ImportProblem(
            f"The heading of column {place + 1} is longer than {LONGEST_HEADING} characters: "
            f"{shown(text)}."
        )
    return text or f"column {place + 1}"


def _untaken(heading: str, taken: set[str]) -> str:
    name, number = heading, 1
    while name in taken:
        number += 1
        name = f"{heading} ({number})"
    taken.add(name)
    return name


def _list(headings: Sequence[str]) -> str:
    names = [shown(heading) for heading in headings[:_LISTED]]
    more = len(headings) - _LISTED
    return (", ".join(names) or "none") + (f" and {more} more" if more > 0 else "")


_TABLE: Final = data.load("headings.toml", dict[str, list[str]])
_ROLES: Final = {plain(heading): role for role, known in _TABLE.items() for heading in known}
