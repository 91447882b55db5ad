"""Mailings' own rows: content, the outbox and the workers. Operational state, not derived.

Times are whole microseconds since 1970 UTC.
"""

from __future__ import annotations

from django.db import models

from goodstanding.ledger.models import Mailing


class Content(models.Model):
    """What a mailing says, to whom, and how far its planning has come."""

    mailing = models.OneToOneField(Mailing, on_delete=models.PROTECT, primary_key=True)
    from_address = models.CharField(max_length=320)
    from_name = models.CharField(max_length=200, db_default="")
    reply_to = models.CharField(max_length=320, null=True)
    subject = models.TextField()
    html = models.TextField(null=True)
    text = models.TextField(null=True)
    lane = models.CharField(max_length=40, db_default="main")
    list_name = models.CharField(max_length=200, null=True)
    control_share = models.FloatField(db_default=0.0)
    salt = models.CharField(max_length=32)
    created_at = models.BigIntegerField()
    starts_at = models.BigIntegerField()
    # Contacts are planned in order of their ids, up to the last one there was at the start.
    planned_to = models.BigIntegerField(db_default=0)
    plan_until = models.BigIntegerField()


class State(models.IntegerChoices):
    """Where a row of the outbox is in the protocol of design section 7."""

    READY = 0
    CLAIMED = 1
    HANDING = 2


class Outbox(models.Model):
    """A delivery that has still to leave."""

    delivery_id = models.BigIntegerField(primary_key=True)
    mailing = models.ForeignKey(
        Mailing, on_delete=models.PROTECT, db_index=False, db_constraint=False
    )
    address_id = models.BigIntegerField()
    contact_id = models.BigIntegerField(null=True)
    state = models.SmallIntegerField(db_default=State.READY.value)
    not_before = models.BigIntegerField()
    attempt = models.IntegerField(db_default=0)
    first_attempt_at = models.BigIntegerField(null=True)
    # Why it has not left although it was tried: nothing of this was said about the address.
    trouble = models.CharField(max_length=200, null=True)
    token = models.BigIntegerField(null=True)
    worker_id = models.BigIntegerField(null=True)

    class Meta:
        indexes = [
            models.Index(
                fields=["not_before", "delivery_id"],
                name="mailings_outbox_ready",
                condition=models.Q(state=0, attempt=0),
            ),
            models.Index(
                fields=["not_before", "delivery_id"],
                name="mailings_outbox_again",
                condition=models.Q(state=0, attempt__gt=0),
            ),
            models.Index(
                fields=["worker_id"],
                name="mailings_outbox_worker",
                condition=models.Q(worker_id__isnull=False),
            ),
            models.Index(fields=["mailing"], name="mailings_outbox_mailing"),
        ]


class Worker(models.Model):
    """A process that sends; alive while it holds its lock."""

    started_at = models.BigIntegerField()
    host = models.CharField(max_length=200)
    process = models.IntegerField()
