"""Domains: whose mailboxes each domain's are, as far as it is known yet.

Small domains share one provider, "others", so that an audience has some dozens of lots and not as
many as it has domains.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from django.db import connection
from django.db.backends.utils import CursorWrapper

from goodstanding.ledger import bulk
from goodstanding.mailings import lanes, providers
from goodstanding.mailings.models import Domain, Provider

OTHERS: Final = 0
"""The provider of all domains that are too small to have one of their own."""

LARGE: Final = 20
"""So many of a chunk's recipients at a domain make it a provider of its own."""

_DOMAINS: Final = bulk.Table(Domain, ("domain", "provider_id"))
_OTHERS: Final = bulk.Table(Provider, ("id", "name"))
_PROVIDERS: Final = bulk.Table(Provider, ("name",))


def know(cursor: CursorWrapper) -> None:
    """Give every recipient of ``plan_chunk`` that is to be sent to a provider."""
    cursor.execute(
        "SELECT a.domain, count(*) FROM plan_chunk p JOIN ledger_address a ON a.id = p.address_id"
        " WHERE p.refusal IS NULL AND (p.provider_id IS NULL"
        f" OR p.provider_id = {OTHERS} AND a.domain <> '') GROUP BY a.domain"
        f" HAVING count(*) >= {LARGE} OR max(p.provider_id) IS NULL",
    )
    named = {domain: _name(domain, count) for domain, count in cursor.fetchall()}
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
    _keep(cursor, {domain: _name(domain, 1)})
    return of(cursor, domain)


def move(moved: Mapping[str, str], now: int) -> None:
    """Say whose mailboxes some domains' turned out to be; mail that is queued stays in its lot."""
    with connection.cursor() as cursor:
        _keep(cursor, moved)
        cursor.execute(
            f"UPDATE mailings_domain SET looked_up_at = %s WHERE {bulk.among('domain', text=True)}",
            [now, bulk.listed(sorted(moved))],
        )


def _name(domain: str, count: int) -> str | None:
    """What the provider of a domain is called; None: it is one of the others."""
    return providers.by_domain(domain) or (domain if count >= LARGE else None)


def _keep(cursor: CursorWrapper, named: Mapping[str, str | None]) -> None:
    """Write down providers and domains, in one order: two planners may do so at once."""
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
        [(domain, ids[name]) for domain, name in sorted(named.items())],
        on_conflict="ON CONFLICT (domain) DO UPDATE SET provider_id = excluded.provider_id",
    )
