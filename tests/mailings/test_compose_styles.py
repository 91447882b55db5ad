"""Styles inlined: what mail programs read, the template untouched, nothing fetched."""

from __future__ import annotations

import socket
import time
from pathlib import Path

import pytest

from goodstanding.mailings.mail import inlining
from goodstanding.mailings.mail.content import ContentError
from tests.mailings.compose_parts import HTML_FOOTER, compiled, rendered, text_of


def test_styles_go_where_mail_programs_read_them() -> None:
    page = (
        "<style>p, .b { color: red } .b { font: 12px 'A B' } a:hover { color: blue }\n"
        "@media (max-width: 600px) { p { width: 100% } }</style>"
        '<p>1 {{ name }}</p>{% if name %}<p class="b" style="margin: 0">2</p>{% endif %}<i>3</i>'
    )
    shown = text_of(rendered({"name": "<Ann>"}, html=page + HTML_FOOTER), "html")
    assert '<p style="color: red;">1 &lt;Ann&gt;</p>' in shown
    assert '<p class="b" style="' in shown
    second = shown.partition('<p class="b" style="')[2].partition('"')[0]
    assert "margin: 0" in second
    assert "font: 12px &#x27;A B&#x27;" in second
    assert "color: red" in second
    assert "<i>3</i>" in shown
    # What cannot be inlined stays where it was.
    assert "a:hover { color: blue }" in shown
    assert "@media (max-width: 600px)" in shown


@pytest.mark.parametrize(
    ("tag", "expected"),
    [
        ("<p>", '<p style="color: red;">'),
        ("<P ID=x>", '<P style="color: red;" ID=x>'),
        ("<p style=margin:0>", '<p style="color: red;margin: 0">'),
        ('<p style="color: {% if a %}blue{% endif %}">', None),
        ("<p style='{% if a == \"x\" %}margin:0{% endif %}'>", None),
        ("<p {% if a %}class=x{% endif %}>", "<p {% if a %}class=x{% endif %}>"),
        ('<p title="{{ a|default:"y" }}">', '<p style="color: red;" title="{{ a|default:"y" }}">'),
    ],
)
def test_template_tags_stay(tag: str, expected: str | None) -> None:
    sheet = "<style>p { color: red }</style>"
    done = inlining.inlined(f"{sheet}\n{tag}x</p>{{% if a %}}\n{{{{ a }}}}{{% endif %}}")
    if expected is None:
        expected = tag.replace('style="', 'style="color: red;').replace(
            "style='", "style='color: red;"
        )
    assert done == f"{sheet}\n{expected}x</p>{{% if a %}}\n{{{{ a }}}}{{% endif %}}"


def test_an_element_keeps_its_own_style_over_the_sheets() -> None:
    done = inlining.inlined("<style>p{color:red;margin:0}</style><p style='color:blue'>x")
    style = done.partition('style="')[2].partition('"')[0]
    assert "color: blue" in style
    assert "color: red" not in style
    assert "margin: 0" in style


def test_loops_in_tables_stay_where_they_are() -> None:
    page = (
        "<style>td { color: red }</style><table>{% for c in name %}<tr><td>{{ c }}</td></tr>"
        "{% endfor %}</table>"
    )
    shown = text_of(rendered({"name": "ab"}, html=page + HTML_FOOTER), "html")
    cell = '<tr><td style="color: red;">{}</td></tr>'
    assert f"<table>{cell.format('a')}{cell.format('b')}</table>" in shown


def test_nothing_is_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sheet = tmp_path / "sheet.css"
    sheet.write_text("p { color: green }")
    with socket.socket() as heard:
        heard.bind(("127.0.0.1", 0))
        heard.listen()
        heard.setblocking(False)
        place = f"http://127.0.0.1:{heard.getsockname()[1]}/x.css"
        page = (
            f'<base href="{place}"><link rel="stylesheet" href="{sheet}">'
            f'<link rel="stylesheet" href="{place}"><link rel=stylesheet href="file://{sheet}">'
            f"<style>@import '{place}'; @import url(file://{sheet}); b {{ color: red }}</style>"
            f"<p>x</p><b>y</b>{HTML_FOOTER}"
        )
        shown = text_of(rendered(html=page), "html")
        with pytest.raises(BlockingIOError):
            heard.accept()
    assert "<p>x</p>" in shown
    assert "green" not in shown


def test_what_would_take_for_ever_is_refused() -> None:
    began = time.monotonic()
    many = "".join(f".c{n} > p {{ color: red }}" for n in range(2_000))
    with pytest.raises(ContentError, match="too many rules"):
        compiled(html=f"<style>{many}</style>{'<p>x' * 20_000}{HTML_FOOTER}")
    with pytest.raises(ContentError, match="250 elements deep"):
        compiled(html=f"<style>p {{ x: y }}</style>{'<div>' * 100_000}{HTML_FOOTER}")
    assert time.monotonic() - began < 10


def test_much_that_is_not_deep_is_fine() -> None:
    page = "<style>p { color: red }</style>" + "<p>x<br><img src=x><div>y</div>" * 2_000
    compiled(html=page + HTML_FOOTER)


@pytest.mark.parametrize(
    "sheet", ["p{color:", "}}}{{ {", "p{color:red;;;", "a[href=", "@media{", "/*", "<!-- p{} -->"]
)
def test_broken_style_sheets_break_nothing(sheet: str) -> None:
    if "{{" in sheet:
        sheet = sheet.replace("{{", "{ {")
    shown = text_of(rendered(html=f"<style>{sheet}</style><p>Hi</p>{HTML_FOOTER}"), "html")
    assert ">Hi</p>" in shown


@pytest.mark.parametrize("piece", ['<a "', "<a ", "</", "<!--", "<?"])
def test_tags_that_never_end_are_refused_at_once(piece: str) -> None:
    began = time.monotonic()
    with pytest.raises(ContentError, match="html, line 2: a tag is not closed"):
        compiled(html=f"{HTML_FOOTER}\n{piece * 50_000}")
    assert time.monotonic() - began < 2
    compiled(html=f"{HTML_FOOTER} 1 < 2")
