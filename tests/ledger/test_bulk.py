"""Many rows at once arrive as they were given, whatever their texts hold."""

from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction

from goodstanding.ledger import bulk, models

TEXTS = [
    'said "no such user"',
    "back\\slash, \\n, \\\\ and \\",
    "{braces},commas",
    "tab\tnew\nline\r",
    "NULL",
    "\\N",
    "",
    "  spaces  ",
    "Postfach überfüllt ✉ 收件人",
    "'; DROP TABLE ledger_address; --",
]
MAILINGS = bulk.Table(models.Mailing, ("name", "channel", "topic", "started_at"))

pytestmark = pytest.mark.django_db


def _stored() -> list[tuple[Any, ...]]:
    return list(models.Mailing.objects.order_by("id").values_list("name", "topic", "started_at"))


@pytest.mark.parametrize("on_conflict", ["", "ON CONFLICT (name) DO NOTHING"])
def test_texts_numbers_and_nothing_come_back_as_they_went(on_conflict: str) -> None:
    rows = [
        (text, "email", text if place % 2 else None, place if place % 3 else None)
        for place, text in enumerate(TEXTS)
    ]
    with connection.cursor() as cursor:
        MAILINGS.insert(cursor, rows, on_conflict=on_conflict)
    assert _stored() == [(name, topic, at) for name, _, topic, at in rows]


def test_rows_are_updated_and_found_by_such_texts() -> None:
    with connection.cursor() as cursor:
        MAILINGS.insert(cursor, [(text, "email", None, None) for text in TEXTS])
        told = bulk.Table(models.Mailing, ("name", "topic", "started_at"))
        told.update(cursor, [(text, text[::-1], None) for text in TEXTS[1:]])
        cursor.execute(
            f"SELECT name FROM ledger_mailing WHERE {bulk.among('name', text=True)} ORDER BY id",
            [bulk.listed(TEXTS[2:])],
        )
        found = [row[0] for row in cursor.fetchall()]
        cursor.execute(
            "SELECT t.name FROM " + bulk.pairs("id", "name", "ledger_mailing") + " ORDER BY t.id",
            bulk.paired([(mailing.pk, mailing.name) for mailing in models.Mailing.objects.all()]),
        )
        paired = [row[0] for row in cursor.fetchall()]
    assert found == TEXTS[2:]
    assert paired == TEXTS
    assert _stored() == [(text, text[::-1] if text != TEXTS[0] else None, None) for text in TEXTS]


def test_a_row_that_is_there_already_is_an_error_that_django_names() -> None:
    with connection.cursor() as cursor:
        MAILINGS.insert(cursor, [("spring", "email", None, None)])
        with pytest.raises(IntegrityError), transaction.atomic():
            MAILINGS.insert(cursor, [("spring", "email", None, None)])
