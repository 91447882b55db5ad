"""The console as somebody meets it who has a keyboard, or a telephone, and no script running."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from django.conf import settings
from pytest_django.live_server_helper import LiveServer

from tests.console.conftest import NAME, PASSWORD
from tests.console.sending import Broadcast

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "spool"])

OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
# How far apart in brightness each text is from what lies behind it (WCAG 2.2, 1.4.3), the worst.
CONTRAST = """() => {
  const channels = colour => {
    const [r, g, b, a = 1] = colour.match(/[\\d.]+/g).map(Number);
    return {rgb: [r, g, b], a};
  };
  const light = rgb => {
    const [r, g, b] = rgb.map(v => v / 255).map(v => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4);
    return .2126 * r + .7152 * g + .0722 * b;
  };
  const behind = element => {
    for (; element; element = element.parentElement) {
      const {rgb, a} = channels(getComputedStyle(element).backgroundColor);
      if (a === 1) return light(rgb);
    }
    return 1;
  };
  let worst = [99, ''];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const text = walker.currentNode.textContent.trim(), element = walker.currentNode.parentElement;
    if (!text || element.closest('style')) continue;
    const pair = [light(channels(getComputedStyle(element).color).rgb), behind(element)].sort((a, b) => b - a);
    const ratio = (pair[0] + .05) / (pair[1] + .05);
    if (ratio < worst[0]) worst = [ratio, text];
  }
  return worst;
}"""  # noqa: E501


@pytest.fixture(autouse=True, scope="module")
def _beside_a_loop() -> Iterator[None]:
    """Playwright runs a loop in this thread; Django is to take no notice."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
        yield


@pytest.fixture(scope="session")
def live_server() -> Iterator[LiveServer]:
    """Serve on a port of its own. The server wants to be told of a folder of files."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(settings, "STATIC_URL", "/no-files-here/")
        server = LiveServer("localhost")
    yield server
    server.stop()


@pytest.fixture
def page(browser: "Browser") -> Iterator["Page"]:
    context = browser.new_context(viewport={"width": 360, "height": 740}, locale="en-GB")
    page = context.new_page()
    page.set_default_timeout(15_000)
    yield page
    context.close()


def test_with_the_keyboard_on_a_telephone(
    page: "Page", live_server: LiveServer, operator: None, broadcast: Broadcast
) -> None:
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    Broadcast.of("W" * 190, broadcast.now)
    broadcast.send("sent", "sent", "bounced", "deferred")

    page.goto(live_server.url)
    assert page.title() == "Sign in · Goodstanding"
    # The cursor waits where the name goes.
    page.keyboard.type(NAME)
    page.keyboard.press("Tab")
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Enter")
    page.wait_for_url(f"{live_server.url}/")
    assert page.get_by_role("heading", name="Overview").is_visible()

    page.keyboard.press("Tab")
    focused = page.locator(":focus")
    assert focused.inner_text() == "Skip to the content"
    assert focused.bounding_box()["y"] >= 0, "what has the focus is seen"  # type: ignore[index]
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert focused.inner_text() == "Stop that", "the header was skipped"
    page.keyboard.press("Enter")
    page.wait_for_url("**/?refresh=off")

    sent = page.get_by_role("article", name="Autumn")
    assert sent.get_by_role("row", name="Hard bounce 1").is_visible()
    assert sent.get_by_role("row", name="Opted out 1").is_visible()
    bar = sent.get_by_role("progressbar", name="Autumn")
    assert bar.get_attribute("aria-valuenow") == "41"
    assert bar.bounding_box()["width"] > 250  # type: ignore[index]
    ugly = page.get_by_role("article", name="Ugly")
    assert ugly.get_by_role("table").is_visible()
    assert ugly.get_by_role("row", name="Complained 1").is_visible()

    for width in (360, 320):
        page.set_viewport_size({"width": width, "height": 740})
        assert page.evaluate(OVERFLOW) == 0, f"at {width} pixels it scrolls sideways"
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        ratio, text = page.evaluate(CONTRAST)
        assert ratio >= 4.5, f"{text!r} is hard to read in the {scheme} scheme"
    assert complaints == [], "nothing on the page is against its own policy"

    page.get_by_role("button", name="Sign out").focus()
    page.keyboard.press("Enter")
    page.wait_for_url(f"{live_server.url}/sign-in/")
    page.goto(live_server.url)
    assert page.title().startswith("Sign in")


def test_it_follows_the_sending_without_a_script(
    browser: "Browser", live_server: LiveServer, operator: None, broadcast: Broadcast
) -> None:
    context = browser.new_context(java_script_enabled=False, locale="en-GB")
    try:
        page = context.new_page()
        page.goto(live_server.url)
        page.get_by_label("Name").fill(NAME)
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Sign in").click()
        page.get_by_text("Waiting: 10").wait_for()
        broadcast.send(*["sent"] * 10)
        page.get_by_text("Completed").wait_for(timeout=15_000)
        assert page.locator("meta[http-equiv=refresh]").count() == 0
    finally:
        context.close()
