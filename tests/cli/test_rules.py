"""`rules`, and `--rules FILE` elsewhere."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from goodstanding.bounces import use_rules
from goodstanding.cli import main

OURS = """
[[rule]]
name = "exchange-team"
category = "mailbox_full"
example = "550 5.1.1 user unknown: ask the exchange team"
counter = "550 5.1.1 user unknown"
patterns = ["ask the [a-z]+ team"]
"""
SAID = "550 5.1.1 user unknown: ask the exchange team"


@pytest.fixture
def ours(tmp_path: Path) -> Iterator[Path]:
    file = tmp_path / "ours.toml"
    file.write_text(OURS)
    yield file
    use_rules(None)


def test_rules_in_order(ours: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["rules", "--rules", str(ours)]) == 0
    assert capfd.readouterr().out == "One rule, in order.\n"
    assert main(["rules", "--rules", str(ours), "--json"]) == 0
    assert capfd.readouterr().out == ""


def test_what_is_found_is_told_a_line_each(ours: Path, capfd: pytest.CaptureFixture[str]) -> None:
    ours.write_text(OURS.replace('team"]', 'team", "of no use"]'))
    assert main(["rules", "--rules", str(ours)]) == 1
    said = capfd.readouterr()
    assert said.out == (
        f"{ours}: rule exchange-team: never matched: the pattern of no use matches no example:"
        " give one in examples.\n"
    )
    assert main(["rules", "--rules", str(ours), "--json"]) == 1
    said = capfd.readouterr()
    assert said.err == ""
    [item] = [json.loads(line) for line in said.out.splitlines()]
    assert list(item) == ["fault", "file", "rule", "pattern", "says"]
    assert (item["fault"], item["pattern"]) == ("never_matched", "of no use")


def test_they_are_tried_on_replies_and_on_mails(
    ours: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    ours.write_text(OURS.replace('team"]', 'team", "of no use", "nor of this"]'))
    (tmp_path / "replies").write_text("550 of no use\n\n")
    folder = tmp_path / "mails"
    folder.mkdir()
    (folder / "one.eml").write_text(
        "From: MAILER-DAEMON@example.net\nSubject: Undelivered Mail Returned to Sender\n"
        "Content-Type: multipart/report; report-type=delivery-status; boundary=b\n\n"
        "--b\nContent-Type: message/delivery-status\n\nReporting-MTA: dns; mx.example.net\n\n"
        "Final-Recipient: rfc822; ann@example.com\nAction: failed\nStatus: 5.0.0\n"
        "Diagnostic-Code: smtp; 550 nor of this\n\n--b--\n"
    )
    arguments = ["--replies", str(tmp_path / "replies"), "--against", str(folder)]
    assert main(["rules", "--rules", str(ours), *arguments]) == 0
    assert main(["rules", "--rules", str(ours), "--replies", str(tmp_path / "nowhere")]) == 2
    assert "cannot be read" in capfd.readouterr().err


@pytest.mark.parametrize("command", [["rules"], ["explain", "--reply", SAID]])
def test_a_wrong_file_is_refused(
    command: list[str], ours: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    ours.write_text(OURS.replace("mailbox_full", "gone") + OURS.replace("mailbox_full", "lost"))
    assert main([*command, "--rules", str(ours)]) == 2
    said = capfd.readouterr()
    assert said.out == ""
    assert said.err == (
        f"{ours}: rule exchange-team: no such category: gone.\n"
        f"{ours}: rule exchange-team: no such category: lost.\n"
    )


def test_explain_reads_by_them(ours: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "--rules", str(ours), "--reply", SAID, "--json"]) == 0
    [report] = json.loads(capfd.readouterr().out)["reports"]
    assert (report["rule"], report["category"]) == ("exchange-team", "mailbox_full")
    assert report["others"][0] == {
        "rule": "user-unknown",
        "category": "mailbox_unknown",
        "words": "user unknown",
    }
    assert main(["explain", "--rules", str(ours), "--reply", SAID]) == 0
    shown = capfd.readouterr().out
    assert "also considered" in shown
    assert "mailbox_unknown: user-unknown by “user unknown”" in shown


def run(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    code = "import sys; from goodstanding.cli import main; sys.exit(main())"
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_what_is_heard_is_read_by_those_that_are_set(
    environment: dict[str, str], ours: Path, tmp_path: Path
) -> None:
    environment["GOODSTANDING_BOUNCE_RULES"] = str(ours)
    event = {
        "kind": "bounced",
        "occurred_at": "2026-01-02T03:04:05Z",
        "address": "ann@example.com",
        "detail": {"text": SAID},
    }
    (tmp_path / "events").write_text(json.dumps(event))
    done = run(environment, "import-events", str(tmp_path / "events"))
    assert done.returncode == 0, done.stderr
    why = json.loads(run(environment, "why", "ann@example.com", "--json").stdout)
    assert '"category": "mailbox_full"' in json.dumps(why)
    assert "exchange-team" in json.dumps(why)
    # Without them the same words mean what they did: reading again finds the difference.
    del environment["GOODSTANDING_BOUNCE_RULES"]
    again = run(environment, "reread", "--json")
    assert "ann@example.com" in again.stdout, again.stderr


def test_a_setting_that_names_a_wrong_file_is_an_error_at_start(
    environment: dict[str, str], ours: Path
) -> None:
    ours.write_text("[[rule]]\nname = 'a'")
    environment["GOODSTANDING_BOUNCE_RULES"] = str(ours)
    done = run(environment, "check", "ann@example.com")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"setting bounce_rules: {ours}: rule a: ")
