"""The text made of HTML where none is given: readable, complete, and as personal as the HTML."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from goodstanding.mailings.mail import merge, plaintext
from goodstanding.mailings.mail.content import ContentError
from tests.mailings.compose_parts import HTML_FOOTER, STAMP, compiled, rendered, text_of

LETTER = """<!DOCTYPE html><html lang="en"><head><title>June</title><style>
.hidden { display: none } p { color: red }</style></head><body>
<div class="hidden">Seen before it is opened</div><span style="display:none">no</span>
<table role="presentation"><tr><td><h1>June &amp; news</h1>
<p>Dear {{ name|default:"friend" }},</p>
{% if city %}<p>come
to <a href="https://example.com/june?a=1&amp;b=2">our shop</a> in {{ city }}.</p>
{% endif %}<p>Bring:</p><ul>{% for c in list %}<li>{{ c }}</li>{% endfor %}</ul>
<p><a href="https://example.com/hat"><img src="hat.png" alt="Buy a hat"></a></p></td></tr></table>
<table><tr><th>Hat</th><th>Price</th></tr><tr><td>Red</td><td>{{ price }}</td></tr></table>
<p>See <a href="https://example.com/">example.com</a>, <a href="#top">top</a>, <a
href="mailto:desk@example.com">write</a>.</p>
<p><a href="{{ unsubscribe_url }}">Unsubscribe</a></p><address>{{ postal_address }}</address>
</body></html>"""


def text(html: str, fields: dict[str, str] | None = None, **more: str) -> str:
    message = rendered(fields or {}, text=None, html=html, **more)
    return text_of(message, "plain")


def test_a_letter() -> None:
    fields = {"name": "Ann", "city": "Town", "list": "ab", "price": "5 \u20ac"}
    assert (
        text(LETTER, fields)
        == f"""\
June & news

Dear Ann,

come to our shop <https://example.com/june?a=1&b=2> in Town.

Bring:

* a
* b

Buy a hat <https://example.com/hat>

Hat | Price
Red | 5 \u20ac

See example.com, top, write <desk@example.com>.

Unsubscribe <{STAMP.unsubscribe_url}>

1 High Street
Town
"""
    )


def test_what_a_recipient_lacks_leaves_hardly_a_gap() -> None:
    said = text(LETTER, {"name": "", "city": "", "list": "", "price": "1"})
    assert "Dear friend,\n\nBring:\n" in said
    assert "\n\n\n\n" not in said


@pytest.mark.parametrize(
    ("html", "expected"),
    [
        ("{% if a %}<p>A</p>{% else %}<p>B</p>{% endif %}<p>End</p>", "B\n\nEnd"),
        ("<p>x{% if not a %} y{% endif %}</p>", "x y"),
        ("<p>{{ note|linebreaks }}</p>", "<b>1\n2"),
        ('<p>{{ a|default:"x &amp; y" }}</p>', "x & y"),
        ("<p>&#123;&#123; a }} &#123;% if %} {&#35;</p>", "{{ a }} {% if %} {#"),
        ("<p>a{# {{ no }} #}{% comment %}<p>{{ no }}{% endcomment %}b</p>", "ab"),
        ("<table>{% for c in n %}<tr><td>{{ c }}</td><td>z</td></tr>{% endfor %}</table>",
         "1 | z\n2 | z"),
        ("<div {% if a %}class='x'{% endif %} title='{{ a }}'>d</div>", "d"),
        ("<p>a {#1</p>\n<p>b #}</p>", "a {#1\n\nb #}"),
        ("<pre>a\n  b</pre>", "a\n  b"),
        ("x<br>y<br>\nz", "x\ny\nz"),
        ("<ol><li>a<li>b</ol>", "1. a\n2. b"),
        ('<a href="{{ link }}">go</a>', "go <https://example.com/1>"),
        ('<a href="{{ bad }}">go</a>', "go <#>"),
        ('<a href="https://example.com/?n={{ n }}">go</a>', "go <https://example.com/?n=12>"),
        ('<a href=" https://www.example.com/ ">Example.com</a>', "Example.com"),
        ('<p hidden>a</p><!-- <p>b</p> --><script>c</script><style>d{}</style>e', "e"),
        ('<?xml version="1.0" encoding="utf-8"?><meta charset="koi8-r"><p>\u0413\u00e4</p>',
         "\u0413\u00e4"),
    ],
)  # fmt: skip
def test_pieces(html: str, expected: str) -> None:
    fields = {
        "a": "", "n": "12", "note": "<b>1\n2", "link": "https://example.com/1",
        "bad": "javascript:alert(1)",
    }  # fmt: skip
    said = text(html + "<hr>" + HTML_FOOTER, fields)
    assert said.partition("\n\n-----")[0].strip("\n") == expected


def test_whoever_hides_the_footer_has_it_in_the_text() -> None:
    said = text(f'<p>Hi</p><div style="display:none">{HTML_FOOTER}</div>')
    assert said == f"Hi\n\n1 High Street\nTown\n{STAMP.unsubscribe_url}\n"


def test_a_text_that_is_given_is_left_alone() -> None:
    message = rendered(html=f"<p>Other</p>{HTML_FOOTER}")
    assert "Other" not in text_of(message, "plain")


def test_html_of_which_no_text_can_be_made_is_refused() -> None:
    with pytest.raises(ContentError, match="made into a text"):
        compiled(
            "a",
            text=None,
            html=f'{{% if a %}}<p style="display:none">{{% endif %}}</p>x{HTML_FOOTER}',
        )


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.sampled_from([
            "<p>", "</p>", "<table>", "<tr>", "<td>", "</table>", "<a href='{{ a }}'>", "</a>",
            "{{ a }}", "{% if a %}x{% else %}y{% endif %}", "{% for c in a %}", "{% endfor %}",
            "{", "{{", "%}", "text ", "\n", "<ul><li>", "</ul>", "<!--", "-->", "<img alt='i'>",
            "&lt;", "<div style='display:none'>", "</div>", "<b", "<![if x]>", "]]>", "</body>",
            "\ufdd2", "<textarea>", "<select><option>", "<svg>", "\u2028",
        ]),
        max_size=25,
    )
)  # fmt: skip
def test_anything_becomes_a_text_or_is_refused_at_once(pieces: list[str]) -> None:
    source = "".join(pieces)
    try:
        merge.parse(source, ["a"], markup=True)
        made = plaintext.from_html(source)
        merge.parse(made, ["a"], markup=False)
    except (merge.MergeError, plaintext.NoText):
        return
    assert made.endswith("\n")
