"""Scheduling: from which lots a worker claims, and which claimed mail goes out next.

What overtakes goes first; mailings that run at once take turns; each goes out spread over its
providers; and no provider gets more at once, or faster, than its pace allows. All in memory, in
one event loop; times are microseconds since 1970.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Sequence
from typing import Final, Generic, Protocol, TypeVar

from goodstanding.mailings.outbox import OpenLot, PaceKey, Share
from goodstanding.mailings.pacing import Pace

QUANTUM: Final = 50
"""Mails that a lot gets at a time before it is the next one's turn."""

AHEAD: Final = 40
"""Mails claimed ahead for one pace at least, however slow it is."""

FAR_AHEAD: Final = 400
"""Mails claimed ahead for a pace that is fast: claiming a few at a time costs more than sending."""

FADES: Final = 250_000
"""Microseconds after which what went out counts for half as much."""

FEWEST_SLOTS_TO_SHARE: Final = 8
"""From so many slots on, one in ten is kept free for mail that somebody waits for."""

URGENT: Final = 1
"""Priorities up to this one may use every slot."""


class Claimed(Protocol):
    """A mail that waits for its turn."""

    @property
    def lot(self) -> OpenLot:
        """What it is part of."""


Job = TypeVar("Job", bound=Claimed)


class _Flow:
    """What is under way by one lane to one provider."""

    __slots__ = ("done", "pace", "queued", "under_way")

    def __init__(self, pace: Pace) -> None:
        self.pace = pace
        self.queued: dict[int, int] = {}  # by priority: what overtakes does not wait for room
        self.under_way = 0
        self.done = 0  # of late: so much may be claimed ahead


class Schedule(Generic[Job]):
    """What this worker has claimed and what it is sending.

    ``width``: for each lane how many mails may be under way at once. ``pace``: makes the pace of a
    lane to a provider when it is first met.
    """

    def __init__(self, width: dict[str, int], pace: Callable[[OpenLot], Pace]) -> None:
        self._width = width
        self._pace = pace
        self._lots: dict[int, OpenLot] = {}
        self._flows: dict[PaceKey, _Flow] = {}
        # By priority and lane: a lane that is full is passed over whole.
        self._queues: dict[tuple[int, str], OrderedDict[PaceKey, deque[Job]]] = {}
        self._under_way = dict.fromkeys(width, 0)
        self._served_lots: dict[int, int] = {}
        self._served_mailings: dict[int, int] = {}
        self.queued = 0
        self._faded_at = 0
        self._most = max(FAR_AHEAD, 8 * sum(width.values()))

    # Claiming

    def see(self, lots: Iterable[OpenLot]) -> None:
        """Take note of the lots in which something is due."""
        self._lots = {lot.id: lot for lot in lots}
        mailings = {lot.mailing for lot in self._lots.values()}
        # Who comes later begins level with who is furthest behind, not with all they ever missed.
        self._served_lots = _levelled(self._served_lots, self._lots)
        self._served_mailings = _levelled(self._served_mailings, mailings)

    @property
    def room(self) -> int:
        """How many more may be claimed; 0 while enough wait."""
        # What waits for the slowest takes nobody else's room.
        room = min(self._most, self._most + AHEAD * len(self._flows) - self.queued)
        return room if room >= self._most // 2 else 0

    def shares(self, now: int) -> list[Share]:
        """What to claim next: the most urgent first, mailings and their lots in turn."""
        self._fade(now)
        room = self.room
        most: dict[int, int] = {}
        for priority in sorted({lot.priority for lot in self._lots.values()}):
            open_ = [lot for lot in self._lots.values() if lot.priority == priority]
            space = {lot.pace: self._space(lot, now) for lot in open_}
            while room > 0 and (open_ := [lot for lot in open_ if space[lot.pace] > 0]):
                lot = min(open_, key=self._turn)
                many = min(room, space[lot.pace], QUANTUM)
                most[lot.id] = most.get(lot.id, 0) + many
                space[lot.pace] -= many
                room -= many
                self._serve(lot, many)
        return [Share(self._lots[lot], many) for lot, many in most.items()]

    def claimed(self, shares: Sequence[Share], jobs: Sequence[Job]) -> None:
        """Take in what a claim gave; lots that gave less than asked for are empty for now."""
        got = dict.fromkeys((share.lot.id for share in shares), 0)
        for job in jobs:
            got[job.lot.id] += 1
            flow = self._flow(job.lot)
            flow.queued[job.lot.priority] = flow.queued.get(job.lot.priority, 0) + 1
            queue = self._queues.setdefault((job.lot.priority, job.lot.lane), OrderedDict())
            queue.setdefault(job.lot.pace, deque()).append(job)
        self.queued += len(jobs)
        for share in shares:
            if got[share.lot.id] < share.most:
                self._serve(share.lot, got[share.lot.id] - share.most)
                self._lots.pop(share.lot.id, None)

    @property
    def is_dry(self) -> bool:
        """Whether there is no lot left to claim from."""
        return not self._lots

    def _turn(self, lot: OpenLot) -> tuple[int, int, int]:
        return self._served_mailings[lot.mailing], self._served_lots[lot.id], lot.id

    def _serve(self, lot: OpenLot, many: int) -> None:
        if lot.id in self._served_lots:
            self._served_lots[lot.id] += many
            self._served_mailings[lot.mailing] += many

    def _space(self, lot: OpenLot, now: int) -> int:
        """How many more mails may wait for the lot's pace."""
        flow = self._flow(lot)
        soon = now + 2_000_000
        next_at = flow.pace.next_at(now)
        if next_at is None or next_at > soon:
            return 0
        ahead = min(max(AHEAD, 2 * flow.done), FAR_AHEAD)
        if (rate := flow.pace.rate) is not None:
            ahead = min(ahead, int(rate / 30) + 1)
        waiting = flow.queued.get(lot.priority, 0)
        # A few more at a time cost as much as many.
        return ahead - waiting if waiting <= ahead // 2 else 0

    def _fade(self, now: int) -> None:
        """Let what was done a while ago count for less: what is claimed ahead goes in a second."""
        if now < self._faded_at + FADES:
            return
        halvings = (now - self._faded_at) // FADES
        self._faded_at = now
        for flow in self._flows.values():
            flow.done >>= min(halvings, 60)

    # Sending

    def next(self, now: int) -> Job | None:
        """The mail that may go out now, the most urgent first; it is under way then."""
        for priority, lane in sorted(self._queues):
            if self._is_full(lane, priority):
                continue
            queue = self._queues[priority, lane]
            for key, jobs in queue.items():
                flow = self._flows[key]
                if flow.under_way >= flow.pace.allowed_connections(now) or not flow.pace.take(now):
                    continue
                job = jobs.popleft()
                flow.queued[priority] -= 1
                flow.under_way += 1
                self._under_way[lane] += 1
                self.queued -= 1
                if jobs:
                    queue.move_to_end(key)
                else:
                    del queue[key]
                return job
        return None

    def done(self, job: Job) -> None:
        """It is no longer under way."""
        flow = self._flow(job.lot)
        flow.under_way -= 1
        flow.done += 1
        self._under_way[job.lot.lane] -= 1

    def next_at(self, now: int) -> int | None:
        """When one that waits for nothing but its time may go; None: none does."""
        moments = [
            at
            for (priority, lane), queue in self._queues.items()
            if not self._is_full(lane, priority)
            for key in queue
            if (at := self._flows[key].pace.next_at(now)) is not None and at > now
        ]
        return min(moments, default=None)

    def drop(self, which: Callable[[Job], bool] = lambda _: True) -> list[Job]:
        """Take out what waits, to be given back."""
        dropped: list[Job] = []
        for (priority, _), queue in self._queues.items():
            for key, jobs in list(queue.items()):
                gone = [job for job in jobs if which(job)]
                if not gone:
                    continue
                dropped.extend(gone)
                self._flows[key].queued[priority] -= len(gone)
                queue[key] = deque(job for job in jobs if not which(job))
                if not queue[key]:
                    del queue[key]
        self.queued -= len(dropped)
        return dropped

    def waiting(self) -> list[Job]:
        """What was claimed and is not under way."""
        return [job for q in self._queues.values() for jobs in q.values() for job in jobs]

    def pace_of(self, lot: OpenLot) -> Pace:
        """How fast the lot's lane goes to its provider."""
        return self._flow(lot).pace

    def _is_full(self, lane: str, priority: int) -> bool:
        """Whether no more of that priority may be under way by the lane."""
        slots = self._width[lane]
        if priority > URGENT and slots >= FEWEST_SLOTS_TO_SHARE:
            slots -= max(1, slots // 10)
        return self._under_way[lane] >= slots

    def _flow(self, lot: OpenLot) -> _Flow:
        key = lot.pace
        flow = self._flows.get(key)
        if flow is None:
            flow = self._flows[key] = _Flow(self._pace(lot))
        return flow


def _levelled(served: dict[int, int], now: Iterable[int]) -> dict[int, int]:
    start = min(served.values(), default=0)
    return {each: served.get(each, start) for each in now}
