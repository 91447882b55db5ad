"""What the post office was asked to do: its command line as one value."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, get_args

import msgspec

from goodstanding.postoffice.limits import Limits
from goodstanding.postoffice.weather import State

if TYPE_CHECKING:
    from collections.abc import Sequence


STATES: Final[tuple[State, ...]] = get_args(State)


CONTROL: Final = """\
the control port, by HTTP (bodies are JSON; provider: one of its domains, or * for all):
  GET /status
        pending, accepted, refused, deferred, by_temper; and for each of providers: state, ordered,
        seconds_left; open (connections now), most_open, turned_away; accepted, deferred, refused,
        rate (mails accepted a minute, over the last 10 seconds); limits
  GET /temper?address=A
        the temper of a mailbox
  POST /temper {"provider", "weights": {temper: weight}}
        the tempers of a provider's mailboxes from now on
  POST /limits {"provider", "connections", "rate", "per", "mails_per_connection"}
        the limits of a provider from now on; what is left out is without limit (per: 60 seconds)
  POST /weather {"provider", "state", "seconds", "delay"}
        the state of a provider, for so many seconds (left out: until further); state null: back
        to what is planned. healthy; tarpit (delay seconds before each reply); deferring (451);
        blocking (550 5.7.1); amnesia (550 5.1.1); down (hangs up)
"""


class Return(msgspec.Struct, frozen=True):
    """Where reports are sent: the sender's listener."""

    host: str
    port: int
    lmtp: bool = False


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """One run of the post office. Times are seconds, chances lie between 0 and 1."""

    seed: int = 1
    host: str = "127.0.0.1"
    port_base: int = 0
    book: Path | None = None
    pace: float = 1.0
    return_to: Return | None = None
    complaints_to: str | None = None
    visit: frozenset[str] = frozenset()
    relay: Literal["answers", "accepts"] = "answers"
    only: str | None = None
    slow: float = 0.0
    cut_before_dot: float = 0.0
    cut_after_dot: float = 0.0
    client_ip: str = "192.0.2.25"
    most_connections: int = 1000
    most_visits: int = 32
    size_limit: int = 32 * 1024 * 1024
    limits: tuple[tuple[str, Limits], ...] = ()
    weather: str | None = None
    weather_mean: float = 60.0
    weather_states: tuple[State, ...] = STATES


def return_to(text: str) -> Return:
    """Read ``HOST:PORT``, ``smtp://HOST:PORT`` or ``lmtp://HOST:PORT``.

    Raises:
        argparse.ArgumentTypeError: it is none of these.
    """
    scheme, mark, rest = text.rpartition("://")
    host, _, port = rest.rpartition(":")
    if (mark and scheme not in {"smtp", "lmtp"}) or not host or not port.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is not HOST:PORT, nor lmtp://HOST:PORT")
    return Return(host=host.strip("[]"), port=int(port), lmtp=scheme == "lmtp")


def limit(text: str) -> tuple[str, Limits]:
    """Read ``PROVIDER:NAME=NUMBER,...``, names as in :class:`Limits`.

    Raises:
        argparse.ArgumentTypeError: it is not that.
    """
    provider, _, rest = text.partition(":")
    pairs = {name: number for name, _, number in (pair.partition("=") for pair in rest.split(","))}
    try:
        return provider, msgspec.convert(pairs, Limits, strict=False)
    except msgspec.ValidationError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no limit: {error}") from error


def states(text: str) -> tuple[State, ...]:
    """Read a list of states, separated by commas; ``healthy`` is among them in any case.

    Raises:
        argparse.ArgumentTypeError: one of them is none.
    """
    named = {word.strip() for word in text.split(",")}
    if unknown := sorted(named - set(STATES)):
        raise argparse.ArgumentTypeError(f"{unknown[0]!r} is not one of {', '.join(STATES)}")
    return tuple(state for state in STATES if state == "healthy" or state in named)


def _chance(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text} does not lie between 0 and 1")
    return value


def _not_negative(text: str) -> float:
    value = float(text)
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a number from 0 up")
    return value


def _positive(text: str) -> float:
    value = _not_negative(text)
    if not value:
        raise argparse.ArgumentTypeError("it must be more than 0")
    return value


def read(arguments: Sequence[str] | None = None) -> Options:
    """Read the command line; on bad usage print what is wrong and exit with 2."""
    parser = argparse.ArgumentParser(
        prog="python -m goodstanding.postoffice",
        description="A pretend internet of mailbox providers. Prints one line of JSON with its "
        "ports when it is ready, and runs until SIGTERM.",
        epilog=CONTROL,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--seed", type=int, default=1, help="which mailbox has which temper, and all delays")
    add("--host", default="127.0.0.1", help="address to listen on")
    add("--port-base", type=int, default=0, metavar="PORT", help="first port; 0: any that is free")
    add("--book", type=Path, metavar="FILE", help="append every act to this file, as JSON lines")
    add("--pace", type=_not_negative, default=1.0, metavar="X", help="multiplies every delay")
    add(
        "--return-to",
        type=return_to,
        metavar="HOST:PORT",
        help="where reports and replies are sent by SMTP (lmtp://HOST:PORT: by LMTP)",
    )
    add("--complaints-to", metavar="ADDRESS", help="who gets the complaints")
    add(
        "--visit",
        action="append",
        default=[],
        metavar="HOST",
        help="a host whose links may be fetched, beside this machine's own (repeatable)",
    )
    add(
        "--relay",
        choices=("answers", "accepts"),
        default="answers",
        help="whether the relay's port answers as the recipient's provider would, "
        "or accepts everything and sends bounces later",
    )
    add("--only", metavar="TEMPER", help="give every mailbox this temper")
    add("--slow", type=_not_negative, default=0.0, metavar="MS", help="each DATA takes so long")
    add("--cut-before-dot", type=_chance, default=0.0, metavar="P", help="hang up during DATA")
    add(
        "--cut-after-dot",
        type=_chance,
        default=0.0,
        metavar="P",
        help="accept, and hang up without saying so",
    )
    add(
        "--limit",
        type=limit,
        action="append",
        default=[],
        metavar="PROVIDER:NAME=N,...",
        help="what a provider (*: each) takes: connections=N at once, rate=N mails in any per=60 "
        "seconds, mails_per_connection=N (repeatable)",
    )
    add(
        "--weather",
        metavar="FILE|random",
        help="providers change their states: by a TOML file of [[spell]] tables with provider "
        "(* for each), state, and at, lasts, every, delay in seconds; or by chance",
    )
    add(
        "--weather-mean",
        type=_positive,
        default=60.0,
        metavar="SECONDS",
        help="mean duration of a state with --weather random",
    )
    add(
        "--weather-states",
        type=states,
        default=STATES,
        metavar="STATE,...",
        help=f"states for --weather random to draw from (all: {','.join(STATES)})",
    )
    given = parser.parse_args(arguments)
    return Options(
        seed=given.seed,
        host=given.host,
        port_base=given.port_base,
        book=given.book,
        pace=given.pace,
        return_to=given.return_to,
        complaints_to=given.complaints_to,
        visit=frozenset(host.lower() for host in given.visit),
        relay=given.relay,
        only=given.only,
        slow=given.slow / 1000,
        cut_before_dot=given.cut_before_dot,
        cut_after_dot=given.cut_after_dot,
        limits=tuple(given.limit),
        weather=given.weather,
        weather_mean=given.weather_mean,
        weather_states=given.weather_states,
    )
