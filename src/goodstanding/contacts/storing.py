"""Contacts into the database, a batch in one transaction; who is there already is found again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec
from django.db import connection, transaction
from django.db.backends.utils import CursorWrapper

from goodstanding.contacts import models
from goodstanding.contacts.rows import Draft, identity
from goodstanding.core.addresses import Address
from goodstanding.ledger import bulk

_COLUMNS: Final = (
    "id",
    "kind",
    "external_id",
    "first_name",
    "last_name",
    "company",
    "fields",
    "identity",
)
_NEW: Final = bulk.Table(models.Contact, (*_COLUMNS, "created_at"))
_CHANGED: Final = bulk.Table(models.Contact, _COLUMNS)
_HELD: Final = bulk.Table(models.ContactAddress, ("contact_id", "address_id", "channel"))
_LISTED: Final = bulk.Table(models.Membership, ("list_id", "contact_id"))
_TURN: Final = 0x636F6E74616374  # "contact": an advisory lock of PostgreSQL
_DO_NOTHING: Final = "ON CONFLICT DO NOTHING"


class Stored(msgspec.Struct, frozen=True):
    """How many contacts a batch made, and how many of its rows were of contacts known before."""

    new: int
    known: int


class _Contact(msgspec.Struct):
    """A contact's row as it is to be; id 0 where there is none yet."""

    id: int
    kind: str
    external_id: str | None
    first_name: str
    last_name: str
    company: str
    fields: dict[str, str]
    identity: str
    changed: bool = False
    held: dict[Address, None] = {}

    def hear(self, draft: Draft) -> None:
        """Take what a further row says; what it leaves empty stays."""
        before = self._content()
        self.external_id = self.external_id or draft.external_id
        self.first_name = draft.first_name or self.first_name
        self.last_name = draft.last_name or self.last_name
        self.company = draft.company or self.company
        self.fields = {**self.fields, **draft.fields}
        after = self._content()
        if after[1:4] != before[1:4]:
            self.identity = identity(
                draft.addresses, self.first_name, self.last_name, self.company, self.fields
            )
        self.changed = self.changed or before != after
        self.hold(draft)

    def hold(self, draft: Draft) -> None:
        """Add the row's addresses."""
        self.held = {**self.held, **dict.fromkeys(draft.addresses)}

    def row(self) -> tuple[Any, ...]:
        """The row in the order of the columns."""
        return (
            self.id,
            self.kind,
            self.external_id,
            self.first_name,
            self.last_name,
            self.company,
            _encode(self.fields).decode(),
            self.identity,
        )

    def _content(self) -> tuple[Any, ...]:
        return (self.external_id, self.first_name, self.last_name, self.company, self.fields)


def store(
    drafts: Sequence[Draft], ids: Mapping[Address, int], list_id: int | None, now: int
) -> Stored:
    """Store a batch; ``ids`` are those of its addresses, ``now`` in microseconds.

    A contact is known again by its external id; else by its addresses, names and company.
    """
    with transaction.atomic(), connection.cursor() as cursor:
        # Two imports that looked at once would each make the same contact.
        by_turns(cursor)
        contacts = _settle(cursor, drafts)
        new = [contact for contact in contacts if contact.id == 0]
        _CHANGED.update(cursor, [each.row() for each in contacts if each.id and each.changed])
        table = models.Contact._meta.db_table
        for contact, made in zip(new, bulk.new_ids(cursor, table, len(new)), strict=True):
            contact.id = made
        _NEW.insert(cursor, [(*each.row(), now) for each in new])
        held = [
            (contact.id, ids[address], address.channel)
            for contact in contacts
            for address in contact.held
            if address in ids
        ]
        _HELD.insert(cursor, held, on_conflict=_DO_NOTHING)
        if list_id is not None:
            listed = [(list_id, contact.id) for contact in contacts]
            _LISTED.insert(cursor, listed, on_conflict=_DO_NOTHING)
    return Stored(len(new), len(drafts) - len(new))


def by_turns(cursor: CursorWrapper) -> None:
    """Let nobody else who asks for it change contacts until the transaction ends.

    To be asked for before anything of the ledger's is locked. SQLite has one writer anyway.
    """
    if connection.vendor == "postgresql":
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_TURN])


def _settle(cursor: CursorWrapper, drafts: Sequence[Draft]) -> list[_Contact]:
    """The contacts that the drafts are of, as they are to be, each once."""
    by_identity = {
        contact.identity: contact
        for contact in _known(cursor, "identity", {draft.identity for draft in drafts})
    }
    by_id = {contact.id: contact for contact in by_identity.values()}
    by_external_id: dict[str | None, _Contact] = {
        contact.external_id: contact for contact in by_identity.values() if contact.external_id
    }
    named = {draft.external_id for draft in drafts if draft.external_id} - by_external_id.keys()
    for contact in _known(cursor, "external_id", named):
        by_external_id[contact.external_id] = by_id.setdefault(contact.id, contact)
    settled: dict[int, _Contact] = {}
    for draft in drafts:
        found = by_external_id.get(draft.external_id) if draft.external_id else None
        if found is None:
            found = by_identity.get(draft.identity)
            if found is not None and found.external_id and draft.external_id:
                found = None
        if found is None:
            found = _made(draft)
        else:
            found.hear(draft)
        by_identity.setdefault(draft.identity, found)
        if found.external_id:
            by_external_id[found.external_id] = found
        settled[id(found)] = found
    return list(settled.values())


def _made(draft: Draft) -> _Contact:
    contact = _Contact(
        0,
        draft.kind,
        draft.external_id,
        draft.first_name,
        draft.last_name,
        draft.company,
        draft.fields,
        draft.identity,
    )
    contact.hold(draft)
    return contact


def _known(cursor: CursorWrapper, column: str, values: Iterable[str]) -> list[_Contact]:
    """Contacts by one column; of several with one identity that with no external id comes last."""
    cursor.execute(
        f"SELECT {', '.join(_COLUMNS)} FROM {models.Contact._meta.db_table}"
        f" WHERE {bulk.among(column, text=True)} ORDER BY external_id IS NULL, id DESC",
        [bulk.listed(values)],
    )
    return [
        _Contact(id_, kind, external_id, first, last, company, _decode(fields), known_by)
        for id_, kind, external_id, first, last, company, fields, known_by in cursor.fetchall()
    ]


_encode = msgspec.json.Encoder(order="deterministic").encode
_decode = msgspec.json.Decoder(dict[str, str]).decode
