"""`goodstanding serve`, `worker` and `operator`: what keeps running, and who may look at it."""

from __future__ import annotations

import getpass
import os
import signal
import subprocess
import sys
from typing import Annotated

import typer

from goodstanding.cli.output import BadInput, Stop, print_text
from goodstanding.cli.setup import log_with_structlog, prepare

WEB_THREADS = 16


def serve() -> None:
    """Run everything in one command: the web pages, and a worker that sends and hears.

    The web listens where the setting listen_web says, mail that comes back is heard where
    listen_mail says. Stop it with Ctrl-C or SIGTERM: what is in flight is finished first.

    Example: GOODSTANDING_LISTEN_WEB=127.0.0.1:8000 goodstanding serve
    """
    prepare()
    from django.conf import settings

    web = start_web()
    try:
        print_text(
            f"Web on http://{settings.OPTIONS.listen_web}, mail on {settings.OPTIONS.listen_mail}."
            " Ctrl-C stops."
        )
        _work(listen=True)
    finally:
        web.terminate()
        web.wait()


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
    command = [sys.executable, "-m", "granian", "--interface", "wsgi", "--host", host]
    command += ["--port", str(port), "--blocking-threads", str(WEB_THREADS), "--no-access-log"]
    command += ["--log-level", "warning", "goodstanding.config.wsgi:application"]
    return subprocess.Popen(command, preexec_fn=_end_with_parent)  # noqa: PLW1509, S603


def _end_with_parent() -> None:
    """Ask the kernel to stop this process when its parent dies, however that happens."""
    if sys.platform == "linux":
        import ctypes

        parent_death_signal = 1  # PR_SET_PDEATHSIG, prctl(2)
        ctypes.CDLL(None).prctl(parent_death_signal, signal.SIGTERM)


def _work(*, listen: bool) -> None:
    import asyncio

    log_with_structlog()
    from goodstanding.worker import Worker

    try:
        asyncio.run(Worker().run(listen=listen))
    except OSError as error:
        if error.errno is None:
            raise
        raise Stop(f"The worker cannot run: {os.strerror(error.errno)}: {error}") from error
