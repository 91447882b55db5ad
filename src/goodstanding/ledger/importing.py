"""Importing events from JSON lines (design, section 11): bad lines named, good ones kept.

A line: ``{"kind", "occurred_at", "address"}`` and, where they apply, ``{"key", "channel",
"mailing", "recipient", "purpose", "topic", "source", "detail"}``. Replies are read as they come in.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from typing import Annotated, Any, BinaryIO, Final

import msgspec
from django.conf import settings
from django.db import transaction

from goodstanding.core.addresses import Address, Channel, MalformedAddress, normalise
from goodstanding.core.categories import CATEGORIES
from goodstanding.core.events import KINDS, SOURCES, Event, not_ahead
from goodstanding.core.gate import ORDER
from goodstanding.ledger.collecting import uncollected
from goodstanding.ledger.readings import of_reply
from goodstanding.ledger.recording import record

LONGEST: Final = 1_000_000
"""Bytes of one line; a longer one is bad and is not held in memory."""

BATCH: Final = 2_000
"""Lines recorded in one transaction, fewer where they are long."""

BATCH_BYTES: Final = 4_000_000
KEPT: Final = 1_000
"""How many problems are kept in the result; all of them are told as they are found."""

DEEPEST: Final = 32
"""How deep lists and objects may be nested in a detail."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_IMPORTABLE: Final = frozenset(name for name, kind in KINDS.items() if kind.about != "record")
_DISPOSITIONS: Final = ("hard", "soft", "block", "none")
_STOP_REASON: Final = 100  # characters
_BOM: Final = b"\xef\xbb\xbf"
_TEXT: Final = re.compile(rb'"(?:[^"\\]|\\.)*+"?')
_OURS: Final = frozenset({"mailing", "claimed_at"})
"""What the ledger itself writes into a detail."""


class Problem(msgspec.Struct, frozen=True):
    """What is wrong with a line, counted from one; ``why`` is one plain sentence."""

    line: int
    why: str


class Imported(msgspec.Struct):
    """What became of the lines.

    ``read``: lines that were not empty. ``stored`` and ``repeated``: events that were new, or heard
    before. ``bad``: lines that were not kept; ``problems`` has the first ``KEPT`` of them.
    ``words``: new words on consent that were read in replies by SMS, stored beside those.
    """

    read: int = 0
    stored: int = 0
    repeated: int = 0
    bad: int = 0
    problems: list[Problem] = []
    words: int = 0


class _BadLine(ValueError):
    """A line that is no event; the message is one plain sentence."""


class _Line(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """An event as a line says it."""

    kind: str
    occurred_at: Annotated[datetime, msgspec.Meta(tz=True)]
    address: str
    key: str | None = None
    channel: Channel | None = None
    mailing: str | None = None
    recipient: str | None = None
    purpose: str | None = None
    topic: str | None = None
    source: str | None = None
    detail: dict[str, Any] | None = None


_Batch = list[tuple[int, bytes]]

_decode = msgspec.json.Decoder(_Line).decode


def bounded_lines(file: BinaryIO) -> Iterator[bytes]:
    """The lines of a file; of one longer than ``LONGEST`` only so much that it shows."""
    while line := file.readline(LONGEST + 2):
        yield line
        while len(line) > LONGEST + 1 and not line.endswith(b"\n"):
            line = file.readline(LONGEST + 2)


def import_events(
    lines: Iterable[bytes],
    now: int,
    *,
    strict: bool = False,
    progress: Callable[[int], None] | None = None,
    on_problem: Callable[[Problem], None] | None = None,
) -> Imported:
    """Record the events that the lines say.

    ``now`` in microseconds. ``strict``: one bad line, and none are kept; all of it is then one
    transaction. ``progress`` is told of bytes done, ``on_problem`` of every bad line.
    """
    work = _Import(now, on_problem)
    batches = _batches(lines)
    if not strict:
        for batch, size in batches:
            work.keep(batch)
            if progress is not None:
                progress(size)
        return work.done
    with transaction.atomic():
        for batch, size in batches:
            work.keep(batch)
            if progress is not None:
                progress(size)
            if work.done.bad:
                transaction.set_rollback(True)
                break
    # What follows is only looked at; nobody waits for the lock meanwhile.
    for batch, size in batches:
        with transaction.atomic():
            work.keep(batch)
            transaction.set_rollback(True)
        if progress is not None:
            progress(size)
    if work.done.bad:
        work.done.stored = work.done.repeated = work.done.words = 0
    return work.done


class _Import:
    """One import while it runs."""

    def __init__(self, now: int, on_problem: Callable[[Problem], None] | None) -> None:
        self.now = now
        self.done = Imported()
        self._on_problem = on_problem
        self._region = settings.OPTIONS.region

    def keep(self, batch: _Batch) -> None:
        """Record a batch's good lines, and note its bad ones."""
        with uncollected():
            self._keep(batch)

    def _keep(self, batch: _Batch) -> None:
        numbers: list[int] = []
        events: list[Event] = []
        problems: list[Problem] = []
        for number, line in batch:
            try:
                event = _event(line, self._region)
            except _BadLine as error:
                problems.append(Problem(number, str(error)))
            else:
                numbers.append(number)
                # Settled here already, so that what is refused can be told by its identity.
                events.append(not_ahead(event, self.now))
        recorded = record(events, self.now)
        if recorded.refused:
            line_of = {id(event): number for event, number in zip(events, numbers, strict=True)}
            problems.extend(
                Problem(line_of[id(refused.event)], _sentence(refused.why))
                for refused in recorded.refused
            )
        self.done.read += len(batch)
        self.done.stored += recorded.stored
        self.done.repeated += recorded.repeated
        self.done.words += recorded.words
        for problem in sorted(problems, key=lambda problem: problem.line):
            self._note(problem)

    def _note(self, problem: Problem) -> None:
        self.done.bad += 1
        if len(self.done.problems) < KEPT:
            self.done.problems.append(problem)
        if self._on_problem is not None:
            self._on_problem(problem)


def _batches(lines: Iterable[bytes]) -> Iterator[tuple[_Batch, int]]:
    """The lines that are not empty, with their numbers, in batches, and the bytes of each batch."""
    batch: _Batch = []
    size = 0
    first = True
    for number, line in enumerate(lines, 1):
        size += len(line)
        if first:
            line = line.removeprefix(_BOM)  # noqa: PLW2901 - the same line, without the mark
            first = False
        if line.isspace() or not line:
            continue
        batch.append((number, line))
        if len(batch) == BATCH or size > BATCH_BYTES:
            yield batch, size
            batch, size = [], 0
    if batch:
        yield batch, size


def _event(line: bytes, region: str | None) -> Event:
    """The event that a line says.

    Raises:
        _BadLine: it says none.
    """
    said = _decoded(line)
    kind = said.kind
    if kind not in _IMPORTABLE:
        wrong = "cannot be imported" if kind in KINDS else "is not a kind of event"
        raise _BadLine(f"{_short(kind)} {wrong}.")
    try:
        address = normalise(said.channel or "email", said.address, region)
    except MalformedAddress as error:
        raise _BadLine(str(error)) from None
    source = said.source or "import"
    if source not in SOURCES and not source.startswith("webhook:"):
        raise _BadLine(f"{_short(source)} is not a source of events.")
    since = said.occurred_at - _EPOCH
    occurred_at = (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
    if occurred_at < 0:
        raise _BadLine("Its occurred_at is before 1970.")
    detail = said.detail or {}
    if ours := _OURS & detail.keys():
        raise _BadLine(f"The detail may not hold {' or '.join(sorted(ours))}.")
    look = _DETAILS.get(kind)
    if look is not None:
        detail = look(detail, address)
    return Event(
        kind=kind,
        occurred_at=occurred_at,
        address=address,
        source=source,
        key=said.key or "",
        mailing=said.mailing or None,
        recipient=said.recipient or "",
        purpose=said.purpose or None,
        topic=said.topic or None,
        detail=detail,
    )


def _decoded(line: bytes) -> _Line:
    if len(line) > LONGEST:
        raise _BadLine(f"The line is longer than {LONGEST:,} bytes.")
    if line.count(b"[") + line.count(b"{") > DEEPEST and _depth(line) > DEEPEST:
        raise _BadLine(f"Its lists and objects are nested deeper than {DEEPEST}.")
    try:
        return _decode(line)
    except msgspec.ValidationError as error:
        text = str(error)
        if text.endswith("`$.occurred_at`"):
            text = "Its occurred_at is not a time in RFC 3339 with an offset: 2026-03-01T09:30:00Z"
        raise _BadLine(_sentence(text)) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _BadLine(f"It is not JSON: {_sentence(str(error))}") from None


def _depth(line: bytes) -> int:
    """How deep lists and objects are nested."""
    depth = deepest = 0
    for byte in _TEXT.sub(b"", line):
        if byte in b"[{":
            depth += 1
            deepest = max(deepest, depth)
        elif byte in b"]}":
            depth = max(depth - 1, 0)
    return deepest


def _failure(detail: dict[str, Any], address: Address) -> dict[str, Any]:
    """What was said, with its reading."""
    category = detail.get("category")
    if category is not None:
        return _given(detail, category, address)
    text = detail.get("text")
    if text is None:
        return detail
    if not isinstance(text, str):
        raise _BadLine("The detail's text is not a text.")
    return detail | of_reply(text, address)


def _given(detail: dict[str, Any], name: object, address: Address) -> dict[str, Any]:
    """A reading that came with the event."""
    category = CATEGORIES.get(name) if isinstance(name, str) else None
    if category is None:
        raise _BadLine(f"{_short(name)} is not a category of bounce.")
    if category.channel not in (None, address.channel):
        raise _BadLine(f"The category {name} is one of {category.channel} alone.")
    disposition = detail.get("disposition")
    if disposition is None:
        return detail | {"disposition": category.disposition}
    if disposition not in _DISPOSITIONS:
        raise _BadLine(f"{_short(disposition)} is not a disposition: {', '.join(_DISPOSITIONS)}.")
    return detail


def _bounced(detail: dict[str, Any], address: Address) -> dict[str, Any]:
    read = _failure(detail, address)
    if read.get("category") is None:
        read = _given(read, "undetermined", address) | {"category": "undetermined"}
    disposition = CATEGORIES[read["category"]].disposition
    # That of `timed_out` is the last deferral's; every other category has one of its own.
    if read["disposition"] != disposition and read["category"] != "timed_out":
        raise _BadLine(f"A bounce for {read['category']} is {disposition}, not as it says.")
    return read


def _skipped(detail: dict[str, Any], _address: Address) -> dict[str, Any]:
    reason = detail.get("reason")
    if reason is not None and (not isinstance(reason, str) or reason not in ORDER):
        raise _BadLine(f"{_short(reason)} is not a reason to skip.")
    return detail


def _stopped(detail: dict[str, Any], _address: Address) -> dict[str, Any]:
    reason = detail.get("reason")
    if reason is not None and (
        not isinstance(reason, str) or len(reason) > _STOP_REASON or "\0" in reason
    ):
        raise _BadLine(f"The reason to stop is not a text of at most {_STOP_REASON} characters.")
    return detail


def _sent(detail: dict[str, Any], _address: Address) -> dict[str, Any]:
    if not isinstance(detail.get("reports", True), bool):
        raise _BadLine("The detail's reports is neither true nor false.")
    return detail


def _imported(detail: dict[str, Any], _address: Address) -> dict[str, Any]:
    if not isinstance(detail.get("permission", False), bool):
        raise _BadLine("The detail's permission is neither true nor false.")
    return detail


def _confirmed(detail: dict[str, Any], _address: Address) -> dict[str, Any]:
    if detail.get("method", "standard") not in ("standard", "custom"):
        raise _BadLine(f"{_short(detail['method'])} is not a method: standard or custom.")
    return detail


_DETAILS: Final[dict[str, Callable[[dict[str, Any], Address], dict[str, Any]]]] = {
    "bounced": _bounced,
    "deferred": _failure,
    "skipped": _skipped,
    "stopped": _stopped,
    "sent": _sent,
    "imported": _imported,
    "confirmed": _confirmed,
}


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}…"


def _sentence(text: str) -> str:
    text = text[:1].upper() + text[1:]
    return text if text.endswith(".") else f"{text}."
