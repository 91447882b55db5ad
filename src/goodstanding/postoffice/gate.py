"""The gate: what a provider as a whole says to a sender before any mailbox is asked.

The weather comes first, then the limits. On a provider's own port a connection is its connection
from the greeting on; on the relay's it is from the first recipient there to the end of the
transaction.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from goodstanding.postoffice import chance, data
from goodstanding.postoffice.desk import Verdict
from goodstanding.postoffice.limits import Limits, Meter
from goodstanding.postoffice.weather import (
    EVERYBODY,
    Fickle,
    Kind,
    Order,
    Plan,
    Script,
    State,
    Weather,
    read_script,
)
from goodstanding.postoffice.world import UnknownTemper

if TYPE_CHECKING:
    from goodstanding.postoffice.desk import Mail
    from goodstanding.postoffice.options import Options
    from goodstanding.postoffice.world import Provider, World

Limit = Literal["connections", "rate", "mails_per_connection"]

RANDOM: Final = "random"


class _Words(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    connections: tuple[str, ...]
    rate: tuple[str, ...]
    mails_per_connection: tuple[str, ...]
    own: dict[str, dict[Limit, tuple[str, ...]]] = {}


class Visit:
    """One connection, as the meters of the providers see it."""

    def __init__(self) -> None:
        self.at: Provider | None = None
        self._lasting: Meter | None = None
        self._inside: list[Meter] = []
        self._begun: list[Meter] = []
        self._mails: dict[Meter, int] = {}

    def enter_for_good(self, meter: Meter) -> bool:
        """Count the connection until it ends; say whether it is let in."""
        if meter.enter():
            self._lasting = meter
            return True
        return False

    def enter(self, meter: Meter) -> bool:
        """Count the connection until the transaction ends; say whether it is let in."""
        if meter is self._lasting or meter in self._inside:
            return True
        if meter.enter():
            self._inside.append(meter)
            return True
        return False

    def has_sent(self, meter: Meter) -> int:
        """Return how many messages this connection has brought before this transaction."""
        return self._mails.get(meter, 0)

    def begin(self, meter: Meter) -> float:
        """Let in a mail; return 0.0, or the seconds until there is room for it."""
        wait = meter.begin()
        if not wait:
            self._begun.append(meter)
        return wait

    def give_back(self, meter: Meter) -> None:
        """Forget a mail that was let in and then had no mailbox."""
        if meter in self._begun:
            self._begun.remove(meter)
            meter.end(accepted=False)

    def take(self, meter: Meter) -> None:
        """Say that a mail that was let in was accepted."""
        if meter in self._begun:
            self._begun.remove(meter)
            meter.end(accepted=True)

    def end_message(self) -> None:
        """Count the message whose final dot was answered."""
        for meter in self._inside if self._lasting is None else [self._lasting]:
            self._mails[meter] = self._mails.get(meter, 0) + 1

    def end_transaction(self) -> None:
        """Leave, but for where the connection is for good."""
        for meter in self._begun:
            meter.end(accepted=False)
        for meter in self._inside:
            meter.leave()
        self._begun.clear()
        self._inside.clear()
        self.at = None

    def end(self) -> None:
        """Leave altogether."""
        self.end_transaction()
        if self._lasting is not None:
            self._lasting.leave()
            self._lasting = None


class Gate:
    """Keeps the limits and the weather of every provider."""

    def __init__(self, world: World, options: Options) -> None:
        """Read the tables and the plan of the weather.

        Raises:
            OSError, BadWeather: the plan cannot be read.
            UnknownTemper: a limit or a spell names no provider.
        """
        self._world = world
        self._options = options
        self._words = data.load("limits.toml", _Words)
        self.meters = {provider.name: Meter() for provider in world.providers}
        self.kinds = data.load("weather.toml", dict[State, Kind])
        self.weather = Weather(self._plan())
        for provider, limits in options.limits:
            self.limit(provider, limits)

    def limit(self, provider: str, limits: Limits) -> None:
        """Set the limits of a provider, or with ``*`` of all.

        Raises:
            UnknownTemper: no such provider.
        """
        for name in self._named(provider):
            self.meters[name].limits = limits

    def order(self, order: Order) -> None:
        """Put a provider, or with ``*`` all, into a state.

        Raises:
            UnknownTemper: no such provider.
        """
        self.weather.order(self._named(order.provider), order)

    def is_closed(self, provider: Provider) -> bool:
        """Say whether the provider hangs up on everybody."""
        return self.kinds[self.weather.now(provider.name).state].closed

    def state(self, provider: Provider) -> State | None:
        """Return the provider's state; None where it is healthy."""
        state = self.weather.now(provider.name).state
        return None if state == "healthy" else state

    def delay(self, provider: Provider) -> float:
        """Return how many seconds the provider lets pass before each reply."""
        if self.weather.is_calm:
            return 0.0
        now = self.weather.now(provider.name)
        usual = self.kinds[now.state].delay
        return now.delay if usual and now.delay is not None else usual * self._options.pace

    def at_greeting(self, visit: Visit, provider: Provider) -> str:
        """Answer a connection to the provider's own port; empty where it may stay."""
        if visit.enter_for_good(self.meters[provider.name]):
            return ""
        return self._over(provider, "connections", "", 0)

    def at_recipient(self, visit: Visit, provider: Provider, recipient: str) -> Verdict | None:
        """Answer a RCPT; None means that the mailbox may be asked, and the mail is let in."""
        visit.at = provider
        if not self.weather.is_calm:
            now = self.weather.now(provider.name)
            if said := self._weather_says(now.state, provider, recipient):
                return said
        meter = self.meters[provider.name]
        limits = meter.limits
        if not visit.enter(meter):
            return self._deferred(provider, "connections", recipient)
        most = limits.mails_per_connection
        if most is not None and visit.has_sent(meter) >= most:
            return self._deferred(provider, "mails_per_connection", recipient)
        if wait := visit.begin(meter):
            return self._deferred(provider, "rate", recipient, math.ceil(wait))
        return None

    def passed_on(self, mail: Mail) -> Mail:
        """Return a mail as a relay that took it unseen finds it: with the state's temper."""
        kind = self.kinds[self.weather.now(mail.provider.name).state]
        return msgspec.structs.replace(mail, temper=kind.temper) if kind.temper else mail

    def _weather_says(self, state: State, provider: Provider, recipient: str) -> Verdict | None:
        kind = self.kinds[state]
        if kind.did is None:
            return None
        ip = self._options.client_ip
        if kind.replies:
            text = chance.pick(kind.replies, self._options.seed, "weather", state, recipient)
            reply = self._world.fill(text, provider, recipient, ip)
        else:
            reply = self._world.words(provider, kind.temper, recipient, ip) if kind.temper else ""
        return Verdict(kind.did, reply, weather=state)

    def _deferred(
        self, provider: Provider, limit: Limit, recipient: str, seconds: int = 0
    ) -> Verdict:
        return Verdict("deferred", self._over(provider, limit, recipient, seconds), limit=limit)

    def _over(self, provider: Provider, limit: Limit, recipient: str, seconds: int) -> str:
        usual: tuple[str, ...] = getattr(self._words, limit)
        texts = self._words.own.get(provider.name, {}).get(limit, usual)
        text = chance.pick(texts, self._options.seed, limit, provider.name)
        ip = self._options.client_ip
        return self._world.fill(text, provider, recipient, ip, seconds=seconds)

    def _named(self, provider: str) -> list[str]:
        if provider == EVERYBODY:
            return list(self.meters)
        known = self._world.provider_of(provider)
        if known is None:
            raise UnknownTemper(f"no provider is called {provider!r}")
        return [known.name]

    def _plan(self) -> Plan | None:
        options = self._options
        if options.weather is None:
            return None
        if options.weather == RANDOM:
            weights = {state: self.kinds[state].weight for state in options.weather_states}
            return Fickle(options.seed, options.weather_mean, weights)
        spells = read_script(Path(options.weather))
        return Script(
            [
                msgspec.structs.replace(spell, provider=name)
                for spell in spells
                for name in self._named(spell.provider)
            ]
        )
