"""`goodstanding sequence` and `sequences`, with a worker that sends what follows."""

# ruff: noqa: ARG002, N802 (the names and arguments by which aiosmtpd calls a handler)

from __future__ import annotations

import email.policy
import json
import os
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from goodstanding.cli.ports import free_port
from tests.cli.conftest import Run, command

BODY = "Hello {{ first_name }} {{ unsubscribe_url }} {{ postal_address }}\n"
PEOPLE = 30
CONNECTIONS = 2

WELCOME = """
name = "welcome"
starts_on = "opted_in"
from_name = "Ann"

[[steps]]
delay = "0s"
subject = "First for {{ first_name }}"
text = "body.txt"

[[steps]]
delay = "800ms"
subject = "Second"
text = "body.txt"

[[steps]]
delay = "1.6s"
subject = "Third"
text = "body.txt"
"""


class Town:
    """A mail server that takes everything, and remembers for each person what came when."""

    def __init__(self) -> None:
        self.taken: dict[str, list[str]] = defaultdict(list)

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        assert isinstance(envelope.content, bytes)
        mail = email.message_from_bytes(envelope.content, policy=email.policy.default)
        self.taken[envelope.rcpt_tos[0]].append(str(mail["Subject"]))
        return "250 OK"

    @property
    def count(self) -> int:
        return sum(map(len, self.taken.values()))


@pytest.fixture
def town(home: Path) -> Iterator[Town]:
    """A server, the settings that lead there, and what to send."""
    port = free_port()
    town = Town()
    controller = Controller(town, hostname="127.0.0.1", port=port)
    controller.start()
    (home / "goodstanding.toml").write_text(
        'sender_address = "news@shop.example"\npostal_address = "1 High Street"\n'
        f'[lanes.main]\nhost = "127.0.0.1"\nport = {port}\nstarttls = "never"\n'
        f"connections = {CONNECTIONS}\n"
    )
    (home / "body.txt").write_text(BODY)
    (home / "welcome.toml").write_text(WELCOME)
    yield town
    controller.stop()


def worker(environment: dict[str, str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "goodstanding", "worker", "--no-listen"],
        env=environment,
        cwd=environment["GOODSTANDING_HOME"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def opt_in(environment: dict[str, str], *names: str) -> None:
    """They do so now; somebody whose opt-in is old is in the file, too."""
    times = dict.fromkeys(names, datetime.now(UTC).isoformat()) | {"old": "2026-01-01T00:00:00Z"}
    lines = [
        json.dumps({"kind": "opted_in", "occurred_at": at, "address": f"{name}@town.example"})
        for name, at in times.items()
    ]
    (Path(environment["GOODSTANDING_HOME"]) / "events").write_text("\n".join(lines))
    assert command(environment, "import-events", "events").status == 0


def wait_for(town: Town, count: int) -> None:
    end = time.monotonic() + 40
    while town.count < count:
        assert time.monotonic() < end, f"{town.count} of {count} have come"
        time.sleep(0.02)


def test_three_mails_follow_an_opt_in_each_once_although_a_worker_is_killed(
    environment: dict[str, str], town: Town
) -> None:
    (Path(environment["GOODSTANDING_HOME"]) / "people.csv").write_text(
        "email,first name\np0@town.example,Zoë\n"
    )
    assert command(environment, "import-contacts", "people.csv").status == 0
    made = command(environment, "sequence", "welcome.toml", "--json")
    assert (made.status, made.err) == (0, "")
    people = [f"p{number}" for number in range(PEOPLE)]
    opt_in(environment, *people)

    first = worker(environment)
    try:
        wait_for(town, PEOPLE + 3)
    finally:
        os.killpg(first.pid, signal.SIGKILL)
        first.wait()
    second, third = worker(environment), worker(environment)
    try:
        wait_for(town, 3 * PEOPLE - CONNECTIONS)
        # What was being handed over by the one that was killed may never come.
        end = time.monotonic() + 6
        while town.count < 3 * PEOPLE and time.monotonic() < end:
            time.sleep(0.05)
    finally:
        for process in (second, third):
            process.terminate()
        for process in (second, third):
            process.wait(20)

    listed = command(environment, "sequences", "--json")
    assert (listed.status, listed.err) == (0, "")
    [said] = listed.items
    assert (said["sequence"], said["state"], said["under_way"]) == ("welcome", "running", 0)
    assert (said["done"], said["left"]) == (PEOPLE, {})
    assert [step["delay"] for step in said["steps"]] == [0, 0.8, 1.6]
    lost = 0
    for step in said["steps"]:
        asked = command(environment, "report", "mailing", step["mailing"], "--json")
        assert asked.status == 0, asked.err
        [report] = asked.items
        assert report["scheduled"] == PEOPLE
        lost += report["responses"].get("lost", 0)
    assert lost <= CONNECTIONS
    assert 3 * PEOPLE - lost <= town.count <= 3 * PEOPLE
    assert set(town.taken) == {f"{name}@town.example" for name in people}
    for name, subjects in town.taken.items():
        greeting = "First for Zoë" if name == "p0@town.example" else "First for"
        whole = [greeting, "Second", "Third"]
        assert subjects == [subject for subject in whole if subject in subjects], name


@pytest.mark.django_db(transaction=True, databases="__all__")
def test_what_it_says(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import msgspec
    from django.conf import settings

    changed = msgspec.structs.replace(
        settings.OPTIONS, sender_address="news@shop.example", postal_address="1 High Street"
    )
    monkeypatch.setattr(settings, "OPTIONS", changed)
    (tmp_path / "body.txt").write_text(BODY)
    (tmp_path / "welcome.toml").write_text(WELCOME)
    (tmp_path / "bad.toml").write_text(WELCOME.replace("800ms", "2 days").replace("body", "none"))

    assert "There is no sequence yet" in run("sequences").out
    bad = run("sequence", str(tmp_path / "bad.toml"))
    assert (bad.status, bad.out) == (2, "")
    lines = bad.err.splitlines()
    assert [line.partition(":")[0] for line in lines] == ["step 1", "step 2", "step 2", "step 3"]
    assert run("sequence", str(tmp_path / "nowhere.toml")).status == 2

    made = run("sequence", str(tmp_path / "welcome.toml"))
    assert (made.status, made.err) == (0, "")
    assert "welcome: 3 mails, begun by every opted_in from now on." in made.out
    assert "at once" in made.out
    again = run("sequence", str(tmp_path / "welcome.toml"))
    assert (again.status, again.out) == (1, "")
    assert again.err == "there is a sequence 'welcome' already\n"
    listed = run("sequences").out
    assert "welcome/2" in listed
    assert "Second" in listed
