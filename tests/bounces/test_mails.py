"""Mails written by hand: reports of every form, and plain mails that only look like one."""

import gc
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from goodstanding.bounces import read, read_mail

HERE = Path(__file__).parent


def mails(file: str) -> list[dict[str, Any]]:
    return tomllib.loads((HERE / file).read_text())["mail"]


EXAM = mails("exam.toml")
WILD = [
    *mails("wild.toml"),
    *mails("wild2.toml"),
    *mails("wild3.toml"),
    *mails("wild4.toml"),
    *mails("wild5.toml"),
]
REPORTS = [*mails("reports.toml"), *(mail for mail in [*EXAM, *WILD] if mail["expect"])]
PLAIN = [*mails("plain.toml"), *(mail for mail in [*EXAM, *WILD] if not mail["expect"])]


def named(mail: dict[str, Any]) -> str:
    return str(mail["name"])


def written(mail: dict[str, Any]) -> bytes:
    return mail["text"].lstrip("\n").encode(mail.get("charset", "utf-8"))


def seen(message: bytes, expect: list[dict[str, str]]) -> list[dict[str, Any]]:
    reports = read(message)
    assert len(reports) == len(expect), reports
    return [
        {key: getattr(report, key) for key in wanted}
        for report, wanted in zip(reports, expect, strict=True)
    ]


@pytest.mark.parametrize("mail", REPORTS, ids=named)
def test_report(mail: dict[str, Any]) -> None:
    message = written(mail)
    assert seen(message, mail["expect"]) == mail["expect"]
    original = read_mail(message).original
    for header, value in mail.get("original", {}).items():
        assert original[header] == value


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "CRLF": lambda text: text.replace(b"\n", b"\r\n"),
    "CR only": lambda text: text.replace(b"\n", b"\r"),
    "leading blank lines": lambda text: b"\n\r\n" + text,
    "mbox separator": lambda text: b"From MAILER-DAEMON Thu Apr 29 23:34:45 2010\n" + text,
    "NUL bytes": lambda text: text.replace(b"e", b"e\0"),
}


@pytest.mark.parametrize("mail", REPORTS, ids=named)
def test_report_with_damaged_lines_reads_the_same(mail: dict[str, Any]) -> None:
    message = written(mail)
    for name, damage in DAMAGES.items():
        assert seen(damage(message), mail["expect"]) == mail["expect"], name


@pytest.mark.parametrize("mail", PLAIN, ids=named)
def test_plain_mail_is_no_report(mail: dict[str, Any]) -> None:
    assert read(written(mail)) == []


def test_reading_tells_date_subject_and_original() -> None:
    reading = read_mail(b"Date: Thu, 01 Jan 1970 01:00:01 +0100\nSubject: =?utf-8?B?w6k=?= a\n\nhi")
    assert (reading.date, reading.subject) == (1_000_000, "é a")
    assert reading.original == {}
    assert read_mail(b"Date: yesterday\n\nhi").date is None


def test_reading_leaves_nothing_for_the_collector() -> None:
    # A mail's parts would stay in memory until it comes by.
    messages = [written(mail) for mail in REPORTS]
    for message in messages:
        read(message)
    gc.collect()
    gc.disable()
    try:
        for message in messages:
            read(message)
        assert gc.collect() == 0
    finally:
        gc.enable()
