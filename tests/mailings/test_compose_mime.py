"""Composing: correct MIME in every language, and nothing that a contact can inject."""

from __future__ import annotations

import email.utils
import html
import random
from email.header import decode_header, make_header
from email.message import EmailMessage
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.mailings.compose_parts import (
    FOOTER,
    HTML_FOOTER,
    STAMP,
    FakeStamp,
    compiled,
    rendered,
    strictly,
    text_of,
)

LANGUAGES = {
    "de": "Größere Rabatte für Müßiggänger",
    "ru": "Съешь же ещё этих мягких французских булок, да выпей чаю",
    "ja": "いろはにほへと ちりぬるを わかよたれそ つねならむ うゐのおくやま けふこえて",
    "ja-wide": "全角\u3000空白",
    "zh": "天地玄黃,宇宙洪荒。日月盈昃,辰宿列張。寒來暑往,秋收冬藏。",
    "ar": "نص حكيم له سر قاطع وذو شأن عظيم",
    "he": "דג סקרן שט בים מאוכזב ולפתע מצא חברה",
    "hi": "ऋषियों को सताने वाले दुष्ट राक्षसों के राजा रावण",
    "emoji": "👩‍👩‍👧‍👦 " * 20 + "🎉",
    "accents": "e\u0301" * 90,
    "long": "A subject in plain English that goes on and on, well past what fits on one line, " * 3,
    "word": "x" * 300,
    "looks encoded": "=?utf-8?b?SGk=?= and =?x?=",
    "specials": 'He said "hi" \\ (and) <left>, me@x; you: [them]',
}


def sender_name(message: EmailMessage) -> str:
    """By the older reader: the newer one of some Pythons puts spaces between encoded words."""
    (raw,) = (value for name, value in message.raw_items() if name == "From")
    name, _ = email.utils.parseaddr(str(raw).replace("\r\n", ""))
    return str(make_header(decode_header(name)))


@pytest.mark.parametrize("text", LANGUAGES.values(), ids=LANGUAGES.keys())
def test_every_language_in_subject_name_and_bodies(text: str) -> None:
    text = text.strip()
    for fields, said in ({}, text), ({"said": text}, "{{ said }}"):
        message = rendered(
            fields,
            subject=said,
            from_name=text,
            text=f"{said}\n{said}{said}\n{FOOTER}",
            html=f"<p>{said if fields else html.escape(text)}</p>{HTML_FOOTER}",
        )
        assert message["Subject"] == text
        assert sender_name(message) == text
        assert message["From"].addresses[0].addr_spec == "news@example.com"
        assert text_of(message, "plain").startswith(f"{text}\n{text}{text}\n1 High Street")
        assert html.unescape(text_of(message, "html")).startswith(f"<p>{text}</p>")


@pytest.mark.parametrize("text", LANGUAGES.values(), ids=LANGUAGES.keys())
def test_header_lines_keep_to_their_length(text: str) -> None:
    raw = compiled(subject=text, from_name=text).render({}, "ann@example.com", STAMP)
    for line in raw.partition(b"\r\n\r\n")[0].split(b"\r\n"):
        assert len(line) <= 78
        if b"=?utf-8" in line:
            assert len(line) <= 76


def test_international_domains_are_punycode_in_headers() -> None:
    message = rendered(from_address="info@bücher.example", reply_to="post@bücher.example")
    assert message["From"] == "info@xn--bcher-kva.example"
    assert message["Reply-To"] == "post@xn--bcher-kva.example"


def test_international_recipients_are_utf8() -> None:
    raw = compiled().render({}, "пётр@example.com", STAMP)
    assert "\r\nTo: пётр@example.com\r\n".encode() in raw


def test_the_smaller_encoding_is_chosen() -> None:
    def encoding(text: str) -> str:
        return str(rendered(text=f"{text}\n{FOOTER}")["Content-Transfer-Encoding"])

    assert encoding(LANGUAGES["de"] + " in unserem Laden in der Innenstadt") == "quoted-printable"
    assert encoding(LANGUAGES["ru"] * 5) == "base64"


def test_random_bodies_survive_encoding() -> None:
    chance = random.Random(5)
    alphabet = ["a", " ", "  \n", "\n", ".", "=", "\t", "ß", "{{ v }}", "From ", "x" * 70, "字"]
    for _ in range(300):
        source = "".join(chance.choices(alphabet, k=chance.randrange(60)))
        value = "".join(chance.choices(alphabet[:8] + alphabet[9:], k=chance.randrange(20)))
        message = rendered({"v": value}, text=source + FOOTER)
        expected = source.replace("{{ v }}", value)
        assert text_of(message, "plain") == (
            f"{expected}1 High Street\nTown {STAMP.unsubscribe_url}\n"
        )


HOSTILE = st.text(
    st.one_of(
        st.characters(),
        st.sampled_from("\r\n\x00\x0b\x85\u2028\"'<>&{}%=?:,;@ \t\ud800"),
    ),
    max_size=80,
)


@settings(max_examples=150)
@given(name=HOSTILE, subject=HOSTILE)
def test_no_value_can_inject_headers_or_markup(name: str, subject: str) -> None:
    message = strictly(
        INJECTED.render({"name": name, "subject": subject}, "ann@example.com", STAMP)
    )
    assert [h.lower() for h in message] == EXPECTED_HEADERS
    assert len(str(message["Subject"]).splitlines()) <= 1
    assert [p.get_content_type() for p in message.walk()] == [
        "multipart/alternative",
        "text/plain",
        "text/html",
    ]
    outline = Outline()
    outline.feed(text_of(message, "html"))
    outline.close()
    assert outline.tags == [
        ("p", ["title"]), ("b", []), ("p", []), ("br", []), ("a", ["href"]),
        ("img", ["src", "width", "height", "alt"]),
    ]  # fmt: skip
    assert "\x00" not in text_of(message, "plain")


@settings(max_examples=100)
@given(subject=HOSTILE)
def test_a_subject_arrives_as_one_line_of_what_was_said(subject: str) -> None:
    raw = INJECTED.render({"subject": subject}, "ann@example.com", STAMP)
    said = str(strictly(raw)["Subject"])
    visible = [c for c in subject if c.isalnum()]
    assert [c for c in said.removeprefix("Re:") if c.isalnum()] == visible


class Outline(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, list[str]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, [name for name, _ in attrs]))


INJECTED = compiled(
    "name",
    "subject",
    subject="Re: {{ subject }}",
    html='<p title="{{ name }}">{{ name }}<b>{% if name %}{{ name|upper }}{% endif %}'
    '{% for c in name %}{{ c }}{% endfor %}{{ name|default:"x"|linebreaksbr|cut:"<br>" }}</b></p>'
    + HTML_FOOTER,
    text="{{ name }}" + FOOTER,
)
EXPECTED_HEADERS = [
    "from", "to", "subject", "date", "message-id", "list-unsubscribe", "list-unsubscribe-post",
    "list-id", "feedback-id", "mime-version", "content-type",
]  # fmt: skip


@pytest.mark.parametrize(
    "recipient",
    ["", "ann", "a@x.example\r\nBcc: b@x.example", "a@x.example, b@x.example", "a b@x.example",
     "<a@x.example>", "a@x.example\x00", "a@bücher.example", "a" * 400 + "@x.example",
     "a@x.example (comment)", "group: a@x.example;"],
)  # fmt: skip
def test_recipients_that_cannot_stand_in_a_header(recipient: str) -> None:
    with pytest.raises(ValueError, match="cannot stand in a To header"):
        compiled().render({}, recipient, STAMP)


def test_quoted_recipients() -> None:
    raw = compiled().render({}, '"a, b"@example.com', STAMP)
    assert strictly(raw)["To"].addresses[0].addr_spec == '"a, b"@example.com'


@pytest.mark.parametrize(
    "wrong",
    [
        {"message_id": "a@b>\r\nBcc: <x@example.com"},
        {"one_click_url": "https://example.com/\r\nBcc: x@example.com"},
        {"unsubscribe_mailto": "mailto:a@example.com>, <b"},
        {"list_id": "a b"},
        {"one_click_url": "https://bücher.example/"},
    ],
)
def test_stamps_that_cannot_stand_in_a_header(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="stamp of delivery 7"):
        compiled().render({}, "ann@example.com", FakeStamp(**wrong))
