"""The incident guard's rules: which hard bounces are a wave, and what names it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from goodstanding.core import policy_files
from goodstanding.core.guard import HOUR, Counts, Failure, Place, Traffic, Wave, waves
from goodstanding.core.policies import Guard, Span

START = 490_000 * HOUR
SECOND = 1_000_000
GMAIL = Place("email", "provider", "gmail.com")
RULES = Guard(
    at_least=10,
    times_usual=10,
    usual_over=Span(28 * 24 * HOUR),
    share_failed=0.1,
    share_delivered=0.8,
    delivered_within=Span(90 * 24 * HOUR),
)


def failures(
    many: int, at: int = START, every: int = SECOND, first: int = 0, **said: Any
) -> list[Failure]:
    return [
        Failure(
            **{
                "at": at + n * every,
                "sent_at": at + n * every,
                "is_sent": True,
                "address": first + n,
                "delivery": first + n,
                "channel": "email",
                "provider": "gmail.com",
                "domain": "gmail.com",
                "category": "mailbox_unknown",
                "rule": "user-unknown",
                "words": "unknown",
                **said,
            }
        )
        for n in range(many)
    ]


def found(
    *each: Iterable[Failure],
    traffic: Traffic | None = None,
    place: Place = GMAIL,
    guard: Guard = RULES,
) -> list[Wave]:
    def delivered(failures: Sequence[Failure]) -> list[bool]:
        return [True] * len(failures)

    heard = [failure for some in each for failure in some]
    return waves(place, heard, traffic or Traffic({}), delivered, guard)


def spans(found: list[Wave]) -> list[tuple[int, int]]:
    """Since when, in seconds, and until when, in hours."""
    return [
        (
            (each.predicate.since - START) // SECOND,
            (each.predicate.until + 1 - START) // HOUR,
        )
        for each in found
    ]


def test_it_takes_so_many_within_an_hour() -> None:
    assert found(failures(9)) == []
    assert len(found(failures(10, every=HOUR // 9))) == 1
    assert found(failures(10, every=HOUR // 9 + 1)) == []


def test_a_wave_reaches_over_the_hour_after_its_last() -> None:
    assert spans(found(failures(10))) == [(0, 2)]
    assert spans(found(failures(200, every=60 * SECOND))) == [(0, 5)]


def test_where_an_hour_passes_another_wave_begins() -> None:
    later = failures(10, START + 3 * HOUR, first=10)
    assert spans(found(failures(10), later)) == [(0, 2), (3 * 3_600, 5)]
    soon = failures(10, START + HOUR, first=10)
    assert spans(found(failures(10), soon)) == [(0, 3)]


def test_a_wave_does_not_end_because_it_has_become_usual() -> None:
    before = {490_000 - n: Counts(sent=100, failed=1) for n in range(1, 4)}
    during = {490_000 + n: Counts(sent=60, failed=60) for n in range(8)}
    long = failures(480, every=60 * SECOND)
    assert spans(found(long, traffic=Traffic({**before, **during}))) == [(0, 9)]


def test_an_outage_is_not_usual() -> None:
    last_week = 490_000 - 7 * 24
    before = {last_week: Counts(sent=1_000, failed=900)}
    outage = (last_week * HOUR, (last_week + 1) * HOUR - 1)
    assert found(failures(20), traffic=Traffic(before)) == []
    [wave] = found(failures(20), traffic=Traffic(before, apart=[outage]))
    assert wave.saw.usual_in_an_hour == 0


def test_the_median_is_of_the_hours_in_which_anything_was_tried() -> None:
    failed = [0, 1, 2, 3, 50]
    before = {490_000 - 5 * n - 5: Counts(sent=100, failed=each) for n, each in enumerate(failed)}
    assert found(failures(19), traffic=Traffic(before)) == []
    [wave] = found(failures(20), traffic=Traffic(before))
    assert wave.saw.usual_in_an_hour == 2


def test_a_part_of_an_hour_is_not_looked_at_by_itself() -> None:
    def only_the_last(failures: Sequence[Failure]) -> list[bool]:
        return [failure.address >= 5 for failure in failures]

    assert waves(GMAIL, failures(20), Traffic({}), only_the_last, RULES) == []
    assert len(waves(GMAIL, failures(25), Traffic({}), only_the_last, RULES)) == 1


def test_one_address_counts_once_an_hour() -> None:
    same = [msgspec.structs.replace(each, address=1) for each in failures(30)]
    assert found(same) == []


def test_where_one_domain_failed_at_a_provider_it_is_named() -> None:
    [wave] = found(failures(10, domain="company.example"))
    assert (wave.predicate.provider, wave.predicate.domain) == (None, "company.example")
    [wave] = found(failures(10), failures(10, first=10, domain="company.example"))
    assert (wave.predicate.provider, wave.predicate.domain) == ("gmail.com", None)


def test_what_nearly_all_were_read_as_is_named() -> None:
    [wave] = found(failures(19), failures(1, first=19, rule="other"))
    assert (wave.predicate.category, wave.predicate.rule) == ("mailbox_unknown", "user-unknown")
    [wave] = found(failures(18), failures(2, first=18, rule="other"))
    assert (wave.predicate.category, wave.predicate.rule) == ("mailbox_unknown", None)
    [wave] = found(failures(18), failures(2, first=18, category="mailbox_moved"))
    assert (wave.predicate.category, wave.predicate.rule) == (None, None)


def test_what_is_sent_to_nobody_knows_whom_may_have_gone_there() -> None:
    hosted = failures(20, domain="company.example", is_sent=False)
    elsewhere = {490_000: Counts(sent=1_000)}
    assert found(hosted, traffic=Traffic({}, elsewhere=elsewhere)) == []
    assert len(found(hosted, traffic=Traffic({}, elsewhere=None))) == 1
    assert len(found(failures(20), traffic=Traffic({}, elsewhere=elsewhere))) == 1


def test_it_says_what_it_saw_in_one_sentence() -> None:
    [wave] = found(failures(1_200), traffic=Traffic({490_000: Counts(sent=1_500)}))
    assert str(wave) == (
        "1,200 hard bounces at gmail.com since 2025-11-24 16:00 UTC, up to 1,200 in an hour where 0"
        " are usual, of 1,500 messages sent there in the same hours; 1,200 of them to addresses"
        " that had been delivered to in the 90 days before; said most often: “unknown” (1,200)"
    )


def test_every_preset_guards() -> None:
    guards = {name: policy_files.load(name).guard for name in policy_files.presets()}
    assert set(guards.values()) == {policy_files.load("default").guard}
