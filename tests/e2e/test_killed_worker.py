"""A worker killed in mid-broadcast, again and again: nobody is forgotten, nobody gets it twice."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

RECIPIENTS = 400
CONNECTIONS = 6
KILLS = 4


@pytest.fixture
def office(tmp_path: Path) -> Iterator[dict[str, Any]]:
    """A pretend internet that takes everything, slowly: a kill meets mails in every stage."""
    book = tmp_path / "book.jsonl"
    command = [sys.executable, "-m", "goodstanding.postoffice", "--seed", "3", "--only", "accepts"]
    with subprocess.Popen(
        [*command, "--slow", "40", "--book", str(book)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        yield {**json.loads(process.stdout.readline()), "book": book}
        process.terminate()


@pytest.fixture
def sender(environment: dict[str, str], office: dict[str, Any], home: Path) -> dict[str, str]:
    """A home with contacts, whose lane leads to the pretend internet."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        mail = probe.getsockname()[1]
    (home / "goodstanding.toml").write_text(
        f"""
listen_mail = "127.0.0.1:{mail}"
sender_address = "news@example.com"
postal_address = "1 Example Street"
[lanes.main]
host = "127.0.0.1"
port = {office["relay"]}
starttls = "never"
connections = {CONNECTIONS}
"""
    )
    people = home / "people.csv"
    rows = [f"person{number}@bigmail.example,opted_in" for number in range(RECIPIENTS)]
    people.write_text("\n".join(["email,consent", *rows]))
    (home / "body.txt").write_text("{{ postal_address }} {{ unsubscribe_url }}")
    goodstanding(environment, "import-contacts", "people.csv")
    send = ["send", "news", "--subject", "News", "--text", "body.txt", "--no-wait"]
    goodstanding(environment, *send)
    return environment


def goodstanding(environment: dict[str, str], *arguments: str) -> list[dict[str, Any]]:
    """Run a command; what it printed, an item a line."""
    done = subprocess.run(
        [sys.executable, "-m", "goodstanding", *arguments, "--json"],
        env=environment,
        cwd=environment["GOODSTANDING_HOME"],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def work(environment: dict[str, str]) -> subprocess.Popen[bytes]:
    """Start a worker in a group of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "goodstanding", "worker"],
        env=environment,
        cwd=environment["GOODSTANDING_HOME"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def accepted(office: dict[str, Any]) -> int:
    """How many mails the pretend internet has taken."""
    with urllib.request.urlopen(f"http://127.0.0.1:{office['control']}/status") as answer:
        return int(json.load(answer)["accepted"])


def wait_for(what: Any, seconds: float = 90.0) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.05)


@pytest.mark.parametrize("kills", [KILLS, pytest.param(30, marks=pytest.mark.soak)])
def test_killed_again_and_again_nothing_is_forgotten_and_nothing_sent_twice(
    sender: dict[str, str], office: dict[str, Any], kills: int
) -> None:
    for _ in range(kills):
        worker = work(sender)
        # Of what was in flight some never arrived: so much more, not so much in all.
        goal = accepted(office) + RECIPIENTS // (2 * kills)
        wait_for(lambda goal=goal: accepted(office) >= goal)
        os.killpg(worker.pid, signal.SIGKILL)
        worker.wait()
    worker = work(sender)

    def is_over() -> bool:
        [report] = goodstanding(sender, "report", "mailing", "news")
        return bool(report["state"] == "completed")

    wait_for(is_over)
    worker.terminate()
    assert worker.wait(30) == 0

    [report] = goodstanding(sender, "report", "mailing", "news")
    taken = Counter(
        entry["recipient"]
        for entry in map(json.loads, office["book"].open())
        if entry["did"] == "accepted"
    )
    assert max(taken.values()) == 1, "somebody was sent the mail twice"
    lost = report["responses"].get("lost", 0)
    assert report["responses"].get("sent", 0) + lost == RECIPIENTS
    assert 0 < lost <= kills * CONNECTIONS
    # Whoever did not get it is among the lost, and whoever is lost may have got it.
    assert RECIPIENTS - len(taken) <= lost
    goodstanding(sender, "rebuild", "--verify")
