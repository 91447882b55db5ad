"""The pretend internet as read from its tables: providers, tempers, and who has which."""

from __future__ import annotations

from bisect import bisect_right
from functools import lru_cache
from itertools import accumulate
from typing import TYPE_CHECKING, Literal

import msgspec

from goodstanding.postoffice import chance, data

if TYPE_CHECKING:
    from collections.abc import Mapping

FORCED = "temper."

Answer = Literal["accept", "refuse", "refuse_content", "defer", "greylist", "too_fast"]


class Temper(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a mailbox does with a mail; the fields are described in ``tempers.toml``."""

    about: str
    weight: float
    answer: Answer = "accept"
    act: str = ""
    after: tuple[float, float] = (0.0, 0.0)
    pause: tuple[float, float] = (0.0, 0.0)
    tries: tuple[int, int] = (1, 1)
    agents: tuple[str, ...] = ()
    replies: tuple[str, ...] = ()
    says: str = ""
    status: str = ""
    control: str = ""
    gives_reason: bool = False


class Provider(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One mailbox provider; the fields are described in ``providers.toml``."""

    domains: tuple[str, ...]
    host: str
    banner: str
    share: float
    reports: str
    prose: str
    complaints: Literal["full", "redacted"]
    weights: dict[str, float] = {}
    replies: dict[str, tuple[str, ...]] = {}

    @property
    def name(self) -> str:
        """The provider's first domain, in ASCII."""
        return ascii_domain(self.domains[0])

    @property
    def ascii_domains(self) -> list[str]:
        """All its domains, in ASCII."""
        return [ascii_domain(domain) for domain in self.domains]


class _Providers(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    provider: tuple[Provider, ...]


class UnknownTemper(ValueError):
    """A temper or provider was named that is not in the tables."""


@lru_cache(4096)
def ascii_domain(domain: str) -> str:
    """Return the domain in lower case and in ASCII; as it came where it has no such form."""
    domain = domain.rstrip(".").lower()
    if domain.isascii():
        return domain
    try:
        return domain.encode("idna").decode("ascii")
    except UnicodeError:
        return domain


def mailbox(address: str) -> str:
    """Return the one spelling of an address by which its mailbox is known."""
    local, _, domain = address.rpartition("@")
    return f"{local.lower()}@{ascii_domain(domain)}"


class World:
    """All providers, all tempers, and which mailbox has which temper under this seed."""

    def __init__(self, seed: int, only: str | None = None) -> None:
        """Read the tables. ``only`` gives every mailbox that one temper.

        Raises:
            UnknownTemper: ``only`` is no temper.
        """
        self.seed = seed
        self.tempers = data.load("tempers.toml", dict[str, Temper])
        self.providers = data.load("providers.toml", _Providers).provider
        self._by_domain = {ascii_domain(d): p for p in self.providers for d in p.domains}
        self._drawn: dict[str, tuple[list[str], list[float]]] = {}
        usual = {name: temper.weight for name, temper in self.tempers.items()}
        for provider in self.providers:
            weights = usual | provider.weights
            self.reweigh(provider.name, {only: 1.0} if only else weights)

    def reweigh(self, provider: str, weights: Mapping[str, float]) -> None:
        """Give the provider's mailboxes tempers by these weights, from now on.

        Raises:
            UnknownTemper: no such provider or temper, or no weight above zero.
        """
        if provider not in {known.name for known in self.providers}:
            raise UnknownTemper(f"no provider is called {provider!r}")
        for name in weights:
            if name not in self.tempers:
                raise UnknownTemper(f"no temper is called {name!r}")
        drawn = {name: weight for name, weight in weights.items() if weight > 0}
        if not drawn:
            raise UnknownTemper("at least one weight must be above zero")
        self._drawn[provider] = (list(drawn), list(accumulate(drawn.values())))

    def provider_of(self, domain: str) -> Provider | None:
        """Return who has the mailboxes of a domain; None where nobody does."""
        return self._by_domain.get(ascii_domain(domain))

    def temper_of(self, address: str) -> str:
        """Return the temper of a mailbox: forced by its name, else drawn by seed and address."""
        box = mailbox(address)
        if box.startswith(FORCED):
            forced = box[len(FORCED) :].partition("@")[0].partition(".")[0]
            if forced in self.tempers:
                return forced
        provider = self._by_domain.get(box.rpartition("@")[2])
        if provider is None:
            return "no_such_domain"
        names, sums = self._drawn[provider.name]
        return names[bisect_right(sums, chance.draw(self.seed, "temper", box) * sums[-1])]

    def words(
        self, provider: Provider | None, temper: str, recipient: str, ip: str, seconds: int = 300
    ) -> str:
        """Return what the server of ``provider`` says to a mail for ``recipient`` under ``temper``.

        Several lines are separated by newlines. ``seconds``: how long it asks to wait.
        """
        said = self.tempers[temper].says or temper
        own = provider.replies.get(said, ()) if provider else ()
        text = chance.pick(own or self.tempers[said].replies, self.seed, "words", said, recipient)
        return self.fill(text, provider, recipient, ip, seconds=seconds)

    def fill(
        self,
        text: str,
        provider: Provider | None,
        recipient: str,
        ip: str,
        *,
        seconds: int = 300,
    ) -> str:
        """Return a reply with its names and numbers filled in; ``seconds`` to wait."""
        local, _, domain = recipient.rpartition("@")
        number = chance.digest(self.seed, "id", recipient)
        return text.format(
            recipient=recipient,
            local=local,
            domain=domain,
            host=provider.host if provider else "mx.relay.example",
            ip=ip,
            id=f"{number & 0xFFFFFFFFFFFF:012x}",
            seconds=seconds,
            clock=f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}",
        )
