"""Likeness: what it is learnt from, how often it is right, and that it makes no address dead."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from goodstanding.bounces import read, read_reply
from goodstanding.bounces.likeness import Likeness, learn, likeness, says_enough
from goodstanding.bounces.matcher import fold
from goodstanding.core.categories import CATEGORIES
from tests.bounces.learning import FILE, known, written

KNOWN = known()
PARTS = 5


def is_hard(category: str) -> bool:
    return CATEGORIES[category].disposition == "hard"


def test_the_file_is_what_the_known_answers_give() -> None:
    assert FILE.read_text(encoding="utf-8") == written(learn(KNOWN)), "run: make likeness"


@pytest.fixture(scope="module")
def apart() -> list[tuple[str, str, Likeness]]:
    """Every known answer with its category, and what was learnt from four fifths without it."""
    mixed = random.Random(1).sample(KNOWN, len(KNOWN))
    return [
        (text, category, learnt)
        for part in range(PARTS)
        for learnt in [Likeness(learn(one for n, one in enumerate(mixed) if n % PARTS != part))]
        for text, category in mixed[part::PARTS]
    ]


def test_of_what_it_has_not_learnt_it_is_mostly_right(
    apart: list[tuple[str, str, Likeness]],
) -> None:
    told = [
        (likely, category)
        for text, category, learnt in apart
        if (found := learnt.weigh(fold(text))) and (likely := found.likely())
    ]
    assert len(told) > len(apart) / 3, "it speaks of much"
    right = sum(told_ == category for told_, category in told)
    assert right / len(told) > 0.82


def test_it_seldom_overrules_what_is_hard(apart: list[tuple[str, str, Likeness]]) -> None:
    overruled = [
        (is_hard(category), found is not None and found.rather() is not None)
        for text, category, learnt in apart
        if says_enough(fold(text))
        for found in [learnt.weigh(fold(text))]
    ]
    hard = [found for was_hard, found in overruled if was_hard]
    other = [found for was_hard, found in overruled if not was_hard]
    # The known answers are full of those that were made to come near a hard one, and of odd ones.
    assert sum(hard) / len(hard) < 0.07
    assert sum(other) / len(other) > 0.4


@given(st.lists(st.sampled_from(sorted(" ".join(text for text, _ in KNOWN).split())), max_size=40))
def test_it_makes_no_address_dead(words: list[str]) -> None:
    folded = fold(" ".join(words))
    found = likeness().weigh(folded)
    if found is not None:
        for category in (found.likely(), found.likely(surer=True), found.rather()):
            assert category is None or not is_hard(category)
        assert found.words is None or found.words.encode() in folded


@pytest.mark.parametrize(
    ("text", "category"),
    [
        ("550 bulk sender without permission of its readers", "policy_refused"),
        ("550 we could not look up the name of your machine", "missing_reverse_dns"),
        ("550 your provider is on a list of bad neighbourhoods", "reputation"),
    ],
)
def test_an_answer_that_no_rule_knows_is_what_it_is_most_like(text: str, category: str) -> None:
    report = read_reply(text)
    assert (report.rule, report.category) == ("likeness", category)
    assert report.words is not None
    assert report.words in text


def test_a_reporters_prose_is_not_an_answer() -> None:
    mail = b"""From: MAILER-DAEMON@mx.example.com
To: news@example.com
Subject: Undeliverable
Return-Path: <>

Your message was not delivered to

<bob@example.org>

Your provider is on a list of bad neighbourhoods. Please contact your provider.
"""
    [report] = read(mail)
    assert (report.rule, report.category) == (None, "undetermined")
