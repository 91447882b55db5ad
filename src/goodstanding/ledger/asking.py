"""Asking the gate for one address, right before one message to it is planned.

For whole audiences there is the gate in SQL. One message at a time is what an application may ask
for ten times in a second: so here what waits already counts too, and who asks waits their turn.
"""

from __future__ import annotations

from django.db import connection, transaction

from goodstanding.core.addresses import Address
from goodstanding.core.gate import PURPOSES
from goodstanding.core.registers import EMPTY
from goodstanding.core.standings import stand
from goodstanding.ledger import accounts, lookup
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
        standing = account.standing(policy, now, planning=True)
    else:
        standing = stand(EMPTY, (), policy, address.channel, now, planning=True)
    return standing.topics.get(topic or "", standing.blocks)[purpose]
