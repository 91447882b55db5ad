"""What must hold of whatever is read in damaged mails and replies, tried on many of them.

``python -m tests.bounces.fuzzing --cases 1000000 --seed 1`` reads as many in all processors and
says what came of it; ``python -m tests.bounces.fuzzing FILE`` reads one again that it kept.
"""

from __future__ import annotations

import argparse
import ctypes
import email
import json
import mmap
import os
import re
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, get_args

import msgspec

from goodstanding.bounces import Kind, Report, read, read_again, read_mail, read_reply
from goodstanding.bounces.mailboxes import processors
from goodstanding.core.categories import CATEGORIES
from tests.bounces.damaging import Case, mails, replies

COST: Final = 2000
"""How many ordinary mails the standard library parses in the time that one mail may take …"""

COST_OF_A_MEGABYTE: Final = 2000
"""… and for each megabyte of it, as many more. That is some 60 ms each."""

GROWTH: Final = 24
"""Megabytes by which a process may grow after the first fifth of its cases."""

HANGING: Final = 60  # seconds for one case, after which it is said to hang


KINDS: Final = set(get_args(Kind))
FORMS: Final = {
    "status": re.compile(r"[245]\.\d{1,3}\.\d{1,3}", re.ASCII),
    "code": re.compile(r"[2-5]\d\d", re.ASCII),
    "feedback_type": re.compile(r"[a-z-]{1,100}"),
    "action": re.compile(r"[a-z]{1,100}"),
}
LONGEST: Final = {
    "recipient": 320,
    "original_recipient": 320,
    "text": 2000,
    "words": 2000,
    "rule": 200,
    "provider": 255,
}


def flaw(case: Case) -> str | None:
    """What is wrong with what is read in a case; None where nothing is."""
    if case.is_reply:
        text = case.content.decode("utf-8", "surrogateescape")
        reports = [read_reply(text), read_reply(text, text[:60])]
    else:
        reports = read(case.content)
        if len(reports) > 1000 + len(case.content) // 50:
            return f"{len(reports)} reports"
    for report in reports:
        if wrong := _wrong(report):
            return f"{wrong}: {report}"
    return _deeper(case, reports)


def _deeper(case: Case, reports: list[Report]) -> str | None:
    """What else is read, of one case in some."""
    if hash(case.name) % 8:
        return None
    for report in reports[:3]:
        again = read_again(report.kind, report.text or "", status=report.status, code=report.code)
        if again is not None and (wrong := _wrong(again)):
            return f"{wrong}, read again: {again}"
    if case.is_reply:
        return None
    reading = read_mail(case.content)
    msgspec.json.encode(reading)
    if len(reading.subject) > 1000 or len(reading.original) > 200:
        return "a subject or an original beyond all bounds"
    longest = max((len(name) + len(value) for name, value in reading.original.items()), default=0)
    return "a header beyond all bounds" if longest > 5000 else None


def _wrong(report: Report) -> str | None:
    return _misjudged(report) or _misshapen(report)


def _misjudged(report: Report) -> str | None:
    failed = report.kind in ("bounce", "delayed")
    if report.kind not in KINDS:
        return "no kind"
    if (report.category in CATEGORIES) != failed or (report.category is None) == failed:
        return "no category, or one where nothing failed"
    if (report.disposition in ("hard", "soft", "block", "none")) != failed:
        return "no disposition, or one where nothing failed"
    if report.kind == "delayed" and report.disposition != "none":
        return "a delay that does something"
    return None


def _misshapen(report: Report) -> str | None:
    for name, form in FORMS.items():
        value = getattr(report, name)
        if value is not None and not form.fullmatch(value):
            return f"{name} is none"
    for name, longest in LONGEST.items():
        value = getattr(report, name)
        if value is not None and not 0 < len(value) <= longest:
            return f"{name} has {len(value)} characters"
    for address in (report.recipient, report.original_recipient):
        if address is not None and not (address.isprintable() and "@" in address):
            return "no address, or one that cannot be printed"
    try:
        msgspec.json.encode(report)
    except ValueError:
        return "text that cannot be written"
    return None


def yardstick() -> float:
    """Seconds of processor time for which the standard library parses one ordinary mail."""
    best = 1.0
    ordinary = [mail for mail in mails() if len(mail) < 4000][:200]
    for _ in range(3):
        began = time.process_time()
        for mail in ordinary:
            for part in email.message_from_bytes(mail).walk():
                if not part.is_multipart():
                    part.get_payload(decode=True)
        best = min(best, (time.process_time() - began) / len(ordinary))
    return best


def allowed(content: bytes, ordinary: float) -> float:
    """Seconds that reading it may take."""
    return ordinary * (COST + COST_OF_A_MEGABYTE * len(content) / 1024**2)


def taken(do: Callable[[], object]) -> float:
    """Seconds of processor time."""
    began = time.process_time()
    do()
    return time.process_time() - began


def trouble(case: Case, ordinary: float) -> str | None:
    """Read a case: what is wrong with that, be it what is said or how long it took."""
    began = time.process_time()
    try:
        wrong = flaw(case)
    except Exception:  # noqa: BLE001 - this is what is looked for
        return traceback.format_exc()
    limit = allowed(case.content, ordinary) * 2  # some is read twice, or thrice
    if wrong is None and time.process_time() - began > limit:
        again = min(taken(lambda: flaw(case)) for _ in range(3))
        if again > limit:
            return (
                f"took {again * 1000:.0f} ms of processor time, and {limit * 1000:.0f} are enough"
            )
    return wrong


def keep(case: Case, wrong: str) -> dict[str, str]:
    """A case that went wrong, in a file, and how to read it again."""
    kind = "reply" if case.is_reply else "eml"
    file = Path(tempfile.gettempdir()) / f"goodstanding-fuzzing-{case.name}.{kind}"
    file.write_bytes(case.content)
    return {"wrong": wrong, "again": f"{sys.executable} -m tests.bounces.fuzzing {file}"}


def work(seed: int, numbers: range, at: mmap.mmap, ordinary: float) -> dict[str, Any]:
    """Read the cases of these numbers; what went wrong, at most ten."""
    failed: list[dict[str, str]] = []
    warm = numbers[len(numbers) // 5]
    before = 0.0
    longest = 0.0
    count = size = 0
    for number in numbers:
        at[:8] = number.to_bytes(8, "big")
        case = Case(seed, number)
        began = time.process_time()
        wrong = trouble(case, ordinary)
        spent = time.process_time() - began
        longest = max(longest, spent / allowed(case.content, ordinary))
        count += 1
        size += len(case.content)
        if number == warm:
            before = resident()
        if wrong is not None:
            failed.append(keep(case, wrong))
            if len(failed) == 10:
                break
    grown = resident() - before if before else 0.0
    return {"count": count, "bytes": size, "grown": grown, "longest": longest, "failed": failed}


def resident() -> float:
    """Megabytes of memory that this process holds; 0 where that cannot be known."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "malloc_trim"):
        # What was freed after a large mail is not held, though it may not be given back at once.
        libc.malloc_trim(0)
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 1024**2


def run(seed: int, cases: int, processes: int) -> list[dict[str, Any]]:
    """Read so many cases in so many processes; what each of them has to say."""
    mails(), replies()
    for mail in mails()[:50]:  # what is loaded once is no case's cost
        read(mail)
    read_reply("550 no such user")
    ordinary = yardstick()
    begun = []
    for first in range(processes):
        at = mmap.mmap(-1, 8)
        ours, theirs = os.pipe()
        child = os.fork()
        if child == 0:
            said = work(seed, range(first, cases, processes), at, ordinary)
            os.write(theirs, json.dumps(said).encode())
            os._exit(0)
        os.close(theirs)
        begun.append((child, ours, at))
    return [_outcome(seed, *each) for each in begun]


def _outcome(seed: int, child: int, said: int, at: mmap.mmap) -> dict[str, Any]:
    """What a process says, or which case was its last."""
    number, since = b"", time.monotonic()
    while os.waitpid(child, os.WNOHANG)[0] == 0:
        if at[:8] != number:
            number, since = at[:8], time.monotonic()
        elif time.monotonic() - since > HANGING:
            os.kill(child, 9)
        time.sleep(0.05)
    with open(said, "rb") as file:
        told = file.read()
    if told:
        outcome: dict[str, Any] = json.loads(told)
        return outcome
    case = Case(seed, int.from_bytes(at[:8], "big"))
    return {"count": 0, "failed": [keep(case, "The process died or hung in this case.")]}


def main() -> int:
    """Run as many cases as are asked for, or one again."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", nargs="?", type=Path)
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--processes", type=int, default=processors())
    given = parser.parse_args()
    if given.file is not None:
        case = Case(0, 0)
        case.content, case.is_reply = given.file.read_bytes(), given.file.suffix == ".reply"
        case.name = given.file.stem
        wrong = trouble(case, yardstick())
        sys.stdout.write(f"{wrong or 'Nothing is wrong with it.'}\n")
        return wrong is not None
    outcomes = run(given.seed, given.cases, given.processes)
    for outcome in outcomes:
        sys.stdout.write(json.dumps(outcome) + "\n")
    return any(outcome["failed"] for outcome in outcomes)


if __name__ == "__main__":
    sys.exit(main())
