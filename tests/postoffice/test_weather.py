"""Providers that change their state, by order and by plan."""

from __future__ import annotations

import itertools
import math
import re
import smtplib
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from urllib.error import HTTPError

import pytest

from goodstanding.postoffice.office import Office
from goodstanding.postoffice.options import STATES, Options
from goodstanding.postoffice.weather import BadWeather, Fickle, Now, Script, Spell
from goodstanding.postoffice.world import UnknownTemper
from tests.postoffice.neighbours import Listener, PostOffice, wait_for
from tests.postoffice.test_limits import BIG, PEAR, PLAIN, dial, of, post, send

Open = Callable[..., PostOffice]


def order(office: PostOffice, provider: str, state: str | None, **more: float) -> None:
    office.ask("/weather", {"provider": provider, "state": state, **more})


@pytest.mark.parametrize("door", ["relay", "own"])
@pytest.mark.parametrize(
    ("state", "says", "did"),
    [
        ("deferring", r"451 4\.3\.", "deferred"),
        ("blocking", r"550 5\.7\.1 .*blocked using", "refused"),
        ("amnesia", r"(?s)55\d 5\.1\.1 .*(exist|unknown)", "refused"),
    ],
)
def test_a_state_answers_for_all_mailboxes_of_its_provider_alone(
    open_office: Open, state: str, says: str, did: str, door: str
) -> None:
    office = open_office("--only", "accepts")
    own, other = (
        (office.relay, office.relay)
        if door == "relay"
        else (office.providers[PEAR], office.providers[BIG])
    )
    order(office, PEAR, state)
    boxes = [*(f"n{n}@{PEAR}" for n in range(3)), f"temper.accepts.x@{PEAR}", "ann@me.pear.example"]
    replies = [post(own, box) for box in boxes]
    assert all(re.match(says, reply) for reply in replies), replies
    assert post(other, f"ann@{BIG}") == "250"
    lines = [line for line in office.lines() if line["provider"] == PEAR]
    assert [(line["did"], line["weather"]) for line in lines] == [
        ("turned", state),
        *[(did, state)] * 5,
    ]
    assert of(office, PEAR)[did] == 5
    assert (of(office, PEAR)["state"], of(office, BIG)["state"]) == (state, "healthy")
    order(office, PEAR, "healthy")
    assert post(own, f"ann@{PEAR}") == "250"
    [accepted] = office.lines(f"ann@{PEAR}")
    assert "weather" not in accepted


def test_an_amnesiac_forgets_in_its_own_words(open_office: Open) -> None:
    office = open_office("--only", "accepts")
    order(office, "*", "amnesia")
    replies = {name: post(office.relay, f"ann@{name}") for name in office.providers}
    assert all(reply.startswith("55") for reply in replies.values())
    assert len({reply.replace(name, "") for name, reply in replies.items()}) >= 8


def test_a_provider_that_is_down_hangs_up_at_once(open_office: Open) -> None:
    office = open_office("--only", "accepts")
    port = office.providers[PEAR]
    old, midway, elsewhere = dial(port), dial(office.relay), dial(office.providers[BIG])
    for line, box in ((old, PEAR), (midway, PEAR), (elsewhere, BIG)):
        line.ehlo()
        line.mail("b@x.example")
        assert line.rcpt(f"ann@{box}")[0] == 250
    order(office, PEAR, "down")
    with pytest.raises(smtplib.SMTPServerDisconnected):
        dial(port)
    assert post(office.relay, f"ben@{PEAR}") == "cut"
    for line in (old, midway):
        with pytest.raises(smtplib.SMTPServerDisconnected):
            line.data(PLAIN)
    assert elsewhere.data(PLAIN)[0] == 250
    assert office.did(f"ann@{PEAR}") == []
    [line_cut] = office.lines(f"ben@{PEAR}")
    assert (line_cut["did"], line_cut["weather"]) == ("cut_before_dot", "down")
    assert of(office, PEAR)["open"] == 0
    order(office, PEAR, "healthy")
    assert post(port, f"ann@{PEAR}") == "250"


@pytest.mark.parametrize("door", ["relay", "own"])
def test_a_tarpit_takes_its_time_with_every_command(open_office: Open, door: str) -> None:
    office = open_office("--only", "accepts")
    order(office, PEAR, "tarpit", delay=0.15)
    port = office.relay if door == "relay" else office.providers[PEAR]
    began = time.monotonic()
    assert post(port, f"ann@{PEAR}") == "250"
    # Greeting, EHLO, MAIL, RCPT, DATA, dot, QUIT; the relay waits where it is the provider's turn.
    took = time.monotonic() - began
    assert took >= (3 if door == "relay" else 7) * 0.15
    assert office.lines(f"ann@{PEAR}")[0]["weather"] == "tarpit"
    began = time.monotonic()
    assert post(office.relay, f"ann@{BIG}") == "250"
    assert time.monotonic() - began < took


def test_a_mail_whose_sender_left_before_the_answer_was_accepted(open_office: Open) -> None:
    office = open_office("--only", "accepts")
    order(office, PEAR, "tarpit", delay=0.6)
    with smtplib.SMTP("127.0.0.1", office.relay, timeout=5) as line:
        line.ehlo()
        line.mail("b@x.example")
        line.rcpt(f"ann@{PEAR}")
        line.putcmd("data")
        line.getreply()
        line.send(PLAIN + b".\r\n")
        office.wait_line(f"ann@{PEAR}", "accepted")
        line.close()
    wait_for(lambda: of(office, PEAR)["open"] == 0)
    assert office.did(f"ann@{PEAR}") == ["accepted"]
    assert of(office, PEAR)["accepted"] == 1


def test_an_order_ends_after_its_time(open_office: Open) -> None:
    office = open_office("--only", "accepts")
    order(office, PEAR, "blocking", seconds=0.5)
    assert post(office.relay, f"ann@{PEAR}").startswith("550")
    seen = of(office, PEAR)
    assert (seen["state"], seen["ordered"], 0 < seen["seconds_left"] <= 0.5) == (
        "blocking",
        True,
        True,
    )
    wait_for(lambda: of(office, PEAR)["state"] == "healthy")
    assert post(office.relay, f"ann@{PEAR}") == "250"
    turned = wait_for(
        lambda: (t := [x["weather"] for x in office.lines("") if x["did"] == "turned"])[1:] and t
    )
    assert turned == ["blocking", "healthy"]


def test_a_relay_that_took_everything_hears_of_it_later(open_office: Open) -> None:
    listener = Listener()
    office = open_office(
        *("--only", "accepts", "--relay", "accepts", "--pace", "0.01"),
        *("--return-to", f"127.0.0.1:{listener.port}"),
    )
    try:
        order(office, PEAR, "amnesia")
        assert post(office.relay, f"ann@{PEAR}") == "250"
        assert b"user does not exist" in listener.mail_to("b@x.example")[1].as_bytes()
        assert office.wait_line(f"ann@{PEAR}", "reported")["how"] == "failed"
    finally:
        listener.close()


def test_wrong_orders_are_plain_errors(open_office: Open) -> None:
    office = open_office()
    wrongs: list[object] = [
        {"provider": "x.example", "state": "down"},
        {"provider": PEAR, "state": "sunny"},
        {"provider": PEAR},
        {"provider": PEAR, "state": "down", "seconds": 0},
        {"provider": PEAR, "state": "tarpit", "delay": -1},
    ]
    for wrong in wrongs:
        with pytest.raises(HTTPError, match="400"):
            office.ask("/weather", wrong)


def test_a_script_changes_the_weather_and_an_order_outranks_it(
    open_office: Open, tmp_path: Path
) -> None:
    script = tmp_path / "weather.toml"
    script.write_text(
        '[[spell]]\nprovider = "*"\nstate = "deferring"\n'
        '[[spell]]\nprovider = "me.pear.example"\nstate = "blocking"\nat = 0.0\n'
        '[[spell]]\nprovider = "bigmail.example"\nstate = "healthy"\nat = 1.5\n'
    )
    office = open_office("--only", "accepts", "--weather", str(script))
    assert post(office.relay, f"ann@{PEAR}").startswith("550")
    assert post(office.relay, f"ann@{BIG}").startswith("451")
    wait_for(lambda: of(office, BIG)["state"] == "healthy")
    assert post(office.relay, f"ann@{BIG}") == "250"
    order(office, "*", "healthy")
    assert post(office.relay, f"ann@{PEAR}") == "250"
    assert of(office, PEAR)["ordered"] is True
    order(office, "*", None)
    assert post(office.relay, f"ann@{PEAR}").startswith("550")


def test_spells_hold_at_their_time_and_come_again() -> None:
    script = Script(
        [
            Spell("a", "tarpit", delay=3),
            Spell("a", "down", at=10, lasts=5),
            Spell("a", "deferring", at=12, lasts=1, every=20),
        ]
    )
    at = {second: script.at("a", second).state for second in (0, 10, 11.9, 12, 13, 15, 32.5, 33)}
    assert at == {
        0: "tarpit",
        10: "down",
        11.9: "down",
        12: "deferring",
        13: "down",
        15: "tarpit",
        32.5: "deferring",
        33: "tarpit",
    }
    assert script.at("a", 0) == Now("tarpit", 3)
    assert script.at("b", 0).state == "healthy"


def test_chance_repeats_with_the_seed_and_keeps_to_its_mean() -> None:
    def run(seed: int, provider: str) -> list[str]:
        fickle = Fickle(seed, 10, {"healthy": 5, "down": 1, "tarpit": 4})
        return [fickle.at(provider, second / 10).state for second in range(100_000)]

    one = run(1, "a")
    assert one == run(1, "a")
    assert one != run(2, "a")
    assert one != run(1, "b")
    share = {state: one.count(state) / len(one) for state in set(one)}
    assert math.isclose(share["healthy"], 0.5, abs_tol=0.06)
    assert math.isclose(share["down"], 0.1, abs_tol=0.06)
    changes = sum(a != b for a, b in itertools.pairwise(one))
    # Of 1,000 spells some are followed by one of the same state.
    assert 450 < changes < 700


def test_by_chance_the_weather_changes_all_the_time(open_office: Open) -> None:
    office = open_office(
        *("--only", "accepts", "--weather", "random", "--weather-mean", "0.3"),
        *("--weather-states", "deferring,blocking"),
    )

    def seen() -> set[str]:
        return {line["weather"] for line in office.lines("") if line["did"] == "turned"}

    wait_for(lambda: seen() == {"deferring", "blocking", "healthy"})
    with dial(office.relay) as line:
        replies = {send(line, f"n{n}@{PEAR}")[:3] for n in range(20)}
    assert replies <= {"250", "451", "550"}
    order(office, "*", "healthy")
    assert post(office.relay, f"ann@{PEAR}") == "250"


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("spell = 3", "spell"),
        ('[[spell]]\nprovider = "pear.example"\nstate = "sunny"', "sunny"),
        ('[[spell]]\nprovider = "x.example"\nstate = "down"', "x.example"),
        ('[[spell]]\nprovider = "*"\nstate = "down"\nlasts = 0', "lasts"),
        ("\x00", "weather.toml"),
    ],
)
def test_a_plan_that_cannot_be_followed_is_refused(tmp_path: Path, text: str, named: str) -> None:
    script = tmp_path / "weather.toml"
    script.write_text(text)
    with pytest.raises((BadWeather, UnknownTemper), match=named):
        Office(Options(weather=str(script)))


def test_a_wrong_option_of_the_weather_is_a_plain_error(tmp_path: Path) -> None:
    script = tmp_path / "weather.toml"
    script.write_text("spell = 3")
    command = [sys.executable, "-m", "goodstanding.postoffice"]
    for wrong in (["--weather", str(script)], ["--weather-states", "sunny"], ["--limit", "x:a=1"]):
        ended = subprocess.run([*command, *wrong], capture_output=True, text=True, check=False)
        assert (ended.returncode, "Traceback" in ended.stderr) == (2, False)
        assert wrong[1] in ended.stderr or "sunny" in ended.stderr


def test_help_names_every_order_and_state() -> None:
    command = [sys.executable, "-m", "goodstanding.postoffice", "--help"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert all(state in shown for state in STATES)
    assert all(path in shown for path in ("GET /status", "POST /limits", "POST /weather"))
