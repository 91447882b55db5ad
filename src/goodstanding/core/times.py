"""Times as people and other programs say them: RFC 3339 with an offset."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Final

import msgspec

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_SAID = Annotated[datetime, msgspec.Meta(tz=True)]


def parse(text: str) -> int:
    """The time that ``text`` says, in microseconds.

    Raises:
        ValueError: it is not RFC 3339 with an offset, or before 1970; one plain sentence.
    """
    try:
        said: datetime = msgspec.convert(text, _SAID, strict=True)
    except msgspec.ValidationError:
        raise ValueError(
            f"{text[:60]!r} is not a time in RFC 3339 with an offset, such as 2026-03-01T09:30:00Z."
        ) from None
    at = (said - _EPOCH) // timedelta(microseconds=1)
    if at < 0:
        raise ValueError(f"{text!r} is before 1970.")
    return at


def rfc3339(at: int) -> str:
    """Microseconds since 1970 as RFC 3339 in UTC, with a fraction where there is one."""
    return (_EPOCH + timedelta(microseconds=at)).isoformat().replace("+00:00", "Z")


def rfc3339_or_none(at: int | None) -> str | None:
    """The same, None for none."""
    return rfc3339(at) if at is not None else None


def in_words(at: int) -> str:
    """The time as a sentence says it, to the minute: ``2026-03-01 09:30 UTC``."""
    return (_EPOCH + timedelta(microseconds=at)).strftime("%Y-%m-%d %H:%M UTC")


def clock(at: int) -> str:
    """The time of the day alone: ``09:30 UTC``."""
    return (_EPOCH + timedelta(microseconds=at)).strftime("%H:%M UTC")
