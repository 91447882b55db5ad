"""Run a `goodstanding` command that dies at a named point, as if its machine had lost its power.

    python -m tests.e2e.failing [--at POINT COUNT] [--stop] [--set MODULE:NAME=JSON] -- worker

Functions are wrapped from outside: what is tested holds no word of this. At the COUNTth passage of
the point all processes of the command are sent SIGKILL: no handler runs, nothing is tidied up. With
``--stop`` it is SIGSTOP instead, and they go on when they are told to.
"""

from __future__ import annotations

import argparse
import ctypes
import importlib
import json
import os
import runpy
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any


class Fuse:
    """Ends all processes of the command, or stops them, when it has been passed so many times."""

    def __init__(self, passages: int, number: int) -> None:
        self._left = passages
        self._number = number

    def burn(self) -> None:
        self._left -= 1
        if self._left == 0:
            os.killpg(os.getpgrp(), self._number)
            # Neither signal waits for the end of the call, but nothing says that it may not.
            time.sleep(0.1)


def before(owner: Any, name: str, fuse: Fuse, which: Callable[..., Any] = lambda *_: True) -> None:
    """Burn before ``owner.name`` is called with arguments of ``which`` the answer is true."""
    call = getattr(owner, name)

    def burning(*arguments: Any, **named: Any) -> Any:
        if which(*arguments):
            fuse.burn()
        return call(*arguments, **named)

    setattr(owner, name, burning)


def after(owner: Any, name: str, fuse: Fuse, which: Callable[..., Any] = lambda *_: True) -> None:
    """Burn after ``owner.name`` gave back something, of which ``which`` is true."""
    call = getattr(owner, name)

    def burning(*arguments: Any, **named: Any) -> Any:
        given = call(*arguments, **named)
        if which(given, *arguments):
            fuse.burn()
        return given

    setattr(owner, name, burning)


def after_await(owner: Any, name: str, fuse: Fuse, which: Callable[[Any], Any]) -> None:
    """Burn after what ``owner.name`` gave was awaited."""
    call: Callable[..., Awaitable[Any]] = getattr(owner, name)

    async def burning(*arguments: Any, **named: Any) -> Any:
        given = await call(*arguments, **named)
        if which(given):
            fuse.burn()
        return given

    setattr(owner, name, burning)


def after_claim(fuse: Fuse) -> None:
    """Rows are marked as the worker's; it has not looked at them."""
    from goodstanding.mailings import outbox

    after(outbox, "claim", fuse, lambda claims, *_: claims)


def after_fence(fuse: Fuse) -> None:
    """It is on disk that the content is about to leave; none of it has."""
    from goodstanding.gateways.smtp import _Connection

    before(_Connection, "_content", fuse)


def after_dot(fuse: Fuse) -> None:
    """The content and its dot are written; no answer is read."""
    from goodstanding.gateways.dialogue import Dialogue

    after(Dialogue, "say", fuse, lambda *a: a[2].endswith(b"\r\n.\r\n"))


def after_250(fuse: Fuse) -> None:
    """The server has taken the mail, and the worker knows; nobody else does."""
    from goodstanding.gateways.smtp import SmtpGateway

    after_await(SmtpGateway, "send", fuse, lambda handover: handover.outcome == "accepted")


def after_tell(fuse: Fuse) -> None:
    """It is noted on disk what became of some, and recorded of none of them."""
    from goodstanding.mailings import outbox

    before(outbox, "settle", fuse)


def inside_record(fuse: Fuse) -> None:
    """Events are stored and rows of the outbox changed; nothing is committed."""
    from goodstanding.mailings import outbox

    after(outbox, "_record", fuse)


def inside_fold(fuse: Fuse) -> None:
    """It is decided where addresses stand; nothing of that is written."""
    from goodstanding.ledger import accounts

    before(accounts._Writing, "write", fuse)


def inside_planning(fuse: Fuse) -> None:
    """A chunk has deliveries and events, and no rows in the outbox."""
    from goodstanding.mailings import planning

    before(planning, "_queue", fuse)


IN_HAND: dict[str, Callable[[Fuse], None]] = {
    "after-fence": after_fence,
    "after-dot": after_dot,
    "after-250": after_250,
}
"""Points of the process that hands over for a worker."""

POINTS: dict[str, Callable[[Fuse], None]] = {
    "after-claim": after_claim,
    **IN_HAND,
    "after-tell": after_tell,
    "inside-record": inside_record,
    "inside-fold": inside_fold,
    "inside-planning": inside_planning,
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--at", nargs=2, metavar=("POINT", "COUNT"))
    parser.add_argument("--stop", action="store_true")
    parser.add_argument("--set", action="append", default=[], metavar="MODULE:NAME=JSON")
    parser.add_argument("--lock-timeout", type=float, help="seconds, with SQLite")
    parser.add_argument("--hands", action="store_true", help="be what hands over for a worker")
    parser.add_argument("command", nargs="*")
    given = parser.parse_args()
    # Whoever ends the tests ends this too, stopped or not.
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG, prctl(2)
    fuse = None
    if given.at is not None:
        fuse = Fuse(int(given.at[1]), signal.SIGSTOP if given.stop else signal.SIGKILL)
    if given.hands:
        if fuse is not None and given.at[0] in IN_HAND:
            IN_HAND[given.at[0]](fuse)
        runpy.run_module("goodstanding.mailings.handing", run_name="__main__")
        return
    if os.getpgrp() != os.getpid():
        os.setpgrp()

    os.environ["DJANGO_SETTINGS_MODULE"] = "goodstanding.config.settings"
    import django

    django.setup()
    if given.lock_timeout is not None:
        from django.conf import settings

        for database in settings.DATABASES.values():
            if "timeout" in database["OPTIONS"]:
                database["OPTIONS"]["timeout"] = given.lock_timeout
    for text in given.set:
        place, _, value = text.partition("=")
        module, _, name = place.partition(":")
        found = importlib.import_module(module)
        getattr(found, name)  # that it is there at all
        setattr(found, name, json.loads(value))
    if fuse is not None:
        POINTS[given.at[0]](fuse)

    from goodstanding.cli import main as goodstanding
    from goodstanding.mailings.handing import process

    where = ["--at", *given.at, *(["--stop"] if given.stop else [])] if given.at else []
    process.COMMAND[1:] = ["-m", "tests.e2e.failing", "--hands", *where]
    sys.argv = ["goodstanding", *given.command]
    sys.exit(goodstanding())


if __name__ == "__main__":
    main()
