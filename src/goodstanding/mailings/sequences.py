"""Sequences: mailings that follow on what a person did, each after its delay.

The feed of changes tells what was done; whoever did it is enrolled. When an enrolment is due, one
transaction plans the step's mailing for it, as far as the gate allows, and takes it on to the next
step, or lets it leave. So each step is planned exactly once, whatever dies and however many work;
and none before the mail of the step before it has left.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

import msgspec
from django.db import connection, transaction
from django.db.backends.utils import CursorWrapper

from goodstanding.core.events import KINDS, SECOND
from goodstanding.ledger import bulk, changes, clock
from goodstanding.ledger import models as ledger
from goodstanding.ledger.changes import Changed
from goodstanding.mailings import contents, models, planning
from goodstanding.mailings import course as courses
from goodstanding.mailings.contents import RefusedMailing
from goodstanding.mailings.course import RefusedCourse
from goodstanding.mailings.models import Course
from goodstanding.mailings.sequence_files import RefusedSequence, SequenceDraft

READER: Final = "sequences"
"""The name of this reader's bookmark in the feed of changes."""

FEED: Final = 5_000
"""Changes read at a time."""

BATCH: Final = 500
"""Enrolments taken to their next step in one transaction."""

LATE: Final = 7 * 86_400 * SECOND
"""What is heard so long (microseconds) after it happened begins nothing any more."""

SOONEST: Final = SECOND
LATEST: Final = 3_600 * SECOND
"""Whom the mail before has not left for yet is looked at again after a hundredth of the time
between the two, within these limits (microseconds)."""

_GOES_ON: Final = frozenset({"limit_reached"})
"""What skips a step and lets the next one come: nothing is wrong with the address."""

_ENROLMENTS: Final = bulk.Table(
    models.Enrolment, ("sequence_id", "address_id", "event", "began_at", "next_step", "due_at")
)
_ONCE: Final = "ON CONFLICT (sequence_id, address_id) DO NOTHING"
_ANEW: Final = (
    "ON CONFLICT (sequence_id, address_id) DO UPDATE SET event = excluded.event,"
    " began_at = excluded.began_at, next_step = excluded.next_step, due_at = excluded.due_at,"
    " left_why = NULL WHERE mailings_enrolment.left_why IS NOT NULL"
    " AND mailings_enrolment.began_at < excluded.began_at"
)
"""Who has left begins anew with what they said later than what they were enrolled for."""


class ListedStep(msgspec.Struct, frozen=True):
    """One mailing of a sequence; ``delay`` in microseconds from the event that begins it."""

    mailing: str
    delay: int
    subject: str


class Listed(msgspec.Struct, frozen=True):
    """A sequence, and how many addresses are where on it; ``left``: by reason."""

    name: str
    starts_on: str
    topic: str | None
    state: str
    created_at: int
    steps: tuple[ListedStep, ...]
    under_way: int
    done: int
    left: dict[str, int]


# Making


def create(draft: SequenceDraft, now: int) -> int:
    """Keep a sequence with its mailings; its id. What happens from now on begins it.

    Raises:
        RefusedSequence: what is wrong with it, all of it.
    """
    with transaction.atomic():
        return _keep(draft, now)


def _keep(draft: SequenceDraft, now: int) -> int:
    # Whoever makes another one at the same time waits here.
    _begin_reading()
    if models.Sequence.objects.filter(name=draft.name).exists():
        raise RefusedSequence([*draft.problems, f"there is a sequence {draft.name!r} already"])
    problems = list(draft.problems)
    if ledger.Mailing.objects.filter(name=draft.name).exists():
        problems.append(f"there is a mailing {draft.name!r} already")
    mailings, in_steps = _keep_mailings(draft, now)
    problems.extend(in_steps)
    if problems:
        raise RefusedSequence(problems)
    made = models.Sequence.objects.create(
        name=draft.name, starts_on=draft.starts_on, topic=draft.topic, created_at=now
    )
    models.Step.objects.bulk_create(
        models.Step(
            sequence=made, number=step.number, mailing_id=mailings[step.number], delay=step.delay
        )
        for step in draft.steps
    )
    return int(made.pk)


def _keep_mailings(draft: SequenceDraft, now: int) -> tuple[dict[int, int], list[str]]:
    """The mailing of each step, by its number, and what is wrong with those that cannot be kept."""
    mailings = {}
    wrong: dict[str, list[int]] = {}
    for step in draft.steps:
        mail = contents.Draft(
            name=f"{draft.name}/{step.number}",
            subject=step.subject,
            html=step.html,
            text=step.text,
            from_address=draft.from_address,
            from_name=draft.from_name,
            reply_to=draft.reply_to,
            purpose="sequence",
            topic=draft.topic,
            lane=draft.lane,
        )
        try:
            mailings[step.number] = contents.create(mail, now)
        except RefusedMailing as error:
            for problem in error.problems:
                wrong.setdefault(problem, []).append(step.number)
    return mailings, [
        f"{_numbered(numbers, len(draft.steps))}: {problem}" for problem, numbers in wrong.items()
    ]


def _numbered(numbers: Sequence[int], of: int) -> str:
    if len(numbers) == of > 1:
        return "every step"
    return f"step{'s' if len(numbers) > 1 else ''} {', '.join(map(str, numbers))}"


def _begin_reading() -> None:
    """Begin with what is told next, where nobody was reading until now."""
    models.Bookmark.objects.bulk_create(
        [models.Bookmark(reader=READER, cursor="0")], ignore_conflicts=True
    )
    with connection.cursor() as cursor:
        _bookmark(cursor)
        if not _reading(cursor):
            _turn_to(cursor, changes.latest())


# What an operator wants of it


def set_course(name: str, course: Course, who: str, why: str, now: int) -> None:
    """Let a sequence pause, go on, or stop for good, and its mailings with it.

    While it is paused whoever it concerns is enrolled all the same; what becomes due meanwhile goes
    out when it goes on. Stopped, it ends for everybody who is under way.

    Raises:
        RefusedCourse: there is no such sequence, or it is not on a course that leads there.
    """
    with transaction.atomic():
        # Waits for whoever is planning a step of it, see _plan_step.
        found = models.Sequence.objects.select_for_update().filter(name=name).first()
        if found is None:
            raise RefusedCourse(f"there is no sequence {name!r}")
        if found.course in (course, Course.STOPPED):
            raise RefusedCourse(f"the sequence {name!r} is {found.course} already")
        models.Sequence.objects.filter(pk=found.pk).update(course=course)
        steps = models.Step.objects.filter(sequence=found).order_by("mailing")
        for mailing in steps.values_list("mailing__name", flat=True):
            # A step that is on that course already, on its own, stays there.
            with suppress(RefusedCourse):
                courses.set_course(mailing, course, who, why, now)


def exists(name: str) -> bool:
    """Whether there is a sequence of that name."""
    return models.Sequence.objects.filter(name=name).exists()


def listed() -> list[Listed]:
    """Every sequence, in the order in which they were made."""
    steps: dict[int, list[ListedStep]] = defaultdict(list)
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT s.sequence_id, m.name, s.delay, c.subject FROM mailings_step s"
            " JOIN ledger_mailing m ON m.id = s.mailing_id"
            " JOIN mailings_content c ON c.mailing_id = s.mailing_id"
            " ORDER BY s.sequence_id, s.number"
        )
        for sequence, *step in cursor.fetchall():
            steps[sequence].append(ListedStep(*step))
        cursor.execute(
            "SELECT sequence_id, left_why, due_at IS NOT NULL, count(*) FROM mailings_enrolment"
            " GROUP BY sequence_id, left_why, due_at IS NOT NULL ORDER BY count(*) DESC, left_why"
        )
        counts = cursor.fetchall()
    return [
        _with_counts(
            sequence, steps[sequence.pk], [row[1:] for row in counts if row[0] == sequence.pk]
        )
        for sequence in models.Sequence.objects.order_by("pk")
    ]


def _with_counts(
    sequence: models.Sequence, steps: Iterable[ListedStep], counts: Iterable[tuple[Any, ...]]
) -> Listed:
    under_way = done = 0
    left: dict[str, int] = {}
    for why, due, count in counts:
        if why is not None:
            left[why] = count
        elif not due:
            done = count
        elif sequence.course == Course.STOPPED:
            left["stopped"] = count
        else:
            under_way = count
    return Listed(
        name=sequence.name,
        starts_on=sequence.starts_on,
        topic=sequence.topic,
        state=sequence.course,
        created_at=sequence.created_at,
        steps=tuple(steps),
        under_way=under_way,
        done=done,
        left=left,
    )


# The worker's part


def step(now: int) -> bool:
    """Enrol whom the feed tells of, and take who is due to their next step.

    Returns whether there may be more to do at once. One sequence that fails does not keep the
    others waiting.
    """
    busy = _enrol()
    failed: Exception | None = None
    for place in _due(now):
        try:
            busy |= _plan_step(place, now)
        except Exception as error:  # noqa: BLE001 - raised when the others have had their turn
            failed = error
    if failed is not None:
        raise failed
    return busy


class _Reading(msgspec.Struct, frozen=True):
    """A sequence that is waiting for events; ``delay``: that of its first step."""

    id: int
    starts_on: str
    topic: str | None
    created_at: int
    delay: int

    def is_begun_by(self, change: Changed, mailing_topic: str | None) -> bool:
        """Whether that begins it; ``mailing_topic``: of the mailing that it is about."""
        if change.new != self.starts_on or change.occurred_at is None:
            return False
        # Some can tell a time only to the second.
        made_at = self.created_at // SECOND * SECOND
        if change.recorded_at < self.created_at or change.occurred_at < made_at:
            return False
        if KINDS[change.new].about == "delivery":
            return self.topic is None or self.topic == mailing_topic
        return self.topic == change.topic


def _enrol() -> bool:
    """Read on in the feed; whether there is more."""
    with connection.cursor() as cursor:
        if not _reading(cursor):
            return False
        last = _bookmark(cursor, lock=False)
    # Not in a transaction: it may wait for those of others.
    found, on = changes.after(last, FEED)
    if on == last:
        return False
    with transaction.atomic(), connection.cursor() as cursor:
        if _bookmark(cursor) != last:
            return True  # Another worker has dealt with these.
        _enrol_all(cursor, _reading(cursor, lock=True), found)
        _turn_to(cursor, on)
    return len(found) == FEED


def _enrol_all(
    cursor: CursorWrapper, reading: Collection[_Reading], found: Iterable[Changed]
) -> None:
    """Enrol whom these changes tell of: once each, or anew where they had left."""
    kinds = {sequence.starts_on for sequence in reading}
    told = [
        change
        for change in found
        if change.event is not None
        and change.new in kinds
        and change.occurred_at is not None
        and change.recorded_at - change.occurred_at <= LATE
    ]
    if not told:
        return
    with_mail = _with_mail(cursor, {change.address_id for change in told})
    topics = _topics(cursor, {c.delivery_id for c in told if c.delivery_id is not None})
    for sequence in sorted(reading, key=lambda each: each.id):
        rounds: list[dict[int, tuple[Any, ...]]] = []
        for change in told:
            topic = topics.get(change.delivery_id or 0)
            if change.address_id in with_mail and sequence.is_begun_by(change, topic):
                _in_turn(rounds, change.address_id, _enrolment(sequence, change))
        again = KINDS[sequence.starts_on].about != "delivery"
        for rows in rounds:
            # In one order, so that no two can lock each other out.
            in_order = [rows[address] for address in sorted(rows)]
            _ENROLMENTS.insert(cursor, in_order, on_conflict=_ANEW if again else _ONCE)


def _enrolment(sequence: _Reading, change: Changed) -> tuple[Any, ...]:
    began = change.occurred_at or 0
    return (sequence.id, change.address_id, change.event, began, 1, began + sequence.delay)


def _in_turn(rounds: list[dict[int, tuple[Any, ...]]], address: int, row: tuple[Any, ...]) -> None:
    """What is told of one address is dealt with one after the other, each in a round of its own."""
    for rows in rounds:
        if address not in rows:
            rows[address] = row
            return
    rounds.append({address: row})


def _with_mail(cursor: CursorWrapper, addresses: Collection[int]) -> set[int]:
    """Those to which mail can be sent at all."""
    cursor.execute(
        "SELECT id FROM ledger_address WHERE channel = 'email' AND value <> ''"
        f" AND {bulk.among('id')}",
        [bulk.listed(addresses)],
    )
    return {row[0] for row in cursor.fetchall()}


def _topics(cursor: CursorWrapper, deliveries: Collection[int]) -> Mapping[int, str | None]:
    """The topics of those deliveries' mailings."""
    if not deliveries:
        return {}
    cursor.execute(
        "SELECT d.id, m.topic FROM ledger_delivery d JOIN ledger_mailing m ON m.id = d.mailing_id"
        f" WHERE {bulk.among('d.id')}",
        [bulk.listed(deliveries)],
    )
    return dict(cursor.fetchall())


class _Place(msgspec.Struct, frozen=True):
    """A step of a sequence, between others.

    ``before``: the mailing of the step before it, and ``since`` how long after that it comes.
    ``gap``: how long after it the next one comes. Each is None where there is none.
    """

    sequence: int
    number: int
    mailing: int
    before: int | None
    since: int | None
    gap: int | None


def _due(now: int) -> list[_Place]:
    """The steps for which somebody is due."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT s.sequence_id, s.number, s.mailing_id, b.mailing_id, s.delay - b.delay,"
            " n.delay - s.delay FROM mailings_step s"
            " JOIN mailings_sequence q ON q.id = s.sequence_id"
            " LEFT JOIN mailings_step b ON b.sequence_id = s.sequence_id"
            " AND b.number = s.number - 1"
            " LEFT JOIN mailings_step n ON n.sequence_id = s.sequence_id"
            " AND n.number = s.number + 1"
            f" WHERE q.course = '{Course.RUNNING.value}'"
            " AND EXISTS (SELECT 1 FROM mailings_enrolment e WHERE e.sequence_id = s.sequence_id"
            " AND e.next_step = s.number AND e.due_at <= %s) ORDER BY s.mailing_id",
            [now],
        )
        return [_Place(*row) for row in cursor.fetchall()]


def _plan_step(place: _Place, now: int) -> bool:
    """Plan a step for some of those who are due; whether there may be more of them."""
    with transaction.atomic(), connection.cursor() as cursor:
        bulk.look_up_by_keys(cursor)
        # Whoever pauses or stops it waits until this is done; other workers do not.
        shared = "" if connection.vendor == "sqlite" else " FOR SHARE"
        cursor.execute(
            f"SELECT course FROM mailings_sequence WHERE id = %s{shared}", [place.sequence]
        )
        if cursor.fetchone()[0] != Course.RUNNING:
            return False
        content = models.Content.objects.raw(
            f"SELECT * FROM mailings_content WHERE mailing_id = %s{shared}", [place.mailing]
        )[0]
        due = _take(cursor, place, now)
        full = len(due) == BATCH
        _let_wait(cursor, place, due, now)
        _leave(cursor, {"invalid_address": _corrected(cursor, due)})
        if _is_over(content, now):
            _go_on(cursor, place, due.values(), now)
            return full
        planned = planning.plan_addresses(cursor, content, due.keys(), now)
        left: dict[str, list[int]] = defaultdict(list)
        going_on = []
        for each in planned:
            if each.refusal is None or each.refusal in _GOES_ON:
                going_on.append(due[each.address])
            else:
                left[each.refusal].append(due[each.address])
        _go_on(cursor, place, going_on, now)
        _leave(cursor, left)
        stale = due.keys() - {each.address for each in planned}
    if stale:
        # Not in the same transaction: it would lock addresses and tallies out of their order.
        clock.refold(sorted(stale), now)
    return bool(stale) or full


def _take(cursor: CursorWrapper, place: _Place, now: int) -> dict[int, int]:
    """By address the enrolments that are due, locked until the commit."""
    skip = "" if connection.vendor == "sqlite" else " FOR UPDATE SKIP LOCKED"
    cursor.execute(
        "SELECT address_id, id FROM mailings_enrolment WHERE sequence_id = %s AND next_step = %s"
        f" AND due_at <= %s ORDER BY due_at LIMIT {BATCH}{skip}",
        [place.sequence, place.number, now],
    )
    return dict(cursor.fetchall())


def _let_wait(cursor: CursorWrapper, place: _Place, due: dict[int, int], now: int) -> None:
    """Put off, and take out of ``due``, whom the mail before this one has not left for yet."""
    if place.before is None or place.since is None or not due:
        return
    cursor.execute(
        "SELECT d.address_id FROM ledger_delivery d JOIN mailings_outbox o ON o.delivery_id = d.id"
        f" WHERE d.mailing_id = %s AND {bulk.among('d.address_id')}",
        [place.before, bulk.listed(due)],
    )
    waiting = [due.pop(address) for address in {row[0] for row in cursor.fetchall()}]
    until = now + min(max(place.since // 100, SOONEST), LATEST)
    cursor.execute(
        f"UPDATE mailings_enrolment SET due_at = %s WHERE {bulk.among('id')}",
        [until, bulk.listed(waiting)],
    )


def _corrected(cursor: CursorWrapper, due: dict[int, int]) -> list[int]:
    """Take out of ``due`` whose address was corrected to another since they began; what it was."""
    cursor.execute(
        "SELECT DISTINCT a.id FROM ledger_address a JOIN ledger_event e ON e.address_id = a.id"
        " JOIN mailings_enrolment n ON n.address_id = a.id"
        f" WHERE {bulk.among('n.id')} AND a.registers LIKE '%%\"corrected\"%%'"
        " AND e.kind = 'corrected' AND e.occurred_at >= n.began_at",
        [bulk.listed(due.values())],
    )
    return [due.pop(address) for [address] in cursor.fetchall()]


def _is_over(content: models.Content, now: int) -> bool:
    """Whether a step's mailing was stopped on its own: then it is left out."""
    expired = content.expires_at is not None and content.expires_at <= now
    return expired or content.course == Course.STOPPED


def _go_on(cursor: CursorWrapper, place: _Place, enrolments: Iterable[int], now: int) -> None:
    """On to the next step: after one that was late it is not sooner than it was meant to be."""
    cursor.execute(
        "UPDATE mailings_enrolment SET next_step = %s, due_at = %s WHERE " + bulk.among("id"),
        [
            place.number + 1,
            now + place.gap if place.gap is not None else None,
            bulk.listed(enrolments),
        ],
    )


def _leave(cursor: CursorWrapper, left: Mapping[str, Sequence[int]]) -> None:
    for why, enrolments in left.items():
        cursor.execute(
            "UPDATE mailings_enrolment SET due_at = NULL, left_why = %s WHERE " + bulk.among("id"),
            [why, bulk.listed(enrolments)],
        )


def _reading(cursor: CursorWrapper, *, lock: bool = False) -> list[_Reading]:
    """The sequences that enrol whom the feed tells of."""
    share = " FOR SHARE OF q" if lock and connection.vendor == "postgresql" else ""
    cursor.execute(
        "SELECT q.id, q.starts_on, q.topic, q.created_at, s.delay FROM mailings_sequence q"
        " JOIN mailings_step s ON s.sequence_id = q.id AND s.number = 1"
        f" WHERE q.course <> '{Course.STOPPED.value}' ORDER BY q.id{share}"
    )
    return [_Reading(*row) for row in cursor.fetchall()]


def _bookmark(cursor: CursorWrapper, *, lock: bool = True) -> int:
    """The last change that was dealt with; locked until the transaction ends."""
    cursor.execute(
        "SELECT cursor FROM mailings_bookmark WHERE reader = %s"
        f" {bulk.for_update() if lock else ''}",
        [READER],
    )
    return int(cursor.fetchone()[0])


def _turn_to(cursor: CursorWrapper, last: int) -> None:
    cursor.execute(
        "UPDATE mailings_bookmark SET cursor = %s WHERE reader = %s", [str(last), READER]
    )
