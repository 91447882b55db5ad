"""Numbers in the form of their country, and SMS kept apart from email."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from django.conf import settings

from tests.cli.conftest import Run

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")

NUMBER = "+447700900123"
WRITTEN = (
    "07700 900123",
    "(07700) 900-123",
    "0044 7700 900123",
    "+44 (0)7700 900123",
    "\uff10\uff17\uff17\uff10\uff10 900123",
)


@pytest.fixture(autouse=True)
def in_britain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "OPTIONS", msgspec.structs.replace(settings.OPTIONS, region="GB"))


@pytest.fixture
def imported(run: Run, tmp_path: Path) -> None:
    """Ann, who agreed, with an email address and a number."""
    file = tmp_path / "people.csv"
    file.write_text("email,phone,first_name\nann@example.com,07700 900123,Ann\n")
    done = run("import-contacts", str(file), "--permission", "ticked the box", "--json")
    assert (done.status, done.err) == (0, "")
    assert done.items[0]["malformed"] == 0


def said(kind: str, address: str, at: str = "2026-03-01T09:30:00Z", **more: Any) -> str:
    return json.dumps({"kind": kind, "occurred_at": at, "address": address, **more}) + "\n"


def by_sms(text: str, at: str, address: str = "07700 900 123") -> str:
    return said("replied", address, at, channel="sms", mailing="spring", detail={"text": text})


def allowed(run: Run, *arguments: str) -> dict[str, bool]:
    done = run("check", "ann@example.com", "07700900123", *arguments, "--json")
    assert [item["channel"] for item in done.items] == ["email", "sms"]
    return {item["address"]: item["allowed"] for item in done.items}


@pytest.mark.parametrize("written", WRITTEN)
def test_every_command_takes_numbers_as_people_write_them(
    run: Run, imported: None, written: str
) -> None:
    done = run("check", written, "--json")
    assert (done.status, done.items[0]["address"], done.items[0]["channel"]) == (0, NUMBER, "sms")
    assert done.items[0]["status"] == "opted_in"
    [why] = run("why", written, "--json").items
    assert (why["address"], [each["kind"] for each in why["events"]]) == (NUMBER, ["imported"])
    event = said("sent", written, channel="sms", mailing="spring")
    assert run("import-events", "-", said=event).status == 0
    for act in ("opt-out", "opt-in", "block", "unblock", "lock", "unlock", "invalid"):
        done = run(act, written, "--reason", "asked for it", "--json")
        assert (done.status, done.items[0]["address"]) == (0, NUMBER)
    [why] = run("why", NUMBER, "--json").items
    assert len(why["events"]) == 9


def test_without_a_region_a_number_needs_its_country_code(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "OPTIONS", msgspec.structs.replace(settings.OPTIONS, region=None))
    for arguments in (["check", "07700 900123"], ["opt-out", "07700 900123", "--reason", "x"]):
        done = run(*arguments)
        assert (done.status, done.out) == (2, "")
        assert "needs a plus sign and a country code" in done.err
    assert run("check", "+44 7700 900123").status == 1


def test_a_region_of_the_command_line_that_there_is_not(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "people.csv"
    file.write_text("phone\n+447700900123\n")
    done = run("import-contacts", str(file), "--region", "UK")
    assert (done.status, done.out) == (2, "")
    assert "'UK' is not a country's two letters, such as GB." in done.err
    assert run("check", NUMBER, "--json").items[0]["status"] == "non_marketable"


def test_a_stop_by_sms_leaves_mails_alone_and_a_start_brings_back(
    run: Run, imported: None, tmp_path: Path
) -> None:
    assert allowed(run) == {"ann@example.com": True, NUMBER: True}
    sent = said("sent", NUMBER, channel="sms", mailing="spring")
    stop = by_sms("STOP", "2026-03-01T10:00:00Z")
    done = run("import-events", "-", said=sent + stop)
    assert "2 lines read: 2 events stored" in done.out
    assert "Opt-outs and opt-ins read in replies by SMS: 1." in done.out
    assert allowed(run) == {"ann@example.com": True, NUMBER: False}
    assert not allowed(run, "--purpose", "transactional")[NUMBER]

    [why] = run("why", "07700900123", "--json").items
    assert why["status"] == "opted_out"
    assert "“STOP”" in why["explanation"]
    assert [each["kind"] for each in why["events"]][:3] == ["sent", "replied", "opted_out"]
    assert why["deliveries"][0]["response"] == "unsubscribed"
    [report] = run("report", "mailing", "spring", "--json").items
    assert report["unsubscribes"] == 1

    file = tmp_path / "again.csv"
    file.write_text("email,phone\nann@example.com,07700 900123\n")
    run("import-contacts", str(file), "--permission", "ticked the box, they say")
    done = run("opt-in", "07700 900123", "--reason", "she should like it")
    assert done.status == 1
    assert "only that person can undo it" in done.err
    assert allowed(run) == {"ann@example.com": True, NUMBER: False}

    run("import-events", "-", said=by_sms("Start", "2026-03-02T10:00:00Z"))
    assert allowed(run) == {"ann@example.com": True, NUMBER: True}
    assert run("rebuild", "--verify").status == 0


def test_an_opt_out_by_email_leaves_sms_alone(run: Run, imported: None) -> None:
    run("import-events", "-", said=said("list_unsubscribed", "ann@example.com"))
    assert allowed(run) == {"ann@example.com": False, NUMBER: True}
    answer = said("replied", "ann@example.com", "2026-03-02T10:00:00Z", detail={"text": "START"})
    done = run("import-events", "-", said=answer)
    assert "SMS" not in done.out
    assert allowed(run) == {"ann@example.com": False, NUMBER: True}
