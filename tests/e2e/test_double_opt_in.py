"""Double opt-in, by the commands and pages that there are: asked, mailed, pressed, confirmed."""

# ruff: noqa: ARG002, N802 (the names and arguments by which aiosmtpd calls a handler)

from __future__ import annotations

import email
import email.policy
import json
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from email.message import EmailMessage
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from goodstanding.cli.ports import free_port
from goodstanding.core import times

TEXT = """You asked for our news.
News: {{ confirm_url_news }}
Everything: {{ confirm_url_all }}
{{ postal_address }}
"""


class Inbox:
    """A mail server that takes everything and keeps it."""

    def __init__(self) -> None:
        self.mails: list[tuple[str, EmailMessage]] = []

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        assert isinstance(envelope.content, bytes)
        mail = email.message_from_bytes(envelope.content, policy=email.policy.default)
        assert isinstance(mail, EmailMessage)
        self.mails.append((envelope.rcpt_tos[0], mail))
        return "250 OK"


@pytest.fixture
def inbox(home: Path) -> Iterator[Inbox]:
    inbox, relay, web = Inbox(), free_port(), free_port()
    controller = Controller(inbox, hostname="127.0.0.1", port=relay)
    controller.start()
    (home / "goodstanding.toml").write_text(
        f"""
base_url = "http://127.0.0.1:{web}"
listen_web = "127.0.0.1:{web}"
listen_mail = "127.0.0.1:{free_port()}"
sender_address = "news@shop.example"
sender_name = "The Shop"
postal_address = "1 High Street"
[lanes.main]
host = "127.0.0.1"
port = {relay}
starttls = "never"
"""
    )
    (home / "confirm.txt").write_text(TEXT)
    yield inbox
    controller.stop()


Run = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def run(environment: dict[str, str], inbox: Inbox) -> Run:
    def running(*arguments: str, status: int = 0) -> list[dict[str, Any]]:
        done = subprocess.run(
            [sys.executable, "-m", "goodstanding", *arguments, "--json"],
            env=environment,
            cwd=environment["GOODSTANDING_HOME"],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == status, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    return running


@pytest.fixture
def served(environment: dict[str, str], inbox: Inbox) -> Iterator[None]:
    """`goodstanding serve`, running."""
    with subprocess.Popen(
        [sys.executable, "-m", "goodstanding", "serve"],
        env=environment,
        cwd=environment["GOODSTANDING_HOME"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        yield
        process.terminate()
        process.wait(30)


def wait_for(what: Callable[[], bool]) -> None:
    end = time.monotonic() + 40
    while not what():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.1)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None


def fetched(url: str, said: dict[str, str] | None = None) -> tuple[int, str, str]:
    """The status, the page, and where it leads."""
    data = urlencode(said).encode() if said is not None else None
    opener = urllib.request.build_opener(_NoRedirect)
    try:
        with opener.open(url, data, timeout=20) as answer:
            return answer.status, answer.read().decode(), ""
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode(), error.headers.get("Location", "")


@pytest.mark.timeout(180)  # a dozen commands, each a process
def test_from_the_form_to_the_confirmed_address(
    run: Run, inbox: Inbox, home: Path, served: None
) -> None:
    when = times.rfc3339((time.time_ns() // 1_000) - 60_000_000)
    said = {"kind": "opted_in", "occurred_at": when, "source": "form"}
    lines = [
        {**said, "address": f"{who}@people.example", "detail": {"proof": "ticked the box"}}
        for who in ("ann", "bob")
    ]
    (home / "form.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    run("import-events", "form.jsonl")
    run(
        *("template", "please-confirm", "--purpose", "confirmation", "--subject", "One click more"),
        *("--text", "confirm.txt", "--confirm", "name=news,topic=news"),
        *("--confirm", "name=all,url=https://shop.example/thanks?a=1,b=2,method=custom"),
    )

    for who in ("ann", "bob"):
        [asked] = run("message", "please-confirm", f"{who}@people.example", "--key", f"form-{who}")
        assert (asked["repeated"], asked["refused"]) == (False, None)
    [refused] = run("message", "please-confirm", "eve@people.example", status=1)
    assert refused["refused"] == "not_requested", "who asked for nothing is not asked"

    wait_for(lambda: len(inbox.mails) == 2)
    mails = dict(inbox.mails)
    assert set(mails) == {"ann@people.example", "bob@people.example"}
    links = {
        who: dict(re.findall(r"^(\w+): (http\S+)", mail.get_content(), re.MULTILINE))
        for who, mail in mails.items()
    }

    def standings() -> list[str]:
        told = run("why", "ann@people.example", "bob@people.example")
        return [each["status"] for each in told]

    everything = links["ann@people.example"]["Everything"]
    news = links["bob@people.example"]["News"]
    assert "<form" in fetched(everything)[1]
    assert standings() == ["opted_in", "opted_in"], "looking at a page is no word of anybody's"
    code, _, leads_to = fetched(everything, {})
    assert (code, leads_to) == (303, "https://shop.example/thanks?a=1,b=2")
    code, page, _ = fetched(news, {})
    assert code == 200
    assert "news" in page
    wait_for(lambda: standings()[0] == "confirmed_custom")
    [ann, bob] = run("check", "ann@people.example", "bob@people.example", "--topic", "news")
    assert ann["allowed"]
    assert bob["allowed"]
    [report] = run("report", "mailing", "please-confirm")
    assert (report["state"], report["sent"]) == ("open", 2)
    run("rebuild", "--verify")
