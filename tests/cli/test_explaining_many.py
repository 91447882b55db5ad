"""`explain` with many mails: several processes read, and whatever ends it, none of them stays."""

import os
import pty
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO

import pytest

from tests.processes import group

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks at the processes in /proc")

MAIL = b"""From MAILER-DAEMON Thu Jan  1 00:00:00 2026
From: MAILER-DAEMON@example.net
Subject: Undelivered Mail Returned to Sender
X-Failed-Recipients: user%d@example.com

The mail could not be delivered: 550 5.1.1 no such user

"""
COMMAND = [sys.executable, "-m", "goodstanding", "explain", "--json", "--processes", "3"]


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Mails enough for many seconds."""
    path = tmp_path_factory.mktemp("many") / "box"
    with path.open("wb") as file:
        file.writelines(MAIL % number for number in range(300_000))
    return path


@pytest.fixture
def explaining(box: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The command at work, in a group of its own, as in a terminal; its processes have begun."""
    process = subprocess.Popen(
        [*COMMAND, str(box)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        assert process.stdout is not None
        assert b'"recipient":"user0@example.com"' in process.stdout.readline()
        assert len(group(process.pid)) == 4
        yield process
    finally:
        process.kill()
        process.communicate()


def gone(process: subprocess.Popen[bytes]) -> bool:
    until = time.monotonic() + 20
    while time.monotonic() < until:
        if not group(process.pid):
            return True
        time.sleep(0.02)
    return False


def test_ctrl_c_ends_all_of_it_without_a_word(explaining: subprocess.Popen[bytes]) -> None:
    os.killpg(explaining.pid, signal.SIGINT)
    out, err = explaining.communicate(timeout=30)
    assert (explaining.returncode, err) == (130, b"")
    assert gone(explaining)
    assert len(out.splitlines()) < 299_999


def test_nobody_listens_any_more(explaining: subprocess.Popen[bytes]) -> None:
    assert explaining.stdout is not None
    assert explaining.stderr is not None
    explaining.stdout.close()
    assert explaining.wait(timeout=30) == 0
    assert explaining.stderr.read() == b""
    assert gone(explaining)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_where_it_is_killed_the_others_end(
    explaining: subprocess.Popen[bytes], how: signal.Signals
) -> None:
    explaining.send_signal(how)
    assert gone(explaining)


def test_a_reader_that_dies_is_told_of(explaining: subprocess.Popen[bytes]) -> None:
    os.kill(next(one for one in group(explaining.pid) if one != explaining.pid), signal.SIGKILL)
    _, err = explaining.communicate(timeout=30)
    assert explaining.returncode == 2
    assert err.decode() == "A process that read mails ended before it was done (Killed).\n"
    assert gone(explaining)


def test_mails_that_come_in_by_and_by_are_told_of_while_more_come(box: Path) -> None:
    with subprocess.Popen(
        [*COMMAND, "-"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        with box.open("rb") as file:
            some = file.read(4_000_000)
        # It is not read to its end, and it has no end.
        threading.Thread(target=_pour, args=(some, process.stdin), daemon=True).start()
        assert b'"recipient":"user0@example.com"' in process.stdout.readline()
        os.killpg(process.pid, signal.SIGINT)
        process.communicate(timeout=30)
        assert gone(process)


def _pour(content: bytes, into: IO[bytes]) -> None:
    with suppress(OSError):
        into.write(content)


def test_a_terminal_is_shown_how_far_it_is(box: Path) -> None:
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [*COMMAND, str(box)],
        stdout=subprocess.DEVNULL,
        stderr=theirs,
        start_new_session=True,
        env=os.environ | {"TERM": "xterm", "COLUMNS": "80"},
    ) as process:
        os.close(theirs)
        shown = b""
        while b"%" not in shown:
            shown += os.read(ours, 1000)
        os.killpg(process.pid, signal.SIGINT)
        process.wait(timeout=30)
    os.close(ours)
    assert b"Reading" in shown
    assert b"Traceback" not in shown
    assert gone(process)
