"""Workers killed again and again, where it hurts: nobody is forgotten, nobody gets it twice."""

from __future__ import annotations

import logging
import os
import random
import signal
import subprocess
import time
from collections.abc import Sequence

import pytest

from benchmarks.measuring import children
from tests.e2e.conftest import RECIPIENTS
from tests.e2e.failing import POINTS
from tests.e2e.parts import CONNECTIONS, Installation, Office, check, wait_for

PASSAGES = {
    "after-claim": 1,
    "inside-planning": 2,
    "after-tell": 3,
    "inside-record": 3,
    "inside-fold": 3,
}
"""At which passage of a point a worker dies at the latest, where these are few."""

CHUNK = ["--set", 'goodstanding.mailings.planning:CHUNKS={"sqlite": 20, "postgresql": 20}']
"""Planning in so small steps that it can be killed many times."""

long = pytest.mark.soak
_log = logging.getLogger(__name__)


@pytest.fixture(autouse=True)
def _as_many_workers_as_make_sense(request: pytest.FixtureRequest) -> None:
    callspec = getattr(request.node, "callspec", None)
    workers = callspec.params.get("workers") if callspec is not None else None
    if workers == 4 and request.config.option.database == "sqlite":
        pytest.skip("SQLite has one writer: two workers show what more would")


def kill_at(installation: Installation, points: Sequence[str], workers: int) -> int:
    """Keep workers running, each to die at the next of the points; how many died.

    The mailing is planned by the first of them, or by a command that dies itself.
    """
    chance = random.Random(f"{points} {workers}")
    ahead = list(reversed(points))
    died = 0
    if "inside-planning" in points:
        ahead.remove("inside-planning")
        at = ("inside-planning", 2)
        installation.send(at=at, status=-signal.SIGKILL, changed=CHUNK)
        died += 1
    else:
        installation.send()
    running: list[subprocess.Popen[bytes]] = []
    end = time.monotonic() + 100
    while ahead or running:
        assert time.monotonic() < end, f"only {died} died"
        while ahead and len(running) < workers:
            point = ahead.pop()
            passage = chance.randint(1, PASSAGES.get(point, 8))
            running.append(installation.work((point, passage), *CHUNK))
        died += reap(running)
        time.sleep(0.02)
    return died


def reap(running: list[subprocess.Popen[bytes]]) -> int:
    """How many of them have died by now; they must die of nothing else."""
    ended = [worker for worker in running if worker.poll() is not None]
    for worker in ended:
        assert worker.returncode == -signal.SIGKILL
        running.remove(worker)
    return len(ended)


@pytest.mark.parametrize(
    ("kills", "workers"),
    [
        pytest.param(5, 2, marks=long),
        pytest.param(5, 4, marks=long),
    ],
)
@pytest.mark.parametrize("point", POINTS)
def test_killed_at_one_point_again_and_again(
    installation: Installation,
    slow: Office,
    point: str,
    kills: int,
    workers: int,
) -> None:
    died = kill_at(installation, [point] * kills, workers)
    assert died == kills
    installation.finish()
    counted = check(installation, slow, RECIPIENTS, lost_at_most=CONNECTIONS * died)
    _log.info("%d killed, %d lost of %d", died, counted["lost"], RECIPIENTS)


def test_killed_once_at_every_point(installation: Installation, slow: Office) -> None:
    died = kill_at(installation, list(POINTS), 2)
    assert died == len(POINTS)
    installation.finish()
    counted = check(installation, slow, RECIPIENTS, lost_at_most=CONNECTIONS * died)
    _log.info("%d killed, %d lost of %d", died, counted["lost"], RECIPIENTS)


@pytest.mark.parametrize("kills", [3, pytest.param(20, marks=long)])
def test_what_hands_over_is_killed_and_its_worker_goes_on(
    installation: Installation, slow: Office, kills: int
) -> None:
    installation.send()
    worker = installation.work()
    for _ in range(kills):
        goal = slow.accepted() + RECIPIENTS // (kills + 2)
        wait_for(lambda goal=goal: slow.accepted() >= goal or not installation.left(), 60)
        for child in children(worker.pid):
            os.kill(child, signal.SIGKILL)
    installation.wait()
    assert installation.stop(worker) == 0
    counted = check(installation, slow, RECIPIENTS, lost_at_most=CONNECTIONS * kills)
    _log.info("%d killed, %d lost of %d", kills, counted["lost"], RECIPIENTS)


@pytest.mark.parametrize(
    ("kills", "workers"),
    [
        pytest.param(4, 2, marks=long),
        pytest.param(30, 2, marks=long),
        pytest.param(30, 4, marks=long),
    ],
)
def test_killed_at_any_time_again_and_again(
    installation: Installation,
    slow: Office,
    kills: int,
    workers: int,
) -> None:
    installation.send()
    chance = random.Random(kills)
    running = [installation.work() for _ in range(workers)]
    for _ in range(kills):
        # Of what was in flight some never arrived: so much more, not so much in all.
        goal = slow.accepted() + chance.randint(1, RECIPIENTS * 3 // 2 // kills)
        wait_for(lambda goal=goal: slow.accepted() >= goal or not installation.left(), 60)
        victim = running.pop(chance.randrange(len(running)))
        assert victim.poll() is None
        os.killpg(victim.pid, signal.SIGKILL)
        victim.wait()
        running.append(installation.work())
    installation.wait()
    for worker in running:
        assert installation.stop(worker) == 0
    installation.finish()  # what the last one to be killed had
    counted = check(installation, slow, RECIPIENTS, lost_at_most=CONNECTIONS * kills)
    _log.info("%d killed, %d lost of %d", kills, counted["lost"], RECIPIENTS)
