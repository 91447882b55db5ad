"""Which workers are alive: each holds a lock that dies with it, so that takeover is immediate.

A session advisory lock on PostgreSQL; a locked file beside the database on SQLite.
"""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from django.conf import settings
from django.db import OperationalError, connection, transaction
from django.db.backends.utils import CursorWrapper

from goodstanding.mailings.models import Worker

_LOCKS: Final = 0x60_0D  # The class of our advisory locks.


class Lifeline:
    """This process's lock, held until ``let_go`` or the process's end."""

    def __init__(self, now: int) -> None:
        self._now = now
        # Nobody may see the row while the lock is not held: it would be taken for dead.
        with transaction.atomic():
            self.worker = self._enrol()
            self._held = self._lock()

    def hold(self) -> None:
        """Take the lock again where the session that held it was lost; call it before claiming.

        Whoever saw the lock free meanwhile has taken over: this process then goes on as another
        worker, and what it had claimed is no longer its own.

        Raises:
            OperationalError: the lost session, or whoever takes over from it, still has the lock.
        """
        if connection.vendor == "sqlite":
            return
        connection.ensure_connection()
        if _session() == self._held:
            return
        with transaction.atomic():
            held = self._lock()
            if not Worker.objects.filter(pk=self.worker).exists():
                _unlock(self.worker)
                self.worker = self._enrol()
                held = self._lock()
        self._held = held

    def let_go(self) -> None:
        """Say that this worker is gone; call it when nothing is claimed any more."""
        Worker.objects.filter(pk=self.worker).delete()
        if connection.vendor == "sqlite":
            os.close(self._held)
            _path(self.worker).unlink(missing_ok=True)
        elif _session() == self._held:
            _unlock(self.worker)

    def _enrol(self) -> int:
        return Worker.objects.create(
            started_at=self._now, host=socket.gethostname(), process=os.getpid()
        ).pk

    def _lock(self) -> int:
        """Take the lock; the open file or the session that holds it."""
        held = _try(self.worker)
        if held is None:
            raise OperationalError(f"the lock of worker {self.worker} is still held")
        return held


def vouch(cursor: CursorWrapper, worker: int) -> bool:
    """Whether nobody has taken over from the worker; nobody does until the transaction ends."""
    lock = "" if connection.vendor == "sqlite" else " FOR KEY SHARE"
    cursor.execute(f"SELECT 1 FROM mailings_worker WHERE id = %s{lock}", [worker])
    return cursor.fetchone() is not None


def alive() -> list[int]:
    """The workers that hold their lock, but for what this process itself holds on PostgreSQL."""
    living = []
    for worker in Worker.objects.order_by("pk").values_list("pk", flat=True):
        held = _try(worker)
        if held is None:
            living.append(worker)
        else:
            _release(worker, held)
    return living


@contextmanager
def dead(but: int) -> Iterator[list[int]]:
    """The workers that died without saying so; ``but`` is the one who asks.

    Their locks are held meanwhile: a worker that had only lost its session cannot claim under its
    old name while another takes over from it.
    """
    held: dict[int, int] = {}
    try:
        for worker in _known():
            lock = _try(worker) if worker != but else None
            if lock is not None:
                held[worker] = lock
        # Who let go in between is not dead, but done.
        known = _known() if held else []
        _forget([worker for worker in held if worker not in known])
        yield [worker for worker in held if worker in known]
    finally:
        for worker, lock in held.items():
            _release(worker, lock)


def bury(workers: list[int]) -> None:
    """Forget workers whose rows were taken over."""
    Worker.objects.filter(pk__in=workers).delete()
    _forget(workers)


def _forget(workers: list[int]) -> None:
    if connection.vendor == "sqlite":
        for worker in workers:
            _path(worker).unlink(missing_ok=True)


def _known() -> list[int]:
    """Every worker that is enrolled, and every one in whose name something is claimed."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT id FROM mailings_worker UNION"
            " SELECT worker_id FROM mailings_outbox WHERE worker_id IS NOT NULL ORDER BY 1"
        )
        return [row[0] for row in cursor.fetchall()]


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
