"""An SMTP relay (RFC 5321): pooled connections, STARTTLS (RFC 3207), sign-in (RFC 4954)."""

from __future__ import annotations

import asyncio
import base64
import re
import socket
import ssl
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import aiosmtplib
import msgspec
from aiosmtplib.protocol import normalize_message_line_endings

from goodstanding.gateways.base import Fence, Handover, Mail, Outcome, Stage
from goodstanding.gateways.dialogue import Dialogue

if TYPE_CHECKING:
    from collections.abc import Coroutine

MAX_TEXT: Final = 2000
"""Characters kept of what a server said."""
RESET_TIMEOUT: Final = 10.0
"""Seconds that a courtesy (RSET, QUIT) may take before the connection is simply closed."""

_CONTROLS: Final = re.compile(r"[\x00-\x1f\x7f]+")
_PATH: Final = re.compile(
    r'(?:"(?:[^"\\\x00-\x1f\x7f]|\\[^\x00-\x1f\x7f])*"|[^\s<>"\x00-\x1f\x7f]+)'
    r'@[^\s<>"@\x00-\x1f\x7f]+'
)
"""A mailbox that can stand between ``<`` and ``>`` without ending them early."""

Positive = Annotated[int, msgspec.Meta(ge=1)]
Seconds = Annotated[float, msgspec.Meta(gt=0)]


class SmtpSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the relay is and how to talk to it.

    Raises:
        ValueError: two settings contradict each other, or a route is not ``host:port``.
    """

    host: str = "localhost"
    port: Annotated[int, msgspec.Meta(ge=1, le=65535)] = 25
    username: str | None = None
    password: str | None = None
    starttls: Literal["never", "when_offered", "always"] = "when_offered"
    tls: bool = False
    """TLS from the first byte (port 465); the relay only, never the routes."""
    verify_certificate: bool = True
    certificates: str | None = None
    """A PEM file of certificate authorities to trust beside the system's."""
    local_hostname: str | None = None
    """What we call ourselves in EHLO; the machine's full name where left out."""
    connections: Positive = 10
    """At most so many open to one server at once."""
    mails_per_connection: Positive = 100
    idle_seconds: Seconds = 30.0
    timeout: Seconds = 60.0
    """Seconds for connecting, and for each answer but the last."""
    dot_timeout: Seconds = 600.0
    """Seconds for the answer after the content (RFC 5321 section 4.5.3.2.6)."""
    reports_deliveries: bool = False
    routes: dict[str, str] = {}
    """Recipient domain to ``host:port``: domains that go elsewhere than to the relay. They get
    no sign-in; ``starttls`` and the limits hold for them too."""

    def __post_init__(self) -> None:
        if self.tls and self.starttls == "always":
            raise ValueError("tls and starttls = always exclude each other: choose one")
        if (self.username is None) != (self.password is None):
            raise ValueError("username and password belong together: give both or none")
        for route in self.routes.values():
            _host_and_port(route)

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """Every setting, the password hidden."""
        shown = [(name, getattr(self, name)) for name in self.__struct_fields__]
        return [(k, "(hidden)" if k == "password" and v is not None else v) for k, v in shown]

    def __repr__(self) -> str:
        """As a call, the password hidden."""
        return f"SmtpSettings({', '.join(f'{k}={v!r}' for k, v in self.__rich_repr__())})"


class SmtpGateway:
    """Hands mails to a relay over a bounded pool of connections; belongs to one event loop."""

    def __init__(self, settings: SmtpSettings) -> None:
        self._settings = settings
        self._tls_context = _tls_context(settings)
        self._relay = _Server(settings, settings.host, settings.port, self._tls_context, own=True)
        self._routes: dict[str, _Server] = {}
        servers: dict[str, _Server] = {}
        for domain, route in settings.routes.items():
            if route not in servers:
                host, port = _host_and_port(route)
                servers[route] = _Server(settings, host, port, self._tls_context, own=False)
            self._routes[domain.lower()] = servers[route]
        self._servers = [self._relay, *servers.values()]
        self._closed = False

    @property
    def reports_deliveries(self) -> bool:
        """Whether an accepted mail is later followed by word of what became of it."""
        return self._settings.reports_deliveries

    async def send(self, mail: Mail, fence: Fence) -> Handover:
        """Hand over one mail; see :class:`goodstanding.gateways.base.Gateway`.

        Raises:
            RuntimeError: the gateway is closed.
        """
        if self._closed:
            raise RuntimeError("the gateway is closed")
        if (unfit := _unfit(mail)) is not None:
            return unfit
        server = self._relay
        if self._routes:
            domain = mail.recipient.rpartition("@")[2].lower()
            server = self._routes.get(domain, server)
        return await server.send(mail, fence)

    async def close(self) -> None:
        """Wait for the mails in flight and hang up."""
        self._closed = True
        await asyncio.gather(*(server.close() for server in self._servers))


class _Server:
    """One server and the connections to it.

    A permit stands for the right to have a connection open; idle connections hold none, but
    are always taken before a new one is opened, so that no more are open than there are permits.
    """

    def __init__(
        self,
        settings: SmtpSettings,
        host: str,
        port: int,
        tls_context: ssl.SSLContext | None,
        *,
        own: bool,
    ) -> None:
        self._settings = settings
        self._host = host
        self._port = port
        self._tls_context = tls_context
        self._own = own
        self._name = f"{host}:{port}"
        self._permits = asyncio.Semaphore(settings.connections)
        self._idle: list[_Connection] = []
        self._reaper: asyncio.TimerHandle | None = None
        self._hangups: set[asyncio.Task[None]] = set()
        self._local_hostname = settings.local_hostname

    async def send(self, mail: Mail, fence: Fence) -> Handover:
        await self._permits.acquire()
        connection: _Connection | None = None
        try:
            connection = self._take_idle()
            if connection is not None:
                try:
                    return await connection.hand_over(mail, fence)
                except _StaleError:
                    connection = None
            opened = await self._open()
            if isinstance(opened, Handover):
                return opened
            connection = opened
            return await connection.hand_over(mail, fence)
        finally:
            self._give_back(connection, mail.connection_mails)

    async def close(self) -> None:
        for _ in range(self._settings.connections):
            await self._permits.acquire()
        if self._reaper is not None:
            self._reaper.cancel()
        idle, self._idle = self._idle, []
        await asyncio.gather(*(connection.quit() for connection in idle))
        for _ in range(self._settings.connections):
            self._permits.release()
        await asyncio.gather(*self._hangups)

    def _take_idle(self) -> _Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if connection.usable:
                return connection
        return None

    def _give_back(self, connection: _Connection | None, most: int | None) -> None:
        most = min(most or self._settings.mails_per_connection, self._settings.mails_per_connection)
        if connection is None or not connection.usable:
            if connection is not None:
                connection.close()
            self._permits.release()
        elif connection.mails >= most:
            self._in_background(self._quit_then_release(connection))
        else:
            self._idle.append(connection)
            connection.idle_since = asyncio.get_running_loop().time()
            self._permits.release()
            if self._reaper is None:
                self._reap_after(self._settings.idle_seconds)

    def _reap_after(self, seconds: float) -> None:
        self._reaper = asyncio.get_running_loop().call_later(seconds, self._reap)

    def _reap(self) -> None:
        """Hang up what was idle too long. The list is a stack: the longest idle come first."""
        self._reaper = None
        now = asyncio.get_running_loop().time()
        while self._idle:
            left = self._idle[0].idle_since + self._settings.idle_seconds - now
            if left > 0:
                self._reap_after(left)
                return
            self._in_background(self._quit_under_permit(self._idle.pop(0)))

    def _in_background(self, hangup: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(hangup)
        self._hangups.add(task)
        task.add_done_callback(self._hangups.discard)

    async def _quit_under_permit(self, connection: _Connection) -> None:
        await self._permits.acquire()
        await self._quit_then_release(connection)

    async def _quit_then_release(self, connection: _Connection) -> None:
        try:
            await connection.quit()
        finally:
            self._permits.release()

    async def _open(self) -> _Connection | Handover:
        """Connect, greet, secure and sign in; or why that was not possible."""
        if self._local_hostname is None:
            self._local_hostname = await asyncio.to_thread(socket.getfqdn)
        client = aiosmtplib.SMTP(
            hostname=self._host,
            port=self._port,
            local_hostname=self._local_hostname,
            timeout=self._settings.timeout,
            use_tls=self._settings.tls and self._own,
            start_tls=False,
            tls_context=self._tls_context,
        )
        ready = False
        try:
            await client.connect()
            await self._introduce(client)
            connection = _Connection(client, self._name, self._settings)
            ready = True
        except aiosmtplib.SMTPResponseException as exc:
            return self._no_connection(exc)
        except (aiosmtplib.SMTPException, OSError, ValueError) as exc:
            return Handover("unsent", "connect", host=self._name, error=self._redacted(_plain(exc)))
        finally:
            if not ready:
                client.close()
        return connection

    def _no_connection(self, exc: aiosmtplib.SMTPResponseException) -> Handover:
        text = self._redacted(_reply_text(exc.code, exc.message))
        outcome, error = _refusal(exc.code), None
        if outcome is None:
            outcome, error = (
                "unsent",
                f"{self._name} gave an answer that SMTP does not know: {text}",
            )
        elif isinstance(exc, aiosmtplib.SMTPAuthenticationError) and outcome == "refused":
            outcome, error = "unsent", f"{self._name} refused the sign-in: {text}"
        return Handover(outcome, "connect", exc.code, text, self._name, error)

    async def _introduce(self, client: aiosmtplib.SMTP) -> None:
        await _greet(client)
        settings = self._settings
        secured = settings.tls and self._own
        if settings.starttls != "never" and not secured:
            if client.supports_extension("starttls"):
                await client.starttls()
                await client.ehlo()
                secured = True
            elif settings.starttls == "always":
                raise aiosmtplib.SMTPException(f"{self._name} offers no STARTTLS")
        if settings.username is None or settings.password is None or not self._own:
            return
        if not secured and settings.starttls != "never":
            # Somebody on the way may have struck the offer out to read the password.
            raise aiosmtplib.SMTPException(
                f"{self._name} offers no STARTTLS, and the password is not sent in the clear"
                " (starttls = never allows it)"
            )
        await client.login(settings.username, settings.password)

    def _redacted(self, text: str) -> str:
        """Without the password, which some servers repeat when they refuse it."""
        username, password = self._settings.username, self._settings.password
        if not password:
            return text
        plain = f"\0{username}\0{password}".encode()
        for secret in (
            base64.b64encode(plain).decode(),
            base64.b64encode(password.encode()).decode(),
            password,
        ):
            text = text.replace(secret, "(hidden)")
        return text


class _StaleError(Exception):
    """A connection from the pool turned out to be closed before anything was said over it."""


class _Connection:
    """One open connection, and how a mail is said over it.

    Where the server offers PIPELINING (RFC 2920), MAIL, RCPT and DATA go out at once: a mail takes
    two trips instead of four.
    """

    __slots__ = (
        "_ahead",
        "_at_rest",
        "_dialogue",
        "_dot_timeout",
        "_eight_bit",
        "_host",
        "_size",
        "_timeout",
        "_utf8",
        "idle_since",
        "mails",
    )

    def __init__(self, client: aiosmtplib.SMTP, host: str, settings: SmtpSettings) -> None:
        if client.transport is None or client.transport.is_closing():
            raise aiosmtplib.SMTPServerDisconnected("Connection lost")
        self._dialogue = Dialogue(client.transport)
        self._host = host
        self._timeout = settings.timeout
        self._dot_timeout = settings.dot_timeout
        self._eight_bit = client.supports_extension("8bitmime")
        self._utf8 = self._eight_bit and client.supports_extension("smtputf8")
        self._size = client.supports_extension("size")
        self._ahead = client.supports_extension("pipelining")
        self._at_rest = True
        self.mails = 0
        self.idle_since = 0.0

    @property
    def usable(self) -> bool:
        """Open, and between two transactions."""
        return self._at_rest and self._dialogue.is_open

    async def hand_over(self, mail: Mail, fence: Fence) -> Handover:
        """One transaction. Leaves the connection at rest, or closed.

        Raises:
            _StaleError: the connection had been closed while it lay in the pool.
        """
        self._at_rest = False
        try:
            handover = await self._envelope(mail)
            if handover is None:
                if await fence():
                    handover = await self._content(mail.content)
                else:
                    handover = Handover("dropped", "data", host=self._host)
            if handover.outcome == "accepted":
                self._at_rest = True
            elif handover.code != 421 and self._dialogue.is_open:
                await self._reset(handover)
        finally:
            self.mails += 1
            if not self._at_rest:
                self.close()
        return handover

    async def quit(self) -> None:
        """Hang up as RFC 5321 wants it, if that works."""
        try:
            self._dialogue.say(b"QUIT\r\n", 1)
            await self._dialogue.answer(RESET_TIMEOUT)
        except OSError:
            self.close()
        finally:
            self._dialogue.close()

    def close(self) -> None:
        """Hang up; whatever is not written yet never will be."""
        self._dialogue.cut()

    async def _envelope(self, mail: Mail) -> Handover | None:
        """MAIL and RCPT; None when both were accepted. DATA goes along where it may."""
        options = self._options(mail)
        if isinstance(options, Handover):
            return options
        dialogue = self._dialogue
        sender = b"MAIL FROM:<%b>%b\r\n" % (mail.envelope_from.encode(), options)
        recipient = b"RCPT TO:<%b>\r\n" % mail.recipient.encode()
        stage: Stage = "mail"
        try:
            if self._ahead:
                dialogue.say(sender + recipient + b"DATA\r\n", 3)
            else:
                dialogue.say(sender, 1)
            code, message = await dialogue.answer(self._timeout)
            if 200 <= code <= 299:
                stage = "rcpt"
                if not self._ahead:
                    dialogue.say(recipient, 1)
                code, message = await dialogue.answer(self._timeout)
                if 200 <= code <= 299:
                    return None
        except OSError as exc:
            if stage == "mail" and self.mails and not isinstance(exc, TimeoutError):
                raise _StaleError from exc
            return self._broken("unsent", stage, exc)
        return self._refused(stage, code, message)

    def _options(self, mail: Mail) -> bytes | Handover:
        """What MAIL must say beside the sender; or why this server cannot take such a mail."""
        options = b""
        if self._size:
            options = b" SIZE=%d" % len(mail.content)
        if not (mail.recipient.isascii() and mail.envelope_from.isascii()):
            if not self._utf8:
                return Handover(
                    "refused",
                    "rcpt",
                    553,
                    "553 5.6.7 Internationalised address, and the server offers no SMTPUTF8",
                    self._host,
                    "decided here, not said by the server (RFC 6531 section 3.2)",
                )
            options += b" BODY=8BITMIME SMTPUTF8"
        elif not mail.content.isascii():
            if not self._eight_bit:
                return Handover(
                    "refused",
                    "mail",
                    554,
                    "554 5.6.1 Eight-bit content, and the server offers no 8BITMIME",
                    self._host,
                    "decided here, not said by the server (RFC 6152 section 3)",
                )
            options += b" BODY=8BITMIME"
        return options

    async def _content(self, content: bytes) -> Handover:
        """DATA where it was not said yet, the content and the dot.

        Until the content is written a failure is ``unsent``. Content and dot go out in one
        write: from there on only an answer can tell, and no answer is ``lost``.
        """
        dialogue = self._dialogue
        message = _dotted(content)
        try:
            if not self._ahead:
                dialogue.say(b"DATA\r\n", 1)
            code, text = await dialogue.answer(self._timeout)
            if code != 354:
                return self._refused("data", code, text)
            dialogue.say(message, 1)
        except OSError as exc:
            return self._broken("unsent", "data", exc)
        try:
            code, text = await dialogue.answer(self._dot_timeout)
        except OSError as exc:
            return self._broken("lost", "dot", exc)
        if 200 <= code <= 299:
            return Handover("accepted", "dot", code, _reply_text(code, text), self._host)
        return self._refused("dot", code, text)

    async def _reset(self, handover: Handover) -> None:
        """Come to rest, if that works without leaving anything behind."""
        dialogue = self._dialogue
        code = 0
        try:
            while dialogue.expected:
                code, _ = await dialogue.answer(RESET_TIMEOUT)
            if code == 354:
                if handover.stage != "rcpt":
                    return  # It waits for a content that somebody may get: nothing but to hang up.
                # It took DATA though it took no recipient: the dot is for nobody (RFC 2920, 3.1).
                dialogue.say(b".\r\n", 1)
                await dialogue.answer(RESET_TIMEOUT)
            dialogue.say(b"RSET\r\n", 1)
            code, _ = await dialogue.answer(RESET_TIMEOUT)
        except OSError:
            return
        self._at_rest = code == 250

    def _refused(self, stage: Stage, code: int, message: str) -> Handover:
        text = _reply_text(code, message)
        outcome = _refusal(code)
        if outcome is not None:
            return Handover(outcome, stage, code, text, self._host)
        # Whoever answers out of turn may mean another command: trust nothing more from here.
        self.close()
        error = f"an answer that does not belong here: {text}"
        outcome = "lost" if stage == "dot" else "unsent"
        return Handover(outcome, stage, code, text, self._host, error)

    def _broken(self, outcome: Outcome, stage: Stage, exc: Exception) -> Handover:
        self.close()
        return Handover(outcome, stage, host=self._host, error=_plain(exc))


async def _greet(client: aiosmtplib.SMTP) -> None:
    try:
        await client.ehlo()
    except aiosmtplib.SMTPHeloError as exc:
        if exc.code not in {500, 501, 502, 504} or not client.is_connected:
            raise
        await client.helo()


def _unfit(mail: Mail) -> Handover | None:
    """Addresses that would break out of their command never reach a server."""
    if _PATH.fullmatch(mail.recipient) is None:
        return Handover(
            "refused",
            "rcpt",
            553,
            "553 5.1.3 Not an address that SMTP can carry",
            error="decided here, not said by the server (RFC 5321 section 4.1.2)",
        )
    if mail.envelope_from and _PATH.fullmatch(mail.envelope_from) is None:
        return Handover(
            "refused",
            "mail",
            553,
            "553 5.1.7 Not a return path that SMTP can carry",
            error="decided here, not said by the server (RFC 5321 section 4.1.2)",
        )
    return None


def _dotted(content: bytes) -> bytes:
    """The content as it goes over the wire: CRLF, leading dots doubled, the final dot."""
    ends = content.count(b"\r\n")
    if not content.endswith(b"\r\n") or not (content.count(b"\n") == ends == content.count(b"\r")):
        content = normalize_message_line_endings(content)
    if b"\n." in content:
        content = content.replace(b"\n.", b"\n..")
    if content.startswith(b"."):
        content = b"." + content
    return content + b".\r\n"


def _refusal(code: int) -> Outcome | None:
    if 400 <= code <= 499:
        return "deferred"
    if 500 <= code <= 599:
        return "refused"
    return None


def _reply_text(code: int, message: str) -> str:
    """What was said, in one line that any database takes."""
    said = message.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return _CONTROLS.sub(" ", f"{code} {said}")[:MAX_TEXT].rstrip()


def _plain(exc: Exception) -> str:
    return _CONTROLS.sub(" ", str(exc) or type(exc).__name__)[:MAX_TEXT]


def _host_and_port(route: str) -> tuple[str, int]:
    host, colon, port = route.rpartition(":")
    if not colon or not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ValueError(f"a route is host:port, and {route!r} is not")
    return host.removeprefix("[").removesuffix("]"), int(port)


def _tls_context(settings: SmtpSettings) -> ssl.SSLContext | None:
    if settings.starttls == "never" and not settings.tls:
        return None
    context = ssl.create_default_context()
    if settings.certificates is not None:
        context.load_verify_locations(cafile=settings.certificates)
    if not settings.verify_certificate:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
