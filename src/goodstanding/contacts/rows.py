"""What one row says: a contact, its addresses, and what is to be recorded about each."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from datetime import datetime
from typing import Any, Final

import msgspec

from goodstanding.contacts import data
from goodstanding.contacts.headings import Layout, plain
from goodstanding.contacts.problems import Problems, shown
from goodstanding.core.addresses import Address, Channel, MalformedAddress, normalise
from goodstanding.core.events import SECOND, Event

LONGEST_NAME: Final = 200  # characters of a name, a company, an external id
_DAY: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
LONGEST_ADDRESS: Final = 320  # characters of what is kept of a malformed address

_OPTED_IN, _OPTED_OUT = "opted_in", "opted_out"
_WORDS: Final = {
    plain(word): meaning
    for meaning, words in data.load("consent.toml", dict[str, list[str]]).items()
    for word in words
}
_encode = msgspec.json.encode


class Draft(msgspec.Struct):
    """A contact as a row describes it."""

    line: int
    kind: str
    external_id: str | None
    first_name: str
    last_name: str
    company: str
    fields: dict[str, str]
    addresses: list[Address]
    identity: str
    malformed: tuple[str, ...] = ()


class Terms(msgspec.Struct, frozen=True):
    """How a file is taken: by which permission, since when, from where, numbers of which region."""

    permission: str | None
    at: int
    file: str
    region: str | None = None


class Reader:
    """Reads the rows of one file."""

    def __init__(self, layout: Layout, terms: Terms, problems: Problems) -> None:
        self._layout = layout
        self._terms = terms
        self._problems = problems

    def read(self, line: int, cells: list[str]) -> tuple[Draft, list[Event]] | None:
        """The contact of a row and the events about its addresses; None where it cannot be kept."""
        layout = self._layout
        first, last = self._names(cells)
        company = _clean(_cell(cells, layout.company))
        external = _clean(_cell(cells, layout.external_id))
        for heading, text in (
            ("first name", first),
            ("last name", last),
            ("company", company),
            ("external id", external),
        ):
            if len(text) > LONGEST_NAME:
                self._problems.note(line, f"its {heading} is longer than {LONGEST_NAME} characters")
                return None
        good, bad = self._addresses(cells)
        fields = {name: text for place, name in layout.extra if (text := cells[place].strip())}
        addresses = [*dict.fromkeys((*good, *(address for address, _, _ in bad)))]
        draft = Draft(
            line,
            "company" if company and not first and not last else "person",
            external or None,
            first,
            last,
            company,
            fields,
            addresses,
            identity(addresses, first, last, company, fields),
            tuple(reason for _, _, reason in bad),
        )
        events = self._said(line, cells, good) if good else []
        events += [self._invalid(*each) for each in bad]
        return draft, events

    def _names(self, cells: list[str]) -> tuple[str, str]:
        layout = self._layout
        first, last = (
            _clean(_cell(cells, layout.first_name)),
            _clean(_cell(cells, layout.last_name)),
        )
        if first or last or layout.name is None:
            return first, last
        whole = _clean(cells[layout.name])
        if "," in whole:
            last, _, first = whole.partition(",")
        else:
            first, _, last = whole.partition(" ")
        return first.strip(), last.strip()

    def _addresses(self, cells: list[str]) -> tuple[list[Address], list[tuple[Address, str, str]]]:
        """The row's addresses; and the malformed ones, each with its text and what is wrong."""
        good, bad = [], []
        channels: tuple[tuple[Channel, list[int]], ...] = (
            ("email", self._layout.email),
            ("sms", self._layout.phone),
        )
        for channel, places in channels:
            for place in places:
                text = cells[place].strip()
                found, reason = self._address(channel, text) if text else (None, "")
                if found is not None and reason:
                    bad.append((found, text, reason))
                elif found is not None:
                    good.append(found)
        return good, bad

    def _address(self, channel: Channel, text: str) -> tuple[Address | None, str]:
        """The address that a text says; where it is malformed the text itself, and the reason."""
        region = self._terms.region
        try:
            return normalise(channel, text, region), ""
        except MalformedAddress as error:
            # As it will be kept it may be somebody's address: then it is that one, not a bad one.
            kept = as_kept(text)
            try:
                return normalise(channel, kept, region), ""
            except MalformedAddress:
                return (Address(channel, kept), str(error)) if kept else (None, "")

    def _said(self, line: int, cells: list[str], addresses: list[Address]) -> list[Event]:
        """What the row says of consent."""
        terms = self._terms
        at = self._time(line, cells)
        word = _cell(cells, self._layout.consent).strip()
        meaning = self._meaning(line, word)
        permission = terms.permission is not None if meaning is None else meaning == _OPTED_IN
        detail: dict[str, Any] = {"permission": permission, "file": terms.file}
        if word:
            detail["said"] = word[:LONGEST_NAME]
        if permission:
            detail["how"] = terms.permission or f"the file says {shown(word)}"
        events = [Event("imported", at, address, "import", detail=detail) for address in addresses]
        if meaning == _OPTED_OUT:
            said = {"file": terms.file, "said": word[:LONGEST_NAME]}
            events += [
                Event("opted_out", at, address, "import", detail=said) for address in addresses
            ]
        return events

    def _meaning(self, line: int, word: str) -> str | None:
        """What the word on consent means; None where there is none."""
        if not word:
            return None
        meaning = _WORDS.get(plain(word[:LONGEST_NAME]))
        if meaning is None:
            self._problems.note(
                line, f"{shown(word)} is no known word on consent; taken as without permission"
            )
            return "unknown"
        return meaning

    def _time(self, line: int, cells: list[str]) -> int:
        text = _cell(cells, self._layout.consent_at).strip()
        if not text:
            return self._terms.at
        at = _microseconds(text)
        if at is None:
            self._problems.note(
                line,
                f"{shown(text)} is no date such as 2026-01-31, nor a time since 1970 as RFC 3339"
                " writes it, with an offset",
            )
            return self._terms.at
        return at

    def _invalid(self, address: Address, text: str, reason: str) -> Event:
        detail = {"reason": reason, "as_given": text[:LONGEST_ADDRESS], "file": self._terms.file}
        return Event("found_invalid", self._terms.at, address, "import", detail=detail)


def identity(
    addresses: list[Address], first: str, last: str, company: str, fields: dict[str, str]
) -> str:
    """The hash by which the same row is known again (128 bits, hexadecimal).

    What else a row says is part of it only where it says neither address nor name nor company.
    """
    known = sorted(f"{address.channel}:{address.value}" for address in addresses)
    rest = None if known or first or last or company else fields
    said = _encode((known, first, last, company, rest))
    return hashlib.blake2b(said, digest_size=16).hexdigest()


def as_kept(text: str) -> str:
    """What is kept of a malformed address; empty where there is nothing to keep."""
    return _flat(text.lower()[:LONGEST_ADDRESS])


def _cell(cells: list[str], place: int | None) -> str:
    return "" if place is None else cells[place]


def _clean(text: str) -> str:
    """A name as one line of printable text."""
    text = unicodedata.normalize("NFC", _flat(text))
    return " ".join(text.split())


def _flat(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else " " for char in text).strip()


def _microseconds(text: str) -> int | None:
    # A day alone is taken from its first moment on, in UTC.
    text = f"{text}T00:00:00Z" if _DAY.fullmatch(text) else text
    try:
        time = msgspec.convert(text, datetime)
    except msgspec.ValidationError:
        return None
    if time.tzinfo is None:
        return None
    seconds = time.replace(microsecond=0).timestamp()
    return int(seconds) * SECOND + time.microsecond if seconds >= 0 else None
