"""`goodstanding holds`: what the guard held, and the operator's decision."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from goodstanding.ledger import annulling, guarding
from tests.cli.conftest import Run
from tests.ledger.weeks import NOW, START, WEEK, arrived, failed, hear, people

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")

MANY = 60


@pytest.fixture
def held() -> int:
    """A hold of so many false bounces."""
    who = people(MANY, "gmail.com")
    hear(arrived("last week", who, START), failed("this week", who, START + WEEK))
    [act] = guarding.look(NOW)
    annulling.apply(act.annulment, NOW)
    return act.hold


def test_nothing_was_ever_held(run: Run) -> None:
    assert run("holds").out == "Nothing was ever held.\n"
    done = run("holds", "--json")
    assert (done.status, done.out, done.err) == (0, "", "")


def test_it_says_what_it_saw(run: Run, held: int) -> None:
    done = run("holds")
    assert (done.status, done.err) == (0, "")
    assert "60 hard bounces at gmail.com since 2026-02-23 09:00 UTC" in done.out
    assert "up to 60 in an hour where 0 are usual" in done.out
    assert "60 of them to addresses that had been delivered to in the 90 days before" in done.out
    assert "“user unknown” (60)" in done.out
    assert "undecided: these failures count for nothing until somebody decides" in done.out
    assert "goodstanding holds --release NUMBER" in done.out
    [item] = run("holds", "--json").items
    assert (item["hold"], item["state"], item["decided"]) == (held, "undecided", None)
    assert (item["provider"], item["domain"]) == ("gmail.com", None)
    assert (item["category"], item["rule"]) == ("mailbox_unknown", "user-unknown")
    assert (item["from"], item["until"]) == (
        "2026-02-23T09:00:01Z",
        "2026-02-23T10:59:59.999999Z",
    )
    assert item["saw"] == {
        "place": {"channel": "email", "what": "provider", "name": "gmail.com"},
        "provider": "gmail.com",
        "domain": None,
        "since": "2026-02-23T09:00:01Z",
        "last": "2026-02-23T09:59:01Z",
        "hard_bounces": 60,
        "most_in_an_hour": 60,
        "usual_in_an_hour": 0,
        "tried": 60,
        "delivered_to": 60,
        "days": 90,
        "words": {"user unknown": 60},
    }


def test_annulments_show_it_as_a_hold(run: Run, held: int) -> None:
    [item] = run("annulments", "--json").items
    assert (item["annulment"], item["by"], item["holds"]) == (held, "guard", True)
    assert (item["hold"], item["upholds"]) == ("undecided", None)
    assert "holds; a hold of the guard, undecided" in run("annulments").out
    run("holds", "--uphold", str(held), "--why", "an outage")
    assert f"upholds {held}" in run("annulments").out


def test_released(run: Run, held: int) -> None:
    done = run("holds", "--release", str(held), "--why", "they are gone", "--by", "ann")
    assert (done.status, done.err) == (0, "")
    assert f"Hold {held} is released: 60 failures of 60 addresses count." in done.out
    assert "60 email: non_marketable → hard_bounced" in done.out
    [item] = run("holds", "--json").items
    assert item["state"] == "released"
    assert (item["decided"]["by"], item["decided"]["why"]) == ("ann", "they are gone")
    said = run("holds").out
    assert "released: they count" in said
    assert "by ann: they are gone" in said
    assert "Decide" not in said
    assert run("rebuild", "--verify").status == 0


def test_upheld(run: Run, held: int) -> None:
    done = run("holds", "--uphold", str(held), "--why", "an outage", "--by", "ann", "--json")
    assert (done.status, done.err) == (0, "")
    assert done.items == [{"hold": held, "state": "upheld"}]
    [item] = run("holds", "--json").items
    assert item["state"] == "upheld"
    done = run("annul", "--undo", str(held), "--why", "no outage", "--json")
    assert done.items[0]["changed"] == [
        {"channel": "email", "from": "non_marketable", "to": "hard_bounced", "count": 60}
    ]
    assert run("holds", "--json").items[0]["state"] == "released"


def test_released_for_programs(run: Run, held: int) -> None:
    done = run("holds", "--release", str(held), "--why", "gone", "--json")
    [item] = done.items
    assert (item["hold"], item["state"], item["failures"]) == (held, "released", 60)


@pytest.mark.parametrize("first", ["--uphold", "--release"])
@pytest.mark.parametrize("second", ["--uphold", "--release"])
def test_what_is_decided_is_not_decided_again(run: Run, held: int, first: str, second: str) -> None:
    run("holds", first, str(held), "--why", "so")
    before = run("annulments", "--json").out
    done = run("holds", second, str(held), "--why", "so")
    assert (done.status, done.out) == (1, "")
    assert f"The hold {held} is {first.strip('-')}" in done.err.replace("upheld", "uphold")
    assert "a hold is decided once" in done.err
    assert run("annulments", "--json").out == before


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (["--release", "999999", "--why", "so"], 1, "There is no hold 999999."),
        (["--uphold", "999999", "--why", "so"], 1, "There is no hold 999999."),
        (["--release", "1"], 2, "Say why"),
        (["--release", "1", "--why", ""], 2, "Say why"),
        (["--release", "1", "--why", "  "], 2, "A reason is needed"),
        (["--release", "1", "--uphold", "1", "--why", "so"], 2, "not both"),
        (["--why", "so"], 2, "Say which"),
        (["--release", "one", "--why", "so"], 2, "valid integer"),
    ],
)
def test_refusals_and_bad_usage(
    run: Run, held: int, arguments: list[str], status: int, says: str
) -> None:
    done = run("holds", *arguments, "--json")
    assert (done.status, done.out) == (status, "")
    assert says in done.err
    assert len(done.err.splitlines()) == 1
    assert run("holds", "--json").items[0]["state"] == "undecided"
    assert held


def test_why_says_that_it_is_held(run: Run, held: int) -> None:
    [said] = run("why", "p1@gmail.com", "--json").items
    failure = said["events"][-1]
    assert (failure["kind"], failure["annulled"]) == ("bounced", True)
    assert failure["held"]["hold"] == held
    assert failure["held"]["decision"] == "needed"
    assert (
        "look like a provider's outage, not the address's: 1. They are held since"
        f" 2026-05-27 09:00 UTC (hold {held}), and count for nothing until an operator decides."
    ) in said["explanation"]
    assert "were annulled" not in said["explanation"]
    assert f"(held: {held})" in run("why", "p1@gmail.com").out

    [earlier] = run("why", "p1@gmail.com", "--json", "--at", "2026-03-01T00:00:00Z").items
    assert (earlier["status"], earlier["events"][-1]["held"]) == ("hard_bounced", None)
    assert run("check", "p1@gmail.com", "--at", "2026-03-01T00:00:00Z", "--json").items[0][
        "status"
    ] == ("hard_bounced")
    run("holds", "--uphold", str(held), "--why", "an outage")
    [said] = run("why", "p1@gmail.com", "--json").items
    assert (said["events"][-1]["annulled"], said["events"][-1]["held"]) == (True, None)
    assert "were annulled, and count for nothing: 1" in said["explanation"]


def test_the_worker_holds_and_says_so(
    process: Run, environment: dict[str, str], tmp_path: Path
) -> None:
    who = people(MANY, "gmail.com")
    lines = []
    for event in (*arrived("one", who, START), *failed("two", who, START + WEEK)):
        at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(event.occurred_at // 1_000_000))
        said = {"kind": event.kind, "occurred_at": at, "address": event.address.value}
        if event.kind == "bounced":
            said["detail"] = {"text": "550 5.1.1 user unknown"}  # type: ignore[assignment]
        lines.append(json.dumps(said | {"mailing": event.mailing}))
    assert process("import-events", "-", said="\n".join(lines)).status == 0
    log = tmp_path / "worker.log"
    with (
        log.open("w") as out,
        subprocess.Popen(
            [sys.executable, "-m", "goodstanding", "worker"],
            env=environment | {"GOODSTANDING_LISTEN_MAIL": "127.0.0.1:0"},
            cwd=environment["GOODSTANDING_HOME"],
            stdout=out,
            stderr=out,
        ) as worker,
    ):
        try:
            deadline = time.monotonic() + 60
            while not (found := process("holds", "--json").items):
                assert time.monotonic() < deadline, log.read_text()
                assert worker.poll() is None, log.read_text()
        finally:
            worker.terminate()
            worker.wait(30)
    assert [item["state"] for item in found] == ["undecided"]
    assert "the incident guard" in log.read_text()
    assert "60 hard bounces at gmail.com" in log.read_text()
    assert process("rebuild", "--verify").status == 0
