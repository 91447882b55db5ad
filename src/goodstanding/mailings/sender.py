"""The sender: an event loop that hands over what one thread claims, fences and records."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeVar

import structlog
from django.db import (
    DatabaseError,
    InterfaceError,
    InternalError,
    OperationalError,
    connection,
)

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

WAIT_AFTER_ERROR: Final = 5.0
"""Seconds until what failed in a way that nobody foresaw is tried again."""

MOST_CONTENTS: Final = 32
"""Compiled contents kept: the mailings that are sent at once, and some more."""

WITHHELD_FOR: Final = 60_000_000
"""Microseconds until a mailing that must not go out as things are set is looked at again."""

_AWAY: Final = (OperationalError, InterfaceError, InternalError)
"""The database's own trouble: nothing is wrong with what was to be written."""

COMPLAIN_AGAIN: Final = 30.0
"""Seconds between complaints of one lane in the log."""

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
        self._contents: OrderedDict[int, tuple[Content, Compiled]] = OrderedDict()
        self._queue: asyncio.Queue[_Job | None] = asyncio.Queue()
        self._fences: list[tuple[Claim, asyncio.Future[bool]]] = []
        self._outcomes: list[tuple[Outcome, asyncio.Future[bool]]] = []
        self._to_commit = asyncio.Event()
        # All of them at once: a certificate that cannot be read is found at the start.
        self._gateways: dict[str, Gateway] = {}
        self._width = 0
        for name, lane in contents.lanes().items():
            self._gateways[name] = SmtpGateway(lane)
            self._width += _width(lane)
        self._complain_at: dict[str, float] = {}
        self._policy = active_policy()

    def stop(self) -> None:
        """Finish what is in flight, give back the rest, and return from ``run``."""
        self._stopping.set()

    async def run(self) -> None:
        """Send until ``stop``."""
        lifeline = await self._enrolled()
        if lifeline is None:
            return
        committing = asyncio.create_task(self._commit_forever())
        sending = [asyncio.create_task(self._send_forever()) for _ in range(self._width)]
        try:
            await self._claim_forever(lifeline)
        finally:
            left = [self._queue.get_nowait() for _ in range(self._queue.qsize())]
            for _ in sending:
                self._queue.put_nowait(None)
            await self._at_the_end(outbox.release, [job.claim for job in left if job is not None])
            await asyncio.gather(*sending)
            committing.cancel()
            await asyncio.gather(committing, return_exceptions=True)
            await self._at_the_end(lifeline.let_go)
            for gateway in self._gateways.values():
                await gateway.close()

    async def _enrolled(self) -> liveness.Lifeline | None:
        """This worker's lifeline, when there is a database; None where it is told to stop first."""
        while not self._stopping.is_set():
            try:
                return await self._in_thread(liveness.Lifeline, present())
            except DatabaseError as error:
                _log.warning("the database is not to be had", error=_first_line(error))
                await _rest(self._stopping, WAIT_FOR_DATABASE)
        return None

    async def _at_the_end(self, call: Callable[..., Any], *arguments: Any) -> None:
        """Tidy up, if there is a database: if not, whoever takes over does it."""
        try:
            await self._in_thread(call, *arguments)
        except DatabaseError as error:
            _log.warning("left to whoever takes over", error=_first_line(error))

    async def _claim_forever(self, lifeline: liveness.Lifeline) -> None:
        look_for_dead = 0.0
        while not self._stopping.is_set():
            try:
                if time.monotonic() >= look_for_dead:
                    await self._in_thread(_take_over, lifeline)
                    look_for_dead = time.monotonic() + LOOK_FOR_DEAD
                room = 3 * self._width - self._queue.qsize()
                if room >= self._width:
                    jobs = await self._in_thread(self._claim, lifeline, room)
                    for job in jobs:
                        self._queue.put_nowait(job)
                    pause = 0 if jobs else LOOK_AGAIN
                else:
                    pause = CATCH_BREATH
            except DatabaseError as error:
                _log.warning("the database is not to be had", error=_first_line(error))
                pause = WAIT_FOR_DATABASE
            except Exception:  # noqa: BLE001 - what one mailing has must not stop all for ever
                _log.exception("claiming failed")
                pause = WAIT_AFTER_ERROR
            if pause:
                await _rest(self._stopping, pause)

    def _claim(self, lifeline: liveness.Lifeline, most: int) -> list[_Job]:
        lifeline.hold()
        claims = outbox.claim(lifeline.worker, most, present())
        try:
            return self._prepared(claims)
        except BaseException:
            outbox.release(claims)
            raise

    def _prepared(self, claims: list[Claim]) -> list[_Job]:
        fields = contents.merge_fields({c.contact for c in claims if c.contact is not None})
        jobs = []
        withheld: list[Claim] = []
        for claim in claims:
            content = self._content(claim.mailing)
            if content is None:
                withheld.append(claim)
                continue
            merged = {**fields.get(claim.contact or 0, {}), "email": claim.address.value}
            jobs.append(_Job(claim, content[0].lane, content[1], merged))
        if withheld:
            outbox.release(withheld, until=present() + WITHHELD_FOR)
        return jobs

    def _content(self, mailing: int) -> tuple[Content, Compiled] | None:
        """A mailing's content; None where by what is set now it must not go out."""
        found = self._contents.get(mailing)
        if found is None:
            try:
                found = contents.compiled(mailing)
            except contents.RefusedMailing as error:
                _log.error("a mailing is withheld", mailing=mailing, problems=error.problems)
                return None
            self._contents[mailing] = found
            if len(self._contents) > MOST_CONTENTS:
                self._contents.popitem(last=False)
        self._contents.move_to_end(mailing)
        return found

    async def _send_forever(self) -> None:
        while (job := await self._queue.get()) is not None:
            attempt = _Attempt(job)
            try:
                outcome = await self._attempt(attempt)
            except Exception as error:  # noqa: BLE001 - one attempt must not stop the others
                _log.exception("an attempt broke", delivery=job.claim.delivery)
                why = f"{type(error).__name__}: {error}"
                outcome = outcomes.broken(
                    job.claim, why, self._policy, present(), fenced=attempt.fenced
                )
            await self._committed(self._outcomes, outcome)

    async def _attempt(self, attempt: _Attempt) -> Outcome:
        job = attempt.job
        claim = job.claim
        stamp = contents.Stamp(claim.delivery, claim.first_attempt_at, claim.mailing)
        try:
            message = job.compiled.render(job.fields, claim.address.value, stamp)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is this recipient's alone
            return outcomes.unfit(claim, f"{type(error).__name__}: {error}", present())
        gateway = self._gateways[job.lane]

        async def fence() -> bool:
            attempt.fenced = await self._committed(self._fences, claim)
            return attempt.fenced

        handover = await gateway.send(Mail(stamp.return_path, claim.address.value, message), fence)
        if handover.outcome == "unsent":
            self._complain(job.lane, handover.error or handover.text)
        return outcomes.judge(
            claim, handover, self._policy, present(), reports=gateway.reports_deliveries
        )

    def _complain(self, lane: str, why: str) -> None:
        """Say in the log that a lane cannot hand over, once in a while."""
        now = time.monotonic()
        if now >= self._complain_at.get(lane, 0.0):
            self._complain_at[lane] = now + COMPLAIN_AGAIN
            _log.warning("a lane cannot hand over", lane=lane, why=why)

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
            allowed = await self._commit(claims, done)
            for claim, fenced in fences:
                fenced.set_result(claim.delivery in allowed)
            for _, recorded in outcomes_:
                recorded.set_result(True)

    async def _commit(self, fences: list[Claim], done: list[Outcome]) -> set[int]:
        """Commit, however long it takes; the deliveries whose fence was set."""
        while True:
            try:
                return await self._in_thread(outbox.commit, fences, done, present())
            except _AWAY as error:
                _log.warning("the database is not to be had", error=_first_line(error))
                await asyncio.sleep(WAIT_FOR_DATABASE)
            except Exception as error:  # noqa: BLE001 - one of them must not stop the others
                if len(fences) + len(done) == 1:
                    return await self._give_up(done, error)
                allowed = set()
                for fence in fences:
                    allowed |= await self._commit([fence], [])
                for outcome in done:
                    await self._commit([], [outcome])
                return allowed

    async def _give_up(self, done: list[Outcome], error: Exception) -> set[int]:
        """What cannot be written: a fence is not set; what became of an attempt nobody knows."""
        _log.error("it cannot be recorded", error=_first_line(error), exc_info=error)
        if done:
            unknown = [outcomes.unknown(each.claim, _first_line(error), present()) for each in done]
            try:
                await self._in_thread(outbox.commit, [], unknown, present())
            except DatabaseError as again:
                _log.error("nor that it is not known", error=_first_line(again))
        return set()

    async def _in_thread(self, call: Callable[..., _T], *arguments: Any) -> _T:
        return await asyncio.get_running_loop().run_in_executor(
            self._thread, _with_connection, call, *arguments
        )


def _with_connection(call: Callable[..., _T], *arguments: Any) -> _T:
    connection.close_if_unusable_or_obsolete()
    return call(*arguments)


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0][:200]}"


class _Attempt:
    """A job while it is tried; ``fenced`` from when its content may leave."""

    __slots__ = ("fenced", "job")

    def __init__(self, job: _Job) -> None:
        self.job = job
        self.fenced = False


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
    with liveness.dead(but=lifeline.worker) as dead:
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
