"""What the tests of intake send: deliveries with their tokens, and mails that come back."""

import asyncio
from collections.abc import Callable, Coroutine
from email.message import EmailMessage
from typing import Any

import msgspec

from goodstanding.core.events import SECOND
from goodstanding.intake import spool
from goodstanding.intake.listener import Listener
from goodstanding.intake.models import MAIL
from goodstanding.ledger import models as ledger
from goodstanding.ledger.signing import signer

SENT = 1_750_000_000 * SECOND  # 2025-06-15 15:06:40 UTC
DOMAIN = "bounces.example.com"
SENDER = "news@shop.example"


class Sent(msgspec.Struct):
    """A delivery that was sent, and the tokens that its message carries."""

    delivery: int
    address: str

    def token(self, purpose: str, *more: int) -> str:
        return signer().sign(purpose, self.delivery, *more)

    @property
    def return_path(self) -> str:
        return f"b-{self.token('return-path')}@{DOMAIN}"

    @property
    def message_id(self) -> str:
        return f"<m-{self.token('message-id')}@{DOMAIN}>"

    def row(self) -> ledger.Delivery:
        return ledger.Delivery.objects.get(pk=self.delivery)

    def status(self) -> str:
        return ledger.Address.objects.get(value=self.address).status

    def events(self) -> list[tuple[str, dict[str, Any]]]:
        rows = ledger.Event.objects.filter(address__value=self.address).exclude(kind="sent")
        found = rows.exclude(kind="opted_in").order_by("occurred_at", "key")
        return [(row.kind, msgspec.json.decode(row.detail)) for row in found]

    def kinds(self) -> list[str]:
        return [kind for kind, _ in self.events()]


SendIt = Callable[..., Sent]


def arrive(content: bytes, *recipients: str, sender: str = "") -> None:
    spool.put(MAIL, spool.Envelope(sender, recipients), content)


def bounce(
    sent: Sent, recipient: str | None = None, reply: str = "550 5.1.1 User unknown"
) -> bytes:
    """An RFC 3464 report, as a server sends it two seconds after the sending."""
    return f"""\
Received: from mx.example.net by mx.example.com; Sun, 15 Jun 2025 15:06:45 +0000
Date: Sun, 15 Jun 2025 15:06:42 +0000
From: MAILER-DAEMON@mx.example.net
To: {sent.return_path}
Subject: Undelivered Mail Returned to Sender
Message-ID: <report-1@mx.example.net>
Auto-Submitted: auto-replied
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status; boundary="=_b"

--=_b
Content-Type: text/plain

Your message could not be delivered.

--=_b
Content-Type: message/delivery-status

Reporting-MTA: dns; mx.example.net

Final-Recipient: rfc822; {recipient or sent.address}
Action: failed
Status: {reply.split()[1]}
Diagnostic-Code: smtp; {reply}

--=_b
Content-Type: text/rfc822-headers

From: {SENDER}
To: {sent.address}
Message-ID: {sent.message_id}

--=_b--
""".replace("\n", "\r\n").encode()


def complaint(sent: Sent, feedback_type: str = "abuse") -> bytes:
    """An RFC 5965 report, redacted: only the returned message tells whom it is about."""
    return f"""\
Date: Sun, 15 Jun 2025 16:00:00 +0000
From: feedback@mail.example.org
To: complaints@{DOMAIN}
Subject: FW: spring
Message-ID: <{feedback_type}@mail.example.org>
MIME-Version: 1.0
Content-Type: multipart/report; report-type=feedback-report; boundary="=_c"

--=_c
Content-Type: text/plain

This is an email abuse report.

--=_c
Content-Type: message/feedback-report

Feedback-Type: {feedback_type}
User-Agent: mail.example.org/1.0
Version: 1

--=_c
Content-Type: message/rfc822

From: {SENDER}
To: redacted@mail.example.org
Subject: spring
Message-ID: {sent.message_id}

Hello
--=_c--
""".replace("\n", "\r\n").encode()


def letter(subject: str = "Hello", **headers: str) -> bytes:
    message = EmailMessage()
    message["From"] = "Ann <ann@example.net>"
    message["Date"] = "Sun, 15 Jun 2025 17:00:00 +0000"
    message["Message-ID"] = "<letter@example.net>"
    message["Subject"] = subject
    for name, value in headers.items():
        message[name.replace("_", "-")] = value
    message.set_content("Could you call me on Thursday?")
    return message.as_bytes()


def with_listener(
    talk: Callable[[int], Coroutine[Any, Any, Any]], **given: Any
) -> tuple[Any, Listener]:
    """Run a conversation with a listener, given its port; give what came of it."""

    async def run() -> tuple[Any, Listener]:
        listener = Listener(**given)
        port = await listener.start("127.0.0.1", 0)
        try:
            return await asyncio.wait_for(talk(port), 30), listener
        finally:
            await listener.stop()

    return asyncio.run(run())
