"""`goodstanding worker` and `serve` as processes: they share, they stop, they say what is wrong."""

from __future__ import annotations

import json
import os
import signal
import smtplib
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from benchmarks.measuring import children
from goodstanding.cli.ports import free_port
from tests.processes import group

RECIPIENTS = 150
COMMAND = [sys.executable, "-m", "goodstanding"]


@pytest.fixture
def office(tmp_path: Path) -> Iterator[dict[str, Any]]:
    """A pretend internet that takes everything, slowly."""
    book = tmp_path / "book.jsonl"
    command = [sys.executable, "-m", "goodstanding.postoffice", "--seed", "3", "--only", "accepts"]
    with subprocess.Popen(
        [*command, "--slow", "100", "--book", str(book)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        yield {**json.loads(process.stdout.readline()), "book": book}
        process.terminate()


@pytest.fixture
def ports(home: Path) -> dict[str, int]:
    """Where the mail and the web of `home` listen."""
    chosen = {"mail": free_port(), "web": free_port()}
    (home / "goodstanding.toml").write_text(
        f'listen_mail = "127.0.0.1:{chosen["mail"]}"\nlisten_web = "127.0.0.1:{chosen["web"]}"\n'
        f'base_url = "http://127.0.0.1:{chosen["web"]}"\n'
    )
    return chosen


@pytest.fixture
def sender(
    environment: dict[str, str], office: dict[str, Any], home: Path, ports: dict[str, int]
) -> dict[str, str]:
    """A home with a broadcast that is to go out to the pretend internet."""
    settings = home / "goodstanding.toml"
    settings.write_text(
        settings.read_text()
        + 'sender_address = "news@example.com"\npostal_address = "1 Example Street"\n'
        f'[lanes.main]\nhost = "127.0.0.1"\nport = {office["relay"]}\nstarttls = "never"\n'
        "connections = 4\n"
    )
    rows = [f"person{number}@bigmail.example,opted_in" for number in range(RECIPIENTS)]
    (home / "people.csv").write_text("\n".join(["email,consent", *rows]))
    (home / "body.txt").write_text("{{ postal_address }} {{ unsubscribe_url }}")
    run(environment, "import-contacts", "people.csv")
    run(environment, "send", "news", "--subject", "News", "--text", "body.txt", "--no-wait")
    return environment


def run(environment: dict[str, str], *arguments: str, status: int = 0) -> str:
    done = subprocess.run(
        [*COMMAND, *arguments],
        env=environment,
        cwd=environment["GOODSTANDING_HOME"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout if status == 0 else done.stderr


def report(environment: dict[str, str]) -> dict[str, Any]:
    said: dict[str, Any] = json.loads(run(environment, "report", "mailing", "news", "--json"))
    return said


@contextmanager
def running(environment: dict[str, str], *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A command that goes on, in a group of its own; what it wrote is in `worker.log`."""
    home = Path(environment["GOODSTANDING_HOME"])
    with (
        (home / "worker.log").open("a") as log,
        subprocess.Popen(
            [*COMMAND, *arguments],
            env=environment,
            cwd=home,
            stdout=log,
            stderr=log,
            text=True,
            start_new_session=True,
        ) as process,
    ):
        try:
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


def accepted(office: dict[str, Any]) -> int:
    with urllib.request.urlopen(f"http://127.0.0.1:{office['control']}/status") as answer:
        return int(json.load(answer)["accepted"])


def wait_for(what: Callable[[], bool], seconds: float = 40.0) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.05)


def taken(office: dict[str, Any]) -> Counter[str]:
    entries = map(json.loads, office["book"].read_text().splitlines())
    return Counter(entry["recipient"] for entry in entries if entry["did"] == "accepted")


def test_told_to_stop_it_finishes_what_is_in_flight_and_the_next_goes_on(
    sender: dict[str, str], office: dict[str, Any], home: Path
) -> None:
    with running(sender, "worker") as worker:
        wait_for(lambda: accepted(office) >= 20)
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(8) == 0
    there = report(sender)["responses"]
    assert set(there) == {"sent", "planned"}
    assert there["sent"] == accepted(office)
    with running(sender, "worker") as worker:
        wait_for(lambda: report(sender)["state"] == "completed")
        worker.send_signal(signal.SIGINT)
        assert worker.wait(8) == 0
    assert report(sender)["responses"] == {"sent": RECIPIENTS}
    assert set(taken(office).values()) == {1}
    assert len(taken(office)) == RECIPIENTS
    assert "Traceback" not in (home / "worker.log").read_text()


def test_two_workers_share_the_work(
    sender: dict[str, str], office: dict[str, Any], home: Path
) -> None:
    busy: set[int] = set()

    def both_are_busy() -> bool:
        if "DATABASE_URL" not in sender:
            return accepted(office) >= 40
        with psycopg.connect(sender["DATABASE_URL"]) as looking:
            rows = looking.execute(
                "SELECT DISTINCT worker_id FROM mailings_outbox WHERE worker_id IS NOT NULL"
            )
            busy.update(row[0] for row in rows)
        return len(busy) == 2

    with running(sender, "worker", "--no-listen") as one, running(sender, "worker") as other:
        wait_for(both_are_busy)
        wait_for(lambda: report(sender)["state"] == "completed")
        for worker in (one, other):
            worker.terminate()
        assert [one.wait(8), other.wait(8)] == [0, 0]
    assert report(sender)["responses"] == {"sent": RECIPIENTS}
    assert set(taken(office).values()) == {1}
    run(sender, "rebuild", "--verify")
    assert "Traceback" not in (home / "worker.log").read_text()


def test_a_database_that_goes_away_for_a_moment_loses_nothing(
    sender: dict[str, str], office: dict[str, Any], home: Path
) -> None:
    if "DATABASE_URL" not in sender:
        pytest.skip("a file does not go away")
    with running(sender, "worker") as worker:
        for goal in (10, 40, 70):
            wait_for(lambda goal=goal: accepted(office) >= goal)
            with psycopg.connect(sender["DATABASE_URL"], autocommit=True) as other:
                other.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )
        wait_for(lambda: report(sender)["state"] == "completed")
        worker.terminate()
        assert worker.wait(8) == 0
    assert report(sender)["responses"] == {"sent": RECIPIENTS}
    assert set(taken(office).values()) == {1}
    run(sender, "rebuild", "--verify")


@pytest.mark.parametrize("command", ["worker", "serve"])
def test_a_port_that_is_taken_is_one_sentence(
    environment: dict[str, str], ports: dict[str, int], command: str
) -> None:
    for what, port in ports.items():
        if command == "worker" and what == "web":
            continue
        with socket.create_server(("127.0.0.1", port)):
            said = run(environment, command, status=2)
        assert said.count("\n") == 1
        assert f"listen_{what}" in said
        assert str(port) in said
        assert "Address already in use" in said


@pytest.mark.parametrize("protocol", ["smtp", "lmtp"])
def test_it_hears_by_the_protocol_that_is_set(
    environment: dict[str, str], ports: dict[str, int], home: Path, protocol: str
) -> None:
    said = {**environment, "GOODSTANDING_LISTEN_MAIL_PROTOCOL": protocol}
    with subprocess.Popen([*COMMAND, "worker"], env=said, cwd=home) as worker:
        try:
            end = time.monotonic() + 60
            while True:
                try:
                    client = smtplib.LMTP("127.0.0.1", ports["mail"], timeout=10)
                    break
                except ConnectionError:
                    assert time.monotonic() < end
                    time.sleep(0.05)
            with client:
                assert (client.docmd("LHLO", "mx.example.com")[0] == 250) is (protocol == "lmtp")
                assert (client.docmd("EHLO", "mx.example.com")[0] == 250) is (protocol == "smtp")
        finally:
            worker.terminate()
        assert worker.wait(30) == 0


def web_answers(port: int) -> bool:
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5).close()
    except (urllib.error.HTTPError, urllib.error.URLError, OSError) as error:
        return isinstance(error, urllib.error.HTTPError)
    return True


def hands_over(process: int) -> bool:
    return b"handing" in Path(f"/proc/{process}/cmdline").read_bytes()


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_serve_leaves_nothing_behind_however_it_ends(
    environment: dict[str, str], ports: dict[str, int], home: Path
) -> None:
    def no_web() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", ports["web"])) != 0

    with running(environment, "serve") as server:  # told to stop
        wait_for(lambda: web_answers(ports["web"]))
        wait_for(lambda: "Ctrl-C stops." in (home / "worker.log").read_text())
        server.terminate()
        assert server.wait(15) == 0
        assert no_web()
    with running(environment, "serve") as server:  # killed
        wait_for(lambda: web_answers(ports["web"]))
        begun = children(server.pid)
        assert len(begun) >= 1
        server.kill()
        server.wait()
        wait_for(no_web, 10)
        wait_for(lambda: not any(Path(f"/proc/{child}").exists() for child in begun), 10)
    with running(environment, "serve") as server:  # its web server dies
        wait_for(lambda: web_answers(ports["web"]))
        [web] = (child for child in children(server.pid) if not hands_over(child))
        os.kill(web, signal.SIGKILL)
        assert server.wait(15) == 2
        wait_for(no_web, 10)
    log = (home / "worker.log").read_text()
    assert "The web server ended on its own, with status -9." in log
    assert "Traceback" not in log


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_a_web_server_ends_that_was_beginning_when_its_parent_was_killed(
    environment: dict[str, str],
) -> None:
    script = "from goodstanding.cli.setup import prepare; prepare()\n"
    script += "from goodstanding.cli.serving import start_web\n"
    script += "print(start_web().pid, flush=True); input()"
    begun = []
    for tenths in range(1, 7):
        place = {"GOODSTANDING_LISTEN_WEB": f"127.0.0.1:{free_port()}"}
        with subprocess.Popen(
            [sys.executable, "-c", script],
            env=environment | place,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as parent:
            assert parent.stdout is not None
            begun.append(int(parent.stdout.readline()))
            time.sleep(tenths / 10)
            parent.kill()
    wait_for(lambda: not any(map(group, begun)), 20)
