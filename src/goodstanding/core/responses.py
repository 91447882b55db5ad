"""Responses: what became of one message, from its memory, the policy and the present time."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from goodstanding.core.categories import CATEGORIES
from goodstanding.core.memory import BOUNCES, FIRST, LEFT, Memory, Times
from goodstanding.core.policies import Policy, ResponseRule

DAY: Final = 86_400_000_000

_SENT: Final = FIRST["sent"]
_DEFERRED: Final = FIRST["deferred"]
_LOST: Final = FIRST["lost"]
_LAST_MATTERS: Final = (*BOUNCES, _SENT, _DEFERRED)
_PERSON: Final = tuple(FIRST[slot] for slot in ("opened", "clicked", "replied"))
_IN_FLIGHT: Final = tuple(FIRST[slot] for slot in ("planned", "queued", "sent", "deferred"))

Outcome = Literal["good", "soft", "hard"]


class Response(msgspec.Struct, frozen=True, gc=False):
    """The present state of a delivery.

    ``since``: when it began (microseconds). ``due_at``: when time alone will change it next.
    ``outcome``: what it says of the address.
    """

    name: str
    since: int | None
    group: str
    outcome: Outcome | None = None
    due_at: int | None = None


NOTHING: Final = Response(name="planned", since=None, group="preparing")


class _Row(msgspec.Struct, frozen=True):
    rule: ResponseRule
    place: int


class _Table(msgspec.Struct, frozen=True):
    lowest_first: tuple[_Row, ...]
    finals: tuple[_Row, ...]
    contesting: tuple[int, ...]
    contested: tuple[int, ...]
    expired: ResponseRule
    blocked: _Row


_tables: Final[dict[int, _Table]] = {}


def _table(policy: Policy) -> _Table:
    """The policy's table, read once: it is asked for with every delivery that is folded."""
    table = _tables.get(policy.revision)
    if table is None:
        table = _tables[policy.revision] = _read(policy)
    return table


def _read(policy: Policy) -> _Table:
    rules = policy.responses
    if policy.machine_opens.as_opens:
        # Only the name: unlike a person's, a machine's open may be undone by a later bounce.
        rules = tuple(
            msgspec.structs.replace(rule, name="opened", slot="machine_opened")
            if (rule.slot or rule.name) == "machine_opened"
            else rule
            for rule in rules
        )
    rows = tuple(
        _Row(rule, FIRST[rule.slot or rule.name]) for rule in rules if rule.name != "expired"
    )
    return _Table(
        lowest_first=tuple(row for row in reversed(rows) if not row.rule.final),
        finals=tuple(row for row in rows if row.rule.final),
        contesting=tuple(row.place for row in rows if row.rule.contests_delivery),
        contested=tuple(row.place for row in rows if row.rule.contested),
        expired=next(rule for rule in rules if rule.name == "expired"),
        blocked=next(row for row in rows if row.rule.name == "block_bounced"),
    )


def respond(memory: Memory, policy: Policy, channel: str, now: int, *, reports: bool) -> Response:
    """What became of the message.

    ``reports``: whether its lane reports deliveries. Where statistics are cut in time, give what
    the message remembered by then of one that ``is_blurred``. Source: design, section 3.
    """
    table = _table(policy)
    frozen = frozen_at(memory, policy)
    times = _counted(memory.times, frozen)
    deadline = _deadline(times, policy, channel, frozen, reports=reports)
    final = _first_final(table, times, memory)
    if table.expired.final and deadline is not None and deadline <= now:
        heard = _earliest_answer(times)
        if heard is None or heard > deadline:
            return _response(table.expired, deadline, memory)
    if final is not None:
        return _response(final.rule, times[final.place], memory)

    dropped = _undone(table, times, reports=reports)
    for top in table.lowest_first:
        if times[top.place] is not None and top.place not in dropped:
            break
    else:
        return NOTHING
    if top.place in (_SENT, _DEFERRED) and deadline is not None:
        if deadline <= now:
            return _response(table.expired, deadline, memory)
        return _response(top.rule, times[top.place], memory, due_at=deadline)
    if top.rule.name == "soft_bounced" and _gave_up_for_our_sake(memory):
        return _response(table.blocked.rule, times[top.place], memory)
    return _response(top.rule, times[top.place], memory)


def _gave_up_for_our_sake(memory: Memory) -> bool:
    """Whether somebody gave up retrying what was put off for the sender's or the content's sake."""
    if memory.category != "timed_out" or memory.deferred_category is None:
        return False
    return CATEGORIES[memory.deferred_category].fault in ("sender", "content")


def _response(
    rule: ResponseRule, since: int | None, memory: Memory, due_at: int | None = None
) -> Response:
    name = rule.name
    if name == "skipped":
        name = f"skipped:{rule.reason or memory.skip_reason or 'unknown'}"
    outcome = rule.outcome
    if name == "expired" and not _blames_address(memory):
        outcome = None
    return Response(name=name, since=since, group=rule.group, outcome=outcome, due_at=due_at)


def _blames_address(memory: Memory) -> bool:
    """Whether silence followed a deferral whose fault was not the sender's or the content's.

    What was handed over or lost later is not the address's silence.
    """
    deferred, lost = memory.times[_DEFERRED + 1], memory.times[_LOST + 1]
    if not _still_deferred(memory.times) or (lost or -1) > (deferred or -1):
        return False
    category = CATEGORIES.get(memory.deferred_category or "")
    return category is None or category.fault not in ("sender", "content")


def _still_deferred(times: Times) -> bool:
    """Whether the last deferral came after the last that was said of sending."""
    deferred, sent = times[_DEFERRED + 1], times[_SENT + 1]
    return deferred is not None and (sent is None or deferred >= sent)


def frozen_at(memory: Memory, policy: Policy) -> int | None:
    """The last moment that counts in the message's statistics (microseconds), None: all do."""
    sent = memory.times[_SENT]
    if policy.statistics_days is None or sent is None:
        return None
    return sent + policy.statistics_days * DAY


def is_late(memory: Memory, policy: Policy) -> bool:
    """Whether something happened after the last moment that counts."""
    frozen = frozen_at(memory, policy)
    return frozen is not None and any(last is not None and last > frozen for last in memory.times)


def is_blurred(memory: Memory, policy: Policy) -> bool:
    """Whether something happened so late that the memory does not tell what it was before.

    Of most things only the first matters. Of failures, and of deliveries that a failure may undo,
    the last does, too, and what was heard late has taken its place.
    """
    frozen = frozen_at(memory, policy)
    if frozen is None:
        return False
    table, times = _table(policy), memory.times
    places = _LAST_MATTERS
    if any(times[place] is not None for place in table.contesting):
        places += table.contested
    return any((last := times[place + 1]) is not None and last > frozen for place in places)


def _counted(times: Times, limit: int | None) -> Times:
    """The times up to a limit; a last that lies beyond it is taken to be there."""
    if limit is None:
        return times
    counted = list(times)
    for place in range(0, len(times), 2):
        first, last = times[place], times[place + 1]
        if first is not None and first > limit:
            counted[place] = counted[place + 1] = None
        elif last is not None and last > limit:
            counted[place + 1] = limit
    return tuple(counted)


def _deadline(
    times: Times, policy: Policy, channel: str, frozen: int | None, *, reports: bool
) -> int | None:
    """When silence becomes an answer; never, where a lane that reports nothing took the mail.

    Nor where that would be after the last moment that counts.
    """
    if not (reports or _still_deferred(times)):
        return None
    handed = times[_SENT] if times[_SENT] is not None else times[_DEFERRED]
    silence = policy.silence.get(channel)
    if handed is None or silence is None:
        return None
    deadline = handed + silence.after
    return deadline if frozen is None or deadline <= frozen else None


def _earliest_answer(times: Times) -> int | None:
    return min(
        (
            at
            for place in range(0, len(times), 2)
            if place not in _IN_FLIGHT and (at := times[place]) is not None
        ),
        default=None,
    )


def _first_final(table: _Table, times: Times, memory: Memory) -> _Row | None:
    """Of the final things the first that happened; at the same instant the lower in the table."""
    heard = [row for row in table.finals if times[row.place] is not None]
    first: _Row | None = None
    since = 0
    for row in heard:
        at = times[row.place] or 0
        if row.rule.unless_left and _left(times):
            continue
        if row.rule.name.startswith("stopped") and not _stop_is(row.rule, memory):
            continue
        if first is None or at <= since:
            first, since = row, at
    for row in heard:
        if first is not None and first.rule.name in row.rule.outranks:
            first = row
    return first


def _stop_is(rule: ResponseRule, memory: Memory) -> bool:
    return (memory.stop_reason == "expired") == (rule.stop == "expired")


def _left(times: Times) -> bool:
    return any(times[place] is not None for place in LEFT)


def _undone(table: _Table, times: Times, *, reports: bool) -> tuple[int, ...]:
    """What a later word undoes: a delivery by a later bounce, a deferral by a later hand-over.

    A lane that reports nothing says no more than that it took the mail: that ends what it had put
    off before, or every address that was ever greylisted would expire.
    """
    undone: tuple[int, ...] = ()
    if not reports and not _still_deferred(times):
        undone = (_DEFERRED,)
    bounced = [at for place in table.contesting if (at := times[place + 1]) is not None]
    if not bounced or any(times[place] is not None for place in _PERSON):
        return undone
    delivered = [at for place in table.contested if (at := times[place + 1]) is not None]
    if delivered and max(bounced) > max(delivered):
        undone += table.contested
    return undone
