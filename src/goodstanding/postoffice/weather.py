"""The weather: what state each provider as a whole is in, by plan and by order.

An order (POST /weather) outranks the plan (``--weather``) for as long as it lasts.
"""

from __future__ import annotations

import math
import time
from itertools import accumulate
from threading import Lock
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, Protocol

import msgspec

from goodstanding.postoffice import chance

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

State = Literal["healthy", "tarpit", "deferring", "blocking", "amnesia", "down"]
EVERYBODY: Final = "*"

_Seconds = Annotated[float, msgspec.Meta(ge=0)]
_Length = Annotated[float, msgspec.Meta(gt=0)]


class BadWeather(ValueError):
    """A plan of the weather that cannot be followed; the text says why."""


class Kind(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A state; the fields are described in ``weather.toml``."""

    about: str
    weight: float
    did: Literal["deferred", "refused", "cut_before_dot"] | None = None
    replies: tuple[str, ...] = ()
    temper: str = ""
    delay: float = 0.0
    closed: bool = False


class Spell(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One line of a script. Times are seconds, ``at`` is counted from the opening.

    Without ``lasts`` it lasts for ever; with ``every`` it comes again and again. ``delay``: before
    each reply, in a tarpit. Of spells that overlap the last in the file holds.
    """

    provider: str
    state: State
    at: _Seconds = 0.0
    lasts: _Length | None = None
    every: _Length | None = None
    delay: _Seconds | None = None

    def covers(self, at: float) -> bool:
        """Say whether it holds, so many seconds after the opening."""
        since = at - self.at
        if since >= 0 and self.every is not None:
            since %= self.every
        return since >= 0 and (self.lasts is None or since < self.lasts)


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    spell: tuple[Spell, ...]


class Order(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of POST /weather. ``state`` None: as planned. ``seconds`` None: until further."""

    provider: str
    state: State | None
    seconds: _Length | None = None
    delay: _Seconds | None = None


class Now(msgspec.Struct, frozen=True):
    """The state of a provider, and the delay where that was said."""

    state: State
    delay: float | None = None


HEALTHY: Final = Now("healthy")


class Plan(Protocol):
    """Says what state a provider is in, so many seconds after the opening."""

    def at(self, provider: str, seconds: float) -> Now:
        """Return the state."""


class Script:
    """A plan by spells."""

    def __init__(self, spells: Sequence[Spell]) -> None:
        self._spells = spells

    def at(self, provider: str, seconds: float) -> Now:
        """Return the state of the last spell that holds."""
        for spell in reversed(self._spells):
            if spell.provider in {provider, EVERYBODY} and spell.covers(seconds):
                return Now(spell.state, spell.delay)
        return HEALTHY


class Fickle:
    """A plan by chance: spells of drawn states, their lengths around a mean."""

    def __init__(self, seed: int, mean: float, weights: dict[State, float]) -> None:
        self._seed = seed
        self._mean = mean
        self._states = list(weights)
        self._sums = list(accumulate(weights.values()))
        self._spells: dict[str, tuple[int, float, Now]] = {}

    def at(self, provider: str, seconds: float) -> Now:
        """Return the state; time must not go backwards."""
        number, end, now = self._spells.get(provider, (0, 0.0, HEALTHY))
        while seconds >= end:
            drawn = chance.draw(self._seed, "state", provider, str(number)) * self._sums[-1]
            state = next(
                s for s, edge in zip(self._states, self._sums, strict=True) if drawn < edge
            )
            length = -math.log1p(-chance.draw(self._seed, "spell", provider, str(number)))
            number, end, now = number + 1, end + max(length * self._mean, 0.001), Now(state)
        self._spells[provider] = (number, end, now)
        return now


class Weather:
    """The state of every provider; any thread may ask and order."""

    def __init__(self, plan: Plan | None) -> None:
        self._plan = plan
        self._opened = time.monotonic()
        self._orders: dict[str, tuple[Now, float]] = {}
        self._lock = Lock()

    @property
    def is_calm(self) -> bool:
        """Nothing is planned and nothing ordered."""
        return self._plan is None and not self._orders

    def now(self, provider: str) -> Now:
        """Return the state of a provider at this moment."""
        return HEALTHY if self.is_calm else self._known(provider)[0]

    def order(self, providers: Iterable[str], order: Order) -> None:
        """Put providers into a state, or back to what is planned."""
        until = math.inf if order.seconds is None else time.monotonic() + order.seconds
        with self._lock:
            for name in providers:
                if order.state is None:
                    self._orders.pop(name, None)
                else:
                    self._orders[name] = (Now(order.state, order.delay), until)

    def status(self, provider: str) -> dict[str, Any]:
        """Return the state; whether it was ordered, and if not until further, for how long."""
        now, until = self._known(provider)
        left = None if until in {None, math.inf} else round((until or 0) - time.monotonic(), 3)
        return {"state": now.state, "ordered": until is not None, "seconds_left": left}

    def _known(self, provider: str) -> tuple[Now, float | None]:
        """Return the state, and where it was ordered when the order ends."""
        at = time.monotonic()
        with self._lock:
            if provider in self._orders:
                now, until = self._orders[provider]
                if at < until:
                    return now, until
                del self._orders[provider]
            if self._plan is None:
                return HEALTHY, None
            return self._plan.at(provider, at - self._opened), None


def read_script(path: Path) -> tuple[Spell, ...]:
    """Read a TOML file of ``[[spell]]`` tables, each a :class:`Spell`.

    Raises:
        OSError: the file cannot be read.
        BadWeather: it is no such file.
    """
    try:
        return msgspec.toml.decode(path.read_bytes(), type=_File).spell
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise BadWeather(f"{path}: {error}") from error
