"""Hostile bytes: nothing raises, and time and memory stay bounded."""

import json
import random
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from goodstanding.bounces import read, read_mail, read_reply

MEGABYTE = 1024 * 1024
SEEDS = [
    mail["text"].lstrip("\n").encode()
    for mail in tomllib.loads((Path(__file__).parent / "reports.toml").read_text())["mail"]
]

REPORT = """
R = (b"From: MAILER-DAEMON@example.com\\nSubject: Undelivered Mail Returned to Sender\\n"
     b"Content-Type: multipart/report; boundary=b\\n\\n")
DSN = (b"--b\\nContent-Type: message/delivery-status\\n\\nReporting-MTA: dns; x\\n\\n"
       b"Final-Recipient: rfc822; u@example.com\\nAction: failed\\nStatus: 5.1.1\\n\\n--b--\\n")
DEEP = b"".join(b"Content-Type: multipart/mixed; boundary=b%d\\n\\n--b%d\\n" % (i, i)
                for i in range(10000))
FIELDS = b"Final-Recipient: rfc822; u@example.com\\nStatus: 5.1.1\\n\\n"
"""

# name: the expression that makes the mail, and whether its one report must still be found
HOSTILE = {
    "50 MB of attachment": (
        "R + b'--b\\nContent-Type: text/plain\\n\\n' + b'A' * 75 * 660000 + b'\\n' + DSN",
        True,
    ),
    "50 MB in lines": ("R + b'--b\\n\\n' + (b'A' * 75 + b'\\n') * 660000 + DSN", True),
    "50 MB of line ends": ("b'\\r\\n' * 25_000_000", False),
    "50 MB of CR": ("R + b'\\r' * 50_000_000", False),
    "50 MB of NUL": ("R + b'\\0' * 50_000_000", False),
    "50 MB of addresses": ("R + b'--b\\n\\n' + b'a@b ' * 12_500_000", False),
    "10,000 parts": ("R + b'--b\\nContent-Type: text/plain\\n\\nx\\n' * 10000 + DSN", False),
    "a million empty parts": ("R + b'--b\\n\\n' * 1_000_000", False),
    "10,000 deep": ("R + b'--b\\n' + DEEP + DSN", False),
    "10,000 messages deep": ("b'Content-Type: message/rfc822\\n\\n' * 10000", False),
    "a 600 KB header of half encoded words": ("b'X: ' + b'=? ' * 200000 + b'\\n' + R + DSN", True),
    "the same, folded": ("b'X: ' + b'=? \\n ' * 120000 + b'\\n' + R + DSN", True),
    "400,000 headers": ("b''.join(b'X-%d: y\\n' % i for i in range(400000)) + R + DSN", True),
    "100,000 headers of a part": (
        "R + b'--b\\n' + b''.join(b'X-%d: y\\n' % i for i in range(100000)) + b'\\nhi\\n' + DSN",
        True,
    ),
    "100,000 recipients": (
        "R + b'--b\\nContent-Type: message/delivery-status\\n\\n' + FIELDS * 100000",
        False,
    ),
    "HTML that never closes": (
        "b'From: postmaster@x\\nContent-Type: text/html\\n\\n' + b'<style><br <' * 100000",
        False,
    ),
    "a million mails in an mbox": (
        "b'From x@example.com Thu Jul  2 12:05:05 2020\\nA: b\\n\\n' * 1_000_000",
        False,
    ),
    "an mbox whose first mail never ends": (
        (
            "b'From x Thu Jul  2 12:05:05 2020\\nContent-Type: multipart/mixed; boundary=b\\n\\n'"
            " + b'From x Thu Jul  2 12:05:05 2020\\nA: b\\n' * 1_000_000"
        ),
        False,
    ),
    "CR only": ("(R + DSN).replace(b'\\n', b'\\r')", True),
    "NUL bytes": ("(R + DSN).replace(b'e', b'\\0e\\0')", True),
}

# Each mail is read in a fork of one process, with no more memory than that above what it holds.
PROBE = (
    REPORT
    + """
import json, os, resource, sys, time
from goodstanding.bounces import read, read_reply
# What is compiled or loaded once is not counted.
read_reply("550 user unknown")
read(b"From: MAILER-DAEMON@example.com\\n\\nunable to deliver")
read(R + DSN)
for name, expression in json.loads(sys.argv[1]).items():
    sys.stdout.flush()
    if os.fork() == 0:
        message = eval(expression)
        used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + int(sys.argv[2]),) * 2)
        began = time.process_time()
        reports = read(message)
        taken = time.process_time() - began
        print(json.dumps([name, taken, len(reports), reports[0].recipient if reports else None]))
        sys.stdout.flush()
        os._exit(0)
    os.wait()
"""
)


@pytest.fixture(scope="module")
def costs() -> dict[str, tuple[float, int, str | None]]:
    mails = json.dumps({name: expression for name, (expression, _) in HOSTILE.items()})
    done = subprocess.run(
        [sys.executable, "-c", PROBE, mails, str(64 * MEGABYTE)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    return {name: (seconds, count, first) for name, seconds, count, first in lines}


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux to limit memory")
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_mail_costs_little(
    name: str, costs: dict[str, tuple[float, int, str | None]]
) -> None:
    assert name in costs, "died of want of memory"
    seconds, count, recipient = costs[name]
    assert seconds < 2
    assert count <= 1000
    if HOSTILE[name][1]:
        assert recipient == "u@example.com"


@given(st.binary(max_size=2000))
@settings(max_examples=300, deadline=None)
def test_no_bytes_raise(message: bytes) -> None:
    read_mail(message)
    read_reply(message.decode("latin-1"))


@given(st.text(max_size=500), st.one_of(st.none(), st.text(max_size=40)))
@settings(max_examples=300, deadline=None)
def test_no_reply_raises(text: str, provider: str | None) -> None:
    report = read_reply(text, provider)
    assert report.kind in ("bounce", "delivered", "not_a_report")


@given(st.sampled_from(SEEDS), st.integers())
@settings(max_examples=400, deadline=None)
def test_no_mutation_of_a_report_raises(seed: bytes, number: int) -> None:
    dice = random.Random(number)
    message = bytearray(seed)
    for _ in range(dice.randrange(1, 12)):
        at = dice.randrange(len(message) + 1)
        match dice.randrange(5):
            case 0:
                del message[at : at + dice.randrange(80)]
            case 1:
                message[at:at] = dice.choice(SEEDS)[: dice.randrange(400)]
            case 2:
                message[at:at] = dice.randbytes(dice.randrange(9))
            case 3:
                message[at:at] = dice.choice(
                    [b"\r", b"\n\n", b"\0", b"\n--r\n", b"=?utf-8?B?", b"@"]
                )
            case _:
                message[at : at + 9] = message[at : at + 9].upper()
    for report in read(bytes(message)):
        assert report.category is not None or report.kind not in ("bounce", "delayed")


def test_time_is_linear_in_a_long_reply() -> None:
    for hostile in (
        *("550 " + "user " * 300_000, "550-" * 300_000, "said: 5" * 100_000),
        *(">>> mail from" * 100_000, "<<< 550 " * 100_000, "in reply to mail from " * 50_000),
    ):
        assert len(read_reply(hostile).text or "") <= 2000


SNS = (
    b'From: no-reply@sns.amazonaws.com\n\n{"notificationType":"%s",'
    b'"%s":{"%sRecipients":[{"emailAddress":"%s","status":"%s","action":"%s"}],'
    b'"complaintFeedbackType":"\\u001b[31m"}}'
)


def test_what_json_may_hold_is_no_code_and_no_address_yet() -> None:
    named = b"ann@example.com"
    [report] = read(SNS % (b"Bounce", b"bounce", b"bounced", named, b"x", b"\\u0007"))
    assert (report.recipient, report.status, report.action) == ("ann@example.com", None, None)
    [report] = read(SNS % (b"Bounce", b"bounce", b"bounced", b"\\u001bann", b"5.1.1", b"failed"))
    assert (report.recipient, report.status) == (None, "5.1.1")
    [report] = read(SNS % (b"Complaint", b"complaint", b"complained", named, b"", b""))
    assert (report.recipient, report.feedback_type) == ("ann@example.com", "abuse")


def test_an_address_has_nothing_that_cannot_be_seen() -> None:
    told = "From: MAILER-DAEMON@example.com\nSubject: Undelivered mail\n\n<%s>: 550 no such user\n"
    [report] = read((told % "ann@exam\u200bple.com").encode())
    assert report.recipient == "ann@example.com"
    for report in read((told % "ann@exam\x1b[31mple.com").encode()):
        assert report.recipient is None or report.recipient.isprintable()


def test_half_a_character_is_written_as_a_question_mark() -> None:
    report = read_reply("550 5.1.1 no such user \ud83d", "\ud83d")
    assert (report.text, report.provider) == ("550 5.1.1 no such user ?", "?")
    assert report.category == "mailbox_unknown"


def test_a_mail_tells_of_so_many_and_no_more() -> None:
    status = b"--b\nContent-Type: message/delivery-status\n\n"
    head = b"From: MAILER-DAEMON@example.com\nContent-Type: multipart/report; boundary=b\n\n"
    group = b"Final-Recipient: rfc822; u%d@example.com\nAction: failed\n\n"
    parts = [status + b"".join(group % (300 * n + m) for m in range(300)) for n in range(5)]
    assert len(read(head + b"".join(parts))) == 400


def test_digits_of_other_scripts_are_no_code() -> None:
    report = read_reply("55\u0660 5.7.\u07c1 no such user")
    assert (report.code, report.status) == (None, None)
