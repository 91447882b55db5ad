"""A mail that came back, as far as it can be read without asking the ledger."""

from __future__ import annotations

import re
from typing import Final

import msgspec

from goodstanding.bounces import Reading, read_mail
from goodstanding.intake import mailboxes
from goodstanding.intake.mailboxes import Mailbox
from goodstanding.intake.spool import Envelope

_MOST_HEAD: Final = 256 * 1024  # bytes of a mail's head that are looked at
_HEAD_ENDS: Final = re.compile(rb"\r?\n\r?\n")
_FIELD: Final = re.compile(
    rb"^(message-id|in-reply-to|references)[ \t]*:([^\n]*(?:\n[ \t][^\n]*)*)",
    re.IGNORECASE | re.MULTILINE,
)
_TRACES: Final = ("message-id", "return-path", "list-unsubscribe")


class Letter(msgspec.Struct, frozen=True):
    """A mail as read: which mailboxes of ours it came to, and which delivery it answers.

    ``returned`` is the delivery that the returned original's headers name, ``answered`` the one
    that In-Reply-To or References name; both by a signed token, None where there was none.
    """

    received_at: int
    mailboxes: tuple[Mailbox, ...]
    reading: Reading
    message_id: str
    returned: int | None
    answered: int | None

    @property
    def deliveries(self) -> set[int]:
        """All that it might be about."""
        named = {mailbox.delivery for mailbox in self.mailboxes}
        return {each for each in (*named, self.returned, self.answered) if each is not None}


def read(envelope: Envelope, content: bytes, received_at: int) -> Letter:
    """Read a mail; nothing in it raises."""
    reading = read_mail(content)
    head = _head(content)
    original = reading.original
    found = (mailboxes.find(address) for address in envelope.recipients)
    return Letter(
        received_at=received_at,
        mailboxes=tuple(dict.fromkeys(box for box in found if box is not None)),
        reading=reading,
        message_id=head.get("message-id", ""),
        returned=mailboxes.traced(original[name] for name in _TRACES if name in original),
        answered=mailboxes.traced(
            head[name] for name in ("in-reply-to", "references") if name in head
        ),
    )


def _head(content: bytes) -> dict[str, str]:
    """The fields of ``_FIELD`` in the mail's own head, the first of each, unfolded."""
    start = content[:_MOST_HEAD]
    end = _HEAD_ENDS.search(start)
    fields: dict[str, str] = {}
    for name, value in _FIELD.findall(start[: end.start()] if end else start):
        text = " ".join(value.decode("utf-8", "replace").split())
        fields.setdefault(name.lower().decode(), text)
    return fields
