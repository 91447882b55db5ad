"""The control door: a small HTTP server on which tests ask how far things are."""

from __future__ import annotations

from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs, urlsplit

import msgspec

from goodstanding.postoffice.world import UnknownTemper

if TYPE_CHECKING:
    from goodstanding.postoffice.office import Office

MOST_BYTES: Final = 64 * 1024


class Reweigh(msgspec.Struct, forbid_unknown_fields=True):
    """The body of POST /temper: the weights of a provider's tempers from now on."""

    provider: str
    weights: dict[str, float]


def start(office: Office, host: str, port: int) -> int:
    """Serve the control door from a thread of its own; return its port.

    ``GET /status``; ``GET /temper?address=A``; ``POST /temper`` with a :class:`Reweigh`.

    Raises:
        OSError: the port is taken.
    """

    class Handler(BaseHTTPRequestHandler):
        timeout = 10

        def do_GET(self) -> None:
            url = urlsplit(self.path)
            if url.path == "/status":
                self._answer(200, status(office))
            elif url.path == "/temper":
                address = parse_qs(url.query).get("address", [""])[0]
                self._answer(200, {"address": address, "temper": office.world.temper_of(address)})
            else:
                self._answer(404, {"error": "there are /status and /temper"})

        def do_POST(self) -> None:
            length = self.headers.get("Content-Length", "")
            if self.path != "/temper" or not length.isdigit() or int(length) > MOST_BYTES:
                self._answer(400, {"error": "POST /temper takes a small JSON body"})
                return
            try:
                wanted = msgspec.json.decode(self.rfile.read(int(length)), type=Reweigh)
                office.world.reweigh(wanted.provider, wanted.weights)
            except (msgspec.MsgspecError, UnknownTemper) as error:
                self._answer(400, {"error": str(error)})
                return
            self._answer(200, {"provider": wanted.provider})

        def log_message(self, *_: Any) -> None:
            """Keep quiet."""

        def _answer(self, code: int, body: dict[str, Any]) -> None:
            content = msgspec.json.encode(body)
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    server = ThreadingHTTPServer((host, port), Handler)
    server.daemon_threads = True
    Thread(target=server.serve_forever, name="control", daemon=True).start()
    return server.server_port


def status(office: Office) -> dict[str, Any]:
    """Return what GET /status says."""
    book = office.book
    return {
        "pending": office.schedule.pending,
        "accepted": book.total("accepted"),
        "refused": book.total("refused"),
        "deferred": book.total("deferred"),
        "by_temper": book.by_temper(),
    }
