"""Singles: mails that are asked for one at a time. A receipt, a request to confirm, a one-off."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping
from typing import Final

import msgspec
from django.db import IntegrityError, connection, transaction
from django.db.backends.utils import CursorWrapper

from goodstanding.core.addresses import Address
from goodstanding.core.consent import CONFIRMED
from goodstanding.core.events import Event
from goodstanding.ledger import asking, models
from goodstanding.ledger.policy import active_policy
from goodstanding.ledger.recording import record
from goodstanding.mailings import contents, domains, lanes, outbox, planning
from goodstanding.mailings.mail.rendering import Compiled
from goodstanding.mailings.models import Content, Course, Message

LONGEST_KEY: Final = 150
LARGEST_FIELDS: Final = 256 * 1024  # bytes, as JSON


class RefusedMessage(ValueError):
    """A message that cannot be sent as it was asked for; the message is one plain sentence."""


class Asked(msgspec.Struct, frozen=True):
    """What came of asking.

    ``repeated``: it had been asked for before, under the same key. ``refused``: the gate's reason.
    """

    delivery: int
    repeated: bool = False
    refused: str | None = None


def send(
    mailing: str,
    address: Address,
    key: str,
    fields: Mapping[str, str],
    now: int,
    source: str = "api",
) -> Asked:
    """Send a mailing to one address, once for each ``key``; ``fields``: its own merge fields.

    Raises:
        RefusedMessage: what it was asked for with does not go together.
    """
    content = _content(mailing)
    if not (0 < len(key) <= LONGEST_KEY and key.isprintable()):
        raise RefusedMessage(f"an idempotency key has 1 to {LONGEST_KEY} printable characters")
    text = json.dumps(dict(sorted(fields.items())), ensure_ascii=False)
    digest = hashlib.sha256(f"{address.channel}\0{address.value}\0{text}".encode()).hexdigest()
    if (found := _found(content, key, digest)) is not None:
        return found
    _check(content, address, fields, text)
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            message = Message(key=key, digest=digest, fields=text)
            return _send(cursor, content, address, message, now, source)
    except IntegrityError:
        # Somebody else was quicker.
        if (found := _found(content, key, digest)) is None:
            raise
        return found


def _content(mailing: str) -> Content:
    content = Content.objects.select_related("mailing").filter(mailing__name=mailing).first()
    if content is None:
        raise RefusedMessage(f"there is no mailing {mailing!r}")
    if not content.one_by_one or content.mailing.purpose == "sequence":
        raise RefusedMessage(
            f"the mailing {mailing!r} is a {content.mailing.purpose}: it is not sent one by one"
        )
    if content.course == Course.STOPPED.value:
        raise RefusedMessage(f"the mailing {mailing!r} was stopped")
    return content


def _found(content: Content, key: str, digest: str) -> Asked | None:
    """What came of it when it was asked for before."""
    message = Message.objects.filter(mailing=content.mailing, key=key).first()
    if message is None:
        return None
    if message.digest != digest:
        raise RefusedMessage(
            f"the key {key!r} was used before for another address or with other fields"
        )
    response = models.Delivery.objects.values_list("response", "skip_reason").get(
        pk=message.delivery_id
    )
    skipped = response[1] if response[0].startswith("skipped:") else None
    return Asked(message.delivery_id, repeated=True, refused=skipped)


def _check(content: Content, address: Address, fields: Mapping[str, str], text: str) -> None:
    if len(text.encode("utf-8", "surrogatepass")) > LARGEST_FIELDS:
        raise RefusedMessage(f"the fields are larger than {LARGEST_FIELDS:,} bytes")
    if (
        content.mailing.purpose == "one_off"
        and Message.objects.filter(mailing=content.mailing).exists()
    ):
        raise RefusedMessage("a one-off goes to one recipient, and this one has been sent")
    if address.channel != content.mailing.channel:
        raise RefusedMessage(f"the mailing is not for {address.channel}")
    try:
        compiled, needed = _made_ready(int(content.pk), content.salt)
    except contents.RefusedMailing as error:
        raise RefusedMessage("; ".join(error.problems)) from error
    if missing := sorted(needed - fields.keys()):
        raise RefusedMessage(f"the mail needs the field {missing[0]!r}")
    problem = compiled.problem({**fields, "email": address.value}, address.value)
    if problem is not None:
        raise RefusedMessage(problem)


@functools.lru_cache(maxsize=32)
def _made_ready(mailing: int, salt: str) -> tuple[Compiled, frozenset[str]]:  # noqa: ARG001
    """A mailing made ready to render, and the fields it needs; ``salt``: no two have the same."""
    content, compiled = contents.compiled(mailing)
    return compiled, frozenset(contents.needed_fields(contents.draft_of(content)))


def _send(
    cursor: CursorWrapper,
    content: Content,
    address: Address,
    message: Message,
    now: int,
    source: str,
) -> Asked:
    mailing = content.mailing
    recipient = f"key:{message.key}"
    planned = Event(
        kind="planned",
        occurred_at=now,
        address=address,
        source=source,
        key=f"planned:{mailing.pk}:{message.key}",
        mailing=mailing.name,
        recipient=recipient,
        detail={},
    )
    refused = asking.refusal(address, mailing.purpose, mailing.topic, now)
    record([planned], now)
    cursor.execute(
        "SELECT d.id, a.id, a.domain, a.consent FROM ledger_delivery d JOIN ledger_address a"
        " ON a.id = d.address_id WHERE a.channel = %s AND a.value = %s AND d.mailing_id = %s"
        " AND d.recipient = %s",
        [address.channel, address.value, mailing.pk, recipient],
    )
    delivery, address_id, domain, consent = cursor.fetchone()
    message.delivery_id, message.mailing = delivery, mailing
    message.save(force_insert=True)
    if refused is not None:
        record([outbox.skipped(delivery, address, refused, now)], now)
        return Asked(delivery, refused=refused)
    lane = lanes.better(content.lane, active_policy()) if consent in CONFIRMED else content.lane
    _queue(cursor, content, delivery, address_id, lane, domains.of(cursor, domain), now)
    return Asked(delivery)


def _queue(
    cursor: CursorWrapper,
    content: Content,
    delivery: int,
    address: int,
    lane: str,
    provider: int,
    now: int,
) -> None:
    mailing = content.mailing
    cursor.execute(
        f"{planning.INTO_LOTS} VALUES (%s, %s, %s, %s, 1) {planning.ADDED_TO} RETURNING id",
        [mailing.pk, provider, lane, planning.priority(mailing.purpose)],
    )
    [lot] = cursor.fetchone()
    cursor.execute(
        "INSERT INTO mailings_outbox"
        " (delivery_id, mailing_id, lot_id, address_id, not_before, contact_id)"
        " SELECT %s, %s, %s, %s, %s, min(contact_id) FROM contacts_contactaddress"
        " WHERE address_id = %s",
        [delivery, mailing.pk, lot, address, max(now, content.starts_at), address],
    )
