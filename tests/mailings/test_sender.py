"""The sender, with real servers: who gets what, whatever breaks on the way."""

# ruff: noqa: ARG002, N802 (the names and arguments by which aiosmtpd calls a handler)

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import pytest
from aiosmtpd.smtp import SMTP, Envelope, Session
from django.conf import settings
from django.db import OperationalError, connection, connections

from goodstanding.gateways.base import Handover, Mail
from goodstanding.gateways.smtp import SmtpGateway
from goodstanding.ledger import rebuilding
from goodstanding.ledger.clock import present
from goodstanding.ledger.models import Address
from goodstanding.mailings import checking, committing, course, liveness, outbox, planning, sender
from goodstanding.mailings.lanes import Lane
from goodstanding.mailings.models import Content, Course, Outbox, State, Worker
from goodstanding.mailings.sender import Sender
from tests.gateways.smtp_servers import CUT, Script, aiosmtpd_server
from tests.mailings.audience import (
    address,
    contact,
    counted,
    details,
    kinds,
    mailing,
    opted_in,
    pending,
    people,
    responses,
)

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _hurry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A policy whose times are short, a home of its own."""
    policy = tmp_path / "hurried.toml"
    policy.write_text(
        'base = "default"\n[silence.email]\nafter = "20s"\n'
        '[retry]\nfirst = "150ms"\nlongest = "300ms"'
    )
    monkeypatch.setattr(settings, "HOME", tmp_path)
    monkeypatch.setattr(
        settings, "OPTIONS", msgspec.structs.replace(settings.OPTIONS, policy=str(policy))
    )
    monkeypatch.setattr(sender, "LOOK_AGAIN", 0.02)
    monkeypatch.setattr(sender, "WAIT_FOR_DATABASE", 0.1)
    monkeypatch.setattr(committing, "WAIT_FOR_DATABASE", 0.1)


class Town:
    """A mail server that knows everybody, and what it has taken for whom."""

    def __init__(self, delay: float = 0.0) -> None:
        self.taken: Counter[str] = Counter()
        self.tries: Counter[str] = Counter()
        self.delay = delay

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, to: str, options: list[str]
    ) -> str:
        self.tries[to] += 1
        if to.startswith("gone"):
            return "550 5.1.1 No such user"
        if to.startswith("slow") and self.tries[to] < 3:
            return "451 4.7.1 Greylisted, try again later"
        envelope.rcpt_tos.append(to)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        await asyncio.sleep(self.delay)
        self.taken[envelope.rcpt_tos[0]] += 1
        return "250 2.0.0 Queued"


def lanes(monkeypatch: pytest.MonkeyPatch, port: int, **more: Any) -> None:
    lane = Lane(host="127.0.0.1", port=port, starttls="never", **{"connections": 4, **more})
    monkeypatch.setattr(
        settings, "OPTIONS", msgspec.structs.replace(settings.OPTIONS, lanes={"main": lane})
    )


def sendable(name: str = "news", **said: Any) -> int:
    """A mailing that is due."""
    made = mailing(name, present() - 1_000_000, **said)
    assert planning.plan(made, present())
    assert checking.check(made, present())
    return made


def all_gone() -> bool:
    return pending() == 0


async def send(
    until: Callable[[], bool] = all_gone, seconds: float = 20.0, also: Any = None
) -> Sender:
    """Run a sender until that holds, then stop it; ``also`` goes on meanwhile."""
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(1) as thread:
        try:
            working = Sender(thread)
            task = loop.create_task(working.run())
            beside = loop.create_task(also) if also is not None else None
            end = time.monotonic() + seconds
            while time.monotonic() < end and not task.done():
                try:
                    if await loop.run_in_executor(thread, until):
                        break
                except Exception:  # noqa: BLE001 - the database may be away
                    await loop.run_in_executor(thread, connection.close_if_unusable_or_obsolete)
                await asyncio.sleep(0.02)
            if beside is not None:
                await beside
            working.stop()
            await asyncio.wait_for(task, 20)
            assert time.monotonic() < end, "it did not come to that"
            return working
        finally:
            thread.submit(connections.close_all).result()


def test_taken_refused_and_put_off(monkeypatch: pytest.MonkeyPatch) -> None:
    everybody = ["gone1", "gone2", "slow1", "slow2"]
    opted_in(*everybody)
    for name in everybody:
        contact(name)
    people(30)
    made = sendable()
    town = Town()

    async def run() -> None:
        async with aiosmtpd_server(town) as port:
            lanes(monkeypatch, port)
            await send()

    asyncio.run(run())
    assert counted(made) == {"sent": 32, "hard_bounced": 2}
    assert set(town.taken.values()) == {1}
    assert len(town.taken) == 32
    assert town.tries["slow1@example.com"] == 3
    assert sorted(kinds("slow1")) == ["deferred", "deferred", "opted_in", "planned", "sent"]
    assert Address.objects.get(value="gone1@example.com").status == "hard_bounced"
    assert not Worker.objects.exists()
    assert rebuilding.rebuild(present(), verify=True) == []


def test_a_connection_cut_before_the_content_is_tried_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    people(6)
    made = sendable()
    script = Script(DATA=CUT)

    async def mend() -> None:
        while script.connections < 6:  # noqa: ASYNC110 - the script tells nobody
            await asyncio.sleep(0.02)
        script.answers = {**script.answers, "DATA": "354 go on"}

    async def run() -> None:
        async with script.running() as port:
            lanes(monkeypatch, port)
            await send(also=mend())

    asyncio.run(run())
    assert counted(made) == {"sent": 6}
    assert len(script.bodies) == 6


def test_a_connection_cut_after_the_content_is_never_tried_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    people(6)
    made = sendable()
    script = Script(DOT=CUT)

    async def run() -> None:
        async with script.running() as port:
            lanes(monkeypatch, port)
            await send()

    asyncio.run(run())
    assert counted(made) == {"lost": 6}
    assert len(script.bodies) == 6


def test_no_server_at_all_is_tried_until_time_is_up(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    policy = tmp_path / "impatient.toml"
    policy.write_text(
        'base = "default"\n[silence.email]\nafter = "1s"\n'
        '[retry]\nfirst = "150ms"\nlongest = "300ms"'
    )
    options = msgspec.structs.replace(settings.OPTIONS, policy=str(policy))
    monkeypatch.setattr(settings, "OPTIONS", options)
    people(3)
    made = sendable()
    lanes(monkeypatch, 9)  # the port of nobody
    asyncio.run(send())
    assert counted(made) == {"failed": 3}
    for detail in details("failed"):
        assert detail["attempt"] > 1
        assert detail["error"]
    assert set(Address.objects.exclude(value="").values_list("status", flat=True)) == {"opted_in"}


def test_a_recipient_whose_mail_cannot_be_made_holds_nobody_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    people(5)
    Address.objects.filter(value="p2@example.com").update(value="p 2@example.com")
    made = sendable()
    content = Content.objects.get(pk=made)
    assert content.course == "paused", "nothing leaves before an operator knows"
    assert "p 2@example.com could not be made: the address cannot" in (content.course_why or "")
    assert outbox.open_lots(present()) == []
    course.set_course("news", Course.RUNNING, "ann", "without them", present())
    town = Town()

    async def run() -> None:
        async with aiosmtpd_server(town) as port:
            lanes(monkeypatch, port)
            await send()

    asyncio.run(run())
    assert counted(made) == {"sent": 4, "failed": 1}
    [detail] = details("failed")
    assert "cannot stand in a To header" in detail["error"]


def test_an_attempt_that_breaks_in_our_own_code_holds_nobody_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    people(12)
    made = sendable()
    town = Town()
    sends = SmtpGateway.send
    broken: Counter[str] = Counter()

    async def send_or_break(self: SmtpGateway, mail: Mail, fence: Any) -> Handover:
        if mail.recipient.startswith("p3@") and not broken["before"]:
            broken["before"] += 1
            raise RuntimeError("before the fence")
        if mail.recipient.startswith("p4@"):
            assert await fence()
            broken["after"] += 1
            raise RuntimeError("after the fence")
        return await sends(self, mail, fence)

    monkeypatch.setattr(SmtpGateway, "send", send_or_break)

    async def run() -> None:
        async with aiosmtpd_server(town) as port:
            lanes(monkeypatch, port)
            await send()

    asyncio.run(run())
    assert responses(made)["p3", ""] == "sent"
    assert responses(made)["p4", ""] == "lost"
    assert counted(made) == {"sent": 11, "lost": 1}
    assert broken == {"before": 1, "after": 1}


def test_the_fence_is_set_while_the_envelope_is_said_only_where_mails_go_quickly(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    people(4)
    made = sendable()
    order: list[tuple[str, str]] = []
    sets = committing.Committer.fence
    monkeypatch.setattr(sender, "PROMPT", 0.5)

    def fence(self: committing.Committer, claim: outbox.Claim) -> asyncio.Future[bool]:
        order.append((claim.address.value, "fence"))
        return sets(self, claim)

    class Noting(Town):
        async def handle_RCPT(
            self, server: SMTP, session: Session, envelope: Envelope, to: str, options: list[str]
        ) -> str:
            if self.tries.total() == 1:
                await asyncio.sleep(2 * sender.PROMPT)
            order.append((to, "envelope"))
            return await super().handle_RCPT(server, session, envelope, to, options)

    monkeypatch.setattr(committing.Committer, "fence", fence)

    async def run() -> None:
        async with aiosmtpd_server(Noting()) as port:
            lanes(monkeypatch, port, connections=1)
            await send()

    asyncio.run(run())
    assert counted(made) == {"sent": 4}
    assert [what for _, what in order] == [
        *("envelope", "fence"),  # nothing is known yet
        *("fence", "envelope"),  # which turns out to be slow
        *("envelope", "fence"),
        *("fence", "envelope"),
    ]


def test_an_outcome_that_cannot_be_written_holds_nobody_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    people(12)
    made = sendable()
    record = outbox.record
    bad = address("p3")

    def refusing(events: Any, now: int) -> Any:
        events = list(events)
        if any(event.kind == "sent" and event.address == bad for event in events):
            raise ValueError("this one cannot be stored")
        return record(events, now)

    monkeypatch.setattr(outbox, "record", refusing)

    async def run() -> None:
        async with aiosmtpd_server(Town()) as port:
            lanes(monkeypatch, port)
            await send()

    asyncio.run(run())
    assert counted(made) == {"sent": 11, "lost": 1}
    assert responses(made)["p3", ""] == "lost"


def test_a_mailing_that_must_not_go_out_any_more_waits_and_the_others_go(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    people(3)
    options = settings.OPTIONS
    both = {"bulk": Lane(), "main": Lane()}
    monkeypatch.setattr(settings, "OPTIONS", msgspec.structs.replace(options, lanes=both))
    stranded, withheld = sendable("stranded", lane="bulk"), sendable("withheld")
    other = sendable("other")
    Content.objects.filter(mailing=withheld).update(text="no way to leave")

    async def run() -> None:
        async with aiosmtpd_server(Town()) as port:
            lanes(monkeypatch, port)  # the lane "bulk" is no more
            await send(until=lambda: pending(other) == 0)

    asyncio.run(run())
    assert counted(other) == {"sent": 3}
    assert counted(withheld) == counted(stranded) == {"planned": 3}
    rows = Outbox.objects.values_list("state", "attempt", "worker_id")
    assert set(rows) == {(State.READY, 0, None)}
    later = Outbox.objects.filter(mailing_id=withheld).values_list("not_before", flat=True)
    assert min(later) > present() + 30_000_000, "it is not looked at again and again"


def test_contents_in_memory_are_few(monkeypatch: pytest.MonkeyPatch) -> None:
    people(2)
    made = [sendable(f"news-{number}") for number in range(6)]
    monkeypatch.setattr(sender, "MOST_RECIPES", 2)

    async def run() -> Sender:
        async with aiosmtpd_server(Town()) as port:
            lanes(monkeypatch, port)
            return await send()

    working = asyncio.run(run())
    assert working._recipes.cache_info().currsize <= 2
    assert [counted(each) for each in made] == [{"sent": 2}] * 6


def test_stopped_in_the_middle_it_gives_back_and_finishes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    people(60)
    made = sendable()
    town = Town(delay=0.2)

    async def run() -> float:
        async with aiosmtpd_server(town) as port:
            lanes(monkeypatch, port)
            await send(until=lambda: len(town.taken) >= 6)
            return time.monotonic()

    begun = time.monotonic()
    asyncio.run(run())
    assert time.monotonic() - begun < 10
    left = pending()
    assert 40 <= left <= 54
    assert set(Outbox.objects.values_list("state", "attempt", "token", "worker_id")) == {
        (State.READY, 0, None, None)
    }
    assert counted(made) == {"sent": 60 - left, "planned": left}
    assert sum(town.taken.values()) == 60 - left
    assert not Worker.objects.exists()


def test_stopped_while_the_database_is_away_it_still_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What is in flight is recorded when there is one again; what was claimed is taken over."""
    people(40)
    made = sendable()
    town = Town(delay=0.2)

    async def run() -> None:
        async with aiosmtpd_server(town) as port:
            lanes(monkeypatch, port)
            await send(until=lambda: len(town.taken) >= 4, also=None)
            await send()

    def away(claims: Any, until: Any = None) -> None:
        raise OperationalError("away")

    monkeypatch.setattr(outbox, "release", away)
    asyncio.run(run())
    assert counted(made) == {"sent": 40}
    assert set(town.taken.values()) == {1}


async def _database_comes_and_goes(rounds: int) -> None:
    for _ in range(rounds):
        await asyncio.sleep(0.15)
        await asyncio.to_thread(_leave)


def _leave() -> None:
    if connection.vendor == "sqlite":
        other = sqlite3.connect(settings.DATABASES["default"]["NAME"], isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        time.sleep(0.4)
        other.rollback()
        other.close()
        return
    parameters = connection.get_connection_params()
    wanted = {name: parameters[name] for name in ("dbname", "user", "host") if name in parameters}
    with psycopg.connect(**wanted, autocommit=True) as other:
        other.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


def test_a_database_that_comes_only_later_is_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    people(3)
    made = sendable()
    enrol = liveness.Lifeline._enrol
    tries: Counter[str] = Counter()

    def failing(self: liveness.Lifeline) -> int:
        tries["enrol"] += 1
        if tries["enrol"] < 3:
            raise OperationalError("away")
        return enrol(self)

    monkeypatch.setattr(liveness.Lifeline, "_enrol", failing)

    async def run() -> None:
        async with aiosmtpd_server(Town()) as port:
            lanes(monkeypatch, port)
            await send()

    asyncio.run(run())
    assert counted(made) == {"sent": 3}


@pytest.fixture
def _impatient() -> Iterator[None]:
    """SQLite that says soon that it is locked."""
    if connection.vendor != "sqlite":
        yield
        return
    options = connections.settings["default"]["OPTIONS"]
    patience, options["timeout"] = options["timeout"], 0.1
    yield
    options["timeout"] = patience


@pytest.mark.usefixtures("_impatient")
def test_a_database_that_comes_and_goes_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    people(150)
    made = sendable()
    town = Town(delay=0.02)

    async def run() -> None:
        async with aiosmtpd_server(town) as port:
            lanes(monkeypatch, port)
            await send(also=_database_comes_and_goes(8), seconds=40)

    asyncio.run(run())
    connection.close()
    assert counted(made) == {"sent": 150}
    assert set(town.taken.values()) == {1}
    assert len(town.taken) == 150
    assert rebuilding.rebuild(present(), verify=True) == []
