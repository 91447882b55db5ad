"""What the benchmarks share: processes of their own, figures, and how these are shown."""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec
from rich.console import Console
from rich.table import Table

ROOT: Final = Path(__file__).parent.parent
DATABASES: Final = ("sqlite", "postgresql")
_UNWANTED: Final = ("GOODSTANDING_", "DATABASE_URL", "DJANGO_SETTINGS_MODULE", "NATS_URL")


class Target(msgspec.Struct, frozen=True):
    """At most so many times the yardstick's time, and at least so many a second.

    ``memory``: at most so many MB; ``longest``: the longest lock, at most so many milliseconds.
    """

    ratio: float
    rate: float = 0
    memory: float | None = None
    longest: float | None = None


class Figure(msgspec.Struct, frozen=True):
    """One piece of work, measured some times, each time together with its yardstick.

    ``seconds`` and ``yardstick``: of each repeat; ``memory``: the most that the process had, in MB,
    and ``memory_before``: what it had before the work; ``shares``: of the time, by phase;
    ``longest``: how long others had to wait at most, in milliseconds, by what it was.
    """

    work: str
    where: str
    unit: str
    count: int
    seconds: list[float]
    yardstick: list[float]
    target: Target
    memory: float
    memory_before: float
    shares: dict[str, float]
    longest: dict[str, float] = {}

    @property
    def met(self) -> bool:
        """Whether the target is."""
        target = self.target
        return (
            self.ratio <= target.ratio
            and self.rate >= target.rate
            and (target.memory is None or self.memory <= target.memory)
            and (target.longest is None or max(self.longest.values()) <= target.longest)
        )

    @property
    def ratios(self) -> list[float]:
        """Each repeat's time by its own yardstick's."""
        return [ours / bare for ours, bare in zip(self.seconds, self.yardstick, strict=True)]

    @property
    def ratio(self) -> float:
        """The median of the ratios."""
        return statistics.median(self.ratios)

    @property
    def rate(self) -> float:
        """So many a second, in the median repeat."""
        return self.count / statistics.median(self.seconds)

    def plain(self) -> dict[str, Any]:
        """All of it, for JSON."""
        said: dict[str, Any] = msgspec.to_builtins(self)
        return said | {
            "rate": round(self.rate),
            "ratio": round(self.ratio, 3),
            "ratios": [round(ratio, 3) for ratio in self.ratios],
            "met": self.met,
            "machine": machine(),
        }


def machine() -> str:
    """What this ran on."""
    return f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"


def show(figures: list[Figure], console: Console) -> None:
    """Print the figures as a table."""
    table = Table(title=f"Measured on {machine()}", title_justify="left")
    table.add_column("work")
    for heading in ("a second", "by yardstick", "from-to", "peak MB"):
        table.add_column(heading, justify="right")
    for each in figures:
        table.add_row(
            f"{each.work}, {each.where}",
            f"{each.rate:,.0f}" + (f" (> {each.target.rate:,.0f})" if each.target.rate else ""),
            f"{each.ratio:.2f} (≤ {each.target.ratio:.3g})",
            f"{min(each.ratios):.2f}-{max(each.ratios):.2f}",
            f"{each.memory:.0f}" + (f" (< {each.target.memory:.0f})" if each.target.memory else ""),
        )
    console.print(table)
    for each in figures:
        shares = ", ".join(f"{name} {share:.0%}" for name, share in each.shares.items())
        longest = "".join(f"; {name} {ms:,.0f} ms" for name, ms in each.longest.items())
        console.print(f"{each.work}, {each.where}: {shares}{longest}", highlight=False)


def run(*arguments: str, **environment: str) -> dict[str, Any]:
    """Run a module of this package in a fresh process; give the JSON that it prints.

    Raises:
        RuntimeError: it failed; what it said is on standard error.
    """
    done = subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=ROOT,
        env=_clean() | environment,
        stdout=subprocess.PIPE,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(arguments)} ended with {done.returncode}")
    said: dict[str, Any] = msgspec.json.decode(done.stdout)
    return said


class Beside:
    """A module of this package that runs in a process beside; it has said that it is ready."""

    def __init__(self, *arguments: str, **environment: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", *arguments],
            cwd=ROOT,
            env=_clean() | environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._input, self._output = self._process.stdin, self._process.stdout
        if not self._output.readline():
            self.end()
            raise RuntimeError(f"{' '.join(arguments)} did not begin")

    def begin(self) -> None:
        """Tell it to go ahead."""
        self._input.write(b"\n")
        self._input.flush()

    def end(self) -> bytes:
        """End its standard input and wait until it is done; what it printed since it was ready."""
        self._input.close()
        said = self._output.read()
        self._output.close()
        self._process.wait()
        return said


@contextmanager
def beside(*arguments: str, **environment: str) -> Iterator[dict[str, Any]]:
    """Run a module of this package beside; what it gives is filled with the JSON it prints."""
    said: dict[str, Any] = {}
    process = Beside(*arguments, **environment)
    try:
        yield said
    finally:
        printed = process.end()
    said |= msgspec.json.decode(printed)


def at_once(count: int, *arguments: str, **environment: str) -> list[dict[str, Any]]:
    """Run so many of a module of this package at once; they are ready before any begins.

    Raises:
        RuntimeError: one failed; what it said is on standard error.
    """
    processes: list[Beside] = []
    try:
        for _ in range(count):
            processes.append(Beside(*arguments, **environment))  # noqa: PERF401 - each to be ended
        for each in processes:
            each.begin()
    finally:
        printed = [each.end() for each in processes]
    if not all(printed):
        raise RuntimeError(f"{' '.join(arguments)} did not end well")
    return [msgspec.json.decode(each) for each in printed]


def _clean() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(_UNWANTED)}


def postgresql(stack: ExitStack) -> str:
    """Start a server for as long as ``stack`` is open; its URL."""
    from tests import postgres

    return stack.enter_context(postgres.running())


@contextmanager
def database(kind: str, server: str) -> Iterator[dict[str, str]]:
    """An empty home and database: the environment that names them."""
    from tests import postgres

    with (
        tempfile.TemporaryDirectory(prefix="goodstanding-bench-home-") as home,
        ExitStack() as stack,
    ):
        place = {"GOODSTANDING_HOME": home}
        if kind == "postgresql":
            place["DATABASE_URL"] = stack.enter_context(postgres.fresh_database(server))
        yield place


def memory_mb() -> tuple[float, float]:
    """What this process, and those it began, have in memory now, and the most they ever had.

    In MB; zeros off Linux.
    """
    now = most = 0.0
    for process in (os.getpid(), *children()):
        status = Path(f"/proc/{process}/status")
        if status.exists():
            lines = status.read_text().splitlines()
            fields = dict(line.split(":", 1) for line in lines if ":" in line)
            now += int(fields["VmRSS"].split()[0]) / 1024
            most += int(fields["VmHWM"].split()[0]) / 1024
    return now, most


def processor_time() -> float:
    """The seconds for which this process, and those it began, had a processor."""
    ticks = 0
    for process in children():
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return time.process_time() + ticks / os.sysconf("SC_CLK_TCK")


def children(process: int | None = None) -> list[int]:
    """The processes that this one, or another, began and that are there; none off Linux."""
    lists = Path(f"/proc/{process or os.getpid()}/task").glob("*/children")
    return [int(child) for each in lists for child in each.read_text().split()]


def print_json(figures: list[Figure]) -> None:
    """Print a line of JSON for each figure."""
    for each in figures:
        sys.stdout.write(msgspec.json.encode(each.plain()).decode() + "\n")
