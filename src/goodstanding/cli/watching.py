"""Watching a mailing on its way: a bar with rate and time left, and what is coming back."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final

from goodstanding.cli.output import print_table, print_text

if TYPE_CHECKING:
    from goodstanding.answers.progress import Progress

LOOK_AGAIN: Final = 0.25
"""Seconds between looks."""

_BACK: Final = (
    ("delivered", ("delivered", "machine_opened", "machine_clicked")),
    ("opened", ("opened", "clicked", "replied")),
    ("unsubscribed", ("unsubscribed",)),
    ("complained", ("complained",)),
    ("bounced", ("hard_bounced", "soft_bounced", "block_bounced")),
    ("on hold", ("deferred",)),
)
"""What comes back, as a person wants to see it: a word, and the responses it stands for."""


class Watch:
    """Shows a mailing's progress on standard error, on a terminal only."""

    def __init__(self) -> None:
        self._live: Any = None
        self._task: Any = None

    def __enter__(self) -> Watch:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
            from rich.progress import TimeRemainingColumn as Remaining

            self._live = Progress(
                TextColumn("[bold]{task.description}"),
                BarColumn(bar_width=30),
                MofNCompleteColumn(),
                Remaining(),
                TextColumn("{task.fields[back]}"),
                console=Console(file=sys.stderr),
                refresh_per_second=8,
            )
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self, progress: Progress) -> None:
        """Show how far it is now."""
        if self._live is None:
            return
        to_send = progress.scheduled - sum(progress.skipped.values())
        if self._task is None:
            self._task = self._live.add_task(progress.name, total=to_send, back="")
        self._live.update(
            self._task,
            total=to_send,
            completed=to_send - progress.left,
            description=(
                f"{progress.name}: {progress.scheduled:,} scheduled,"
                f" {sum(progress.skipped.values()):,} skipped"
            ),
            back=coming_back(progress),
        )


def coming_back(progress: Progress) -> str:
    """What has come back, in a line."""
    said = []
    for word, responses in _BACK:
        count = sum(progress.responses.get(response, 0) for response in responses)
        if count:
            said.append(f"{count:,} {word}")
    waiting = sum(progress.troubles.values())
    if waiting:
        said.append(f"{waiting:,} wait: {next(iter(progress.troubles))}")
    return " · ".join(said)


def until(done: Callable[[Progress], bool], mailing: int) -> Progress:
    """Watch the mailing until that holds."""
    from goodstanding.answers import progress

    with Watch() as watch:
        while True:
            now = progress.of(mailing)
            watch.show(now)
            if done(now):
                return now
            time.sleep(LOOK_AGAIN)


def print_progress(progress: Progress) -> None:
    """The send progress, the skipped by reason, and what became of the others."""
    print_table(
        ("Scheduled", "Skipped", "Sent", "Left to send"),
        [(progress.scheduled, sum(progress.skipped.values()), progress.sent, progress.left)],
        title=f"Send progress: {progress.name}",
    )
    if progress.skipped:
        print_table(
            ("Skipped because", "Recipients"),
            [(reason.replace("_", " "), count) for reason, count in progress.skipped.items()],
        )
    for trouble, count in progress.troubles.items():
        print_text(f"{count:,} wait for another try: {trouble}", style="yellow")
    if progress.responses:
        print_table(
            ("What became of it", "Recipients"),
            [(name.replace("_", " "), count) for name, count in progress.responses.items()],
        )
