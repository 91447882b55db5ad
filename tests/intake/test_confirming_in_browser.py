"""Confirming as a person does it: a browser, our web server, and somebody else's page after it."""

import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from django.conf import settings
from pytest_django.live_server_helper import LiveServer

from goodstanding.core.addresses import Address
from goodstanding.core.events import SECOND, Event
from goodstanding.intake import digest
from goodstanding.ledger import models as ledger
from goodstanding.ledger.recording import record
from goodstanding.ledger.signing import signer

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "spool"])

ANN = Address("email", "ann@example.net")
NOW = time.time_ns() // 1000


@pytest.fixture(autouse=True, scope="module")
def _beside_a_loop() -> Iterator[None]:
    """Playwright runs a loop in this thread; Django is to take no notice."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
        yield


@pytest.fixture(scope="module")
def server() -> Iterator[LiveServer]:
    """Serve on a port of its own. The server wants to be told of a folder of files."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(settings, "STATIC_URL", "/no-files-here/")
        server = LiveServer("localhost")
    yield server
    server.stop()


class _Shop(BaseHTTPRequestHandler):
    """Leads from one host to another, as sites do, and then says thanks."""

    def do_GET(self) -> None:
        port = self.server.server_address[1]
        there = self.path == "/thanks"
        self.send_response(200 if there else 302)
        if not there:
            self.send_header("Location", f"http://localhost:{port}/thanks")
        self.end_headers()
        if there:
            self.wfile.write(f"Thanks; from {self.headers.get('Referer')}".encode())

    def log_message(self, *_: object) -> None:
        """Keep quiet."""


@pytest.fixture
def shop() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Shop)
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


def asked(landing: str, topic: str | None = None) -> str:
    """A request that was sent to Ann; the token of its link."""
    said = {"mailing": "welcome", "purpose": "confirmation"}
    record(
        [
            Event("opted_in", NOW - 60 * SECOND, ANN, "form", detail={"how": "form"}),
            Event("sent", NOW - 50 * SECOND, ANN, "smtp", **said),
        ],
        NOW,
    )
    row = ledger.Delivery.objects.get()
    ledger.Link.objects.create(
        mailing_id=row.mailing_id, number=0, url=landing, confirms="standard", topic=topic
    )
    return signer().sign("confirm", row.pk, 0)


def status() -> str:
    digest.digest(time.time_ns() // 1000)
    return ledger.Address.objects.get().status


def test_on_to_the_senders_own_page(browser: Any, server: LiveServer, shop: str) -> None:
    page = browser.new_page(viewport={"width": 360, "height": 740})
    page.goto(f"{server.url}/confirm/{asked(shop + '/danke-schön')}/")
    assert page.get_by_role("heading").inner_text() == "Please confirm"
    assert status() == "opted_in"
    page.get_by_role("button").click()
    page.wait_for_url("**/thanks")
    assert page.inner_text("body") == "Thanks; from None"  # its token goes nowhere
    assert status() == "confirmed"
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_without_script_by_keyboard(
    browser: Any, server: LiveServer, tmp_path: Path, scheme: str
) -> None:
    context = browser.new_context(
        java_script_enabled=False, color_scheme=scheme, viewport={"width": 360, "height": 740}
    )
    page = context.new_page()
    page.goto(f"{server.url}/confirm/{asked('', 'Spring offers')}/")
    page.screenshot(path=tmp_path / f"asks-{scheme}.png")
    page.keyboard.press("Tab")
    page.screenshot(path=tmp_path / f"focused-{scheme}.png")
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Thank you").wait_for()
    page.screenshot(path=tmp_path / f"thanks-{scheme}.png")
    status()
    assert ledger.Event.objects.get(kind="confirmed").topic == "Spring offers"
    context.close()
