"""Correcting an address: who holds what after, and that nothing is given away by it."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.db import DatabaseError, connection

from goodstanding.contacts.correcting import correct
from goodstanding.contacts.importing import import_contacts
from goodstanding.contacts.models import Contact, ContactAddress, Membership
from goodstanding.core.addresses import Address
from goodstanding.ledger import acts, models, rebuilding
from tests.mailings.audience import NOW, address, at_once, contact, kinds, opted_in, told

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "spool"])


def put_right(old: str, new: str, **said: Any) -> Any:
    said = {"reason": "misspelt", "by": "bob", "now": NOW, **said}
    return correct(address(old), address(new), **said)


def holders(name: str) -> list[str]:
    held = ContactAddress.objects.filter(address__value=address(name).value)
    return sorted(held.values_list("contact__first_name", flat=True))


def status(name: str) -> str:
    found: str = models.Address.objects.get(value=address(name).value).status
    return found


def counts() -> tuple[int, ...]:
    tables = (models.Address, models.Event, models.Change, Contact, ContactAddress)
    return tuple(table.objects.count() for table in tables)


def test_whoever_held_the_old_one_holds_the_new_one_instead() -> None:
    opted_in("wrong", "other")
    contact("wrong", "other", first_name="Ann", on="shoppers")
    contact("wrong", first_name="Bob")
    contact("other", first_name="Cid")
    done = put_right("wrong", "right")
    assert (done.contacts, done.to_status, done.to_family) == (2, "non_marketable", "bad")
    assert holders("wrong") == []
    assert holders("right") == ["Ann", "Bob"]
    assert holders("other") == ["Ann", "Cid"]
    assert Membership.objects.get().contact.first_name == "Ann"
    event = models.Event.objects.get(kind="corrected")
    assert (event.address.value, event.source) == ("wrong@example.com", "operator")
    assert json.loads(event.detail) == {
        "reason": "misspelt",
        "by": "bob",
        "to": "right@example.com",
    }
    assert event.occurred_at == NOW
    assert rebuilding.rebuild(NOW, verify=True) == []


def test_the_new_one_gets_no_consent_and_the_old_one_keeps_its_history() -> None:
    opted_in("wrong")
    told("bounced", "wrong", detail={"category": "mailbox_unknown"})
    contact("wrong")
    assert put_right("wrong", "right").to_status == "non_marketable"
    right = models.Address.objects.get(value="right@example.com")
    assert right.blocks_broadcast is not None
    assert kinds("right") == []
    assert kinds("wrong") == ["opted_in", "bounced", "corrected"]


@pytest.mark.parametrize(
    ("said", "stands"), [("opted_in", "opted_in"), ("opted_out", "opted_out"), ("", "invalid")]
)
def test_one_that_was_known_keeps_its_own_standing(said: str, stands: str) -> None:
    opted_in("wrong")
    contact("wrong")
    if said:
        told(said, "right")
    else:
        acts.act("invalid", address("right"), reason="so", by="bob", now=NOW)
    before = models.Event.objects.filter(address__value="right@example.com").count()
    assert put_right("wrong", "right").to_status == stands
    assert models.Event.objects.filter(address__value="right@example.com").count() == before


def test_who_holds_both_holds_the_new_one_once() -> None:
    opted_in("wrong")
    contact("wrong", "right", first_name="Ann")
    assert put_right("wrong", "right").contacts == 1
    assert holders("right") == ["Ann"]
    assert holders("wrong") == []


def test_it_may_have_been_done_earlier() -> None:
    opted_in("wrong")
    put_right("wrong", "right", at=NOW - 5)
    assert models.Event.objects.get(kind="corrected").occurred_at == NOW - 5
    with pytest.raises(ValueError, match="has not come"):
        put_right("wrong", "right", at=NOW + 1)


NUMBER = Address("sms", "+447700900123")


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        (address("wrong"), address("wrong"), "nothing to correct"),
        (address("wrong"), NUMBER, "stays within a channel"),
        (address("nobody"), address("right"), "never heard of"),
        (address("bare"), address("right"), "never heard of"),
    ],
)
def test_what_is_refused_changes_nothing(old: Address, new: Address, why: str) -> None:
    opted_in("wrong")
    contact("wrong")
    models.Address.objects.create(channel="email", value="bare@example.com")
    before = counts()
    with pytest.raises(acts.NotAllowed, match=why):
        correct(old, new, reason="because", by="bob", now=NOW)
    assert counts() == before


def test_one_that_no_contact_holds_can_be_corrected_and_one_that_was_never_heard_of() -> None:
    opted_in("heard")
    assert put_right("heard", "right").contacts == 0
    contact("held", first_name="Ann")
    assert put_right("held", "right").contacts == 1


def test_without_a_reason_nothing_is_changed() -> None:
    opted_in("wrong")
    contact("wrong")
    before = counts()
    with pytest.raises(ValueError, match="reason is needed"):
        put_right("wrong", "right", reason=" ")
    assert counts() == before


def test_all_of_it_happens_or_nothing() -> None:
    opted_in("wrong")
    contact("wrong")
    before = counts()

    def fail(execute: Callable[..., Any], sql: str, *how: Any) -> Any:
        if sql.startswith("DELETE FROM contacts_contactaddress"):
            raise DatabaseError("the disk is full")
        return execute(sql, *how)

    with connection.execute_wrapper(fail), pytest.raises(DatabaseError):
        put_right("wrong", "right")
    assert counts() == before
    assert status("wrong") == "opted_in"


def test_a_row_that_is_correct_by_now_is_of_the_same_contact(tmp_path: Path) -> None:
    file = tmp_path / "people.csv"
    wrong = "email,phone,first name\nwrong@example.com,+447700900123,Ann\n"
    file.write_text(wrong)
    import_contacts(file, now=NOW)
    put_right("wrong", "right")
    file.write_text(wrong.replace("wrong@", "right@"))
    done = import_contacts(file, now=NOW)
    assert (done.contacts_new, done.contacts_known) == (0, 1)
    assert Contact.objects.count() == 1


def test_so_it_is_where_its_row_had_fewer_addresses_than_it_holds(tmp_path: Path) -> None:
    file = tmp_path / "people.csv"
    file.write_text("email,first name\nwrong@example.com,Ann\n")
    import_contacts(file, now=NOW)
    more = models.Address.objects.create(channel="sms", value="+447700900123")
    ContactAddress.objects.create(contact=Contact.objects.get(), address=more, channel="sms")
    put_right("wrong", "right")
    file.write_text("email,first name\nright@example.com,Ann\n")
    assert import_contacts(file, now=NOW).contacts_known == 1


def test_who_is_given_the_old_one_at_that_moment_has_the_new_one_too(tmp_path: Path) -> None:
    opted_in("wrong")
    contact("wrong", first_name="Bob")
    contact(first_name="Ann", external_id="a")
    file = tmp_path / "people.csv"
    file.write_text("id,email\na,wrong@example.com\n")
    giving, taking, given = threading.Event(), threading.Event(), threading.Event()

    def wait_before_giving(execute: Callable[..., Any], sql: str, *how: Any) -> Any:
        if sql.startswith("INSERT INTO contacts_contactaddress"):
            giving.set()
            taking.wait(2)  # in vain: it has to wait for us
        return execute(sql, *how)

    def wait_before_taking(execute: Callable[..., Any], sql: str, *how: Any) -> Any:
        if sql.startswith("DELETE FROM contacts_contactaddress"):
            taking.set()
            given.wait(5)
        return execute(sql, *how)

    def give() -> None:
        with connection.execute_wrapper(wait_before_giving):
            import_contacts(file, now=NOW)
        given.set()

    def take() -> None:
        giving.wait(30)
        with connection.execute_wrapper(wait_before_taking):
            put_right("wrong", "right")

    assert at_once(give, take) == [None, None]
    assert holders("right") == ["Ann", "Bob"]


def test_corrections_and_imports_at_once(tmp_path: Path) -> None:
    names = [f"p{number}" for number in range(60)]
    file = tmp_path / "people.csv"
    file.write_text("email,name\n" + "".join(f"{name}@example.com,{name}\n" for name in names))
    import_contacts(file, now=NOW)
    files = []
    for number in range(2):
        other = tmp_path / f"{number}.csv"
        lines = (f"{name}.new@example.com,{name}\n" for name in names[number::2])
        other.write_text("email,name\n" + "".join(lines))
        files.append(other)

    def correcting(mine: list[str]) -> None:
        for name in mine:
            put_right(name, f"{name}.new")

    results = at_once(
        lambda: correcting(names[:30]),
        lambda: correcting(names[30:]),
        *(lambda file=file: import_contacts(file, now=NOW) for file in files),
    )
    assert [result for result in results if isinstance(result, BaseException)] == []
    assert [name for name in names if holders(name)] == []
    assert [name for name in names if name not in holders(f"{name}.new")] == []
    assert rebuilding.rebuild(NOW, verify=True) == []
