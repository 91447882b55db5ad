"""The hander: makes a message for its recipient and gives it to its lane's gateway."""

from __future__ import annotations

import asyncio
from functools import lru_cache
from typing import Final, Protocol

import msgspec
from django.conf import settings

from goodstanding.config.options import dkim_signer
from goodstanding.gateways.base import Fence, Gateway, Handover, Mail
from goodstanding.gateways.smtp import SmtpGateway
from goodstanding.mailings import lanes
from goodstanding.mailings.mail.compose import Recipe
from goodstanding.mailings.mail.stamps import Stamp

MOST_RECIPES: Final = 32
"""Mailings that are ready to render: those that are sent at once, and some more."""


class Job(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One message to be made and handed over; ``began_at``: the first attempt, microseconds."""

    delivery: int
    mailing: int
    lane: str
    recipient: str
    began_at: int
    fields: dict[str, str]
    connection_mails: int | None
    """A connection that has carried so many is closed behind it."""


class Unfit(Exception):
    """A message that cannot be made for this recipient, and never will be."""


class Hands(Protocol):
    """Whoever hands messages over; safe to share among any number of tasks of one event loop."""

    async def begin(self) -> None:
        """Be ready; what is asked for before this is done waits."""

    async def hand(self, job: Job, recipe: Recipe, fence: Fence) -> Handover:
        """Make a message and hand it over; see :meth:`goodstanding.gateways.base.Gateway.send`.

        Raises:
            Unfit: the message cannot be made.
        """

    async def close(self) -> None:
        """Wait for what is in flight and hang up."""


class Hander:
    """Hands over from this process, by the lanes that are set."""

    def __init__(self) -> None:
        self._lanes = lanes.every()
        # All of them at once: a certificate that cannot be read is found at the start.
        self._gateways: dict[str, Gateway] = {n: SmtpGateway(la) for n, la in self._lanes.items()}
        signer = dkim_signer(settings.OPTIONS)
        self._compiled = lru_cache(MOST_RECIPES)(lambda recipe: recipe.compiled(signer))

    async def begin(self) -> None:
        """See :class:`Hands`."""

    async def hand(self, job: Job, recipe: Recipe, fence: Fence) -> Handover:
        """See :class:`Hands`."""
        lane = self._lanes[job.lane]
        stamp = Stamp(job.delivery, job.began_at, job.mailing, lane.bounce_domain)
        try:
            message = self._compiled(recipe).render(job.fields, job.recipient, stamp)
        except Exception as error:
            raise Unfit(f"{type(error).__name__}: {error}") from error
        mail = Mail(stamp.return_path, job.recipient, message, job.connection_mails)
        return await self._gateways[job.lane].send(mail, fence)

    async def close(self) -> None:
        """See :class:`Hands`."""
        await asyncio.gather(*(gateway.close() for gateway in self._gateways.values()))
