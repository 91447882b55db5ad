"""The database away, the disk full, connections cut: all waits, and then all goes on."""

from __future__ import annotations

import logging
import os
import pwd
import resource
import shlex
import shutil
import signal
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import psycopg
import pytest
from psycopg import sql

from tests import postgres
from tests.e2e.conftest import RECIPIENTS
from tests.e2e.parts import CONNECTIONS, Installation, Office, check, office, wait_for

AWAY = "the database is not to be had"

_log = logging.getLogger(__name__)


def is_away(installation: Installation) -> bool:
    return AWAY in installation.log()


@contextmanager
def nobody_lets_in(installation: Installation) -> Iterator[None]:
    """PostgreSQL ends every session of the database, and lets in nobody."""
    parts = urlsplit(installation.environment["DATABASE_URL"])
    name = parts.path.strip("/")
    statement = sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS {}")
    server = parts._replace(path="/postgres").geturl()
    with psycopg.connect(server, autocommit=True) as connection:
        for allowed in (False, True):
            allow = sql.SQL("true" if allowed else "false")
            connection.execute(statement.format(sql.Identifier(name), allow))
            if not allowed:
                connection.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s",
                    [name],
                )
                yield


@contextmanager
def written_by_another(installation: Installation) -> Iterator[None]:
    """Another process has begun to write to SQLite's file, and does not come to an end."""
    path = installation.home / "goodstanding.sqlite3"
    with closing(sqlite3.connect(path, timeout=60, isolation_level=None)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        yield
        connection.execute("ROLLBACK")


def test_the_database_is_away_for_a_while(installation: Installation, slow: Office) -> None:
    installation.send()
    # With SQLite workers wait for the writer for so many seconds before they say something.
    impatient = ["--lock-timeout", "1"]
    workers = [installation.work(None, *impatient) for _ in range(2)]
    wait_for(lambda: slow.accepted() >= 40)
    away = written_by_another if installation.is_sqlite else nobody_lets_in
    with away(installation):
        time.sleep(3)
        before = slow.accepted()
        time.sleep(0.5)
        assert slow.accepted() == before < RECIPIENTS, "something leaves without its fence"
    installation.wait()
    for worker in workers:
        assert installation.stop(worker) == 0
    assert is_away(installation)
    # Nobody died: whatever was said meanwhile was kept, and is recorded.
    check(installation, slow, RECIPIENTS, lost_at_most=0)


@pytest.mark.soak
def test_sqlite_is_written_by_another_for_longer_than_anybody_waits(
    installation: Installation, slow: Office
) -> None:
    if not installation.is_sqlite:
        pytest.skip("of SQLite alone")
    installation.send()
    worker = installation.work()
    wait_for(lambda: slow.accepted() >= 40)
    with written_by_another(installation):
        time.sleep(65)
    installation.wait()
    assert installation.stop(worker) == 0
    assert is_away(installation)
    check(installation, slow, RECIPIENTS, lost_at_most=0)


class Server:
    """A PostgreSQL of one's own, to be stopped."""

    def __init__(self, url: str) -> None:
        [folder] = parse_qs(urlsplit(url).query)["host"]
        [lock] = Path(folder).glob(".s.PGSQL.*.lock")
        pid, data = lock.read_text().splitlines()[:2]
        self._pid, self._data = int(pid), Path(data)
        self._command = shlex.split((self._data / "postmaster.opts").read_text())
        self.owner = pwd.getpwuid(self._data.stat().st_uid)
        self._process: subprocess.Popen[bytes] | None = None

    def crash(self) -> None:
        """Stop without tidying up, as when the power fails."""
        os.kill(self._pid, signal.SIGQUIT)
        wait_for(lambda: not (self._data / "postmaster.pid").exists() or not self._runs())

    def start(self) -> None:
        """Begin again, with what is on disk."""
        self._process = subprocess.Popen(
            self._command,
            cwd=self._data,
            user=self.owner.pw_uid if os.getuid() == 0 else None,
            group=self.owner.pw_gid if os.getuid() == 0 else None,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._pid = self._process.pid

    def everybody(self) -> list[int]:
        """Its processes."""
        children = Path(f"/proc/{self._pid}/task/{self._pid}/children").read_text()
        return [self._pid, *map(int, children.split())]

    def close(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait(30)

    def _runs(self) -> bool:
        try:
            return Path(f"/proc/{self._pid}/stat").read_text().split()[2] != "Z"
        except OSError:
            return False


@pytest.mark.soak
@pytest.mark.timeout(400)
@pytest.mark.parametrize("how", ["crashes", "hangs"])
def test_postgresql_is_away_for_a_minute(
    bare: Installation, slow: Office, pytestconfig: pytest.Config, how: str
) -> None:
    if bare.is_sqlite:
        pytest.skip("of PostgreSQL alone")
    with (
        postgres.running() as url,
        closing(Server(url)) as server,
        postgres.fresh_database(url) as database,
    ):
        installation = Installation({**bare.environment, "DATABASE_URL": database})
        try:
            lost = _away(installation, slow, server, how)
        finally:
            installation.end()
    _log.info("%s for a minute: %d lost", how, lost)


def _away(installation: Installation, slow: Office, server: Server, how: str) -> int:
    installation.settings(slow.relay)
    installation.run("import-contacts", "people.csv")
    installation.send()
    workers = [installation.work() for _ in range(2)]
    wait_for(lambda: slow.accepted() >= 60)
    if how == "crashes":
        server.crash()
        time.sleep(60)
        server.start()
    else:
        stopped = server.everybody()
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)
        time.sleep(70)
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)
    time.sleep(1)
    wait_for(lambda: _answers(installation))
    installation.wait()
    for worker in workers:
        assert installation.stop(worker) == 0
    return check(installation, slow, RECIPIENTS, lost_at_most=0)["lost"]


def _answers(installation: Installation) -> bool:
    try:
        installation.left()
    except psycopg.OperationalError:
        return False
    return True


def test_the_disk_is_full(installation: Installation, slow: Office) -> None:
    """No file of the worker's may grow: to SQLite that is a disk without space."""
    if not installation.is_sqlite:
        pytest.skip("PostgreSQL's disk is another's")
    installation.send()
    worker = installation.work()
    wait_for(lambda: slow.accepted() >= 40)
    log = (installation.home / "goodstanding.sqlite3-wal").stat().st_size
    _, most = resource.prlimit(worker.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(worker.pid, resource.RLIMIT_FSIZE, (log, most))
    wait_for(lambda: is_away(installation))
    before = slow.accepted()
    time.sleep(2)
    assert slow.accepted() <= before + CONNECTIONS < RECIPIENTS, "something leaves without fence"
    resource.prlimit(worker.pid, resource.RLIMIT_FSIZE, (most, most))
    installation.wait()
    assert installation.stop(worker) == 0
    check(installation, slow, RECIPIENTS, lost_at_most=0)


@contextmanager
def _disk(megabytes: int) -> Iterator[Path]:
    """A disk of a few megabytes."""
    # Not among pytest's folders: the user that PostgreSQL runs as may not look into these.
    disk = Path(tempfile.mkdtemp(prefix="goodstanding-disk-"))
    mount = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", disk]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        disk.rmdir()
        pytest.skip("only root can mount a small disk")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "-l", disk], check=True)
        disk.rmdir()


@contextmanager
def _with_tables_on(disk: Path) -> Iterator[str]:
    """A database whose tables are on that disk, of a server of its own; its URL."""
    with (
        postgres.running() as url,
        postgres.fresh_database(url) as database,
        psycopg.connect(url, user="postgres", autocommit=True) as master,
    ):
        owner = Server(url).owner
        os.chown(disk, owner.pw_uid, owner.pw_gid)
        master.execute(sql.SQL("CREATE TABLESPACE small LOCATION {}").format(str(disk)))
        name = sql.Identifier(urlsplit(database).path.strip("/"))
        master.execute(sql.SQL("ALTER DATABASE {} SET TABLESPACE small").format(name))
        yield database


@pytest.fixture
def small(bare: Installation) -> Iterator[tuple[Installation, Path]]:
    """An installation whose database is on a disk of a few megabytes, and that disk."""
    with ExitStack() as stack:
        disk = stack.enter_context(_disk(12 if bare.is_sqlite else 40))
        if bare.is_sqlite:
            shutil.copytree(bare.home, disk, dirs_exist_ok=True)
            installation = Installation({**bare.environment, "GOODSTANDING_HOME": str(disk)})
        else:
            database = stack.enter_context(_with_tables_on(disk))
            installation = Installation({**bare.environment, "DATABASE_URL": database})
            installation.run("import-contacts", "people.csv")
        stack.callback(installation.end)
        yield installation, disk


@pytest.mark.soak
@pytest.mark.timeout(300)
def test_a_small_disk_is_full_and_gets_space_again(
    small: tuple[Installation, Path], slow: Office
) -> None:
    installation, disk = small
    installation.settings(slow.relay)
    installation.send()
    workers = [installation.work() for _ in range(2)]
    wait_for(lambda: slow.accepted() >= 40)
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        while True:
            try:
                file.write(b"x" * 4096)
            except OSError:
                break
    # PostgreSQL has space in its tables still; on SQLite's disk there is none for the log either.
    wait_for(lambda: installation.is_sqlite or is_away(installation))
    time.sleep(4)
    before = slow.accepted()
    time.sleep(4)
    assert slow.accepted() == before < RECIPIENTS, "something leaves without its fence"
    ballast.unlink()
    installation.wait()
    for worker in workers:
        assert installation.stop(worker) == 0
    check(installation, slow, RECIPIENTS, lost_at_most=0)


def test_connections_are_cut_at_once_before_the_dot_and_after_it(
    bare: Installation, tmp_path: Path
) -> None:
    cuts = ("--slow", "20", "--cut-before-dot", "0.1", "--cut-after-dot", "0.1")
    with office(tmp_path, "--only", "accepts", *cuts) as opened:
        bare.settings(opened.relay, "[lanes.main.limits.default]\nadapts = false\n")
        bare.send()
        worker = bare.work()
        wait_for(lambda: opened.accepted() >= 40)
        opened.tell("weather", provider="*", state="down", seconds=1.5)
        bare.wait()
        assert bare.stop(worker) == 0
        # Whoever is hung up on at once is tried again.
        turned_away = [line for line in opened.book("cut_before_dot") if line.get("weather")]
        before = [line for line in opened.book("cut_before_dot") if not line.get("weather")]
        after = opened.book("cut_after_dot")
        assert min(len(turned_away), len(before), len(after)) > 5
        # Content and dot leave in one stroke: whatever is cut from then on nobody knows of, nor of
        # what was under way on the connections that were open when it went down.
        most = len(before) + len(after) + CONNECTIONS
        counted = check(bare, opened, RECIPIENTS, lost_at_most=most)
        assert counted["lost"] >= len(after)
        _log.info("%d cut before, %d after, %d lost", len(before), len(after), counted["lost"])
