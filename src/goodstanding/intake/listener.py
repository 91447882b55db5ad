"""The mail listener: SMTP (RFC 5321) or LMTP (RFC 2033), for what comes back.

It takes mail for the mailboxes of ``mailboxes`` alone, and says 250 to a message only when the
message is on disk. Understanding it is somebody else's work.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from aiosmtpd.lmtp import LMTP
from aiosmtpd.smtp import SMTP, Envelope, Session

from goodstanding.intake import mailboxes, spool
from goodstanding.intake.models import MAIL
from goodstanding.intake.spool import Spooler, SpoolFailed

LARGEST_MAIL: Final = 64 * 1024 * 1024
MOST_CONNECTIONS: Final = 200
MOST_BYTES: Final = 256 * 1024 * 1024
"""Bytes of messages that all connections together may have under way."""
MOST_RECIPIENTS: Final = 100
TIMEOUT: Final = 300.0
"""Seconds for a command, or for a whole message."""
_GRACE: Final = 5.0
_WORD: Final = 64 * 1024  # bytes read at a time; a line may be longer

_log = logging.getLogger(__name__)
# Its messages hold people's addresses.
logging.getLogger("mail.log").setLevel(logging.WARNING)


class Listener:
    """Listens in the running event loop.

    ``spooler`` is shared by all connections; where none is given, one is made and closed here.
    """

    def __init__(
        self,
        *,
        lmtp: bool = False,
        spooler: Spooler | None = None,
        largest_mail: int = LARGEST_MAIL,
        most_connections: int = MOST_CONNECTIONS,
        most_bytes: int = MOST_BYTES,
        timeout: float = TIMEOUT,
    ) -> None:
        self.lmtp = lmtp
        self.largest_mail = largest_mail
        self.most_bytes = most_bytes
        self.timeout = timeout
        self.spooler = spooler or Spooler()
        self.bytes_under_way = 0
        self._owns_spooler = spooler is None
        self._most_connections = most_connections
        self._connections: set[_Incoming] = set()
        self._server: asyncio.Server | None = None

    async def start(self, host: str, port: int) -> int:
        """Listen; gives the port, which the system chooses where ``port`` is 0.

        Raises:
            OSError: one cannot listen there.
        """
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._answer, host, port)
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Take no more connections, let those that are busy finish for a moment, then close."""
        if self._server is not None:
            self._server.close()
        end = asyncio.get_running_loop().time() + _GRACE
        while self._connections and asyncio.get_running_loop().time() < end:
            for connection in list(self._connections):
                connection.close_when_idle()
            await asyncio.sleep(0.01)
        for connection in list(self._connections):
            connection.close()
        if self._server is not None:
            await self._server.wait_closed()
        if self._owns_spooler:
            await self.spooler.close()

    def _answer(self) -> asyncio.Protocol:
        if len(self._connections) >= self._most_connections:
            return _Busy()
        return _IncomingLMTP(self) if self.lmtp else _IncomingSMTP(self)

    def began(self, connection: _Incoming) -> None:
        """Count a connection."""
        self._connections.add(connection)

    def ended(self, connection: _Incoming) -> None:
        """Count a connection no more."""
        self._connections.discard(connection)


class _Doorkeeper:
    """What aiosmtpd asks about recipients and messages."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener

    async def handle_RCPT(  # noqa: N802 - aiosmtpd calls it so
        self,
        server: SMTP,  # noqa: ARG002
        session: Session,  # noqa: ARG002
        envelope: Envelope,
        address: str,
        options: list[str],
    ) -> str:
        if mailboxes.find(address) is None:
            return "550 5.1.1 no such mailbox here"
        if len(envelope.rcpt_tos) >= MOST_RECIPIENTS:
            return "452 4.5.3 too many recipients"
        envelope.rcpt_tos.append(address)
        envelope.rcpt_options.extend(options)
        return "250 2.1.5 OK"

    async def handle_DATA(  # noqa: N802 - aiosmtpd calls it so
        self,
        server: SMTP,  # noqa: ARG002
        session: Session,  # noqa: ARG002
        envelope: Envelope,
    ) -> str:
        recipients = tuple(_writable(address) for address in envelope.rcpt_tos)
        sender = _writable(envelope.mail_from or "").strip("<>")
        content = envelope.original_content or b""
        try:
            await self._listener.spooler.put(MAIL, spool.Envelope(sender, recipients), content)
        except SpoolFailed as error:
            _log.error("A mail was not taken: %s", type(error.__cause__).__name__)
            reply = "451 4.3.0 it could not be stored, please try again later"
        else:
            reply = "250 2.0.0 OK, it is stored"
        # RFC 2033 section 4.2: in LMTP every recipient has a reply of its own.
        return "\r\n".join([reply] * (len(recipients) if self._listener.lmtp else 1))

    async def handle_exception(self, error: Exception) -> str:
        # Its words may hold an address.
        _log.error("A mail session failed: %s", type(error).__name__)
        return "451 4.3.0 something went wrong here, please try again later"


class _Incoming(SMTP):
    """A connection. Reads a message within bounds: aiosmtpd would gather endless lines."""

    line_length_limit = _WORD

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._is_busy = False
        super().__init__(
            _Doorkeeper(listener),
            data_size_limit=listener.largest_mail,
            enable_SMTPUTF8=True,
            hostname=mailboxes.bounce_domain(),
            ident="ESMTP",
            timeout=listener.timeout,
            loop=asyncio.get_running_loop(),
        )

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._listener.began(self)
        super().connection_made(transport)

    def connection_lost(self, error: Exception | None) -> None:
        self._listener.ended(self)
        super().connection_lost(error)

    def close(self) -> None:
        """Hang up."""
        if self.transport is not None:
            self.transport.close()

    def close_when_idle(self) -> None:
        """Hang up unless a message is under way."""
        if not self._is_busy:
            self.close()

    async def smtp_DATA(self, arg: str | None) -> None:  # noqa: N802 - aiosmtpd calls it so
        """Take a message (RFC 5321 section 4.1.1.4); only CRLF ends a line."""
        if await self.check_helo_needed():
            return
        assert self.envelope is not None  # noqa: S101 - made with the connection
        if not self.envelope.rcpt_tos:
            await self.push("503 5.5.1 need RCPT first")
            return
        if arg:
            await self.push("501 5.5.4 DATA takes no argument")
            return
        self._is_busy = True
        try:
            await self.push("354 end with <CR><LF>.<CR><LF>")
            content, refusal = await self._gather()
            if content is None:
                replies = len(self.envelope.rcpt_tos) if self._listener.lmtp else 1
                await self.push("\r\n".join([refusal] * replies))
            else:
                self.envelope.content = self.envelope.original_content = content
                await self.push(await self._call_handler_hook("DATA"))
            self._set_post_data_state()  # type: ignore[no-untyped-call]
        finally:
            self._is_busy = False

    async def _gather(self) -> tuple[bytes | None, str]:
        """The message without its transparent dots; or None, and why it is refused."""
        body = bytearray()
        refusal = ""
        seen = counted = 0
        at_line_start = True
        listener = self._listener
        try:
            while True:
                line = await self._word()
                if at_line_start and line == b".\r\n":
                    return (None if refusal else bytes(body)), refusal
                seen += len(line)
                if seen > 2 * listener.largest_mail:  # whoever goes on and on is not heard out
                    self.close()
                    raise asyncio.CancelledError
                if not refusal:
                    refusal = self._objection(seen, len(line))
                    if refusal:
                        body.clear()
                        listener.bytes_under_way -= counted
                        counted = 0
                    else:
                        body += line[1:] if at_line_start and line.startswith(b".") else line
                        listener.bytes_under_way += len(line)
                        counted += len(line)
                at_line_start = line.endswith(b"\r\n")
        finally:
            listener.bytes_under_way -= counted

    def _objection(self, seen: int, more: int) -> str:
        if seen > self._listener.largest_mail:
            return "552 5.3.4 the message is too large"
        if self._listener.bytes_under_way + more > self._listener.most_bytes:
            return "452 4.3.1 too much mail at once, please try again later"
        return ""

    async def _word(self) -> bytes:
        """A line with its end, or a part of one that is long, without."""
        try:
            return await self._reader.readuntil(b"\r\n")
        except asyncio.LimitOverrunError as error:
            return await self._reader.readexactly(error.consumed)


class _IncomingSMTP(_Incoming):
    pass


class _IncomingLMTP(_Incoming, LMTP):
    pass


class _Busy(asyncio.Protocol):
    """A connection too many."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)  # noqa: S101 - of a TCP connection
        transport.write(b"421 4.3.2 too many connections, please try again later\r\n")
        transport.close()


def _writable(address: str) -> str:
    """The address without what cannot be written down (bytes that were no UTF-8)."""
    return address.encode("utf-8", "replace").decode()
