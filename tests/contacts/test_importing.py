"""Importing contacts, through the real ledger: who is there after, and where they stand."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import openpyxl
import pytest

from goodstanding.contacts import importing, storing
from goodstanding.contacts.importing import Imported, ImportProblem, import_contacts
from goodstanding.contacts.models import Contact, ContactAddress, ContactList, Membership
from goodstanding.ledger.models import Address, Event, RefusedEvent

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "spool"])

NOW = 1_700_000_000_000_000
DAY = 86_400_000_000


def take(path: Path, text: str | bytes, **how: Any) -> Imported:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return import_contacts(path, now=how.pop("now", NOW), **how)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "contacts.csv"


def statuses() -> dict[str, str]:
    return dict(Address.objects.values_list("value", "status"))


def names() -> list[tuple[str, str]]:
    return sorted(Contact.objects.values_list("first_name", "last_name"))


def counts() -> tuple[int, ...]:
    tables = (Contact, ContactAddress, Membership, Address, Event, RefusedEvent)
    return tuple(table.objects.count() for table in tables)


def test_a_row_becomes_a_contact_with_its_address_and_what_else_was_told(file: Path) -> None:
    said = take(
        file,
        "E-Mail;First Name;Apellidos;Company;City\n"
        "Jane.Doe@Example.COM;Jane;Doe;Acme;Málaga\n"
        "info@example.org;;;Widgets;\n",
        permission="ticked the box at the fair",
        list_name="Fair",
    )
    assert said == Imported(2, 2, 0, 2, 0, [], 0, [], 0)
    jane, widgets = Contact.objects.order_by("id")
    assert (jane.kind, jane.first_name, jane.last_name, jane.company) == (
        "person",
        "Jane",
        "Doe",
        "Acme",
    )
    assert json.loads(jane.fields) == {"City": "Málaga"}
    assert jane.created_at == NOW
    assert (widgets.kind, json.loads(widgets.fields)) == ("company", {})
    held = ContactAddress.objects.get(contact=jane)
    assert (held.address.value, held.channel) == ("jane.doe@example.com", "email")
    assert Membership.objects.filter(list__name="Fair").count() == 2
    assert statuses() == {"jane.doe@example.com": "opted_in", "info@example.org": "opted_in"}
    [event] = Event.objects.filter(address=held.address)
    assert (event.kind, event.source, event.occurred_at) == ("imported", "import", NOW)
    assert json.loads(event.detail) == {
        "permission": True,
        "how": "ticked the box at the fair",
        "file": "contacts.csv",
    }


def test_without_permission_nobody_may_be_sent_to(file: Path) -> None:
    take(file, "email\njane@example.com\n")
    assert statuses() == {"jane@example.com": "non_marketable"}


def test_what_the_words_on_consent_mean(file: Path) -> None:
    said = take(
        file,
        "email,Status\n"
        "in@example.com,Subscribed\n"
        "out@example.com,UNSUBSCRIBED\n"
        "spam@example.com,Reported Spam\n"
        "no@example.com,no\n"
        "empty@example.com,\n"
        "odd@example.com,purple\n",
        permission="a form",
    )
    assert statuses() == {
        "in@example.com": "opted_in",
        "out@example.com": "opted_out",
        "spam@example.com": "opted_out",
        "no@example.com": "non_marketable",
        "empty@example.com": "opted_in",
        "odd@example.com": "non_marketable",
    }
    [problem] = said.problems
    assert problem.line == 7
    assert "'purple'" in problem.why
    assert said.contacts_new == 6


def test_a_word_on_consent_is_enough_without_permission_for_the_rest(file: Path) -> None:
    take(file, "email,consent\nin@example.com,opted_in\nempty@example.com,\n")
    assert statuses() == {"in@example.com": "opted_in", "empty@example.com": "non_marketable"}
    event = Event.objects.get(address__value="in@example.com")
    assert json.loads(event.detail)["how"] == "the file says 'opted_in'"


def test_the_date_of_consent_is_when_it_happened(file: Path) -> None:
    said = take(
        file,
        "email,status,consent_at\n"
        "a@example.com,opted out,2023-01-02T03:04:05.000006+01:00\n"
        "b@example.com,opted in,yesterday\n"
        "c@example.com,opted in,2023-01-02T03:04:05\n"
        "d@example.com,opted in,1960-01-02T03:04:05Z\n"
        "e@example.com,opted in,9999-12-31T23:59:59-23:59\n",
    )
    times = dict(Event.objects.values_list("address__value", "occurred_at"))
    assert times["a@example.com"] == 1_672_625_045_000_006
    assert {times[f"{who}@example.com"] for who in "bcd"} == {NOW}
    assert [problem.line for problem in said.problems if problem.line < 6] == [3, 4, 5]
    assert said.rows == 5
    assert statuses()["a@example.com"] == "opted_out"


def test_the_same_file_again_changes_nothing(file: Path) -> None:
    text = (
        "email,first_name,status,note\n"
        "a@example.com,Ann,opted_out,x\n"
        "b@example.com,Ben,,\n"
        "broken@,Cat,,\n"
        ",Dan,,\n"
        ",,,only a note\n"
    )
    how: dict[str, Any] = {"permission": "a form", "list_name": "all"}
    first = take(file, text, **how)
    before = counts()
    again = take(file, text, now=NOW + DAY, **how)
    assert counts() == before
    assert (first.contacts_new, first.contacts_known) == (5, 0)
    assert (again.contacts_new, again.contacts_known, again.problems) == (0, 5, [])
    assert again.addresses == first.addresses == 3


def test_the_same_file_again_does_not_undo_what_a_person_said_since(file: Path) -> None:
    from goodstanding.core.addresses import Address as Named
    from goodstanding.core.events import Event as Said
    from goodstanding.ledger.recording import record

    text = "email,status\nann@example.com,unsubscribed\n"
    take(file, text)
    record([Said("opted_in", NOW + DAY, Named("email", "ann@example.com"), "form")], now=NOW + DAY)
    take(file, text, now=NOW + 2 * DAY)
    assert statuses() == {"ann@example.com": "opted_in"}
    take(file, text + "ben@example.com,\n", now=NOW + 3 * DAY)
    assert statuses()["ann@example.com"] == "opted_out", "another file says it anew"


def test_permission_given_later_counts(file: Path) -> None:
    text = "email\nann@example.com\n"
    take(file, text)
    take(file, text, permission="asked them by phone", now=NOW + DAY)
    assert statuses() == {"ann@example.com": "opted_in"}
    assert Contact.objects.count() == 1


def test_one_person_twice_is_one_contact_and_a_shared_address_is_one_address(file: Path) -> None:
    said = take(
        file,
        "email,name,city\n"
        "home@example.com,Jane Doe,\n"
        "HOME@example.com, Jane  Doe ,York\n"
        'home@example.com,"Doe, John",\n',
        permission="a form",
    )
    assert (said.rows, said.contacts_new, said.contacts_known, said.addresses) == (3, 2, 1, 1)
    assert names() == [("Jane", "Doe"), ("John", "Doe")]
    assert json.loads(Contact.objects.get(first_name="Jane").fields) == {"city": "York"}
    assert ContactAddress.objects.count() == 2
    assert statuses() == {"home@example.com": "opted_in"}


def test_an_external_id_finds_and_updates(file: Path) -> None:
    take(file, "id,email,first name,city\n7,old@example.com,Jane,Hull\n8,x@example.com,Jim,\n")
    said = take(
        file, "id,email,first name,city,team\n7,new@example.com,Janet,,Red\n9,z@example.com,Zoe,,\n"
    )
    assert (said.contacts_new, said.contacts_known) == (1, 1)
    janet = Contact.objects.get(external_id="7")
    assert janet.first_name == "Janet"
    assert json.loads(janet.fields) == {"city": "Hull", "team": "Red"}
    held = ContactAddress.objects.filter(contact=janet).values_list("address__value", flat=True)
    assert sorted(held) == ["new@example.com", "old@example.com"]


def test_a_contact_without_external_id_takes_the_one_it_is_given(file: Path) -> None:
    take(file, "email,first name\njane@example.com,Jane\n")
    text = "id,email,first name\n7,jane@example.com,Jane\n8,jane@example.com,Jane\n"
    assert take(file, text).contacts_new == 1, "two ids are two people"
    assert take(file, text, now=NOW + 1).contacts_new == 0
    assert take(file, "email,first name\njane@example.com,Jane\n").contacts_new == 0
    assert sorted(Contact.objects.values_list("external_id", flat=True)) == ["7", "8"]


def test_a_malformed_address_is_kept_and_shown_as_invalid(file: Path) -> None:
    said = take(
        file,
        "email,first_name,phone\n"
        "Jane.Doe@@Example.com,Jane,+34 600 111 222\n"
        f"{'x' * 5000}@example.com,Long,\n"
        ",Nobody,12\n",
        permission="a form",
    )
    assert (said.contacts_new, said.malformed, said.without_address) == (3, 3, 0)
    found = statuses()
    assert found["jane.doe@@example.com"] == "invalid"
    assert found["+34600111222"] == "opted_in"
    assert found["x" * 320] == "invalid"
    assert found["12"] == "invalid"
    event = Event.objects.get(address__value="jane.doe@@example.com")
    assert (event.kind, event.source) == ("found_invalid", "import")
    detail = json.loads(event.detail)
    assert detail["as_given"] == "Jane.Doe@@Example.com"
    assert "is not an email address" in detail["reason"]
    jane = Contact.objects.get(first_name="Jane")
    assert ContactAddress.objects.filter(contact=jane).count() == 2


@pytest.mark.parametrize("around", ["\u200b", "\ufeff", "\u2060", "\x1f"])
def test_what_is_invisible_around_an_address_condemns_nobody(file: Path, around: str) -> None:
    said = take(file, f"email,city\n{around}Jane@example.com{around},Rome\n", permission="a form")
    assert statuses() == {"jane@example.com": "opted_in"}
    assert said.malformed == 0


def test_rows_without_any_address_are_contacts_too(file: Path) -> None:
    said = take(file, "email,first_name\n,Jane\n \t,Jim\n")
    assert (said.rows, said.contacts_new, said.without_address, said.addresses) == (2, 2, 2, 0)
    assert ContactAddress.objects.count() == 0


def test_several_addresses_of_both_channels(file: Path) -> None:
    take(
        file,
        "Email,Email 2,Mobile Phone\njane@example.com,j.doe@example.org,600 111 222\n",
        permission="a form",
        region="ES",
    )
    held = ContactAddress.objects.values_list("channel", "address__value")
    assert sorted(held) == [
        ("email", "j.doe@example.org"),
        ("email", "jane@example.com"),
        ("sms", "+34600111222"),
    ]
    assert set(statuses().values()) == {"opted_in"}


def test_a_region_that_there_is_not_makes_no_number_malformed(file: Path) -> None:
    text = "Mobile Phone\n+44 7700 900123\n"
    with pytest.raises(ImportProblem, match="'UK' is not a country's two letters, such as GB"):
        take(file, text, permission="a form", region="UK")
    assert statuses() == {}
    take(file, text, permission="a form", region="GB")
    assert statuses() == {"+447700900123": "opted_in"}


def test_a_heading_may_be_told(file: Path) -> None:
    text = "Kontaktadresse,Spitzname\njane@example.com,Jane\n"
    columns = {"kontaktadresse": "email", "Spitzname": "first_name"}
    take(file, text, columns=columns)
    assert names() == [("Jane", "")]
    with pytest.raises(ImportProblem, match="no column 'Adresse'; its columns are 'Kontakt"):
        take(file, text, columns={"Adresse": "email"})
    with pytest.raises(ImportProblem, match="cannot hold 'mail', only email, phone"):
        take(file, text, columns={"Spitzname": "mail"})


def test_no_column_for_addresses_is_one_clear_error_and_changes_nothing(file: Path) -> None:
    with pytest.raises(ImportProblem) as refused:
        take(file, "First name,Town\nJane,Rome\n", list_name="all")
    assert str(refused.value) == (
        "The file has no column for an email address or a phone number; "
        "its columns are 'First name', 'Town'."
    )
    assert (Contact.objects.count(), ContactList.objects.count()) == (0, 0)


def test_names_are_one_printable_line_and_too_long_ones_a_problem(file: Path) -> None:
    said = take(
        file,
        "email,first_name,last_name\n"
        'a@example.com,"Jane\r\nBcc: x",\x1b[31mDoe\n'
        f"b@example.com,{'x' * 201},\n"
        f"c@example.com,{'x' * 200},\n",
    )
    assert ("Jane Bcc: x", "[31mDoe") in names()
    assert len(names()) == 2
    [problem] = said.problems
    assert (problem.line, problem.why) == (4, "its first name is longer than 200 characters")


def test_batches_and_progress(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importing, "BATCH_ROWS", 10)
    seen: list[int] = []
    text = "email,first_name\n" + "".join(f"p{n % 20}@example.com,N{n}\n" for n in range(35))
    said = take(file, text, progress=seen.append)
    assert seen == [10, 20, 30, 35]
    assert (said.rows, said.contacts_new, said.addresses) == (35, 35, 20)


def test_a_crash_between_events_and_contacts_loses_nothing(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "email,status\na@example.com,opted_out\nb@example.com,\n"

    def crash(*_: object) -> None:
        raise RuntimeError("power cut")

    with monkeypatch.context() as patch:
        patch.setattr(storing, "store", crash)
        with pytest.raises(RuntimeError):
            take(file, text, permission="a form", list_name="all")
    events = Event.objects.count()
    assert events == 3
    said = take(file, text, permission="a form", list_name="all", now=NOW + DAY)
    assert said.contacts_new == 2
    assert Event.objects.count() == events
    assert ContactAddress.objects.count() == Membership.objects.count() == 2


def test_a_million_rows_would_fit_the_problems_are_bounded(file: Path) -> None:
    said = take(file, "email\n" + "a@example.com,b\n" * 3000 + "good@example.com\n")
    assert (said.rows, len(said.problems), said.problems_total) == (1, 1000, 3000)


def test_a_workbook(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    sheet = book.active
    sheet.append([])
    sheet.append(["Email", "Phone", "First name", "Status", "Consent at", "Score", None])
    sheet.append(
        ["jane@example.com", 34600111222.0, "Jane", "opted in", datetime(2023, 1, 2), 4.5]  # noqa: DTZ001 - workbooks know no zones
    )
    sheet.append([])
    sheet.append(["jim@example.com", None, "Jim", "unsubscribed"])
    sheet.append(["x" * 32_000 + "@example.com", None, "Long"])
    sheet.append(["beside@example.com", *[None] * 7, "no heading here"])
    path = tmp_path / "contacts.xlsx"
    book.save(path)
    said = import_contacts(path, now=NOW, columns={"phone": "external_id"})
    assert (said.rows, said.contacts_new, said.malformed) == (3, 3, 1)
    [problem] = said.problems
    assert (problem.line, problem.why) == (7, "it has a cell in column 9, which has no heading")
    jane = Contact.objects.get(first_name="Jane")
    assert (jane.external_id, json.loads(jane.fields)) == ("34600111222", {"Score": "4.5"})
    assert Event.objects.get(address__value="jane@example.com").occurred_at == 1672617600 * 10**6
    assert statuses()["jim@example.com"] == "opted_out"
    again = import_contacts(path, now=NOW + DAY, columns={"phone": "external_id"})
    assert (again.contacts_new, again.contacts_known) == (0, 3)


def test_a_hundred_thousand_contacts_of_one_address_are_not_quadratic(
    file: Path, django_assert_max_num_queries: Any
) -> None:
    text = "email,first_name\n" + "".join(f"info@example.com,N{n}\n" for n in range(6000))
    with django_assert_max_num_queries(150):
        said = take(file, text)
    assert (said.contacts_new, said.addresses) == (6000, 1)
    assert Event.objects.count() == 1


def test_malformed_addresses_are_named_with_their_lines(file: Path) -> None:
    said = take(file, "email\nno-at-sign\nann@example.com\nbob@@example.com\n")
    assert (said.rows, said.malformed, said.problems_total) == (3, 2, 0)
    assert [each.line for each in said.malformed_lines] == [2, 4]
    assert "no-at-sign" in said.malformed_lines[0].why


def test_a_consent_of_a_day_counts_from_its_first_moment(file: Path) -> None:
    said = take(file, "email,consent,consent_at\nann@example.com,opted_in,2023-01-02\n")
    assert said.problems_total == 0
    [at] = Event.objects.filter(kind="imported").values_list("occurred_at", flat=True)
    assert at == 1_672_617_600_000_000
