"""Composing: what a recipient's message says, and which contents are refused."""

from __future__ import annotations

import email.utils
import os
import subprocess
import sys
from datetime import UTC, datetime
from typing import Any

import pytest
from django.template import Context, Engine

from goodstanding.mailings.mail.content import ContentError
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


def problems(*fields: str, **more: Any) -> list[str]:
    with pytest.raises(ContentError) as caught:
        compiled(*fields, **more)
    return list(caught.value.problems)


# The message


def test_a_broadcast_has_every_header_once() -> None:
    message = rendered(
        {"name": "Ann"},
        from_name="The News",
        reply_to="desk@example.com",
        subject="Hello {{ name }}",
        html=f"<html><body><p>Hi {{{{ name }}}}</p>{HTML_FOOTER}</body></html>",
    )
    assert {name: str(value) for name, value in message.items()} == {
        "From": "The News <news@example.com>",
        "Reply-To": "desk@example.com",
        "To": "ann@example.com",
        "Subject": "Hello Ann",
        "Date": "Tue, 14 Nov 2023 22:13:20 +0000",
        "Message-ID": "<m7@news.example.com>",
        "List-Unsubscribe": (
            "<mailto:leave+abc@news.example.com>, <https://news.example.com/one/abc>"
        ),
        "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
        "List-Id": "<news.example.com>",
        "Feedback-ID": "spring:news:b:goodco",
        "MIME-Version": "1.0",
        "Content-Type": 'multipart/alternative; boundary="=_goodstanding_alternative"',
    }
    assert len(message.items()) == 12
    assert [part.get_content_type() for part in message.iter_parts()] == [
        "text/plain",
        "text/html",
    ]


def test_date_is_the_stamps() -> None:
    message = rendered()
    assert email.utils.parsedate_to_datetime(message["Date"]) == datetime.fromtimestamp(
        1_700_000_000, UTC
    )


def test_bodies_say_what_was_written() -> None:
    fields = {"name": "Ann", "city": "", "note": "one\r\ntwo\rthree"}
    message = rendered(
        fields,
        text="Hi {{ name }}!\n\n.dot\nFrom here \n{% if city %}In {{ city }}{% endif %}"
        f"{{{{ note }}}}\nhttps://example.com/a?b=c\n{FOOTER}\n",
        html=f'<body>Hi {{{{ name|default:"you" }}}} <img src="x.png">{HTML_FOOTER}</body>',
    )
    leave = STAMP.unsubscribe_url
    assert text_of(message, "plain") == (
        "Hi Ann!\n\n.dot\nFrom here \none\ntwo\nthree\nhttps://example.com/a?b=c\n"
        f"1 High Street\nTown {leave}\n"
    )
    assert text_of(message, "html") == (
        '<body>Hi Ann <img src="x.png"><p>1 High Street<br>\nTown '
        '<a href="https://news.example.com/u/abc?x=1&amp;y=2">leave</a></p>'
        '<img src="https://news.example.com/o/abc" width="1" height="1" alt=""></body>\n'
    )


@pytest.mark.parametrize("fields", [{}, {"name": ""}, {"other": "x"}])
def test_missing_fields_are_empty_or_their_default(fields: dict[str, str]) -> None:
    ready = compiled(
        "name",
        subject="Hi {{ name }}",
        text=f'{{{{ name }}}}|{{{{ name|default:"you" }}}} {FOOTER}',
    )
    message = strictly(ready.render(fields, "ann@example.com", STAMP))
    assert message["Subject"] == "Hi"
    assert text_of(message, "plain").startswith("|you 1 High Street")


@pytest.mark.parametrize("name", ["", "Ann", "a <b> & 'c' \"d\""])
def test_a_default_stands_as_it_is_and_a_value_is_escaped_as_django_does(name: str) -> None:
    template = '{{ name|default:"<i>you</i> & \\"all\\"" }}'
    ready = compiled("name", subject="x", html=f"<body>{template}|{HTML_FOOTER}</body>")
    message = strictly(ready.render({"name": name}, "ann@example.com", STAMP))
    django = Engine().from_string(template).render(Context({"name": name}))
    assert f"<body>{django}|" in text_of(message, "html")


def test_a_text_alone_is_no_multipart() -> None:
    message = rendered(text=f"<p>Hi {FOOTER}</p>")
    assert message.get_content_type() == "text/plain"
    assert message.get_content().startswith("<p>Hi 1 High Street")


def test_html_alone_gets_a_text() -> None:
    message = rendered({"name": "Ann"}, text=None, html=f"<p>Hi {{{{ name }}}}</p>{HTML_FOOTER}")
    assert message.get_content_type() == "multipart/alternative"
    assert text_of(message, "plain") == (
        f"Hi Ann\n\n1 High Street\nTown leave <{STAMP.unsubscribe_url}>\n"
    )


def test_loops_conditions_and_comments() -> None:
    message = rendered(
        {"name": "abc", "plan": "gold"},
        text="{% for c in name %}{{ forloop.counter }}{{ c }} {% empty %}none{% endfor %}"
        "{% if plan == 'gold' and not name|length > 5 %}yes{% elif plan %}no{% else %}-{% endif %}"
        f"{{# aside #}}{{% comment %}}{{{{ nobody }}}}{{% endcomment %}}\n{FOOTER}",
    )
    assert text_of(message, "plain").startswith("1a 2b 3c yes\n1 High")


def test_what_only_bulk_mail_carries() -> None:
    plain = {"text": "Your receipt", "postal_address": ""}
    receipt = rendered(purpose="transactional", **plain)
    assert receipt["Auto-Submitted"] == "auto-generated"
    assert receipt["List-Unsubscribe"] is None
    note = rendered(purpose="one_off", **plain)
    assert note["Auto-Submitted"] is None
    news = rendered(purpose="sequence")
    assert news["Auto-Submitted"] is None
    assert news["Precedence"] is None
    assert news["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"


def test_what_a_stamp_may_leave_out() -> None:
    stamp = FakeStamp(unsubscribe_mailto=None, open_url=None, feedback_id=(), list_id=None)
    message = rendered(stamp=stamp, html=f"<p>x</p>{HTML_FOOTER}")
    assert message["List-Unsubscribe"] == "<https://news.example.com/one/abc>"
    assert message["Feedback-ID"] is None
    assert message["List-Id"] is None
    assert "<img" not in text_of(message, "html")


def test_feedback_id_keeps_its_four_fields() -> None:
    stamp = FakeStamp(feedback_id=("spring: sale", "größe", "a\r\nBcc: x", "goodco"))
    assert rendered(stamp=stamp)["Feedback-ID"] == "spring_sale:gr_e:a_Bcc_x:goodco"


def test_it_works_without_any_settings() -> None:
    code = (
        "from tests.mailings.compose_parts import *\n"
        "m = rendered({'n': 'x'}, text='{{ n|length }}{{ n|upper }}{{ n|add:n|title }}'"
        " + FOOTER, html='{% if n %}{{ n|linebreaks }}{% endif %}' + HTML_FOOTER)\n"
        "from django.conf import settings\n"
        "assert not settings.configured\n"
        "print(text_of(m, 'plain')[:4])"
    )
    env = {k: v for k, v in os.environ.items() if k != "DJANGO_SETTINGS_MODULE"}
    ran = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False
    )
    assert ran.stdout == "1XXx\n", ran.stderr


# Links


HREFS = """<body>
<a href="https://example.com/one?a=1&amp;b=2">1</a> <A class=x HREF='HTTP://Example.com/two'>2</A>
<a
  href=https://example.com/three>3</a> <map><area href=" https://example.com/four "></map>
<a href="https://example.com/one?a=1&b=2">1 again</a>
{% if vip %}<a href="https://example.com/vip">vip</a>{% endif %}
<a href="mailto:x@example.com">m</a> <a href="tel:+4930">t</a> <a href="#top">top</a>
<a href="/relative">r</a> <a href="ftp://example.com/">f</a> <a name="x">n</a> <a href>e</a>
<a href="https://example.com/{{ code }}">tag</a>
<a href="{% if vip %}https://example.com/x{% else %}https://example.com/y{% endif %}">tag</a>
<a href="{{ code|default:"https://example.com/z" }}">tag</a>
<!-- <a href="https://example.com/commented">c</a> --><link href="https://example.com/style.css">
<a data-href="https://example.com/data" title="href='https://example.com/title'">d</a>
<a href="{{ preferences_url }}">p</a> <img src="https://example.com/i.png">
""" + HTML_FOOTER + "</body>"  # fmt: skip


def test_which_links_become_click_links() -> None:
    ready = compiled("vip", "code", html=HREFS)
    assert ready.links == (
        "https://example.com/one?a=1&b=2",
        "HTTP://Example.com/two",
        "https://example.com/three",
        "https://example.com/four",
        "https://example.com/vip",
    )
    raw = ready.render({"vip": "yes", "code": "42"}, "ann@example.com", STAMP)
    html = text_of(strictly(raw), "html")
    for n, times in enumerate([2, 1, 1, 1, 1]):
        assert html.count(f'"https://news.example.com/c/{n}?s=1&amp;t=2"') == times
    for kept in (
        "mailto:x@example.com",
        '"/relative"',
        '"https://example.com/42"',
        '"https://example.com/x"',
        "https://example.com/commented",
        "https://example.com/style.css",
        "https://example.com/data",
        "https://example.com/title",
        "https://example.com/i.png",
        STAMP.preferences_url,
    ):
        assert kept in html
    for gone in ("/one", "/two", "/three", "/four", "/vip"):
        assert gone not in html


def test_text_keeps_its_addresses() -> None:
    ready = compiled(text=f"https://example.com/one\n{FOOTER}")
    assert ready.links == ()
    message = strictly(ready.render({}, "ann@example.com", STAMP))
    assert "https://example.com/one\n" in text_of(message, "plain")


@pytest.mark.parametrize(
    "html",
    ["<p>no body</p>", "<BODY>x</BODY ></html>", "<!-- </body> --><body>x</body>",
     "{% if a %}<body>{% endif %}x{% if a %}</body>{% endif %}"],
)  # fmt: skip
def test_one_pixel_at_the_end(html: str) -> None:
    message = rendered({"a": "yes"}, html=HTML_FOOTER + html)
    shown = text_of(message, "html")
    assert shown.count(STAMP.open_url or "") == 1
    tail = shown[shown.index("<img") :].lower()
    assert tail.count("</body") == html.lower().replace("<!-- </body> -->", "").count("</body")


# Refusals


@pytest.mark.parametrize(
    ("source", "line", "words"),
    [
        ("a\n{% if x %}", 2, "Unclosed tag"),
        ("{% endif %}", 1, "'endif' is not available"),
        ("\n\n{% include 'x' %}", 3, "'include' is not available"),
        ("{% load i18n %}", 1, "'load'"),
        ("{% extends 'x' %}", 1, "'extends'"),
        ("{% autoescape off %}x{% endautoescape %}", 1, "'autoescape'"),
        ("{% now 'Y' %}", 1, "'now'"),
        ("{% lorem %}", 1, "'lorem'"),
        ("{% debug %}", 1, "'debug'"),
        ("\n{{ name|safe }}", 2, "Invalid filter: 'safe'"),
        ("{{ name|ljust:'999999999' }}", 1, "Invalid filter"),
        ("{{ nmae }}", 1, "no merge field 'nmae'; did you mean 'name'?"),
        ("x\n{% if nmae %}{% endif %}", 2, "no merge field 'nmae'"),
        ("{% if name == 1 or not nmae %}{% endif %}", 1, "no merge field 'nmae'"),
        ("{% if name %}\n{{ nmae }}{% endif %}", 2, "no merge field 'nmae'"),
        ("{% for c in nmae %}{% endfor %}", 1, "no merge field 'nmae'"),
        ("{% for c in name %}{{ c }}{% endfor %}\n{{ c }}", 2, "no merge field 'c'"),
        ("{{ name|default:nmae }}", 1, "no merge field 'nmae'"),
        ("{{ gs_slot_click_0 }}", 1, "no merge field"),
        ("{{ name.upper }}", 1, "no parts"),
        ("{% for c in name %}{{ c.upper }}{% endfor %}", 1, "no parts"),
        ("{{ name.__class__ }}", 1, "underscores"),
        ("{{ _('x') }}", 1, "translated"),
        ("{{ }}", 1, "Empty variable tag"),
        ("{{ name!x }}", 1, "remainder"),
        ("a\nb {{ name }\nc", 2, "'{{' is not closed"),
        ("{% if name %}a\n{{ name\n}}{% endif %}", 2, "'{{' is not closed"),
        ("{% for a in name %}{% for b in name %}{% endfor %}{% endfor %}", 1, "loop within"),
        ("{% for a, b in name %}{% endfor %}", 1, "one variable"),
        ("{% if name %}" * 3000 + "{% endif %}" * 3000, 1, "nested"),
        ("x" * 1_000_001, 1, "longer than"),
    ],
)
def test_template_problems_are_named_with_their_line(source: str, line: int, words: str) -> None:
    for part in ("text", "html"):
        found = problems("name", **{part: f"{source}\n{FOOTER}"})
        assert any(p.startswith(f"{part}, line {line}: ") and words in p for p in found), found
    if "\n" not in source:
        found = problems("name", subject=source)
        assert any(p.startswith("subject, line 1: ") and words in p for p in found), found


def test_every_problem_is_listed_at_once() -> None:
    found = problems(
        "name", subject="{{ a }}", text="{{ b }}\n{{ c }}", html="{% x %}", postal_address=" "
    )
    assert len(found) == 5
    assert {p.split(":")[0] for p in found} >= {
        "subject, line 1",
        "text, line 1",
        "text, line 2",
        "html, line 1",
    }


def test_a_template_that_fails_on_values_is_refused_before_anything_leaves() -> None:
    assert "cannot be rendered" in problems(text="{% for x in 5 %}{% endfor %}" + FOOTER)[0]


@pytest.mark.parametrize("purpose", ["broadcast", "sequence"])
@pytest.mark.parametrize(
    ("part", "source"),
    [
        ("text", "Hello {{ postal_address }}"),
        ("html", "<p>Hello {{ postal_address }}</p>"),
        ("html", "<!-- {{ unsubscribe_url }} --> {{ postal_address }}"),
        ("text", "{% if name %}{{ unsubscribe_url }}{% endif %} {{ postal_address }}"),
        ("text", "{% comment %}{{ unsubscribe_url }}{% endcomment %} {{ postal_address }}"),
        ("text", "{# {{ unsubscribe_url }} #} {{ postal_address }}"),
    ],
)
def test_no_bulk_mail_without_an_unsubscribe_link(purpose: str, part: str, source: str) -> None:
    found = problems("name", purpose=purpose, **{part: source})
    assert len(found) == 1
    assert found[0].startswith(f"{part}: an unsubscribe link is missing")
    compiled("name", purpose="one_off", **{part: source})


def test_no_bulk_mail_without_a_postal_address() -> None:
    assert problems(text="{{ unsubscribe_url }}")[0].startswith("text: the postal address")
    assert "no postal address is set" in problems(postal_address="\n ")[0]


def test_a_mail_needs_a_body_a_subject_and_a_sender() -> None:
    assert problems(text=None) == ["a mail needs a text, an HTML part, or both"]
    assert problems(subject=" ") == ["subject: it is empty"]
    assert problems(from_address="nobody")[0].startswith("from address: ")
    assert problems(reply_to="")[0].startswith("reply-to: ")
    assert problems(from_address="ünal@example.com")[0].startswith("from address: only ASCII")


@pytest.mark.parametrize("end", ["\n", "\r", "\r\n", "\x00", "\u2028", "\x85", "\x0b"])
@pytest.mark.parametrize("field", ["subject", "from_name", "from_address", "reply_to"])
def test_line_ends_in_headers_are_refused(field: str, end: str) -> None:
    found = problems(**{field: f"a@example.com{end}Bcc: x@example.com"})
    assert f"{field.replace('_', ' ').replace('reply to', 'reply-to')}: a line end" in found[0]


@pytest.mark.parametrize(
    ("html", "line"),
    [
        ("<a title={{ name }}>x</a>", 1),
        ("\n<a {{ name }}>x</a>", 2),
        ("<p>\n<{{ name }}>", 2),
        ("< {{ name }}>", 1),
        ("<h{{ name }}>x", 1),
        ("<script>\nvar x = '{{ name }}'</script>", 2),
        ("<style>\na { color: {{ name }} }</style>", 2),
        ("<a title='a'\n{% if name %}b={{ name }}{% endif %}>x</a>", 1),
    ],
)
def test_merge_fields_where_escaping_protects_nothing(html: str, line: int) -> None:
    found = problems("name", html=html + HTML_FOOTER)
    assert len(found) == 1
    assert found[0].startswith(f"html, line {line}: a merge field here would be taken for markup")


def test_merge_fields_where_escaping_protects() -> None:
    compiled(
        "name",
        html="<style>@media x{a{b:c}}</style><td {% if name %}class='x'{% endif %}>1 < 2 &"
        f" {{{{ name }}}}</td><a title='{{{{ name }}}}' href=\"{{{{ name }}}}\">x</a>{HTML_FOOTER}",
    )
