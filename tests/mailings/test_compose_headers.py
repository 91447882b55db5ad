"""Headers as the RFCs want them, read back by their grammar and not by our own code."""

from __future__ import annotations

import email.utils
import re
from urllib.parse import urlsplit

import pytest

from tests.mailings.compose_parts import HTML_FOOTER, STAMP, compiled, strictly

LANGUAGES = {
    "ascii": "Hello",
    "long": "A subject in plain English that goes on well past what fits on one line, " * 14,
    "word": "x" * 1_500,
    "de": "Gr\u00f6\u00dfere Rabatte f\u00fcr M\u00fc\u00dfigg\u00e4nger, " * 30,
    "ja": "\u3044\u308d\u306f\u306b\u307b\u3078\u3068" * 60,
    "emoji": "\U0001f469\u200d\U0001f469\u200d\U0001f467 \U0001f389" * 40,
    "encoded": "=?utf-8?q?hi?= =?x",
    "mixed": 'He "said" <b@x.example>, (no) \\ ' + "\u00e9" * 200,
}
# RFC 5322 sections 2.2, 3.2.3, 3.4.1 and 3.6.4; RFC 2047 section 2.
FIELD = re.compile(rb"[!-9;-~]+:(?: [^\r\n]*)?(?:\r\n [^\r\n]*[^\s][^\r\n]*)*")
ATEXT = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
DOT_ATOM = rf"{ATEXT}(?:\.{ATEXT})*"
MESSAGE_ID = re.compile(rf"<{DOT_ATOM}@{DOT_ATOM}>")
DATE = re.compile(
    r"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), [0-9]{2} (?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)"
    r" [0-9]{4} [0-9]{2}:[0-9]{2}:[0-9]{2} [+-][0-9]{4}"
)
ENCODED_WORD = re.compile(rb"=\?[A-Za-z0-9-]+\?[bBqQ]\?[!->@-~]+\?=")
ONCE = ("From", "To", "Subject", "Date", "Message-ID", "Reply-To", "MIME-Version", "Content-Type",
        "List-Unsubscribe", "List-Unsubscribe-Post", "Feedback-ID", "List-Id")  # fmt: skip


def head(**more: str) -> bytes:
    ready = compiled(html=f"<p>Hi</p>{HTML_FOOTER}", reply_to="desk@b\u00fccher.example", **more)
    raw = ready.render({}, "ann@xn--bcher-kva.example", STAMP)
    strictly(raw)
    return raw.partition(b"\r\n\r\n")[0]


def values(raw: bytes) -> dict[str, str]:
    unfolded = raw.decode().replace("\r\n ", " ")
    return dict(line.split(": ", 1) for line in unfolded.split("\r\n"))


@pytest.mark.parametrize("text", LANGUAGES.values(), ids=LANGUAGES.keys())
def test_the_grammar_of_headers(text: str) -> None:
    raw = head(subject=text, from_name=text)
    fields = re.split(rb"\r\n(?! )", raw)
    for field in fields:
        assert FIELD.fullmatch(field), field
        assert field.isascii()
    names = [field.partition(b":")[0].decode() for field in fields]
    assert {name: names.count(name) for name in ONCE} == dict.fromkeys(ONCE, 1)
    for line in raw.split(b"\r\n"):
        assert len(line) <= 78
        for word in re.findall(rb"=\?utf-8\?b[^\s]*", line):
            assert ENCODED_WORD.fullmatch(word)
            assert len(word) <= 75
            assert len(line) <= 76


def test_originator_date_and_identity() -> None:
    said = values(head())
    assert MESSAGE_ID.fullmatch(said["Message-ID"])
    assert DATE.fullmatch(said["Date"])
    assert email.utils.parsedate_to_datetime(said["Date"]).utcoffset() is not None
    assert said["From"] == "news@example.com"
    assert said["Reply-To"] == "desk@xn--bcher-kva.example"


def test_lists_can_be_left_by_one_click() -> None:
    """RFC 2369 sections 2 and 3.2, RFC 8058 section 3.1."""
    said = values(head())
    found = re.fullmatch(r"<([^<>\s]+)>(?:,\s*<([^<>\s]+)>)*", said["List-Unsubscribe"])
    assert found is not None
    urls = re.findall(r"<([^<>]+)>", said["List-Unsubscribe"])
    assert [urlsplit(url).scheme for url in urls].count("https") == 1
    assert {urlsplit(url).scheme for url in urls} <= {"https", "mailto"}
    assert said["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"


def test_nobody_answers_by_machine_what_a_machine_wrote() -> None:
    """RFC 3834 section 5; a broadcast is a person's, and carries no mark of the kind."""
    assert values(head(purpose="transactional"))["Auto-Submitted"] == "auto-generated"
    assert "Auto-Submitted" not in values(head())
    assert "Precedence" not in values(head())


@pytest.mark.parametrize(
    "domain", ["b\u00fccher.example", "\u043f\u0440\u0438\u043c\u0435\u0440.example"]
)
def test_domains_of_other_scripts(domain: str) -> None:
    said = values(head(from_address=f"news@{domain}", from_name="B\u00fccher"))
    [(_, address)] = email.utils.getaddresses([said["From"]])
    assert address.isascii()
    assert address.partition("@")[2].encode().decode("idna") == domain
