"""The command, as a process of its own or, where that tells no more, in this one."""

import io
import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from goodstanding.cli import main


class Ran(msgspec.Struct):
    """What a command came to."""

    status: int
    out: str
    err: str

    @property
    def items(self) -> list[Any]:
        """The JSON on standard output, an item a line."""
        return [json.loads(line) for line in self.out.splitlines()]


Run = Callable[..., Ran]


def command(environment: dict[str, str], *arguments: str, said: str = "") -> Ran:
    """Run a command in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "goodstanding", *arguments],
        env=environment,
        cwd=environment["GOODSTANDING_HOME"],
        input=said,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return Ran(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def run(
    transactional_db: None, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Run:
    """Run a command in this process, on the tests' database."""

    def running(*arguments: str, said: str = "") -> Ran:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(said.encode())))
        capfd.readouterr()
        status = main(list(arguments))
        return Ran(status, *capfd.readouterr())

    return running


@pytest.fixture
def process(environment: dict[str, str]) -> Run:
    """Run a command as a process, in a home of its own."""

    def running(*arguments: str, said: str = "", **variables: str) -> Ran:
        return command(environment | variables, *arguments, said=said)

    return running
