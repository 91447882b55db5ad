"""What a sender and the process that hands over for it say to each other.

Frames over a socket that nobody else has: four bytes of length, and a message in MessagePack.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

import msgspec

from goodstanding.config.options import Options
from goodstanding.gateways.base import Handover
from goodstanding.mailings.handing.hander import Job
from goodstanding.mailings.mail.compose import Recipe


class _Said(msgspec.Struct, frozen=True, array_like=True, tag=True, gc=False):
    """One thing said."""


class Begin(_Said, frozen=True):
    """The first of all: the settings, and the secrets that sign, the present one first."""

    options: Options
    secrets: list[str]


class Learn(_Said, frozen=True):
    """How the messages of a mailing are made, of which some are about to be prepared."""

    mailing: int
    recipe: Recipe


class Forget(_Said, frozen=True):
    """None of that mailing will be prepared until it is learnt again."""

    mailing: int


class Prepare(_Said, frozen=True):
    """Take this one on; what is said of it goes by the number."""

    number: int
    job: Job


class Hand(_Said, frozen=True):
    """Its turn has come: hand it over. ``most``: mails that its connection may carry.

    ``ahead``: whether its content may leave is said without being asked for.
    """

    number: int
    most: int | None
    ahead: bool


class Drop(_Said, frozen=True):
    """Its turn will not come."""

    number: int


class Ready(_Said, frozen=True):
    """The settings are understood."""


class Asking(_Said, frozen=True):
    """All but the content is said: may it leave?"""

    number: int


class Fenced(_Said, frozen=True):
    """Whether it may."""

    number: int
    allowed: bool


class Handed(_Said, frozen=True):
    """What became of it."""

    number: int
    handover: Handover


class Failed(_Said, frozen=True):
    """It came to nothing by a fault of ours; ``unfit``: it could not be made.

    ``asked``: whether its content might have left.
    """

    number: int
    error: str
    unfit: bool
    asked: bool


class Close(_Said, frozen=True):
    """Nothing more will be asked: hang up and end."""


ToHands = Begin | Learn | Forget | Prepare | Hand | Drop | Fenced | Close
Answer = Asking | Handed | Failed
"""What is said of one message."""
ToSender = Ready | Answer

_LENGTH: Final = 4
_ENCODER: Final = msgspec.msgpack.Encoder()


class Wire(asyncio.Protocol):
    """One end. ``heard`` is called with every message, ``lost`` once when no more can come."""

    def __init__(self, kind: Any, heard: Callable[[Any], None], lost: Callable[[], None]) -> None:
        self._decoder = msgspec.msgpack.Decoder(kind)
        self._heard = heard
        self._lost = lost
        self._part = b""
        self._out: list[bytes] = []
        self._transport: Any = None

    def say(self, message: ToHands | ToSender) -> None:
        """Write a message, together with all that is said in the same turn of the loop."""
        said = _ENCODER.encode(message)
        if not self._out:
            asyncio.get_running_loop().call_soon(self._flush)
        self._out += (len(said).to_bytes(_LENGTH, "big"), said)

    def close(self) -> None:
        """Hang up."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Hear the messages that are complete."""
        data = self._part + data
        at = 0
        while len(data) - at >= _LENGTH:
            end = at + _LENGTH + int.from_bytes(data[at : at + _LENGTH], "big")
            if end > len(data):
                break
            self._heard(self._decoder.decode(memoryview(data)[at + _LENGTH : end]))
            at = end
        self._part = data[at:]

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - however it was
        """Tell whoever listens."""
        self._lost()

    def _flush(self) -> None:
        said, self._out = b"".join(self._out), []
        if not self._transport.is_closing():
            self._transport.write(said)
