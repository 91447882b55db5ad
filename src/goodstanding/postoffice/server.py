"""The doors: one SMTP port for each provider, and one that relays for all."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from typing import TYPE_CHECKING, Final

from aiosmtpd.smtp import SMTP, Envelope, Session

from goodstanding.postoffice.book import BookClosed
from goodstanding.postoffice.contents import hash_of
from goodstanding.postoffice.desk import Mail, Verdict
from goodstanding.postoffice.dots import Refused, read_message
from goodstanding.postoffice.gate import Visit
from goodstanding.postoffice.world import mailbox

if TYPE_CHECKING:
    from goodstanding.postoffice.office import Office
    from goodstanding.postoffice.world import Provider

MOST_RECIPIENTS: Final = 100
IDLE_SECONDS: Final = 120.0
RELAY_HOST: Final = "mx.relay.example"

_PLAIN_PATH: Final = re.compile(r"<([^<>\s\"()\\]{0,512})>(.*)", re.DOTALL)
_MESSAGE_ID: Final = re.compile(
    rb"^message-id:[ \t]*(?:\r?\n[ \t]+)?([^\r\n]{1,998})", re.IGNORECASE | re.MULTILINE
)

log = logging.getLogger(__name__)
# It says every command aloud; nobody listens, and saying it takes time.
logging.getLogger("mail.log").setLevel(logging.CRITICAL)


def message_id(content: bytes) -> str | None:
    """Return the Message-ID of a message as it stands there; None where it has none."""
    end = content.find(b"\r\n\r\n")
    found = _MESSAGE_ID.search(content, 0, end if end >= 0 else len(content))
    return found[1].decode("utf-8", "replace").strip() if found else None


class Door(SMTP):
    """One connection. Hangs up after a 421, and in the midst of things where the options say so."""

    def __init__(self, clerk: Clerk) -> None:
        options = clerk.office.options
        self.visit = Visit()
        self._clerk = clerk
        self._farewell = ""
        self._is_taking = False
        self._is_answering = False
        super().__init__(
            clerk,
            hostname=clerk.host,
            ident=clerk.banner,
            data_size_limit=options.size_limit,
            enable_SMTPUTF8=True,
            timeout=IDLE_SECONDS,
            loop=asyncio.get_running_loop(),
        )

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet, or turn away one connection too many."""
        clerk = self._clerk
        office = clerk.office
        office.doors.add(self)
        super().connection_made(transport)
        if clerk.provider is not None and office.gate.is_closed(clerk.provider):
            self.hang_up()
        elif len(office.doors) > office.options.most_connections:
            self._farewell = f"421 4.3.2 {self.hostname} Too many connections, try again later"
        elif clerk.provider is not None:
            self._farewell = office.gate.at_greeting(self.visit, clerk.provider)

    def connection_lost(self, error: Exception | None) -> None:
        """Forget the connection."""
        self._clerk.office.doors.discard(self)
        self.visit.end()
        super().connection_lost(error)

    def eof_received(self) -> bool | None:
        """Forget the connection as soon as the other side has ended it."""
        self.visit.end()
        return super().eof_received()

    def hang_up(self) -> None:
        """Close the connection without a word."""
        if self.transport is not None:
            self.transport.close()

    def is_at(self, provider: Provider) -> bool:
        """Say whether the connection is the provider's, or has a transaction with it."""
        return provider is self._clerk.provider or provider is self.visit.at

    async def push(self, status: str | bytes) -> None:
        """Send a reply; its lines may be separated by newlines."""
        text = status if isinstance(status, str) else status.decode("utf-8", "replace")
        text = self._farewell or text
        lines = text.replace("\r\n", "\n").split("\n")
        await self._dawdle(lines)
        # Before it is said: who hears it may be back at once.
        if text[:3] in {"221", "421"}:
            self.visit.end()
        elif self._is_answering:
            self.visit.end_transaction()
        # In a reply of several lines all but the last have a hyphen after the code.
        lines[:-1] = [f"{line[:3]}-{line[4:]}" for line in lines[:-1]]
        await super().push("\r\n".join(lines))
        if text.startswith("421"):
            self.hang_up()

    async def _dawdle(self, lines: list[str]) -> None:
        """Let as much time pass as the provider takes; once where a reply comes in pieces."""
        provider = self._clerk.provider or self.visit.at
        if provider is None or (len(lines) == 1 and lines[0][3:4] == "-"):
            return
        delay = self._clerk.office.gate.delay(provider)
        if delay:
            self._reset_timeout(delay + IDLE_SECONDS)
            await asyncio.sleep(delay)

    def _set_post_data_state(self) -> None:
        # Called within DATA too: there the transaction lasts until the reply has been given.
        super()._set_post_data_state()  # type: ignore[no-untyped-call]
        if not self._is_taking:
            self.visit.end_transaction()

    def _getaddr(self, arg: str) -> tuple[str | None, str | None]:
        # The parser of the standard library is the slowest part of a transaction.
        plain = _PLAIN_PATH.match(arg)
        if plain:
            return plain[1] or "<>", plain[2]
        return super()._getaddr(arg)

    async def smtp_DATA(self, arg: str) -> None:  # noqa: N802 - named by the library
        """Take the message, unless chance has the line cut in its midst."""
        envelope = self.envelope
        if envelope is None or not envelope.rcpt_tos or arg:
            await super().smtp_DATA(arg)
            return
        self._is_taking = True
        try:
            is_cut = self._clerk.cuts(envelope)
            await self.push("354 End data with <CR><LF>.<CR><LF>")
            if is_cut:
                await self._reader.read(1)
                self.hang_up()
            else:
                reply = await self._take(envelope)
                self._is_answering = True
                await self.push(reply)
        finally:
            self._is_taking = self._is_answering = False
            self.visit.end_transaction()

    async def _take(self, envelope: Envelope) -> str:
        try:
            envelope.original_content = await read_message(
                self._reader, self._clerk.office.options.size_limit
            )
            return await self._clerk.take(self, envelope)
        except Refused as refused:
            return str(refused)
        finally:
            self._set_post_data_state()


class Clerk:
    """Answers on one port, as one provider, or (``provider`` None) as the relay for all."""

    def __init__(self, office: Office, provider: Provider | None) -> None:
        self.office = office
        self.provider = provider
        self.host = provider.host if provider else RELAY_HOST
        self.banner = provider.banner.format(id="5f1e") if provider else "ESMTP relay"

    def door(self) -> Door:
        """Make the protocol of one connection."""
        return Door(self)

    def cuts(self, envelope: Envelope) -> bool:
        """Say whether the line is to be cut before the final dot, and enter it in the book."""
        sender = _sender(envelope)
        if not self.office.desk.cuts("before", sender, envelope.rcpt_tos[0]):
            return False
        cut = Verdict("cut_before_dot", "")
        for recipient in envelope.rcpt_tos:
            self._enter(cut, recipient, sender, accepted=False)
        return True

    async def handle_EHLO(  # noqa: N802 - named by the library
        self,
        server: SMTP,  # noqa: ARG002
        session: Session,
        envelope: Envelope,  # noqa: ARG002
        hostname: str,
        responses: list[str],
    ) -> list[str]:
        """Name what else is offered."""
        session.host_name = hostname
        return [*responses[:-1], "250-PIPELINING", "250-ENHANCEDSTATUSCODES", *responses[-1:]]

    async def handle_MAIL(  # noqa: N802 - named by the library
        self,
        server: SMTP,  # noqa: ARG002
        session: Session,  # noqa: ARG002
        envelope: Envelope,
        address: str,
        options: list[str],
    ) -> str:
        """Take any sender."""
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return "250 2.1.0 OK"

    async def handle_RCPT(  # noqa: N802 - named by the library
        self,
        server: Door,
        session: Session,  # noqa: ARG002
        envelope: Envelope,
        address: str,
        options: list[str],  # noqa: ARG002
    ) -> str:
        """Answer a recipient by the provider's state and limits, and the temper of the mailbox."""
        if "@" not in address:
            return "501 5.1.3 Bad recipient address syntax"
        temper = self._temper(address)
        tempers = self.office.world.tempers
        mixed = envelope.rcpt_tos and "refuse_content" in {
            tempers[temper].answer,
            tempers[self._temper(envelope.rcpt_tos[0])].answer,
        }
        if mixed or len(envelope.rcpt_tos) >= MOST_RECIPIENTS:
            # One reply to the final dot must be true for all recipients.
            return "452 4.5.3 Too many recipients for this message"
        sender = _sender(envelope)
        if not self._is_gullible:
            verdict = self._verdict(server.visit, temper, sender, address)
            if verdict is not None:
                self._enter(verdict, address, sender)
                if not verdict.reply:
                    server.hang_up()
                return verdict.reply
        if address not in envelope.rcpt_tos:
            envelope.rcpt_tos.append(address)
        return "250 2.1.5 OK"

    async def take(self, server: Door, envelope: Envelope) -> str:
        """Take or refuse a message, enter that in the book, and only then say so."""
        office = self.office
        sender = _sender(envelope)
        content = envelope.original_content or b""
        first = envelope.rcpt_tos[0]
        # A client that dies meanwhile may find its message taken or not, as with real servers.
        await asyncio.sleep(office.options.slow / 2)
        number = message_id(content)
        said = hash_of(content)
        reply = ""
        for recipient in envelope.rcpt_tos:
            temper = self._temper(recipient)
            speaker = self._speaker(recipient)
            verdict = office.desk.at_dot(
                speaker, "accepts" if self._is_gullible else temper, recipient
            )
            reply = verdict.reply
            is_accepted = verdict.did == "accepted"
            self._enter(verdict, recipient, sender, number, said if is_accepted else None)
            if is_accepted:
                mail = Mail(
                    provider=speaker or office.world.providers[0],
                    recipient=recipient,
                    temper=temper,
                    envelope_from=sender,
                    message_id=number,
                    content=content,
                    arrived=time.time(),
                )
                office.take(mail, gullibly=self._is_gullible)
                if speaker is not None:
                    server.visit.take(office.gate.meters[speaker.name])
        server.visit.end_message()
        await asyncio.sleep(office.options.slow / 2)
        if reply.startswith("250") and office.desk.cuts("after", sender, first):
            cut = Verdict("cut_after_dot", "")
            for recipient in envelope.rcpt_tos:
                self._enter(cut, recipient, sender, number, accepted=True)
            server.hang_up()
        return reply

    async def handle_exception(self, error: Exception) -> str:
        """Promise nothing when something of our own fails, such as writing the book."""
        if not isinstance(error, BookClosed):
            log.error("a transaction went wrong", exc_info=error)
        return "451 4.3.0 Local error in processing"

    @property
    def _is_gullible(self) -> bool:
        return self.provider is None and self.office.options.relay == "accepts"

    def _speaker(self, recipient: str) -> Provider | None:
        return self.provider or self.office.world.provider_of(recipient.rpartition("@")[2])

    def _temper(self, recipient: str) -> str:
        owner = self.office.world.provider_of(recipient.rpartition("@")[2])
        if self.provider is not None and owner is not self.provider:
            return "relay_denied"
        return "no_such_domain" if owner is None else self.office.world.temper_of(recipient)

    def _verdict(self, visit: Visit, temper: str, sender: str, address: str) -> Verdict | None:
        """Ask the provider's gate, then the mailbox; None: the recipient may be accepted."""
        speaker = self._speaker(address)
        gate = self.office.gate
        if speaker is None or temper == "relay_denied":
            return self.office.desk.at_recipient(speaker, temper, sender, address)
        verdict = gate.at_recipient(visit, speaker, address)
        if verdict is not None:
            return verdict
        verdict = self.office.desk.at_recipient(speaker, temper, sender, address)
        if verdict is not None:
            visit.give_back(gate.meters[speaker.name])
        return verdict

    def _enter(
        self,
        verdict: Verdict,
        recipient: str,
        sender: str,
        number: str | None = None,
        said: str | None = None,
        *,
        accepted: bool | None = None,
    ) -> None:
        office = self.office
        speaker = self._speaker(recipient)
        weather = verdict.weather
        if speaker is not None:
            office.gate.meters[speaker.name].count(verdict.did)
            weather = weather or office.gate.state(speaker)
        office.book.write(
            verdict.did,
            provider=speaker.name if speaker else None,
            recipient=mailbox(recipient),
            temper=self._temper(recipient),
            reply=verdict.reply or None,
            message_id=number,
            envelope_from=sender,
            accepted=accepted,
            hash=said,
            weather=weather,
            limit=verdict.limit,
        )


def _sender(envelope: Envelope) -> str:
    return "" if envelope.mail_from in {None, "<>"} else str(envelope.mail_from)
