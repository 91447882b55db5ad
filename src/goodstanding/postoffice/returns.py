"""The way back: hands reports and replies to the sender's listener until it takes them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import aiosmtplib
from aiosmtplib import SMTPHeloError, SMTPResponse, SMTPResponseException, SMTPStatus

if TYPE_CHECKING:
    from goodstanding.postoffice.options import Return

CONNECTIONS: Final = 8
TIMEOUT: Final = 30.0
FIRST_PAUSE: Final = 0.1
LONGEST_PAUSE: Final = 5.0
HELLO: Final = "mx.relay.example"


class NotTakenError(Exception):
    """The listener refused a letter for good; the text is its reply."""


class _Lmtp(aiosmtplib.SMTP):
    """LMTP (RFC 2033) for one recipient at a time is SMTP with another greeting."""

    async def ehlo(self, **_: Any) -> SMTPResponse:
        response = await self.execute_command(b"LHLO", HELLO.encode())
        if response.code != SMTPStatus.completed:
            raise SMTPHeloError(response.code, response.message)
        self.last_ehlo_response = response
        return response


class Returns:
    """A few lasting connections to the listener, shared by all who write."""

    def __init__(self, to: Return) -> None:
        self._to = to
        self._idle: list[aiosmtplib.SMTP] = []
        self._turns = asyncio.Semaphore(CONNECTIONS)

    async def send(self, sender: str, recipient: str, content: bytes) -> str:
        """Send a letter, again and again while the answer is "not now" or nobody is there.

        Returns:
            The reply with which it was taken.

        Raises:
            NotTakenError: it was refused for good, or an address cannot be put on an envelope.
        """
        pause = FIRST_PAUSE
        while True:
            try:
                async with self._turns:
                    return await self._try(sender, recipient, content)
            except SMTPResponseException as error:
                if error.code >= 500:
                    raise NotTakenError(f"{error.code} {error.message}") from error
            except (ValueError, aiosmtplib.SMTPNotSupported) as error:
                raise NotTakenError(str(error)) from error
            except (OSError, aiosmtplib.SMTPException):
                pass
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)

    async def _try(self, sender: str, recipient: str, content: bytes) -> str:
        client = await self._connected()
        try:
            await client.mail(sender)
            await client.rcpt(recipient)
            response = await client.data(content)
        except BaseException:
            # A fresh connection is cheaper than finding out in what state this one is.
            client.close()
            raise
        self._idle.append(client)
        return f"{response.code} {response.message}"

    async def _connected(self) -> aiosmtplib.SMTP:
        while self._idle:
            client = self._idle.pop()
            if client.is_connected:
                return client
        kind = _Lmtp if self._to.lmtp else aiosmtplib.SMTP
        client = kind(
            hostname=self._to.host,
            port=self._to.port,
            local_hostname=HELLO,
            start_tls=False,
            timeout=TIMEOUT,
        )
        await client.connect()
        return client
