"""The incident guard at work: waves are held, that is annulled, until an operator decides.

What it holds follows from the events and from what operators have said of them, whenever it looks:
an undecided hold moves with its wave, and is taken back where later news shows that there was none.
Source: design, section 9.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final, Literal, cast

import msgspec
from django.db import connection, transaction
from django.db.backends.utils import CursorWrapper

from goodstanding.core import annulments as core
from goodstanding.core.addresses import Address, Channel
from goodstanding.core.annulments import Annulment, Predicate, is_annulled
from goodstanding.core.events import Event
from goodstanding.core.guard import HOUR, Failure, Place, Saw, Span, Traffic, Wave, waves
from goodstanding.core.memory import disposition_of
from goodstanding.core.policies import Guard
from goodstanding.ledger import annulments, bulk, models, traffic
from goodstanding.ledger.acts import NotAllowed, reasoned
from goodstanding.ledger.failing import FAILURE
from goodstanding.ledger.policy import active_policy

BY: Final = "guard"
"""Who makes holds."""

TAKEN_BACK: Final = "by what was recorded since it is no wave, or another one"
_BATCH: Final = 5_000  # addresses asked for at once
_HUMAN: Final = ("opened", "clicked", "replied")
_BY_MACHINES: Final = tuple(slot for slot in traffic.RECEIVED if slot not in _HUMAN)


class Act(msgspec.Struct, frozen=True):
    """What the guard did to which hold, and which annulment is to be applied for it."""

    hold: int
    annulment: int
    what: Literal["held", "moved", "taken back"]
    why: str


class Hold(msgspec.Struct, frozen=True):
    """An undecided hold."""

    id: int
    place: Place
    predicate: Predicate


def look(now: int) -> list[Act]:
    """Look at what was recorded since the last look, and hold what is a wave; what was done.

    To be followed by ``annulling.apply`` of each act. Where it is looked at once by several, or
    one is interrupted, nothing is held twice and nothing is missed.
    """
    guard = active_policy().guard
    with connection.cursor() as cursor:
        seen = traffic.news(cursor)
        if seen is None:
            return []
        made = annulments.every(cursor)
        found = _Look(cursor, guard, made).at(seen.hours) if guard is not None else None
    with transaction.atomic(), connection.cursor() as cursor:
        if found is None or not _differences(found):
            acts = _told_again(found) if found is not None else []
        else:
            annulments.alone(cursor)
            if annulments.every(cursor) != made:
                return []  # Somebody has decided meanwhile, or looked: the news stays.
            acts = [_done(change, now) for change in _differences(found)]
        traffic.add_up(cursor, seen)
    return acts


def release(hold: int, *, why: str, by: str, now: int) -> int:
    """Let what a hold covers count: it undoes it; the id of what says so.

    To be followed by ``annulling.apply``.

    Raises:
        ValueError: there is no reason.
        NotAllowed: there is no such hold, or it is decided already.
    """
    row = models.Annulment(made_at=now, undoes_id=hold, why=reasoned(why), by=by)
    return _decided(hold, row)


def uphold(hold: int, *, why: str, by: str, now: int) -> int:
    """Let what a hold covers be annulled for good: it was an outage; the id of what says so.

    Raises:
        ValueError: there is no reason.
        NotAllowed: there is no such hold, or it is decided already.
    """
    row = models.Annulment(made_at=now, upholds_id=hold, why=reasoned(why), by=by, is_applied=True)
    return _decided(hold, row)


def _decided(hold: int, row: models.Annulment) -> int:
    with transaction.atomic(), connection.cursor() as cursor:
        annulments.alone(cursor)
        state = core.holds(annulments.every(cursor)).get(hold)
        if state is None:
            raise NotAllowed(f"There is no hold {hold}.")
        if state == "withdrawn":
            raise NotAllowed(f"The guard took the hold {hold} back: its failures count already.")
        if state != "undecided":
            raise NotAllowed(
                f"The hold {hold} is {state} already, and a hold is decided once; what was decided"
                " is undone with `goodstanding annul --undo`."
            )
        row.save(force_insert=True)
    return int(row.pk)


class _Found(msgspec.Struct):
    """The waves there are by now, and the holds that should be one of them."""

    waves: list[Wave] = []
    holds: list[Hold] = []


class _Look:
    """One look at the record."""

    def __init__(self, cursor: CursorWrapper, guard: Guard, made: Sequence[Annulment]) -> None:
        self._cursor = cursor
        self._guard = guard
        self._spoken_of = core.spoken_of(made)
        undecided = core.undecided(made)
        in_force = core.in_force(made)
        self._annulled = tuple(
            predicate for id_, predicate in in_force.items() if id_ not in undecided
        )
        self._holds = [
            Hold(id_, saw.place, in_force[id_]) for id_, saw in sorted(saws(undecided).items())
        ]

    def at(self, hours: Sequence[int]) -> _Found:
        """What is found where news of those hours may tell.

        That is in those hours, and where whom something was delivered to may have failed since.
        """
        found = _Found()
        ahead = max(self._guard.delivered_within, self._guard.usual_over) // HOUR + 1
        for first, last in _merged((hour - 1, hour + ahead) for hour in hours):
            self._between(first, last, found)
        return found

    def _between(self, first: int, last: int, found: _Found) -> None:
        inside = [
            hold
            for hold in self._holds
            if hold not in found.holds and hold.predicate.overlaps(first * HOUR, (last + 1) * HOUR)
        ]
        spans = self._suspicious(first, last, inside)
        if not spans:
            return
        found.holds.extend(inside)
        heard: dict[Place, list[Failure]] = {}
        for since, until in _merged(span for each in spans.values() for span in each):
            for failure in self._failures(since * HOUR, (until + 1) * HOUR - 1):
                for what in ("provider", "domain"):
                    heard.setdefault(failure.place(what), []).append(failure)
        # Providers first: a domain is asked about what no provider's wave covers.
        for place in sorted(spans, key=lambda place: (place.what != "provider", place)):
            covered = [wave.predicate for wave in found.waves]
            left = [
                failure
                for failure in heard.get(place, [])
                if not any(failure.is_covered_by(predicate) for predicate in covered)
            ]
            if place.what == "domain" and all(each.provider == each.domain for each in left):
                continue  # that was looked at as a provider
            self._find(place, spans[place], left, found)

    def _suspicious(self, first: int, last: int, holds: Iterable[Hold]) -> dict[Place, list[Span]]:
        """Where so much failed within two hours, or is held, by hours (both ends within)."""
        spans: dict[Place, list[Span]] = {}
        for place, failed in traffic.failing(self._cursor, first, last + 1).items():
            for hour in sorted(failed.keys() | {hour - 1 for hour in failed}):
                both = failed.get(hour, 0) + failed.get(hour + 1, 0)
                if first <= hour <= last and both >= self._guard.at_least:
                    spans.setdefault(place, []).append((hour, hour + 1))
        for hold in holds:
            since, until = hold.predicate.since // HOUR, hold.predicate.until // HOUR
            spans.setdefault(hold.place, []).append((since, until))
        return {place: _merged(each) for place, each in spans.items()}

    def _find(
        self, place: Place, spans: list[Span], failures: list[Failure], found: _Found
    ) -> None:
        for first, last in spans:
            there = [each for each in failures if first <= each.at // HOUR <= last]
            if len(there) >= self._guard.at_least:
                heard = self._traffic(place, there, first, found)
                found.waves += waves(place, there, heard, self._delivered_to, self._guard)

    def _traffic(self, place: Place, failures: list[Failure], since: int, found: _Found) -> Traffic:
        sent = [each.sent_at // HOUR for each in failures]
        first = min(since - self._guard.usual_over // HOUR, *sent)
        heard = traffic.of(self._cursor, place, first, max(each.at for each in failures) // HOUR)
        outages = [
            *(each for each in self._annulled if place.name in (each.provider, each.domain)),
            *(
                hold.predicate
                for hold in self._holds
                if hold.place == place and hold not in found.holds
            ),
            *(wave.predicate for wave in found.waves if wave.place == place),
        ]
        heard.apart = [(each.since, each.until) for each in outages]
        return heard

    def _failures(self, since: int, until: int) -> Iterator[Failure]:
        """The hard bounces of that time of which no operator has said anything."""
        self._cursor.execute(
            "SELECT e.address_id, e.delivery_id, a.channel, a.value, e.kind, e.occurred_at,"
            " e.source, e.detail, d.sent_first FROM ledger_event e"
            " JOIN ledger_address a ON a.id = e.address_id"
            " LEFT JOIN ledger_delivery d ON d.id = e.delivery_id"
            f" WHERE {FAILURE} AND e.occurred_at BETWEEN %s AND %s",
            [since, until],
        )
        for (
            address,
            delivery,
            channel,
            value,
            kind,
            at,
            source,
            text,
            sent,
        ) in self._cursor.fetchall():
            detail = msgspec.json.decode(text)
            if kind not in traffic.HARD or disposition_of(detail) != "hard":
                continue
            of = Address(cast(Channel, channel), value)
            event = Event(kind, at, of, source, detail=detail)
            if is_annulled(event, self._spoken_of):
                continue
            # Of a number the predicate's domain is the number itself.
            domain = traffic.domain_of(event) or value
            words = detail.get("words") or detail.get("text")
            yield Failure(
                at=at,
                sent_at=at if sent is None else sent,
                is_sent=sent is not None,
                address=address,
                delivery=delivery,
                channel=channel,
                provider=traffic.provider_of(event) or domain,
                domain=domain,
                category=_text(detail.get("category")),
                rule=_text(detail.get("rule")),
                words=_text(words) or "",
            )

    def _delivered_to(self, failures: Sequence[Failure]) -> list[bool]:
        """Whether each address had been delivered to, in the time that the policy looks back.

        That is, a message arrived there, or was taken by a lane that does not report, and had not
        come back by then.
        """
        ids = sorted({each.address for each in failures})
        arrived: dict[int, list[_Arrived]] = {}
        bounced: dict[int, int] = {}
        for start in range(0, len(ids), _BATCH):
            batch = bulk.listed(ids[start : start + _BATCH])
            for address, one in self._arrived(batch):
                arrived.setdefault(address, []).append(one)
            for delivery, at in self._bounced(batch):
                bounced[delivery] = min(at, bounced.get(delivery, at))
        within = self._guard.delivered_within
        return [
            any(
                one.by(each.at - within, each.at, bounced.get(one.delivery))
                for one in arrived.get(each.address, ())
            )
            for each in failures
        ]

    def _arrived(self, addresses: str) -> Iterator[tuple[int, _Arrived]]:
        slots = ("sent", *_BY_MACHINES, *_HUMAN)
        self._cursor.execute(
            "SELECT address_id, id, reports,"
            f" {', '.join(f'{slot}_first, {slot}_last' for slot in slots)}"
            f" FROM ledger_delivery WHERE {bulk.among('address_id')}",
            [addresses],
        )
        human = len(slots) * 2 - len(_HUMAN) * 2
        for address, delivery, reports, *times in self._cursor.fetchall():
            told = [at for at in times[2 if reports else 0 : human] if at is not None]
            by_human = [at for at in times[human:] if at is not None]
            if told or by_human:
                yield address, _Arrived(delivery, told, by_human)

    def _bounced(self, addresses: str) -> Iterator[tuple[int, int]]:
        """The deliveries that came back, and when; what an operator annulled is left out.

        A hold that nobody has decided about changes nothing here: what is held must not depend on
        what is held.
        """
        self._cursor.execute(
            "SELECT e.delivery_id, a.channel, a.value, e.kind, e.occurred_at, e.source, e.detail"
            " FROM ledger_event e JOIN ledger_address a ON a.id = e.address_id"
            f" WHERE {bulk.among('e.address_id')} AND e.kind IN ('bounced', 'undelivered')"
            " AND e.delivery_id IS NOT NULL",
            [addresses],
        )
        for delivery, channel, value, kind, at, source, text in self._cursor.fetchall():
            if self._annulled:
                of = Address(cast(Channel, channel), value)
                event = Event(kind, at, of, source, detail=msgspec.json.decode(text))
                if is_annulled(event, self._annulled):
                    continue
            yield delivery, at


class _Arrived(msgspec.Struct, gc=False):
    """A message that arrived: signs of it (microseconds), and those that a person gave."""

    delivery: int
    times: list[int]
    human: list[int]

    def by(self, since: int, until: int, bounced_at: int | None) -> bool:
        """Whether it had arrived in that time, unless it had come back by its end."""
        if any(since <= at <= until for at in self.human):
            return True
        if bounced_at is not None and bounced_at <= until:
            return False
        return any(since <= at <= until for at in self.times)


class _Change(msgspec.Struct):
    """A wave that is to be held, a hold that is to move, or one to be taken back."""

    wave: Wave | None
    hold: Hold | None


def _differences(found: _Found) -> list[_Change]:
    """What must be done so that the holds are the waves."""
    changes = []
    kept = set()
    for wave in found.waves:
        same = [
            hold
            for hold in found.holds
            if hold.place == wave.place
            and hold.id not in kept
            and hold.predicate.overlaps(wave.predicate.since, wave.predicate.until)
        ]
        # One that covers too much is taken back: who is no longer covered is then folded anew too.
        hold = next((each for each in same if wave.predicate.includes(each.predicate)), None)
        if hold is not None:
            kept.add(hold.id)
        if hold is None or hold.predicate != wave.predicate:
            changes.append(_Change(wave, hold))
    changes += [_Change(None, hold) for hold in found.holds if hold.id not in kept]
    return changes


def _done(change: _Change, now: int) -> Act:
    wave, hold = change.wave, change.hold
    if wave is None:
        undone = hold.id if hold is not None else 0
        row = models.Annulment(made_at=now, undoes_id=undone, why=TAKEN_BACK, by=BY, is_hold=True)
        row.save(force_insert=True)
        return Act(undone, row.pk, "taken back", TAKEN_BACK)
    said = msgspec.structs.asdict(wave.predicate) | {"why": str(wave), "saw": _encode(wave.saw)}
    if hold is not None:
        models.Annulment.objects.filter(pk=hold.id).update(**said, is_applied=False)
        return Act(hold.id, hold.id, "moved", str(wave))
    row = models.Annulment(made_at=now, by=BY, is_hold=True, **said)
    row.save(force_insert=True)
    return Act(row.pk, row.pk, "held", str(wave))


def _told_again(found: _Found) -> list[Act]:
    """Let the holds say what is seen of their waves by now."""
    for wave in found.waves:
        for hold in found.holds:
            if hold.place == wave.place and hold.predicate == wave.predicate:
                rows = models.Annulment.objects.filter(pk=hold.id)
                rows.exclude(saw=_encode(wave.saw)).update(why=str(wave), saw=_encode(wave.saw))
    return []


def saws(ids: Iterable[int]) -> dict[int, Saw]:
    """What the guard saw, by the holds' ids."""
    rows = models.Annulment.objects.filter(pk__in=ids).values_list("pk", "saw")
    return {pk: msgspec.json.decode(text or "", type=Saw) for pk, text in rows}


def _merged(spans: Iterable[Span]) -> list[Span]:
    """The same hours in as few spans as can be."""
    merged: list[Span] = []
    for first, last in sorted(spans):
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(merged[-1][1], last))
        else:
            merged.append((first, last))
    return merged


def _text(said: object) -> str | None:
    return said if isinstance(said, str) else None


def _encode(saw: Saw) -> str:
    return msgspec.json.encode(saw).decode()
