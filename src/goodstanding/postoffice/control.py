"""The control door: a small HTTP server on which tests ask how far things are."""

from __future__ import annotations

from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs, urlsplit

import msgspec

from goodstanding.postoffice.limits import Limits
from goodstanding.postoffice.weather import Order
from goodstanding.postoffice.world import UnknownTemper

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from goodstanding.postoffice.office import Office

MOST_BYTES: Final = 64 * 1024


class Reweigh(msgspec.Struct, forbid_unknown_fields=True):
    """The body of POST /temper: the weights of a provider's tempers from now on."""

    provider: str
    weights: dict[str, float]


class Limit(Limits, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The body of POST /limits: the limits of a provider from now on."""

    provider: str


class Control:
    """What the control door does; asked from threads of its own."""

    def __init__(self, office: Office, loop: asyncio.AbstractEventLoop) -> None:
        self.office = office
        self._loop = loop
        self.acts: dict[str, Callable[[bytes], str]] = {
            "/temper": self._reweigh,
            "/limits": self._limit,
            "/weather": self._order,
        }

    def ask(self, path: str) -> dict[str, Any] | None:
        """Answer a GET; None where there is nothing."""
        url = urlsplit(path)
        if url.path == "/status":
            return status(self.office)
        if url.path == "/temper":
            address = parse_qs(url.query).get("address", [""])[0]
            return {"address": address, "temper": self.office.world.temper_of(address)}
        return None

    def _reweigh(self, body: bytes) -> str:
        wanted = msgspec.json.decode(body, type=Reweigh)
        self.office.world.reweigh(wanted.provider, wanted.weights)
        return wanted.provider

    def _limit(self, body: bytes) -> str:
        wanted = msgspec.json.decode(body, type=Limit)
        names = Limits.__struct_fields__
        self.office.gate.limit(wanted.provider, Limits(**{n: getattr(wanted, n) for n in names}))
        return wanted.provider

    def _order(self, body: bytes) -> str:
        wanted = msgspec.json.decode(body, type=Order)
        self.office.gate.order(wanted)
        self._loop.call_soon_threadsafe(self.office.look_at_weather)
        return wanted.provider


def start(control: Control, host: str, port: int) -> int:
    """Serve the control door from a thread of its own; return its port.

    What it offers: ``options.CONTROL``.

    Raises:
        OSError: the port is taken.
    """

    class Handler(BaseHTTPRequestHandler):
        timeout = 10

        def do_GET(self) -> None:
            answer = control.ask(self.path)
            if answer is None:
                self._answer(404, {"error": "there are /status and /temper"})
            else:
                self._answer(200, answer)

        def do_POST(self) -> None:
            length = self.headers.get("Content-Length", "")
            act = control.acts.get(self.path)
            if act is None or not length.isdigit() or int(length) > MOST_BYTES:
                names = ", ".join(control.acts)
                self._answer(400, {"error": f"POST to one of {names}: a small JSON body"})
                return
            try:
                provider = act(self.rfile.read(int(length)))
            except (msgspec.MsgspecError, UnicodeDecodeError, UnknownTemper) as error:
                self._answer(400, {"error": str(error)})
                return
            self._answer(200, {"provider": provider})

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
        "providers": {
            name: office.gate.weather.status(name) | meter.status()
            for name, meter in office.gate.meters.items()
        },
    }
