"""Handing over in a process of its own: the same as from here, and nothing lost when it dies."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from email import message_from_bytes
from typing import Any

import msgspec
import pytest
from django.conf import settings

from benchmarks.measuring import children
from goodstanding.gateways.base import Handover
from goodstanding.mailings.handing import process
from goodstanding.mailings.handing.ahead import MOST_BYTES, Ahead
from goodstanding.mailings.handing.hander import MOST_RECIPES, Hander, Hands, Job, Unfit
from goodstanding.mailings.handing.process import Gone, HandingProcess
from goodstanding.mailings.lanes import Lane
from goodstanding.mailings.mail.compose import Recipe
from goodstanding.mailings.mail.content import Content
from tests.gateways.smtp_servers import HANG, Script


def recipe(subject: str = "Hello {{ first_name }}") -> Recipe:
    content = Content(
        from_address="news@example.com",
        subject=subject,
        text="{{ first_name }} {{ postal_address }} {{ unsubscribe_url }}",
        postal_address="1 Example Street",
    )
    return Recipe(content, ("first_name",))


def job(delivery: int = 7, mailing: int = 3, **fields: str) -> Job:
    return Job(
        delivery=delivery,
        mailing=mailing,
        lane="main",
        recipient="ann@example.com",
        began_at=1_790_000_000_000_000,
        fields=fields,
    )


async def allow() -> bool:
    return True


async def refuse() -> bool:
    return False


@asynccontextmanager
async def hands(
    monkeypatch: pytest.MonkeyPatch, kind: Callable[[], Hands], **answers: str
) -> AsyncIterator[tuple[Hands, Script]]:
    """Such hands, and the server that they hand over to."""
    script = Script(**answers)
    async with script.running() as port:
        lane = Lane(host="127.0.0.1", port=port, starttls="never", connections=4)
        options = msgspec.structs.replace(settings.OPTIONS, lanes={"main": lane})
        monkeypatch.setattr(settings, "OPTIONS", options)
        made = kind()
        await made.begin()
        try:
            yield made, script
        finally:
            await made.close()


async def until(holds: Callable[[], bool]) -> None:
    """Wait; the whole test has its limit."""
    while not holds():  # noqa: ASYNC110 - nobody tells
        await asyncio.sleep(0.01)


def process_of(made: Hands) -> int:
    """The process that hands over; whoever runs the tests may have begun others."""
    assert isinstance(made, HandingProcess)
    assert made._running is not None
    return made._running._process.pid


BOTH = pytest.mark.parametrize("kind", [Hander, HandingProcess])


def run(test: Callable[[], Awaitable[Any]]) -> Any:
    async def limited() -> Any:
        async with asyncio.timeout(30):
            return await test()

    return asyncio.run(limited())


def test_what_it_hands_over_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> list[tuple[Handover, bytes]]:
        found = []
        for kind in (Hander, HandingProcess):
            async with hands(monkeypatch, kind) as (made, script):
                handover = await made.prepare(job(first_name="Änn"), recipe()).hand_over(
                    allow, None
                )
                found.append((msgspec.structs.replace(handover, host=None), script.bodies[0]))
        return found

    here, there = run(test)
    assert here == there
    assert here[0].outcome == "accepted"
    assert message_from_bytes(here[1])["Subject"] == "=?utf-8?b?SGVsbG8gw4Rubg==?="


@pytest.mark.parametrize("ahead", [False, True])
@BOTH
def test_what_the_fence_refuses_does_not_leave(
    monkeypatch: pytest.MonkeyPatch, kind: Callable[[], Hands], ahead: bool
) -> None:
    async def test() -> None:
        async with hands(monkeypatch, kind) as (made, script):
            assert (
                await made.prepare(job(), recipe()).hand_over(refuse, None, ahead=ahead)
            ).outcome == "dropped"
            assert (
                await made.prepare(job(8), recipe()).hand_over(allow, None)
            ).outcome == "accepted"
            assert len(script.bodies) == 1

    run(test)


def test_refused_before_the_fence_that_was_set_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        async with hands(monkeypatch, HandingProcess, RCPT="550 5.1.1 nobody") as (made, script):

            async def fence() -> bool:
                await until(lambda: "RSET" in script.verbs)
                return True

            mail = made.prepare(job(), recipe())
            handover = await mail.hand_over(fence, None, ahead=True)
            assert (handover.outcome, handover.text) == ("refused", "550 5.1.1 nobody")
            script.answers = {**script.answers, "RCPT": "250 ok"}
            handover = await made.prepare(job(8), recipe()).hand_over(allow, None, ahead=True)
            assert handover.outcome == "accepted"

    run(test)


def test_what_broke_before_its_content_could_leave_is_tried_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def test() -> None:
        async with hands(monkeypatch, HandingProcess) as (made, script):
            broken = msgspec.structs.replace(job(), lane="there is none")
            handover = await made.prepare(broken, recipe()).hand_over(allow, None, ahead=True)
            assert handover.outcome == "unsent"
            assert "there is none" in str(handover.error)
            assert not script.bodies

    run(test)


@BOTH
def test_one_that_cannot_be_made_does_not_stop_the_others(
    monkeypatch: pytest.MonkeyPatch, kind: Callable[[], Hands]
) -> None:
    async def test() -> None:
        async with hands(monkeypatch, kind) as (made, _):
            bad = msgspec.structs.replace(job(), recipient="a\nb@example.com")
            with pytest.raises(Unfit, match="cannot stand in a To header"):
                await made.prepare(bad, recipe()).hand_over(allow, None)
            assert (
                await made.prepare(job(8), recipe()).hand_over(allow, None)
            ).outcome == "accepted"

    run(test)


@BOTH
def test_more_mailings_at_once_than_are_kept_ready(
    monkeypatch: pytest.MonkeyPatch, kind: Callable[[], Hands]
) -> None:
    async def test() -> None:
        async with hands(monkeypatch, kind) as (made, script):
            many = 2 * MOST_RECIPES
            wanted = [
                made.prepare(
                    job(number, number % many), recipe(f"Number {number % many}")
                ).hand_over(allow, None)
                for number in range(3 * many)
            ]
            assert {each.outcome for each in await asyncio.gather(*wanted)} == {"accepted"}
            subjects = sorted(str(message_from_bytes(body)["Subject"]) for body in script.bodies)
            assert subjects == sorted(f"Number {number % many}" for number in range(3 * many))

    run(test)


@pytest.mark.parametrize("ahead", [False, True])
@pytest.mark.parametrize("fenced", [False, True])
def test_when_it_dies_what_it_had_is_told_and_another_goes_on(
    monkeypatch: pytest.MonkeyPatch, fenced: bool, ahead: bool
) -> None:
    async def test() -> None:
        async with hands(monkeypatch, HandingProcess) as (made, script):
            asked, decided = asyncio.Event(), asyncio.Event()

            async def fence() -> bool:
                asked.set()
                await decided.wait()
                return True

            script.answers = {**script.answers, "DOT": HANG}
            mail = made.prepare(job(), recipe())
            handing = asyncio.create_task(mail.hand_over(fence, None, ahead=ahead))
            await asked.wait()
            if fenced:
                decided.set()
                await until(lambda: bool(script.bodies))
            there = process_of(made)
            os.kill(there, signal.SIGKILL)
            await until(lambda: there not in children())
            decided.set()
            handover = await handing
            assert (handover.outcome, handover.code) == ("lost" if fenced else "unsent", None)
            assert len(script.bodies) == fenced
            script.answers = {**script.answers, "DOT": "250 taken"}
            assert (
                await made.prepare(job(8), recipe()).hand_over(allow, None)
            ).outcome == "accepted"

    run(test)


def test_what_a_process_took_on_before_it_died_is_handed_over_by_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def test() -> None:
        async with hands(monkeypatch, HandingProcess) as (made, script):
            waiting = [made.prepare(job(number), recipe()) for number in (1, 2, 3)]
            there = process_of(made)
            os.kill(there, signal.SIGKILL)
            await until(lambda: there not in children())
            waiting.pop().drop()
            handed = await asyncio.gather(*(each.hand_over(allow, None) for each in waiting))
            assert {each.outcome for each in handed} == {"accepted"}
            assert len(script.bodies) == 2

    run(test)


@BOTH
def test_what_is_dropped_is_not_handed_over(
    monkeypatch: pytest.MonkeyPatch, kind: Callable[[], Hands]
) -> None:
    async def test() -> None:
        async with hands(monkeypatch, kind) as (made, script):
            first, second = (made.prepare(job(number), recipe()) for number in (1, 2))
            first.drop()
            assert (await second.hand_over(allow, None)).outcome == "accepted"
            assert len(script.bodies) == 1

    run(test)


class Counted:
    """A message that takes so many bytes; one of none cannot be made."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.is_made = False

    def make(self) -> int:
        self.is_made = True
        if not self.size:
            raise Unfit("no")
        return self.size


def test_messages_are_made_ahead_of_their_turn_as_far_as_memory_allows() -> None:
    async def test() -> None:
        ahead = Ahead()
        waiting: list[Any] = [Counted(size) for size in (0, MOST_BYTES - 1, 5, 5, 5)]
        for each in waiting:
            ahead.add(each)
        assert not any(each.is_made for each in waiting), "others come first"
        for _ in range(10):
            await asyncio.sleep(0)
        assert [each.is_made for each in waiting] == [True, True, True, False, False]
        ahead.remove(waiting[3])
        ahead.remove(waiting[1])
        for _ in range(10):
            await asyncio.sleep(0)
        assert [each.is_made for each in waiting] == [True, True, True, False, True]

    run(test)


def test_it_ends_with_whoever_began_it(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        async with hands(monkeypatch, HandingProcess) as (made, _):
            there = process_of(made)
            for number in (signal.SIGINT, signal.SIGTERM):
                os.kill(there, number)  # meant for its sender, which will tell it
            assert (
                await made.prepare(job(), recipe()).hand_over(allow, None)
            ).outcome == "accepted"
            assert isinstance(made, HandingProcess)
            assert made._running is not None
            made._running._wire.close()
            await until(lambda: there not in children())

    run(test)


def test_one_that_cannot_begin_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        made = HandingProcess()
        monkeypatch.setattr(process, "COMMAND", ["/nowhere/at/all"])
        with pytest.raises(OSError, match="nowhere"):
            await made.begin()
        monkeypatch.setattr(process, "COMMAND", ["true"])
        with pytest.raises(Gone):
            await made.begin()
        await made.close()

    run(test)
