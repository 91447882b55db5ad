"""Servers to send to: aiosmtpd as a well-behaved one, and a scripted one that may do anything."""

# ruff: noqa: ARG002, N802 (the names and arguments by which aiosmtpd calls a handler)

from __future__ import annotations

import asyncio
import contextlib
import subprocess
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

from aiosmtpd.smtp import SMTP, Envelope, Session

CUT = "cut"
HANG = "hang"
PIPELINING = {"EHLO": "250-mx.example.com\n250 PIPELINING"}
"""What a scripted server says that takes several commands at once."""


class Mailbox:
    """An aiosmtpd handler that keeps what it gets and answers by the local part."""

    def __init__(self) -> None:
        self.envelopes: list[Envelope] = []
        self.sessions: set[int] = set()
        self.hosts: list[str | None] = []

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        self.sessions.add(id(session))
        self.hosts.append(session.host_name)
        local = address.partition("@")[0]
        if local == "nobody":
            return "550 5.1.1 No such user"
        if local == "later":
            return "451 4.7.1 Greylisted, try again later"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        local = envelope.rcpt_tos[0].partition("@")[0]
        if local == "spam":
            return "554 5.7.1 Looks like spam"
        if local == "busy":
            return "452 4.3.1 Out of space"
        self.envelopes.append(envelope)
        return "250 2.0.0 Queued as 1"


@contextlib.asynccontextmanager
async def aiosmtpd_server(handler: Any, **options: Any) -> AsyncIterator[int]:
    """Run aiosmtpd on the present loop; gives its port."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: SMTP(handler, hostname="mx.example.com", loop=loop, **options), "127.0.0.1", 0
    )
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


class Script:
    """A server that answers each command as told: a line, ``CUT`` or ``HANG``."""

    def __init__(self, **answers: str) -> None:
        self.answers: Mapping[str, str] = {
            "CONNECT": "220 mx.example.com ready",
            "EHLO": "250 mx.example.com",
            "HELO": "250 mx.example.com",
            "MAIL": "250 ok",
            "RCPT": "250 ok",
            "DATA": "354 go on",
            "DOT": "250 2.0.0 taken",
            "RSET": "250 ok",
            "QUIT": "221 bye",
        } | answers
        self.said: list[str] = []
        self.bodies: list[bytes] = []
        self.halves: list[bytes] = []
        self.waiting = 0
        self.connections = 0
        self.open = 0
        self.most_open = 0

    @property
    def verbs(self) -> list[str]:
        return [line.split()[0] for line in self.said]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        try:
            await self._talk(reader, writer)
        except ConnectionError:
            pass
        finally:
            self.open -= 1
            writer.close()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        verb = "CONNECT"
        while True:
            answer = self.answers.get(verb, "502 5.5.1 What?")
            if answer == CUT:
                return
            if answer == HANG:
                await reader.read()
                return
            writer.write(answer.replace("\n", "\r\n").encode() + b"\r\n")
            if answer.startswith("421"):
                await writer.drain()
                return
            if verb == "DATA" and answer.startswith("354"):
                self.waiting += 1
                try:
                    self.bodies.append(await reader.readuntil(b"\r\n.\r\n"))
                except asyncio.IncompleteReadError as cut:
                    self.halves.append(cut.partial)
                    return
                verb = "DOT"
                continue
            line = (await reader.readline()).decode()
            if not line:
                return
            self.said.append(line.rstrip("\r\n"))
            verb = line.split()[0].upper()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[int]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            server.close()


def self_signed(folder: Path) -> tuple[Path, Path]:
    """A certificate for localhost and 127.0.0.1, and its key."""
    certificate, key = folder / "cert.pem", folder / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
         "-nodes", "-days", "2", "-subj", "/CN=localhost", "-addext",
         "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", str(key), "-out",
         str(certificate)],
        check=True, capture_output=True,
    )  # fmt: skip
    return certificate, key
