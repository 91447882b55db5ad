"""Watching a mailing on its way: a bar with rate and time left, each provider, what comes back."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final

import msgspec

from goodstanding.cli import parameters
from goodstanding.cli.output import complain, plain, print_table, print_text

if TYPE_CHECKING:
    from rich.console import RenderableType

    from goodstanding.answers.progress import Progress, Towards

LOOK_AGAIN: Final = 0.25
"""Seconds between looks."""

LOOK_CLOSER: Final = 1.0
"""Seconds between looks at the providers."""

AT_MOST: Final = 0.05
"""The part of the time that may go into counting what is left for each."""

TELL_AGAIN: Final = 5.0
"""Seconds between two lines where there is no terminal."""

MOST_PROVIDERS: Final = 8
"""Providers that are shown, those with the most left."""

_BACK: Final = (
    ("delivered", ("delivered", "machine_opened", "machine_clicked")),
    ("opened", ("opened", "clicked", "replied")),
    ("unsubscribed", ("unsubscribed",)),
    ("complained", ("complained",)),
    ("bounced", ("hard_bounced", "soft_bounced", "block_bounced")),
    ("on hold", ("deferred",)),
)
"""What comes back, as a person wants to see it: a word, and the responses it stands for."""


class Seen(msgspec.Struct, frozen=True):
    """A mailing at one moment; ``troubles``: why some wait although they were tried."""

    progress: Progress
    towards: tuple[Towards, ...] = ()
    troubles: dict[str, int] = {}


class Eye:
    """Looks at a mailing: at how fast each provider goes once a second, and at what must be
    counted no more often than that costs little."""

    def __init__(self, mailing: int) -> None:
        self._mailing = mailing
        self._closer_at = self._count_at = 0.0
        self._left: dict[int, int] = {}
        self._towards: tuple[Towards, ...] = ()
        self._troubles: dict[str, int] = {}

    def look(self) -> Seen:
        """How far it is now."""
        from goodstanding.answers import progress

        now = progress.of(self._mailing, parameters.present())
        if time.monotonic() >= self._closer_at or now.rests:
            self._closer_at = time.monotonic() + LOOK_CLOSER
            self._look_closer(now)
        return Seen(now, self._towards, self._troubles)

    def _look_closer(self, now: Progress) -> None:
        from goodstanding.answers import progress

        begun = time.monotonic()
        if begun >= self._count_at or now.rests:
            self._left = progress.left_in_lots(self._mailing) if now.left else {}
            self._troubles = progress.troubles(self._mailing) if now.left else {}
            self._count_at = begun + (time.monotonic() - begun) / AT_MOST
        self._towards = tuple(progress.towards(self._mailing, self._left)) if now.left else ()


class Watch:
    """Shows a mailing's progress on standard error: on a terminal, or (``aloud``) line by line."""

    def __init__(self, *, aloud: bool = False) -> None:
        self._aloud = aloud
        self._live: Any = None
        self._bar: Any = None
        self._task: Any = None
        self._told: tuple[float, int] | None = None

    def __enter__(self) -> Watch:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.live import Live

            self._live = Live(console=Console(file=sys.stderr), refresh_per_second=8)
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

    def show(self, seen: Seen) -> None:
        """Show how far it is now."""
        if self._live is not None:
            self._live.update(self._drawn(seen))
        elif self._aloud:
            self._tell(seen.progress)

    def _drawn(self, seen: Seen) -> RenderableType:
        from rich.console import Group
        from rich.text import Text

        now = seen.progress
        to_send = now.scheduled - sum(now.skipped.values())
        if self._bar is None:
            self._bar = _bar()
            self._task = self._bar.add_task("", total=to_send)
        self._bar.update(
            self._task,
            total=to_send,
            completed=max(0, to_send - now.left),
            description=f"{plain(now.name)}: {standing(now)}",
        )
        lines = [_skipped(now), coming_back(now), *_troubles(seen.troubles)]
        said = Text("\n".join(plain(line) for line in lines if line), style="dim")
        providers = [_providers(seen.towards)] if seen.towards else []
        return Group(self._bar, *providers, said)

    def _tell(self, now: Progress) -> None:
        """A line now and then."""
        at = time.monotonic()
        if self._told is not None and at < self._told[0] + TELL_AGAIN and not now.rests:
            return
        rate = (self._told[1] - now.left) / (at - self._told[0]) if self._told is not None else 0.0
        self._told = at, now.left
        complain(in_a_line(now, rate))


def _bar() -> Any:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn
    from rich.progress import TimeRemainingColumn as Remaining
    from rich.text import Text

    class Rate(ProgressColumn):
        """Mails a second, of late."""

        def render(self, task: Any) -> Text:
            speed = task.finished_speed or task.speed
            return Text(f"{speed:,.0f} mails/s" if speed else "", style="cyan")

    return Progress(
        TextColumn("{task.description}", style="bold", markup=False),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        Rate(),
        Remaining(compact=True),
    )


def _providers(towards: tuple[Towards, ...]) -> RenderableType:
    from rich.table import Table
    from rich.text import Text

    from goodstanding.answers import throttles

    now = parameters.present()
    table = Table.grid(padding=(0, 2))
    table.add_column()
    table.add_column(justify="right")
    table.add_column(overflow="ellipsis", no_wrap=True)
    for each in towards[:MOST_PROVIDERS]:
        phrase = throttles.in_a_phrase(each, now)
        slow = each.held_since is not None or each.level < 1.0 or each.not_before > now
        style = "red" if each.held_since is not None else "yellow" if slow else ""
        table.add_row(
            Text(f"  {plain(_whom(each, towards))}"),
            Text(f"{each.left:,} left"),
            Text(plain(phrase), style=style),
        )
    if more := towards[MOST_PROVIDERS:]:
        table.add_row(Text(f"  {len(more)} more"), Text(f"{sum(e.left for e in more):,} left"))
    return table


def _whom(each: Towards, among: tuple[Towards, ...]) -> str:
    """The provider, with the lane where there are several."""
    several = len({other.lane for other in among}) > 1
    return f"{each.provider} by {each.lane}" if several else each.provider


def standing(now: Progress) -> str:
    """Where it is, in a word or two."""
    from goodstanding.core.times import in_words

    if now.state == "scheduled" and now.starts_at is not None:
        return f"starts {in_words(now.starts_at)}"
    return now.state


def in_a_line(now: Progress, rate: float) -> str:
    """How far it is, in one line; ``rate``: mails a second of late."""
    to_send = now.scheduled - sum(now.skipped.values())
    done = max(0, to_send - now.left)
    said = f"{now.name}: {standing(now)}, {done:,} of {to_send:,}"
    if to_send:
        said += f" ({100 * done // to_send} %)"
    if rate > 0 and now.left:
        said += f", {rate:,.0f} mails/s, {_span(now.left / rate)} left"
    if now.held:
        said += f", held at {', '.join(sorted({each.provider for each in now.held}))}"
    back = coming_back(now)
    return f"{said} · {back}" if back else said


def _span(seconds: float) -> str:
    """A length of time in hours, minutes and seconds: ``1:02:03``."""
    minutes, left = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{left:02d}" if hours else f"{minutes}:{left:02d}"


def coming_back(progress: Progress) -> str:
    """What has come back, in a line."""
    said = []
    for word, responses in _BACK:
        count = sum(progress.responses.get(response, 0) for response in responses)
        if count:
            said.append(f"{count:,} {word}")
    return " · ".join(said)


def _skipped(progress: Progress) -> str:
    if not progress.skipped:
        return ""
    reasons = (f"{reason.replace('_', ' ')} {n:,}" for reason, n in progress.skipped.items())
    return f"{sum(progress.skipped.values()):,} skipped: {', '.join(reasons)}"


def _troubles(troubles: dict[str, int]) -> list[str]:
    return [f"{count:,} wait for another try: {why}" for why, count in troubles.items()]


def until(done: Callable[[Progress], bool], mailing: int, *, aloud: bool = False) -> Progress:
    """Watch the mailing until that holds; ``aloud``: also where there is no terminal."""
    eye = Eye(mailing)
    with Watch(aloud=aloud) as watch:
        while True:
            seen = eye.look()
            watch.show(seen)
            if done(seen.progress):
                return seen.progress
            time.sleep(LOOK_AGAIN)


def print_progress(now: Progress) -> None:
    """The send progress, the skipped by reason, each provider's part, and what became of all."""
    print_table(
        ("Scheduled", "Skipped", "Sent", "Left to send"),
        [(now.scheduled, sum(now.skipped.values()), now.sent, now.left)],
        title=f"Send progress: {now.name}",
    )
    if now.skipped:
        print_table(
            ("Skipped because", "Recipients"),
            [(reason.replace("_", " "), count) for reason, count in now.skipped.items()],
        )
    print_left(now)
    if now.responses:
        print_table(
            ("What became of it", "Recipients"),
            [(name.replace("_", " "), count) for name, count in now.responses.items()],
        )


def print_left(now: Progress) -> None:
    """What has still to leave, to whom, and how it goes there."""
    from goodstanding.answers import progress, throttles

    if not now.left:
        return
    at = parameters.present()
    towards = tuple(progress.towards(now.mailing))
    print_table(
        ("Still to leave, to", "Recipients", "How it goes"),
        [(_whom(each, towards), each.left, throttles.in_a_phrase(each, at)) for each in towards],
    )
    for line in _troubles(progress.troubles(now.mailing)):
        print_text(line, style="yellow")


def stands_still(now: Progress) -> str | None:
    """Why no more of it leaves although not all has, and what to do; None: that is not so."""
    name, what = now.name, shlex.quote(now.name)
    if now.state == "paused":
        go_on = f'goodstanding resume {what} --reason "…" lets it go on.'
        return f"{name} is paused{_since(now)}. {go_on}"
    if now.state == "stopped":
        return f"{name} was stopped{_since(now)}."
    if now.state == "expired":
        expired = now.responses.get("stopped_expired", 0) + now.left
        return f"{name} has expired: {expired:,} were not sent."
    if now.state == "held":
        first, *more = now.held
        places = sorted({each.provider for each in more} - {first.provider})
        too = f", and at {', '.join(places)}" if places else ""
        return (
            f"The brake holds the {now.left:,} that {name} has left, at {first.provider}"
            f" ({first.why}){too}."
            f' goodstanding release {what} --reason "…" lets them go.'
        )
    return None


def _since(now: Progress) -> str:
    """``, since when and by whom, and why``."""
    from goodstanding.core.times import in_words
    from goodstanding.mailings.checking import NOBODY

    when = f" since {in_words(now.since)}" if now.since is not None else ""
    who = f" by {now.by}" if now.by and now.by != NOBODY else ""
    return f"{when}{who}: {(now.why or '').rstrip('.')}"
