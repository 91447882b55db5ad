"""`explain`: mails wherever they are kept, and replies. No Django, no database."""

import io
import json
import mailbox
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from goodstanding.cli import main

FIELDS = [
    *("kind", "recipient", "status", "code", "category"),
    *("disposition", "rule", "text", "provider", "feedback_type", "others"),
]
PLAIN = b"From: ann@example.com\nTo: bob@example.com\nSubject: Lunch?\n\nAt one?\n\nFrom here\n"


def bounce(recipient: str) -> bytes:
    return (
        f"""From: MAILER-DAEMON@example.net
To: sender@example.org
Subject: Undelivered Mail Returned to Sender
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status; boundary=b

--b
Content-Type: text/plain

Your message could not be delivered.

--b
Content-Type: message/delivery-status

Reporting-MTA: dns; mx.example.net

Final-Recipient: rfc822; {recipient}
Action: failed
Status: 5.1.1
Diagnostic-Code: smtp; 550 5.1.1 <{recipient}> no such user

--b--
"""
    ).encode()


def explain(capfd: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, list[Any], str]:
    status = main(["explain", *arguments, "--json"])
    said = capfd.readouterr()
    return status, [json.loads(line) for line in said.out.splitlines()], said.err


def test_a_mail(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "bounce.eml"
    file.write_bytes(bounce("ann@example.com"))
    status, [item], err = explain(capfd, str(file))
    assert (status, err) == (0, "")
    assert list(item) == ["file", "reports"]
    assert item["file"] == str(file)
    [report] = item["reports"]
    assert list(report) == FIELDS
    assert report["kind"] == "bounce"
    assert report["recipient"] == "ann@example.com"
    assert (report["status"], report["code"]) == ("5.1.1", "550")
    assert (report["category"], report["disposition"]) == ("mailbox_unknown", "hard")
    assert report["feedback_type"] is None


def test_an_mbox(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "bounces"
    box = mailbox.mbox(path)
    for message in (bounce("ann@example.com"), PLAIN, bounce("bob@example.com")):
        box.add(message)
    box.flush()
    box.close()
    status, items, _ = explain(capfd, str(path))
    assert status == 0
    assert [item["file"] for item in items] == [f"{path}#{n}" for n in (1, 2, 3)]
    assert items[0]["reports"][0]["recipient"] == "ann@example.com"
    assert items[1]["reports"] == []
    assert items[2]["reports"][0]["recipient"] == "bob@example.com"


def test_a_maildir_and_a_folder(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "kept").mkdir()
    box = mailbox.Maildir(tmp_path / "kept" / "maildir")
    for name in ("ann", "bob"):
        box.add(bounce(f"{name}@example.com"))
    (tmp_path / "kept" / "maildir" / "dovecot-uidlist").write_text("3 V1\n")
    (tmp_path / "kept" / ".hidden").write_text("no mail")
    (tmp_path / "kept" / "plain.eml").write_bytes(PLAIN)
    (tmp_path / "kept" / "zzz").symlink_to(tmp_path / "nowhere")
    status, items, err = explain(capfd, str(tmp_path / "kept"))
    assert (status, err) == (0, "")
    assert len(items) == 3
    assert items[0]["file"] == str(tmp_path / "kept" / "plain.eml")
    assert items[0]["reports"] == []
    told = {item["reports"][0]["recipient"] for item in items[1:]}
    assert told == {"ann@example.com", "bob@example.com"}


def test_standard_input(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(bounce("ann@example.com"))))
    status, [item], _ = explain(capfd, "-")
    assert status == 0
    assert item["file"] == "-"
    assert item["reports"][0]["category"] == "mailbox_unknown"


def test_replies(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    status, [item], _ = explain(capfd, "--reply", "550 5.1.1 no such user")
    assert status == 0
    assert item["file"] is None
    assert item["reports"][0]["category"] == "mailbox_unknown"
    reply = "550 5.4.1 Recipient address rejected: Access denied"
    status, [item], _ = explain(capfd, "--reply", reply, "--provider", "outlook.com")
    assert item["reports"][0]["category"] == "mailbox_unknown"
    file = tmp_path / "replies"
    file.write_bytes(
        b"452 4.2.2 mailbox full\n\n\xff\xfe\n" + b"x" * 200_000 + b"\n550 5.1.1 unknown user"
    )
    status, items, _ = explain(capfd, "--replies", str(file))
    assert status == 0
    assert [item["file"] for item in items] == [f"{file}#{n}" for n in (1, 3, 4, 5)]
    assert items[0]["reports"][0]["category"] == "mailbox_full"
    assert items[3]["reports"][0]["category"] == "mailbox_unknown"


@pytest.mark.skipif(sys.platform != "linux", reason="needs a file that fails when it is read")
def test_what_cannot_be_read_is_named_and_the_rest_is_read(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "plain.eml"
    file.write_bytes(PLAIN)
    status, [item], err = explain(capfd, str(tmp_path / "none"), str(file))
    assert status == 2
    assert item["reports"] == []
    assert err == f"{tmp_path}/none cannot be read: No such file or directory.\n"
    (tmp_path / "before.eml").symlink_to("/proc/self/mem")  # opens, and cannot be read
    status, [item], err = explain(capfd, str(tmp_path))
    assert status == 2
    assert item["file"] == str(file)
    assert err == f"{tmp_path}/before.eml cannot be read: Input/output error.\n"
    assert main(["explain"]) == 2
    assert "Say what to explain" in capfd.readouterr().err


def test_empty_and_enormous_mails(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").write_bytes(b"")
    large = bounce("ann@example.com") + b"x" * 80 + b"\n" * 20_000_000
    (tmp_path / "large").write_bytes(large)
    _, [empty, found], _ = explain(capfd, str(tmp_path))
    assert empty["reports"] == []
    assert found["reports"][0]["category"] == "mailbox_unknown"


def test_nothing_in_a_mail_is_obeyed_by_the_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "--reply", "550 5.1.1 \x1b[31m[bold]no such user\x07"]) == 0
    out = capfd.readouterr().out
    assert "\x1b" not in out
    assert "\x07" not in out
    assert "[bold]no such user" in out


def test_explaining_needs_no_django() -> None:
    script = (
        "import sys; from goodstanding.cli import main;"
        "status = main(['explain', '--reply', '550 5.1.1 no such user', '--json']);"
        "sys.exit(status or ('django' in sys.modules) or ('rich' in sys.modules))"
    )
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)
