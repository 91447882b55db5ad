"""`goodstanding serve`, `worker` and `operator`: what keeps running, and who may look at it."""

from __future__ import annotations

import contextlib
import getpass
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from typing import Annotated

import typer

from goodstanding.cli.output import BadInput, Stop, print_text
from goodstanding.cli.setup import log_with_structlog, prepare

LOOK_AT_WEB = 0.5  # seconds between looks whether the web server is still there
# Seconds that it may take to end. Told to while it begins, it would wait for ever.
WEB_PATIENCE = 5.0


def serve() -> None:
    """Run everything in one command: the web pages, and a worker that sends and hears.

    The web listens where the setting listen_web says, mail that comes back is heard where
    listen_mail says. Stop it with Ctrl-C or SIGTERM: what is in flight is finished first.

    Example: GOODSTANDING_LISTEN_WEB=127.0.0.1:8000 goodstanding serve
    """
    prepare()
    from django.conf import settings

    _must_be_free("listen_web", settings.OPTIONS.listen_web)
    _must_be_free("listen_mail", settings.OPTIONS.listen_mail)
    # Told to end before the worker listens for that, we still end the web server.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    web = start_web()
    try:
        _work(
            listen=True,
            web=web,
            ready=lambda: print_text(
                f"Web on http://{settings.OPTIONS.listen_web}, mail on"
                f" {settings.OPTIONS.listen_mail}. Ctrl-C stops."
            ),
        )
    finally:
        _end(web)


def worker(
    listen: Annotated[
        bool, typer.Option(help="Hear mail that comes back on listen_mail too.")
    ] = True,
) -> None:
    """Run a worker without the web pages: it sends what is due, hears, and keeps the clock.

    Any number of workers may share a PostgreSQL; with SQLite a second one costs and gives nothing.

    Example: goodstanding worker --no-listen
    """
    prepare()
    _work(listen=listen)


def operator(
    name: Annotated[str, typer.Argument(help="The name to sign in with.")],
) -> None:
    """Let somebody sign in to the console; asks for a password, or reads it from standard input.

    Example: goodstanding operator ann
    """
    prepare()
    from goodstanding.console import operators

    if sys.stdin.isatty():
        password = getpass.getpass("Password: ")
        if getpass.getpass("Again: ") != password:
            raise BadInput("The two passwords differ.")
    else:
        password = sys.stdin.readline().rstrip("\n")
    try:
        operators.create(name, password)
    except ValueError as error:
        raise BadInput(str(error)) from None
    print_text(f"{name} may sign in.")


def start_web() -> subprocess.Popen[bytes]:
    """Start the web server in a process of its own, which ends with this one."""
    from django.conf import settings

    from goodstanding.config.options import host_and_port

    host, port = host_and_port("listen_web", settings.OPTIONS.listen_web)
    command = [sys.executable, "-m", "goodstanding.config.web_server"]
    return subprocess.Popen(  # noqa: S603
        [*command, host, str(port), str(WEB_PATIENCE)],
        stdin=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C is for us: we tell it to end
    )


def _must_be_free(name: str, place: str) -> None:
    """See that nobody listens there: the web server would share the port with whoever does.

    Raises:
        Stop: somebody does, or one cannot listen there.
    """
    from goodstanding.config.options import host_and_port

    host, port = host_and_port(name, place)
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        raise Stop(f"One cannot listen on {name} {place}: {error.strerror or error}.") from None


def _end(web: subprocess.Popen[bytes]) -> None:
    """End the web server, and whatever is left of it where it had died on its own."""
    web.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        web.wait(WEB_PATIENCE)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(web.pid, signal.SIGKILL)
    web.wait()


def _work(
    *,
    listen: bool,
    web: subprocess.Popen[bytes] | None = None,
    ready: Callable[[], None] | None = None,
) -> None:
    """Run a worker until it is told to stop, or the web server has ended on its own.

    Raises:
        Stop: mail cannot be heard, a lock cannot be held, or there is no web server any more.
    """
    import asyncio

    log_with_structlog()
    from goodstanding.mailings.liveness import SharedSession
    from goodstanding.worker import CannotListen, Worker

    async def run() -> bool:
        worker = Worker()
        working = asyncio.create_task(worker.run(listen=listen, ready=ready))
        while web is not None and not working.done() and web.poll() is None:
            await asyncio.wait([working], timeout=LOOK_AT_WEB)
        told_to = web is None or worker.is_stopping or working.done()
        if web is not None:
            worker.stop()
        await working
        return told_to

    try:
        if not asyncio.run(run()) and web is not None:
            raise Stop(f"The web server ended on its own, with status {web.returncode}.")
    except (CannotListen, SharedSession) as error:
        raise Stop(str(error)) from error
