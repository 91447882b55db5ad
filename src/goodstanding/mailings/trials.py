"""Trials: a draft is sent to a few addresses, as it would be, before anything is kept of it.

A test send is part of no audience and no count, and leaves no row: what its links and its return
path are signed for is a delivery that there is not, so that they lead nowhere.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec
from django.db import connection, transaction

from goodstanding.core.addresses import Address
from goodstanding.gateways.base import Handover, Mail
from goodstanding.gateways.smtp import SmtpGateway
from goodstanding.ledger import asking
from goodstanding.mailings import contents, lanes
from goodstanding.mailings.contents import Draft
from goodstanding.mailings.lanes import Lane
from goodstanding.mailings.mail.rendering import Compiled
from goodstanding.mailings.mail.stamps import Stamp

SAMPLES: Final = {"first_name": "Ann", "last_name": "Example", "company": "Example Ltd"}
"""Who stands for an address that no contact has."""

PURPOSE: Final = "transactional"
"""What the gate is asked for: somebody is shown a mail that they wait for."""

NOWHERE: Final = 0
"""The delivery that there is not."""


class Tried(msgspec.Struct, frozen=True):
    """What became of a test send to one address.

    ``refused``: the gate's reason. ``said``: the server's answer, or why none was sent. ``fields``:
    whose merge fields it had, ``contact`` or ``samples``.
    """

    address: str
    sent: bool
    refused: str | None = None
    said: str = ""
    fields: str = "samples"


class TrialStamp(Stamp):
    """As a delivery's, but that two of them are not the same message to whoever gets both."""

    @property
    def message_id(self) -> str:
        """Made anew: mailbox providers drop a second one of the same."""
        return f"<t-{secrets.token_hex(16)}@{self._domain}>"


def send(draft: Draft, addresses: Sequence[Address], now: int) -> list[Tried]:
    """Send a draft to those addresses at once, through its lane's gateway.

    Raises:
        RefusedMailing: it must not go out as it is; all that is wrong with it.
    """
    # All that would be found where it is kept; and nothing is.
    with transaction.atomic():
        _, compiled = contents.compiled(contents.create(draft, now))
        transaction.set_rollback(True)
    names = {*contents.fields(), *contents.needed_fields(draft)}
    samples = {name: name.replace("_", " ") for name in names} | SAMPLES
    lane = lanes.every()[draft.lane]
    tried: list[Tried | _Made] = []
    for address in addresses:
        with transaction.atomic():
            refused = asking.refusal(address, PURPOSE, None, now)
        if refused is not None or address.channel != "email":
            said = "" if refused is not None else "the mailing is not for numbers"
            tried.append(Tried(address.value, sent=False, refused=refused, said=said))
            continue
        tried.append(_made(compiled, address, samples, lane, now))
    mails = [one.mail for one in tried if isinstance(one, _Made)]
    handovers = iter(asyncio.run(_hand_over(lane, mails)))
    return [one if isinstance(one, Tried) else _told(one, next(handovers)) for one in tried]


class _Made(msgspec.Struct, frozen=True):
    mail: Mail
    fields: str


def _made(
    compiled: Compiled, address: Address, samples: Mapping[str, str], lane: Lane, now: int
) -> Tried | _Made:
    """The mail, and whose fields it has; or why there is none."""
    known = _contact_fields(address)
    whose = "samples" if known is None else "contact"
    fields = {**(known or samples), "email": address.value}
    if (problem := compiled.problem(fields, address.value)) is not None:
        return Tried(address.value, sent=False, said=problem, fields=whose)
    stamp = TrialStamp(NOWHERE, now, 0, lane.bounce_domain)
    message = compiled.render(fields, address.value, stamp)
    return _Made(Mail(stamp.return_path, address.value, message), whose)


def _contact_fields(address: Address) -> Mapping[str, str] | None:
    """The merge fields of the first contact who has the address; None: nobody has."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT min(c.contact_id) FROM contacts_contactaddress c JOIN ledger_address a"
            " ON a.id = c.address_id WHERE a.channel = %s AND a.value = %s",
            [address.channel, address.value],
        )
        [contact] = cursor.fetchone()
    return contents.contact_fields([contact]).get(contact) if contact is not None else None


async def _hand_over(lane: Lane, mails: Sequence[Mail]) -> list[Handover]:
    gateway = SmtpGateway(lane)

    async def fence() -> bool:
        return True

    try:
        return [await gateway.send(mail, fence) for mail in mails]
    finally:
        await gateway.close()


def _told(made: _Made, handover: Handover) -> Tried:
    return Tried(
        made.mail.recipient,
        sent=handover.outcome == "accepted",
        said=handover.text or handover.error or "",
        fields=made.fields,
    )
