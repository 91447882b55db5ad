"""Processes that hear parts of scenarios, both at once, a job a line: see ``main``."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from goodstanding.core.events import Event


class Job(msgspec.Struct):
    """What a process is to hear, when, and under which policy."""

    events: list[Event]
    now: int
    policy: str


class Hearers:
    """Two of them, on the tests' PostgreSQL."""

    def __init__(self, processes: Sequence[subprocess.Popen[bytes]]) -> None:
        self._processes = processes

    def hear(self, parts: Sequence[Sequence[Event]], now: int, policy: str) -> None:
        """Each hears one of the parts; both begin at once."""
        for process, part in zip(self._processes, parts, strict=True):
            assert process.stdin is not None
            job = msgspec.json.encode(Job(list(part), now, policy))
            process.stdin.write(job + b"\n")
            process.stdin.flush()
        for process in self._processes:
            assert process.stdout is not None
            assert process.stdout.readline() == b"[]\n", "something was refused"


@contextmanager
def hearers(home: Path) -> Iterator[Hearers]:
    """Start them, with that folder as their home."""
    from django.db import connection

    url = urlsplit(os.environ["DATABASE_URL"])._replace(path=connection.settings_dict["NAME"])
    environment = os.environ | {"DATABASE_URL": url.geturl(), "GOODSTANDING_HOME": str(home)}
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.seeds.hearing"],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for _ in range(2)
    ]
    yield Hearers(processes)
    for process in processes:
        process.communicate(timeout=30)


def main() -> None:
    """Hear one job after the other until standard input ends."""
    import django

    os.environ["DJANGO_SETTINGS_MODULE"] = "goodstanding.config.settings"
    django.setup()
    from django.conf import settings
    from django.db import connection

    from goodstanding.ledger.recording import record
    from tests.seeds.scenarios import options_with

    for line in sys.stdin.buffer:
        job = msgspec.json.decode(line, type=Job)
        settings.OPTIONS = options_with(job.policy)
        refused = record(job.events, job.now).refused
        # A session that stays would keep the tests' database from being dropped.
        connection.close()
        sys.stdout.write(f"{[each.why for each in refused]}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
