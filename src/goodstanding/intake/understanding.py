"""What was heard, understood: events for the ledger, each about a delivery that a token names.

Only what carries a signed token of ours is believed. Whatever else there may be in a mail or a
request, nobody can so be opted out, or declared unreachable, by a stranger.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from importlib import resources
from types import MappingProxyType
from typing import Any, Final

import msgspec

from goodstanding.bounces import Report
from goodstanding.core.addresses import MalformedAddress, normalise
from goodstanding.core.events import AHEAD, SECOND, Event
from goodstanding.intake import letters, machines
from goodstanding.intake.letters import Letter
from goodstanding.intake.mailboxes import Mailbox
from goodstanding.intake.models import MAIL, Spooled
from goodstanding.intake.spool import Envelope, Visit
from goodstanding.ledger.lookup import Confirmation, Found
from goodstanding.ledger.policy import active_policy
from goodstanding.ledger.readings import IN_MAIL, in_mail

BEFORE_SENT: Final = 600 * SECOND
"""How far before the sending a mail's Date may lie: clocks differ."""
LONGEST_WAY: Final = 30 * 86_400 * SECOND
"""How old a mail's Date may be where it is not known when the delivery was sent."""

COMPLAINTS: Final = msgspec.toml.decode(
    resources.files("goodstanding.intake").joinpath("complaints.toml").read_bytes(),
    type=dict[str, str],
)
"""Kinds of event by the feedback type of a report."""

_LONGEST_TEXT: Final = 2_000


class NotUnderstood(ValueError):
    """Nothing can be made of it; the message says why in one sentence, naming nobody."""


class HeardVisit(msgspec.Struct, frozen=True):
    """A visit, and what tells its row from every other."""

    row: int
    received_at: int
    visit: Visit

    @property
    def deliveries(self) -> set[int]:
        """What it is about."""
        return {self.visit.delivery}

    @property
    def confirms(self) -> tuple[int, int] | None:
        """The delivery and the number of the link by which it confirms, if it does."""
        visit = self.visit
        if visit.door != "confirm" or visit.link is None:
            return None
        return visit.delivery, visit.link


Heard = Letter | HeardVisit


def hear(row: Spooled) -> Heard:
    """Read a row, as far as that goes without the ledger: its ``deliveries`` are to be looked up.

    Raises:
        msgspec.ValidationError: its envelope is none.
    """
    if row.kind == MAIL:
        envelope = msgspec.json.decode(row.envelope, type=Envelope)
        return letters.read(envelope, bytes(row.content), row.received_at)
    return HeardVisit(row.pk, row.received_at, msgspec.json.decode(row.envelope, type=Visit))


Confirmations = Mapping[tuple[int, int], Confirmation | None]
"""What links confirm, by delivery and number."""


def events(
    heard: Heard, found: Mapping[int, Found], confirmations: Confirmations = MappingProxyType({})
) -> list[Event]:
    """What it says, as one event or more.

    Raises:
        NotUnderstood: it says nothing that we know how to believe.
    """
    if isinstance(heard, HeardVisit):
        known = _known(heard.visit.delivery, found)
        if heard.visit.door == "confirm":
            asked = confirmations.get(heard.confirms) if heard.confirms else None
            return _of_confirmation(heard, known, asked)
        return [_of_visit(heard, known)]
    said: dict[str, Event] = {}
    why = "it carries no token of ours"
    for mailbox, delivery in _about(heard):
        try:
            for event in _of_letter(heard, mailbox, _known(delivery, found)):
                said.setdefault(event.key, event)
        except NotUnderstood as error:
            why = str(error)
    if not said:
        raise NotUnderstood(why)
    return list(said.values())


# Visits


_WORDS: Final = {
    "opt_out": "opted_out",
    "opt_out_of_topic": "opted_out",
    "spam": "spam_reported",
}


def _of_visit(heard: HeardVisit, found: Found) -> Event:
    visit = heard.visit
    if visit.door in ("open", "link"):
        return _of_fetch(heard, found, visit.url)
    detail: dict[str, Any] = {"user_agent": visit.user_agent}
    topic = None
    if visit.door == "one_click":
        kind, source = "list_unsubscribed", "link"
        topic = _left_by_button(found)
    elif visit.act in _WORDS:
        kind, source = _WORDS[visit.act], "form"
        # Whoever presses it where there is no topic wants to leave all the same.
        topic = found.topic if visit.act == "opt_out_of_topic" else None
        if visit.reason:
            detail["reason"] = visit.reason
            if kind == "opted_out":
                kind = "opted_out_with_feedback"
    else:
        raise NotUnderstood("no such button")
    # A person may leave, come back and leave again: each press is a word of its own.
    key = f"{kind}:{found.delivery}:{heard.received_at}"
    return _event(found, kind, heard.received_at, source, key, detail, topic=topic)


def _of_confirmation(heard: HeardVisit, found: Found, asked: Confirmation | None) -> list[Event]:
    """The person's word; and they followed a link of the mail, which therefore arrived.

    A word has a key of its own at each press, like those by which one leaves: who confirms, leaves
    and then confirms again has come back.
    """
    if asked is None:
        raise NotUnderstood("the link that its token names confirms nothing")
    visit = heard.visit
    detail: dict[str, Any] = {
        "method": asked.method,
        "link": asked.number,
        "user_agent": visit.user_agent,
    }
    key = f"confirmed:{found.delivery}:{asked.number}:{heard.received_at}"
    said = _event(found, "confirmed", heard.received_at, "link", key, detail, topic=asked.topic)
    return [said, _of_fetch(heard, found, asked.url)]


def _of_fetch(heard: HeardVisit, found: Found, url: str | None) -> Event:
    visit = heard.visit
    verdict = machines.judge(visit.method, visit.user_agent, visit.headers)
    kind = "opened" if visit.door == "open" else "clicked"
    detail: dict[str, Any] = {"user_agent": visit.user_agent}
    if verdict.rule is not None:
        detail["rule"] = verdict.rule
    if visit.method != "GET":
        detail["method"] = visit.method
    if url is not None:
        detail |= {"link": visit.link, "url": url}
    return _event(
        found,
        f"machine_{kind}" if verdict.machine else kind,
        heard.received_at,
        "link",
        f"fetch:{heard.row}:{heard.received_at}",
        detail,
    )


# Mails


def _about(letter: Letter) -> list[tuple[Mailbox, int]]:
    """Where it came to and the delivery it is about.

    The mailbox's own token is the best witness, for only we wrote it; then the returned mail, then
    what it answers.
    """
    signed = [(box, box.delivery) for box in letter.mailboxes if box.delivery is not None]
    if signed:
        return signed
    delivery = letter.returned if letter.returned is not None else letter.answered
    if delivery is None:
        return []
    return [(box, delivery) for box in letter.mailboxes[:1]]


def _of_letter(letter: Letter, mailbox: Mailbox, found: Found) -> list[Event]:
    reports = letter.reading.reports
    if mailbox.use == "unsubscribe" and not any(each.kind in _FROM_SERVERS for each in reports):
        return [_unsubscribed(letter, found)]
    if not reports:
        # People answer to the sender. What comes to the return path unasked was sent by a program.
        if letter.answered is not None and mailbox.use != "return_path":
            return [_said(letter, found, "replied", "smtp", {})]
        raise NotUnderstood("it is neither a report nor an answer to a message of ours")
    made: list[Event] = []
    why = ""
    for report in reports:
        try:
            made.append(_of_report(letter, report, found))
        except NotUnderstood as error:
            why = str(error)
    if not made:
        raise NotUnderstood(why)
    return made


_FROM_SERVERS: Final = frozenset(
    {"bounce", "delayed", "delivered", "complaint", "authentication_report"}
)


def _of_report(letter: Letter, report: Report, found: Found) -> Event:
    if report.kind in ("bounce", "delayed"):
        kind = "bounced" if report.kind == "bounce" else "deferred"
        return _said(letter, found, kind, "dsn", _failure(report, found), report)
    if report.kind == "delivered":
        return _said(letter, found, "delivered", "dsn", _words(report), report)
    if report.kind == "complaint":
        feedback = (report.feedback_type or "abuse").lower()
        about = COMPLAINTS.get(feedback)
        if about is None:
            raise NotUnderstood(f"a complaint of type {feedback[:40]} says nothing about consent")
        detail = {**_words(report), "feedback_type": feedback}
        return _said(letter, found, about, "arf", detail, report)
    if report.kind in ("auto_reply", "challenge"):
        return _said(letter, found, "auto_replied", "dsn", {"as": report.kind}, report)
    if report.kind == "unsubscribe_request":
        return _unsubscribed(letter, found, report)
    raise NotUnderstood(f"it is read as {report.kind}")


def _failure(report: Report, found: Found) -> dict[str, Any]:
    return {**_words(report), **in_mail(report, forwarded=not _is_about(report, found))}


def _words(report: Report) -> dict[str, Any]:
    said = {
        "text": None if report.text is None else report.text[:_LONGEST_TEXT],
        "code": report.code,
        "status": report.status,
        "provider": report.provider,
    }
    return {name: value for name, value in said.items() if value is not None}


def _is_about(report: Report, found: Found) -> bool:
    """Whether a report is about the delivery's own address: its final recipient.

    One that names nobody, or nobody whom we can read, is: its token says so.
    """
    if report.recipient is None:
        return True
    try:
        return normalise("email", report.recipient) == found.address
    except MalformedAddress:
        return True


def _unsubscribed(letter: Letter, found: Found, report: Report | None = None) -> Event:
    topic = _left_by_button(found)
    detail = {"by": "mail"}
    return _said(letter, found, "list_unsubscribed", "smtp", detail, report, topic=topic)


def _left_by_button(found: Found) -> str | None:
    """What one leaves by the button of a mail program: a topic, or (None) everything."""
    return found.topic if active_policy().leaving.header_button == "topic" else None


def _said(
    letter: Letter,
    found: Found,
    kind: str,
    source: str,
    detail: dict[str, Any],
    report: Report | None = None,
    topic: str | None = None,
) -> Event:
    """An event of a mail; the same mail, heard again by whatever way, gives the same key."""
    if letter.message_id or letter.reading.date is not None:
        itself: tuple[object, ...] = (letter.message_id, letter.reading.date)
    else:
        itself = (letter.reading.subject, *(detail.get(name) for name in ("text", "status")))
    recipient = None if report is None else report.recipient
    said = (kind, found.delivery, recipient, *itself)
    key = hashlib.blake2b(msgspec.json.encode(said), digest_size=16).hexdigest()
    return _event(found, kind, _when(letter, found), source, f"{IN_MAIL}{key}", detail, topic=topic)


def _when(letter: Letter, found: Found) -> int:
    """When it was said: the mail's Date, where that can be."""
    received, date = letter.received_at, letter.reading.date
    earliest = received - LONGEST_WAY if found.sent_at is None else found.sent_at - BEFORE_SENT
    # A little ahead is a clock that is fast; the ledger judges that, and the same each time.
    if date is not None and earliest <= date <= received + AHEAD:
        return date
    return received


def _known(delivery: int, found: Mapping[int, Found]) -> Found:
    if delivery not in found:
        raise NotUnderstood("the delivery that its token names is not in the ledger")
    return found[delivery]


def _event(
    found: Found,
    kind: str,
    occurred_at: int,
    source: str,
    key: str,
    detail: dict[str, Any],
    *,
    topic: str | None = None,
) -> Event:
    return Event(
        kind=kind,
        occurred_at=occurred_at,
        address=found.address,
        source=source,
        key=key,
        mailing=found.mailing,
        delivery=found.delivery,
        recipient=found.recipient,
        topic=topic,
        detail=detail,
    )
