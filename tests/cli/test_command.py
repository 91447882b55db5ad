"""The command: what it prints where, and with which exit status."""

import json
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from goodstanding.ledger.models import Address
from tests.cli.conftest import Run

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")

PRESENT = datetime.now(UTC).replace(microsecond=0)


def ago(days: float) -> str:
    return (PRESENT - timedelta(days=days)).isoformat()


def lines(*events: dict[str, Any]) -> str:
    return "".join(json.dumps(event) + "\n" for event in events)


def of(kind: str, days: float, name: str, **said: Any) -> dict[str, Any]:
    return {"kind": kind, "occurred_at": ago(days), "address": f"{name}@example.com", **said}


HISTORY = lines(
    of("opted_in", 9, "ann"),
    of("sent", 8, "ann", mailing="spring"),
    of("opened", 7, "ann", mailing="spring"),
    of("opted_in", 9, "bob"),
    of("sent", 8, "bob", mailing="spring"),
    of("bounced", 8, "bob", mailing="spring", detail={"text": "550 5.1.1 no such user"}),
)


def test_from_a_file_of_events_to_answers(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "history.jsonl"
    file.write_text(HISTORY)
    done = run("import-events", str(file), "--json")
    assert done.status == 0
    assert done.err == ""
    assert done.items == [
        {
            "file": str(file),
            "read": 6,
            "stored": 6,
            "repeated": 0,
            "bad": 0,
            "problems": [],
            "words": 0,
        }
    ]

    done = run("check", "ANN@example.com", "bob@example.com", "+49 171 1234567", "--json")
    assert done.status == 1
    assert done.err == ""
    assert [list(item) for item in done.items] == [
        ["address", "channel", "allowed", "reason", "status", "family", "why"]
    ] * 3
    ann, bob, number = done.items
    assert ann["address"] == "ann@example.com"
    assert (ann["allowed"], ann["reason"]) == (True, None)
    assert (ann["status"], ann["family"]) == ("opted_in", "good")
    assert (bob["allowed"], bob["reason"]) == (False, "hard_bounced")
    assert (bob["status"], bob["family"]) == ("hard_bounced", "ugly")
    assert (number["address"], number["channel"]) == ("+491711234567", "sms")
    assert (number["reason"], number["status"]) == ("never_opted_in", "non_marketable")
    assert run("check", "ann@example.com", "--purpose", "sequence").status == 0
    assert run("check", "bob@example.com", "--at", ago(8.5)).status == 0

    done = run("why", "bob@example.com", "--json")
    assert (done.status, done.err) == (0, "")
    [why] = done.items
    assert why["names"]["keap"] == "Hard Bounce"
    assert "no such user" in why["explanation"]
    assert [event["kind"] for event in why["events"]] == ["opted_in", "sent", "bounced"]
    assert why["deliveries"][0]["response"] == "hard_bounced"
    told = run("why", "bob@example.com").out
    assert "550 5.1.1 no such user" in told
    assert "\x1b" not in told

    done = run("report", "statuses", "--vocabulary", "keap", "--lang", "es", "--json")
    assert done.items == [
        {
            "status": "hard_bounced",
            "name": "Hard Bounce",
            "family": "ugly",
            "channel": "email",
            "count": 1,
        },
        {
            "status": "opted_in",
            "name": "Unconfirmed",
            "family": "good",
            "channel": "email",
            "count": 1,
        },
    ]
    done = run("report", "mailing", "spring", "--json")
    [report] = done.items
    assert list(report) == [
        *("mailing", "state", "started_at", "ended_at", "scheduled", "skipped", "sent"),
        *("responses", "opens", "clicks", "unsubscribes", "complaints"),
    ]
    assert report["state"] == "completed"
    assert (report["scheduled"], report["skipped"], report["sent"]) == (2, {}, 2)
    assert report["responses"] == {"hard_bounced": 1, "opened": 1}
    assert report["started_at"] == ago(8).replace("+00:00", "Z")
    assert run("report", "mailing", "autumn").status == 2
    assert "spring: completed" in run("report", "mailing", "spring").out

    assert run("rebuild", "--verify").status == 0
    assert run("rebuild", "--json").out == ""


def test_bad_lines_are_named_and_the_others_kept(run: Run) -> None:
    said = HISTORY + "{\n" + lines(of("exploded", 1, "ann"))
    done = run("import-events", "-", "--json", said=said)
    assert done.status == 2
    [item] = done.items
    assert (item["stored"], item["bad"]) == (6, 2)
    assert [problem["line"] for problem in item["problems"]] == [7, 8]
    first, second = done.err.splitlines()
    assert first.startswith("Line 7: It is not JSON")
    assert second == "Line 8: 'exploded' is not a kind of event."

    done = run("import-events", "-", "--strict", said=lines(of("opted_in", 1, "eve")) + "{")
    assert done.status == 2
    assert "Nothing was kept." in done.out
    assert run("check", "eve@example.com").status == 1


def test_contacts(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "people.csv"
    file.write_text("Email,First name\nann@example.com,Ann\nbob@example.com,Bob\n")
    done = run("import-contacts", str(file), "--permission", "asked for it", "--json")
    assert (done.status, done.err) == (0, "")
    [item] = done.items
    assert (item["rows"], item["contacts_new"], item["addresses"]) == (2, 2, 2)
    assert run("check", "ann@example.com", "bob@example.com").status == 0
    done = run("import-contacts", str(tmp_path / "none.csv"))
    assert (done.status, done.out) == (2, "")
    assert "none.csv" in done.err
    assert len(done.err.splitlines()) == 1


def test_operators_acts(run: Run) -> None:
    done = run("opt-in", "ann@example.com", "--reason", "by phone", "--by", "bob", "--json")
    assert done.items == [
        {
            "address": "ann@example.com",
            "channel": "email",
            "kind": "admin_opted_in",
            "status": "opted_in",
            "family": "good",
        }
    ]
    assert "is now blocked (bad)" in run("block", "ann@example.com", "--reason", "left").out
    [why] = run("why", "ann@example.com", "--json").items
    assert why["events"][0]["detail"] == {"reason": "by phone", "by": "bob"}
    run("import-events", "-", said=lines(of("opted_out", 1, "eve")))
    done = run("opt-in", "eve@example.com", "--reason", "she should like it")
    assert (done.status, done.out) == (1, "")
    assert "only that person can undo it" in done.err
    assert len(done.err.splitlines()) == 1
    done = run("block", "eve@example.com")
    assert (done.status, done.out) == (2, "")
    assert "--reason" in done.err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["check", "ann@", "a b@example.com"], "'ann@' is not an email address"),
        (["check", "ann@example.com", "--purpose", "spam"], "'spam' is not a purpose"),
        (["check", "ann@example.com", "--at", "2026-01-01"], "RFC 3339 with an offset"),
        (["check", "ann@example.com", "--policy", "nonsense"], "no policy 'nonsense'"),
        (["check"], "Missing argument"),
        (["chekc"], "Did you mean 'check'"),
        (["report", "statuses", "--vocabulary", "klingon"], "no vocabulary 'klingon'"),
        (["import-events", "no-such-file"], "no-such-file cannot be read"),
        (["why", "--nonsense"], "No such option: --nonsense"),
    ],
)
def test_bad_usage(run: Run, arguments: list[str], says: str) -> None:
    done = run(*arguments)
    assert done.status == 2
    assert done.out == ""
    assert says in done.err


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({"GOODSTANDING_POLICIE": "x"}, "GOODSTANDING_POLICIE is not a setting"),
        ({"GOODSTANDING_POLICY": "nonsense"}, "there is no policy 'nonsense'"),
        ({"GOODSTANDING_LOG_LEVEL": "loud"}, "'loud' is not one of"),
        ({"DATABASE_URL": "mysql://example.com/x"}, "postgresql://"),
        ({"DATABASE_URL": "postgresql://a:b@127.0.0.1:1/x"}, "The database cannot be used"),
    ],
)
def test_a_wrong_setting_is_an_error_at_start(
    process: Run, variables: dict[str, str], says: str
) -> None:
    done = process("check", "ann@example.com", **variables)
    assert (done.status, done.out) == (2, "")
    assert says in done.err
    assert len(done.err.splitlines()) == 1


def test_a_rebuild_says_where_what_is_stored_differs(run: Run) -> None:
    run("import-events", "-", said=HISTORY)
    Address.objects.filter(value="bob@example.com").update(status="opted_in")
    done = run("rebuild", "--verify", "--json")
    assert done.status == 1
    assert "standing" in done.items[0]["what"]
    assert done.err.startswith("What is stored differs from the events")
    assert run("rebuild").status == 0
    assert run("rebuild", "--verify").status == 0


def test_a_process_remembers_what_another_was_told(process: Run) -> None:
    done = process("import-events", "-", "--json", said=HISTORY)
    assert (done.status, done.err) == (0, "")
    assert done.items[0]["stored"] == 6
    done = process("check", "ann@example.com", "bob@example.com", "--json")
    assert (done.status, done.err) == (1, "")
    assert [item["reason"] for item in done.items] == [None, "hard_bounced"]
    done = process("rebuild", "--verify")
    assert (done.status, done.err) == (0, "")


def test_two_that_begin_at_once_do_not_both_make_the_tables(environment: dict[str, str]) -> None:
    command = [sys.executable, "-m", "goodstanding", "check", "ann@example.com", "--json"]
    both = [
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for _ in range(2)
    ]
    for process in both:
        out, err = process.communicate(timeout=60)
        assert (process.returncode, err) == (1, b"")
        assert json.loads(out)["reason"] == "never_opted_in"


def test_who_stops_reading_hears_no_complaint(environment: dict[str, str], tmp_path: Path) -> None:
    replies = tmp_path / "replies"
    replies.write_text("550 5.1.1 no such user\n" * 20_000)
    command = [sys.executable, "-m", "goodstanding", "explain", "--replies", str(replies), "--json"]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert json.loads(process.stdout.readline())["file"] == f"{replies}#1"
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(60) == 0


def test_ctrl_c_ends_it_without_a_traceback(environment: dict[str, str]) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "goodstanding", "explain", "--replies", "/dev/stdin", "--json"],
        env=environment | {"PYTHONUNBUFFERED": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"550 5.1.1 no such user\n")
        process.stdin.flush()
        process.stdout.readline()  # now it waits for more
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
        assert process.returncode == 130
        assert err == b""


def test_help_teaches_and_says_which_version_it_is(process: Run) -> None:
    done = process("--version")
    assert (done.status, done.out.strip(), done.err) == (0, "0.1.0", "")
    told = process("--help").out
    for command in ("explain", "import-events", "check", "why", "report", "rebuild", "opt-in"):
        assert command in told


def test_each_help_has_an_example() -> None:
    from goodstanding.cli import COMMANDS, app

    os.environ.setdefault("COLUMNS", "100")
    from typer.testing import CliRunner

    for name in COMMANDS:
        done = CliRunner().invoke(app, [name, "--help"])
        assert done.exit_code == 0, name
        assert f"goodstanding {name}" in " ".join(done.output.split()), name
        assert "Example" in done.output, name
