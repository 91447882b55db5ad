"""How long a server asks one to wait."""

from __future__ import annotations

import time
import tomllib
from pathlib import Path

import pytest

from goodstanding.bounces.waiting import LONGEST, asked_to_wait

ASKED = {
    "451 4.7.1 Please try again in 300 seconds": 300,
    "421 4.7.0 Try again later, too many messages; retry in 5 minutes": 300,
    "450 4.2.0 <ann@example.com>: Recipient address rejected: Greylisted for 5 minutes": 300,
    "451 4.7.1 Greylisting in action, please wait 00:04:32": 272,
    "451 4.7.1 Greylisting in action, please come back in 00:05:00": 300,
    "451 4.7.1 Greylisting in effect, please come back in 300 seconds": 300,
    "450 retry after 2h": 7200,
    "450 4.7.1 You are new here, come back in 1 hour": 3600,
    "421 4.7.1 Too many errors, retry timeout 300": 300,
    "450 Temporary rejected, try again in 15 min": 900,
    "450 4.2.0 Greylisted, see http://postgrey.example.com/help/example.net.html; wait 60s": 60,
    "450-4.2.0 Greylisted, please try\r\n450 4.2.0 again in 10 minutes": 600,
    "452 4.5.3 Too many recipients. Please try again after 120 secs.": 120,
    "421 4.7.28 rate limit exceeded, try again in 17 seconds": 17,
    "451 try again later (in about 15 minutes)": 900,
    "451 4.7.1 Please wait at least 60 seconds before retrying": 60,
    "451 4.7.1 Not yet authorised, 272 seconds remaining": 272,
    "451 4.7.1 Allow 10 minutes before sending the next message": 600,
    "421 Your address is temporarily blocked for 2 hours": 7200,
    "451 Please retry your message in 1 hour 30 minutes": 5400,
    "451 retry in 4m32s": 272,
    "451 4.3.2 Please retry in 1 hour, 5 minutes and 10 seconds": 3910,
    "451 4.7.0 retry-after: 120": 120,
    "451 4.7.0 throttled (retry_after=90, id=Q1)": 90,
    "451 Try again in an hour": 3600,
    "451 Please come back in half an hour.": 1800,
    "451 Try again in five minutes": 300,
    "451 Wait 2.5 hours": 9000,
    "451 try again in 1,800 seconds": 1800,
    "451 try again in 299.2 seconds": 300,
    "451 try again in 500 ms": 1,
    "451 GREYLISTED: TRY AGAIN IN 5 MINUTE(S)": 300,
    "451 greylisted; retry in 3 minutes, and not before 240 seconds are over, then retry": 180,
    "450 Greylisted for 300 seconds, try again in 12 minutes": 720,
    "451 try again in 3 days": LONGEST,
    "451 wait 999999999999999999999 hours": LONGEST,
    "451 4.7.1 Bitte versuchen Sie es in 5 Minuten erneut": 300,
    "451 4.7.1 Bitte in 10 Minuten nochmals zustellen": 600,
    "451 Bitte warten Sie mindestens 300 Sekunden": 300,
    "451 Zu viele Mails. Erneut in einer Stunde.": 3600,
    "451 4.7.1 Veuillez réessayer dans 15 minutes": 900,
    "451 Trop de connexions, merci de patienter 2 heures": 7200,
    "451 Liste grise : nouvelle tentative dans 300 secondes": 300,
    "451 4.7.1 Inténtelo de nuevo en 10 minutos": 600,
    "451 Demasiados mensajes, espere 30 segundos": 30,
    "451 Vuelva a intentarlo dentro de una hora": 3600,
}

NOT_ASKED = [
    "",
    "450 4.2.0 Greylisted, see http://postgrey.example.com/help/example.net.html",
    "451 4.7.1 Please try again later",
    "451 Try again in a few minutes",
    "550 5.7.1 Message rejected",
    "552 5.3.4 Message size exceeds 10 MB, try again in 5 MB pieces",
    "452 4.2.2 Mailbox 1048576 bytes over quota; try again when it is not",
    "421 4.7.0 [192.0.2.25] has been temporarily rate limited",
    "451 4.7.500 Server busy. Please try again later from [192.0.2.25]. (S77714)",
    "421 4.7.0 [TSS04] Messages from 192.0.2.25 temporarily deferred - 4.16.55.1",
    "451 4.3.2 Please try again later. PRX5 [mx2.example.com 2025-03-04T10:12:14.300Z 08DD5]",
    "421 4.4.2 Idle timeout after 300 seconds",
    "421 timeout waiting 300 seconds for data",
    "421 4.7.0 More than 100 messages in 60 minutes, try again later",
    "450 4.7.1 rate limit of 20 messages per 10 minutes exceeded",
    "451 4.4.1 connect to store.example.com[198.51.100.9]:24: Connection timed out",
    "421 4.4.1 message could not be delivered for 4 hours",
    "451 4.4.7 delivery delayed, will retry for 5 days",
    "451 try again, ticket 300",
    "451 Try again. Ticket 20250312 for 5 minutes of your time",
    "450 Greylisted 300 seconds ago for the first time",
    "451 try again after 14:30:00",
    "451 try again after 2026",
    "451 try again in 5.7.1",
    "451 retry 4.7.1 later",
    "421 4.3.2 error 451 while talking; see code 300s-7",
    "451 please retry via mx5.example.com port 25",
    "450 4.1.8 sender domain is 3 days old",
    "421 4.7.0 wait",
    "451 try again in minutes",
    "451 try again in 300 %",
    "451 greylisted for 5 messages",
    "250 2.0.0 OK 1741083134 queued for delivery",
]


@pytest.mark.parametrize(("text", "seconds"), ASKED.items())
def test_a_time_that_is_asked_for_is_read(text: str, seconds: int) -> None:
    assert asked_to_wait(text) == seconds


@pytest.mark.parametrize("text", NOT_ASKED)
def test_other_numbers_are_no_time_to_wait(text: str) -> None:
    assert asked_to_wait(text) is None


def test_the_pretend_providers_are_understood() -> None:
    source = Path(__file__).parents[2] / "src" / "goodstanding" / "postoffice" / "data"
    limits = tomllib.loads((source / "limits.toml").read_text())
    texts = [text for words in (limits, *limits["own"].values()) for text in words.get("rate", [])]
    assert len(texts) >= 7
    for text in texts:
        words = text.format_map(_Filled(seconds="97", clock="00:01:37"))
        assert asked_to_wait(words) == 97, words


class _Filled(dict[str, str]):
    def __missing__(self, name: str) -> str:
        return {"ip": "192.0.2.25", "id": "00ff12"}.get(name, "mx1.example.com")


@pytest.mark.parametrize(
    "text",
    [
        "try again in " * 100_000,
        "wait in in in in in in " * 100_000 + "5",
        "9" * 1_000_000 + " minutes",
        "wait " + "9" * 1_000_000,
        "5 minutes " * 100_000,
        "wait 5 minutes " * 100_000,
        "1h" * 500_000,
        "00:" * 500_000,
        "wait 1,000" + ",000" * 300_000,
        "retry" + " " * 1_000_000 + "in 5 minutes",
        "wait" + " -:;,('[=_" * 100_000 + "5 minutes",
        "\ufdfa" * 100_000,
        "e\u0301" * 100_000,
        "٣ ² \ud800 \x00 wait ٣ minutes" * 1000,
        "451-" * 500_000,
    ],
)
def test_hostile_text_takes_no_time_and_raises_nothing(text: str) -> None:
    asked_to_wait("wait 1 s")
    began = time.perf_counter()
    waited = asked_to_wait(text)
    assert time.perf_counter() - began < 0.25
    assert waited is None or 0 <= waited <= LONGEST
