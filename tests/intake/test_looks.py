"""The pages in a real browser, narrow and wide: readable, and their style lets itself in."""

from pathlib import Path
from typing import Any

import pytest
from django.test import RequestFactory

from goodstanding.intake import pages

pytestmark = pytest.mark.urls("tests.intake.site")

WHOM = {
    "sender": "The Shop",
    "topic": "Spring offers",
    "address": "c…@example.net",
    "more": "aaaaaaaaaaaaaaaaaaaaaaaa",
}
LONG = WHOM | {"sender": "Donaudampfschiffahrt" * 8, "topic": "x" * 100}


@pytest.mark.parametrize("width", [320, 1200])
@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize(
    ("template", "context"),
    [
        ("preferences.html", WHOM),
        ("preferences.html", LONG),
        ("unsubscribe.html", WHOM),
        ("confirm.html", WHOM),
        ("confirm.html", LONG),
        ("confirmed.html", WHOM),
        ("done.html", WHOM | {"act": "opt_out_of_topic"}),
        ("said.html", {"said": "This link is not one of ours."}),
    ],
)
def test_a_page(
    browser: Any, tmp_path: Path, template: str, context: dict[str, str], width: int, dark: bool
) -> None:
    response = pages._page(RequestFactory().get("/"), template, context)
    names = ("Content-Security-Policy", "Content-Type")
    headers = {name: response[name] for name in names}
    scheme = "dark" if dark else "light"
    page = browser.new_page(viewport={"width": width, "height": 640}, color_scheme=scheme)
    told: list[str] = []
    page.on("console", lambda message: told.append(message.text))
    page.route("**/*", lambda route: route.fulfill(body=response.content, headers=headers))
    page.goto("http://pages.example/page")
    page.screenshot(path=tmp_path / f"{template}-{width}-{scheme}.png")
    root = "document.documentElement"
    assert page.evaluate(f"{root}.scrollWidth - {root}.clientWidth") == 0
    border = page.evaluate("getComputedStyle(document.querySelector('main')).borderTopWidth")
    assert border == "1px"  # the style sheet came through the page's own policy
    assert not [line for line in told if "Content Security Policy" in line]
    page.close()
