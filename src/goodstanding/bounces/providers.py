"""Who answered: a provider's name by host, by domain, or by its way of speaking."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from goodstanding.bounces.matcher import Hit
from goodstanding.bounces.rulebook import Provider, rulebook

_LABELS: Final = 6


@lru_cache(1)
def _known() -> tuple[dict[str, str], dict[str, str]]:
    hosts: dict[str, str] = {}
    domains: dict[str, str] = {}
    for provider in rulebook().providers:
        domains[provider.name] = provider.name
        for domain in provider.domains:
            domains[domain] = provider.name
        for host in (*provider.hosts, *provider.domains, provider.name):
            hosts[host] = provider.name
    return hosts, domains


def by_host(host: str | None) -> str | None:
    """The provider whose host this is, by the longest known suffix of its name."""
    if not host:
        return None
    labels = host[:255].lower().strip(" .").split(".")[-_LABELS:]
    hosts, _ = _known()
    for start in range(len(labels) - 1):
        if name := hosts.get(".".join(labels[start:])):
            return name
    return None


def by_recipient(address: str | None) -> str | None:
    """The provider whose mailbox this is, by its domain."""
    if not address:
        return None
    _, domains = _known()
    return domains.get(address.rpartition("@")[2].lower())


def by_words(hits: Iterable[Hit]) -> str | None:
    """The provider that speaks like this."""
    for hit in hits:
        if isinstance(hit.entry, Provider):
            return hit.entry.name
    return None


def is_known(name: str | None) -> bool:
    """Whether that is a provider of whom the rules know something."""
    return name is not None and _known()[1].get(name) == name


def named(name: str | None) -> str | None:
    """The provider somebody named by any of its hosts or domains; else that name itself."""
    if not name or not name.strip():
        return None
    return by_host(name) or name.encode("utf-8", "replace").decode().strip()[:255].lower()[:255]
