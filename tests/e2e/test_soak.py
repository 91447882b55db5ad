"""Everything at once, for as long as SOAK says ("90", "60m"; three minutes where it says nothing).

Mailings by two lanes to people of every temper, providers whose weather and limits change, workers
that are killed, stopped, told to end and started again, and what comes back heard meanwhile. In
the end the book of the pretend internet and the ledger must tell the same, delivery by delivery.
"""

from __future__ import annotations

import hashlib
import logging
import os
import random
import re
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from goodstanding.cli.ports import free_port
from goodstanding.core.tokens import Signer
from tests.e2e.parts import DOMAINS, Installation, Office, office

PEOPLE = 120
"""New ones for each list; a mailing goes to one of the last few lists."""

SOON = ["--set", "goodstanding.mailings.liveness:GONE_AFTER=4000000"]
"""Who is not seen for four seconds is gone: some of the stopped are, and some wake in time."""

MOST_WORKERS = 4
STATES = ("tarpit", "deferring", "blocking", "amnesia", "down")

SETTINGS = """
[lanes.main.limits.default]
rest = 0.5
longest_rest = 3
step = 0.3
step_every = 1
[lanes.other]
host = "127.0.0.1"
port = {relay}
starttls = "never"
connections = 4
bounce_domain = "other.example.com"
[lanes.other.limits.default]
connections = 2
rate = 1200
rest = 0.5
longest_rest = 3
step = 0.3
step_every = 1
"""

_log = logging.getLogger(__name__)


def length() -> float:
    """Seconds."""
    said = re.fullmatch(r"(\d+)([smh]?)", os.environ.get("SOAK", "") or "180")
    assert said is not None, "SOAK is a number of seconds, or as in 60m"
    return int(said[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[said[2]]


class Trouble:
    """Makes it, step by step."""

    def __init__(self, installation: Installation, opened: Office, seed: int) -> None:
        self.installation = installation
        self.office = opened
        self.chance = random.Random(seed)
        self.running: list[subprocess.Popen[bytes]] = []
        self.asleep: dict[int, tuple[float, subprocess.Popen[bytes]]] = {}
        self.did: Counter[str] = Counter()
        self.mailings = 0
        self.lists = 0

    def step(self) -> None:
        """Do one of the things that may happen."""
        now = time.monotonic()
        for pid, (until, worker) in list(self.asleep.items()):
            if now >= until:
                os.killpg(worker.pid, signal.SIGCONT)
                del self.asleep[pid]
        for worker in self.running:
            assert worker.poll() is None, f"a worker ended by itself: {worker.returncode}"
        acts: dict[Callable[[], None], int] = {
            self.send: 4,
            self.start: 3,
            self.kill: 2,
            self.stop: 2,
            self.end: 1,
            self.turn: 4,
            self.limit: 1,
            self.release: 1,
        }
        [act] = self.chance.choices(list(acts), list(acts.values()))
        self.did[act.__name__] += 1
        act()

    def send(self) -> None:
        """Plan a mailing to a list that is new, or was there before."""
        if not self.lists or self.chance.random() < 0.5:
            self.lists += 1
            rows = [
                f"l{self.lists}.p{n}@{self.chance.choice(DOMAINS)},opted_in" for n in range(PEOPLE)
            ]
            (self.installation.home / "list.csv").write_text("\n".join(["email,consent", *rows]))
            self.installation.run("import-contacts", "list.csv", "--list", f"list {self.lists}")
        self.mailings += 1
        to = self.chance.randint(max(1, self.lists - 2), self.lists)
        lane = self.chance.choice(["main", "other"])
        said = ["--list", f"list {to}", "--lane", lane, "--subject", f"Number {self.mailings}"]
        name = f"mailing {self.mailings}"
        self.installation.run("send", name, "--text", "body.txt", "--no-wait", *said)

    def start(self) -> None:
        if len(self.running) < MOST_WORKERS:
            self.running.append(self.installation.work(None, *SOON))

    def kill(self) -> None:
        if self.running:
            worker = self.running.pop(self.chance.randrange(len(self.running)))
            self.asleep.pop(worker.pid, None)
            os.killpg(worker.pid, signal.SIGKILL)
            worker.wait()
            self.did["killed"] += 1

    def stop(self) -> None:
        awake = [worker for worker in self.running if worker.pid not in self.asleep]
        if awake:
            worker = self.chance.choice(awake)
            os.killpg(worker.pid, signal.SIGSTOP)
            if self.installation.is_held():
                os.killpg(worker.pid, signal.SIGCONT)
                return
            until = time.monotonic() + self.chance.uniform(0.5, 10)
            self.asleep[worker.pid] = (until, worker)
            self.did["stopped"] += 1

    def end(self) -> None:
        awake = [
            worker
            for worker in self.running
            if worker.pid not in self.asleep and worker.pid in self.installation.workers_known()
        ]
        if len(self.running) > 1 and awake:
            worker = self.chance.choice(awake)
            self.running.remove(worker)
            # Not waited for: it may need the database, and another may be stopped that has it.
            worker.terminate()

    def turn(self) -> None:
        """Give a provider another weather for a while."""
        self.office.tell(
            "weather",
            provider=self.chance.choice(DOMAINS),
            state=self.chance.choice(STATES),
            seconds=self.chance.uniform(1, 8),
            delay=self.chance.uniform(0.2, 1.5),
        )

    def limit(self) -> None:
        self.office.tell(
            "limits",
            provider=self.chance.choice(DOMAINS),
            connections=self.chance.choice([None, 1, 3]),
            rate=self.chance.choice([None, 20]),
            per=1.0,
        )

    def release(self) -> None:
        """Let go what the brake holds."""
        held = self.installation.rows(
            "SELECT DISTINCT m.name FROM mailings_lot l JOIN ledger_mailing m"
            " ON m.id = l.mailing_id WHERE l.held_at IS NOT NULL"
        )
        for (name,) in held:
            self.installation.run("release", name, "--reason", "the weather is better")
            self.did["released"] += 1

    def calm(self) -> None:
        """Wake everybody, end every worker but those that are begun now, and clear the sky."""
        for _, worker in self.asleep.values():
            os.killpg(worker.pid, signal.SIGCONT)
        self.office.tell("weather", provider="*", state="healthy")
        self.office.tell("limits", provider="*")
        while len(self.running) < 2:
            self.start()


def sent_and_lost(installation: Installation) -> dict[int, set[str]]:
    """What was heard of each delivery."""
    heard: dict[int, set[str]] = {}
    for delivery, kind in installation.rows(
        "SELECT delivery_id, kind FROM ledger_event WHERE delivery_id IS NOT NULL"
    ):
        heard.setdefault(delivery, set()).add(kind)
    return heard


def delivery_of(signer: Signer, envelope_from: str) -> int:
    """Which delivery a return path is of."""
    token = envelope_from.partition("@")[0].removeprefix("b-")
    return signer.verify("return-path", token)[0]


@pytest.fixture
def opened(tmp_path: Path, bare: Installation) -> Iterator[Office]:
    mail = free_port()
    options = ["--slow", "20", "--pace", "0.05", "--return-to", f"127.0.0.1:{mail}"]
    options += ["--complaints-to", "unsubscribe@bounces.example.com"]
    options += ["--cut-before-dot", "0.005", "--cut-after-dot", "0.005"]
    options += ["--weather", "random", "--weather-mean", "6"]
    with office(tmp_path, *options) as opened:
        bare.settings(opened.relay, SETTINGS.format(relay=opened.relay))
        policy = bare.home / "hasty.toml"
        policy.write_text(policy.read_text() + '[silence.email]\nafter = "45s"\n')
        settings = bare.home / "goodstanding.toml"
        settings.write_text(f'listen_mail = "127.0.0.1:{mail}"\n{settings.read_text()}')
        yield opened


@pytest.mark.soak
@pytest.mark.timeout(length() + 900)
def test_the_book_and_the_ledger_agree_after_any_amount_of_trouble(
    bare: Installation, opened: Office
) -> None:
    seed = int(os.environ.get("SEED", "") or time.time())
    _log.info("seed %d, for %d seconds", seed, length())
    ear = bare.work(None, *SOON, listen=True)
    trouble = Trouble(bare, opened, seed)
    trouble.start()
    end = time.monotonic() + length()
    while time.monotonic() < end:
        trouble.step()
        time.sleep(trouble.chance.uniform(0.1, 1.5))

    trouble.calm()
    # What comes back late may still set off the brake.
    end = time.monotonic() + 240
    while bare.left():
        assert time.monotonic() < end, "not all has left"
        trouble.release()
        time.sleep(1)
    for worker in [ear, *trouble.running]:
        assert bare.stop(worker) == 0
    bare.finish()
    _log.info("%s", dict(trouble.did))

    signer = Signer(
        [
            hashlib.blake2b(
                (bare.home / "secret.key").read_bytes().strip()[:64],
                person=b"gs-tokens",
                digest_size=32,
            ).digest()
        ]
    )
    taken = Counter(delivery_of(signer, line["envelope_from"]) for line in opened.book("accepted"))
    assert max(taken.values()) == 1, "somebody was sent a mail twice"
    heard = sent_and_lost(bare)
    responses = dict(bare.rows("SELECT id, response FROM ledger_delivery"))
    counted = Counter(responses.values())
    _log.info("%d accepted, of %d planned: %s", len(taken), len(responses), dict(counted))
    for delivery in taken:
        assert heard[delivery] & {"sent", "lost"}, (delivery, responses[delivery])
        # Word of a delay may come back after it was sent, and nothing after that: that expires.
        unheard = ("planned", "queued", "failed") + ("expired",) * (
            "deferred" not in heard[delivery]
        )
        assert responses[delivery] not in unheard, (delivery, responses[delivery], heard[delivery])
    said = {delivery for delivery, kinds in heard.items() if "sent" in kinds}
    assert said <= taken.keys(), "the ledger tells of mails that nobody got"
    refused = {delivery_of(signer, line["envelope_from"]) for line in opened.book("refused")}
    silent = [d for d in refused - taken.keys() if not heard[d] & {"bounced", "lost", "deferred"}]
    assert not silent, silent[:5]
    assert not {"planned", "queued"} & counted.keys(), counted
    assert "Traceback" not in bare.log(), bare.log()[-5000:]
    bare.run("rebuild", "--verify")
