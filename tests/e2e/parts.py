"""The parts of an installation that is made to suffer: its home, its workers, whom it sends to."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg

ROOT = Path(__file__).parents[2]
CONNECTIONS = 6
DOMAINS = ("bigmail.example", "hotlook.example", "livepost.example")

READY, CLAIMED, HANDING = 0, 1, 2


class Office:
    """A pretend internet, and what its book says."""

    def __init__(self, process: subprocess.Popen[str], book: Path) -> None:
        assert process.stdout is not None
        self._book = book
        ports = json.loads(process.stdout.readline())
        self.relay: int = ports["relay"]
        self._control = f"http://127.0.0.1:{ports['control']}"

    def accepted(self) -> int:
        """How many mails it has taken."""
        with urllib.request.urlopen(f"{self._control}/status", timeout=30) as answer:
            return int(json.load(answer)["accepted"])

    def tell(self, what: str, **said: Any) -> None:
        """Change its weather, limits or tempers."""
        body = json.dumps(said).encode()
        with urllib.request.urlopen(f"{self._control}/{what}", body, timeout=30) as answer:
            assert answer.status == 200

    def book(self, *did: str) -> list[dict[str, Any]]:
        """Its lines of those kinds."""
        lines = map(json.loads, self._book.read_bytes().splitlines())
        return [line for line in lines if line["did"] in did]

    def of(self, *recipients: str) -> list[dict[str, Any]]:
        """What it did for some recipients."""
        return [
            line for line in self.book("accepted", "deferred") if line["recipient"] in recipients
        ]

    def taken(self) -> Counter[tuple[str, str]]:
        """How often each recipient was brought each mail."""
        return Counter((line["recipient"], line["hash"]) for line in self.book("accepted"))


@contextmanager
def office(folder: Path, *options: str) -> Iterator[Office]:
    """Open a pretend internet that takes everything, as its options say."""
    book = folder / "book.jsonl"
    command = [sys.executable, "-m", "goodstanding.postoffice", "--seed", "3", "--book", str(book)]
    with subprocess.Popen([*command, *options], stdout=subprocess.PIPE, text=True) as process:
        try:
            yield Office(process, book)
        finally:
            process.kill()


class Installation:
    """A home and its database; commands and workers run as processes of their own."""

    def __init__(self, environment: dict[str, str]) -> None:
        # The sources beside these tests, wherever what is installed has its own.
        self.environment = {**environment, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"}
        self.home = Path(environment["GOODSTANDING_HOME"])
        self.workers: list[subprocess.Popen[bytes]] = []

    @property
    def is_sqlite(self) -> bool:
        return "DATABASE_URL" not in self.environment

    def settings(self, relay: int, more: str = "") -> None:
        """Lead its lane to the pretend internet; ``more`` of the file, after the lane's own."""
        (self.home / "hasty.toml").write_text(
            'base = "default"\n[retry]\nfirst = "1s"\nunreachable = "1s"\nlongest = "4s"\n'
        )
        (self.home / "goodstanding.toml").write_text(
            f'policy = "{self.home / "hasty.toml"}"\n'
            'sender_address = "news@example.com"\npostal_address = "1 Example Street"\n'
            f'[lanes.main]\nhost = "127.0.0.1"\nport = {relay}\nstarttls = "never"\n'
            f"connections = {CONNECTIONS}\n{more}"
        )
        (self.home / "body.txt").write_text("{{ postal_address }} {{ unsubscribe_url }}")

    def command(
        self, *arguments: str, at: tuple[str, int] | None = None, changed: Sequence[str] = ()
    ) -> list[str]:
        """The command line; ``at``: a point and the passage of it at which the process dies."""
        where = [] if at is None else ["--at", at[0], str(at[1])]
        return [sys.executable, "-m", "tests.e2e.failing", *where, *changed, "--", *arguments]

    def run(
        self, *arguments: str, status: int = 0, at: tuple[str, int] | None = None, **more: Any
    ) -> list[dict[str, Any]]:
        """Run a command; what it printed, an item a line."""
        done = subprocess.run(
            self.command(*arguments, "--json", at=at, **more),
            env=self.environment,
            cwd=self.home,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == status, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    def send(self, name: str = "news", **more: Any) -> list[dict[str, Any]]:
        """Plan a broadcast to everybody; workers send it."""
        said = ["--subject", f"About {name}", "--text", "body.txt", "--no-wait"]
        return self.run("send", name, *said, **more)

    def work(
        self, at: tuple[str, int] | None = None, *changed: str, listen: bool = False
    ) -> subprocess.Popen[bytes]:
        """Start a worker, to die at that passage of a point."""
        ear = "--listen" if listen else "--no-listen"
        with (self.home / "worker.log").open("ab") as log:
            worker = subprocess.Popen(
                self.command("worker", ear, at=at, changed=changed),
                env=self.environment,
                cwd=self.home,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.workers.append(worker)
        return worker

    def is_held(self) -> bool:
        """Whether who was stopped was so in mid-transaction: on SQLite it alone can end that."""
        if not self.is_sqlite:
            return False
        path = self.home / "goodstanding.sqlite3"
        with closing(sqlite3.connect(path, timeout=0.5, isolation_level=None)) as connection:
            try:
                connection.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                return True
        return False

    def stop(self, worker: subprocess.Popen[bytes], seconds: float = 60.0) -> int:
        """Tell it to finish what is in flight, once it has begun; its exit status."""
        wait_for(lambda: worker.poll() is not None or worker.pid in self.workers_known())
        worker.terminate()
        return worker.wait(seconds)

    def end(self) -> None:
        """Leave no process behind."""
        for worker in self.workers:
            if worker.poll() is None:
                os.killpg(worker.pid, signal.SIGKILL)
                worker.wait()

    def story(self) -> str:
        """How things stand, for whoever reads of a failure."""
        questions = {
            "outbox": "SELECT state, worker_id, count(*), min(not_before), max(trouble)"
            " FROM mailings_outbox GROUP BY 1, 2",
            "workers": "SELECT * FROM mailings_worker",
            "lots": "SELECT * FROM mailings_lot",
            "paces": "SELECT * FROM mailings_pace",
            "responses": "SELECT response, count(*) FROM ledger_delivery GROUP BY 1",
        }
        said = [f"{what}: {self.rows(sql)}" for what, sql in questions.items()]
        running = [worker.pid for worker in self.workers if worker.poll() is None]
        return "\n".join([*said, f"at {time.time_ns() // 1000}, running: {running}", self.log()])

    def log(self) -> str:
        return (self.home / "worker.log").read_text()

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """What the database answers, asked directly."""
        if self.is_sqlite:
            path = self.home / "goodstanding.sqlite3"
            with contextlib.closing(sqlite3.connect(path, timeout=60)) as connection:
                return connection.execute(sql).fetchall()
        with psycopg.connect(self.environment["DATABASE_URL"]) as connection:
            return connection.execute(sql.encode()).fetchall()

    def value(self, sql: str) -> Any:
        [[value]] = self.rows(sql)
        return value

    def workers_known(self) -> list[int]:
        """The processes that are enrolled."""
        return [row[0] for row in self.rows("SELECT process FROM mailings_worker ORDER BY id")]

    def left(self) -> int:
        """How many have still to leave: planned or not yet."""
        unplanned = self.value(
            "SELECT count(*) FROM mailings_content"
            " WHERE plan_until IS NULL OR planned_to < plan_until"
        )
        return int(self.value("SELECT count(*) FROM mailings_outbox")) + int(unplanned)

    def wait(self, seconds: float = 90.0) -> None:
        """Wait until all has left."""
        wait_for(lambda: self.left() == 0, seconds)

    def finish(self, seconds: float = 90.0) -> None:
        """Let a healthy worker run until all has left and nobody is dead, and stop it."""
        worker = self.work()
        self.wait(seconds)
        wait_for(lambda: self.workers_known() == [worker.pid])
        assert self.stop(worker) == 0, self.log()[-2000:]

    def heard_of(self, *recipients: str) -> list[tuple[Any, ...]]:
        """The events of some recipients."""
        listed = ", ".join(f"'{recipient}'" for recipient in recipients)
        return self.rows(
            "SELECT a.value, e.key, e.occurred_at, e.recorded_at, e.detail FROM ledger_event e"
            f" JOIN ledger_address a ON a.id = e.address_id WHERE a.value IN ({listed})"
            " ORDER BY e.recorded_at"
        )

    def responses(self, mailing: str = "news") -> dict[str, str]:
        """What the ledger says became of each recipient of a mailing."""
        rows = self.rows(
            "SELECT a.value, d.response FROM ledger_delivery d"
            " JOIN ledger_address a ON a.id = d.address_id"
            f" JOIN ledger_mailing m ON m.id = d.mailing_id AND m.name = '{mailing}'"
        )
        assert len(dict(rows)) == len(rows), "somebody has two deliveries of one mailing"
        return dict(rows)


def wait_for(what: Callable[[], Any], seconds: float = 60.0, every: float = 0.05) -> None:
    """Wait until it is true."""
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(every)


def check(
    installation: Installation, office: Office, recipients: int, *, lost_at_most: int
) -> Counter[str]:
    """Nobody was forgotten, nobody got it twice; how often each response is in the ledger."""
    assert installation.left() == 0
    assert installation.rows("SELECT * FROM mailings_worker") == [], "a worker is still enrolled"
    taken = office.taken()
    twice = [recipient for (recipient, _), times in taken.items() if times > 1]
    assert not twice, "\n".join(
        ["sent twice:", *map(str, office.of(*twice)), *map(str, installation.heard_of(*twice))]
    )
    responses = installation.responses()
    counted = Counter(responses.values())
    assert set(counted) <= {"sent", "lost"}, counted
    assert len(responses) == recipients, "not everybody was planned"
    # Whoever did not get it is among the lost, and whoever is lost may have got it.
    got = {recipient for recipient, _ in taken}
    assert {who for who, response in responses.items() if response == "sent"} <= got
    assert counted["lost"] <= lost_at_most
    installation.run("rebuild", "--verify")
    assert "Traceback" not in installation.log(), installation.log()[-3000:]
    return counted
