"""Checking: every recipient's merge fields are tried before the first mail of a mailing leaves."""

from __future__ import annotations

from typing import Final

from django.db import connection, transaction

from goodstanding.ledger import bulk
from goodstanding.mailings import contents
from goodstanding.mailings.models import Content, Course

CHUNK: Final = 5_000
"""Recipients tried at a time."""

NOBODY: Final = "goodstanding"
"""Who has paused a mailing that cannot go out as it is."""


def check(mailing: int, now: int, most: int | None = None) -> bool:
    """Try the next chunks of a planned mailing, ``most`` at the most; whether it is done.

    At the first recipient whose mail could not be made the mailing is paused, and says who and
    why; resumed, it goes to all the others.
    """
    content = Content.objects.get(pk=mailing)
    if content.is_checked or content.course != Course.RUNNING.value:
        return True
    if content.plan_until is None or content.planned_to < content.plan_until:
        return False
    try:
        _, compiled = contents.compiled(mailing)
    except contents.RefusedMailing as error:
        _pause(content, "; ".join(error.problems), now)
        return True
    done = 0
    while most is None or done < most:
        done += 1
        rows = _next(mailing, content.checked_to)
        known = contents.contact_fields({contact for _, contact, _ in rows if contact is not None})
        for delivery, contact, value in rows:
            fields = {**known.get(contact or 0, {}), "email": value}
            if (problem := compiled.problem(fields, value)) is not None:
                content.checked_to = delivery - 1
                _pause(content, f"the mail to {value} could not be made: {problem}", now)
                return True
        if len(rows) < CHUNK:
            Content.objects.filter(pk=mailing).update(is_checked=True)
            return True
        content.checked_to = rows[-1][0]
        Content.objects.filter(pk=mailing).update(checked_to=content.checked_to)
    return False


def _next(mailing: int, begin: int) -> list[tuple[int, int | None, str]]:
    with transaction.atomic(), connection.cursor() as cursor:
        bulk.look_up_by_keys(cursor)
        cursor.execute(
            "SELECT o.delivery_id, o.contact_id, a.value FROM mailings_outbox o"
            " JOIN ledger_address a ON a.id = o.address_id WHERE o.mailing_id = %s"
            f" AND o.delivery_id > %s ORDER BY o.delivery_id LIMIT {CHUNK}",
            [mailing, begin],
        )
        return list(cursor.fetchall())


def _pause(content: Content, why: str, now: int) -> None:
    Content.objects.filter(pk=content.pk, course=Course.RUNNING.value).update(
        course=Course.PAUSED.value,
        course_since=now,
        course_by=NOBODY,
        course_why=why[:500],
        checked_to=content.checked_to,
    )
