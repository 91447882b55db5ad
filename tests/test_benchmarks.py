"""The benchmarks run and say what they should; how fast anything is, no test decides."""

import json
import pickle
import random
import socket
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

from benchmarks import sink
from benchmarks.history import history
from benchmarks.varied import varied
from goodstanding.bounces import read

ROOT = Path(__file__).parent.parent


def test_the_fold_is_measured_against_its_yardstick() -> None:
    command = [sys.executable, "-m", "benchmarks.fold", "--json"]
    options = ["--events", "500", "--repeat", "1", "--database", "sqlite"]
    done = subprocess.run(
        [*command, *options], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    [figure] = [json.loads(line) for line in done.stdout.splitlines()]
    assert (figure["where"], figure["count"]) == ("sqlite", 500)
    assert figure["ratio"] == round(figure["seconds"][0] / figure["yardstick"][0], 3)
    assert abs(sum(figure["shares"].values()) - 1) < 0.01


def test_a_history_is_the_same_for_the_same_seed_and_hears_little_twice() -> None:
    lines = list(history(2_000, 7))
    assert lines == list(history(2_000, 7))
    assert lines != list(history(2_000, 8))
    assert len(lines) == 2_000
    assert len(set(lines)) == 1_960


def measured(*command: str) -> list[dict[str, Any]]:
    done = subprocess.run(
        [sys.executable, "-m", *command, "--json", "--repeat", "1", "--database", "sqlite"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_the_planning_is_measured_against_its_yardstick() -> None:
    [figure] = measured("benchmarks.planning", "--addresses", "300")
    assert (figure["work"], figure["where"], figure["count"]) == ("planning", "sqlite", 300)
    assert figure["ratio"] == round(figure["seconds"][0] / figure["yardstick"][0], 3)
    assert figure["longest"].keys() == {"transaction", "wait"}
    assert min(figure["longest"].values()) > 0


def test_the_sending_is_measured_against_its_yardstick() -> None:
    [figure] = measured("benchmarks.sending", "--messages", "40", "--connections", "2")
    assert (figure["work"], figure["where"], figure["count"]) == ("sending", "sqlite", 40)
    assert figure["ratio"] == round(figure["seconds"][0] / figure["yardstick"][0], 3)
    assert figure["shares"]["event loop"] > 0


def test_the_reading_is_measured_against_its_yardsticks() -> None:
    command = [sys.executable, "-m", "benchmarks.reading", "--json", "--mails", "400"]
    done = subprocess.run(
        [*command, "--replies", "200", "--repeat", "1"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    figures = {figure["where"]: figure for figure in map(json.loads, done.stdout.splitlines())}
    assert {"mails, by email", "mbox over all cores, by one", "replies"} <= figures.keys()
    assert figures["mails, by email"]["count"] == 400
    for figure in figures.values():
        assert figure["ratio"] == round(figure["seconds"][0] / figure["yardstick"][0], 3)
    assert "real" in done.stderr.lower()


def test_what_is_varied_reads_the_same() -> None:
    dice = random.Random(1)
    known = tomllib.loads((ROOT / "tests" / "bounces" / "reports.toml").read_text())["mail"]
    mails = [mail["text"].lstrip("\n").encode() for mail in known]
    others = [varied(mail, dice) for mail in mails]
    assert len(set(others)) == len(mails)

    def told(mail: bytes) -> list[tuple[str, str | None, str | None]]:
        return [(one.kind, one.category, one.status) for one in read(mail)]

    same = sum(told(mail) == told(other) for mail, other in zip(mails, others, strict=True))
    assert same > len(mails) * 0.95


def test_the_sink_takes_what_comes_in_any_pieces(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    said = (
        b"EHLO us.example\r\n"
        b"MAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.com>\r\nDATA\r\n"
        b"..leads\r\n\r\n..\r\n.\r\n"
        b"MAIL FROM:<>\r\nRCPT TO:<c@example.com>\r\nDATA\r\n.\r\nQUIT\r\n"
    )
    with sink.running(keep=kept) as to:
        for size in (1, 7, len(said)):
            with socket.create_connection(("127.0.0.1", to.port), timeout=10) as client:
                for at in range(0, len(said), size):
                    client.sendall(said[at : at + size])
                answers = b"".join(iter(lambda: client.recv(4096), b"")).split(b"\r\n")
            codes = [line[:3] for line in answers if line[3:4] != b"-"]
            once = [b"250", b"250", b"354", b"250"]
            assert codes == [b"220", b"250", *once, *once, b"221", b""]
    assert to.messages == 6
    with kept.open("rb") as file:
        found = [pickle.load(file) for _ in range(6)]
    assert (
        found
        == [
            ("a@example.org", "b@example.com", b".leads\r\n\r\n.\r\n"),
            ("", "c@example.com", b""),
        ]
        * 3
    )
