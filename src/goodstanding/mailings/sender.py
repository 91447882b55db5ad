"""The sender: an event loop that hands over what one thread claims, fences and records."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeVar

import structlog
from django.conf import settings
from django.db import DatabaseError, connection

from goodstanding.gateways.base import Gateway, Mail
from goodstanding.gateways.smtp import SmtpGateway, SmtpSettings
from goodstanding.ledger.policy import active_policy
from goodstanding.mailings import contents, liveness, outbox, outcomes
from goodstanding.mailings.compose import Compiled
from goodstanding.mailings.models import Content
from goodstanding.mailings.outbox import Claim, Outcome

LOOK_AGAIN: Final = 0.25
"""Seconds between looks at an empty outbox."""

LOOK_FOR_DEAD: Final = 2.0
"""Seconds between looks for workers that died."""

CATCH_BREATH: Final = 0.005
"""Seconds between looks at a queue that is full."""

WAIT_FOR_DATABASE: Final = 1.0
"""Seconds between tries while there is no database."""

_log = structlog.get_logger(__name__)
_T = TypeVar("_T")


def present() -> int:
    """The present time in microseconds."""
    return time.time_ns() // 1_000


class Sender:
    """Sends what is due until told to stop. All that touches the database runs in one thread."""

    def __init__(self, thread: ThreadPoolExecutor) -> None:
        self._thread = thread
        self._stopping = asyncio.Event()
        self._gateways: dict[str, Gateway] = {}
        self._contents: dict[int, tuple[Content, Compiled]] = {}
        self._queue: asyncio.Queue[_Job | None] = asyncio.Queue()
        self._fences: list[tuple[Claim, asyncio.Future[bool]]] = []
        self._outcomes: list[tuple[Outcome, asyncio.Future[bool]]] = []
        self._to_commit = asyncio.Event()
        self._lanes = settings.OPTIONS.lanes or {"main": SmtpSettings()}
        self._policy = active_policy()

    def stop(self) -> None:
        """Finish what is in flight, give back the rest, and return from ``run``."""
        self._stopping.set()

    async def run(self) -> None:
        """Send until ``stop``."""
        lifeline = await self._in_thread(liveness.Lifeline, present())
        width = sum(_width(lane) for lane in self._lanes.values())
        committing = asyncio.create_task(self._commit_forever())
        sending = [asyncio.create_task(self._send_forever()) for _ in range(width)]
        try:
            await self._claim_forever(lifeline, width)
        finally:
            left = [self._queue.get_nowait() for _ in range(self._queue.qsize())]
            await self._in_thread(outbox.release, [job.claim for job in left if job is not None])
            for _ in sending:
                self._queue.put_nowait(None)
            await asyncio.gather(*sending)
            committing.cancel()
            await asyncio.gather(committing, return_exceptions=True)
            for gateway in self._gateways.values():
                await gateway.close()
            await self._in_thread(lifeline.let_go)

    async def _claim_forever(self, lifeline: liveness.Lifeline, width: int) -> None:
        look_for_dead = 0.0
        while not self._stopping.is_set():
            pause = LOOK_AGAIN
            try:
                if time.monotonic() >= look_for_dead:
                    await self._in_thread(_take_over, lifeline)
                    look_for_dead = time.monotonic() + LOOK_FOR_DEAD
                room = 3 * width - self._queue.qsize()
                if room >= width:
                    jobs = await self._in_thread(self._claim, lifeline.worker, room)
                    for job in jobs:
                        self._queue.put_nowait(job)
                    pause = 0 if jobs else LOOK_AGAIN
                else:
                    pause = CATCH_BREATH
            except DatabaseError as error:
                _log.warning("the database is not to be had", error=type(error).__name__)
                pause = WAIT_FOR_DATABASE
            if pause:
                await _rest(self._stopping, pause)

    def _claim(self, worker: int, most: int) -> list[_Job]:
        claims = outbox.claim(worker, most, present())
        try:
            return self._prepared(claims)
        except BaseException:
            outbox.release(claims)
            raise

    def _prepared(self, claims: list[Claim]) -> list[_Job]:
        fields = contents.merge_fields({c.contact for c in claims if c.contact is not None})
        jobs = []
        for claim in claims:
            if claim.mailing not in self._contents:
                self._contents[claim.mailing] = contents.compiled(claim.mailing)
            content, compiled = self._contents[claim.mailing]
            merged = {**fields.get(claim.contact or 0, {}), "email": claim.address.value}
            jobs.append(_Job(claim, content.lane, compiled, merged))
        return jobs

    async def _send_forever(self) -> None:
        while (job := await self._queue.get()) is not None:
            outcome = await self._attempt(job)
            await self._committed(self._outcomes, outcome)

    async def _attempt(self, job: _Job) -> Outcome:
        claim = job.claim
        stamp = contents.Stamp(claim.delivery, claim.first_attempt_at, claim.mailing)
        try:
            message = job.compiled.render(job.fields, claim.address.value, stamp)
        except ValueError as error:
            return outcomes.unfit(claim, str(error), present())
        gateway = self._gateway(job.lane)

        async def fence() -> bool:
            return await self._committed(self._fences, claim)

        handover = await gateway.send(Mail(stamp.return_path, claim.address.value, message), fence)
        return outcomes.judge(
            claim, handover, self._policy, present(), reports=gateway.reports_deliveries
        )

    async def _committed(self, waiting: list[tuple[_T, asyncio.Future[bool]]], what: _T) -> bool:
        """Wait until the next group is on disk; for a fence, whether it was set."""
        done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        waiting.append((what, done))
        self._to_commit.set()
        return await done

    async def _commit_forever(self) -> None:
        """Commit fences and outcomes in groups: whatever came up while the last one was written.

        Without a database everybody waits here: what was said is neither lost nor said again.
        """
        while True:
            await self._to_commit.wait()
            self._to_commit.clear()
            fences, outcomes_ = self._fences[:], self._outcomes[:]
            del self._fences[:], self._outcomes[:]
            claims = [claim for claim, _ in fences]
            done = [outcome for outcome, _ in outcomes_]
            while True:
                try:
                    allowed = await self._in_thread(outbox.commit, claims, done, present())
                    break
                except DatabaseError as error:
                    _log.warning("the database is not to be had", error=type(error).__name__)
                    await asyncio.sleep(WAIT_FOR_DATABASE)
            for claim, fenced in fences:
                fenced.set_result(claim.delivery in allowed)
            for _, recorded in outcomes_:
                recorded.set_result(True)

    def _gateway(self, name: str) -> Gateway:
        if name not in self._gateways:
            self._gateways[name] = SmtpGateway(self._lanes[name])
        return self._gateways[name]

    async def _in_thread(self, call: Callable[..., _T], *arguments: Any) -> _T:
        return await asyncio.get_running_loop().run_in_executor(
            self._thread, _with_connection, call, *arguments
        )


def _with_connection(call: Callable[..., _T], *arguments: Any) -> _T:
    connection.close_if_unusable_or_obsolete()
    return call(*arguments)


class _Job:
    """A claim with all that its message needs."""

    __slots__ = ("claim", "compiled", "fields", "lane")

    def __init__(self, claim: Claim, lane: str, compiled: Compiled, fields: dict[str, str]) -> None:
        self.claim = claim
        self.lane = lane
        self.compiled = compiled
        self.fields = fields


def _width(lane: SmtpSettings) -> int:
    """How many connections a lane may have open in all."""
    return lane.connections * len({None, *lane.routes.values()})


def _take_over(lifeline: liveness.Lifeline) -> None:
    lifeline.hold()
    dead = liveness.dead(but=lifeline.worker)
    if not dead:
        return
    ready, lost = outbox.recover(dead, present())
    liveness.bury(dead)
    _log.warning("took over from dead workers", workers=len(dead), ready=ready, lost=lost)


async def _rest(stopping: asyncio.Event, seconds: float) -> None:
    try:
        await asyncio.wait_for(stopping.wait(), seconds)
    except TimeoutError:
        return
