"""Telling why an address stands where it stands, in a few plain sentences."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

import msgspec

from goodstanding.answers import grounds
from goodstanding.answers.grounds import Ground
from goodstanding.answers.words import listed, span, words
from goodstanding.core import consent, vocabularies
from goodstanding.core.addresses import Address
from goodstanding.core.annulments import Annulment, Predicates, held_by, is_annulled
from goodstanding.core.categories import CATEGORIES
from goodstanding.core.events import Event, key_of
from goodstanding.core.gate import ONLY_BY, Blocks
from goodstanding.core.history import History
from goodstanding.core.memory import disposition_of
from goodstanding.core.policies import Policy
from goodstanding.core.standings import Standing
from goodstanding.core.times import in_words

_FAILURES: Final = 5  # mailings of a streak that are told one by one
_QUOTED: Final = 300  # characters of what was said
_DETAILS: Final = 200  # characters of one detail
_READING: Final = frozenset(
    {
        "category",
        "disposition",
        "rule",
        "rules",
        "words",
        "provider",
        "code",
        "status",
        "text",
        "user_agent",
        "reply",
        "attempt",
        "host",
        "stage",
    }
)
_CONSENT: Final = frozenset(
    {"non_marketable", "confirmed", "confirmed_custom", "opted_in", "opted_out_by_admin"}
    | {"opted_out", "list_unsubscribed", "opted_out_with_feedback"}
)


class Anew(msgspec.Struct, frozen=True):
    """An event that a reread, by its number, reads otherwise; its detail as it was at first."""

    number: int
    at_first: dict[str, Any]


def explain(
    address: Address,
    history: History,
    standing: Standing,
    events: Sequence[Event],
    policy: Policy,
    annulled: Predicates = (),
    anew: Mapping[str, Anew] = MappingProxyType({}),
    holds: Sequence[Annulment] = (),
) -> str:
    """A few sentences: what decided, when, what was said, which rule read it, what follows.

    ``annulled``: what does not count; ``holds``: those of it that nobody has decided about.
    ``anew``: by their keys, the events that were read otherwise at first.
    """
    said = [event for event in events if not is_annulled(event, annulled)]
    ground = grounds.of_standing(history, standing, policy)
    return " ".join(
        [
            _opening(address, standing),
            _note("because", ground=ground),
            *_evidence(ground, history, standing, said, policy),
            *_by_policy(ground, standing, history, policy),
            *_consent_alone(standing),
            *_in_vain(history),
            *_annulled(events, annulled, holds),
            *_reread(events, anew),
            *_gate(standing, address.channel),
        ]
    )


def _annulled(
    events: Sequence[Event], annulled: Predicates, holds: Sequence[Annulment]
) -> Iterator[str]:
    counted = Counter(held_by(event, holds) for event in events if is_annulled(event, annulled))
    decided = counted.pop(None, 0)
    if decided:
        yield _note("annulled", n=decided)
    for hold, many in counted.items():
        if hold is not None:
            yield _note("held", n=many, hold=hold.id, when=in_words(hold.made_at))


def _reread(events: Sequence[Event], anew: Mapping[str, Anew]) -> Iterator[str]:
    changed: Counter[tuple[int, str, str]] = Counter()
    for event in events:
        first = anew.get(key_of(event))
        if first is not None:
            changed[first.number, _as(first.at_first), _as(event.detail)] += 1
    for (number, before, after), many in sorted(changed.items()):
        yield _note(
            "reread" if many == 1 else "reread_many",
            number=number,
            n=many,
            before=before,
            after=after,
        )


def _as(detail: Mapping[str, Any]) -> str:
    return f"{detail.get('category')} ({disposition_of(detail)})"


def _opening(address: Address, standing: Standing) -> str:
    said = {
        "address": address.value,
        "name": _name(standing.status),
        "status": standing.status,
        "family": standing.family,
    }
    if standing.since is None:
        return _note("always", **said)
    return _note("since", **said, when=in_words(standing.since))


def _evidence(
    ground: Ground,
    history: History,
    standing: Standing,
    events: Sequence[Event],
    policy: Policy,
) -> Iterator[str]:
    """What was heard that decided."""
    if ground.name in ("soft_stopped", "soft_bouncing"):
        yield from _streak(history, standing, events, policy)
        return
    for event in _deciding(ground, events):
        if event.mailing is not None:
            yield _note("in_mailing", mailing=event.mailing)
        yield from _said(event)


def _deciding(ground: Ground, events: Sequence[Event]) -> list[Event]:
    if ground.name == "hard_bounced":
        return [
            event
            for event in events
            if event.kind == "bounced"
            and event.occurred_at == ground.at
            and disposition_of(event.detail) == "hard"
        ][:1]
    return [event for event in events if key_of(event) == ground.key][:1]


def _said(event: Event) -> Iterator[str]:
    detail = event.detail
    text = detail.get("text")
    if isinstance(text, str) and text:
        yield _note("said", text=_short(text, _QUOTED), source=event.source)
    category = CATEGORIES.get(str(detail.get("category")))
    if category is not None:
        yield _note(
            "rule" if detail.get("rule") and detail.get("words") else "reading",
            rule=detail.get("rule"),
            words=_short(str(detail.get("words")), _QUOTED),
            category=detail["category"],
            fault=words().faults[category.fault],
            disposition=disposition_of(detail),
        )
    others = [
        f"{name} “{_short(str(value), _DETAILS)}”"
        for name, value in sorted(detail.items())
        if name not in _READING and isinstance(value, str | int) and value != ""
    ]
    if others:
        yield _note("with_it", details=listed(others))


def _streak(
    history: History, standing: Standing, events: Sequence[Event], policy: Policy
) -> Iterator[str]:
    """The latest mailings that could not be delivered, and what was said of the last of them."""
    sent = set(grounds.streak_of(history, standing, policy).sent)
    failed = [
        (each.memory.sent_at, name, response, each.memory.category)
        for (name, _), each, response in zip(
            history.deliveries, history.deliveries.values(), standing.judged, strict=True
        )
        if each.memory.sent_at in sent and response.outcome != "good"
    ]
    failed.sort(key=lambda each: each[0] or 0)
    for at, name, response, category in failed[-_FAILURES:]:
        yield _note(
            "failure",
            mailing=name or "?",
            when=in_words(at or 0),
            response=_response_name(response.name),
            category=f" ({category})" if category else "",
        )
    last = failed[-1][1] if failed else None
    said = [
        event for event in events if event.kind in ("bounced", "deferred") and event.mailing == last
    ]
    for event in said[-1:]:
        yield from _said(event)


def _by_policy(
    ground: Ground, standing: Standing, history: History, policy: Policy
) -> Iterator[str]:
    said: dict[str, Any] = {"policy": policy.name}
    name = ground.name
    if name == "hard_bounced":
        hard = policy.hard
        said |= {
            "n": hard.mailings,
            "m": max(hard.mailings, hard.mailings_when_engaged),
            "span": span(hard.engaged_within),
        }
    elif name in ("soft_stopped", "soft_bouncing"):
        soft = policy.soft.get(history.channel)
        if soft is None or soft.mailings == 0:
            name = "soft_never"
            if soft is not None and 0 < soft.warns_at <= standing.streak:
                name, said["n"] = "soft_warning", soft.warns_at
        else:
            over = words().policy["over"].format(span=span(soft.at_least))
            within = words().policy["within"].format(span=span(soft.within or 0))
            said |= {
                "n": soft.mailings,
                "over": (over if soft.at_least else "") + (within if soft.within else ""),
            }
    elif name == "unengaged":
        name = standing.status
        rule = policy.unengaged
        after = rule.stopped_after if name == "unengaged_blocked" else rule.after
        said |= {"span": span(after or 0), "n": rule.delivered}
    if name in words().policy:
        yield words().policy[name].format(**said)


def _consent_alone(standing: Standing) -> Iterator[str]:
    if standing.status not in _CONSENT and standing.consent != standing.status:
        yield _note("consent", name=_name(standing.consent))


def _in_vain(history: History) -> Iterator[str]:
    """An operator's opt-in that Keap's rule gives no effect."""
    registers = history.registers
    given = registers.admin_opted_in
    if given is None:
        return
    word = consent.general(registers)
    complaint = consent.complaint(registers)
    by_person = word.refusal == "opted_out" and word.status != "opted_out_by_admin"
    if (by_person and word.said is not None and given.at > word.said.at) or (
        complaint is not None and given.at > complaint.at
    ):
        yield _note("opted_in_in_vain", when=in_words(given.at))
    elif word.said != given and consent.is_active(registers.locked, registers.unlocked):
        locked = registers.locked
        if locked is not None and locked.at <= given.at:
            yield _note("opted_in_while_locked", when=in_words(given.at))


def _gate(standing: Standing, channel: str) -> Iterator[str]:
    yield from _purposes(standing.blocks, channel)
    for topic, blocks in standing.topics.items():
        if blocks != standing.blocks:
            yield _note("of_topic", topic=topic) + " ".join(_purposes(blocks, channel))


def _purposes(blocks: Blocks, channel: str) -> Iterator[str]:
    refused: dict[str, list[str]] = {}
    blocks = {each: blocks[each] for each in blocks if ONLY_BY.get(each, channel) == channel}
    for purpose, reason in blocks.items():
        if reason is not None:
            refused.setdefault(reason, []).append(purpose)
    allowed = [purpose for purpose, reason in blocks.items() if reason is None]
    if refused:
        reasons = [f"{listed(purposes)} ({reason})" for reason, purposes in refused.items()]
        yield _note("refused", purposes="; ".join(reasons))
    if allowed:
        yield _note("allowed", purposes=listed(allowed))


def _note(template: str, **said: object) -> str:
    return words().notes[template].format_map(said)


def _name(status: str) -> str:
    name = vocabularies.choose("goodstanding").status_name(status)
    return name if isinstance(name, str) else status


def _response_name(response: str) -> str:
    return vocabularies.choose("goodstanding").response_name(response) or response


def _short(text: str, most: int) -> str:
    text = " ".join(text.split())
    return text if len(text) <= most else f"{text[:most]}…"
