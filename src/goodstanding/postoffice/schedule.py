"""What is still going to happen: acts that wait for their time, or are being done."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

log = logging.getLogger(__name__)


class Schedule:
    """Runs acts at their time, and knows how many are not finished."""

    def __init__(self) -> None:
        self.pending = 0
        self._is_closed = False
        self._tasks: set[asyncio.Task[None]] = set()

    def after(self, seconds: float, act: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Do ``act`` once, so many seconds from now."""
        self.pending += 1
        asyncio.get_running_loop().call_later(seconds, self._start, act)

    def close(self) -> None:
        """Stop what is being done, and begin nothing more."""
        self._is_closed = True
        for task in self._tasks:
            task.cancel()

    def _start(self, act: Callable[[], Coroutine[Any, Any, None]]) -> None:
        if self._is_closed:
            return
        task = asyncio.get_running_loop().create_task(act())
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self.pending -= 1
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("an act went wrong", exc_info=error)
