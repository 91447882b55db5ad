"""One step of measuring the sending, in a process of its own; prints JSON.

``GOODSTANDING_HOME`` and ``DATABASE_URL`` say where, as in life.
"""

from __future__ import annotations

import asyncio
import cProfile
import os
import pickle
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec
import typer

from benchmarks.measuring import memory_mb, processor_time

app = typer.Typer()

GIVE_UP: Final = 120.0
"""Seconds without a message that left, after which the measurement has failed."""

_LOOK: Final = 0.05  # seconds between looks at what is left


@app.command()
def prepare(messages: int) -> None:
    """Make the tables, an audience of so many, and a mailing planned and checked for all of it."""
    _set_up()
    from benchmarks import audience
    from goodstanding.mailings import checking, contents, planning

    now = time.time_ns() // 1_000
    audience.make(messages, now, audience.EVERYBODY_IN)
    html = Path(__file__).with_name("mail.html").read_text("utf-8")
    draft = contents.Draft(name="news", subject="What is new, {{ first_name }}?", html=html)
    mailing = contents.create(draft, now)
    if not (planning.plan(mailing, now) and checking.check(mailing, now)):
        raise SystemExit("the mailing is not planned to its end")
    if not checking.check(mailing, now):
        raise SystemExit("the mailing is not checked to its end")
    _print(planned=_left())


@app.command()
def send(profile: Path | None = None) -> None:
    """Run a worker until all that is planned has left, timed from its first loop on.

    It says that it is ready, and begins when it is told to: with a line on standard input.
    """
    _set_up()
    from goodstanding import bounces
    from goodstanding.worker import Worker

    # What a worker does once in its life: the rules are compiled.
    bounces.read_reply("550 5.1.1 Unknown user")
    before, _ = memory_mb()
    print("ready", flush=True)
    sys.stdin.readline()
    with _profiled(profile):
        found = asyncio.run(_until_all_left(Worker()))
    _print(memory_before=before, sent=_sent(), **found)


@app.command()
def bare(messages: Path, port: int, connections: int) -> None:
    """Hand ready-made messages over by aiosmtplib alone, timed."""
    ready = []
    with messages.open("rb") as file:
        while file.peek(1):
            ready.append(pickle.load(file))
    before = time.process_time()
    seconds = asyncio.run(_hand_over(ready, port, connections))
    _print(messages=len(ready), seconds=seconds, processor=time.process_time() - before)


async def _hand_over(ready: list[tuple[str, str, bytes]], port: int, connections: int) -> float:
    import aiosmtplib

    waiting = iter(ready)

    async def use_one_connection() -> None:
        async with aiosmtplib.SMTP(
            hostname="127.0.0.1", port=port, local_hostname="us.example", start_tls=False
        ) as client:
            for sender, recipient, content in waiting:
                await client.sendmail(sender, [recipient], content)

    started = time.perf_counter()
    await asyncio.gather(*(use_one_connection() for _ in range(connections)))
    return time.perf_counter() - started


@contextmanager
def _profiled(file: Path | None) -> Iterator[None]:
    """Write what each thread does, for ``pstats``: to ``file`` with its name added."""
    if file is None:
        yield
        return
    profiles: dict[str, cProfile.Profile] = {}

    def begin(*_: object) -> None:
        own = profiles[threading.current_thread().name] = cProfile.Profile()
        own.enable()

    threading.setprofile(begin)
    begin()
    yield
    for name, each in profiles.items():
        each.dump_stats(f"{file}.{name}")


async def _until_all_left(worker: Any) -> dict[str, Any]:
    loop = asyncio.get_running_loop()
    found: dict[str, Any] = {}

    def watch() -> None:
        """Runs in a thread of its own, with a connection of its own."""
        from django.db import connections

        try:
            started, processor = time.perf_counter(), processor_time()
            found["seconds"] = _watched(started) - started
            found["processor"] = processor_time() - processor
            found["memory"] = memory_mb()[1]
            found["shares"] = {
                name: (used - used_before.get(name, 0.0)) / found["seconds"]
                for name, used in _used().items()
            }
        except TimeoutError as error:
            found["error"] = str(error)
        finally:
            connections.close_all()
            loop.call_soon_threadsafe(worker.stop)

    used_before = _used()
    watching = threading.Thread(target=watch, name="watching")
    await worker.run(listen=False, ready=watching.start)
    watching.join()
    if "error" in found:
        raise SystemExit(found["error"])
    return found


def _watched(started: float) -> float:
    """Wait until nothing is left; when that was.

    Raises:
        TimeoutError: nothing leaves any more.
    """
    last, left, look_at = _left(), -1, started
    while True:
        if _is_empty():
            return time.perf_counter()
        if time.perf_counter() - look_at > GIVE_UP:
            left, look_at = _left(), time.perf_counter()
            if left == last:
                raise TimeoutError(f"{left} messages do not leave")
            last = left
        time.sleep(_LOOK)


def _used() -> dict[str, float]:
    """The seconds for which each thread had a processor; the event loop's is the main one."""
    named: dict[str, float] = {}
    for thread in threading.enumerate():
        if thread.ident is None or thread.name == "watching":
            continue
        used = time.clock_gettime(time.pthread_getcpuclockid(thread.ident))
        name = "event loop" if thread is threading.main_thread() else thread.name.rpartition("_")[0]
        named[name] = named.get(name, 0.0) + used
    return named


def _is_empty() -> bool:
    return not _one("SELECT EXISTS (SELECT 1 FROM mailings_outbox)")


def _left() -> int:
    return _one("SELECT count(*) FROM mailings_outbox")


def _sent() -> int:
    return _one("SELECT count(*) FROM ledger_delivery WHERE sent_first IS NOT NULL")


def _one(query: str) -> int:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(query)
        return int(cursor.fetchone()[0])


def _set_up() -> None:
    from goodstanding.cli.setup import log_with_structlog, prepare

    os.environ.setdefault("GOODSTANDING_LOG_LEVEL", "warning")
    prepare()
    log_with_structlog()


def _print(**said: Any) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(said))


if __name__ == "__main__":
    app()
