"""The sender: an event loop that has handed over what threads claim, fence and record."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any, Final, TypeVar

import structlog
from django.conf import settings
from django.db import (
    DatabaseError,
    transaction,
)

from goodstanding.ledger.clock import present
from goodstanding.ledger.policy import active_policy
from goodstanding.mailings import brakes, contents, lanes, liveness, outbox, outcomes, paces
from goodstanding.mailings.brakes import Brakes
from goodstanding.mailings.committing import WAIT_FOR_DATABASE, Committer, first_line, in_thread
from goodstanding.mailings.handing.hander import (
    MOST_RECIPES,
    Hander,
    Hands,
    Job,
    Prepared,
    Unfit,
)
from goodstanding.mailings.mail.compose import Recipe
from goodstanding.mailings.outbox import Claim, OpenLot, Outcome, PaceKey, Share
from goodstanding.mailings.paces import Paces
from goodstanding.mailings.scheduling import Schedule

LOOK_AGAIN: Final = 0.25
"""Seconds between looks at an empty outbox."""

HURRY: Final = 0.2
"""Seconds by which that is sooner where everything that was seen has been claimed."""

TEND_AGAIN: Final = 1.0
"""Seconds between looks for workers that died, for what is held, and at how fast others go."""

CATCH_BREATH: Final = 0.02
"""Seconds between two claims at least: so much is always claimed ahead."""

PROMPT: Final = 0.1
"""Seconds that a mail takes where the next one's fence is set while its envelope is said."""

WAIT_AFTER_ERROR: Final = 5.0
"""Seconds until what failed in a way that nobody foresaw is tried again."""

WITHHELD_FOR: Final = 60_000_000
"""Microseconds until a mailing that must not go out as things are set is looked at again."""

COMPLAIN_AGAIN: Final = 30.0
"""Seconds between complaints of one lane in the log."""

_log = structlog.get_logger(__name__)
_T = TypeVar("_T")


class Sender:
    """Sends what is due until told to stop. What touches the database runs in threads."""

    def __init__(
        self,
        thread: ThreadPoolExecutor,
        hands: Hands | None = None,
        writing: ThreadPoolExecutor | None = None,
        recording: ThreadPoolExecutor | None = None,
    ) -> None:
        """``thread`` claims; ``writing`` commits fences, and ``recording`` records what became of
        mails, where those are others.

        ``hands``: who makes messages and hands them over; this process itself if left out.
        """
        self._thread = thread
        self._hands = hands or Hander()
        self._stopping = asyncio.Event()
        self._recipes = lru_cache(MOST_RECIPES)(contents.recipe)
        self._committer = Committer(writing or thread, recording or thread)
        self._lanes = lanes.every()
        self._paces = Paces(self._lanes)
        self._schedule: Schedule[_Job] = Schedule(
            {name: lane.width for name, lane in self._lanes.items()}, self._paces.begin
        )
        self._brakes = Brakes(settings.OPTIONS.brake)
        self._prompt: dict[PaceKey, bool] = {}  # whether its last mail was taken at once
        self._dropped: list[_Job] = []
        self._tend_at = 0.0
        self._under_way: dict[asyncio.Task[None], _Job] = {}
        self._astray = False
        self._wake: asyncio.TimerHandle | None = None
        self._wanted = asyncio.Event()
        self._complain_at: dict[str, float] = {}
        self._policy = active_policy()

    def stop(self) -> None:
        """Finish what is in flight, give back the rest, and return from ``run``."""
        self._stopping.set()
        self._wanted.set()

    async def run(self) -> None:
        """Send until ``stop``."""
        try:
            if (lifeline := await self._enrolled()) is not None:
                await self._work(lifeline)
        finally:
            await self._hands.close()

    async def _work(self, lifeline: liveness.Lifeline) -> None:
        committing = asyncio.create_task(self._committer.run())
        try:
            await self._claim_forever(lifeline)
        finally:
            left = self._dropped + self._schedule.drop()
            await self._at_the_end(outbox.release, [job.claim for job in left])
            await asyncio.gather(*self._under_way)
            await self._committer.written()
            committing.cancel()
            await asyncio.gather(committing, return_exceptions=True)
            await self._at_the_end(lifeline.let_go)

    async def _enrolled(self) -> liveness.Lifeline | None:
        """This worker's lifeline, when there is a database; None where it is told to stop first."""
        while not self._stopping.is_set():
            try:
                return await self._in_thread(liveness.Lifeline, present())
            except DatabaseError as error:
                _log.warning("the database is not to be had", error=first_line(error))
                await _rest(self._stopping, WAIT_FOR_DATABASE)
        return None

    async def _at_the_end(self, call: Callable[..., Any], *arguments: Any) -> None:
        """Tidy up, if there is a database: if not, whoever takes over does it."""
        try:
            await self._in_thread(call, *arguments)
        except DatabaseError as error:
            _log.warning("left to whoever takes over", error=first_line(error))

    async def _claim_forever(self, lifeline: liveness.Lifeline) -> None:
        look_at = 0.0
        while not self._stopping.is_set():
            idle = True
            self._wanted.clear()
            try:
                now = time.monotonic()
                if now >= self._tend_at:
                    self._tend_at = now + TEND_AGAIN
                    await self._tend(lifeline)
                if now >= look_at or (self._schedule.is_dry and now >= look_at - HURRY):
                    self._see(await self._in_thread(outbox.open_lots, present()))
                    look_at = now + LOOK_AGAIN
                if shares := self._schedule.shares(present()):
                    jobs = self._prepared(await self._in_thread(self._claim, lifeline, shares))
                    self._schedule.claimed(shares, jobs)
                    self._dispatch()
                    idle = not jobs
            except DatabaseError as error:
                _log.warning("the database is not to be had", error=first_line(error))
                self._astray = True
                await _rest(self._stopping, WAIT_FOR_DATABASE)
                continue
            except Exception:  # noqa: BLE001 - what one mailing has must not stop all for ever
                _log.exception("claiming failed")
                self._astray = True
                await _rest(self._stopping, WAIT_AFTER_ERROR)
                continue
            await asyncio.sleep(CATCH_BREATH)
            if idle:
                await _rest(self._wanted, LOOK_AGAIN)

    def _see(self, lots: list[OpenLot]) -> None:
        for lane in {lot.lane for lot in lots} - self._lanes.keys():
            self._complain(lane, "there is no such lane: what was to go by it waits")
        self._schedule.see(lot for lot in lots if lot.lane in self._lanes)

    async def _tend(self, lifeline: liveness.Lifeline) -> None:
        """Look after what workers share: who died, how fast each goes, what is held."""
        await self._in_thread(_take_over, lifeline)
        known, workers = await self._in_thread(paces.exchange, self._paces.learnt())
        self._paces.adopt(known, workers, lifeline.worker)
        if found := await self._in_thread(self._brakes.found, present()):
            await self._in_thread(brakes.hold, found, present())
            _log.warning("the brake holds", lots=found)
        stayed = await self._in_thread(outbox.stayed, present())
        self._dropped += self._schedule.drop(lambda job: job.lot.id in stayed)
        if dropped := self._dropped[:]:
            await self._in_thread(outbox.release, [job.claim for job in dropped])
            del self._dropped[: len(dropped)]
            for job in dropped:
                job.prepared.drop()
        if self._astray:
            # A claim may have been committed although nobody could say so any more.
            jobs = [*self._schedule.waiting(), *self._dropped, *self._under_way.values()]
            mine = {job.claim.delivery for job in jobs}
            mine.update(done.claim.delivery for done in self._committer.unwritten())
            await self._in_thread(outbox.give_back, lifeline.worker, mine)
            self._astray = False
        self._dispatch()

    def _claim(
        self, lifeline: liveness.Lifeline, shares: list[Share]
    ) -> list[tuple[Claim, Job, Recipe]]:
        """What was claimed, and what each message is made of."""
        lifeline.hold()
        claims = outbox.claim(lifeline.worker, shares, present())
        try:
            return self._completed(claims)
        except BaseException:
            outbox.release(claims)
            raise

    def _completed(self, claims: list[Claim]) -> list[tuple[Claim, Job, Recipe]]:
        fields = contents.merge_fields(claims)
        found = []
        withheld: list[Claim] = []
        for claim in claims:
            recipe = self._recipe(claim.mailing)
            if recipe is None:
                withheld.append(claim)
                continue
            job = Job(
                delivery=claim.delivery,
                mailing=claim.mailing,
                lane=claim.lot.lane,
                recipient=claim.address.value,
                began_at=claim.first_attempt_at,
                fields=fields[claim.delivery],
            )
            found.append((claim, job, recipe))
        if withheld:
            outbox.release(withheld, until=present() + WITHHELD_FOR)
        return found

    def _prepared(self, claimed: list[tuple[Claim, Job, Recipe]]) -> list[_Job]:
        return [_Job(claim, self._hands.prepare(job, recipe)) for claim, job, recipe in claimed]

    def _recipe(self, mailing: int) -> Recipe | None:
        """What a mailing's messages are made of; None where by what is set now none may go out."""
        try:
            return self._recipes(mailing)
        except contents.RefusedMailing as error:
            _log.error("a mailing is withheld", mailing=mailing, problems=error.problems)
            return None

    def _dispatch(self) -> None:
        """Begin with every mail that may go now; come back when the next one may."""
        now = present()
        while not self._stopping.is_set() and (job := self._schedule.next(now)) is not None:
            task = asyncio.get_running_loop().create_task(self._send(job))
            self._under_way[task] = job
            task.add_done_callback(self._under_way.pop)
        if self._wake is not None:
            self._wake.cancel()
            self._wake = None
        if (at := self._schedule.next_at(now)) is not None:
            loop = asyncio.get_running_loop()
            self._wake = loop.call_later((at - now) / 1e6, self._dispatch)
        if self._schedule.room:
            self._wanted.set()

    async def _send(self, job: _Job) -> None:
        attempt = _Attempt(job)
        try:
            outcome = await self._attempt(attempt)
        except Exception as error:  # noqa: BLE001 - one attempt must not stop the others
            _log.exception("an attempt broke", delivery=job.claim.delivery)
            why = f"{type(error).__name__}: {error}"
            outcome = outcomes.broken(
                job.claim, why, self._policy, present(), fenced=attempt.fenced
            )
        self._committer.record(outcome)
        self._schedule.done(job)
        self._dispatch()

    async def _attempt(self, attempt: _Attempt) -> Outcome:
        job = attempt.job
        claim = job.claim
        pace = self._schedule.pace_of(job.lot)
        began_at = time.monotonic()
        ahead = self._committer.fence(claim) if self._prompt.get(job.lot.pace) else None

        async def fence() -> bool:
            attempt.fenced = await (ahead or self._committer.fence(claim))
            return attempt.fenced

        most = pace.limits.mails_per_connection
        try:
            handover = await job.prepared.hand_over(fence, most, ahead=ahead is not None)
        except Unfit as error:
            return outcomes.unfit(claim, str(error), present())
        finally:
            if ahead is not None:
                await ahead  # what became of it is never noted before its fence
        took = time.monotonic() - began_at
        self._prompt[job.lot.pace] = handover.outcome != "unsent" and took < PROMPT
        if handover.outcome == "unsent":
            self._complain(job.lot.lane, handover.error or handover.text)
        now = present()
        lane = self._lanes[job.lot.lane]
        outcome = outcomes.judge(claim, handover, self._policy, now, lane)
        self._paces.heard(pace, handover, outcome, now)
        if self._brakes.heard(job.lot, outcome):
            # Nothing more of it leaves; the row that says so is written at the next turn.
            self._dropped += self._schedule.drop(lambda other: other.lot.id == job.lot.id)
            self._tend_at = 0.0
            self._wanted.set()
        return outcome

    def _complain(self, lane: str, why: str) -> None:
        """Say in the log that a lane cannot hand over, once in a while."""
        now = time.monotonic()
        if now >= self._complain_at.get(lane, 0.0):
            self._complain_at[lane] = now + COMPLAIN_AGAIN
            _log.warning("a lane cannot hand over", lane=lane, why=why)

    async def _in_thread(self, call: Callable[..., _T], *arguments: Any) -> _T:
        return await in_thread(self._thread, call, *arguments)


class _Attempt:
    """A job while it is tried; ``fenced`` from when its content may leave."""

    __slots__ = ("fenced", "job")

    def __init__(self, job: _Job) -> None:
        self.job = job
        self.fenced = False


class _Job:
    """A claim, and its message."""

    __slots__ = ("claim", "prepared")

    def __init__(self, claim: Claim, prepared: Prepared) -> None:
        self.claim = claim
        self.prepared = prepared

    @property
    def lot(self) -> OpenLot:
        """What it is part of."""
        return self.claim.lot


def _take_over(lifeline: liveness.Lifeline) -> None:
    lifeline.hold()
    with liveness.dead(lifeline.worker, lifeline.silent_before()) as dead:
        if not dead:
            return
        with transaction.atomic():
            buried = liveness.bury(dead)
            ready, lost = outbox.recover(buried, present())
    if buried:
        _log.warning("took over from dead workers", workers=len(buried), ready=ready, lost=lost)


async def _rest(stopping: asyncio.Event, seconds: float) -> None:
    try:
        await asyncio.wait_for(stopping.wait(), seconds)
    except TimeoutError:
        return
