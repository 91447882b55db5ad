"""The ledger's rows (design, section 7).

Times are whole microseconds since 1970 UTC. Everything but events and the identities of addresses,
mailings and deliveries is derived: ``fold`` writes it and ``rebuild`` can make it again.
"""

from __future__ import annotations

from typing import Final

from django.db import models

from goodstanding.core.events import KINDS
from goodstanding.core.memory import SLOTS

FAILURES: Final = tuple(name for name, kind in KINDS.items() if kind.failure)


class Address(models.Model):
    """A channel and a normalised value, with its registers and where it stands."""

    channel = models.CharField(max_length=8)
    value = models.CharField(max_length=320)
    domain = models.CharField(max_length=255, db_default="")
    registers = models.TextField(db_default="{}")
    status = models.CharField(max_length=32, db_default="non_marketable")
    family = models.CharField(max_length=8, db_default="bad")
    consent = models.CharField(max_length=32, db_default="non_marketable")
    since = models.BigIntegerField(null=True)
    led_by = models.CharField(max_length=200, null=True)
    category = models.CharField(max_length=32, null=True)
    streak = models.IntegerField(db_default=0)
    engaged_at = models.BigIntegerField(null=True)
    due_at = models.BigIntegerField(null=True)
    policy = models.BigIntegerField(db_default=0)
    # What refuses each purpose: a place in core's list of reasons, null where it may go.
    blocks_broadcast = models.SmallIntegerField(null=True)
    blocks_sequence = models.SmallIntegerField(null=True)
    blocks_one_off = models.SmallIntegerField(null=True)
    blocks_transactional = models.SmallIntegerField(null=True)
    blocks_confirmation = models.SmallIntegerField(null=True)
    blocks_acknowledgement = models.SmallIntegerField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["channel", "value"], name="ledger_address_value")
        ]
        indexes = [
            models.Index(
                fields=["due_at"],
                name="ledger_address_due",
                condition=models.Q(due_at__isnull=False),
            ),
            models.Index(fields=["status", "channel"], name="ledger_address_status"),
        ]

    def __str__(self) -> str:
        return f"{self.channel}:{self.pk}"


class TopicStanding(models.Model):
    """What refuses each purpose on a topic on which the person had a word of their own."""

    pk = models.CompositePrimaryKey("address_id", "topic")
    address = models.ForeignKey(Address, on_delete=models.CASCADE)
    topic = models.CharField(max_length=100)
    blocks_broadcast = models.SmallIntegerField(null=True)
    blocks_sequence = models.SmallIntegerField(null=True)
    blocks_one_off = models.SmallIntegerField(null=True)
    blocks_transactional = models.SmallIntegerField(null=True)
    blocks_confirmation = models.SmallIntegerField(null=True)
    blocks_acknowledgement = models.SmallIntegerField(null=True)


class Mailing(models.Model):
    """What the ledger knows of one thing sent to many."""

    name = models.CharField(max_length=200, unique=True)
    channel = models.CharField(max_length=8, db_default="email")
    purpose = models.CharField(max_length=16, db_default="broadcast")
    topic = models.CharField(max_length=100, null=True)
    # When the first and the last of its messages was sent or tried.
    started_at = models.BigIntegerField(null=True)
    ended_at = models.BigIntegerField(null=True)

    def __str__(self) -> str:
        return self.name


class Link(models.Model):
    """An address that a mailing links to, by the number in its click tokens.

    One with ``confirms`` confirms consent, by that method (``standard`` or ``custom``), to the
    topic, or to everything where it has none. Its ``url`` is the page that it then leads to; an
    empty one is our own page of thanks.
    """

    pk = models.CompositePrimaryKey("mailing_id", "number")
    mailing = models.ForeignKey(Mailing, on_delete=models.CASCADE, db_index=False)
    number = models.IntegerField()
    url = models.TextField()
    confirms = models.CharField(max_length=16, null=True)
    topic = models.CharField(max_length=100, null=True)


class Delivery(models.Model):
    """One mailing to one address, and its memory: first and last of each slot.

    Without a mailing it is something heard about mail we did not send: ``recipient`` is then the
    event's key.
    """

    mailing = models.ForeignKey(Mailing, on_delete=models.PROTECT, null=True, db_index=False)
    address = models.ForeignKey(Address, on_delete=models.PROTECT, db_index=False)
    recipient = models.CharField(max_length=200, db_default="")
    reports = models.BooleanField(db_default=True)
    response = models.CharField(max_length=32, db_default="planned")
    since = models.BigIntegerField(null=True)
    opens = models.IntegerField(db_default=0)
    clicks = models.IntegerField(db_default=0)
    machine_opens = models.IntegerField(db_default=0)
    hard_category = models.CharField(max_length=32, null=True)
    deferred_category = models.CharField(max_length=32, null=True)
    category = models.CharField(max_length=32, null=True)
    skip_reason = models.CharField(max_length=32, null=True)
    stop_reason = models.CharField(max_length=100, null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["address", "mailing", "recipient"], name="ledger_delivery_identity"
            )
        ]
        indexes = [models.Index(fields=["mailing", "response"], name="ledger_delivery_mailing")]


for _slot in SLOTS:
    for _which in ("first", "last"):
        Delivery.add_to_class(f"{_slot}_{_which}", models.BigIntegerField(null=True))


class Event(models.Model):
    """One immutable fact; in one tree ordered by address and key."""

    pk = models.CompositePrimaryKey("address_id", "key")
    # Only the fold writes here, with the address locked: checking it again costs and tells nothing.
    address = models.ForeignKey(
        Address, on_delete=models.PROTECT, db_index=False, db_constraint=False
    )
    key = models.CharField(max_length=200)
    kind = models.CharField(max_length=32)
    occurred_at = models.BigIntegerField()
    recorded_at = models.BigIntegerField()
    source = models.CharField(max_length=40)
    delivery_id = models.BigIntegerField(null=True)
    topic = models.CharField(max_length=100, null=True)
    detail = models.TextField(db_default="{}")

    class Meta:
        indexes = [
            # Annulments and the guard look for failures of a time.
            models.Index(
                fields=["occurred_at"],
                name="ledger_event_failure",
                condition=models.Q(kind__in=FAILURES),
            )
        ]


class Change(models.Model):
    """A standing or a response that became another: for whoever wants to react.

    Or something that was said for the first time, whether it changed anything or not: ``event`` is
    then its key and ``new`` its kind. Read them by ``changes.after``, not by their ids alone.
    """

    recorded_at = models.BigIntegerField()
    address_id = models.BigIntegerField()
    delivery_id = models.BigIntegerField(null=True)
    old = models.CharField(max_length=32)
    new = models.CharField(max_length=32)
    event = models.CharField(max_length=200, null=True)


class Annulment(models.Model):
    """Failures that count for nothing (design, section 9); or (``undoes``) that they count again.

    Or (``is_reread``) that those among ``Reading`` are read as that says; then no failures are
    named here.

    Never changed once it is made, but for ``is_applied``: whoever it touches has been folded anew.
    What the incident guard made (``is_hold``) it alone moves with the wave, until an operator has
    decided; ``saw`` is what it saw, in JSON. With ``upholds`` it is the operator's word that a hold
    stays, and annuls nothing itself.
    """

    made_at = models.BigIntegerField()
    undoes = models.ForeignKey("self", on_delete=models.PROTECT, null=True)
    upholds = models.ForeignKey("self", on_delete=models.PROTECT, null=True, related_name="+")
    since = models.BigIntegerField(null=True)
    until = models.BigIntegerField(null=True)
    provider = models.CharField(max_length=255, null=True)
    domain = models.CharField(max_length=255, null=True)
    category = models.CharField(max_length=32, null=True)
    rule = models.CharField(max_length=100, null=True)
    why = models.CharField(max_length=2_000)
    by = models.CharField(max_length=200)
    is_hold = models.BooleanField(db_default=False)
    saw = models.TextField(null=True)
    is_applied = models.BooleanField(db_default=False)
    is_reread = models.BooleanField(db_default=False)


class Reading(models.Model):
    """How a reread reads a failure, where that differs from how it was read before.

    That of the latest reread that holds counts in place of the reading in the event.
    """

    pk = models.CompositePrimaryKey("address_id", "key", "annulment_id")
    address = models.ForeignKey(
        Address, on_delete=models.PROTECT, db_index=False, db_constraint=False
    )
    key = models.CharField(max_length=200)
    annulment = models.ForeignKey(Annulment, on_delete=models.PROTECT, db_index=False)
    detail = models.TextField()


class _Traffic(models.Model):
    """How much was sent, delivered and came back hard in an hour (since 1970) at one place.

    ``what``: ``domain``, a recipient's; ``provider``; ``own``, a domain where no other provider was
    recorded, which counts as both; ``all``, all of these together.
    """

    channel = models.CharField(max_length=8)
    what = models.CharField(max_length=8)
    name = models.CharField(max_length=255)
    hour = models.IntegerField()
    sent = models.IntegerField()
    delivered = models.IntegerField()
    failed = models.IntegerField()

    class Meta:
        abstract = True


class Traffic(_Traffic):
    """What the incident guard has looked at."""

    pk = models.CompositePrimaryKey("channel", "what", "name", "hour")

    class Meta:
        indexes = [
            models.Index(
                fields=["hour"],
                name="ledger_traffic_failed",
                condition=models.Q(failed__gt=0),
            )
        ]


class TrafficNews(_Traffic):
    """What was recorded since: to be added."""


class MailingTally(models.Model):
    """How many of a mailing's deliveries have a response, and its opens, clicks and the like."""

    pk = models.CompositePrimaryKey("mailing_id", "name")
    mailing = models.ForeignKey(Mailing, on_delete=models.CASCADE, db_index=False)
    name = models.CharField(max_length=48)
    count = models.BigIntegerField(db_default=0)


class StatusTally(models.Model):
    """How many addresses have stood in a status since a day (days since 1970; 0: always)."""

    pk = models.CompositePrimaryKey("day", "channel", "status")
    day = models.IntegerField()
    channel = models.CharField(max_length=8)
    status = models.CharField(max_length=32)
    count = models.BigIntegerField(db_default=0)


class RefusedEvent(models.Model):
    """An event that was not taken: the same key with other content. Kept to be shown."""

    recorded_at = models.BigIntegerField()
    address = models.ForeignKey(Address, on_delete=models.CASCADE)
    key = models.CharField(max_length=200)
    kind = models.CharField(max_length=32)
    why = models.CharField(max_length=200)
    detail = models.TextField(db_default="{}")
