"""Merge fields can neither fail late nor lead anywhere: rows are checked before anything leaves."""

from __future__ import annotations

import html
import re
import time

import pytest

from goodstanding.mailings.mail.content import ContentError
from tests.mailings.compose_parts import HTML_FOOTER, STAMP, compiled, rendered, text_of

HOSTILE = [
    "javascript:alert(1)", "JavaScript:alert(1)", " javascript:x", "java\tscript:x",
    "java\nscript:x", "\x01javascript:x", "data:text/html,<script>x</script>", "vbscript:x",
    "file:///etc/passwd", "//evil.example/x", "/x", "example.com", "https:", "https:///x",
    "blob:https://example.com/x", "\u00a0javascript:x", "https\u2028://x",
]  # fmt: skip
FINE = ["https://example.com/x?a=1&b=2", "HTTP://example.com", "mailto:a@example.com",
        "tel:+4930", "sms:+4930", " https://example.com/x", ""]  # fmt: skip


def href(page: str, fields: dict[str, str]) -> str:
    shown = text_of(rendered(fields, html=page + HTML_FOOTER), "html")
    found = re.search(r'href\s*=\s*"([^"]*)"', shown, re.IGNORECASE)
    assert found is not None
    return found[1]


@pytest.mark.parametrize("value", HOSTILE)
def test_addresses_that_a_mail_must_not_lead_to(value: str) -> None:
    fields = {"url": value}
    for page in (
        '<a href="{{ url }}">x</a>',
        "<a HREF = ' {{ url|default:\"https://example.com\" }}'>x</a>",
        '{% if url %}<a href="{{ url }}">x</a>{% endif %}',
        '<a href="{% if url %}{{ url }}{% else %}https://example.com/{% endif %}">x</a>',
        '<!--[if mso]><v:rect href="{{ url }}"></v:rect><![endif]--> <a href="#">x</a>',
    ):
        assert href(page, fields) == "#", page
    ready = compiled("url", html=f'<p>\n<a href="{{{{ url }}}}">x</a></p>{HTML_FOOTER}')
    assert ready.problem({"url": ""}, "ann@example.com") is None
    problem = ready.problem(fields, "bob@example.com")
    assert problem is not None
    assert problem.startswith("html, line 2: the address would be ")


@pytest.mark.parametrize("value", FINE)
def test_addresses_that_survive(value: str) -> None:
    fields = {"url": value}
    assert html.unescape(href('<a href="{{ url }}">x</a>', fields)) == value
    ready = compiled("url", html=f'<a href="{{{{ url }}}}">x</a>{HTML_FOOTER}')
    assert ready.problem(fields, "ann@example.com") is None


def test_addresses_whose_beginning_is_settled_are_left_alone() -> None:
    ready = compiled(
        "code",
        html='<a href="https://example.com/?c={{ code }}&amp;d=1">x</a>'
        f'<a href="mailto:{{{{ code }}}}">y</a>{HTML_FOOTER}',
    )
    assert ready.problem({"code": "javascript:x"}, "ann@example.com") is None
    shown = text_of(
        rendered({"code": "1:&2"}, html='<a href="https://a.example/{{ code }}">x</a>'
                 + HTML_FOOTER), "html",
    )  # fmt: skip
    assert 'href="https://a.example/1:&amp;2"' in shown


def test_a_field_may_not_end_the_host() -> None:
    page = '<a href="https://{{ host }}/x">x</a>'
    assert href(page, {"host": "shop.example.com"}) == "https://shop.example.com/x"
    assert href(page, {"host": ""}) == "#"


def test_references_in_addresses_are_resolved_once() -> None:
    page = '<a href="{{ base }}?a=1&amp;b=2">x</a>'
    assert href(page, {"base": "https://example.com/"}) == "https://example.com/?a=1&amp;b=2"


@pytest.mark.parametrize(
    "page",
    [
        "<p onclick=\"go('{{ name }}')\">x</p>",
        '<p style="width: {{ name }}">x</p>',
        '<iframe srcdoc="{{ name }}"></iframe>',
        '<img srcset="{{ name }} 2x">',
        "<!--[if mso]><td style='{{ name }}'><![endif]-->",
    ],
)
def test_attributes_in_which_escaping_protects_nothing(page: str) -> None:
    with pytest.raises(ContentError, match="html, line 2: a merge field here would be taken"):
        compiled("name", html=f"\n{page}{HTML_FOOTER}")


def test_a_wrong_field_in_an_address_has_its_line() -> None:
    with pytest.raises(ContentError, match=r"html, line 2: .*no merge field 'nmae'"):
        compiled("name", html=f'\n<a href="{{{{ nmae }}}}">x</a>{HTML_FOOTER}')
    with pytest.raises(ContentError, match="html, line 1: in an address: "):
        compiled(
            "name", html='{% for c in name %}<a href="{{ c }}">x</a>{% endfor %}' + HTML_FOOTER
        )


@pytest.mark.parametrize(
    ("recipient", "fields", "words"),
    [
        ("ann@example.com\r\nBcc: x@example.com", {"name": "A"}, "cannot stand in a To header"),
        ("ann@example.com", {"name": " \r\n "}, "the subject would be empty"),
        ("ann@example.com", {"name": "A", "note": "x" * 1_000_001}, "longer than 1,000,000"),
    ],
)
def test_a_row_that_cannot_be_sent(recipient: str, fields: dict[str, str], words: str) -> None:
    ready = compiled("name", "note", subject="{{ name }}", html=f"{{{{ note }}}}{HTML_FOOTER}")
    assert ready.problem({"name": "Eve"}, "eve@example.com") is None
    assert words in str(ready.problem(fields, recipient))


def test_what_passes_can_be_rendered() -> None:
    ready = compiled(
        "name", "url", subject="Hi {{ name|upper }}",
        html="{% if name|length > 3 %}{{ name|linebreaks }}{% endif %}"
        f'{{% for c in name %}}{{{{ c }}}}{{% endfor %}}<a href="{{{{ url }}}}">x</a>{HTML_FOOTER}',
    )  # fmt: skip
    for name in ("x", "\ud800", "\x00a", "{{ x }}", "a" * 5_000, "=?utf-8?q?x?=", "\u202e", "%s"):
        fields = {"name": name, "url": "https://example.com/\ud800"}
        assert ready.problem(fields, "ann@example.com") is None
        ready.render(fields, "ann@example.com", STAMP)


def test_checking_is_fast() -> None:
    ready = compiled(
        "name", "url", subject="{{ name }}", html=f'<a href="{{{{ url }}}}">{HTML_FOOTER}'
    )
    rows = [{"name": f"A{n}", "url": "https://example.com"} for n in range(5_000)]
    began = time.perf_counter()
    assert not any(ready.problem(fields, "ann@example.com") for fields in rows)
    assert time.perf_counter() - began < 1.0
