"""Bounce mail and replies into readings, each read once and varied; one process, and all cores.

``python -m benchmarks.reading [--mails N] [--replies N] [--json]``. The mails are the real ones
where they are to be had (see ``benchmarks.corpus``, which also says how well they are read), else
those of the tests. The yardsticks: for mails the standard library's ``email`` on the same mails
(parsed, every part decoded), and Sisimai on the same mbox where it is installed (Debian:
``libsisimai-perl``); for an mbox over all cores the same mbox in one process; for replies bare
hyperscan on the same lines with the same patterns. The time is the processor's; with several
processes it is the clock's.
"""

from __future__ import annotations

import email
import json
import random
import shutil
import subprocess
import tempfile
import time
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import hyperscan
import typer
from rich.console import Console

from benchmarks import corpus, measuring
from benchmarks.measuring import Figure, Target
from benchmarks.varied import varied
from goodstanding.bounces import mailboxes, read, read_reply
from goodstanding.bounces.compiled import database
from goodstanding.bounces.matcher import fold
from goodstanding.bounces.rulebook import rulebook

_CORES: Final = mailboxes.processors()
TARGETS: Final = {
    "mails, by email": Target(ratio=3, rate=11_000),
    "mails, by Sisimai": Target(ratio=1 / 10),
    "mbox over all cores, by one": Target(ratio=1 / (0.9 * _CORES)),
    "mbox over all cores, by Sisimai": Target(ratio=1 / (10 * _CORES)),
    "replies": Target(ratio=20, rate=50_000),
}
_ROOT: Final = Path(__file__).parent.parent
_MAILS: Final = _ROOT / "tests" / "bounces" / "reports.toml"
_REPLIES: Final = Path(__file__).with_name("replies.toml")
_SISIMAI: Final = Path(__file__).with_name("sisimai.pl")
_FROM: Final = b"From MAILER-DAEMON Thu Jan  1 00:00:00 2026\n"


def measure(
    *,
    mails: int = 10_000,
    replies: int = 50_000,
    repeat: int = 3,
    seed: int = 1,
    tell: Console | None = None,
) -> list[Figure]:
    """Measure all of it, every repeat with other mails and replies."""
    if tell is not None:
        if corpus.there():
            corpus.show(corpus.marks(), tell)
        else:
            tell.print(f"No corpus at {corpus.CORPUS}: how well real mail is read is not measured.")
    known = _known()
    for mail in known:
        read(mail)  # the rules are loaded once
    bare = _bare_scan()
    times: dict[str, list[tuple[float, float]]] = {}
    for number in range(repeat):
        dice = random.Random(seed + number)
        found = _of_mails([varied(dice.choice(known), dice) for _ in range(mails)], known)
        lines = _replies(replies, dice)
        found["replies"] = _timed(read_reply, lines), _timed(bare, lines)
        for where, each in found.items():
            times.setdefault(where, []).append(each)
            if tell is not None:
                count = replies if where == "replies" else mails
                rate, ratio = count / each[0], each[0] / each[1]
                tell.print(f"{where}: {rate:,.0f} a second, {ratio:.3f} times the yardstick's time")
    now, most = measuring.memory_mb()
    return [
        Figure(
            work="reading",
            where=where,
            unit="replies" if where == "replies" else "mails",
            count=replies if where == "replies" else mails,
            seconds=[ours for ours, _ in each],
            yardstick=[bare for _, bare in each],
            target=TARGETS[where],
            memory=most,
            memory_before=now,
            shares={},
        )
        for where, each in times.items()
    ]


def _of_mails(mails: list[bytes], known: list[bytes]) -> dict[str, tuple[float, float]]:
    """Our seconds and the yardstick's, by which it is."""
    found = {"mails, by email": (_timed(read, mails), _timed(_parse, mails))}
    with tempfile.TemporaryDirectory(prefix="goodstanding-bench-") as folder:
        mbox = _mbox(Path(folder, "mails.mbox"), mails)
        alone, alone_wall = _of_mbox(mbox, len(mails), 1)
        _, all_wall = _of_mbox(mbox, len(mails), _CORES)
        found["mbox over all cores, by one"] = all_wall, alone_wall
        if said := _sisimai(_mbox(Path(folder, "warmup.mbox"), known), mbox):
            found["mails, by Sisimai"] = alone, said["seconds"]
            found["mbox over all cores, by Sisimai"] = all_wall, said["wall"]
    return found


def _of_mbox(path: Path, count: int, processes: int) -> tuple[float, float]:
    """Seconds of this processor and of the clock to read an mbox in so many processes."""
    cpu, wall = time.process_time(), time.perf_counter()
    found = sum(1 for _ in mailboxes.read_all(str(path), processes=processes))
    assert found == count, f"{found} mails of {count} were found"
    return time.process_time() - cpu, time.perf_counter() - wall


def _sisimai(warmup: Path, mails: Path) -> dict[str, Any] | None:
    """What Sisimai needs for the same mails; None where it is not installed."""
    perl = shutil.which("perl")
    if perl is None:
        return None
    if subprocess.run([perl, "-MSisimai", "-e1"], capture_output=True, check=False).returncode:
        return None
    done = subprocess.run(
        [perl, str(_SISIMAI), str(warmup), str(mails)], stdout=subprocess.PIPE, check=True
    )
    said: dict[str, Any] = json.loads(done.stdout)
    return said


def _mbox(path: Path, mails: Sequence[bytes]) -> Path:
    with path.open("wb") as file:
        for mail in mails:
            file.write(_FROM + mail.replace(b"\nFrom ", b"\n>From ") + b"\n\n")
    return path


def _known() -> list[bytes]:
    """The real mails, else those of the tests."""
    if corpus.there():
        return [mail.replace(b"\r\n", b"\n") for mail in corpus.mails()]
    known = tomllib.loads(_MAILS.read_text())["mail"]
    return [mail["text"].lstrip("\n").encode() for mail in known]


def _timed(do: Callable[[Any], object], texts: Sequence[Any]) -> float:
    began = time.process_time()
    for text in texts:
        do(text)
    return time.process_time() - began


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
