"""The sender: an event loop that hands over what one thread claims, fences and records."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeVar

import structlog
from django.conf import settings
from django.db import (
    DatabaseError,
    InterfaceError,
    InternalError,
    OperationalError,
    connection,
    transaction,
)

from goodstanding.gateways.base import Gateway, Mail
from goodstanding.gateways.smtp import SmtpGateway
from goodstanding.ledger.policy import active_policy
from goodstanding.mailings import brakes, contents, lanes, liveness, outbox, outcomes, paces
from goodstanding.mailings.brakes import Brakes
from goodstanding.mailings.compose import Compiled
from goodstanding.mailings.outbox import Claim, OpenLot, Outcome, Share
from goodstanding.mailings.paces import Paces
from goodstanding.mailings.scheduling import Schedule

LOOK_AGAIN: Final = 0.25
"""Seconds between looks at an empty outbox."""

HURRY: Final = 0.2
"""Seconds by which that is sooner where everything that was seen has been claimed."""

TEND_AGAIN: Final = 1.0
"""Seconds between looks for workers that died, for what is held, and at how fast others go."""

CATCH_BREATH: Final = 0.005
"""Seconds between two claims."""

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
        self._contents: OrderedDict[int, Compiled] = OrderedDict()
        self._fences: list[tuple[Claim, asyncio.Future[bool]]] = []
        # What is to be written, and what is being written now.
        self._outcomes: list[Outcome] = []
        self._writing: list[Outcome] = []
        self._written = asyncio.Event()
        self._written.set()
        self._to_commit = asyncio.Event()
        self._lanes = lanes.every()
        # All of them at once: a certificate that cannot be read is found at the start.
        self._gateways: dict[str, Gateway] = {n: SmtpGateway(la) for n, la in self._lanes.items()}
        self._paces = Paces(self._lanes)
        self._schedule: Schedule[_Job] = Schedule(
            {name: lane.width for name, lane in self._lanes.items()}, self._paces.begin
        )
        self._brakes = Brakes(settings.OPTIONS.brake)
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
        lifeline = await self._enrolled()
        if lifeline is None:
            return
        committing = asyncio.create_task(self._commit_forever())
        try:
            await self._claim_forever(lifeline)
        finally:
            left = self._dropped + self._schedule.drop()
            await self._at_the_end(outbox.release, [job.claim for job in left])
            await asyncio.gather(*self._under_way)
            await self._written.wait()
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
        look_at = 0.0
        while not self._stopping.is_set():
            pause = LOOK_AGAIN
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
                    jobs = await self._in_thread(self._claim, lifeline, shares)
                    self._schedule.claimed(shares, jobs)
                    self._dispatch()
                    pause = CATCH_BREATH if jobs else LOOK_AGAIN
            except DatabaseError as error:
                _log.warning("the database is not to be had", error=_first_line(error))
                self._astray = True
                await _rest(self._stopping, WAIT_FOR_DATABASE)
                continue
            except Exception:  # noqa: BLE001 - what one mailing has must not stop all for ever
                _log.exception("claiming failed")
                self._astray = True
                await _rest(self._stopping, WAIT_AFTER_ERROR)
                continue
            await _rest(self._wanted, pause)

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
        if self._astray:
            # A claim may have been committed although nobody could say so any more.
            jobs = [*self._schedule.waiting(), *self._dropped, *self._under_way.values()]
            mine = {job.claim.delivery for job in jobs}
            mine.update(done.claim.delivery for done in (*self._outcomes, *self._writing))
            await self._in_thread(outbox.give_back, lifeline.worker, mine)
            self._astray = False
        self._dispatch()

    def _claim(self, lifeline: liveness.Lifeline, shares: list[Share]) -> list[_Job]:
        lifeline.hold()
        claims = outbox.claim(lifeline.worker, shares, present())
        try:
            return self._prepared(claims)
        except BaseException:
            outbox.release(claims)
            raise

    def _prepared(self, claims: list[Claim]) -> list[_Job]:
        fields = contents.merge_fields(claims)
        jobs = []
        withheld: list[Claim] = []
        for claim in claims:
            compiled = self._compiled(claim.mailing)
            if compiled is None:
                withheld.append(claim)
                continue
            jobs.append(_Job(claim, compiled, fields[claim.delivery]))
        if withheld:
            outbox.release(withheld, until=present() + WITHHELD_FOR)
        return jobs

    def _compiled(self, mailing: int) -> Compiled | None:
        """A mailing's content; None where by what is set now it must not go out."""
        found = self._contents.get(mailing)
        if found is None:
            try:
                _, found = contents.compiled(mailing)
            except contents.RefusedMailing as error:
                _log.error("a mailing is withheld", mailing=mailing, problems=error.problems)
                return None
            self._contents[mailing] = found
            if len(self._contents) > MOST_CONTENTS:
                self._contents.popitem(last=False)
        self._contents.move_to_end(mailing)
        return found

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
        # Whoever takes this one's place is not let past the fence before this is on disk: both are
        # committed together, so that no more are ever being handed over than there are places.
        self._outcomes.append(outcome)
        self._written.clear()
        self._to_commit.set()
        self._schedule.done(job)
        self._dispatch()

    async def _attempt(self, attempt: _Attempt) -> Outcome:
        job = attempt.job
        claim = job.claim
        lane = self._lanes[job.lot.lane]
        stamp = contents.Stamp(
            claim.delivery, claim.first_attempt_at, claim.mailing, lane.bounce_domain
        )
        try:
            message = job.compiled.render(job.fields, claim.address.value, stamp)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is this recipient's alone
            return outcomes.unfit(claim, f"{type(error).__name__}: {error}", present())
        gateway = self._gateways[job.lot.lane]

        async def fence() -> bool:
            attempt.fenced = await self._fenced(claim)
            return attempt.fenced

        pace = self._schedule.pace_of(job.lot)
        most = pace.limits.mails_per_connection
        mail = Mail(stamp.return_path, claim.address.value, message, most)
        handover = await gateway.send(mail, fence)
        if handover.outcome == "unsent":
            self._complain(job.lot.lane, handover.error or handover.text)
        now = present()
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

    async def _fenced(self, claim: Claim) -> bool:
        """Wait until the next group is on disk; whether the fence was set."""
        done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._fences.append((claim, done))
        self._to_commit.set()
        return await done

    async def _commit_forever(self) -> None:
        """Commit fences and outcomes in groups: whatever came up while the last one was written.

        Without a database everybody waits here: what was said is neither lost nor said again.
        """
        while True:
            await self._to_commit.wait()
            self._to_commit.clear()
            fences = self._next_fences()
            self._writing, self._outcomes = self._outcomes, []
            allowed = await self._commit([claim for claim, _ in fences], self._writing)
            self._writing = []
            if not self._outcomes:
                self._written.set()
            for claim, fenced in fences:
                fenced.set_result(claim.delivery in allowed)

    def _next_fences(self) -> list[tuple[Claim, asyncio.Future[bool]]]:
        """What to commit next, every delivery once.

        Who was taken over from, and has claimed a delivery anew, may ask for both its claims.
        """
        first: dict[int, tuple[Claim, asyncio.Future[bool]]] = {}
        for each in self._fences:
            first.setdefault(each[0].delivery, each)
        again = [each for each in self._fences if first[each[0].delivery] is not each]
        self._fences = again
        if again:
            self._to_commit.set()
        return list(first.values())

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

    __slots__ = ("claim", "compiled", "fields")

    def __init__(self, claim: Claim, compiled: Compiled, fields: Mapping[str, str]) -> None:
        self.claim = claim
        self.compiled = compiled
        self.fields = fields

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
