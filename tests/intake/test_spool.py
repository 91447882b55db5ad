"""The spool: on disk when it says so, and many together at the price of one."""

import asyncio
import sqlite3
from threading import Barrier, Thread
from typing import Any

import pytest
from django.db import connections

from goodstanding.intake import spool
from goodstanding.intake.models import MAIL, Spooled
from goodstanding.intake.spool import Envelope, Spooler, SpoolFailed

pytestmark = pytest.mark.django_db(databases=["default", "spool"], transaction=True)

ENVELOPE = Envelope("", ("complaints@bounces.example.com",))


async def _put_many(number: int) -> int:
    spooler = Spooler()
    await asyncio.gather(*(spooler.put(MAIL, ENVELOPE, b"%d" % n) for n in range(number)))
    await spooler.close()
    return spooler.commits


def test_concurrent_puts_share_commits_and_keep_their_order() -> None:
    assert asyncio.run(_put_many(64)) <= 2
    contents = Spooled.objects.order_by("pk").values_list("content", flat=True)
    assert [bytes(content) for content in contents] == [b"%d" % n for n in range(64)]


def test_a_commit_holds_no_more_than_its_share(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool, "MOST_ROWS", 10)
    assert asyncio.run(_put_many(40)) >= 4
    assert Spooled.objects.count() == 40


def test_threads_share_commits_too(monkeypatch: pytest.MonkeyPatch) -> None:
    commits = []
    real = spool._try
    monkeypatch.setattr(spool, "_try", lambda rows: (commits.append(len(rows)), real(rows))[1])
    together = Barrier(32)

    def put() -> None:
        together.wait()
        try:
            spool.put(MAIL, ENVELOPE)
        finally:
            connections.close_all()

    threads = [Thread(target=put) for _ in range(32)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Spooled.objects.count() == sum(commits) == 32
    assert len(commits) < 32


def test_what_was_put_is_in_the_file(settings: Any) -> None:
    if connections["spool"].vendor != "sqlite":
        pytest.skip("PostgreSQL looks after its own files")
    spool.put(MAIL, ENVELOPE, b"here")
    with sqlite3.connect(settings.DATABASES["spool"]["NAME"]) as other:
        assert other.execute("SELECT content FROM intake_spooled").fetchall() == [(b"here",)]
    with connections["spool"].cursor() as cursor:
        cursor.execute("PRAGMA synchronous")
        assert cursor.fetchone() == (2,)  # FULL: a commit waits for the disk


def test_whoever_could_not_be_written_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool, "_try", lambda _: ValueError("no"))
    with pytest.raises(SpoolFailed):
        spool.put(MAIL, ENVELOPE)
    with pytest.raises(SpoolFailed):
        asyncio.run(_put_many(3))
