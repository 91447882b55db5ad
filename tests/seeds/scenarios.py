"""Scenarios: what one of the five documents tells, and what must follow from it.

A scenario tells its events through `import-contacts`, `import-events` and operators' acts, and asks
`check`, `why` and `report`. All of that is asked again after its events were told in other orders,
each of them one to three times and in parts.
"""

from __future__ import annotations

import itertools
import json
import math
import random
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import msgspec
from django.conf import settings

from goodstanding.contacts.models import ContactAddress
from goodstanding.core.addresses import Address
from goodstanding.core.events import Event
from goodstanding.core.gate import ONLY_BY, PURPOSES
from goodstanding.core.history import fold
from goodstanding.ledger import accounts, models, rebuilding, recording
from tests.cli.conftest import Ran
from tests.ledger import books
from tests.seeds.hearing import Hearers

START: Final = datetime(2020, 1, 6, 9, tzinfo=UTC)
HOUR: Final = 1 / 24
"""Of a day; days are what the times of scenarios are told in."""

ALL_ORDERS: Final = 720
"""So many orders of an address's events are all tried; where there are more, some of them."""

SOME_ORDERS: Final = 100
RETOLD: Final = 2
"""How often the ledger is told all of it anew."""

SPLIT_ASKED: Final = 3
"""Questions that are asked of a process after two have heard it: each takes a second or two."""

_FIELDS: Final = ("key", "channel", "recipient", "purpose", "topic", "source")
_OURS: Final = ("mailing", "claimed_at")
"""What the ledger itself writes into a detail."""

_FOR_EVER: Final = "9999"

Line = dict[str, Any]


def moment(day: float) -> str:
    """A day of the scenario as RFC 3339; 0.5: noon of the first."""
    return (START + timedelta(days=day)).isoformat()


def address_of(who: str) -> str:
    """A name's address at example.com; an address or a number as it is."""
    return who if "@" in who or who.startswith("+") else f"{who}@example.com"


def heard(kind: str, who: str, day: float, mailing: str | None = None, **said: Any) -> Line:
    """One event; what is no field of it goes into its detail."""
    line = {"kind": kind, "occurred_at": moment(day), "address": address_of(who)}
    if who.startswith("+"):
        line["channel"] = "sms"
    if mailing is not None:
        line["mailing"] = mailing
    fields = {name: said.pop(name) for name in _FIELDS if name in said}
    return {**line, **fields, **({"detail": said} if said else {})}


def mailed(who: str, day: float, mailing: str, *kinds: str, **fields: Any) -> list[Line]:
    """A message that was sent, and what was heard of it, an hour after one another."""
    return [
        heard(kind, who, day + place * HOUR, mailing, **fields)
        for place, kind in enumerate(("sent", *kinds))
    ]


def returned(who: str, day: float, mailing: str, what: str, *, kind: str = "bounced") -> list[Line]:
    """A message that was sent and came back: with these words, or for this category."""
    said = {"text": what} if " " in what else {"category": what}
    return [heard("sent", who, day, mailing), heard(kind, who, day + HOUR, mailing, **said)]


class Scenario:
    """One story under one system's policy, told and asked about in that system's words."""

    def __init__(
        self,
        system: str,
        run: Callable[..., Ran],
        use_policy: Callable[[str], None],
        hearers: Hearers | None,
    ) -> None:
        self.system = system
        self._hearers = hearers
        self.policy = ""
        self._run = run
        self._use_policy = use_policy
        self._asked: dict[tuple[str, ...], list[Any]] = {}
        self._asked_as_of = moment(-1)
        self.under(system)

    def under(self, policy: str) -> None:
        """From now on under this policy, a preset or a file, as if the settings named it."""
        assert not self._asked, "the policy of a story is settled before its first question"
        self.policy = policy
        self._use_policy(policy)

    # Telling

    def tell(self, *lines: Line | list[Line]) -> None:
        """Import these events."""
        each = [line for some in lines for line in (some if isinstance(some, list) else [some])]
        early = [line for line in each if line["occurred_at"] <= self._asked_as_of]
        assert early == [], "a question that was asked already would have another answer"
        done = self._run("import-events", "-", said=_text(each))
        assert (done.status, done.err) == (0, ""), done.err

    def contacts(self, file: Path, rows: str, *options: str) -> Any:
        """Import these rows of CSV; what became of them."""
        file.write_text(rows)
        done = self._run("import-contacts", str(file), *options, "--json")
        assert done.status == 0, done.err
        return done.items[0]

    def act(self, what: str, who: str, day: float, reason: str = "it was asked for") -> Ran:
        """An operator's act; its status is 1 where a rule refuses it."""
        done = self._run(
            *(what, address_of(who), "--reason", reason, "--by", "eve", "--at", moment(day))
        )
        assert done.status in (0, 1)
        return done

    # Asking

    def ask(self, *arguments: str) -> list[Any]:
        """What a command answers; it must answer the same whatever order it hears the story in."""
        answer = self._answer(arguments)
        assert self._asked.setdefault(arguments, answer) == answer
        as_of = arguments[arguments.index("--at") + 1] if "--at" in arguments else _FOR_EVER
        self._asked_as_of = max(self._asked_as_of, as_of)
        return answer

    def why(self, who: str, day: float | None = None, *more: str) -> Any:
        """Why the address stands where it stands, then; without a day: now, after all of it."""
        [answer] = self.ask("why", address_of(who), *_at(day), *more)
        return answer

    def name(self, who: str, day: float | None = None, *more: str) -> Any:
        """What the system calls the standing."""
        return self.why(who, day, *more)["names"][self.system]

    def refusal(
        self, who: str, day: float | None = None, purpose: str = "broadcast", *more: str
    ) -> str | None:
        """The reason for which this purpose may not be sent there, None where it may."""
        asked = ("check", address_of(who), "--purpose", purpose, *_at(day), *more)
        [answer] = self.ask(*asked)
        assert answer["allowed"] is (answer["reason"] is None)
        reason: str | None = answer["reason"]
        return reason

    def refusals(self, who: str, day: float | None = None, *more: str) -> dict[str, str]:
        """The reason for each purpose that may not be sent there."""
        channel = "sms" if who.startswith("+") else "email"
        purposes = [each for each in PURPOSES if ONLY_BY.get(each, channel) == channel]
        asked = {purpose: self.refusal(who, day, purpose, *more) for purpose in purposes}
        return {purpose: reason for purpose, reason in asked.items() if reason}

    def delivery(self, who: str, mailing: str, day: float | None = None, *more: str) -> Any:
        """What became of the mailing's message to that address."""
        [found] = [d for d in self.why(who, day, *more)["deliveries"] if d["mailing"] == mailing]
        return found

    def response(self, who: str, mailing: str, day: float | None = None, *more: str) -> Any:
        """What the system calls what became of it."""
        return self.delivery(who, mailing, day, *more)["names"][self.system]

    def statuses(self, day: float | None = None, *more: str) -> list[tuple[Any, str, int]]:
        """How many stand where: the system's name or marks, the family, the count."""
        lines = self.ask("report", "statuses", "--vocabulary", self.system, *_at(day), *more)
        return [(line["name"], line["family"], line["count"]) for line in lines]

    def mailing(self, name: str, day: float | None = None, *more: str) -> Any:
        """The report on a mailing."""
        [report] = self.ask("report", "mailing", name, *_at(day), *more)
        return report

    def read(self, reply: str, provider: str | None = None) -> Any:
        """How the bounce rules read a mail server's reply."""
        by = ("--provider", provider) if provider else ()
        [item] = self._answer(("explain", "--reply", reply, *by))
        return item.get("reports", [item])[0]

    def _answer(self, arguments: tuple[str, ...]) -> list[Any]:
        done = self._run(*arguments, "--json")
        assert done.err == ""
        no = any(item.get("allowed") is False for item in done.items)
        assert done.status == (1 if no else 0)
        return _comparable(done.items)

    # Telling it again

    def retell(self) -> None:
        """See that all answers stay, in whatever order, how often and in how many parts it is told.

        Every order of each address's events (where there are many: some) is folded in memory; a few
        orders of all of them go through the ledger, which is asked everything anew; on PostgreSQL
        two processes hear one of them at once.
        """
        told = self._told()
        _fold_in_other_orders(told)
        asked = self._asked | {each: self._answer(each) for each in self._of_all()}
        now = _now()
        for seed in range(RETOLD):
            ContactAddress.objects.all().delete()
            books.empty()
            parts = _parts(told, random.Random(seed))
            if self._hearers is not None and seed == 0:
                self._hearers.hear(parts, now, self.policy)
            else:
                for part in parts:
                    assert recording.record(part, now).refused == []
            for arguments, answer in asked.items():
                assert self._answer(arguments) == answer, f"order {seed}: {arguments}"
        assert rebuilding.rebuild(_now(), verify=True) == []

    def split(self, environment: dict[str, str]) -> None:
        """See the same after two processes at once heard parts of it, which overlap.

        ``environment``: of processes with an empty database.
        """
        told = self._told()
        folder = Path(environment["GOODSTANDING_HOME"])
        of_process = [sys.executable, "-m", "goodstanding"]
        variables = environment | {"GOODSTANDING_POLICY": self.policy}
        importing = []
        for place, part in enumerate(_parts(told, random.Random(7))):
            file = folder / f"part{place}.jsonl"
            file.write_text(_text(_line(event) for event in part))
            importing.append(
                subprocess.Popen([*of_process, "import-events", str(file)], env=variables)
            )
        assert [each.wait(120) for each in importing] == [0, 0]
        for arguments in self._of_all()[:SPLIT_ASKED]:
            done = subprocess.run(
                [*of_process, *arguments, "--json"],
                env=variables,
                check=False,
                capture_output=True,
                text=True,
                timeout=120,
            )
            assert done.stderr == ""
            items = [json.loads(line) for line in done.stdout.splitlines()]
            assert _comparable(items) == self._answer(arguments)

    def _of_all(self) -> list[tuple[str, ...]]:
        """Questions about everybody that the story is about, and how they stand now."""
        listed = sorted(_addresses())
        return [
            ("why", *listed),
            ("check", *listed),
            ("report", "statuses", "--vocabulary", self.system),
            ("check", *listed, "--purpose", "one_off"),
            *(("report", "mailing", name) for name in sorted(_purposes())),
        ]

    def _told(self) -> list[Event]:
        """Everything that was told so far, by whatever command."""
        from django.db import connection

        purposes = _purposes()
        told: list[Event] = []
        with connection.cursor() as cursor:
            ids = models.Address.objects.values_list("id", flat=True)
            for account in accounts.load(cursor, list(ids), lock=False).values():
                told += [event for _, event in rebuilding.history(account, cursor)]
        return [
            msgspec.structs.replace(
                event,
                purpose=purposes.get(event.mailing or ""),
                detail={key: said for key, said in event.detail.items() if key not in _OURS},
            )
            for event in told
        ]


def _fold_in_other_orders(told: list[Event]) -> None:
    of: dict[Address, list[Event]] = {}
    for event in told:
        of.setdefault(event.address, []).append(event)
    chance = random.Random(0)
    for address, events in of.items():
        straight = fold(address.channel, events)
        for order in _orders(events, chance):
            assert fold(address.channel, _repeated(order, chance)) == straight


def _orders(events: list[Event], chance: random.Random) -> Iterator[list[Event]]:
    if math.factorial(len(events)) <= ALL_ORDERS:
        yield from map(list, itertools.permutations(events))
        return
    for _ in range(SOME_ORDERS):
        yield chance.sample(events, len(events))


def _repeated(events: list[Event], chance: random.Random) -> list[Event]:
    """Each one to three times; what is heard again comes anywhere."""
    order = list(events)
    for event in events:
        for _ in range(chance.randint(0, 2)):
            order.insert(chance.randint(0, len(order)), event)
    return order


def _parts(told: list[Event], chance: random.Random) -> list[list[Event]]:
    """Two parts in orders of their own; what is heard more than once may be in both."""
    parts: list[list[Event]] = [[], []]
    for event in _repeated(chance.sample(told, len(told)), chance):
        chance.choice(parts).append(event)
    return parts


def _text(lines: Iterable[Line]) -> str:
    return "".join(json.dumps(line) + "\n" for line in lines)


def _line(event: Event) -> Line:
    at = datetime.fromtimestamp(0, UTC) + timedelta(microseconds=event.occurred_at)
    said = {
        "kind": event.kind,
        "occurred_at": at.isoformat(),
        "address": event.address.value,
        "channel": event.address.channel,
        "key": event.key,
        "mailing": event.mailing,
        "recipient": event.recipient,
        "purpose": event.purpose,
        "topic": event.topic,
        "source": event.source,
        "detail": event.detail,
    }
    return {name: value for name, value in said.items() if value}


def _at(day: float | None) -> tuple[str, ...]:
    return () if day is None else ("--at", moment(day))


def _comparable(items: list[Any]) -> list[Any]:
    """Without what tells of the way and not of the place: when an event was recorded."""
    for item in items:
        for event in item.get("events", ()):
            del event["recorded_at"]
    return items


def _now() -> int:
    return int(datetime.now(UTC).timestamp() * 1_000_000)


def _addresses() -> list[str]:
    return list(models.Address.objects.values_list("value", flat=True))


def _purposes() -> dict[str, str]:
    return dict(models.Mailing.objects.values_list("name", "purpose"))


def options_with(policy: str) -> Any:
    """The settings, with another policy."""
    return msgspec.structs.replace(settings.OPTIONS, policy=policy)
