"""The brake: a wave stops a mailing at a provider at once, an ordinary list never does."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from goodstanding.gateways.base import Outcome
from goodstanding.mailings.braking import (
    Brake,
    Counts,
    Kind,
    Watched,
    kind,
    lot_verdict,
    recent_verdict,
)

BRAKE = Brake()
UNKNOWN = "550 5.1.1 <{}@example.com> No such user"
BLOCKED = "550 5.7.1 Message from 192.0.2.1 rejected, see https://example.com/why session {}"


def ordinary(seed: int, mails: int, hard: float, blocks: float = 0.005) -> Iterator[Kind]:
    """Answers as a list of some age gets them."""
    chance = random.Random(seed)
    for _ in range(mails):
        drawn = chance.random()
        yield "hard" if drawn < hard else "block" if drawn < hard + blocks else "taken"


def waves(seed: int, share: float, wave: Kind) -> Iterator[Kind]:
    chance = random.Random(seed)
    for _ in range(1_000):
        yield wave if chance.random() < share else "taken"


def braked_after(watched: Watched, answers: Iterator[Kind]) -> int | None:
    for number, answer in enumerate(answers, 1):
        if watched.heard(answer):
            return number
    return None


@pytest.mark.parametrize("hard", [0.02, 0.03])
def test_an_ordinary_list_never_brakes(hard: float) -> None:
    for seed in range(10):
        watched = Watched("gmail.com", BRAKE)
        assert braked_after(watched, ordinary(seed, 100_000, hard)) is None
        assert lot_verdict("gmail.com", watched.whole, BRAKE) is None


@pytest.mark.soak
def test_of_a_thousand_ordinary_mailings_none_brakes() -> None:
    """At 3 % hard and 0.5 % blocks, 100,000 mails each."""
    braked = [
        seed
        for seed in range(1000)
        if braked_after(Watched("gmail.com", BRAKE), ordinary(seed, 100_000, 0.03))
    ]
    assert braked == []


@pytest.mark.parametrize(
    ("share", "wave", "half_within", "nearly_all_within"),
    [
        (1.0, "hard", 15, 15),
        (0.8, "hard", 19, 25),
        (0.5, "hard", 30, 50),
        (1.0, "block", 10, 10),
        (0.8, "block", 13, 17),
        (0.5, "block", 20, 31),
    ],
)
@pytest.mark.parametrize("before", [0, 20_000])
def test_a_wave_is_caught_within_a_few_mails(
    share: float, wave: Kind, half_within: int, nearly_all_within: int, before: int
) -> None:
    """At the start of a lot, and in the middle of a large one that went well."""
    settled = Watched("gmail.com", BRAKE)
    assert braked_after(settled, ordinary(1, before, 0.02)) is None
    delays = []
    for seed in range(200):
        watched = Watched("gmail.com", BRAKE)
        for answer, text in settled._last:
            watched.heard(answer, text)
        watched.whole = settled.whole
        delays.append(braked_after(watched, waves(seed, share, wave)) or 0)
    delays.sort()
    assert 0 < delays[100] <= half_within
    assert delays[190] <= nearly_all_within


def test_it_says_why_in_the_words_most_were_refused_with() -> None:
    watched = Watched("gmail.com", BRAKE)
    for _ in range(19):
        assert watched.heard("taken", "250 OK") is None
    assert watched.heard("block", "554 5.7.1 Blocked by policy") is None
    assert watched.heard("block", "554 5.7.1 Blocked by policy") is None
    for number in range(10):
        why = watched.heard("block", BLOCKED.format(f"a4e9{number}x2"))
    assert why == (
        "12 of the last 31 mails to gmail.com were refused as blocks, most of all:"
        " “550 5.7.1 Message from 192.0.2.1 rejected, see https://example.com/why session a4e99x2”"
    )


def test_a_wave_of_unknown_users_says_so() -> None:
    watched = Watched("yahoo.com", BRAKE)
    said = [watched.heard("hard", UNKNOWN.format(f"user{number}")) for number in range(15)]
    assert said[:14] == [None] * 14
    assert said[14] == (
        "15 of the last 15 mails to yahoo.com bounced hard,"
        " most of all: “550 5.1.1 <user14@example.com> No such user”"
    )


def test_totals_that_came_in_later_brake_too() -> None:
    """Through a relay all is accepted, and what bounces is known only afterwards."""
    assert lot_verdict("gmail.com", Counts(10_000, hard=300, blocks=50), BRAKE) is None
    assert lot_verdict("gmail.com", Counts(10_000, blocks=1_000), BRAKE, "550 Blocked") == (
        "1,000 of 10,000 mails of this mailing to gmail.com were refused as blocks,"
        " most of all: “550 Blocked”"
    )
    assert lot_verdict("gmail.com", Counts(200, hard=20), BRAKE) == (
        "20 of 200 mails of this mailing to gmail.com bounced hard"
    )


def test_a_late_stretch_of_totals_is_seen_in_a_large_lot() -> None:
    before, now = Counts(100_000, hard=2_000), Counts(100_060, hard=2_050)
    assert lot_verdict("gmail.com", now, BRAKE) is None
    assert recent_verdict("gmail.com", now - before, BRAKE) == (
        "50 of the last 60 mails to gmail.com bounced hard"
    )


def test_after_a_release_it_counts_anew() -> None:
    at_release = Counts(50, hard=15)
    assert lot_verdict("gmail.com", Counts(250, hard=34) - at_release, BRAKE) is None
    assert lot_verdict("gmail.com", Counts(250, hard=35) - at_release, BRAKE)


def test_a_small_lot_is_never_stopped_by_a_few() -> None:
    watched = Watched("example.com", BRAKE)
    assert [watched.heard("hard", "550 5.1.1 No such user") for _ in range(5)] == [None] * 5


def test_soft_failures_are_not_a_wave_of_either() -> None:
    watched = Watched("gmail.com", BRAKE)
    assert not any(watched.heard("other", "552 Mailbox full") for _ in range(500))


@pytest.mark.parametrize(
    ("outcome", "disposition", "counts_as"),
    [
        ("accepted", None, "taken"),
        ("refused", "hard", "hard"),
        ("refused", "block", "block"),
        ("refused", "soft", "other"),
        ("refused", "none", "other"),
        ("deferred", "none", None),
        ("deferred", "block", None),
        ("unsent", None, None),
        ("lost", None, None),
        ("dropped", None, None),
    ],
)
def test_what_counts_as_what(
    outcome: Outcome, disposition: str | None, counts_as: Kind | None
) -> None:
    assert kind(outcome, disposition) == counts_as


def test_it_can_be_turned_off() -> None:
    off = Brake(brakes=False)
    watched = Watched("gmail.com", off)
    assert not any(watched.heard("block", "550 Blocked") for _ in range(200))
    assert recent_verdict("gmail.com", Counts(50, 50, 50), off) is None
    assert lot_verdict("gmail.com", Counts(500, 500, 500), off) is None


def test_settings_are_checked() -> None:
    for wrong, why in [
        ({"hard": 51}, "can never be"),
        ({"window": 9, "hard": 9}, "blocks .* can never be"),
        ({"hard_share": float("nan")}, "hard_share"),
        ({"blocks_share": 0}, "> 0"),
        ({"hard": 1}, ">= 2"),
        ({"hards": 3}, "unknown field"),
    ]:
        with pytest.raises(msgspec.ValidationError, match=why):
            msgspec.convert(wrong, Brake)


def test_what_is_watched_for_long_takes_no_more_room() -> None:
    watched = Watched("gmail.com", Brake(hard_share=1, blocks_share=1, lot_blocks_share=1))
    for number in range(5_000):
        watched.heard("block" if number % 2 else "taken", "550 " + chr(97 + number % 26) * 100_000)
    assert len(watched._last) == 50
    assert sum(sys.getsizeof(text) for _, text in watched._last) < 50_000


answers = st.lists(
    st.tuples(
        st.sampled_from(["taken", "hard", "block", "other"]),
        st.sampled_from(["550 no", "550 5.1.1 <a@example.com>", "", "\x00…<"]) | st.text(),
    ),
    max_size=300,
)
brakes = st.builds(
    Brake,
    window=st.integers(20, 60),
    hard=st.integers(2, 20),
    blocks=st.integers(2, 20),
    hard_share=st.floats(0.01, 1),
    blocks_share=st.floats(0.01, 1),
    lot_at_least=st.integers(2, 100),
    lot_hard_share=st.floats(0.01, 1),
    lot_blocks_share=st.floats(0.01, 1),
)


@given(brakes, answers)
def test_it_brakes_when_its_numbers_say_so_and_at_no_other_time(
    brake: Brake, answers: list[tuple[Kind, str]]
) -> None:
    watched = Watched("gmail.com", brake)
    heard: list[Kind] = []
    for answer, text in answers:
        why = watched.heard(answer, text)
        heard.append(answer)
        last = heard[-brake.window :]
        wave = (
            (last.count("hard") >= max(brake.hard, brake.hard_share * len(last)))
            or (last.count("block") >= max(brake.blocks, brake.blocks_share * len(last)))
            or (heard.count("hard") >= max(brake.lot_at_least, brake.lot_hard_share * len(heard)))
            or (
                heard.count("block") >= max(brake.lot_at_least, brake.lot_blocks_share * len(heard))
            )
        )
        assert bool(why) == (wave and answer in ("hard", "block"))
        assert len(why or "") < 400


@given(brakes, st.integers(0, 10**6), st.integers(0, 10**6), st.integers(1, 10**6))
def test_more_failures_never_release_and_more_successes_never_brake(
    brake: Brake, taken: int, hard: int, more: int
) -> None:
    for verdict in (recent_verdict, lot_verdict):
        counts = Counts(taken + hard, hard)
        if verdict("gmail.com", counts, brake):
            assert verdict("gmail.com", counts + Counts(more, more), brake)
        else:
            assert not verdict("gmail.com", counts + Counts(more), brake)
