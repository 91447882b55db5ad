"""The course of a mailing: when it starts, that it pauses, goes on, is stopped or expires.

A pause takes hold at once: the fence asks. What is stopped or past its expiry gets its last event
here, chunk by chunk, and leaves the outbox.
"""

from __future__ import annotations

from typing import Final, cast

from django.db import connection, transaction

from goodstanding.core.addresses import Address, Channel
from goodstanding.core.events import Event
from goodstanding.ledger import bulk
from goodstanding.ledger.recording import record
from goodstanding.mailings.models import Content, Course, State

CHUNK: Final = 1_000
"""Deliveries stopped in one transaction."""

LONGEST_WHY: Final = 500

_FROM: Final = {
    Course.PAUSED: (Course.RUNNING,),
    Course.RUNNING: (Course.PAUSED,),
    Course.STOPPED: (Course.RUNNING, Course.PAUSED),
}
"""From where a course is taken."""


class RefusedCourse(ValueError):
    """A mailing cannot take that course; the message is one plain sentence."""


def set_course(name: str, course: Course, who: str, why: str, now: int) -> int:
    """Let a mailing pause, go on, or stop for good; its id.

    A mailing that was paused because some recipient's mail could not be made goes on without them.

    Raises:
        RefusedCourse: there is no such mailing, or it is not on a course that leads there.
    """
    with transaction.atomic():
        content = _of(name)
        if Course(content.course) not in _FROM[course]:
            raise RefusedCourse(f"the mailing {name!r} is {content.course} already")
        changes = {"course": course.value, "course_since": now, "course_by": who[:200]}
        if course is Course.RUNNING and _is_planned(content):
            changes["is_checked"] = True
        Content.objects.filter(pk=content.pk).update(course_why=why[:LONGEST_WHY], **changes)
    return int(content.pk)


def reschedule(name: str, starts_at: int, now: int) -> int:
    """Let a mailing that has not started yet start at another time; its id.

    Raises:
        RefusedCourse: there is no such mailing, or it has started.
    """
    with transaction.atomic():
        content = _of(name)
        if content.starts_at <= now or content.course == Course.STOPPED.value:
            raise RefusedCourse(f"the mailing {name!r} has started, or was stopped")
        if content.expires_at is not None and starts_at >= content.expires_at:
            raise RefusedCourse(f"the mailing {name!r} expires before that")
        Content.objects.filter(pk=content.pk).update(starts_at=starts_at)
    return int(content.pk)


def _of(name: str) -> Content:
    lock = "" if connection.vendor == "sqlite" else " FOR UPDATE OF c"
    found = list(
        Content.objects.raw(
            "SELECT c.* FROM mailings_content c JOIN ledger_mailing m ON m.id = c.mailing_id"
            f" WHERE m.name = %s{lock}",
            [name],
        )
    )
    if not found:
        raise RefusedCourse(f"there is no mailing {name!r} to be sent")
    return found[0]


def _is_planned(content: Content) -> bool:
    return content.plan_until is not None and content.planned_to >= content.plan_until


def end(now: int) -> bool:
    """Stop a chunk of what was stopped or has expired, and close lots that are empty; if any."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            "SELECT DISTINCT c.mailing_id, c.course FROM mailings_content c"
            " JOIN mailings_lot l ON l.mailing_id = c.mailing_id AND l.is_open"
            f" WHERE c.course = '{Course.STOPPED.value}' OR c.expires_at <= %s"
            " ORDER BY c.mailing_id",
            [now],
        )
        over = cursor.fetchall()
    stopped = [_stop(mailing, course, now) for mailing, course in over]
    return any(stopped)


def _stop(mailing: int, course: str, now: int) -> bool:
    """Stop up to a chunk of a mailing's deliveries; whether there was one."""
    by_hand = course == Course.STOPPED.value
    with transaction.atomic(), connection.cursor() as cursor:
        lock = "" if connection.vendor == "sqlite" else " FOR UPDATE OF o"
        # What is being handed over comes to its own end.
        cursor.execute(
            "SELECT o.delivery_id, a.channel, a.value FROM mailings_outbox o"
            " JOIN ledger_address a ON a.id = o.address_id"
            f" WHERE o.mailing_id = %s AND o.state <> {State.HANDING.value}"
            f" ORDER BY o.address_id LIMIT {CHUNK}{lock}",
            [mailing],
        )
        rows = cursor.fetchall()
        if not rows:
            return False
        record(
            [
                Event(
                    kind="stopped",
                    occurred_at=now,
                    address=Address(cast(Channel, channel), value),
                    source="operator" if by_hand else "clock",
                    key=f"stopped:{delivery}",
                    delivery=delivery,
                    detail={} if by_hand else {"reason": "expired"},
                )
                for delivery, channel, value in rows
            ],
            now,
        )
        cursor.execute(
            f"DELETE FROM mailings_outbox WHERE {bulk.among('delivery_id')}",
            [bulk.listed([row[0] for row in rows])],
        )
    return True


def close() -> None:
    """Close the lots in which nothing is left: nobody need look at them any more."""
    with transaction.atomic(), connection.cursor() as cursor:
        lock = "" if connection.vendor == "sqlite" else " FOR UPDATE SKIP LOCKED"
        cursor.execute(f"SELECT id FROM mailings_lot WHERE is_open ORDER BY id{lock}")
        # Asked in a statement of its own: whoever puts something in opens the lot again, and holds
        # its row until that can be seen.
        cursor.execute(
            "UPDATE mailings_lot SET is_open = %s WHERE NOT EXISTS (SELECT 1 FROM mailings_outbox o"
            " WHERE o.mailing_id = mailings_lot.mailing_id AND o.lot_id = mailings_lot.id)"
            f" AND {bulk.among('id')}",
            [False, bulk.listed([row[0] for row in cursor.fetchall()])],
        )
