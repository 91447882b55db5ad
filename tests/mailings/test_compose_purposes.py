"""What each purpose makes of the same words: its headers, what is counted, what must be there."""

from __future__ import annotations

from typing import Any

import pytest

from goodstanding.mailings.mail.confirming import Confirm
from goodstanding.mailings.mail.content import ContentError
from tests.mailings.compose_parts import HTML_FOOTER, STAMP, compiled, rendered, text_of

EVERY = {
    "From": "news@example.com",
    "To": "ann@example.com",
    "Subject": "Hello",
    "Date": "Tue, 14 Nov 2023 22:13:20 +0000",
    "Message-ID": "<m7@news.example.com>",
    "MIME-Version": "1.0",
    "Content-Type": 'multipart/alternative; boundary="=_goodstanding_alternative"',
}
LIST = {
    "List-Unsubscribe": "<mailto:leave+abc@news.example.com>, <https://news.example.com/one/abc>",
    "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
    "List-Id": "<news.example.com>",
}
FEEDBACK = {"Feedback-ID": "spring:news:b:goodco"}
MACHINE = {"Auto-Submitted": "auto-generated"}

PLAIN = '<p>Hello <a href="https://example.com/a">a</a></p>'
ASKING = f'{PLAIN}<a href="{{{{ confirm_url }}}}">Yes</a> {{{{ postal_address }}}}'


def headers(**more: Any) -> dict[str, str]:
    message = rendered(text=None, **more)
    found = {name: str(value) for name, value in message.items()}
    assert len(found) == len(message.items())
    return found


@pytest.mark.parametrize(
    ("purpose", "html", "more"),
    [
        ("broadcast", PLAIN + HTML_FOOTER, {**LIST, **FEEDBACK}),
        ("sequence", PLAIN + HTML_FOOTER, {**LIST, **FEEDBACK}),
        ("transactional", PLAIN, {**FEEDBACK, **MACHINE}),
        ("transactional", PLAIN + HTML_FOOTER, {**LIST, **FEEDBACK, **MACHINE}),
        ("one_off", PLAIN, {}),
        ("one_off", PLAIN + HTML_FOOTER, LIST),
        ("confirmation", ASKING, {**FEEDBACK, **MACHINE}),
        ("confirmation", ASKING + HTML_FOOTER, {**LIST, **FEEDBACK, **MACHINE}),
    ],
)
def test_header_by_header(purpose: str, html: str, more: dict[str, str]) -> None:
    """RFC 2369, RFC 8058: one may leave where the mail itself says so. RFC 3834 section 5."""
    assert headers(purpose=purpose, html=html) == EVERY | more


def test_leaving_hangs_on_no_word_that_only_looks_like_the_link() -> None:
    html = "<p>Write unsubscribe_url for your {{ unsubscribe_url_of_mine }}</p>"
    said = headers(fields={"unsubscribe_url_of_mine": "x"}, purpose="one_off", html=html)
    assert "List-Unsubscribe" not in said


@pytest.mark.parametrize(
    ("purpose", "html", "counted"),
    [
        ("broadcast", PLAIN + HTML_FOOTER, True),
        ("sequence", PLAIN + HTML_FOOTER, True),
        ("transactional", PLAIN, False),
        ("one_off", PLAIN, False),
        ("confirmation", ASKING, False),
    ],
)
def test_whose_opens_and_clicks_are_counted(purpose: str, html: str, counted: bool) -> None:
    assert compiled(purpose=purpose, html=html, text=None).links == (
        ("https://example.com/a",) if counted else ()
    )
    shown = text_of(rendered(purpose=purpose, html=html, text=None), "html")
    assert ('"https://example.com/a"' in shown) is not counted
    assert ((STAMP.open_url or "none") in shown) is counted
    assert ("<img" in shown) is counted


NEWS = Confirm("news", "https://example.com/thanks", "News")
OFFERS = Confirm("offers", topic="Offers", method="custom")
BOTH = """<p>{{ postal_address }}</p>
<p><a href="{{ confirm_url }}">News</a> <a href=' {{confirm_url_news}} '>News again</a>
<a href="{{ confirm_url_offers }}">Offers</a> <a href="{{ confirm_url_offers }}&x={{ name }}">O</a>
{% if name %}<a href="{{ confirm_url_offers }}">for {{ name }}</a>{% endif %}</p>"""


def test_each_link_leads_to_its_own_page() -> None:
    ready = compiled(
        "name", purpose="confirmation", html=BOTH, text=None, confirms=(NEWS, OFFERS), topic="all"
    )
    assert ready.links == ()
    assert ready.confirms == (NEWS, OFFERS)
    message = rendered(
        {"name": "Ann"}, purpose="confirmation", html=BOTH, text=None, confirms=(NEWS, OFFERS)
    )
    shown, text = text_of(message, "html"), text_of(message, "plain")
    first, second = (f"https://news.example.com/confirm/{n}?a=1" for n in (0, 1))
    assert shown.count(f'"{first}&amp;b=2"') == 1
    assert shown.count(f"' {first}&amp;b=2 '") == 1
    assert shown.count(f'"{second}&amp;b=2"') == 2
    assert shown.count(f'"{second}&amp;b=2&amp;x=Ann"') == 1
    assert "/c/" not in shown
    assert text.count(f"{first}&b=2>") == 2
    assert text.count(f"<{second}&b=2>") == 2


def test_a_confirmation_needs_no_more_than_its_one_link() -> None:
    text = "Hello {{ confirm_url }} {{ postal_address }}"
    assert compiled(purpose="confirmation", text=text).confirms == (Confirm(),)
    shown = rendered(purpose="confirmation", text=text).get_content()
    assert shown == "Hello https://news.example.com/confirm/0?a=1&b=2 1 High Street\r\nTown\r\n"


def test_a_text_made_of_html_that_hides_its_link_has_it() -> None:
    html = """<style>.x { display: none }</style><p>Hello</p>
<div class="x"><a href="{{ confirm_url_news }}">Yes</a> {{ postal_address }}</div>"""
    message = rendered(purpose="confirmation", html=html, text=None, confirms=(NEWS,))
    assert text_of(message, "plain") == (
        "Hello\n\nhttps://news.example.com/confirm/0?a=1&b=2\n1 High Street\nTown\n"
    )


def problems(*fields: str, **more: Any) -> list[str]:
    with pytest.raises(ContentError) as caught:
        compiled(*fields, **more)
    return list(caught.value.problems)


@pytest.mark.parametrize(
    ("part", "source"),
    [
        ("text", "Hello {{ postal_address }}"),
        ("html", "<!-- {{ confirm_url }} {{ confirm_url_news }} --> {{ postal_address }}"),
        ("text", "{% if name %}{{ confirm_url }}{% endif %} {{ postal_address }}"),
        ("text", "{# {{ confirm_url }} #}{{ confirm_url_news|upper }} {{ postal_address }}"),
    ],
)
def test_no_confirmation_without_a_link_that_everybody_sees(part: str, source: str) -> None:
    given = {"text": None, part: source, "purpose": "confirmation", "confirms": (NEWS,)}
    [found] = problems("name", **given)
    assert found.startswith(f"{part}: a link to confirm by is missing: write {{{{ confirm_url }}}}")


def test_no_confirmation_that_does_not_say_where_the_sender_is() -> None:
    found = problems(purpose="confirmation", text="{{ confirm_url }}")
    assert [each.partition(" is missing")[0] for each in found] == ["text: the postal address"]
    found = problems(
        purpose="confirmation", text="{{ confirm_url }} {{ postal_address }}", postal_address=" "
    )
    assert found == ["a confirmation must say where the sender is: no postal address is set"]


@pytest.mark.parametrize("purpose", ["broadcast", "sequence", "one_off", "transactional"])
def test_no_other_mail_confirms_anything(purpose: str) -> None:
    html = HTML_FOOTER + "<a href='{{ confirm_url }}'>x</a>{% if x %}{{ confirm_url_x }}{% endif %}"
    found = problems(
        *("x", "confirm_url"),
        purpose=purpose,
        html=html,
        subject="{{ confirm_url_of }}",
        confirms=(NEWS,),
    )
    assert found == [
        f"links to confirm by are for a confirmation, not for a {purpose}",
        f"subject: {{{{ confirm_url_of }}}} is for a confirmation, not for a {purpose}",
        f"html: {{{{ confirm_url }}}} is for a confirmation, not for a {purpose}",
        f"html: {{{{ confirm_url_x }}}} is for a confirmation, not for a {purpose}",
    ]


def test_each_link_has_its_place_and_each_place_its_link() -> None:
    text = "{{ confirm_url_of }} {{ confirm_url_news }} {{ postal_address }}"
    found = problems(purpose="confirmation", text=text, confirms=(NEWS,))
    assert found[0].startswith("text, line 1: there is no merge field 'confirm_url_of'")
    text = "{{ confirm_url_news }} {{ postal_address }}"
    assert problems(purpose="confirmation", text=text, confirms=(NEWS, OFFERS, Confirm("x"))) == [
        "link 2 to confirm by is nowhere in the mail: write {{ confirm_url_offers }} there",
        "link 3 to confirm by is nowhere in the mail: write {{ confirm_url_x }} there",
    ]
    assert problems(
        purpose="confirmation", text=text, confirms=(NEWS,), subject="{{ confirm_url }}"
    ) == ["subject: {{ confirm_url }} is for the text of a confirmation"]


@pytest.mark.parametrize(
    ("confirms", "said"),
    [
        ([Confirm("Big News")], "a name has 1 to 40 of a to z, 0 to 9 and _"),
        ([Confirm("a(")], "a name has 1 to 40"),
        ([Confirm("x" * 41)], "a name has 1 to 40"),
        ([NEWS, NEWS], "the link 'news' to confirm by: there are two of that name"),
        ([NEWS, Confirm()], "link 2 to confirm by has no name: only the first may have none"),
        ([Confirm(url="javascript:alert(1)")], "is no page to lead to: http(s)://… or nothing"),
        ([Confirm(url="https:///x")], "is no page"),
        ([Confirm(url="https://[x")], "is no page"),
        ([Confirm(url="https://a.example/\r\nx")], "is no page"),
        ([Confirm(url="https://a.example/" + "x" * 2_000)], "is no page"),
        ([Confirm(topic=" ")], "a topic has 1 to 100 printable characters"),
        ([Confirm(topic="x" * 101)], "a topic has 1 to 100"),
        ([Confirm(method="dance")], "its method is standard or custom, not 'dance'"),  # type: ignore[arg-type]
    ],
)
def test_links_that_cannot_be(confirms: list[Confirm], said: str) -> None:
    text = "{{ confirm_url }} {{ postal_address }}"
    found = problems(purpose="confirmation", text=text, confirms=tuple(confirms))
    assert said in found[0]
