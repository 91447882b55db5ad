"""`check --purpose acknowledgement`: may the opt-out of this number be acknowledged?"""

import json
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Run

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")

NUMBER = "+447700900123"
STOPPED = "2026-03-01T10:00:00Z"


def said(kind: str, at: str, address: str = NUMBER, **more: Any) -> str:
    channel = "email" if "@" in address else "sms"
    line = {"kind": kind, "occurred_at": at, "address": address, "channel": channel, **more}
    return json.dumps(line) + "\n"


def stop(at: str = STOPPED) -> str:
    return said("replied", at, mailing="spring", detail={"text": "STOP"})


def goodbye(kind: str, at: str) -> str:
    return said(kind, at, mailing="goodbye", purpose="acknowledgement")


def hear(run: Run, *lines: str) -> None:
    done = run("import-events", "-", "--strict", said="".join(lines))
    assert (done.status, done.err) == (0, "")


def check(run: Run, at: str | None = None, *more: str, address: str = NUMBER) -> Any:
    as_of = ("--at", at) if at is not None else ()
    done = run("check", address, "--purpose", "acknowledgement", *as_of, *more, "--json")
    [answer] = done.items
    assert done.status == (0 if answer["allowed"] else 1)
    assert answer["allowed"] == (answer["reason"] is None)
    return answer


POLICY = "By the policy default an opt-out from SMS is acknowledged once, within 5 minutes."


def test_within_five_minutes_of_the_stop(run: Run) -> None:
    hear(run, said("opted_in", "2026-02-01T10:00:00Z"), stop())
    before = check(run, "2026-03-01T09:59:59Z")
    assert (before["reason"], before["status"]) == ("not_requested", "opted_in")
    assert before["why"] == "Refused: there is no opt-out to acknowledge."
    at_once = check(run, STOPPED)
    assert (at_once["reason"], at_once["status"]) == (None, "opted_out")
    assert at_once["why"] == f"Allowed: the person opted out on 2026-03-01 10:00 UTC. {POLICY}"
    assert check(run, "2026-03-01T10:04:59.999999Z")["allowed"]
    late = check(run, "2026-03-01T10:05:00Z")
    assert late["reason"] == "opted_out"
    assert late["why"] == f"Refused: the opt-out of 2026-03-01 10:00 UTC is too long ago. {POLICY}"
    assert check(run)["reason"] == "opted_out"
    for purpose in ("broadcast", "one_off", "transactional", "confirmation"):
        done = run("check", NUMBER, "--purpose", purpose, "--at", STOPPED, "--json")
        assert (done.status, done.items[0]["reason"]) == (1, "opted_out")


@pytest.mark.parametrize("kind", ["planned", "sent"])
def test_once_for_each_opt_out(run: Run, kind: str) -> None:
    hear(run, stop(), goodbye(kind, "2026-03-01T10:00:30Z"))
    done = check(run, "2026-03-01T10:01:00Z")
    assert done["reason"] == "opted_out"
    assert done["why"].startswith("Refused: the opt-out of 2026-03-01 10:00 UTC was acknowledged,")
    hear(run, stop("2026-03-01T10:02:00Z"))
    assert not check(run, "2026-03-01T10:02:01Z")["allowed"], "it is the same opt-out"
    start = said("replied", "2026-03-01T10:03:00Z", mailing="spring", detail={"text": "START"})
    hear(run, start)
    assert check(run, "2026-03-01T10:03:01Z")["reason"] == "not_requested"
    hear(run, stop("2026-03-01T10:04:00Z"))
    assert check(run, "2026-03-01T10:04:01Z")["allowed"]
    assert run("rebuild", "--verify").status == 0


def test_now(run: Run) -> None:
    hear(run, stop(datetime.fromtimestamp(time.time() - 60, UTC).isoformat()))
    assert check(run)["allowed"]
    [why] = run("why", NUMBER, "--json").items
    assert why["explanation"].endswith("Allowed: acknowledgement.")


def test_what_an_operator_said_is_acknowledged_too(run: Run) -> None:
    act = ("opt-out", NUMBER, "--reason", "asked by phone", "--by", "eve", "--at", STOPPED)
    assert run(*act).status == 0
    answer = check(run, "2026-03-01T10:01:00Z")
    assert answer["allowed"]
    assert "an operator opted the address out on 2026-03-01" in answer["why"]


def test_what_the_carrier_did_is_not(run: Run) -> None:
    detail = {"category": "carrier_opted_out"}
    hear(run, said("bounced", STOPPED, mailing="spring", detail=detail))
    answer = check(run, "2026-03-01T10:01:00Z")
    assert (answer["reason"], answer["status"]) == ("opted_out", "opted_out")
    assert answer["why"] == (
        "Refused: the carrier stopped all messages to this number on 2026-03-01 10:00 UTC."
    )


@pytest.mark.parametrize(
    ("kind", "detail", "reason"),
    [
        ("complained", {}, "complained"),
        ("spam_reported", {}, "spam_reported"),
        ("declared_invalid", {}, "invalid_address"),
        ("blocked", {}, "blocked"),
        ("bounced", {"category": "number_invalid"}, "hard_bounced"),
    ],
)
def test_other_refusals_come_with_their_own_reason(
    run: Run, kind: str, detail: dict[str, str], reason: str
) -> None:
    found = [
        said(kind, "2026-03-01T10:00:10Z", mailing=mailing, detail=detail)
        for mailing in ("summer", "autumn")
    ]
    hear(run, stop(), *found)
    answer = check(run, "2026-03-01T10:01:00Z")
    assert answer["reason"] == reason
    assert "acknowledged" not in answer["why"]


def test_by_email_there_is_none(run: Run) -> None:
    hear(run, said("opted_out", STOPPED, "ann@example.com"))
    answer = check(run, STOPPED, address="ann@example.com")
    assert answer["reason"] == "not_requested"
    assert answer["why"] == "Refused: an opt-out is acknowledged by SMS alone."
    [why] = run("why", "ann@example.com", "--json").items
    assert "acknowledgement" not in why["explanation"]


def test_another_policy_gives_another_time(run: Run, tmp_path: Path) -> None:
    policy = tmp_path / "quick.toml"
    policy.write_text('base = "default"\n[acknowledgement]\nwithin = "60s"\n')
    hear(run, stop())
    assert check(run, "2026-03-01T10:00:59Z", "--policy", str(policy))["allowed"]
    answer = check(run, "2026-03-01T10:01:00Z", "--policy", str(policy))
    assert answer["reason"] == "opted_out"
    assert answer["why"].endswith(
        "policy quick an opt-out from SMS is acknowledged once, within 1 minute."
    )
    wrong = tmp_path / "wrong.toml"
    wrong.write_text('base = "default"\n[acknowledgement]\nwithin = "soon"\n')
    done = run("check", NUMBER, "--policy", str(wrong))
    assert (done.status, done.out) == (2, "")
    assert "line 3: acknowledgement.within" in done.err


def test_as_a_template_it_is_refused_for_what_it_is(run: Run, tmp_path: Path) -> None:
    text = tmp_path / "goodbye.txt"
    text.write_text("You get no more messages from us.")
    asked = ("--purpose", "acknowledgement", "--subject", "-", "--text", str(text))
    done = run("template", "goodbye", *asked)
    assert (done.status, done.out) == (2, "")
    assert "SMS" in done.err
