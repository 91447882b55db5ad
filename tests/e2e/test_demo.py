"""The demonstration, through the command line, held against the pretend internet's own book.

What each temper must lead to stands in ``TABLE``, written by hand.
"""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from benchmarks.measuring import children
from tests import postgres
from tests.e2e.parts import wait_for

SEED = 20
CONTACTS = 2000


class Row(NamedTuple):
    """What a mailing to a mailbox of that temper leads to."""

    response: str
    status: str
    refused: str | None = None


# What becomes of a mail, where the address stands then, and why it gets no second one.
TABLE = {
    "accepts": Row("delivered", "opted_in"),
    "greylists": Row("delivered", "opted_in"),
    "too_fast": Row("delivered", "opted_in"),
    "defers_forever": Row("expired", "soft_bouncing"),
    "unknown_user": Row("hard_bounced", "hard_bounced", "hard_bounced"),
    "mailbox_full": Row("soft_bounced", "soft_bouncing"),
    "refuses_reputation": Row("block_bounced", "opted_in"),
    "refuses_content": Row("block_bounced", "opted_in"),
    "reports_unknown": Row("hard_bounced", "hard_bounced", "hard_bounced"),
    "reports_prose": Row("hard_bounced", "hard_bounced", "hard_bounced"),
    "reports_delay": Row("delivered", "opted_in"),
    "out_of_office": Row("delivered", "opted_in"),
    "complains": Row("complained", "complained", "complained"),
    "opens": Row("opened", "opted_in"),
    "privacy_proxy": Row("machine_opened", "opted_in"),
    "image_proxy": Row("opened", "opted_in"),
    "clicks": Row("clicked", "opted_in"),
    "unsubscribes_header": Row("unsubscribed", "list_unsubscribed", "opted_out"),
    "unsubscribes_page": Row("unsubscribed", "opted_out", "opted_out"),
    "unsubscribes_with_reason": Row("unsubscribed", "opted_out_with_feedback", "opted_out"),
    "reports_spam_on_page": Row("unsubscribed", "spam_reported", "spam_reported"),
    "replies": Row("replied", "opted_in"),
    "scanner": Row("machine_clicked", "opted_in"),
}
FAMILIES = {
    "opted_in": "good",
    "soft_bouncing": "bad",
    "hard_bounced": "ugly",
    "complained": "ugly",
    "list_unsubscribed": "bad",
    "opted_out": "bad",
    "opted_out_with_feedback": "bad",
    "spam_reported": "ugly",
    "invalid": "ugly",
    "non_marketable": "bad",
}


def run(environment: dict[str, str], *arguments: str, status: int = 0) -> list[dict[str, Any]]:
    """Run a command; what it printed, an item a line."""
    done = subprocess.run(
        [sys.executable, "-m", "goodstanding", *arguments, "--json"],
        env=environment,
        cwd=environment["GOODSTANDING_HOME"],
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == status, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def world(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[dict[str, Any]]:
    """The demonstration, run once; its folder, its book and its ledger."""
    home = tmp_path_factory.mktemp("demo") / "home"
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GOODSTANDING_")}
    environment.pop("DATABASE_URL", None)
    home.mkdir()
    environment["GOODSTANDING_HOME"] = str(home)
    options = ["--home", str(home), "--seed", str(SEED), "--contacts", str(CONTACTS)]
    with ExitStack() as held:
        if request.config.option.database == "postgresql":
            server = request.getfixturevalue("postgres_server")
            url = held.enter_context(postgres.fresh_database(server))
            options += ["--database-url", url]
            environment["DATABASE_URL"] = url
        run(environment, "demo", *options)
        with (home / "contacts.csv").open(newline="") as file:
            people = list(csv.DictReader(file))
        book = [json.loads(line) for line in (home / "book.jsonl").open()]
        yield {"home": home, "environment": environment, "people": people, "book": book}


@pytest.fixture(scope="module")
def told(world: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """What `goodstanding why` says of every address that the book or the contacts know."""
    known = {entry["recipient"] for entry in world["book"]}
    addresses = sorted(known | set(consents(world["people"])))
    answers = run(world["environment"], "why", *addresses)
    assert len(answers) == len(addresses)
    return {answer["address"]: answer for answer in answers}


PROVIDERS = {
    *("bigmail", "hotlook", "livepost", "yonder", "ymail", "pear", "me.pear", "northwind-group"),
    *("freipost", "webpost", "uni-altstadt", "oldmail", "lettre", "pochta", "tegami"),
    *("bücher-laden", "xn--bcher-laden-thb"),
}


def is_address(text: str) -> bool:
    """Whether the made-up address is one of the well-formed ones."""
    local, _, domain = text.strip().lower().partition("@")
    plain = local and not set(' @,;<>()"') & set(local) and ".." not in local
    return bool(plain and local[0] != "." and local[-1] != ".") and (
        domain.removesuffix(".example") in PROVIDERS and domain.endswith(".example")
    )


def consents(people: list[dict[str, str]]) -> dict[str, set[str]]:
    """Each well-formed address's consents, whichever contact it is from."""
    found: dict[str, set[str]] = {}
    for row in people:
        if is_address(row["email"]):
            local, _, domain = row["email"].strip().lower().rpartition("@")
            address = f"{local}@{domain.encode('idna').decode()}"
            found.setdefault(address, set()).add(row["consent"])
    return found


def test_every_temper_is_met_at_least_twenty_times(world: dict[str, Any]) -> None:
    met = Counter(dict.fromkeys(TABLE, 0))
    for temper, recipient in {(e["temper"], e["recipient"]) for e in world["book"]}:
        del recipient
        met[temper] += 1
    assert set(met) == set(TABLE)
    assert min(met.values()) >= 20, met


def test_every_delivery_and_standing_is_what_the_table_says(
    world: dict[str, Any], told: dict[str, dict[str, Any]]
) -> None:
    tempers = {entry["recipient"]: entry["temper"] for entry in world["book"]}
    differences = []
    for address, temper in sorted(tempers.items()):
        row = TABLE[temper]
        answer = told[address]
        responses = {
            each["mailing"]: each["response"]
            for each in answer["deliveries"]
            if each["response"] != "skipped:duplicate"
        }
        expected: dict[str, str] = {}
        sent_before = False
        for mailing in ("first", "second"):
            if responses.get(mailing) == "skipped:control_group":
                expected[mailing] = "skipped:control_group"
            elif sent_before and row.refused:
                expected[mailing] = f"skipped:{row.refused}"
            else:
                expected[mailing] = row.response
                sent_before = True
        if responses != expected or answer["status"] != row.status:
            differences.append((address, temper, responses, expected, answer["status"]))
        if answer["family"] != FAMILIES[row.status]:
            differences.append((address, temper, answer["family"], row.status))
    assert not differences, f"{len(differences)} of {len(tempers)}: {differences[:5]}"


def test_whoever_must_get_nothing_got_nothing(
    world: dict[str, Any], told: dict[str, dict[str, Any]]
) -> None:
    reached = {entry["recipient"] for entry in world["book"]}
    wrong = []
    for address, consent in consents(world["people"]).items():
        if "opted_out" in consent:
            status, reason = "opted_out", "skipped:opted_out"
        elif consent == {""}:
            status, reason = "non_marketable", "skipped:never_opted_in"
        else:
            continue
        answer = told[address]
        responses = {each["response"] for each in answer["deliveries"]} - {"skipped:duplicate"}
        if address in reached or answer["status"] != status or responses != {reason}:
            wrong.append((address, consent, answer["status"], responses))
    assert not wrong, wrong[:5]


def test_the_control_group_got_nothing(
    world: dict[str, Any], told: dict[str, dict[str, Any]]
) -> None:
    got = Counter(entry["recipient"] for entry in world["book"] if entry["did"] == "accepted")
    drawn = 0
    for address, answer in told.items():
        responses = [each["response"] for each in answer["deliveries"]]
        drawn += responses.count("skipped:control_group")
        sent = [r for r in responses if not r.startswith("skipped:")]
        assert got[address] <= len(sent), (address, responses)
    assert 20 <= drawn <= 140


def test_nobody_was_sent_the_same_mail_twice(world: dict[str, Any]) -> None:
    taken = Counter(
        (entry["recipient"], entry["message_id"])
        for entry in world["book"]
        if entry["did"] == "accepted"
    )
    assert taken
    assert max(taken.values()) == 1


def test_malformed_and_missing_addresses_are_skipped_for_that(world: dict[str, Any]) -> None:
    [first] = run(world["environment"], "report", "mailing", "first")
    rows = world["people"]
    missing = sum(not row["email"].strip() for row in rows)
    malformed = {
        tuple(sorted(row.items()))
        for row in rows
        if row["email"].strip() and not is_address(row["email"])
    }
    assert first["state"] == "completed"
    assert first["skipped"]["no_address"] <= missing
    assert 0 < first["skipped"]["invalid_address"] <= len(malformed)
    assert first["scheduled"] == sum(first["skipped"].values()) + sum(first["responses"].values())


def test_opens_and_clicks_are_those_of_people(world: dict[str, Any]) -> None:
    [first], [second] = (
        run(world["environment"], "report", "mailing", name) for name in ("first", "second")
    )
    clicked = sum(entry["did"] == "clicked" for entry in world["book"])
    assert first["clicks"] + second["clicks"] == clicked
    opened = sum(
        entry["did"] == "opened" and entry["temper"] != "privacy_proxy" for entry in world["book"]
    )
    assert first["opens"] + second["opens"] == opened


def test_the_record_is_what_its_events_make_of_it(world: dict[str, Any]) -> None:
    run(world["environment"], "rebuild", "--verify")


def test_the_report_adds_up_to_the_addresses(
    world: dict[str, Any], told: dict[str, dict[str, Any]]
) -> None:
    counted: Counter[str] = Counter()
    for line in run(world["environment"], "report", "statuses"):
        counted[line["status"]] += line["count"]
    of_addresses = Counter(answer["status"] for answer in told.values())
    counted.pop("invalid")
    assert counted == of_addresses


def test_check_says_what_the_second_broadcast_did(
    world: dict[str, Any], told: dict[str, dict[str, Any]]
) -> None:
    refused = [a for a, answer in told.items() if answer["status"] == "hard_bounced"][:3]
    allowed = [a for a, answer in told.items() if answer["status"] == "opted_in"][:3]
    answers = run(world["environment"], "check", *refused, status=1)
    assert {(a["allowed"], a["reason"]) for a in answers} == {(False, "hard_bounced")}
    answers = run(world["environment"], "check", *allowed)
    assert {(a["allowed"], a["reason"]) for a in answers} == {(True, None)}


def test_what_was_left_behind_is_nothing(world: dict[str, Any]) -> None:
    home: Path = world["home"]
    log = (home / "serve.log").read_text()
    assert "Traceback" not in log, log[-2000:]


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_where_its_server_ends_the_demonstration_says_what_the_server_said(tmp_path: Path) -> None:
    home = tmp_path / "home"
    command = [sys.executable, "-m", "goodstanding", "demo", "--home", str(home), "--json"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as showing:
        log = home / "serve.log"
        wait_for(lambda: log.exists() and "Ctrl-C" in log.read_text())
        [server] = [
            child
            for child in children(showing.pid)
            if Path(f"/proc/{child}/cmdline").read_bytes().endswith(b"\0serve\0")
        ]
        os.kill(server, signal.SIGTERM)
        assert showing.stderr is not None
        said = showing.stderr.read()
    assert showing.returncode == 2
    assert "did not come to its end. The server said: Web on http://127.0.0.1" in said
