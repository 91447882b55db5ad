"""Which workers are alive: each holds a lock that dies with it, so that takeover is immediate.

A session advisory lock on PostgreSQL; a locked file beside the database on SQLite. Who has hung,
or was stopped, keeps its lock: it is taken over from when it was not seen for ``GONE_AFTER``.
"""

from __future__ import annotations

import fcntl
import os
import socket
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from django.conf import settings
from django.db import OperationalError, connection, transaction
from django.db.backends.utils import CursorWrapper

from goodstanding.mailings.models import Worker

_LOCKS: Final = 0x60_0D  # The class of our advisory locks.

GONE_AFTER = 60_000_000
"""Microseconds: who was not seen for so long is taken for dead, whatever lock it holds.

Longer than a session may stay idle in a transaction: whom the stopped one would keep waiting has
gone on by then.
"""

BEATS: Final = 12
"""How often a worker says within ``GONE_AFTER`` that it is there."""


class SharedSession(Exception):
    """A pooler gives every transaction another session: no lock can be held."""


class Lifeline:
    """This process's lock, held until ``let_go`` or the process's end.

    Raises:
        SharedSession: DATABASE_URL leads through a pooler that does not pool sessions.
    """

    def __init__(self, now: int) -> None:
        _see_whose_session()
        self._now = now
        self.worker, self._held = self._begin()
        self._seen_at = self._steady_since = _clock()
        self._beaten = time.monotonic()

    def hold(self) -> None:
        """Say now and then that this worker goes on, and see that it does; call before claiming.

        Takes the lock again where the session that held it was lost. Whoever saw the lock free
        meanwhile, or missed this process for too long, has taken over: it then goes on as another
        worker, and what it had claimed is no longer its own.

        Raises:
            OperationalError: the lost session, or whoever takes over from it, still has the lock.
        """
        if connection.vendor != "sqlite":
            connection.ensure_connection()
            if _session() != self._held:
                self._held = _lock(self.worker)
                self._beaten = 0.0
        if time.monotonic() < self._beaten + GONE_AFTER / 1e6 / BEATS:
            return
        seen_at = _beat(self.worker)
        if seen_at is None:
            before, held = self.worker, self._held
            self.worker, self._held = self._begin()
            _release(before, held)
            seen_at = _clock()
        if seen_at - self._seen_at > GONE_AFTER // 2:
            # It could not say so for long; maybe nobody could.
            self._steady_since = seen_at
        self._seen_at = seen_at
        self._beaten = time.monotonic()

    def silent_before(self) -> int | None:
        """Who was not seen since then is gone; None: for that this one is not there long enough.

        After a time without a database, or asleep with the whole machine, all get the time to say
        that they are there.
        """
        if self._seen_at - self._steady_since < GONE_AFTER // 4:
            return None
        return self._seen_at - GONE_AFTER

    def let_go(self) -> None:
        """Say that this worker is gone; call it when nothing is claimed any more."""
        Worker.objects.filter(pk=self.worker).delete()
        _forget([self.worker])
        _release(self.worker, self._held)

    def _begin(self) -> tuple[int, int]:
        """Enrol, and take the lock; the worker, and the file or session that holds its lock."""
        worker = held = None
        try:
            # Nobody may see the row while the lock is not held: it would be taken for dead.
            with transaction.atomic():
                worker = self._enrol()
                held = _lock(worker)
        except BaseException:
            if worker is not None and held is not None:
                _forget([worker])
                _release(worker, held)
            raise
        return worker, held

    def _enrol(self) -> int:
        return Worker.objects.create(
            started_at=self._now, seen_at=_clock(), host=socket.gethostname(), process=os.getpid()
        ).pk


def vouch(cursor: CursorWrapper, worker: int) -> bool:
    """Whether nobody has taken over from the worker; nobody does until the transaction ends."""
    lock = "" if connection.vendor == "sqlite" else " FOR KEY SHARE"
    cursor.execute(f"SELECT 1 FROM mailings_worker WHERE id = %s{lock}", [worker])
    return cursor.fetchone() is not None


def alive() -> list[int]:
    """The workers that hold their lock and were seen, but for this process's own on PostgreSQL."""
    now = _clock()
    living = []
    for worker, seen_at in Worker.objects.order_by("pk").values_list("pk", "seen_at"):
        held = _try(worker)
        if held is not None:
            _release(worker, held)
        elif seen_at > now - GONE_AFTER:
            living.append(worker)
    return living


@contextmanager
def dead(but: int, silent_before: int | None = None) -> Iterator[dict[int, int | None]]:
    """The workers that died without saying so, each with when it was last seen (None: unknown).

    ``but`` is the one who asks; ``silent_before``: who holds its lock but was not seen since then
    is among them. The locks of the others are held meanwhile: a worker that had only lost its
    session does not come back under its old name while another takes over from it.
    """
    held: dict[int, int] = {}
    found: dict[int, int | None] = {}
    try:
        for worker, seen_at in _known().items():
            lock = _try(worker) if worker != but else None
            if lock is not None:
                held[worker] = lock
            elif worker != but and _is_before(seen_at, silent_before):
                found[worker] = seen_at
        # Who let go in between is not dead, but done.
        known = _known() if held else {}
        found |= {worker: known[worker] for worker in held if worker in known}
        yield found
        if held or found:
            known = _known()
            _forget(worker for worker in (*held, *found) if worker not in known)
    finally:
        for worker, lock in held.items():
            _release(worker, lock)


def _is_before(at: int | None, limit: int | None) -> bool:
    return at is not None and limit is not None and at < limit


def bury(dead: Mapping[int, int | None]) -> list[int]:
    """Forget workers that are ``dead``, in the transaction that takes over from them.

    Those from whom to take over: who was seen meanwhile is not one of them.
    """
    buried = [worker for worker, seen_at in dead.items() if seen_at is None]
    skip = "" if connection.vendor == "sqlite" else " FOR UPDATE SKIP LOCKED"
    with connection.cursor() as cursor:
        for worker, seen_at in dead.items():
            cursor.execute(
                "DELETE FROM mailings_worker WHERE id ="
                f" (SELECT id FROM mailings_worker WHERE id = %s AND seen_at = %s{skip})",
                [worker, seen_at],
            )
            if cursor.rowcount:
                buried.append(worker)
    return buried


def _see_whose_session() -> None:
    """See that the session is this connection's own.

    Raises:
        SharedSession: it is not.
    """
    if connection.vendor == "sqlite" or _answers(connection) == _session():
        return
    # There is a pooler. If it gave us the session for good, nobody else can have it meanwhile.
    other = connection.copy()
    try:
        other.set_autocommit(False)
        before = _answers(connection)
        if before == _answers(other) or before != _answers(connection):
            raise SharedSession(
                "DATABASE_URL leads through a pooler that shares sessions out by transaction, and a"
                " worker's lock belongs to its session: let it pool sessions, or go past it."
            )
        other.rollback()
    finally:
        other.close()


def _answers(via: Any) -> int:
    """The server's process that answers now."""
    with via.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        return int(cursor.fetchone()[0])


def _forget(workers: Iterable[int]) -> None:
    if connection.vendor == "sqlite":
        for worker in workers:
            _path(worker).unlink(missing_ok=True)


def _beat(worker: int) -> int | None:
    """Say that the worker is there; when that was. None: somebody has taken over from it."""
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE mailings_worker SET seen_at = %s WHERE id = %s RETURNING seen_at",
            [_clock(), worker],
        )
        row = cursor.fetchone()
        return int(row[0]) if row is not None else None


def _clock() -> int:
    """The one clock that all workers go by, in microseconds."""
    if connection.vendor == "sqlite":
        return time.time_ns() // 1_000
    with connection.cursor() as cursor:
        cursor.execute("SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint")
        return int(cursor.fetchone()[0])


def _known() -> dict[int, int | None]:
    """Every worker that is enrolled, and every one in whose name something is claimed.

    Each with when it was last seen.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT id, seen_at FROM mailings_worker UNION"
            " SELECT o.worker_id, NULL FROM mailings_outbox o WHERE o.worker_id IS NOT NULL"
            " AND NOT EXISTS (SELECT 1 FROM mailings_worker w WHERE w.id = o.worker_id)"
            " ORDER BY 1"
        )
        return dict(cursor.fetchall())


def _lock(worker: int) -> int:
    """Take a worker's lock; the open file or the session that holds it.

    Raises:
        OperationalError: somebody has it.
    """
    held = _try(worker)
    if held is None:
        raise OperationalError(f"the lock of worker {worker} is still held")
    return held


def _try(worker: int) -> int | None:
    """Take a worker's lock, if nobody has it; the open file or the session that holds it."""
    if connection.vendor == "sqlite":
        file = _open(worker)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)
            return None
        return file
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s, %s)", [_LOCKS, worker])
        [got] = cursor.fetchone()
    return _session() if got else None


def _release(worker: int, held: int) -> None:
    if connection.vendor == "sqlite":
        os.close(held)
    elif _session() == held:
        _unlock(worker)


def _unlock(worker: int) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_unlock(%s, %s)", [_LOCKS, worker])


def _session() -> int | None:
    """The server's process for this connection; None where there is no connection."""
    raw = connection.connection
    return raw.info.backend_pid if raw is not None and not raw.closed else None


def _path(worker: int) -> Path:
    return Path(settings.HOME) / "workers" / str(worker)


def _open(worker: int) -> int:
    path = _path(worker)
    path.parent.mkdir(mode=0o700, exist_ok=True)
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
