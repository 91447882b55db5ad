"""Domains: whose mailboxes each domain's are, as far as it is known yet.

Small domains share one provider, "others", so that an audience has some dozens of lots and not as
many as it has domains.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

from django.db import connection, transaction
from django.db.backends.utils import CursorWrapper

from goodstanding.ledger import bulk
from goodstanding.mailings import lanes, providers
from goodstanding.mailings.models import Domain, Provider

OTHERS: Final = 0
"""The provider of all domains that are too small to have one of their own."""

LARGE: Final = 20
"""So many of a chunk's recipients at a domain, or by its MX, make it a provider of its own."""

KNOWN_FOR: Final = 7 * 86_400_000_000
"""Microseconds until a domain's MX is asked for again."""

TRY_AGAIN: Final = 3_600_000_000
"""Microseconds until that where it could not be asked."""

_DOMAINS: Final = bulk.Table(Domain, ("domain", "provider_id", "look_up_at"))
_OTHERS: Final = bulk.Table(Provider, ("id", "name"))
_PROVIDERS: Final = bulk.Table(Provider, ("name",))


def know(cursor: CursorWrapper) -> None:
    """Give every recipient of ``plan_chunk`` that is to be sent to a provider."""
    cursor.execute(
        "SELECT a.domain, dm.mx, p.provider_id IS NULL, count(*)"
        " FROM plan_chunk p JOIN ledger_address a"
        " ON a.id = p.address_id LEFT JOIN mailings_domain dm ON dm.domain = a.domain"
        f" WHERE p.refusal IS NULL AND coalesce(p.provider_id, {OTHERS}) = {OTHERS}"
        " GROUP BY a.domain, dm.mx, p.provider_id IS NULL"
    )
    found = cursor.fetchall()
    sizes: Counter[str] = Counter()
    for domain, mx, _, count in found:
        sizes[mx or domain] += count
    # Another planner may have come to know since a domain that nobody knew at first.
    named = {
        domain: name
        for domain, mx, was_unknown, _ in found
        if (name := _name(domain, mx, sizes)) is not None or was_unknown
    }
    if not named:
        return
    _keep(cursor, named)
    cursor.execute(
        "UPDATE plan_chunk SET provider_id = (SELECT dm.provider_id FROM ledger_address a"
        " JOIN mailings_domain dm ON dm.domain = a.domain WHERE a.id = plan_chunk.address_id)"
        f" WHERE refusal IS NULL AND coalesce(provider_id, {OTHERS}) = {OTHERS}"
    )


def of(cursor: CursorWrapper, domain: str) -> int:
    """The provider of a domain's mailboxes."""
    cursor.execute("SELECT provider_id FROM mailings_domain WHERE domain = %s", [domain])
    row = cursor.fetchone()
    if row is not None:
        return int(row[0])
    _keep(cursor, {domain: _name(domain, None, {domain: 1})})
    return of(cursor, domain)


def to_look_up(most: int, now: int) -> list[str]:
    """The domains whose MX nobody has asked for yet, or not for long."""
    due = Domain.objects.filter(look_up_at__lte=now).order_by("look_up_at", "domain")
    return list(due.values_list("domain", flat=True)[:most])


def looked_up(found: Mapping[str, Sequence[str] | None], now: int) -> None:
    """Keep what was found: each domain's mail hosts in order; None: it could not be asked.

    Mail that is queued stays in its lot; what is planned from here on goes by what is known now.
    """
    named = {
        domain: providers.name_for(domain, hosts)
        for domain, hosts in found.items()
        if hosts is not None
    }
    again = {domain: now + (KNOWN_FOR if domain in named else TRY_AGAIN) for domain in found}
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.executemany(
            "UPDATE mailings_domain SET look_up_at = %s, mx = coalesce(%s, mx) WHERE domain = %s",
            [(again[domain], named.get(domain), domain) for domain in sorted(found)],
        )
        # One that is known takes its domains at once; one that is not must first prove large.
        known = {
            domain: named[domain]
            for domain, hosts in found.items()
            if hosts and providers.by_mx(hosts[0])
        }
        if known:
            _keep(cursor, known)


def _name(domain: str, mx: str | None, sizes: Mapping[str, int]) -> str | None:
    """What the provider of a domain is called; None: it is one of the others."""
    large = mx or domain
    return providers.by_domain(domain) or (large if sizes[large] >= LARGE else None)


def _keep(cursor: CursorWrapper, named: Mapping[str, str | None]) -> None:
    """Write down providers and domains, in one order: two planners may do so at once.

    A domain that has a provider of its own keeps it, whatever few there are of it this time.
    """
    names = sorted({name for name in named.values() if name is not None})
    _OTHERS.insert(cursor, [(OTHERS, lanes.OTHERS)], on_conflict="ON CONFLICT DO NOTHING")
    _PROVIDERS.insert(cursor, [(name,) for name in names], on_conflict="ON CONFLICT DO NOTHING")
    cursor.execute(
        f"SELECT name, id FROM mailings_provider WHERE {bulk.among('name', text=True)}",
        [bulk.listed(names)],
    )
    ids: dict[str | None, int] = {**dict(cursor.fetchall()), None: OTHERS}
    _DOMAINS.insert(
        cursor,
        [
            (domain, ids[name], None if providers.by_domain(domain) else 0)
            for domain, name in sorted(named.items())
        ],
        on_conflict="ON CONFLICT (domain) DO UPDATE SET provider_id = excluded.provider_id"
        f" WHERE excluded.provider_id NOT IN ({OTHERS}, mailings_domain.provider_id)",
    )
