"""`correct` and `purge`: what they print where, and with which exit status."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from goodstanding.contacts.models import Contact, ContactAddress
from goodstanding.ledger.models import Event
from tests.cli.conftest import Ran, Run

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")

PRESENT = datetime.now(UTC).replace(microsecond=0)

PEOPLE = """email,phone,first name
dead@example.com,+447700900123,Ann
dead@example.com,,Bob
not-an-address,,Cid
fine@example.com,,Dan
"""


def bounced(name: str, days: float) -> str:
    event = {
        "kind": "bounced",
        "occurred_at": (PRESENT - timedelta(days=days)).isoformat(),
        "address": f"{name}@example.com",
        "mailing": "spring",
        "detail": {"text": "550 5.1.1 no such user"},
    }
    return json.dumps(event) + "\n"


@pytest.fixture
def people(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("people.csv").write_text(PEOPLE)
    assert run("import-contacts", "people.csv", "--permission", "asked for it").status == 0
    assert run("import-events", "-", said=bounced("dead", 200)).status == 0


def held() -> list[tuple[str, str]]:
    rows = ContactAddress.objects.values_list("contact__first_name", "address__value")
    return sorted(rows)


ALL = [
    ("Ann", "+447700900123"),
    ("Ann", "dead@example.com"),
    ("Bob", "dead@example.com"),
    ("Cid", "not-an-address"),
    ("Dan", "fine@example.com"),
]


# Correct


def correct(run: Run, *arguments: str) -> Ran:
    return run("correct", *arguments, "--reason", "misspelt", "--by", "eve", "--json")


def test_a_correction_says_what_it_did(run: Run, people: None) -> None:
    done = correct(run, "DEAD@example.com", "Alive@Example.com")
    assert (done.status, done.err) == (0, "")
    assert done.items == [
        {
            "address": "dead@example.com",
            "channel": "email",
            "kind": "corrected",
            "status": "opted_in",
            "family": "good",
            "to": "alive@example.com",
            "to_status": "non_marketable",
            "to_family": "bad",
            "contacts": 2,
        }
    ]
    assert ("Bob", "alive@example.com") in held()
    [why] = run("why", "dead@example.com", "--json").items
    assert why["events"][-1]["detail"] == {
        "reason": "misspelt",
        "by": "eve",
        "to": "alive@example.com",
    }
    assert "misspelt (now alive@example.com)" in run("why", "dead@example.com").out
    told = run("correct", "alive@example.com", "a@example.com", "--reason", "so").out
    assert told.startswith("2 contacts hold a@example.com instead of alive@example.com.\n")
    assert run("check", "a@example.com").status == 1


def test_a_malformed_address_is_corrected_as_it_was_written(run: Run, people: None) -> None:
    [item] = correct(run, " Not-An-Address", "cid@example.com").items
    assert (item["address"], item["contacts"]) == ("not-an-address", 1)
    assert ("Cid", "cid@example.com") in held()


@pytest.mark.parametrize(
    ("old", "new", "status", "why"),
    [
        ("dead@example.com", "alive@", 2, "'alive@' is not an email address"),
        ("", "alive@example.com", 2, "'' is not"),
        ("dead@example.com", "DEAD@example.com", 1, "nothing to correct"),
        ("dead@example.com", "+447700900124", 1, "stays within a channel"),
        ("nobody@example.com", "alive@example.com", 1, "never heard of"),
        ("nonsense", "alive@example.com", 2, "'nonsense' is not an email address"),
        ("not-an-address", "+447700900124", 2, "'not-an-address' is not an email address"),
    ],
)
def test_a_correction_that_cannot_be(
    run: Run, people: None, old: str, new: str, status: int, why: str
) -> None:
    events = Event.objects.count()
    done = correct(run, old, new)
    assert (done.status, done.out) == (status, "")
    assert why in done.err
    assert len(done.err.splitlines()) == 1
    assert (held(), Event.objects.count()) == (ALL, events)


def test_a_correction_needs_a_reason(run: Run, people: None) -> None:
    done = run("correct", "dead@example.com", "alive@example.com")
    assert done.status == 2
    assert "--reason" in done.err
    assert run("correct", "dead@example.com", "a@example.com", "--reason", " ").status == 2
    assert held() == ALL


# Purge


def purged(run: Run, *arguments: str) -> dict[str, Any]:
    done = run("purge", *arguments, "--json")
    assert done.status == 0, done.err
    [item] = done.items
    return dict(item)


def test_a_preview_says_what_would_be_and_changes_nothing(run: Run, people: None) -> None:
    since = (PRESENT - timedelta(days=200)).isoformat().replace("+00:00", "Z")
    assert purged(run) == {
        "purged": False,
        "addresses": 1,
        "contacts": 2,
        "contacts_deleted": 1,
        "statuses": [
            {
                "status": "hard_bounced",
                "addresses": 1,
                "contacts": 2,
                "since_first": since,
                "since_last": since,
            }
        ],
        "first": [
            {
                "address": "dead@example.com",
                "channel": "email",
                "status": "hard_bounced",
                "since": since,
                "category": "mailbox_unknown",
                "contacts": 2,
            }
        ],
        "export": None,
    }
    assert purged(run, "--older-than", "0d")["addresses"] == 2
    assert purged(run, "--older-than", "201d")["addresses"] == 0
    assert purged(run, "--status", "invalid", "--older-than", "0d")["contacts_deleted"] == 1
    assert purged(run, "--show", "0")["first"] == []
    done = run("purge")
    assert (done.status, done.err) == (0, "")
    assert "Nothing was changed. With --yes it is done." in done.out
    assert "dead@example.com" in done.out
    assert (
        "No contact holds an address that has been locked" in run("purge", "--status", "locked").out
    )
    assert held() == ALL


def test_with_yes_it_is_done(run: Run, people: None) -> None:
    done = run("purge", "--yes", "--by", "eve", "--reason", "spring cleaning")
    assert done.status == 0
    assert (
        "1 address was taken from 2 contacts; 1 contact without any other address was deleted."
    ) in done.out
    # Who did it is logged, without an address.
    [logged] = done.err.splitlines()
    assert "purged" in logged
    assert "by='eve' reason='spring cleaning'" in logged
    assert "@" not in logged
    assert held() == [ALL[0], *ALL[3:]]
    assert not Contact.objects.filter(first_name="Bob").exists()
    assert run("check", "dead@example.com", "--json").items[0]["reason"] == "hard_bounced"
    assert run("rebuild", "--verify").status == 0
    assert run("import-contacts", "people.csv", "--permission", "asked for it").status == 0
    assert run("check", "dead@example.com", "--json").items[0]["reason"] == "hard_bounced"


@pytest.mark.parametrize("name", ["gone.csv", "gone.xlsx"])
def test_first_it_is_all_written_to_a_file(run: Run, people: None, name: str) -> None:
    assert purged(run, "--export", name)["export"] == name
    assert held() == ALL
    done = run("purge", "--yes", "--export", name)
    assert (done.status, done.out) == (2, "")
    assert f"--export: {name} is there already" in done.err
    assert held() == ALL
    item = purged(run, "--yes", "--export", f"again-{name}")
    assert (item["purged"], item["contacts"], item["export"]) == (True, 2, f"again-{name}")
    assert Path(f"again-{name}").is_file()
    assert purged(run, "--yes", "--export", f"empty-{name}")["export"] is None
    assert not Path(f"empty-{name}").exists()


def test_where_it_cannot_all_be_written_nothing_is_purged(run: Run, people: None) -> None:
    Contact.objects.filter(first_name="Bob").update(fields=json.dumps({"story": "x" * 40_000}))
    done = run("purge", "--yes", "--export", "gone.xlsx", "--json")
    assert (done.status, done.out) == (2, "")
    assert done.err.startswith("Nothing was purged: ")
    assert len(done.err.splitlines()) == 1
    assert held() == ALL


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--status", "opted_in"], "'opted_in' cannot be purged: mail goes to who stands so"),
        (["--status", "nonsense"], "soft_stopped, blocked, locked, non_marketable"),
        (["--older-than", "180"], "--older-than: '180' is not a span of time"),
        (["--export", "gone.txt"], "--export: gone.txt must end in .csv or .xlsx"),
        (["--export", "none/gone.csv"], "--export: none is not a folder"),
    ],
)
def test_bad_usage_of_purge(run: Run, people: None, arguments: list[str], why: str) -> None:
    done = run("purge", "--yes", *arguments)
    assert (done.status, done.out) == (2, "")
    assert why in done.err
    assert len(done.err.splitlines()) == 1
    assert held() == ALL
