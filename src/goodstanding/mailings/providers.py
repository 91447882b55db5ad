"""Providers: who takes the mail of an address, and so whose limits and opinion count.

The large ones are data: ``providers.toml`` beside this file. A provider's name is its best known
domain, the same as in what is read from bounces; of one that is not known it is the domain that
its mail hosts are in.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Sequence
from importlib import resources
from typing import Final

import dns.asyncresolver
import dns.exception
import dns.name
import dns.rdatatype
import dns.resolver
import msgspec

LIFETIME: Final = 3.0
"""Seconds that one lookup may take."""
EACH_TRY: Final = 1.0
"""Seconds that one server has for its answer."""
AT_ONCE: Final = 20
"""Lookups at once."""
MOST_HOSTS: Final = 10
"""Hosts kept of one answer."""

_HOST: Final = re.compile(r"(?=.{1,253}\Z)(?:[a-z0-9_-]{1,63}\.)+[a-z][a-z0-9-]{1,62}")
_REGISTRY: Final = re.compile(r"[a-z]{1,3}\.[a-z]{2}")
"""What two short labels are: rather a country's ``co.uk`` than somebody's domain."""
_NOWHERE: Final = frozenset({"", "example", "invalid", "localhost", "test"})
"""Top-level domains that nobody has (RFC 2606 section 2)."""


class _Provider(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    domains: list[str] = []
    mx: list[str] = []


class _Providers(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    provider: list[_Provider]


_KNOWN: Final = msgspec.toml.decode(
    resources.files(__package__).joinpath("providers.toml").read_bytes(), type=_Providers
).provider
_BY_DOMAIN: Final = {domain: each.name for each in _KNOWN for domain in each.domains}
_BY_MX: Final = {suffix: each.name for each in _KNOWN for suffix in each.mx}
_NAMES: Final = frozenset(each.name for each in _KNOWN)
_MOST_LABELS: Final = max(suffix.count(".") for suffix in _BY_MX) + 1


def by_domain(domain: str) -> str | None:
    """The provider whose mailboxes are in this domain, known without asking anybody."""
    return _BY_DOMAIN.get(_plain(domain))


def by_mx(host: str) -> str | None:
    """The provider that this mail host belongs to, by the longest known suffix of its name."""
    labels = _plain(host).split(".")[-_MOST_LABELS:]
    for start in range(len(labels)):
        if name := _BY_MX.get(".".join(labels[start:])):
            return name
    return None


def name_for(domain: str, mx_hosts: Sequence[str]) -> str:
    """Who takes the mail of a domain, by its hosts in order of preference (none: not known).

    A host that is not known is taken for one of several in its domain: ``mx1.mail.example`` is
    ``mail.example``. What a domain does for itself has its own name.
    """
    domain = _plain(domain)
    if known := _BY_DOMAIN.get(domain):
        return known
    host = _plain(mx_hosts[0]) if mx_hosts else ""
    if known := by_mx(host):
        return known
    if not _HOST.fullmatch(host) or f".{host}".endswith(f".{domain}"):
        return domain
    within = host.partition(".")[2]
    return within if "." in within and not _REGISTRY.fullmatch(within) else host


def named(text: str) -> str:
    """The provider somebody means by any of its domains or hosts, as in a setting."""
    plain = _plain(text)
    return plain if plain in _NAMES else _BY_DOMAIN.get(plain) or by_mx(plain) or plain


def _plain(name: str) -> str:
    return name[:255].lower().rstrip(".")


class MxLookup:
    """Asks the DNS which hosts take a domain's mail (RFC 5321 section 5.1).

    ``nameservers``: the addresses of those to ask, at ``port``; None: the system's. Asks a bounded
    number of questions at once; use it in one event loop.
    """

    def __init__(
        self,
        nameservers: Sequence[str] | None = None,
        port: int = 53,
        *,
        lifetime: float = LIFETIME,
        at_once: int = AT_ONCE,
    ) -> None:
        self._resolver = _resolver(nameservers, port, lifetime)
        self._lifetime = lifetime
        self._at_once = at_once
        self._turn = asyncio.Semaphore(at_once)

    async def lookup(self, domain: str) -> tuple[str, ...] | None:
        """The hosts in order of preference, in lower case; None: not to be known now.

        Empty where the domain has none: there is no such domain, it is its own host, it takes no
        mail at all (RFC 7505), or what it names as hosts cannot be any.
        """
        if _plain(domain).rpartition(".")[2] in _NOWHERE:
            return ()
        try:
            name = dns.name.from_text(domain)
        except (dns.exception.DNSException, UnicodeError, ValueError):
            return ()
        if self._resolver is None:
            return None
        async with self._turn:
            try:
                async with asyncio.timeout(self._lifetime + EACH_TRY):
                    answer = await self._resolver.resolve(name, dns.rdatatype.MX)
            except (dns.resolver.NoAnswer, dns.resolver.NXDOMAIN):
                return ()
            except (dns.exception.DNSException, OSError, ValueError, EOFError):
                return None
        found = sorted((mx.preference, mx.exchange.to_text(True).lower()) for mx in answer)
        hosts = (host for _, host in found if _HOST.fullmatch(host))
        return tuple(dict.fromkeys(hosts))[:MOST_HOSTS]

    async def lookup_all(
        self, domains: Iterable[str], within: float
    ) -> dict[str, tuple[str, ...] | None]:
        """Look up many, and be done within so many seconds: what is not known then is None."""
        found: dict[str, tuple[str, ...] | None] = dict.fromkeys(domains)
        left = iter(list(found))

        async def some() -> None:
            for domain in left:
                found[domain] = await self.lookup(domain)

        askers = [asyncio.create_task(some()) for _ in range(min(self._at_once, len(found)))]
        if not askers:
            return found
        try:
            await asyncio.wait(askers, timeout=within)
        finally:
            for asker in askers:
                asker.cancel()
            await asyncio.gather(*askers, return_exceptions=True)
        return found


def _resolver(
    nameservers: Sequence[str] | None, port: int, lifetime: float
) -> dns.asyncresolver.Resolver | None:
    try:
        resolver = dns.asyncresolver.Resolver(configure=nameservers is None)
    except (dns.exception.DNSException, OSError):
        return None
    if nameservers is not None:
        resolver.nameservers = list(nameservers)
        resolver.port = port
    resolver.lifetime = lifetime
    resolver.timeout = min(EACH_TRY, lifetime)
    # As large an answer as passes everywhere in one packet; a larger one comes over TCP.
    resolver.use_edns(0, 0, 1232)
    return resolver
