"""Bounce mail and replies into readings, each read once and varied, one process, one thread.

``python -m benchmarks.reading [--mails N] [--replies N] [--json]``. The yardstick for mails is the
standard library's ``email`` on the same mails (parsed, every part decoded); for replies bare
hyperscan on the same lines with the same patterns. The time is the processor's.
"""

from __future__ import annotations

import email
import random
import time
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import hyperscan
import typer
from rich.console import Console

from benchmarks import measuring
from benchmarks.measuring import Figure, Target
from goodstanding.bounces import read, read_reply
from goodstanding.bounces.compiled import database
from goodstanding.bounces.matcher import fold
from goodstanding.bounces.rulebook import rulebook

TARGETS: Final = {
    "mails": Target(ratio=3, rate=11_000),
    "replies": Target(ratio=20, rate=50_000),
}
_ROOT: Final = Path(__file__).parent.parent
_MAILS: Final = _ROOT / "tests" / "bounces" / "reports.toml"
_REPLIES: Final = Path(__file__).with_name("replies.toml")


def measure(
    *,
    mails: int = 10_000,
    replies: int = 50_000,
    repeat: int = 3,
    seed: int = 1,
    tell: Console | None = None,
) -> list[Figure]:
    """Measure both, every repeat with other mails and replies."""
    read_reply("550 user unknown")
    read(b"From: MAILER-DAEMON@example.com\n\nunable to deliver")  # the rules are loaded once
    figures = []
    works: tuple[tuple[str, int, Callable[..., Sequence[Any]], Any, Any], ...] = (
        ("mails", mails, _mails, read, _parse),
        ("replies", replies, _replies, read_reply, _bare_scan()),
    )
    for work, count, make, ours, bare in works:
        seconds, yardstick = [], []
        for number in range(repeat):
            texts = make(count, random.Random(seed + number))
            yardstick.append(_timed(bare, texts))
            seconds.append(_timed(ours, texts))
            if tell is not None:
                rate, ratio = count / seconds[-1], seconds[-1] / yardstick[-1]
                tell.print(f"{work}: {rate:,.0f} a second, {ratio:.2f} times the yardstick's time")
        now, most = measuring.memory_mb()
        figures.append(
            Figure(
                work="reading",
                where=work,
                unit=work,
                count=count,
                seconds=seconds,
                yardstick=yardstick,
                target=TARGETS[work],
                memory=most,
                memory_before=now,
                shares={},
            )
        )
    return figures


def _timed(do: Callable[[Any], object], texts: Sequence[Any]) -> float:
    began = time.process_time()
    for text in texts:
        do(text)
    return time.process_time() - began


def _mails(count: int, dice: random.Random) -> list[bytes]:
    """The mails of the tests, the names in them different each time."""
    known = [mail["text"].lstrip("\n") for mail in tomllib.loads(_MAILS.read_text())["mail"]]
    return [_varied(dice.choice(known), dice).encode() for _ in range(count)]


def _varied(text: str, dice: random.Random) -> str:
    for name in ("ann", "ada", "bob", "news", "mx"):
        text = text.replace(f"{name}@", f"{name}{dice.randrange(10**6)}@")
    return text.replace("192.0.2.", f"198.51.{dice.randrange(256)}.")


def _replies(count: int, dice: random.Random) -> list[str]:
    said = tomllib.loads(_REPLIES.read_text())
    known = [text for texts in said.values() if isinstance(texts, list) for text in texts]
    return [dice.choice(known).format_map(_Filled(dice)) for _ in range(count)]


class _Filled(dict[str, str]):
    def __init__(self, dice: random.Random) -> None:
        super().__init__()
        self._dice = dice

    def __missing__(self, name: str) -> str:
        number = self._dice.randrange(10**6)
        return {
            "recipient": f"user{number}@example{number % 977}.com",
            "ip": f"192.0.{number % 256}.{number % 251}",
            "host": f"mx{number}.example.net",
            "domain": f"example{number}.org",
            "number": str(number),
        }.get(name, f"{number:x}")


def _parse(message: bytes) -> None:
    for part in email.message_from_bytes(message).walk():
        if not part.is_multipart():
            part.get_payload(decode=True)


def _bare_scan() -> Callable[[str], object]:
    book = rulebook()
    entries = [*book.rules, *book.providers]
    scanner = database([pattern.encode() for entry in entries for pattern in entry.patterns])
    scratch = hyperscan.Scratch(scanner)

    def scan(text: str) -> None:
        scanner.scan(fold(text), match_event_handler=_ignore, scratch=scratch)

    return scan


def _ignore(*_: object) -> None:
    return None


def main(
    mails: Annotated[int, typer.Option(min=100, help="Mails read in a repeat.")] = 10_000,
    replies: Annotated[int, typer.Option(min=100, help="Replies read in a repeat.")] = 50_000,
    repeat: Annotated[int, typer.Option(min=1, help="How often; the median counts.")] = 3,
    seed: Annotated[int, typer.Option(help="Another seed, other names.")] = 1,
    as_json: Annotated[
        bool, typer.Option("--json", help="A line of JSON for each figure.")
    ] = False,
) -> None:
    """Measure how fast mails and replies are read."""
    console = Console(stderr=as_json)
    figures = measure(mails=mails, replies=replies, repeat=repeat, seed=seed, tell=console)
    measuring.show(figures, console)
    if as_json:
        measuring.print_json(figures)


if __name__ == "__main__":
    typer.run(main)
