"""A worker that is stopped, taken over from, and wakes: it does nothing twice and goes on."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.e2e.conftest import RECIPIENTS
from tests.e2e.parts import (
    CLAIMED,
    CONNECTIONS,
    HANDING,
    Installation,
    Office,
    check,
    office,
    wait_for,
)

SOON = ["--set", "goodstanding.mailings.liveness:GONE_AFTER=3000000"]
"""Whoever is not seen for three seconds is gone."""

_log = logging.getLogger(__name__)


@pytest.fixture
def slow(tmp_path: Path) -> Iterator[Office]:
    with office(tmp_path, "--only", "accepts", "--slow", "100") as opened:
        yield opened


@pytest.fixture
def installation(bare: Installation, slow: Office) -> Installation:
    bare.settings(slow.relay)
    if not bare.is_sqlite:
        # Sooner than whoever holds such a transaction is gone, as it is by default.
        url = bare.environment["DATABASE_URL"]
        said = quote("-c idle_in_transaction_session_timeout=1s")
        bare.environment["DATABASE_URL"] = f"{url}{'&' if '?' in url else '?'}options={said}"
    return bare


def is_stopped(worker: subprocess.Popen[bytes]) -> bool:
    return Path(f"/proc/{worker.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def stop_amid_work(installation: Installation, worker: subprocess.Popen[bytes]) -> dict[int, int]:
    """Stop it while it has mails claimed, and others fenced and in DATA; how many of each."""
    while True:
        if not is_stopped(worker):
            os.killpg(worker.pid, signal.SIGSTOP)
            wait_for(lambda: is_stopped(worker))
        has = dict(
            installation.rows(
                "SELECT state, count(*) FROM mailings_outbox WHERE worker_id IS NOT NULL"
                " GROUP BY state"
            )
        )
        if {CLAIMED, HANDING} <= has.keys() and not installation.is_held():
            return has
        os.killpg(worker.pid, signal.SIGCONT)
        time.sleep(0.03)


@pytest.mark.parametrize(
    ("point", "early"),
    [
        ("", True),
        *(
            pytest.param(point, early, marks=pytest.mark.soak)
            for point in ("after-claim", "after-fence", "after-dot", "after-250", "inside-record")
            for early in (True, False)
        ),
    ],
)
def test_stopped_and_taken_over_from_it_wakes_and_goes_on(
    installation: Installation, slow: Office, point: str, early: bool
) -> None:
    """``early``: it wakes while the other is still sending."""
    installation.send()
    at = ["--at", point, "2" if point == "after-claim" else "30", "--stop"] if point else []
    worker = installation.work(None, *SOON, *at)
    if point:
        wait_for(lambda: is_stopped(worker))
    else:
        wait_for(lambda: slow.accepted() >= 20)
    if point == "inside-record" and not installation.is_sqlite:
        had = {}
    else:
        had = stop_amid_work(installation, worker)
    other = installation.work(None, *SOON)
    wait_for(lambda: installation.workers_known() == [other.pid])
    if not early:
        installation.wait()
    os.killpg(worker.pid, signal.SIGCONT)
    wait_for(lambda: sorted(installation.workers_known()) == sorted([worker.pid, other.pid]))
    installation.wait()
    # It is one of those that send again.
    installation.send("more")
    installation.wait()
    for each in (worker, other):
        assert installation.stop(each) == 0
    counted = check(installation, slow, RECIPIENTS, lost_at_most=CONNECTIONS)
    assert set(installation.responses("more").values()) == {"sent"}
    _log.info("%s: had claimed and handing %s, lost %d", point or "any", had, counted["lost"])
