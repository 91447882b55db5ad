"""The sender's side of the pretend internet: a running post office, a listener, a web server."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from email import message_from_bytes, policy
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, TypeVar, cast
from urllib.parse import parse_qsl
from urllib.request import urlopen

import aiosmtplib
from aiosmtpd.lmtp import LMTP
from aiosmtpd.smtp import SMTP, Envelope, Session

PATIENCE = 15.0
T = TypeVar("T")


def wait_for(ask: Callable[[], T], what: str = "it") -> T:
    """Ask until the answer is true."""
    end = time.monotonic() + PATIENCE
    while not (answer := ask()):
        assert time.monotonic() < end, f"waited in vain for {what}"
        time.sleep(0.01)
    return answer


class PostOffice:
    """A post office in a process of its own."""

    def __init__(self, book: Path, *arguments: str) -> None:
        self.book = book
        command = [sys.executable, "-m", "goodstanding.postoffice", "--book", str(book)]
        self.process = subprocess.Popen(
            [*command, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        ready = json.loads(self.process.stdout.readline())
        self.relay: int = ready["relay"]
        self.providers: dict[str, int] = ready["providers"]
        self.control: int = ready["control"]

    def lines(self, recipient: str | None = None) -> list[dict[str, Any]]:
        """Read the book, or what it says of one recipient."""
        lines = [json.loads(line) for line in self.book.read_text().splitlines()]
        return [line for line in lines if recipient in {None, line["recipient"]}]

    def did(self, recipient: str) -> list[str]:
        return [line["did"] for line in self.lines(recipient)]

    def wait_line(self, recipient: str, did: str) -> dict[str, Any]:
        [line, *_] = wait_for(
            lambda: [line for line in self.lines(recipient) if line["did"] == did],
            f"{did} of {recipient}",
        )
        return line

    def status(self) -> dict[str, Any]:
        return cast("dict[str, Any]", self.ask("/status"))

    def ask(self, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        with urlopen(f"http://127.0.0.1:{self.control}{path}", data, timeout=10) as answer:
            return json.load(answer)

    def post(self, recipient: str, content: bytes, *, sender: str, port: int = 0) -> str:
        """Send one mail; return the reply that decided, its lines separated by newlines."""
        door = port or self.providers.get(recipient.rpartition("@")[2], self.relay)
        return asyncio.run(_post(door, sender, recipient, content))

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(10)

    def close(self) -> str:
        """Stop it if it still runs; return what it wrote to standard error."""
        if self.process.poll() is None:
            self.process.terminate()
        return self.process.communicate(timeout=10)[1]


async def _post(port: int, sender: str, recipient: str, content: bytes) -> str:
    client = aiosmtplib.SMTP(hostname="127.0.0.1", port=port, start_tls=False, timeout=10)
    try:
        async with client:
            _, text = await client.sendmail(sender, [recipient], content)
            return f"250 {text}"
    except aiosmtplib.SMTPRecipientsRefused as error:
        refused = error.recipients[0]
        return f"{refused.code} {refused.message}"
    except aiosmtplib.SMTPResponseException as error:
        return f"{error.code} {error.message}"
    except aiosmtplib.SMTPServerDisconnected:
        return "cut"


class Listener:
    """Where the sender hears what comes back; may say no for a while first."""

    def __init__(self, *, lmtp: bool = False, port: int = 0) -> None:
        self.got: list[tuple[str, list[str], bytes]] = []
        self.refusals: list[str] = []
        self.refused = 0
        listener = self

        class Handler:
            async def handle_DATA(self, _: SMTP, __: Session, envelope: Envelope) -> str:  # noqa: N802
                if listener.refusals:
                    listener.refused += 1
                    return listener.refusals.pop()
                sender = "" if envelope.mail_from == "<>" else envelope.mail_from or ""
                listener.got.append((sender, envelope.rcpt_tos, envelope.original_content or b""))
                return "250 OK"

        def door() -> SMTP:
            kind = LMTP if lmtp else SMTP
            return kind(Handler(), hostname="listener.example", loop=self._loop)

        self._loop = asyncio.new_event_loop()
        server = self._loop.run_until_complete(
            self._loop.create_server(door, "127.0.0.1", port, reuse_address=True)
        )
        self.port: int = server.sockets[0].getsockname()[1]
        self._server = server
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def mail_to(self, recipient: str) -> tuple[str, EmailMessage]:
        """Wait for a mail to somebody; return its envelope's sender, and the mail."""
        [(sender, _, content), *_] = wait_for(
            lambda: [mail for mail in self.got if recipient in mail[1]],
            f"a mail to {recipient}",
        )
        return sender, message_from_bytes(content, policy=policy.default)

    def close(self) -> None:
        async def end() -> None:
            self._server.close()
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                task.cancel()
            await asyncio.sleep(0)

        asyncio.run_coroutine_threadsafe(end(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()


FORM = """<!doctype html><html><body><form method="get" action="/search"><input name="q"></form>
<form method="post" action="{path}"><input type="hidden" name="secret" value="s3&amp;4">
<input type="checkbox" name="topic" value="news" checked><input type="checkbox" name="x" value="y">
<textarea name="reason"></textarea><button name="act" value="opt_out">Unsubscribe</button>
<button name="act" value="spam">This is spam</button></form></body></html>"""


class Website:
    """The sender's web server: remembers every request, and may be in trouble for a while."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, dict[str, str], list[tuple[str, str]]]] = []
        self.troubles: dict[str, int] = {}
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_HEAD(self) -> None:
                self._serve("HEAD", b"")

            def do_GET(self) -> None:
                self._serve("GET", b"")

            def do_POST(self) -> None:
                self._serve("POST", self.rfile.read(int(self.headers["Content-Length"])))

            def _serve(self, method: str, body: bytes) -> None:
                form = parse_qsl(body.decode(), keep_blank_values=True)
                site.asked.append((method, self.path, dict(self.headers.items()), form))
                if site.troubles.get(self.path, 0) > 0:
                    site.troubles[self.path] -= 1
                    self.send_response(503)
                    self.end_headers()
                    return
                page = b""
                if self.path.startswith("/c/"):
                    self.send_response(302)
                    self.send_header("Location", "https://shop.example/offer")
                else:
                    self.send_response(200)
                if self.path.startswith("/u/") and method == "GET":
                    self.send_header("Set-Cookie", "visit=42; Path=/")
                    page = FORM.format(path=self.path).encode()
                self.send_header("Content-Length", str(len(page)))
                self.end_headers()
                self.wfile.write(page)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def of(self, token: str) -> list[tuple[str, str, dict[str, str], list[tuple[str, str]]]]:
        """Return what was asked of the pages of one mail."""
        return [asked for asked in self.asked if asked[1].endswith(f"/{token}")]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def newsletter(site: str, token: str, *, reply_to: str = "answers@news.example.com") -> bytes:
    """Write a mail as a careful sender would, with every kind of link."""
    mail = EmailMessage(policy=policy.SMTP)
    mail["From"] = "The News <news@news.example.com>"
    mail["To"] = "reader@example.net"
    mail["Subject"] = f"Grüße aus {token}"
    mail["Message-ID"] = f"<{token}@news.example.com>"
    if reply_to:
        mail["Reply-To"] = reply_to
    mail["List-Unsubscribe"] = (
        f"<{site}/o/{token}>, <mailto:leave@news.example.com?subject={token}>"
    )
    mail["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
    mail.set_content(f"Our offer: {site}/c/{token}\nUnsubscribe: {site}/u/{token}\n")
    mail.add_alternative(
        f'<p>Grüße! <a href="https://elsewhere.example/{token}">Elsewhere</a> '
        f'<a href="{site}/v/{token}">View in browser</a> '
        f'<a href="{site}/c/{token}">Our offer</a> <a href="{site}/d/{token}">Another</a></p>'
        f'<p><a href="{site}/u/{token}">Unsubscribe</a> Main Street 1</p>'
        f'<img src="https://elsewhere.example/logo.png">'
        f'<img src="{site}/p/{token}" width="1" height="1">',
        subtype="html",
    )
    return mail.as_bytes()
