"""The book: one JSON line for every act of the post office.

``did`` is one of

- ``accepted``, ``refused``, ``deferred``: what a door said, written before it is said;
- ``cut_before_dot``, ``cut_after_dot``: a connection was cut (the second after ``accepted``);
- ``turned``: a provider as a whole changed its state (``weather``);
- ``reported`` (``how``: ``failed``, ``delayed``, ``prose``), ``complained``, ``auto_replied``,
  ``replied``: a letter was sent back, and the listener took it;
- ``opened``, ``clicked``, ``scanned`` (``how``: the method): a page was fetched;
- ``unsubscribed`` (``how``: ``header``, ``mail``, ``page``, ``page_reason``, ``page_spam``);
- ``unsent``: there is nobody to send a letter to; ``failed``: an act did not succeed, with the
  reason in ``reply``.

``accepted`` lines name the ``hash`` of what the mail says (``contents.py``): two with the same
``recipient`` and ``hash`` are one mail sent twice, whatever their Message-IDs. Answers that come
from a provider's state or from a limit of it, and not from the mailbox, name ``weather`` or
``limit``.

A line is written at one stroke and through to the operating system, before the answer is given
that it tells of. Who reads meanwhile takes what ends with a newline.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from pathlib import Path


class BookClosed(OSError):
    """The post office is closing: what is not in the book by now has not happened."""


class Line(msgspec.Struct, omit_defaults=True, kw_only=True):
    """One act. ``at`` is RFC 3339 in UTC; the fields without a default are always written."""

    at: str
    provider: str | None
    recipient: str
    temper: str
    did: str
    reply: str | None
    message_id: str | None
    envelope_from: str | None
    url: str | None = None
    agent: str | None = None
    how: str | None = None
    accepted: bool | None = None
    hash: str | None = None
    weather: str | None = None
    limit: str | None = None


class Book:
    """Appends lines to a file and counts them; other threads may read the counts."""

    def __init__(self, path: Path | None) -> None:
        """Open the book for appending; without a path it only counts.

        Raises:
            OSError: the file cannot be opened.
        """
        self._file = None if path is None else path.open("ab", buffering=0)
        self._is_closed = False
        self._encode = msgspec.json.Encoder().encode
        self._counts: Counter[tuple[str, str]] = Counter()

    def write(
        self,
        did: str,
        *,
        provider: str | None,
        recipient: str,
        temper: str,
        reply: str | None = None,
        message_id: str | None = None,
        envelope_from: str | None = None,
        url: str | None = None,
        agent: str | None = None,
        how: str | None = None,
        accepted: bool | None = None,
        hash: str | None = None,  # noqa: A002 - as in the book
        weather: str | None = None,
        limit: str | None = None,
    ) -> None:
        """Write one line, through to the operating system.

        Raises:
            BookClosed: nothing is written any more.
            OSError: it could not be written.
        """
        if self._is_closed:
            raise BookClosed("the book is closed")
        if self._file is not None:
            line = Line(
                at=now(),
                provider=provider,
                recipient=recipient,
                temper=temper,
                did=did,
                reply=reply,
                message_id=message_id,
                envelope_from=envelope_from,
                url=url,
                agent=agent,
                how=how,
                accepted=accepted,
                hash=hash,
                weather=weather,
                limit=limit,
            )
            self._file.write(self._encode(line) + b"\n")
        if did != "turned":
            self._counts[temper, did] += 1

    def total(self, did: str) -> int:
        """Return how many acts of this name the book has seen since it was opened."""
        return sum(count for (_, name), count in list(self._counts.items()) if name == did)

    def by_temper(self) -> dict[str, dict[str, int]]:
        """Return the number of acts by temper and name."""
        table: dict[str, dict[str, int]] = {}
        for (temper, did), count in sorted(self._counts.copy().items()):
            table.setdefault(temper, {})[did] = count
        return table

    def close(self) -> None:
        """Force the book to disk and close it; nothing can be written any more."""
        self._is_closed = True
        if self._file is not None:
            os.fsync(self._file.fileno())
            self._file.close()
            self._file = None


def now() -> str:
    """Return the present time in RFC 3339, UTC, to the microsecond."""
    return datetime.fromtimestamp(time.time(), UTC).isoformat(timespec="microseconds")
