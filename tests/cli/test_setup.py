"""The first commands on a new machine, several at once: each waits for what another is making."""

import fcntl
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest


def begun(home: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "goodstanding", "sequences"],
        env={"GOODSTANDING_HOME": str(home)},
        cwd=home,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("name", ["goodstanding.sqlite3", "spool.sqlite3"])
def test_a_command_waits_while_another_makes_the_file(home: Path, name: str) -> None:
    with (home / "migrate.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        other = sqlite3.connect(home / name, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with begun(home) as command:
            with pytest.raises(subprocess.TimeoutExpired):
                command.wait(3)
            other.execute("COMMIT")
            other.close()
            fcntl.flock(lock, fcntl.LOCK_UN)
            _, complaint = command.communicate(timeout=60)
    assert (command.returncode, complaint) == (0, "")


def test_commands_that_begin_together_all_work(home: Path) -> None:
    commands = [begun(home) for _ in range(6)]
    ended = [command.communicate(timeout=90)[1] for command in commands]
    assert ended == [""] * 6
