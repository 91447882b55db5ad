"""Reports: how many stand where, and what became of a mailing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, cast

import msgspec
from django.db import connection

from goodstanding.answers import counting, known, progress
from goodstanding.core import vocabularies
from goodstanding.core.addresses import Channel
from goodstanding.core.consent import CONFIRMED
from goodstanding.core.history import History, Remembered
from goodstanding.core.policies import Policy
from goodstanding.core.responses import Response, respond
from goodstanding.core.standings import STATUSES
from goodstanding.core.times import rfc3339_or_none
from goodstanding.core.vocabularies import Vocabulary
from goodstanding.ledger import gate, models
from goodstanding.ledger.policy import active_policy

_ORDER: Final = {status: place for place, status in enumerate(STATUSES)}

_Kind = tuple[str, str, str | None, str]
"""Status, channel, category of the bounce, and the status that consent alone would give."""


class StatusCount(msgspec.Struct, frozen=True):
    """How many addresses stand so; ``name`` is the vocabulary's, or its marks, or None."""

    status: str
    name: str | list[str] | None
    family: str
    channel: str
    count: int


class MailingReport(msgspec.Struct, frozen=True):
    """What became of a mailing; times in RFC 3339.

    ``scheduled``: all of its recipients. ``sent``: those to whom it left. ``responses``: of those
    that were not skipped.
    """

    mailing: str
    state: str
    started_at: str | None
    ended_at: str | None
    scheduled: int
    skipped: dict[str, int]
    sent: int
    responses: dict[str, int]
    opens: int
    clicks: int
    unsubscribes: int
    complaints: int


class NoSuchMailing(LookupError):
    """The ledger has not heard of a mailing of that name."""


def statuses(
    vocabulary: Vocabulary,
    now: int,
    policy: Policy | None = None,
    at: int | None = None,
    advance: Callable[[int], None] | None = None,
) -> list[StatusCount]:
    """How many addresses stand where, in the order of the statuses; a line for each name.

    ``now`` in microseconds. ``policy``: another than the settings name. ``at``: as of that time.
    """
    if policy is None and at is None:
        counted = _counted_now(now)
    else:
        counted = _counted_anew(
            _all_ids(), policy or active_policy(), now if at is None else at, at, advance
        )
    lines: Counter[tuple[int, str, str, Any]] = Counter()
    for (status, channel, category, consent), count in counted.items():
        name = vocabulary.status_name(
            status,
            channel=cast(Channel, channel),
            category=category,
            consent=consent,
            confirmed=consent in CONFIRMED,
        )
        shown = tuple(name) if isinstance(name, list) else name
        lines[_ORDER[status], status, channel, shown] += count
    return [
        StatusCount(
            status=status,
            name=list(name) if isinstance(name, tuple) else name,
            family=STATUSES[status].family,
            channel=channel,
            count=count,
        )
        for (_, status, channel, name), count in sorted(
            lines.items(), key=lambda line: (*line[0][:3], str(line[0][3]))
        )
        if count
    ]


def choose_vocabulary(name: str, language: str | None) -> Vocabulary:
    """The vocabulary of that name, in that language where one is named.

    Raises:
        LookupError: there is none; the message is a plain sentence.
    """
    found = vocabularies.load()
    wanted = name if language is None else f"{name}.{language}"
    if wanted not in found and name in found and found[name].language == language:
        wanted = name
    if wanted not in found:
        what = f"vocabulary {name!r}" + (f" in the language {language!r}" if language else "")
        raise LookupError(f"There is no {what}; there are {', '.join(found)}.")
    return found[wanted]


def mailing(
    name: str,
    now: int,
    policy: Policy | None = None,
    at: int | None = None,
    words: Vocabulary | None = None,
) -> MailingReport:
    """What became of a mailing.

    ``now`` in microseconds. ``policy``: another than the settings name. ``at``: as of that time.
    ``words``: names the responses, as that system counts them.

    Raises:
        NoSuchMailing: there is no such mailing.
    """
    found = models.Mailing.objects.filter(name=name).first()
    if found is None:
        raise NoSuchMailing(f"There is no mailing {name!r}.")
    as_stored = policy is None and at is None
    policy = policy or active_policy()
    if as_stored:
        counted = _tallied(found, now)
    else:
        counted = _Counted(policy)
        present = now if at is None else at
        for each, response in _deliveries(_ids_of(found.pk), name, policy, present, at):
            counted.add(each, response)
    if at is None:
        far = progress.of(found.pk, now)
        state, ended_at = str(far.state), far.ended_at
    elif counted.responses["planned"]:
        state, ended_at = "sending", None
    else:
        state, ended_at = "completed", counted.ended_at
    responses = {
        response: count
        for response, count in counted.responses.most_common()
        if not response.startswith(progress.SKIPPED)
    }
    sent = sum(count for response, count in responses.items() if response in counted.left)
    if words is not None:
        responses = _named(responses, words, found.channel)
    return MailingReport(
        mailing=name,
        state=state,
        started_at=rfc3339_or_none(counted.started_at),
        ended_at=rfc3339_or_none(ended_at),
        scheduled=counted.responses.total(),
        skipped={
            response.removeprefix(progress.SKIPPED): count
            for response, count in sorted(counted.responses.items())
            if response.startswith(progress.SKIPPED)
        },
        sent=sent,
        responses=responses,
        **counting.shown(counted.others, policy),
    )


def _named(responses: Mapping[str, int], words: Vocabulary, channel: str) -> dict[str, int]:
    named: Counter[str] = Counter()
    for response, count in responses.items():
        named[words.counted_name(response, channel=cast(Channel, channel)) or response] += count
    return dict(named.most_common())


def categories(name: str, most: int = 10) -> list[tuple[str, int]]:
    """The commonest categories of a mailing's bounces and deferrals, the commonest first."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT d.category, count(*) FROM ledger_delivery d JOIN ledger_mailing m"
            " ON m.id = d.mailing_id WHERE m.name = %s AND d.category IS NOT NULL"
            " GROUP BY d.category ORDER BY count(*) DESC, d.category LIMIT %s",
            [name, most],
        )
        return [(row[0], row[1]) for row in cursor.fetchall()]


class _Counted:
    """A mailing's deliveries, counted; ``left``: the responses of those that left."""

    def __init__(self, policy: Policy) -> None:
        self.responses: Counter[str] = Counter()
        self.others: Counter[str] = Counter()
        self.left = progress.that_left(policy)
        self.started_at: int | None = None
        self.ended_at: int | None = None

    def add(self, each: Remembered, response: Response) -> None:
        self.responses[response.name] += 1
        self.others["opens"] += each.opens
        self.others["clicks"] += each.clicks
        self.others["machine_opens"] += each.machine_opens
        self.others["unsubscribes"] += each.memory.first("unsubscribed") is not None
        self.others["complaints"] += each.memory.first("complained") is not None
        sent_at = each.memory.sent_at
        if sent_at is not None:
            self.started_at = min(sent_at, self.started_at or sent_at)
            self.ended_at = max(sent_at, self.ended_at or sent_at)


def _tallied(found: models.Mailing, now: int) -> _Counted:
    """From the tallies, save what time or a new policy has yet to change."""
    policy = active_policy()
    counted = _Counted(policy)
    counted.started_at, counted.ended_at = found.started_at, found.ended_at
    tallies = models.MailingTally.objects.filter(mailing=found).values_list("name", "count")
    for name, count in tallies:
        kept = counted.others if name in counting.TALLIED else counted.responses
        kept[name] += count
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT d.address_id, d.response FROM ledger_delivery d"
            " JOIN ledger_address a ON a.id = d.address_id"
            f" WHERE d.mailing_id = %s AND {gate.stale()}",
            [found.pk, now, policy.revision],
        )
        stale = cursor.fetchall()
    counted.others.subtract(counting.late([found.pk], policy)[found.pk])
    counted.responses.subtract(row[1] for row in stale)
    ids = sorted({row[0] for row in stale})
    for _, response in _deliveries(ids, found.name, policy, now, None):
        counted.responses[response.name] += 1
    counted.responses = +counted.responses
    return counted


def _deliveries(
    ids: list[int], name: str, policy: Policy, present: int, at: int | None
) -> Iterator[tuple[Remembered, Response]]:
    """What became of the mailing's messages to those addresses."""
    for history in _histories(ids, at, policy=policy):
        for place in history.deliveries:
            if place[0] == name:
                each = history.as_counted(place)
                yield (
                    each,
                    respond(each.memory, policy, history.channel, present, reports=each.reports),
                )


def _counted_now(now: int) -> Counter[_Kind]:
    """From the rows as they are, save those that time or a new policy has yet to change."""
    policy = active_policy()
    with connection.cursor() as cursor:
        stale = gate.stale("a")
        cursor.execute(
            "SELECT a.status, a.channel, a.category, a.consent, count(*) FROM ledger_address a"
            f" WHERE a.value <> '' AND NOT coalesce({stale}, 1 = 0) GROUP BY 1, 2, 3, 4",
            [now, policy.revision],
        )
        counted = Counter({tuple(row[:4]): row[4] for row in cursor.fetchall()})
        cursor.execute(
            f"SELECT a.id FROM ledger_address a WHERE a.value <> '' AND {stale}",
            [now, policy.revision],
        )
        ids = [row[0] for row in cursor.fetchall()]
    return cast("Counter[_Kind]", counted + _counted_anew(ids, policy, now, None, None))


def _counted_anew(
    ids: list[int],
    policy: Policy,
    present: int,
    at: int | None,
    advance: Callable[[int], None] | None,
) -> Counter[_Kind]:
    counted: Counter[_Kind] = Counter()
    for history in _histories(ids, at, advance):
        if at is not None and not _heard(history):
            continue
        standing = history.standing(policy, present)
        counted[standing.status, history.channel, standing.category, standing.consent] += 1
    return counted


def _heard(history: History) -> bool:
    """Whether anything had been heard of it by then."""
    return bool(history.deliveries) or history.registers != type(history.registers)()


def _histories(
    ids: list[int],
    at: int | None,
    advance: Callable[[int], None] | None = None,
    policy: Policy | None = None,
) -> Iterator[History]:
    for start in range(0, len(ids), known.BATCH):
        batch = ids[start : start + known.BATCH]
        yield from known.by_id(batch, at, policy)
        if advance is not None:
            advance(len(batch))


def _all_ids() -> list[int]:
    return _ids("SELECT id FROM ledger_address WHERE value <> '' ORDER BY id", [])


def _ids_of(mailing_id: int) -> list[int]:
    return _ids(
        "SELECT DISTINCT address_id FROM ledger_delivery WHERE mailing_id = %s ORDER BY address_id",
        [mailing_id],
    )


def _ids(query: str, parameters: Iterable[Any]) -> list[int]:
    with connection.cursor() as cursor:
        cursor.execute(query, list(parameters))
        return [row[0] for row in cursor.fetchall()]
