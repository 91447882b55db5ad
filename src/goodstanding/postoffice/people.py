"""Makes up contacts with mailboxes at the pretend providers, as CSV.

``python -m goodstanding.postoffice.people --contacts 2000 --seed 1 --out contacts.csv``
"""

from __future__ import annotations

import argparse
import csv
import random
import sys
import unicodedata
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from goodstanding.postoffice import data
from goodstanding.postoffice.world import World, ascii_domain

if TYPE_CHECKING:
    from collections.abc import Iterator

COLUMNS: Final = ("email", "first_name", "last_name", "company", "consent")

# Of all rows: the rest are plain contacts who opted in.
SHARED: Final = 0.02
REPEATED: Final = 0.02
MALFORMED: Final = 0.02
EMPTY: Final = 0.02
OPTED_OUT: Final = 0.02
NEVER_OPTED_IN: Final = 0.02

_LETTERS: Final = str.maketrans(
    {"ß": "ss", "ø": "o", "æ": "ae", "ł": "l", "đ": "d", "þ": "th", "ð": "d", "\u0131": "i"}
)


class _Language(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    first: tuple[str, ...]
    last: tuple[str, ...]


class _Malformed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    texts: tuple[str, ...]


class _People(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    companies: tuple[str, ...]
    language: tuple[_Language, ...]
    malformed: _Malformed


class Contact(msgspec.Struct, frozen=True):
    """One row. ``consent`` is ``opted_in``, ``opted_out`` or empty (never opted in)."""

    email: str
    first_name: str
    last_name: str
    company: str
    consent: str


class _Maker:
    """Makes up people one after another; never the same address twice."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)  # noqa: S311 - made-up people, to be repeatable
        self._people = data.load("people.toml", _People)
        providers = World(seed).providers
        self._domains = [p.domains for p in providers]
        self._shares = list(accumulate(p.share for p in providers))
        self._taken: set[str] = set()

    def contact(self, consent: str) -> Contact:
        """Make up a person with an address of their own."""
        chance = self.chance
        language = chance.choice(self._people.language)
        first, plain_first = _spellings(chance.choice(language.first))
        last, plain_last = _spellings(chance.choice(language.last))
        [domains] = chance.choices(self._domains, cum_weights=self._shares)
        # Most are at the provider's first domain, and write it in ASCII where it is not.
        domain = domains[0] if chance.random() < 0.8 else chance.choice(domains)
        email = self._address(plain_first, plain_last, ascii_domain(domain))
        return Contact(email, first, last, chance.choice(self._people.companies), consent)

    def idn(self, consent: str) -> Contact:
        """Make up a person who writes a domain with letters beyond ASCII."""
        person = self.contact(consent)
        domain = next(d for domains in self._domains for d in domains if not d.isascii())
        email = self._address("post", person.last_name, domain)
        return msgspec.structs.replace(person, email=email)

    def malformed(self, consent: str) -> Contact:
        """Make up a person whose address nobody could write to."""
        person = self.contact(consent)
        local, _, domain = person.email.partition("@")
        text = self.chance.choice(self._people.malformed.texts).format(local=local, domain=domain)
        return msgspec.structs.replace(person, email=text)

    def sharing(self, other: Contact) -> Contact:
        """Make up a person with somebody else's address, perhaps in other letter case."""
        person = self.contact(other.consent)
        shapes = (other.email, other.email.upper(), other.email.title())
        return msgspec.structs.replace(person, email=self.chance.choice(shapes))

    def _address(self, first: str, last: str, domain: str) -> str:
        chance = self.chance
        first, last = _plain(first) or "post", _plain(last) or "amt"
        year = chance.randrange(50, 107) % 100
        local = chance.choice(
            (
                f"{first}.{last}",
                f"{first[0]}{last}{year:02d}",
                f"{first}{last}",
                f"{first}_{last}",
                f"{last}.{first[0]}",
                f"{first}{year:02d}",
                f"{first[0]}.{last}+news",
            )
        )
        unique, tail = local, 1
        while f"{unique}@{domain}" in self._taken:
            tail = chance.randrange(2, 10 ** min(2 + tail, 9))
            unique = local.replace("+news", f"{tail}+news") if "+" in local else f"{local}{tail}"
            tail = len(str(tail))
        self._taken.add(f"{unique}@{domain}")
        return f"{unique}@{domain}"


def make_contacts(count: int, seed: int) -> list[Contact]:
    """Return ``count`` made-up contacts, the same for the same seed.

    About 2 % each: share an address with another contact, repeat another row, have a malformed
    address, have none, opted out before, never opted in. A few have an address whose domain is
    not ASCII.
    """
    maker = _Maker(seed)
    chance = maker.chance
    rows: list[Contact] = []
    plain: list[Contact] = []
    for number in range(count):
        drawn = chance.random()
        consent = _consent(chance.random())
        if number in {count // 5, count // 2}:
            rows.append(maker.idn("opted_in"))
        elif drawn < MALFORMED:
            rows.append(maker.malformed(consent))
        elif drawn < MALFORMED + EMPTY:
            rows.append(msgspec.structs.replace(maker.contact(consent), email=""))
        elif plain and drawn < MALFORMED + EMPTY + SHARED:
            rows.append(maker.sharing(chance.choice(plain)))
        elif plain and drawn < MALFORMED + EMPTY + SHARED + REPEATED:
            rows.append(chance.choice(plain))
        else:
            plain.append(maker.contact(consent))
            rows.append(plain[-1])
    return rows


def _consent(drawn: float) -> str:
    if drawn < OPTED_OUT:
        return "opted_out"
    return "" if drawn < OPTED_OUT + NEVER_OPTED_IN else "opted_in"


def _spellings(name: str) -> tuple[str, str]:
    written, _, plain = name.partition("=")
    return written, plain or written


def _plain(name: str) -> str:
    lowered = unicodedata.normalize("NFKD", name.lower().translate(_LETTERS))
    return "".join(letter for letter in lowered if letter.isascii() and letter.isalnum())


def _lines(rows: list[Contact]) -> Iterator[tuple[str, ...]]:
    yield COLUMNS
    for row in rows:
        yield (row.email, row.first_name, row.last_name, row.company, row.consent)


def main() -> int:
    """Write the contacts that the command line asks for; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m goodstanding.postoffice.people", description="Makes up contacts, as CSV."
    )
    parser.add_argument("--contacts", type=int, default=2000, metavar="N")
    parser.add_argument("--seed", type=int, default=1, metavar="S")
    parser.add_argument("--out", type=Path, metavar="FILE", help="where to; else standard output")
    wanted = parser.parse_args()
    lines = _lines(make_contacts(max(wanted.contacts, 0), wanted.seed))
    if wanted.out is None:
        csv.writer(sys.stdout, lineterminator="\n").writerows(lines)
        return 0
    try:
        with wanted.out.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows(lines)
    except OSError as error:
        sys.stderr.write(f"The contacts cannot be written: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
