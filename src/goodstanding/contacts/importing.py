"""Importing contacts from CSV and XLSX files.

A batch's events are recorded first and its contacts stored then: a crash between the two loses
nothing, since the file imported again tells the ledger nothing new and finds its contacts again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

from goodstanding.contacts import delimited, models, storing, workbook
from goodstanding.contacts.headings import lay_out
from goodstanding.contacts.problems import ImportProblem, Problem, Problems, shown
from goodstanding.contacts.rows import Draft, Reader, Terms
from goodstanding.contacts.seen import Seen
from goodstanding.contacts.table import Table
from goodstanding.core.addresses import is_region
from goodstanding.core.events import Event
from goodstanding.ledger import lookup, recording

__all__ = ["ImportProblem", "Imported", "Problem", "import_contacts"]

BATCH_ROWS: Final = 2_000
BATCH_CHARACTERS: Final = 8_000_000
LONGEST_PERMISSION: Final = 500  # characters

_ZIP: Final = b"PK\x03\x04"
_OLD_OFFICE: Final = bytes.fromhex("d0cf11e0a1b11ae1")  # also what a workbook with a password is


class Imported(msgspec.Struct, frozen=True):
    """What an import came to.

    ``rows`` were taken, each of a contact that was new or known (``contacts_new`` and
    ``contacts_known`` add up to them); ``addresses`` counts distinct ones, the malformed too;
    ``malformed`` the cells that hold no address (the first thousand in ``malformed_lines``: they
    are kept, and nothing is sent there), ``without_address`` the rows with nothing in
    them to reach anyone by. Of the ``problems_total`` problems the first thousand are in
    ``problems``, those of a line in the order of the file.
    """

    rows: int
    contacts_new: int
    contacts_known: int
    addresses: int
    malformed: int
    malformed_lines: list[Problem]
    without_address: int
    problems: list[Problem]
    problems_total: int


def import_contacts(
    path: Path,
    *,
    permission: str | None = None,
    list_name: str | None = None,
    now: int,
    progress: Callable[[int], None] | None = None,
    columns: Mapping[str, str] | None = None,
    region: str | None = None,
    encoding: str | None = None,
) -> Imported:
    """Import a file of contacts, a row a contact; its good rows are kept whatever the others are.

    Args:
        path: a CSV file (comma, semicolon or tab; UTF-8, or UTF-16 with its mark) or a workbook.
        permission: how all who are not said to be opted in or out agreed to be sent to; None where
            they did not.
        list_name: the list that all go on, made where it is new.
        now: the present, in microseconds.
        progress: called with the number of rows taken so far, after each batch.
        columns: what a column holds, by its heading, where that does not tell: see headings.toml.
        region: the two-letter country by which numbers without a country code are read.
        encoding: what a CSV file is written in, where it is neither of those above.

    Raises:
        ImportProblem: nothing of the file can be imported, as the message tells.
    """
    permission, list_name = _fitting(permission, "permission"), _fitting(list_name, "list")
    if region is not None and not is_region(region):
        # Else every number in it would be kept as malformed.
        raise ImportProblem(f"{shown(region)} is not a country's two letters, such as GB.")
    problems = Problems()
    with _opened(path, encoding, problems) as table:
        layout = lay_out(table.headings, columns or {})
        said = (permission, sorted((columns or {}).items()), region, encoding)
        file = _file(path, repr(said), now)
        terms = Terms(permission, file.first_at, file.name, region)
        taking = _Taking(terms, _list_id(list_name), now, problems)
        reader = Reader(layout, terms, problems)
        for line, cells in table.rows:
            taken = reader.read(line, cells)
            if taken is not None and taking.add(*taken, sum(map(len, cells))) and progress:
                progress(taking.rows)
        if taking.flush() and progress:
            progress(taking.rows)
    return taking.imported()


class _Taking:
    """Takes drafts in, a batch at a time, and counts."""

    def __init__(self, terms: Terms, list_id: int | None, now: int, problems: Problems) -> None:
        self.rows = 0
        self._terms = terms
        self._list_id = list_id
        self._now = now
        self._problems = problems
        self._drafts: list[Draft] = []
        self._events: list[Event] = []
        self._characters = 0
        self._new = self._without = 0
        self._malformed = Problems()
        self._seen = Seen()

    def add(self, draft: Draft, events: list[Event], characters: int) -> bool:
        """Add a row; true if it completed a batch, which is then on disk."""
        self._drafts.append(draft)
        self._events += events
        self._characters += characters
        full = len(self._drafts) >= BATCH_ROWS or self._characters >= BATCH_CHARACTERS
        return full and self.flush()

    def flush(self) -> bool:
        """Put what was added on disk; true if there was something."""
        drafts, events = self._drafts, self._events
        if not drafts:
            return False
        recorded = recording.record(events, self._now)
        if recorded.refused:
            lines = {address: draft.line for draft in drafts for address in draft.addresses}
            for refused in recorded.refused:
                self._problems.note(lines[refused.event.address], refused.why)
        ids = lookup.address_ids(address for draft in drafts for address in draft.addresses)
        self._new += storing.store(drafts, ids, self._list_id, self._now).new
        for id_ in ids.values():
            self._seen.add(id_)
        self.rows += len(drafts)
        for draft in drafts:
            for reason in draft.malformed:
                self._malformed.note(draft.line, reason)
        self._without += sum(not draft.addresses for draft in drafts)
        self._drafts, self._events, self._characters = [], [], 0
        return True

    def imported(self) -> Imported:
        """What it came to."""
        return Imported(
            self.rows,
            self._new,
            self.rows - self._new,
            self._seen.count,
            self._malformed.total,
            self._malformed.kept,
            self._without,
            sorted(self._problems.kept, key=lambda problem: problem.line),
            self._problems.total,
        )


@contextmanager
def _opened(path: Path, encoding: str | None, problems: Problems) -> Iterator[Table]:
    try:
        if not path.is_file():
            raise ImportProblem(f"{path} is not a file.")
        with path.open("rb") as file:
            head = file.read(8)
        if head == _OLD_OFFICE:
            raise ImportProblem(
                f"{path} is an old or a locked workbook; save it as XLSX without a password, or as "
                "CSV."
            )
        opened = (
            workbook.opened(path, problems)
            if head.startswith(_ZIP)
            else delimited.opened(path, encoding, problems)
        )
        with opened as table:
            yield table
    except OSError as error:
        raise ImportProblem(f"{path} cannot be read: {error.strerror or error}.") from error
    except UnicodeError as error:  # some of Python's encodings are none for files
        raise ImportProblem(f"{path} is not written in {shown(encoding or 'utf-8')}.") from error


def _file(path: Path, said: str, now: int) -> models.ImportedFile:
    """The file as it was first imported, known by what is in it and how it was taken."""
    digest = hashlib.blake2b(said.encode(), digest_size=32)
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    name = "".join(char if char.isprintable() else "�" for char in path.name)[:200]
    found, _ = models.ImportedFile.objects.get_or_create(
        digest=digest.hexdigest(), defaults={"name": name, "first_at": now}
    )
    return found


def _list_id(name: str | None) -> int | None:
    if name is None:
        return None
    return models.ContactList.objects.get_or_create(name=name)[0].pk


def _fitting(text: str | None, what: str) -> str | None:
    text = " ".join((text or "").split())
    longest = LONGEST_PERMISSION if what == "permission" else 200
    if len(text) > longest or "\0" in text:
        raise ImportProblem(f"The {what} is longer than {longest} characters or holds a NUL.")
    return text or None
