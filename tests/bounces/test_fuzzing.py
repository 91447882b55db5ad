"""Whatever is damaged in mails and replies: nothing raises, and what is said stays well formed.

Time is the processor's, and is compared with what the standard library needs for ordinary mails in
the same run. Memory must not grow.
"""

import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from goodstanding.bounces import read, read_reply
from goodstanding.bounces.mailboxes.parting import parted
from tests.bounces import damaging, fuzzing

ROOT = Path(__file__).parents[2]

A_MEGABYTE = 2000
"""How many ordinary mails the standard library parses while a megabyte may be read: some 60 ms."""
TRIES = 3


def damaged(cases: int, seed: int) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.bounces.fuzzing", f"--cases={cases}", f"--seed={seed}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    outcomes = [json.loads(line) for line in done.stdout.splitlines()]
    assert outcomes, done.stderr
    for outcome in outcomes:
        assert not outcome["failed"], "\n\n".join(
            f"{one['wrong']}\nTo read it again: {one['again']}" for one in outcome["failed"]
        )
        assert outcome["grown"] < fuzzing.GROWTH, f"memory grew by {outcome['grown']:.0f} MB"
    assert done.returncode == 0
    assert sum(outcome["count"] for outcome in outcomes) == cases


@pytest.mark.skipif(not hasattr(fuzzing.os, "fork"), reason="runs in forks")
@pytest.mark.parametrize(
    "cases", [20_000, pytest.param(1_000_000, marks=[pytest.mark.soak, pytest.mark.timeout(3600)])]
)
def test_no_damage_does_harm(cases: int) -> None:
    damaged(cases, seed=cases)


def test_what_is_damaged_is_mostly_still_read() -> None:
    cases = [damaging.Case(3, number) for number in range(1000)]
    assert len({case.content for case in cases}) > 980
    assert [case.content for case in cases[:50]] == [
        damaging.Case(3, number).content for number in range(50)
    ]
    kinds = [[one.kind for one in read(case.content)] for case in cases if not case.is_reply]
    assert sum(map(bool, kinds)) > len(kinds) * 0.3
    assert {kind for each in kinds for kind in each} > {"bounce", "complaint", "auto_reply"}


def test_a_flaw_is_seen_and_can_be_read_again(tmp_path: Path) -> None:
    case = damaging.Case(1, 1)
    ordinary = fuzzing.yardstick()
    assert fuzzing.trouble(case, ordinary) is None
    assert "are enough" in (fuzzing.trouble(case, ordinary / 1e6) or "")
    case.content = 5  # type: ignore[assignment]
    assert "Traceback" in (fuzzing.trouble(case, ordinary) or "")


HEAD = (
    b"From: MAILER-DAEMON@example.com\nSubject: Undelivered Mail Returned to Sender\n"
    b"Content-Type: multipart/report; boundary=b\n\n"
)
STATUS = b"--b\nContent-Type: message/delivery-status\n\n"
GROUP = b"Final-Recipient: rfc822; u%d@example.com\nAction: failed\nStatus: 5.1.1\n\n"
PROSE = b"From: MAILER-DAEMON@example.com\nSubject: Undelivered mail\n\n"
FROM = b"From MAILER-DAEMON Thu Jan  1 00:00:00 2026\n"

# name: a mail of about so many bytes
SHAPES: dict[str, Callable[[int], bytes]] = {
    "lines of text": lambda size: (
        HEAD + b"--b\n\n" + b"Your mail was not delivered.\n" * (size // 29)
    ),
    "one line": lambda size: HEAD + b"--b\n\n" + b"x" * size,
    "spaces": lambda size: HEAD + b"--b\n\n" + b" " * size,
    "line ends": lambda size: HEAD + b"\n" * size,
    "carriage returns": lambda size: HEAD + b"\r" * size,
    "addresses": lambda size: HEAD + b"--b\n\n" + b"a@b.example " * (size // 12),
    "lines of addresses": lambda size: (
        HEAD + b"--b\n\n" + b"<a@b.example>: 550 no\n" * (size // 22)
    ),
    "at signs": lambda size: HEAD + b"--b\n\n" + b"@" * size,
    "angles": lambda size: (
        b"From: MAILER-DAEMON@x\nContent-Type: text/html\n\n" + b"<a " * (size // 3)
    ),
    "styles": lambda size: (
        b"From: MAILER-DAEMON@x\nContent-Type: text/html\n\n" + b"<style>" * (size // 7)
    ),
    "styles that end": lambda size: (
        b"From: MAILER-DAEMON@x\nContent-Type: text/html\n\n" + b"<style></STYLE>" * (size // 15)
    ),
    "blanks before an address": lambda size: PROSE + b"\t" * min(size, 40_000) + b"a@b.example",
    "blanks after a word": lambda size: PROSE + b"to" + b" " * min(size, 7900) + b"@ a@b.example",
    "entities": lambda size: (
        b"From: MAILER-DAEMON@x\nContent-Type: text/html\n\n" + b"&#38;" * (size // 5)
    ),
    "recipients": lambda size: HEAD + STATUS + b"".join(GROUP % n for n in range(size // 70)),
    "recipients in many parts": lambda size: (
        HEAD + (STATUS + b"".join(GROUP % n for n in range(300))) * (size // 21_000)
    ),
    "recipients of whom a long notice tells": lambda size: (
        HEAD
        + b"--b\n\n"
        + b"".join(b"u%d@example.com is not known to be there\n" % n for n in range(size // 900))
        + STATUS
        + b"".join(GROUP.replace(b"Status", b"X") % n for n in range(size // 70))
    ),
    "headers": lambda size: b"".join(b"X-%d: y\n" % n for n in range(size // 9)) + HEAD,
    "a folded header": lambda size: b"Subject: x\n" + b" =?utf-8?q?x?=\n" * (size // 15) + HEAD,
    "half encoded words": lambda size: b"Subject: " + b"=?utf-8?q?" * (size // 10) + b"\n" + HEAD,
    "parts": lambda size: HEAD + b"--b\nContent-Type: text/plain\n\nx\n" * (size // 32),
    "boundaries": lambda size: HEAD + b"--b\n" * (size // 4),
    "undeclared parts": lambda size: HEAD + b"--c\nContent-Type: text/plain\n\nx\n" * (size // 32),
    "nested mails": lambda size: b"Content-Type: message/rfc822\n\n" * (size // 31),
    "dashes": lambda size: HEAD + b"\n--" * (size // 3),
    "base64": lambda size: (
        b"From: MAILER-DAEMON@x\nContent-Transfer-Encoding: base64\n\n" + b"QUFB" * (size // 4)
    ),
    "quoted-printable": lambda size: (
        b"From: MAILER-DAEMON@x\nContent-Transfer-Encoding: quoted-printable\n\n"
        + b"=41" * (size // 3)
    ),
    "replies": lambda size: HEAD + b"--b\n\n" + b"<<< 550 5.1.1 no\n" * (size // 17),
    "replies said": lambda size: HEAD + b"--b\n\n" + b"host x said: 550 no " * (size // 20),
    "fields of a complaint": lambda size: (
        HEAD
        + b"--b\nContent-Type: message/feedback-report\n\n"
        + b"Original-Rcpt-To: u@example.com\n" * (size // 32)
    ),
    "JSON": lambda size: HEAD + b"--b\n\n" + b'{"notificationType":' * (size // 20),
    "an mbox in one": lambda size: (FROM + b"A: b\n\n") * (size // 50),
    "lines that begin like an mbox": lambda size: FROM + b"\nFrom x Mon 11:11" * (size // 17),
}


@pytest.fixture(scope="module")
def ordinary() -> float:
    for mail in damaging.mails()[:200]:
        read(mail)  # what is loaded once
    return fuzzing.yardstick()


def grows_evenly(
    do: Callable[[bytes], object], shape: Callable[[int], bytes], ordinary: float
) -> None:
    """A megabyte takes at most twelve times what a quarter takes, and not long."""
    quarter, whole = shape(256 * 1024), shape(1024 * 1024)
    for _ in range(TRIES):
        little = min(fuzzing.taken(lambda: do(quarter)) for _ in range(3))
        much = min(fuzzing.taken(lambda: do(whole)) for _ in range(3))
        if much <= 12 * max(little, ordinary) and much <= A_MEGABYTE * ordinary:
            return
        # What else the machine does may have come between.
        ordinary = fuzzing.yardstick()
    assert much <= 12 * max(little, ordinary)
    assert much <= A_MEGABYTE * ordinary, f"{much * 1000:.0f} ms a megabyte"


@pytest.mark.parametrize("name", SHAPES)
def test_the_time_for_a_mail_is_linear(name: str, ordinary: float) -> None:
    grows_evenly(read, SHAPES[name], ordinary)


@pytest.mark.parametrize("name", SHAPES)
def test_the_time_for_a_reply_is_linear(name: str, ordinary: float) -> None:
    grows_evenly(lambda text: read_reply(text.decode("latin-1")), SHAPES[name], ordinary)


BOXES: dict[str, Callable[[int], bytes]] = {
    **{
        f"one mail of {name}": lambda size, made=made: FROM + made(size)
        for name, made in SHAPES.items()
    },
    "mails": lambda size: (FROM + HEAD + b"x" * 900 + b"\n\n") * (size // 1100),
    "beginnings": lambda size: FROM + b"\nFrom " * (size // 6),
    "beginnings after empty lines": lambda size: FROM + b"\n\nFrom " * (size // 7),
    "days": lambda size: FROM + b"\n\nFrom x" + b" Mon 11:11" * (size // 10),
    "lines of days": lambda size: (
        FROM + (b"\n\nFrom " + b"x Mon " * 30 + b"11:1" * 30) * (size // 307)
    ),
    "quotes": lambda size: FROM + b">" * size + b"From ",
    "lines of quotes": lambda size: FROM + b">>>From \n" * (size // 9),
}


@pytest.mark.parametrize("name", BOXES)
def test_the_time_for_parting_an_mbox_is_linear(name: str, ordinary: float) -> None:
    grows_evenly(lambda box: list(parted(io.BytesIO(box))), BOXES[name], ordinary)
