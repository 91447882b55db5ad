"""Mailings' own rows: content, lots, the outbox, sequences and the workers.

Operational state, not derived. Times are whole microseconds since 1970 UTC.
"""

from __future__ import annotations

from django.db import models

from goodstanding.ledger.models import Mailing


class Course(models.TextChoices):
    """What an operator wants of a mailing."""

    RUNNING = "running"
    PAUSED = "paused"
    STOPPED = "stopped"


class Content(models.Model):
    """What a mailing says, to whom, how far its planning has come, and whether it may go on."""

    mailing = models.OneToOneField(Mailing, on_delete=models.PROTECT, primary_key=True)
    from_address = models.CharField(max_length=320)
    from_name = models.CharField(max_length=200, db_default="")
    reply_to = models.CharField(max_length=320, null=True)
    subject = models.TextField()
    html = models.TextField(null=True)
    text = models.TextField(null=True)
    # The links of a request for confirmation, as JSON, in the order of their numbers.
    confirms = models.TextField(db_default="[]")
    lane = models.CharField(max_length=40, db_default="main")
    list_name = models.CharField(max_length=200, null=True)
    control_share = models.FloatField(db_default=0.0)
    salt = models.CharField(max_length=32)
    created_at = models.BigIntegerField()
    starts_at = models.BigIntegerField()
    expires_at = models.BigIntegerField(null=True)
    # Who writes: a one-off is one person's mail to another.
    author = models.CharField(max_length=200, null=True)
    # Sent to one after the other, as they are asked for: it has no audience that comes to an end.
    one_by_one = models.BooleanField(db_default=False)
    # Contacts are planned in order of their ids, up to the last one there is when it starts.
    planned_to = models.BigIntegerField(db_default=0)
    plan_until = models.BigIntegerField(null=True)
    # Every recipient's merge fields are tried before the first mail leaves, in order of deliveries.
    checked_to = models.BigIntegerField(db_default=0)
    is_checked = models.BooleanField(db_default=False)
    course = models.CharField(max_length=8, db_default=Course.RUNNING.value)
    course_since = models.BigIntegerField(null=True)
    course_by = models.CharField(max_length=200, null=True)
    course_why = models.CharField(max_length=500, null=True)


class Provider(models.Model):
    """A mailbox provider; the first row stands for all that are too small to have their own."""

    name = models.CharField(max_length=255, unique=True)

    def __str__(self) -> str:
        return self.name


class Domain(models.Model):
    """Whose mailboxes a domain's are."""

    domain = models.CharField(max_length=255, primary_key=True)
    provider = models.ForeignKey(Provider, on_delete=models.PROTECT)
    # Who takes its mail by its MX, and when that is to be asked again (null: never).
    mx = models.CharField(max_length=255, null=True)
    look_up_at = models.BigIntegerField(null=True, db_default=0)

    class Meta:
        indexes = [
            models.Index(
                fields=["look_up_at"],
                name="mailings_domain_look_up",
                condition=models.Q(look_up_at__isnull=False),
            )
        ]


class Lot(models.Model):
    """What a mailing has for one provider by one lane: the claim takes from the lots in turn."""

    mailing = models.ForeignKey(Mailing, on_delete=models.PROTECT)
    provider = models.ForeignKey(Provider, on_delete=models.PROTECT)
    lane = models.CharField(max_length=40)
    priority = models.SmallIntegerField()
    planned = models.IntegerField(db_default=0)
    # Whether there may be something to send in it.
    is_open = models.BooleanField(db_default=True)
    # The brake: since when it is held, why, and when an operator last let it go.
    held_at = models.BigIntegerField(null=True)
    held_why = models.CharField(max_length=500, null=True)
    released_at = models.BigIntegerField(null=True)
    released_by = models.CharField(max_length=200, null=True)
    released_why = models.CharField(max_length=500, null=True)
    released_handed = models.IntegerField(db_default=0)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["mailing", "provider", "lane"], name="mailings_lot_identity"
            )
        ]
        indexes = [
            models.Index(
                fields=["priority"], name="mailings_lot_open", condition=models.Q(is_open=True)
            )
        ]


class Pace(models.Model):
    """How fast a lane goes to a provider, as a share of its limits; no row: at full."""

    pk = models.CompositePrimaryKey("lane", "provider_id")
    lane = models.CharField(max_length=40)
    provider = models.ForeignKey(Provider, on_delete=models.PROTECT, db_index=False)
    level = models.FloatField()
    changed_at = models.BigIntegerField()
    slowed_at = models.BigIntegerField()
    not_before = models.BigIntegerField()
    why = models.CharField(max_length=500)


class Message(models.Model):
    """A delivery that was asked for on its own, with its data; ``key`` makes asking twice safe."""

    delivery_id = models.BigIntegerField(primary_key=True)
    mailing = models.ForeignKey(Mailing, on_delete=models.PROTECT, db_index=False)
    key = models.CharField(max_length=150)
    # Of the address and the fields: the same key for something else is refused.
    digest = models.CharField(max_length=64)
    fields = models.TextField(db_default="{}")

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["mailing", "key"], name="mailings_message_key")
        ]


class Sequence(models.Model):
    """Mailings that follow on what a person did, each after its delay."""

    name = models.CharField(max_length=200, unique=True)
    starts_on = models.CharField(max_length=32)  # a kind of event
    topic = models.CharField(max_length=100, null=True)
    created_at = models.BigIntegerField()
    course = models.CharField(max_length=8, db_default=Course.RUNNING.value)

    def __str__(self) -> str:
        return self.name


class Step(models.Model):
    """One mailing of a sequence; ``delay`` is counted from the event that began it."""

    pk = models.CompositePrimaryKey("sequence_id", "number")
    sequence = models.ForeignKey(Sequence, on_delete=models.PROTECT, db_index=False)
    number = models.IntegerField()
    mailing = models.OneToOneField(Mailing, on_delete=models.PROTECT)
    delay = models.BigIntegerField()


class Enrolment(models.Model):
    """An address on its way through a sequence; ``due_at`` is null when it is through or left.

    ``event``: the key of what began it.
    """

    sequence = models.ForeignKey(Sequence, on_delete=models.PROTECT, db_index=False)
    address_id = models.BigIntegerField()
    event = models.CharField(max_length=200)
    began_at = models.BigIntegerField()
    next_step = models.IntegerField(db_default=0)
    due_at = models.BigIntegerField(null=True)
    left_why = models.CharField(max_length=32, null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["sequence", "address_id"], name="mailings_enrolment_identity"
            )
        ]
        indexes = [
            models.Index(
                fields=["sequence", "next_step", "due_at"],
                name="mailings_enrolment_due",
                condition=models.Q(due_at__isnull=False),
            )
        ]


class Bookmark(models.Model):
    """How far a reader of the ledger's changes has come."""

    reader = models.CharField(max_length=40, primary_key=True)
    cursor = models.CharField(max_length=200)


class State(models.IntegerChoices):
    """Where a row of the outbox is in the protocol of design section 7.

    A row that is ready has no worker, and any other has one.
    """

    READY = 0
    CLAIMED = 1
    HANDING = 2


class Outbox(models.Model):
    """A delivery that has still to leave."""

    delivery_id = models.BigIntegerField(primary_key=True)
    mailing = models.ForeignKey(
        Mailing, on_delete=models.PROTECT, db_index=False, db_constraint=False
    )
    lot = models.ForeignKey(Lot, on_delete=models.PROTECT, db_index=False, db_constraint=False)
    address_id = models.BigIntegerField()
    contact_id = models.BigIntegerField(null=True)
    # A mailing goes out spread over its audience: see planning.
    place = models.IntegerField(db_default=0)
    state = models.SmallIntegerField(db_default=State.READY.value)
    not_before = models.BigIntegerField()
    attempt = models.IntegerField(db_default=0)
    first_attempt_at = models.BigIntegerField(null=True)
    # What became of an attempt, until it is recorded: see outbox.Told.
    told = models.TextField(null=True)
    # Why it has not left although it was tried: nothing of this was said about the address.
    trouble = models.CharField(max_length=200, null=True)
    token = models.BigIntegerField(null=True)
    worker_id = models.BigIntegerField(null=True)

    class Meta:
        # None with the state: a fence is set without touching an index.
        indexes = [
            models.Index(
                fields=["lot", "not_before", "place"],
                name="mailings_outbox_ready",
                condition=models.Q(worker_id__isnull=True, attempt=0),
            ),
            models.Index(
                fields=["lot", "not_before"],
                name="mailings_outbox_again",
                condition=models.Q(worker_id__isnull=True, attempt__gt=0),
            ),
            models.Index(
                fields=["worker_id"],
                name="mailings_outbox_worker",
                condition=models.Q(worker_id__isnull=False),
            ),
            models.Index(fields=["mailing", "delivery_id"], name="mailings_outbox_mailing"),
        ]


class Worker(models.Model):
    """A process that sends; alive while it holds its lock and says so now and then."""

    started_at = models.BigIntegerField()
    seen_at = models.BigIntegerField(db_default=0)
    host = models.CharField(max_length=200)
    process = models.IntegerField()
