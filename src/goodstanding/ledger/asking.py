"""Asking the gate for one address, right before one message to it is planned.

For whole audiences there is the gate in SQL. One message at a time is what an application may ask
for ten times in a second: so here what waits already counts too, and who asks waits their turn.
"""

from __future__ import annotations

from collections.abc import Sequence

from django.db import connection, transaction

from goodstanding.core.addresses import Address
from goodstanding.core.gate import PURPOSES, REASONS
from goodstanding.core.registers import EMPTY
from goodstanding.core.standings import stand
from goodstanding.ledger import accounts, bulk, gate, lookup
from goodstanding.ledger.policy import active_policy


def refusal(address: Address, purpose: str, topic: str | None, now: int) -> str | None:
    """Why one more message of that purpose may not be planned, None where it may.

    ``now`` in microseconds. To be asked in the transaction that then records it as planned: until
    that ends, nobody else who asks about the address is answered. The address need not be folded.

    Raises:
        ValueError: that is not a purpose.
        TransactionManagementError: there is no transaction.
    """
    if purpose not in PURPOSES:
        raise ValueError(f"{purpose!r} is not a purpose: {', '.join(PURPOSES)}")
    if not connection.in_atomic_block:
        raise transaction.TransactionManagementError("the gate was asked outside a transaction")
    policy = active_policy()
    ids = lookup.address_ids([address])
    with connection.cursor() as cursor:
        loaded = accounts.load(cursor, ids.values())
    if loaded:
        [account] = loaded.values()
        before = account.refusal_before(policy, purpose, topic)
        if before is not None:
            return before
        standing = account.standing(policy, now, planning=True)
    else:
        standing = stand(EMPTY, (), policy, address.channel, now, planning=True)
    return standing.topics.get(topic or "", standing.blocks)[purpose]


def refusals_before(
    addresses: Sequence[Address], purpose: str, topic: str | None
) -> dict[Address, str]:
    """What another policy refused of addresses that the present one has not folded yet.

    Until it has, the gate refuses it. Who is not in it, nothing refused.
    """
    policy = active_policy()
    ids = lookup.address_ids(addresses)
    refused = gate.refusal(purpose)
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT a.id, {refused} FROM ledger_address a {gate.on_topic()}"
            f" WHERE {bulk.among('a.id')} AND a.policy NOT IN (0, %s) AND {refused} IS NOT NULL",
            [topic, bulk.listed(ids.values()), policy.revision],
        )
        found = dict(cursor.fetchall())
    return {address: REASONS[found[id_]] for address, id_ in ids.items() if id_ in found}
