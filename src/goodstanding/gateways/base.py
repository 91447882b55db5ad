"""What every gateway takes and gives back."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Literal, Protocol

import msgspec

Outcome = Literal["accepted", "deferred", "refused", "unsent", "lost", "dropped"]
Stage = Literal["connect", "mail", "rcpt", "data", "dot"]
Fence = Callable[[], Awaitable[bool]]
"""Asked once, when nothing but the content is left to say; False: this mail must not leave."""


class Mail(msgspec.Struct, frozen=True, gc=False):
    """One message for one recipient: its envelope (RFC 5321) and its content (RFC 5322)."""

    envelope_from: str
    """Where failures are reported to; empty for the null return path ``<>``."""
    recipient: str
    content: bytes
    """The whole message, headers and body; line ends are made CRLF where they are not."""
    connection_mails: int | None = None
    """A connection that has carried so many is closed behind this one; None: as the gateway's."""


class Handover(msgspec.Struct, frozen=True, gc=False):
    """What became of handing over one mail.

    ==========  ==================================================================
    accepted    the other side has taken it
    deferred    a temporary refusal (4xx); try again later
    refused     a permanent refusal (5xx)
    unsent      it surely did not leave (no connection, broken before the content)
    lost        nobody knows: the content was written, and no answer came
    dropped     the fence said no; nothing left
    ==========  ==================================================================

    ``stage`` is where that happened. What is said at ``connect`` (greeting, EHLO, STARTTLS,
    sign-in) is about the sender, never about the address.
    """

    outcome: Outcome
    stage: Stage
    code: int | None = None
    text: str = ""
    """The whole reply as it was said, its lines joined by a space: ``550 5.1.1 No such user``."""
    host: str | None = None
    """Who said it, ``name:port``."""
    error: str | None = None
    """What went wrong on our side or on the wire, in plain words."""


class Gateway(Protocol):
    """A way out. Safe to share among any number of tasks of one event loop."""

    @property
    def reports_deliveries(self) -> bool:
        """Whether an accepted mail is later followed by word of what became of it."""

    async def send(self, mail: Mail, fence: Fence) -> Handover:
        """Hand over one mail; ``fence`` is awaited at most once, just before the content.

        Whatever happens on the wire is an outcome. Only an exception of ``fence`` itself, or
        a cancellation, comes through; nothing has left then, or the connection was cut while
        the answer was awaited.
        """

    async def close(self) -> None:
        """Wait for the mails in flight and hang up."""
