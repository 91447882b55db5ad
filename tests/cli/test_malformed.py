"""Malformed addresses that an import kept: `check` and `why` answer about them."""

from pathlib import Path

import pytest

from goodstanding.ledger.models import Address
from tests.cli.conftest import Run

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")

KEPT = [
    ("cai@@example.com", "cai@@example.com", "email"),
    (" Cai@@Example.COM ", "cai@@example.com", "email"),
    ("no-at-sign", "no-at-sign", "email"),
    ("0123", "0123", "sms"),
    ("Ask Ann", "ask ann", "sms"),
]
"""As it is asked about, as it was kept, and on which channel."""


@pytest.fixture
def kept(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "people.csv"
    file.write_text(
        "email,phone,first name\nCai@@example.com,0123,Cai\nno-at-sign,Ask Ann,Bob\n"
        "ann@example.com,,Ann\n"
    )
    done = run("import-contacts", str(file), "--permission", "ticked the box", "--json")
    assert (done.status, done.items[0]["malformed"]) == (0, 4)


@pytest.mark.parametrize(("text", "value", "channel"), KEPT)
def test_what_was_kept_can_be_asked_about(
    run: Run, kept: None, text: str, value: str, channel: str
) -> None:
    done = run("check", text, "--json")
    [item] = done.items
    assert (done.status, done.err) == (1, "")
    assert (item["address"], item["channel"]) == (value, channel)
    assert (item["status"], item["reason"]) == ("invalid", "invalid_address")
    done = run("why", text, "--json")
    [item] = done.items
    assert (done.status, item["address"], item["status"]) == (0, value, "invalid")
    assert "found to be invalid" in item["explanation"]
    [event] = item["events"]
    assert event["kind"] == "found_invalid"
    assert event["detail"]["reason"].endswith(".")


def test_among_others_each_has_its_answer_in_the_order_asked(run: Run, kept: None) -> None:
    done = run("check", "ann@example.com", "cai@@example.com", "0123", "--json")
    assert [item["reason"] for item in done.items] == [None, "invalid_address", "invalid_address"]


@pytest.mark.parametrize("command", ["check", "why"])
def test_what_was_never_kept_is_bad_input(run: Run, kept: None, command: str) -> None:
    known = Address.objects.count()
    done = run(command, "ann@example.com", "dee@@example.com", "cai@@example.com", "no\ud800", "")
    assert (done.status, done.out) == (2, "")
    assert [line.partition(" is not ")[0][-19:] for line in done.err.splitlines()] == [
        *("'dee@@example.com'", "'no\\ud800'", "''")
    ]
    assert Address.objects.count() == known, "asking keeps nothing"


def test_one_that_was_kept_on_both_channels_is_the_one_it_looks_like(
    run: Run, tmp_path: Path
) -> None:
    file = tmp_path / "people.csv"
    file.write_text("email,phone\n0123,0123\nnobody,nobody\n")
    assert run("import-contacts", str(file)).status == 0
    asked = run("why", "0123", "nobody", "--json").items
    assert [item["channel"] for item in asked] == ["sms", "email"]


@pytest.mark.parametrize("act", ["unblock", "opt-in", "invalid"])
def test_acts_are_not_done_to_it(run: Run, kept: None, act: str) -> None:
    done = run(act, "cai@@example.com", "--reason", "so")
    assert (done.status, done.out) == (2, "")
    assert "is not an email address" in done.err
