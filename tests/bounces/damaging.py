"""Mails and replies damaged in every way that one can think of, each from a seed and a number."""

from __future__ import annotations

import base64
import os
import quopri
import random
import re
import tomllib
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).parent
CORPUS: Final = (
    Path(os.environ.get("BOUNCES_CORPUS") or HERE.parents[2] / "shared" / "corpus") / "bounces"
)
REPLIES_IN: Final = 4  # one case in so many is a reply


class Case:
    """A mail or a reply to read, and how to make it again."""

    def __init__(self, seed: int, number: int) -> None:
        dice = random.Random(f"{seed}:{number}")
        self.name = f"{seed}-{number}"
        self.is_reply = dice.randrange(REPLIES_IN) == 0
        self.content = _reply(dice) if self.is_reply else _mail(dice)


@lru_cache(1)
def mails() -> list[bytes]:
    """What is damaged: the mails of the tests, and real ones where they are to be had."""
    known = [
        mail["text"].lstrip("\n").encode()
        for name in ("reports.toml", "plain.toml")
        for mail in tomllib.loads((HERE / name).read_text())["mail"]
    ]
    real = [file.read_bytes() for file in sorted(CORPUS.glob("*.eml"))]
    return known + [mail for mail in real if len(mail) < 20_000]


@lru_cache(1)
def replies() -> list[bytes]:
    """The replies of the tests."""
    known = tomllib.loads((HERE / "replies.toml").read_text())["reply"]
    return [reply["text"].encode() for reply in known]


TOKENS: Final = [
    *(b"\0", b"\r", b"\n\n", b"\r\r\n", b"\xff", b"\xfe\xff", b"\xef\xbb\xbf", b"\x1b$B", b"\x85"),
    *(
        b"\x1b[31m",
        b"\xe2\x80\xae",
        b"\xf0\x9f\x98\x80",
        b"\xed\xa0\x80",
        b"\xc0\x80",
        b"\xe2\x80\xa8",
    ),
    *(
        b"--",
        b"--\n",
        b"=\n",
        b"=?utf-8?B?",
        b"=?x?q?=",
        b"?=",
        b"=?utf-8?Q?=00=0A?=",
        b"&#0;",
        b"&#x110000;",
    ),
    *(
        b"<",
        b">",
        b"<!--",
        b"<style>",
        b"@",
        b"<@>",
        b"@@",
        b'"@',
        b"a@b",
        b"()",
        b"((((",
        b"\\",
        b"[",
        b"{",
    ),
    *(
        b"550",
        b"550-5.1.1 ",
        b"550 5.1.1",
        b"4.4.7",
        b"5.999.999",
        b"999",
        b"\n<<< 550 ",
        b"\n>>> MAIL FROM:<",
    ),
    *(
        b"said: 550",
        b"Final-Recipient: rfc822;",
        b"\nStatus: 5.",
        b"\nAction: failed",
        b"\nRemote-MTA: dns;",
    ),
    *(
        b"\nDiagnostic-Code: smtp;",
        b"\nX-Failed-Recipients: ",
        b"\nFeedback-Type: ",
        b"\nReported-Domain:",
    ),
    *(
        b"\nOriginal-Rcpt-To: ",
        b"\nFrom MAILER-DAEMON Thu Jan  1 00:00:00 2026\n",
        b"\nFrom ",
        b"\n>From ",
    ),
    *(
        b"\nContent-Type: message/rfc822\n\n",
        b"\nContent-Type: multipart/mixed; boundary=",
        b'boundary=""',
    ),
    *(b"\nContent-Type: message/delivery-status\n\n", b"\nContent-Transfer-Encoding: base64\n\n"),
    *(b"\nContent-Type: message/feedback-report\n\n", b"\nContent-Transfer-Encoding: x-uuencode\n"),
    *(
        b"charset=utf-16",
        b"charset=utf-7",
        b"charset=punycode",
        b"charset=idna",
        b"charset=hz",
        b"charset=rot13",
    ),
    *(
        b'{"notificationType":"Bounce","bounce":{"bouncedRecipients":[{"emailAddress":"',
        b'"}]}}',
        b"\\u0000",
    ),
    *(
        b"\nDate: Mon, 99 Foo 99999999 99:99:99 +9999",
        b"\nSubject: ",
        b"\nTo: ",
        b"9" * 40,
        b" " * 60,
        b"\t",
    ),
]
LINE_ENDS: Final = [b"\r\n", b"\r", b"\r\r\n", b"\n\n", b"\n ", b"", b"\x85", b"\v"]
CHARSETS: Final = [
    *(
        b"utf-16",
        b"utf-32",
        b"iso-2022-jp",
        b"gb18030",
        b"big5",
        b"hz-gb-2312",
        b"shift_jis",
        b"utf-7",
    ),
    *(b"euc-kr", b"koi8-r", b"cp037", b"x-unknown", b'"', b"\xff", b"unicode_escape", b"utf-8-sig"),
]
ENCODINGS: Final = [b"base64", b"quoted-printable", b"8bit", b"x-uue", b"BASE64 ", b"binary; x"]
_BOUNDARY: Final = re.compile(rb'boundary="?([^"\s;]+)')
_HEADER: Final = re.compile(rb"(?m)^[!-9;-~]+:[^\n]*\n(?:[ \t][^\n]*\n)*")


def _flip(mail: bytes, dice: random.Random) -> bytes:
    damaged = bytearray(mail)
    for _ in range(dice.randrange(1, 20)):
        if damaged:
            damaged[dice.randrange(len(damaged))] = dice.randrange(256)
    return bytes(damaged)


def _cut(mail: bytes, dice: random.Random) -> bytes:
    begin, end = _span(mail, dice)
    return dice.choice([mail[:begin], mail[begin:], mail[:begin] + mail[end:]])


def _splice(mail: bytes, dice: random.Random) -> bytes:
    other = dice.choice(mails())
    begin, end = _span(other, dice)
    at = _at(mail, dice)
    return dice.choice([mail[:at] + other[begin:], mail[:at] + other[begin:end] + mail[at:]])


def _repeat(mail: bytes, dice: random.Random) -> bytes:
    begin, end = _span(mail, dice)
    end = min(end, begin + dice.choice([1, 20, 500, 5000]))
    times = _many(dice) if end - begin < 100 else dice.randrange(1, 20)
    return mail[:begin] + mail[begin:end] * times + mail[end:]


def _insert(mail: bytes, dice: random.Random) -> bytes:
    for _ in range(dice.randrange(1, 6)):
        at = _at(mail, dice)
        mail = mail[:at] + dice.choice(TOKENS) + mail[at:]
    return mail


def _huge(mail: bytes, dice: random.Random) -> bytes:
    token = dice.choice(
        [*TOKENS, b"a", b" ", b"x ", b"=", b"a.", b"a-", b"a@b ", b"\n", b"\n\n", b"A: b\n"]
    )
    at = _at(mail, dice)
    return mail[:at] + token * _many(dice) + mail[at:]


def _line_ends(mail: bytes, dice: random.Random) -> bytes:
    ends = dice.choice(LINE_ENDS)
    if dice.randrange(2):
        return mail.replace(b"\n", ends)
    return b"".join(
        line + (ends if dice.randrange(3) == 0 else b"\n") for line in mail.split(b"\n")
    )


def _lines(mail: bytes, dice: random.Random) -> bytes:
    lines = mail.split(b"\n")
    for _ in range(dice.randrange(1, 8)):
        at, to = dice.randrange(len(lines)), dice.randrange(len(lines))
        what = dice.randrange(3)
        if what == 0:
            lines[at], lines[to] = lines[to], lines[at]
        elif what == 1 and len(lines) > 1:
            del lines[at]
        else:
            lines.insert(to, lines[at])
    return b"\n".join(lines)


def _charset(mail: bytes, dice: random.Random) -> bytes:
    charset = dice.choice(CHARSETS)
    if dice.randrange(3) == 0:
        head, blank, body = mail.partition(b"\n\n")
        name = dice.choice(["utf-16", "utf-8", "iso2022_jp", "cp1251", "gb18030", "utf-7"])
        return head + blank + body.decode("utf-8", "replace").encode(name, "replace")
    damaged = re.sub(rb"(?i)charset=[^\s;]+", b"charset=" + charset.replace(b"\\", b""), mail)
    return re.sub(rb"=\?[\w-]+\?", b"=?" + charset.replace(b"\\", b"") + b"?", damaged)


def _encoding(mail: bytes, dice: random.Random) -> bytes:
    encoding = dice.choice(ENCODINGS)
    head, _, body = mail.partition(b"\n\n")
    if dice.randrange(2):
        body = base64.encodebytes(body) if b"64" in encoding else quopri.encodestring(body)
    if dice.randrange(2):
        body = _flip(body, dice)
    return head + b"\nContent-Transfer-Encoding: " + encoding + b"\n\n" + body


def _boundary(mail: bytes, dice: random.Random) -> bytes:
    found = _BOUNDARY.search(mail)
    if found is None:
        return _wrap(mail, dice)
    name = found[1]
    other = dice.choice([b"", b"-", name[:1], name + b"x", b"--" + name, b"b" * 300, b'"', b"\xff"])
    begin, end = found.span(1)
    return dice.choice(
        [
            mail[:begin] + other + mail[end:],
            mail.replace(b"--" + name, b"--" + other, dice.randrange(1, 4)),
            mail.replace(b"--" + name + b"--", other),
            mail.replace(b"\n--" + name, b" --" + name),
            mail.replace(name, other),
        ]
    )


def _headers(mail: bytes, dice: random.Random) -> bytes:
    found = dice.choice(list(_HEADER.finditer(mail[:20_000])) or [None])
    if found is None:
        return _insert(mail, dice)
    times = _many(dice)
    lines = found[0] * times
    if dice.randrange(2):
        lines = found[0].rstrip(b"\n") + b"\n " + dice.choice(TOKENS) * times + b"\n"
    return mail[: found.start()] + lines + mail[found.end() :]


def _wrap(mail: bytes, dice: random.Random) -> bytes:
    for level in range(dice.choice([1, 1, 2, 3, 9, 20])):
        kind = dice.choice(
            [b"message/rfc822", b"multipart/mixed", b"multipart/report", b"text/html"]
        )
        head = b"From: MAILER-DAEMON@example.com\nSubject: failure\nContent-Type: " + kind
        if kind.startswith(b"multipart"):
            name = b"b%d" % (level if dice.randrange(4) else 0)
            mail = b"%s; boundary=%s\n\n--%s\n%s\n--%s--\n" % (head, name, name, mail, name)
        else:
            mail = head + b"\n\n" + mail
    return mail


def _case(mail: bytes, dice: random.Random) -> bytes:
    begin, end = _span(mail, dice)
    changed = mail[begin:end].upper() if dice.randrange(2) else mail[begin:end].lower()
    return mail[:begin] + changed + mail[end:]


DAMAGES: Final[list[Callable[[bytes, random.Random], bytes]]] = [
    *(_flip, _flip, _cut, _cut, _splice, _splice, _repeat, _insert, _insert, _huge, _line_ends),
    *(_lines, _lines, _charset, _encoding, _boundary, _boundary, _headers, _wrap, _case),
]


def _mail(dice: random.Random) -> bytes:
    mail = dice.choice(mails()) if dice.randrange(8) else _made(dice)
    for _ in range(dice.choice([1, 1, 2, 3, 6])):
        mail = dice.choice(DAMAGES)(mail, dice)
    return mail[: 2 * 1024 * 1024]


def _reply(dice: random.Random) -> bytes:
    reply = dice.choice(replies())
    for _ in range(dice.choice([1, 1, 2, 3])):
        reply = dice.choice([_flip, _cut, _repeat, _insert, _insert, _huge, _lines, _case])(
            reply, dice
        )
    return reply[: 1024 * 1024]


def _made(dice: random.Random) -> bytes:
    """A mail of its own, after the grammar of reports, with odd words in it."""

    def word() -> bytes:
        return dice.choice(
            [*TOKENS, b"ann@example.com", b"mx.example.net", b"failed", b"5.1.1", b"x"]
        )

    def fields(*names: bytes) -> bytes:
        chosen = [dice.choice(names) for _ in range(dice.randrange(1, 9))]
        return b"".join(
            name + b": " + b" ".join(word() for _ in range(dice.randrange(3))) + b"\n"
            for name in chosen
        )

    recipient = fields(
        b"Final-Recipient",
        b"Original-Recipient",
        b"Action",
        b"Status",
        b"Diagnostic-Code",
        b"Remote-MTA",
    )
    parts = {
        b"text/plain": b"Hello,\n"
        + b"\n".join(word() + b" " + word() for _ in range(dice.randrange(9))),
        b"text/html; charset=x": b"<p>" + word() + b"<br>" + word() + b"</p>",
        b"message/delivery-status": b"Reporting-MTA: dns; x\n\n"
        + (recipient + b"\n") * dice.randrange(1, 4),
        b"message/feedback-report": fields(
            b"Feedback-Type", b"Original-Rcpt-To", b"Removal-Recipient", b"User-Agent"
        ),
        b"message/rfc822": fields(
            b"From", b"To", b"Subject", b"Message-ID", b"X-HmXmrOriginalRecipient"
        )
        + b"\n"
        + word(),
        b"application/json": (
            b'{"notificationType":"%s","bounce":{"bouncedRecipients":'
            b'[{"emailAddress":"%s","status":"%s"}]}}' % (word(), word(), word())
        ),
        b"application/octet-stream": recipient,
    }
    head = (
        b"From: " + dice.choice([b"MAILER-DAEMON@example.com", b"ann@example.com", word()]) + b"\n"
    )
    head += fields(
        b"Subject",
        b"To",
        b"Auto-Submitted",
        b"Return-Path",
        b"X-Failed-Recipients",
        b"Date",
        b"Precedence",
    )
    chosen = [dice.choice(list(parts)) for _ in range(dice.randrange(1, 5))]
    body = b"".join(
        b"--b\nContent-Type: " + kind + b"\n\n" + parts[kind] + b"\n" for kind in chosen
    )
    return head + b"Content-Type: multipart/report; boundary=b\n\n" + body + b"--b--\n"


def _at(mail: bytes, dice: random.Random) -> int:
    """A place, often the end of a line."""
    at = dice.randrange(len(mail) + 1)
    return (mail.find(b"\n", at) + 1 or at) if dice.randrange(2) else at


def _span(mail: bytes, dice: random.Random) -> tuple[int, int]:
    begin, end = sorted((_at(mail, dice), _at(mail, dice)))
    return begin, end


def _many(dice: random.Random) -> int:
    """Mostly few, seldom thousands."""
    return int(2 ** (dice.random() ** 2 * dice.choice([4, 8, 8, 8, 14])))
