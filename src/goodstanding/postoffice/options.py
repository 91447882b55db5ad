"""What the post office was asked to do: its command line as one value."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence


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


def read(arguments: Sequence[str] | None = None) -> Options:
    """Read the command line; on bad usage print what is wrong and exit with 2."""
    parser = argparse.ArgumentParser(
        prog="python -m goodstanding.postoffice",
        description="A pretend internet of mailbox providers. Prints one line of JSON with its "
        "ports when it is ready, and runs until SIGTERM.",
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
    )
