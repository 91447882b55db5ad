"""Intake's rows: what was heard and not yet understood, and what was kept of it.

They live in the spool (``config.routers``), so they name deliveries by id and point at nothing.
Times are whole microseconds since 1970 UTC.
"""

from __future__ import annotations

from typing import Final

from django.db import models

MAIL: Final = "mail"
HTTP: Final = "http"

UNDERSTOOD: Final = "understood"
NOT_UNDERSTOOD: Final = "not_understood"


class Spooled(models.Model):
    """Something heard, exactly as it came, in the order in which it came.

    ``envelope`` is the JSON of ``spool.Envelope`` for a mail, of ``spool.Visit`` for a visit over
    HTTP. ``size`` is that of ``content`` in bytes, so that a batch can be measured unread.
    """

    kind = models.CharField(max_length=8)
    received_at = models.BigIntegerField()
    envelope = models.TextField()
    content = models.BinaryField()
    size = models.IntegerField(default=0)


class Kept(models.Model):
    """What was taken from the spool, kept for a while: ``content`` is compressed (zlib).

    ``note`` says what it became, or why it could not be understood; ``events`` how many it made.
    """

    received_at = models.BigIntegerField()
    kind = models.CharField(max_length=8)
    envelope = models.TextField()
    content = models.BinaryField()
    outcome = models.CharField(max_length=16)
    note = models.CharField(max_length=300)
    events = models.IntegerField(default=0)

    class Meta:
        indexes = [
            models.Index(fields=["received_at"], name="intake_kept_received"),
            models.Index(fields=["outcome", "received_at"], name="intake_kept_outcome"),
        ]
