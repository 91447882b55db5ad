"""The same answer reads the same, whoever tells it, and however it is passed on."""

import base64
import html
import quopri
import random
import re
import textwrap
import tomllib
from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from goodstanding.bounces import Report, read, read_again, read_reply
from tests.bounces.test_replies import REPLIES

HERE = Path(__file__).parent
FORMS = tomllib.loads((HERE / "tellers.toml").read_text())
TELLERS = FORMS["teller"]
HOST = re.compile(r"\{host\}(?:;|\.? ?\[| said| #|$)", re.MULTILINE)
# Replies that name somebody name the recipient.
NAMED = re.compile(
    r"\b(?:ada|bob|ann|carol|eve|user|someone|recipient|news|name|to)[\w.+-]*@[\w.-]+\w"
    r"|(?<=<)[\w.+-]+@[\w.-]+\w(?=>)"
)

OF_A_RULE = 20  # answers that are told


def replies(teller: dict[str, Any], recipient: str) -> tuple[tuple[str, str, Report], ...]:
    """Final answers about the recipient, who gave each, and how it reads by itself."""
    names_hosts = HOST.search(teller.get("told", "") + teller["text"]) is not None
    return answers(recipient, of_providers=names_hosts)


@cache
def answers(recipient: str, *, of_providers: bool) -> tuple[tuple[str, str, Report], ...]:
    """Of those in which the same words decide, one; of one rule some."""
    found: list[tuple[str, str, Report]] = []
    decided: set[tuple[str | None, str | None, str | None]] = set()
    of_rule: Counter[str | None] = Counter()
    for one in REPLIES:
        provider = one.get("provider")
        if (provider and not of_providers) or "in reply to" in one["text"]:
            continue  # told without its host, or by somebody already
        reply = NAMED.sub(recipient, " ".join(one["text"].split()))
        alone = read_reply(reply, provider)
        by = (alone.rule, alone.words, provider)
        if alone.kind != "bounce" or not re.match(r"5\d\d", reply) or by in decided:
            continue
        decided.add(by)
        of_rule[alone.rule] += 1
        if of_rule[alone.rule] <= OF_A_RULE:
            found.append((reply, f"mx.{provider}" if provider else "mx.example.org", alone))
    return tuple(found)


def told(teller: dict[str, Any], recipient: str, reply: str, host: str, what: str = "text") -> str:
    text = teller[what].lstrip("\n")
    for name, value in (
        ("recipient", recipient),
        ("host", host),
        ("short", reply.partition("\n")[0][:78]),
        ("code", reply[:3]),
        ("rest", reply[4:]),
        ("reply", reply),
    ):
        text = text.replace(f"{{{name}}}", value)
    return "\n".join(
        textwrap.fill(
            line,
            72,
            subsequent_indent=" " * teller["wrapped"],
            break_long_words=False,
            break_on_hyphens=False,
        )
        if "wrapped" in teller and reply in line
        else line
        for line in text.split("\n")
    )


def mail_of(teller: dict[str, Any], recipient: str, reply: str, host: str) -> str:
    mail = told(teller, recipient, reply, host)
    if "told" in teller:
        mail = mail.replace("{told}", told(teller, recipient, reply, host, "told"))
    return mail


Seen = set[tuple[str | None, str | None, str | None]]


def seen_in(mail: str) -> Seen:
    return told_of(read(mail.encode()))


def told_of(reports: list[Report]) -> Seen:
    """Recipient, category and disposition of each report."""
    return {(one.recipient, one.category, one.disposition) for one in reports}


def read_as(mail: str) -> Seen:
    """What is seen in it, which what is kept of each report gives again."""
    reports = read(mail.encode())
    for one in reports:
        again = read_again(
            one.kind,
            one.text or "",
            status=one.status,
            code=one.code,
            provider=one.provider,
            recipient=one.recipient,
            rule=one.rule,
            words=one.words,
        )
        if again is None:
            # What it was read by is not in the answer, as when it was said.
            assert one.disposition != "hard"
        else:
            assert (again.category, again.disposition) == (one.category, one.disposition), one
    return told_of(reports)


@pytest.mark.parametrize("teller", TELLERS, ids=lambda teller: teller["name"])
def test_what_a_server_answered_reads_the_same(teller: dict[str, Any]) -> None:
    differ: list[str] = []
    tried = 0
    for reply, host, alone in replies(teller, "ann@example.org"):
        tried += 1
        seen = read_as(mail_of(teller, "ann@example.org", reply, host))
        if seen != {("ann@example.org", alone.category, alone.disposition)}:
            differ.append(f"{reply}: {alone.category}, but {seen}")
    assert tried > 500
    assert not differ, "\n".join(differ)


def in_lines(teller: dict[str, Any], reply: str) -> str:
    """The reply in lines of forty characters, each with its codes, as the teller shows them."""
    found = re.fullmatch(r"(5\d\d)[ -](5\.\d{1,3}\.\d{1,3} )?(.*)", reply)
    if found is None:
        return reply
    code, status, words = found[1], found[2] or "", found[3]
    rest = textwrap.wrap(words, 40, break_long_words=False, break_on_hyphens=False)
    lines = [f"{code}-{status}{one}" for one in rest[:-1]] + [f"{code} {status}{rest[-1]}"]
    if "wrapped" in teller:
        return " ".join(lines)
    shown = re.search(r"^(.*)\{reply\}", teller.get("told", "") + teller["text"], re.MULTILINE)
    assert shown is not None
    begins = shown[1] if shown[1].strip() in ("", "<<<") else ""
    if shown[1].startswith("Diagnostic-Code"):
        begins = "    "
    return f"\n{begins}".join(lines)


@pytest.mark.parametrize(
    "teller",
    [one for one in TELLERS if "{reply}" in one.get("told", "") + one["text"]],
    ids=lambda teller: teller["name"],
)
def test_an_answer_of_many_lines_reads_the_same(teller: dict[str, Any]) -> None:
    differ: list[str] = []
    for reply, host, alone in replies(teller, "ann@example.org"):
        lines = in_lines(teller, reply)
        seen = seen_in(mail_of(teller, "ann@example.org", lines, host))
        if seen != {("ann@example.org", alone.category, alone.disposition)}:
            differ.append(f"{lines}: {alone.category}, but {seen}")
    assert not differ, "\n".join(differ)


@pytest.mark.parametrize(
    "teller", [one for one in TELLERS if "told" in one], ids=lambda teller: teller["name"]
)
def test_what_was_answered_of_one_is_not_heard_of_the_other(teller: dict[str, Any]) -> None:
    dice = random.Random(1)
    others = list(replies(teller, "bob@example.net"))
    differ: list[str] = []
    for reply, host, alone in replies(teller, "ann@example.org"):
        other, others_host, others_alone = dice.choice(others)
        both = told(teller, "ann@example.org", reply, host, "told")
        both += told(teller, "bob@example.net", other, others_host, "told")
        seen = read_as(told(teller, "ann@example.org", reply, host).replace("{told}", both))
        if seen != {
            ("ann@example.org", alone.category, alone.disposition),
            ("bob@example.net", others_alone.category, others_alone.disposition),
        }:
            differ.append(f"{reply}; {other}: {alone.category}, but {seen}")
    assert not differ, "\n".join(differ)


@pytest.mark.parametrize("teller", FORMS["before"], ids=lambda teller: teller["name"])
def test_what_is_answered_before_a_recipient_is_named_is_never_hard(teller: dict[str, Any]) -> None:
    wrong: list[str] = []
    tried = 0
    for reply, host, alone in replies(teller, "ann@example.org"):
        tried += alone.disposition == "hard"
        seen = read_as(told(teller, "ann@example.org", reply, host))
        if len(seen) != 1 or any(disposition == "hard" for _, _, disposition in seen):
            wrong.append(f"{reply}: {seen}")
    assert tried > 100
    assert not wrong, "\n".join(wrong)


def in_base64(head: str, body: str) -> str:
    return _as("text/plain", "base64", head, base64.encodebytes(body.encode()).decode())


def in_quoted_printable(head: str, body: str) -> str:
    return _as("text/plain", "quoted-printable", head, quopri.encodestring(body.encode()).decode())


def in_html(head: str, body: str) -> str:
    lines = html.escape(body, quote=False).replace("\n", "<br>\n")
    return _as("text/html", "8bit", head, f"<html><body><p>{lines}</p></body></html>\n")


def _as(kind: str, encoding: str, head: str, body: str) -> str:
    return (
        f"{head}\nMIME-Version: 1.0\nContent-Type: {kind}; charset=utf-8\n"
        f"Content-Transfer-Encoding: {encoding}\n\n{body}"
    )


def without_headers(head: str, body: str) -> str:
    return re.sub(r"(?:Return-Path|Auto-Submitted|Subject):.*\n?", "", head).strip() + "\n\n" + body


def surrounded(around: dict[str, str]) -> Callable[[str, str], str]:
    above, below = around.get("above", ""), around.get("below", "")
    return lambda head, body: f"{head}\n\n{above}{body.strip()}\n{below}"


WAYS = {
    "base64": in_base64,
    "quoted-printable": in_quoted_printable,
    "HTML": in_html,
    "without headers that tell": without_headers,
    **{around["name"]: surrounded(around) for around in FORMS["around"]},
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_however_it_is_passed_on(way: Callable[[str, str], str]) -> None:
    differ: list[str] = []
    for teller in TELLERS:
        if "multipart" in teller["text"]:
            continue
        for reply, host, alone in replies(teller, "ann@example.org"):
            head, _, body = mail_of(teller, "ann@example.org", reply, host).partition("\n\n")
            seen = seen_in(way(head, body))
            if seen != {("ann@example.org", alone.category, alone.disposition)}:
                differ.append(f"{teller['name']}: {reply}: {alone.category}, but {seen}")
    assert not differ, "\n".join(differ)
