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


class Unfit(Exception):
    """A message that cannot be made for this recipient, and never will be."""


class Prepared(Protocol):
    """A message that was taken on, and is handed over when its turn comes, or dropped."""

    async def hand_over(self, fence: Fence, most: int | None, *, ahead: bool = False) -> Handover:
        """Hand it over, once; see :meth:`goodstanding.gateways.base.Gateway.send`.

        ``most``: a connection that has carried so many is closed behind it. ``ahead``: the fence is
        being set already, and may be asked for at once.

        Raises:
            Unfit: the message cannot be made.
        """

    def drop(self) -> None:
        """It will not be handed over."""


class Hands(Protocol):
    """Whoever hands messages over; safe to share among any number of tasks of one event loop."""

    async def begin(self) -> None:
        """Be ready; what is asked for before this is done waits."""

    def prepare(self, job: Job, recipe: Recipe) -> Prepared:
        """Take a message on. It may be made at once, where there is nothing better to do."""

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

    def prepare(self, job: Job, recipe: Recipe) -> Making:
        """See :class:`Hands`."""
        return Making(self, job, recipe)

    def make(self, job: Job, recipe: Recipe) -> Mail:
        """Make the message.

        Raises:
            Unfit: it cannot be made.
        """
        stamp = Stamp(job.delivery, job.began_at, job.mailing, self._lanes[job.lane].bounce_domain)
        try:
            message = self._compiled(recipe).render(job.fields, job.recipient, stamp)
        except Exception as error:
            raise Unfit(f"{type(error).__name__}: {error}") from error
        return Mail(stamp.return_path, job.recipient, message)

    async def send(self, lane: str, mail: Mail, fence: Fence) -> Handover:
        """Give a message to its lane's gateway."""
        return await self._gateways[lane].send(mail, fence)

    async def close(self) -> None:
        """See :class:`Hands`."""
        await asyncio.gather(*(gateway.close() for gateway in self._gateways.values()))


class Making:
    """A message that a hander has taken on."""

    def __init__(self, hander: Hander, job: Job, recipe: Recipe) -> None:
        self._hander = hander
        self._job = job
        self._recipe = recipe
        self._mail: Mail | None = None

    def make(self) -> int:
        """Make it now; the bytes that it keeps from here on.

        Raises:
            Unfit: it cannot be made.
        """
        if self._mail is None:
            self._mail = self._hander.make(self._job, self._recipe)
        return len(self._mail.content)

    async def hand_over(
        self,
        fence: Fence,
        most: int | None,
        *,
        ahead: bool = False,  # noqa: ARG002 - it is asked for no sooner here
    ) -> Handover:
        """See :class:`Prepared`."""
        mail = self._mail or self._hander.make(self._job, self._recipe)
        self._mail = None
        mail = msgspec.structs.replace(mail, connection_mails=most)
        return await self._hander.send(self._job.lane, mail, fence)

    def drop(self) -> None:
        """See :class:`Prepared`."""
        self._mail = None
