"""Purging: what is taken from contacts, what stays, and that it may be broken off at any time."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from django.conf import settings

from goodstanding.contacts import purging
from goodstanding.contacts.importing import import_contacts
from goodstanding.contacts.models import Contact, ContactAddress, ContactList, Membership
from goodstanding.contacts.purging import Example, Found, NotPurgeable, OfStatus, Purged
from goodstanding.core.events import Event
from goodstanding.ledger import acts, models
from goodstanding.ledger.recording import record
from tests.mailings.audience import DAY, NOW, address, at_once, contact, opted_in, told

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "spool"])


def dead(*names: str, days: float = 200) -> None:
    """Addresses that opted in and then bounced for good, so many days ago."""
    opted_in(*names, at=NOW - int((days + 1) * DAY))
    for name in names:
        at = NOW - int(days * DAY)
        told("bounced", name, at, source="smtp", detail={"category": "mailbox_unknown"})


def find(*statuses: str, days: float = 180, now: int = NOW) -> Found:
    terms = purging.terms(statuses or ("hard_bounced",), int(days * DAY), now)
    return purging.find(terms, lambda _: None)


def purge(found: Found) -> Purged:
    return purging.purge(found, by="bob", reason=None, advance=lambda _: None)


def found_names() -> list[str]:
    return sorted(each.address.partition("@")[0] for each in purging.examples(1_000))


def holds(first_name: str) -> list[str]:
    held = ContactAddress.objects.filter(contact__first_name=first_name)
    return sorted(held.values_list("address__value", flat=True))


def ledger() -> dict[str, list[Any]]:
    """Every row of the ledger."""
    tables = (models.Address, models.Event, models.Delivery, models.Change, models.StatusTally)
    return {table.__name__: list(table.objects.order_by("pk").values_list()) for table in tables}


def test_it_finds_who_has_stood_so_for_long_enough_and_changes_nothing() -> None:
    dead("old", "older", days=200)
    dead("new", days=100)
    opted_in("fine")
    told("opted_out", "gone", NOW - 300 * DAY)
    for name in ("old", "new", "fine", "gone"):
        contact(name)
    contact("old", "fine")
    before = ledger()
    found = find()
    # Nobody holds `older`.
    assert msgspec.structs.asdict(found) | {"terms": None} == {
        "terms": None,
        "pairs": 2,
        "addresses": 1,
        "contacts": 2,
        "contacts_deleted": 1,
    }
    since = NOW - 200 * DAY
    assert purging.by_status() == [OfStatus("hard_bounced", 1, 2, since, since)]
    assert purging.examples(10) == [
        Example("old@example.com", "email", "hard_bounced", since, "mailbox_unknown", 2)
    ]
    assert ledger() == before
    assert Contact.objects.count() == 5
    assert find(days=50).addresses == 2
    both = find("opted_out", "hard_bounced", days=0)
    assert both.addresses == 3
    assert [each.status for each in purging.by_status()] == ["opted_out", "hard_bounced"]
    assert [each.address for each in purging.examples(1)] == ["gone@example.com"]


def test_it_takes_the_address_and_leaves_the_ledger() -> None:
    dead("dead")
    opted_in("fine")
    contact("dead", "fine", first_name="Ann", on="shoppers")
    contact("dead", first_name="Bob", on="shoppers")
    contact("fine", first_name="Cid", on="shoppers")
    contact(first_name="Dan", on="shoppers")
    before = ledger()
    assert purge(find()) == Purged(1, 2, 1)
    names = sorted(Contact.objects.values_list("first_name", flat=True))
    assert names == ["Ann", "Cid", "Dan"]
    assert holds("Ann") == ["fine@example.com"]
    on = Membership.objects.values_list("contact__first_name", flat=True)
    assert sorted(on) == ["Ann", "Cid", "Dan"]
    assert ContactList.objects.count() == 1
    assert ledger() == before
    assert find().pairs == 0


def test_whoever_loses_all_addresses_is_deleted_wherever_these_are_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    dead("one", "between", "two")
    monkeypatch.setattr(purging, "CHUNK", 1)
    # The first of them is the last of its window.
    monkeypatch.setattr(purging, "_WINDOW", models.Address.objects.earliest("id").pk)
    contact("one", "two")
    contact("one")
    found = find()
    assert (found.addresses, found.contacts, found.contacts_deleted) == (2, 2, 2)
    assert purge(found) == Purged(2, 2, 2)
    assert Contact.objects.count() == 0


def test_an_import_later_brings_nobody_back_to_life(tmp_path: Path) -> None:
    dead("dead")
    told("opted_out", "left", NOW - 300 * DAY)
    contact("dead")
    contact("left")
    purge(find("hard_bounced", "opted_out"))
    assert ContactAddress.objects.count() == 0
    file = tmp_path / "people.csv"
    file.write_text("email\ndead@example.com\nleft@example.com\n")
    import_contacts(file, permission="ticked the box", now=NOW)
    stand = dict(models.Address.objects.values_list("value", "status"))
    assert stand == {"dead@example.com": "hard_bounced", "left@example.com": "opted_out"}


def test_who_came_back_to_life_since_it_was_found_stays() -> None:
    dead("dead", "back")
    contact("dead")
    contact("back", first_name="Ann")
    found = find()
    assert found.addresses == 2
    acts.act("unblock", address("back"), reason="she answered", by="bob", now=NOW)
    assert purge(found) == Purged(1, 1, 1)
    assert holds("Ann") == ["back@example.com"]


def test_who_came_to_hold_it_since_it_was_found_keeps_it_till_the_next_time() -> None:
    dead("dead")
    contact("dead", first_name="Ann")
    found = find()
    contact("dead", first_name="Bob")
    assert purge(found) == Purged(1, 1, 1)
    assert holds("Bob") == ["dead@example.com"]
    assert purge(find()) == Purged(1, 1, 1)


def test_it_goes_by_where_they_stand_at_present(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opted_in("quiet", at=NOW - 10 * DAY)
    for number in range(4):
        at = NOW - (9 - number) * DAY
        told("sent", "quiet", at, mailing=f"m{number}", source="smtp")
        told("delivered", "quiet", at, mailing=f"m{number}", source="dsn")
    contact("quiet")
    assert find("unengaged_blocked", days=0).pairs == 0
    # Time alone makes it so, and no clock has run.
    assert find("unengaged_blocked", days=20, now=NOW + 400 * DAY).pairs == 1
    assert find("unengaged_blocked", days=200, now=NOW + 400 * DAY).pairs == 0
    # Another policy takes it back.
    policy = tmp_path / "patient.toml"
    policy.write_text('base = "default"\n[unengaged]\nafter = "700d"\nstopped_after = "800d"\n')
    options = msgspec.structs.replace(settings.OPTIONS, policy=str(policy))
    monkeypatch.setattr(settings, "OPTIONS", options)
    assert find("unengaged_blocked", days=0, now=NOW + 400 * DAY).pairs == 0


def test_one_that_never_opted_in_stands_so_for_as_long_as_it_is_known() -> None:
    said = {"source": "import", "detail": {"permission": False}}
    record([Event("imported", NOW - 900 * DAY, address("early"), **said)], NOW - 200 * DAY)
    record([Event("imported", NOW - 900 * DAY, address("late"), **said)], NOW - 10 * DAY)
    contact("early")
    contact("late")
    contact("unheard")
    assert find("non_marketable", days=180).addresses == 1
    assert found_names() == ["early"]
    assert find("non_marketable", days=0).addresses == 3


def test_broken_off_it_goes_on_the_next_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(purging, "CHUNK", 2)
    names = [f"dead{number}" for number in range(9)]
    dead(*names)
    for name in names:
        contact(name, on="shoppers")
    found, done = find(), 0

    def break_off(by: int) -> None:
        nonlocal done
        done += by
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        purging.purge(found, by="bob", reason=None, advance=break_off)
    assert (Contact.objects.count(), Membership.objects.count()) == (5, 5)
    assert purge(find()) == Purged(5, 5, 5)
    assert (Contact.objects.count(), Membership.objects.count()) == (0, 0)


def test_only_who_gets_no_broadcast_can_be_purged() -> None:
    for wrong in ("opted_in", "soft_bouncing", "unengaged", "nonsense"):
        with pytest.raises(NotPurgeable, match=f"'{wrong}' cannot be purged.*hard_bounced"):
            purging.terms(["hard_bounced", wrong], 0, NOW)
    assert purging.terms([], 0, NOW).statuses == ("hard_bounced", "invalid")


def test_purging_importing_and_hearing_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(purging, "CHUNK", 10)
    names = [f"p{number}" for number in range(200)]
    dead(*names)
    file = tmp_path / "people.csv"
    lines = "".join(f"{name}@example.com,{name},{name}\n" for name in names)
    file.write_text(f"email,id,first name\n{lines}")
    import_contacts(file, list_name="shoppers", now=NOW)
    more = tmp_path / "more.csv"
    lines = "".join(f"{name}@example.net,{name}\n" for name in names[::2])
    more.write_text(f"email,id\n{lines}")

    def hear(mine: Iterable[str]) -> None:
        for name in mine:
            told("opted_in", name, NOW - DAY)
            acts.act("unblock", address(name), reason="she is there", by="bob", now=NOW)

    results = at_once(
        lambda: purge(find()),
        lambda: import_contacts(more, list_name="shoppers", now=NOW),
        lambda: hear(names[::5]),
    )
    assert [result for result in results if isinstance(result, BaseException)] == []
    purge(find())
    # Who was unblocked may have been purged before; nobody who bounced is left to anyone.
    back = {address(name).value for name in names[::5]}
    left = set(ContactAddress.objects.values_list("address__value", flat=True))
    assert {value for value in left if value.endswith("@example.com")} <= back
    # Whom the import gave another address has that one, in this contact or a new one.
    assert {f"{name}@example.net" for name in names[::2]} <= left
    without = Contact.objects.exclude(pk__in=ContactAddress.objects.values("contact_id"))
    assert without.count() == 0
