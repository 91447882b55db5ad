"""`goodstanding send`: what it refuses, what it says, and that it stays until all has left."""

# ruff: noqa: ARG002, N802 (the names and arguments by which aiosmtpd calls a handler)

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from goodstanding.cli.ports import free_port
from tests.cli.conftest import Ran, command

BODY = "Hello {{ first_name }} {{ unsubscribe_url }} {{ postal_address }}\n"
PEOPLE = 40


class Town:
    """A mail server that takes everything, slowly, and counts."""

    def __init__(self) -> None:
        self.taken: Counter[str] = Counter()
        self.slow = 0.1  # seconds for each

    async def handle_DATA(
        self,
        server: SMTP,
        session: Session,
        envelope: Envelope,
    ) -> str:

        await asyncio.sleep(self.slow)
        self.taken[envelope.rcpt_tos[0]] += 1
        return "250 OK"


@pytest.fixture
def town(home: Path) -> Iterator[Town]:
    """A server, the settings that lead there, and people to write to."""
    port = free_port()
    town = Town()
    controller = Controller(town, hostname="127.0.0.1", port=port)
    controller.start()
    (home / "goodstanding.toml").write_text(
        'sender_address = "news@shop.example"\npostal_address = "1 High Street"\n'
        f'[lanes.main]\nhost = "127.0.0.1"\nport = {port}\nstarttls = "never"\nconnections = 2\n'
    )
    rows = [f"person{number}@bigmail.example,opted_in" for number in range(PEOPLE)]
    rows += ["stranger@bigmail.example,", ",opted_in"]
    (home / "people.csv").write_text("\n".join(["email,consent", *rows]))
    (home / "body.txt").write_text(BODY)
    yield town
    controller.stop()


@pytest.fixture
def shop(environment: dict[str, str], town: Town) -> dict[str, str]:
    assert command(environment, "import-contacts", "people.csv").status == 0
    return environment


def begin(environment: dict[str, str], *arguments: str, **more: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "goodstanding", *arguments],
        env=environment,
        cwd=environment["GOODSTANDING_HOME"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **more,
    )


def send(environment: dict[str, str], *more: str, name: str = "news") -> Ran:
    return command(environment, "send", name, "--subject", "News", "--text", "body.txt", *more)


def wait_for(town: Town, count: int) -> None:
    end = time.monotonic() + 30
    while len(town.taken) < count:
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.02)


def test_where_no_worker_runs_it_sends_itself(shop: dict[str, str], town: Town) -> None:
    done = send(shop, "--json")
    assert (done.status, done.err) == (0, "")
    assert done.items == [
        {
            "mailing": "news",
            "state": "completed",
            "scheduled": PEOPLE + 2,
            "skipped": {"never_opted_in": 1, "no_address": 1},
            "sent": PEOPLE,
            "left": 0,
            "responses": {"sent": PEOPLE},
        }
    ]
    assert set(town.taken.values()) == {1}
    assert len(town.taken) == PEOPLE

    again = send(shop, "--json")
    assert (again.status, again.out) == (1, "")
    assert again.err == "there is a mailing 'news' already\n"
    assert len(town.taken) == PEOPLE

    for_people = send(shop, "--control", "0.5", name="second")
    assert for_people.status == 0
    assert "control group" in for_people.out


def test_all_that_is_wrong_is_said_at_once_a_line_each(shop: dict[str, str]) -> None:
    home = Path(shop["GOODSTANDING_HOME"])
    (home / "bad.txt").write_text("Hello {{ nmae }}")
    said = ["--subject", "Hi\nBcc: x@shop.example", "--text", "bad.txt", "--list", "nowhere"]
    done = command(shop, "send", "news", *said, "--lane", "fast", "--json")
    assert (done.status, done.out) == (1, "")
    assert done.err.count("\n") >= 4
    for part in ("no lane 'fast'", "no list 'nowhere'", "'nmae'", "subject: a line end"):
        assert part in done.err
    assert send(shop, "--no-wait").status == 0, "and nothing of it was kept"


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ([], "--html FILE, --text FILE or both"),
        (["--text", "none.txt"], "none.txt cannot be read: No such file"),
        (["--text", "."], "cannot be read: Is a directory"),
        (["--text", "latin.txt"], "latin.txt, line 2: is not UTF-8"),
        (["--text", "huge.txt"], "huge.txt is larger than"),
        (["--text", "body.txt", "--start", "tomorrow"], "tomorrow"),
        (["--text", "body.txt", "--control", "much"], "control"),
    ],
)
def test_what_cannot_be_read_is_named(
    environment: dict[str, str], home: Path, arguments: list[str], part: str
) -> None:
    (home / "body.txt").write_text(BODY)
    (home / "latin.txt").write_bytes(b"Hello\nCaf\xe9\n")
    (home / "huge.txt").write_bytes(b"x" * (2 * 1024 * 1024 + 1))
    done = command(environment, "send", "news", "--subject", "News", *arguments)
    assert (done.status, done.out) == (2, "")
    assert done.err.count("\n") == 1
    assert part in done.err


def test_it_need_not_stay(shop: dict[str, str], town: Town) -> None:
    done = send(shop, "--no-wait", "--json")
    assert done.status == 0
    assert (done.items[0]["left"], done.items[0]["sent"]) == (PEOPLE, 0)
    assert not town.taken


def test_interrupted_it_says_what_is_left_and_a_worker_sends_it(
    shop: dict[str, str], town: Town
) -> None:
    sending = begin(shop, "send", "news", "--subject", "News", "--text", "body.txt", "--json")
    wait_for(town, 6)
    sending.send_signal(signal.SIGINT)
    out, err = sending.communicate(timeout=20)
    assert sending.returncode == 1
    left = json.loads(out)["left"]
    assert 0 < left < PEOPLE
    assert err == f"{left} have still to leave: goodstanding worker sends them.\n"
    assert len(town.taken) == PEOPLE - left

    working = begin(shop, "worker", "--no-listen")
    wait_for(town, PEOPLE)
    working.terminate()
    working.communicate(timeout=20)
    assert working.returncode == 0
    assert set(town.taken.values()) == {1}


def test_when_the_worker_that_was_sending_dies_it_goes_on_itself(
    shop: dict[str, str], town: Town
) -> None:
    working = begin(shop, "worker", "--no-listen", start_new_session=True)
    send(shop, "--no-wait", name="warm-up")
    wait_for(town, 1)
    sending = begin(shop, "send", "news", "--subject", "News", "--text", "body.txt", "--json")
    try:
        time.sleep(2.0)
        os.killpg(working.pid, signal.SIGKILL)
        out, _ = sending.communicate(timeout=40)
    finally:
        working.communicate(timeout=20)
    assert sending.returncode == 0
    said = json.loads(out)
    lost = said["responses"].get("lost", 0)
    assert lost <= 2
    assert said["left"] == 0
    assert said["sent"] + lost == PEOPLE
    assert max(town.taken.values()) <= 2  # one of each mailing


def test_paused_by_somebody_it_does_not_wait_for_ever(shop: dict[str, str], town: Town) -> None:
    town.slow = 1.0  # the commands take their time, too
    sending = begin(shop, "send", "news", "--subject", "News", "--text", "body.txt", "--json")
    wait_for(town, 3)
    paused = command(shop, "pause", "news", "--reason", "wrong price", "--by", "ann", "--json")
    assert paused.items[0]["state"] == "paused"
    taken = len(town.taken)
    out, err = sending.communicate(timeout=20)
    assert sending.returncode == 1
    assert json.loads(out)["state"] == "paused"
    assert "news is paused since" in err
    assert "by ann: wrong price. goodstanding resume news" in err
    assert len(town.taken) <= taken + 2, "only what was being handed over still left"

    stopped = command(shop, "stop", "news", "--reason", "wrong list", "--json").items[0]
    assert (stopped["state"], stopped["left"]) == ("stopped", 0)
    assert stopped["sent"] == len(town.taken)
    [report] = command(shop, "report", "mailing", "news", "--json").items
    assert report["responses"] == {"sent": stopped["sent"], "stopped": PEOPLE - stopped["sent"]}


def test_on_a_terminal_there_is_a_bar_with_rate_providers_and_the_skipped(
    shop: dict[str, str], town: Town
) -> None:
    ours, theirs = pty.openpty()
    sending = subprocess.Popen(
        [
            *(sys.executable, "-m", "goodstanding", "send", "news", "--subject", "News"),
            *("--text", "body.txt", "--json"),
        ],
        env={**shop, "TERM": "xterm", "COLUMNS": "120", "NO_COLOR": "1"},
        cwd=shop["GOODSTANDING_HOME"],
        stdout=subprocess.PIPE,
        stderr=theirs,
        text=True,
    )
    os.close(theirs)
    shown = b""
    with contextlib.suppress(OSError):  # what a closed terminal reads as
        while chunk := os.read(ours, 65536):
            shown += chunk
    os.close(ours)
    out, _ = sending.communicate(timeout=20)
    assert sending.returncode == 0
    assert json.loads(out)["sent"] == PEOPLE
    seen = shown.decode()
    assert "news: sending" in seen
    assert f"/{PEOPLE}" in seen
    assert "mails/s" in seen
    assert "bigmail.example" in seen
    assert "at full speed" in seen
    assert "2 skipped: never opted in 1, no address 1" in seen
