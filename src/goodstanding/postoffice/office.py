"""The post office: everything that one run shares, from opening to closing."""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import TYPE_CHECKING, Final

from goodstanding.postoffice import chance, readers, writers
from goodstanding.postoffice.book import Book
from goodstanding.postoffice.browser import Web
from goodstanding.postoffice.desk import Desk, Mail
from goodstanding.postoffice.gate import Gate
from goodstanding.postoffice.returns import Returns
from goodstanding.postoffice.schedule import Schedule
from goodstanding.postoffice.server import Clerk, Door
from goodstanding.postoffice.world import World, mailbox

if TYPE_CHECKING:
    from goodstanding.postoffice.options import Options

log = logging.getLogger(__name__)
ACTS: Final = readers.ACTS | writers.ACTS
RELAYED: Final = {
    "refuse": "relay_bounces",
    "refuse_content": "relay_bounces",
    "defer": "relay_gives_up",
}
RELAY_REPORTS_AFTER: Final = (0.4, 2.5)
LOOK_AGAIN_AFTER: Final = 0.1


class Office:
    """Holds the doors open and does afterwards what people and providers do with mail."""

    def __init__(self, options: Options) -> None:
        """Read the tables and open the book.

        Raises:
            UnknownTemper: ``options.only`` is no temper, or a limit or spell names no provider.
            BadWeather: the plan of the weather cannot be followed.
            OSError: the book cannot be opened, or the plan not be read.
        """
        self.options = options
        self.world = World(options.seed, options.only)
        self.book = Book(options.book)
        self.desk = Desk(self.world, options)
        self.gate = Gate(self.world, options)
        self.schedule = Schedule()
        self.doors: set[Door] = set()
        self.web = Web(options.visit, options.most_visits)
        self.returns = Returns(options.return_to) if options.return_to else None
        self._servers: list[asyncio.Server] = []
        self._states: dict[str, str | None] = {}
        self._look: asyncio.TimerHandle | None = None

    async def open(self) -> tuple[int, dict[str, int]]:
        """Open every door; return the relay's port, and the port of every domain.

        Raises:
            OSError: a port is taken.
        """
        relay = await self._listen(Clerk(self, None), 0)
        ports: dict[str, int] = {}
        for number, provider in enumerate(self.world.providers, start=1):
            port = await self._listen(Clerk(self, provider), number)
            ports |= dict.fromkeys(provider.ascii_domains, port)
        self.look_at_weather()
        return relay, ports

    async def close(self) -> None:
        """Take no more mail, and close the book on what was still going to happen."""
        for server in self._servers:
            server.close()
        if self._look is not None:
            self._look.cancel()
        self.schedule.close()
        self.web.close()
        self.book.close()

    def take(self, mail: Mail, *, gullibly: bool = False) -> None:
        """See to what happens with an accepted mail; ``gullibly``: the relay took it unseen."""
        if gullibly:
            mail = self.gate.passed_on(mail)
        temper = self.world.tempers[mail.temper]
        act, after = temper.act, temper.after
        if gullibly and temper.answer in RELAYED:
            act, after = RELAYED[temper.answer], RELAY_REPORTS_AFTER
        if act:
            box = mailbox(mail.recipient)
            wait = chance.between(after, self.options.seed, "after", box) * self.options.pace
            self.schedule.after(wait, partial(self._do, act, mail))

    def look_at_weather(self) -> None:
        """Enter in the book whose state has changed; hang up for those who take no connection."""
        if self._look is not None:
            self._look.cancel()
        self._look = asyncio.get_running_loop().call_later(LOOK_AGAIN_AFTER, self.look_at_weather)
        for provider in self.world.providers:
            state = self.gate.state(provider)
            if state == self._states.get(provider.name):
                continue
            self._states[provider.name] = state
            self.book.write(
                "turned",
                provider=provider.name,
                recipient="",
                temper="",
                weather=state or "healthy",
            )
            if self.gate.is_closed(provider):
                for door in [door for door in self.doors if door.is_at(provider)]:
                    door.hang_up()

    def words(self, mail: Mail) -> str:
        """Return what the mailbox's server says of this mail."""
        ip = self.options.client_ip
        return self.world.words(mail.provider, mail.temper, mail.recipient, ip)

    def agent(self, mail: Mail) -> str:
        """Return the User-Agent of whoever reads the mailbox."""
        agents = self.world.tempers[mail.temper].agents
        return chance.pick(agents, self.options.seed, "agent", mailbox(mail.recipient))

    def enter(
        self,
        mail: Mail,
        did: str,
        *,
        reply: str | None = None,
        how: str | None = None,
        url: str | None = None,
        agent: str | None = None,
    ) -> None:
        """Enter in the book what was done with a mail."""
        owner = self.world.provider_of(mail.recipient.rpartition("@")[2])
        self.book.write(
            did,
            provider=owner.name if owner else None,
            recipient=mailbox(mail.recipient),
            temper=mail.temper,
            reply=reply,
            message_id=mail.message_id,
            envelope_from=mail.envelope_from,
            how=how,
            url=url,
            agent=agent,
        )

    async def _do(self, act: str, mail: Mail) -> None:
        try:
            await ACTS[act](self, mail)
        except Exception as error:  # noqa: BLE001
            # Mail is hostile; whatever it breaks, the book must say what was not done.
            log.warning("%s of a mail to %s failed: %r", act, mail.recipient, error)
            self.enter(mail, "failed", how=act, reply=repr(error))

    async def _listen(self, clerk: Clerk, number: int) -> int:
        base = self.options.port_base
        server = await asyncio.get_running_loop().create_server(
            clerk.door, self.options.host, base + number if base else 0, backlog=512
        )
        self._servers.append(server)
        return int(server.sockets[0].getsockname()[1])
