"""Which workers are alive: each holds a lock that dies with it, so that takeover is immediate.

A session advisory lock on PostgreSQL; a locked file beside the database on SQLite.
"""

from __future__ import annotations

import fcntl
import os
import socket
from pathlib import Path
from typing import Final

from django.conf import settings
from django.db import connection

from goodstanding.mailings.models import Worker

_LOCKS: Final = 0x60_0D  # The class of our advisory locks.


class Lifeline:
    """This process's lock, held until ``let_go`` or the process's end."""

    def __init__(self, now: int) -> None:
        self.worker = Worker.objects.create(
            started_at=now, host=socket.gethostname(), process=os.getpid()
        ).pk
        self._held: int | None = None
        self.hold()

    def hold(self) -> None:
        """Take the lock, again where the connection that held it was lost."""
        if connection.vendor == "sqlite":
            if self._held is None:
                self._held = _open(self.worker)
                fcntl.flock(self._held, fcntl.LOCK_EX)
            return
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_backend_pid()")
            [session] = cursor.fetchone()
            if session != self._held:
                cursor.execute("SELECT pg_advisory_lock(%s, %s)", [_LOCKS, self.worker])
                self._held = session

    def let_go(self) -> None:
        """Say that this worker is gone; call it when nothing is claimed any more."""
        Worker.objects.filter(pk=self.worker).delete()
        if connection.vendor == "sqlite":
            if self._held is not None:
                os.close(self._held)
            _path(self.worker).unlink(missing_ok=True)
            return
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_unlock(%s, %s)", [_LOCKS, self.worker])


def alive() -> list[int]:
    """The workers that hold their lock, but for what this process itself holds on PostgreSQL."""
    return [worker for worker in _known() if not _is_dead(worker)]


def dead(but: int) -> list[int]:
    """The workers that died without saying so; ``but`` is the one who asks."""
    return [worker for worker in _known() if worker != but and _is_dead(worker)]


def bury(workers: list[int]) -> None:
    """Forget workers whose rows were taken over."""
    Worker.objects.filter(pk__in=workers).delete()
    for worker in workers:
        _path(worker).unlink(missing_ok=True)


def _known() -> list[int]:
    return list(Worker.objects.order_by("pk").values_list("pk", flat=True))


def _is_dead(worker: int) -> bool:
    if connection.vendor == "sqlite":
        file = _open(worker)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        else:
            return True
        finally:
            os.close(file)
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s, %s)", [_LOCKS, worker])
        [got] = cursor.fetchone()
        if got:
            cursor.execute("SELECT pg_advisory_unlock(%s, %s)", [_LOCKS, worker])
        return bool(got)


def _path(worker: int) -> Path:
    return Path(settings.HOME) / "workers" / str(worker)


def _open(worker: int) -> int:
    path = _path(worker)
    path.parent.mkdir(mode=0o700, exist_ok=True)
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
