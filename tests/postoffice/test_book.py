"""The book tells who was sent what, whole and at any moment."""

from __future__ import annotations

import json
import smtplib
import threading
from collections.abc import Callable
from email import policy
from email.message import EmailMessage

import pytest

from goodstanding.postoffice.contents import hash_of
from tests.postoffice.neighbours import PostOffice, wait_for
from tests.postoffice.test_limits import PEAR, dial, post

Open = Callable[..., PostOffice]


def mail(token: str, text: str = "Grüße", *, encoding: str = "quoted-printable") -> bytes:
    """Write a mail as a sender does for one delivery."""
    message = EmailMessage(policy=policy.SMTP)
    message["From"] = "The News <news@example.com>"
    message["Subject"] = "Grüße, Ann"
    message["Message-ID"] = f"<{token}@example.com>"
    message["Date"] = f"Thu, 01 Jan 2026 00:00:{len(token):02d} +0000"
    message["List-Unsubscribe"] = f"<https://example.com/u/{token}>"
    message.set_content(f"{text}\nhttps://example.com/c/{token}\n", cte=encoding)
    html = f'<p>{text} <a href="https://example.com/c/{token}">x</a><img src="https://e.example/p/{token}">'
    message.add_alternative(html, subtype="html", cte=encoding)
    message.set_boundary(f"=_{token}")
    return message.as_bytes()


def test_the_hash_knows_a_mail_again_whatever_belongs_to_the_delivery() -> None:
    one = hash_of(mail("abc"))
    assert len(one) == 16
    assert hash_of(mail("another-" * 20)) == one
    assert hash_of(mail("abc", encoding="base64")) == one
    assert hash_of(mail("abc", "Grüsse")) != one
    assert hash_of(mail("abc").replace(b"Ann", b"Ben", 1)) != one or b"Ann" not in mail("abc")
    plain = b"Subject: x\r\nMessage-ID: <%s@example.com>\r\n\r\nHello %s\r\n"
    assert hash_of(plain % (b"1", b"Ann")) == hash_of(plain % (b"2", b"Ann"))
    assert hash_of(plain % (b"1", b"Ann")) != hash_of(plain % (b"1", b"Ben"))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\r\n\r\n",
        b"no header at all",
        b"Subject: " + b"=?utf-8?q?x?= " * 100_000 + b"\r\n\r\nx",
        b"".join(b'Content-Type: multipart/mixed; boundary="%d"\r\n\r\n--%d\r\n' % (n, n)
                 for n in range(3000)),
        b"Content-Type: \xff;;\r\n\r\n\xff\x00",
        b"Subject: x\r\n\r\n" + b"https://" * 300_000,
    ],
)  # fmt: skip
def test_any_bytes_have_a_hash(content: bytes) -> None:
    assert len(hash_of(content)) == 16
    assert hash_of(content) == hash_of(content)


def test_two_deliveries_of_one_mail_show_in_the_book(open_office: Open) -> None:
    office = open_office("--only", "accepts")
    with dial(office.relay) as line:
        for token, text, box in (("1", "a", "ann"), ("2", "a", "ann"), ("3", "b", "ann")):
            line.sendmail("b@x.example", [f"{box}@{PEAR}"], mail(token, text))
        with pytest.raises(smtplib.SMTPRecipientsRefused):
            line.sendmail("b@x.example", [f"temper.unknown_user.x@{PEAR}"], mail("4"))
    first, second, third = office.lines(f"ann@{PEAR}")
    assert first["hash"] == second["hash"] != third["hash"]
    assert [line["message_id"] for line in (first, second)] == [
        "<1@example.com>",
        "<2@example.com>",
    ]
    assert {line["provider"] for line in (first, second, third)} == {PEAR}
    assert "hash" not in office.lines(f"temper.unknown_user.x@{PEAR}")[0]


def test_dots_and_pipelines_arrive_as_they_were_sent(open_office: Open) -> None:
    office = open_office("--only", "accepts")
    bodies = {
        "empty": b"",
        "dots": b".\r\n..\r\n.x\r\n\r\n.\r\n",
        "header": b"Subject: x\r\n\r\n.\r\n",
        "bare": b"\n.\n\r.\r\r\n.\n",
        "long": b"Subject: x\r\n\r\n" + b"y" * 990 + b"\r\n" + b"." * 5000 + b"\r\n",
        "large": b"Subject: x\r\n\r\n" + b"z" * 70 + b"\r\n.\r\n" * 20_000,
    }
    replies = {}
    for name, body in bodies.items():
        with dial(office.relay) as line:
            line.ehlo()
            stuffed = (b"\r\n" + body).replace(b"\r\n.", b"\r\n..")[2:]
            wire = f"MAIL FROM:<b@x.example>\r\nRCPT TO:<{name}@{PEAR}>\r\nDATA\r\n".encode()
            end = b".\r\n" if not body or body.endswith(b"\r\n") else b"\r\n.\r\n"
            # All in one piece, the next command too.
            line.send(wire + stuffed + end + b"NOOP\r\n")
            replies[name] = [line.getreply()[0] for _ in range(5)]
    good = [250, 250, 354, 250, 250]
    assert replies == dict.fromkeys(bodies, good) | {"long": [250, 250, 354, 500, 250]}
    for name, body in bodies.items():
        if name != "long":
            whole = body if not body or body.endswith(b"\r\n") else body + b"\r\n"
            assert office.lines(f"{name}@{PEAR}")[0]["hash"] == hash_of(whole), name


def test_the_book_is_whole_at_any_moment_and_after_the_end(open_office: Open) -> None:
    office = open_office("--only", "accepts", "--slow", "4")
    content = mail("x", "y" * 3000)
    promised: list[str] = []
    read: list[str] = []
    is_over = threading.Event()

    def pour(number: int) -> None:
        try:
            with dial(office.relay) as line:
                for count in range(1_000_000):
                    box = f"n{number}.{count}@{PEAR}"
                    line.sendmail("b@x.example", [box], content)
                    promised.append(box)
        except (smtplib.SMTPException, OSError):
            pass

    def look() -> None:
        with office.book.open("rb") as book:
            while not is_over.is_set():
                begin = book.tell()
                line = book.readline()
                if line.endswith(b"\n"):
                    read.append(json.loads(line)["recipient"])
                else:
                    book.seek(begin)

    threads = [threading.Thread(target=pour, args=(n,)) for n in range(8)]
    reader = threading.Thread(target=look)
    for thread in [*threads, reader]:
        thread.start()
    wait_for(lambda: len(promised) > 150)
    assert office.stop() == 0
    for thread in threads:
        thread.join(20)
    text = office.book.read_text()
    assert text.endswith("\n")
    booked = [line["recipient"] for line in map(json.loads, text.splitlines())]
    assert len(booked) == len(set(booked))
    wait_for(lambda: len(read) == len(booked) or not reader.is_alive())
    is_over.set()
    assert read == booked
    # What was promised is in the book; what was in the book may not have been heard of.
    assert set(promised) <= set(booked)
    assert len(booked) - len(promised) <= 8


def test_a_cut_answer_does_not_undo_the_entry(open_office: Open) -> None:
    office = open_office("--only", "accepts", "--cut-after-dot", "1")
    assert post(office.relay, f"ann@{PEAR}") == "cut"
    accepted, cut = office.lines(f"ann@{PEAR}")
    assert (accepted["did"], cut["did"], cut["accepted"]) == ("accepted", "cut_after_dot", True)
    assert accepted["hash"]
