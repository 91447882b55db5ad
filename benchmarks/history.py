"""A made-up history: events as an email service would export them, in the order of their times.

The same seed gives the same history. No two lines are equal but those that are heard twice.
"""

from __future__ import annotations

import random
import tomllib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import msgspec

START: Final = datetime(2026, 1, 5, tzinfo=UTC)
DAYS: Final = 60
NOW: Final = int((START + timedelta(days=DAYS + 10)).timestamp()) * 1_000_000
"""When it is imported, in microseconds: later than all of it."""

MAILINGS: Final = 10
EVENTS_AN_ADDRESS: Final = 5
REPEATED: Final = 0.02

_REPLIES: Final[dict[str, list[str]]] = tomllib.loads(
    Path(__file__).with_name("replies.toml").read_text("utf-8")
)
_FAILS: Final = (("hard", 0.025), ("soft", 0.025), ("block", 0.015))
_DEFERS: Final = 0.04
_SAYS_GOODBYE: Final = (
    ("opted_out", "link", 0.006),
    ("list_unsubscribed", "link", 0.003),
    ("opted_out_with_feedback", "link", 0.001),
    ("complained", "arf", 0.0015),
)
_SECONDS: Final = 86_400
GIVEN: Final = [
    "ann", "ben", "cleo", "dan", "eva", "finn", "gus", "hana", "ivo", "jo", "kim", "leo", "mia",
    "nils", "ora", "pat", "rui", "sam", "tess", "uma",
]  # fmt: skip
FAMILY: Final = [
    "adler", "baker", "costa", "dubois", "eriksen", "fischer", "garcia", "hansen", "ito",
    "jones", "kumar", "lopez", "moreau",
]  # fmt: skip
_DOMAINS: Final = 60
_NETWORKS: Final = ("192.0.2", "198.51.100", "203.0.113")
_AGENTS: Final = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS {} like Mac OS X)",
    "Mozilla/5.0 (X11; rv:{})",
)

_encode = msgspec.json.Encoder().encode


def history(events: int, seed: int) -> Iterator[bytes]:
    """So many lines, each with its newline; addresses and mailings in proportion."""
    made = _History(random.Random(seed))
    made.tell(events)
    told = sorted(made.told, key=lambda each: each[0])[: _unrepeated(events)]
    return _with_repeats([_line(at, said) for at, said in told], events, made.chance)


def _unrepeated(events: int) -> int:
    return events - int(events * REPEATED)


def _line(at: float, said: dict[str, Any]) -> bytes:
    when = (START + timedelta(seconds=at)).isoformat(timespec="milliseconds")
    return bytes(_encode({"kind": said.pop("kind"), "occurred_at": when, **said})) + b"\n"


def _with_repeats(lines: list[bytes], events: int, chance: random.Random) -> Iterator[bytes]:
    """The lines, some of them again a while later, as web hooks do."""
    again: dict[int, list[bytes]] = {}
    for place in sorted(chance.sample(range(len(lines)), events - len(lines))):
        later = min(place + chance.randint(1, 5_000), len(lines) - 1)
        again.setdefault(later, []).append(lines[place])
    for place, line in enumerate(lines):
        yield line
        yield from again.get(place, ())


class _History:
    """Everything that happens, told in any order."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.told: list[tuple[float, dict[str, Any]]] = []

    def tell(self, events: int) -> None:
        known = self._sign_ups(max(events // EVENTS_AN_ADDRESS, 20))
        share = (int(events * 1.01) - len(self.told)) / MAILINGS
        for number in range(MAILINGS):
            # A share of the events each, whatever these happen to be.
            start = (DAYS / MAILINGS * (number + 0.2)) * _SECONDS
            until = len(self.told) + share
            recipients = [address for address, since in known if since < start]
            self.chance.shuffle(recipients)
            name = f"2026-{number + 1:02} newsletter"
            for address in recipients:
                if len(self.told) >= until:
                    break
                self._deliver(name, number, address, start)

    def _say(self, at: float, kind: str, address: str, **more: Any) -> None:
        self.told.append((at, {"kind": kind, "address": address, **more}))

    def _sign_ups(self, count: int) -> list[tuple[str, float]]:
        """Half of them are there from the start, the others come by and by."""
        known = []
        for number in range(count):
            address = self._address(number)
            if number % 2:
                since = self.chance.random() * 3_600
                permission = number % 20 != 1
                detail: dict[str, Any] = {"permission": permission, "by": "ann", "row": number}
                self._say(since, "imported", address, source="import", detail=detail)
            else:
                since = self.chance.random() * DAYS * _SECONDS
                detail = {"how": "form", "ip": self._ip(), "page": f"/join?from={number:x}"}
                self._say(since, "opted_in", address, source="form", detail=detail)
                if number % 10 == 0:
                    after = since + self.chance.expovariate(1 / 3_600)
                    detail = {"method": "standard", "ip": self._ip()}
                    self._say(after, "confirmed", address, source="link", detail=detail)
            known.append((address, since))
        return known

    def _address(self, number: int) -> str:
        chance = self.chance
        local = f"{chance.choice(GIVEN)}.{chance.choice(FAMILY)}{number}"
        domain = f"mail{int(chance.random() ** 2 * _DOMAINS)}.example"
        if number % 200 == 7:
            return f"{local}@bücher{number % 7}.example"
        return f"{local.title()}@{domain}" if number % 50 == 9 else f"{local}@{domain}"

    def _deliver(self, mailing: str, number: int, address: str, start: float) -> None:
        """What becomes of one message."""
        chance = self.chance
        keyed = number % 2 == 0
        topic = "offers" if number % 3 == 0 else None

        def say(at: float, kind: str, detail: dict[str, Any], source: str = "webhook:mx") -> None:
            more: dict[str, Any] = {"mailing": mailing, "source": source, "detail": detail}
            if keyed and source == "webhook:mx":
                more["key"] = f"{chance.getrandbits(96):024x}"
            if kind == "sent" and topic:
                more["topic"] = topic
            self._say(at, kind, address, **more)

        at = start + chance.random() * 7_200
        message = f"{chance.getrandbits(80):x}"
        say(at, "sent", {"id": message, "pool": f"p{number % 3}"})
        at += 1 + chance.expovariate(1 / 20)
        if chance.random() < _DEFERS:
            say(at, "deferred", {"text": self._reply("deferred", address)})
            at += 300 + chance.expovariate(1 / 1_800)
        fate = chance.random()
        for manner, share in _FAILS:
            if fate < share:
                say(at, "bounced", {"text": self._reply(manner, address)})
                return
            fate -= share
        say(at, "delivered", {"text": f"250 2.0.0 OK {int(at)} {message} - mx", "tls": True})
        self._engage(say, at, message)

    def _engage(self, say: Any, at: float, message: str) -> None:
        """What machines and people do with a message that arrived."""
        chance = self.chance
        agent = chance.choice(_AGENTS).format(f"{chance.randint(9, 140)}_{chance.randint(0, 9)}")
        if chance.random() < 0.2:
            say(at + chance.random() * 60, "machine_opened", {"ip": self._ip(), "agent": "proxy"})
        if chance.random() < 0.03:
            say(
                at + chance.random() * 5,
                "machine_clicked",
                {"ip": self._ip(), "url": _link(chance)},
            )
        if chance.random() < 0.25:
            at += chance.expovariate(1 / 20_000)
            say(at, "opened", {"ip": self._ip(), "agent": agent})
            if chance.random() < 0.3:
                say(
                    at + chance.expovariate(1 / 40_000), "opened", {"ip": self._ip(), "id": message}
                )
            if chance.random() < 0.25:
                say(
                    at + 5 + chance.random() * 90, "clicked", {"url": _link(chance), "agent": agent}
                )
        fate = chance.random()
        for kind, source, share in _SAYS_GOODBYE:
            if fate < share:
                say(at + chance.random() * 900, kind, {"ip": self._ip(), "id": message}, source)
                return
            fate -= share

    def _reply(self, manner: str, address: str) -> str:
        chance = self.chance
        local, _, domain = address.partition("@")
        return chance.choice(_REPLIES[manner]).format(
            recipient=address,
            local=local,
            domain=domain,
            host=f"mx{chance.randint(1, 9)}.{chance.getrandbits(24):06x}.{domain}",
            ip=self._ip(),
            id=f"{chance.getrandbits(64):016x}.{chance.randint(10, 999)}",
            number=chance.randint(12, 99_999),
            date=f"2026-02-{chance.randint(10, 28)}T0{chance.randint(0, 9)}:17Z",
        )

    def _ip(self) -> str:
        return f"{self.chance.choice(_NETWORKS)}.{self.chance.randint(1, 254)}"


def _link(chance: random.Random) -> str:
    page = chance.choice(("shop", "blog", "sale"))
    return f"https://www.example.com/{page}?c={chance.getrandbits(48):x}"
