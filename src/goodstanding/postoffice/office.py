"""The post office: everything that one run shares, from opening to closing."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from goodstanding.postoffice.book import Book
from goodstanding.postoffice.desk import Desk, Mail
from goodstanding.postoffice.schedule import Schedule
from goodstanding.postoffice.server import Clerk
from goodstanding.postoffice.world import World

if TYPE_CHECKING:
    from goodstanding.postoffice.options import Options


class Office:
    """Holds the doors open and does afterwards what people and providers do with mail."""

    def __init__(self, options: Options) -> None:
        """Read the tables and open the book.

        Raises:
            UnknownTemper: ``options.only`` is no temper.
            OSError: the book cannot be opened.
        """
        self.options = options
        self.world = World(options.seed, options.only)
        self.book = Book(options.book)
        self.desk = Desk(self.world, options)
        self.schedule = Schedule()
        self.connections = 0
        self._servers: list[asyncio.Server] = []

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
        return relay, ports

    async def close(self) -> None:
        """Take no more mail, and close the book on what was still going to happen."""
        for server in self._servers:
            server.close()
        self.book.close()

    def take(self, mail: Mail, *, gullibly: bool = False) -> None:
        """See to what happens with an accepted mail; ``gullibly``: the relay took it unseen."""

    async def _listen(self, clerk: Clerk, number: int) -> int:
        base = self.options.port_base
        server = await asyncio.get_running_loop().create_server(
            clerk.door, self.options.host, base + number if base else 0, backlog=512
        )
        self._servers.append(server)
        return int(server.sockets[0].getsockname()[1])
