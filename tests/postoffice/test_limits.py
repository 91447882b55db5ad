"""What a sender meets that wants more of a provider than it gives."""

from __future__ import annotations

import re
import smtplib
import time
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any
from urllib.error import HTTPError

import pytest

from tests.postoffice.neighbours import PostOffice, wait_for

Open = Callable[..., PostOffice]
PLAIN = b"From: a@example.com\r\nMessage-ID: <m1@example.com>\r\nSubject: x\r\n\r\nHello\r\n"
PEAR = "pear.example"
BIG = "bigmail.example"


def dial(port: int) -> smtplib.SMTP:
    return smtplib.SMTP("127.0.0.1", port, timeout=10)


def send(line: smtplib.SMTP, recipient: str) -> str:
    """Send one mail; return the reply that decided."""
    try:
        line.sendmail("b@x.example", [recipient], PLAIN)
    except smtplib.SMTPRecipientsRefused as error:
        code, text = error.recipients[recipient]
        return f"{code} {text.decode()}"
    except smtplib.SMTPResponseException as error:
        return f"{error.smtp_code} {error.smtp_error!r}"
    return "250"


def post(port: int, recipient: str) -> str:
    """Send one mail over a connection of its own; return the reply that decided."""
    try:
        with dial(port) as line:
            return send(line, recipient)
    except smtplib.SMTPConnectError as error:
        return f"{error.smtp_code} {error.smtp_error!r}"
    except smtplib.SMTPServerDisconnected:
        return "cut"


def at_once(port: int, recipients: Iterable[str]) -> list[str]:
    recipients = list(recipients)
    with ThreadPoolExecutor(len(recipients)) as pool:
        return list(pool.map(lambda recipient: post(port, recipient), recipients))


def of(office: PostOffice, provider: str) -> dict[str, Any]:
    found: dict[str, Any] = office.status()["providers"][provider]
    return found


def test_without_limits_a_provider_counts_and_takes_what_comes(open_office: Open) -> None:
    office = open_office("--only", "accepts")
    assert Counter(at_once(office.relay, (f"n{n}@{PEAR}" for n in range(12)))) == {"250": 12}
    seen = of(office, PEAR)
    assert (seen["accepted"], seen["deferred"], seen["refused"], seen["open"]) == (12, 0, 0, 0)
    assert 1 <= seen["most_open"] <= 12
    assert seen["rate"] == 72
    assert (seen["state"], seen["limits"]["rate"]) == ("healthy", None)
    assert of(office, BIG)["accepted"] == 0


def test_one_connection_too_many_is_told_so_and_closed(open_office: Open) -> None:
    office = open_office("--only", "accepts", "--limit", f"{PEAR}:connections=2")
    port = office.providers[PEAR]
    first, second = dial(port), dial(port)
    with pytest.raises(smtplib.SMTPConnectError, match="too many connections") as turned:
        dial(port)
    assert turned.value.smtp_code == 421
    assert send(first, f"ann@{PEAR}") == send(second, f"ben@{PEAR}") == "250"
    seen = of(office, PEAR)
    assert (seen["open"], seen["most_open"], seen["turned_away"]) == (2, 2, 1)
    # One provider's limit is not another's.
    assert post(office.providers[BIG], f"ann@{BIG}") == "250"
    first.quit()
    wait_for(lambda: of(office, PEAR)["open"] == 1)
    assert post(port, f"cai@{PEAR}") == "250"
    second.close()
    wait_for(lambda: of(office, PEAR)["open"] == 0)


def test_under_a_rush_there_are_never_more_connections_than_allowed(open_office: Open) -> None:
    office = open_office("--only", "accepts", "--slow", "20", "--limit", f"{PEAR}:connections=3")
    boxes = [f"n{n}@{PEAR}" for n in range(24)]
    replies = at_once(office.providers[PEAR], boxes)
    taken = [box for box, reply in zip(boxes, replies, strict=True) if reply == "250"]
    assert 3 <= len(taken) < 24
    assert all(reply.startswith("421 ") for reply in replies if reply != "250")
    seen = of(office, PEAR)
    assert (seen["most_open"], seen["turned_away"]) == (3, 24 - len(taken))
    assert sorted(line["recipient"] for line in office.lines() if line["did"] == "accepted") == (
        sorted(taken)
    )


def test_on_the_relay_a_connection_is_a_providers_during_a_transaction(open_office: Open) -> None:
    office = open_office("--only", "accepts", "--limit", f"{BIG}:connections=1")
    one, other = dial(office.relay), dial(office.relay)
    for line in (one, other):
        line.ehlo()
        line.mail("b@x.example")
    assert one.rcpt(f"ann@{BIG}")[0] == 250
    code, text = other.rcpt(f"ben@{BIG}")
    assert (code, b"too many connections" in text) == (421, True)
    with pytest.raises(smtplib.SMTPServerDisconnected):
        other.noop()
    assert of(office, BIG)["open"] == 1
    [entry] = office.lines(f"ben@{BIG}")
    assert (entry["did"], entry["limit"], entry["reply"]) == (
        "deferred",
        "connections",
        f"421 {text.decode()}",
    )
    # Once it is done the next may come, over whatever connection.
    assert one.data(PLAIN)[0] == 250
    assert of(office, BIG)["open"] == 0
    assert post(office.relay, f"ben@{BIG}") == "250"
    one.mail("b@x.example")
    one.rcpt(f"cai@{BIG}")
    one.rset()
    assert of(office, BIG)["open"] == 0


@pytest.mark.parametrize("door", ["relay", "own"])
def test_no_more_mails_are_accepted_in_a_time_than_the_rate_allows(
    open_office: Open, door: str
) -> None:
    office = open_office("--only", "accepts", "--limit", f"{PEAR}:rate=5,per=2")
    port = office.relay if door == "relay" else office.providers[PEAR]
    replies = at_once(port, (f"n{n}@{PEAR}" for n in range(20)))
    assert replies.count("250") == 5
    over = [reply for reply in replies if reply != "250"]
    assert all(re.match(r"450 4\.7\.\d+ .* [12] ?s", reply) for reply in over), over
    assert of(office, PEAR)["deferred"] == 15
    assert {line["limit"] for line in office.lines() if line["did"] == "deferred"} == {"rate"}
    assert post(port, f"ann@{PEAR}") != "250"
    until = time.monotonic() + 2.5
    while time.monotonic() < until:
        at_once(port, (f"m{n}@{PEAR}" for n in range(4)))
    accepted = [
        datetime.fromisoformat(line["at"]).timestamp()
        for line in office.lines()
        if line["did"] == "accepted"
    ]
    assert len(accepted) >= 10
    # No six within the time of five (the clock of the book is not the one of the limit).
    assert min(b - a for a, b in zip(accepted, accepted[5:], strict=False)) > 1.9


def test_every_provider_says_in_its_own_manner_how_long_to_wait(open_office: Open) -> None:
    office = open_office("--only", "accepts", "--limit", "*:rate=0,per=77")
    replies = {name: post(office.relay, f"ann@{name}") for name in office.providers}
    assert all(re.match(r"4(21|5[01])", reply) for reply in replies.values())
    assert all(re.search(r"\b77|00:01:17", reply) for reply in replies.values())
    assert len({re.sub(r"\S+\.example\S*", "", reply) for reply in replies.values()}) >= 6
    assert {reply[:3] for reply in replies.values()} >= {"421", "450"}


def test_what_is_not_accepted_uses_up_no_rate(open_office: Open) -> None:
    office = open_office("--limit", f"{PEAR}:rate=1", "--cut-before-dot", "0")
    with dial(office.relay) as line:
        refused = [send(line, f"temper.unknown_user.{n}@{PEAR}") for n in range(3)]
        assert {reply[:3] for reply in refused} == {"550"}
        for _ in range(3):
            line.mail("b@x.example")
            assert line.rcpt(f"temper.accepts.a@{PEAR}")[0] == 250
            assert line.rcpt(f"temper.accepts.b@{PEAR}")[0] == 450
            line.rset()
        assert send(line, f"temper.refuses_content.c@{PEAR}").startswith("55")
    with dial(office.relay) as line:
        line.ehlo()
        line.mail("b@x.example")
        assert line.rcpt(f"temper.accepts.a@{PEAR}")[0] == 250
        line.close()
    wait_for(lambda: of(office, PEAR)["open"] == 0)
    assert post(office.relay, f"temper.accepts.a@{PEAR}") == "250"
    assert post(office.relay, f"temper.accepts.b@{PEAR}").startswith("450")


@pytest.mark.parametrize("door", ["relay", "own"])
def test_after_so_many_mails_on_a_connection_it_is_closed(open_office: Open, door: str) -> None:
    office = open_office("--only", "accepts", "--limit", f"{PEAR}:mails_per_connection=2")
    port = office.relay if door == "relay" else office.providers[PEAR]
    with dial(port) as line:
        assert [send(line, f"n{n}@{PEAR}") for n in range(2)] == ["250", "250"]
        if door == "relay":
            assert [send(line, f"n{n}@{BIG}") for n in range(3)] == ["250"] * 3
        assert re.match(r"421 4\.[37]\.\d .*(message|Message)", send(line, f"n2@{PEAR}"))
        with pytest.raises(smtplib.SMTPServerDisconnected):
            line.noop()
    [last] = office.lines(f"n2@{PEAR}")
    assert (last["did"], last["limit"]) == ("deferred", "mails_per_connection")
    assert post(port, f"n2@{PEAR}") == "250"


def test_limits_change_at_run_time(open_office: Open) -> None:
    office = open_office("--only", "accepts")
    office.ask("/limits", {"provider": "*", "rate": 0})
    assert post(office.relay, f"ann@{PEAR}").startswith("4")
    assert of(office, BIG)["limits"] == {
        "connections": None,
        "rate": 0,
        "per": 60.0,
        "mails_per_connection": None,
    }
    # By any of its domains.
    office.ask("/limits", {"provider": "me.pear.example"})
    assert post(office.relay, f"ann@{PEAR}") == "250"
    assert post(office.relay, f"ann@{BIG}").startswith("4")
    wrongs: list[object] = [{"provider": "x.example"}, {"rate": 3}, {"provider": PEAR, "rate": -1}]
    for wrong in [*wrongs, {"provider": PEAR, "speed": 1}, {"provider": PEAR, "per": 0}, []]:
        with pytest.raises(HTTPError, match="400"):
            office.ask("/limits", wrong)
    assert of(office, PEAR)["limits"]["rate"] is None
