"""Policies are files: what is in them, what is wrong with them, what rests on another."""

from __future__ import annotations

from pathlib import Path

import pytest

from goodstanding.core import policies
from goodstanding.core.policies import BadPolicy, Span
from tests.core.telling import DAY, HOUR


def written(folder: Path, text: str, name: str = "mine") -> str:
    path = folder / f"{name}.toml"
    path.write_text(text)
    return str(path)


def test_the_default_says_what_the_design_recommends() -> None:
    default = policies.load("default")
    assert (default.hard.mailings, default.hard.mailings_when_engaged) == (1, 2)
    assert default.hard.engaged_within == 30 * DAY
    assert default.hard.lifted_by_engagement
    assert (default.soft["email"].mailings, default.soft["email"].at_least) == (5, 14 * DAY)
    assert (default.soft["sms"].mailings, default.soft["sms"].within) == (5, 90 * DAY)
    assert (default.silence["email"].after, default.silence["sms"].after) == (72 * HOUR, 48 * HOUR)
    assert not default.streak.block_bounces
    assert (default.unengaged.after, default.unengaged.stopped_after) == (120 * DAY, 365 * DAY)
    assert default.unengaged.delivered == 3
    assert default.one_off.to_opted_out
    assert default.one_off.to_never_opted_in
    assert default.transactional.retry_soft_stopped == 7 * DAY
    assert (default.confirmation.a_day, default.confirmation.imported_every) == (3, 30 * DAY)
    assert default.confirmation.to_claimed
    assert default.frequency_cap.mails == 0, "none"
    assert default.statistics_days is None


def test_a_policy_says_only_what_differs_from_its_base(tmp_path: Path) -> None:
    mine = policies.load(written(tmp_path, 'base = "default"\n[hard]\nmailings = 3\n'))
    default = policies.load("default")
    assert mine.name == "mine"
    assert mine.hard.mailings == 3
    assert mine.hard.engaged_within == default.hard.engaged_within
    assert mine.responses == default.responses


def test_revisions_differ_where_the_policies_do_and_only_there(tmp_path: Path) -> None:
    same = policies.load(written(tmp_path, 'base = "default"\n', "same"))
    other = policies.load(written(tmp_path, 'base = "default"\n[hard]\nmailings = 3\n', "other"))
    default = policies.load("default")
    assert same.revision == default.revision != other.revision
    assert 0 < default.revision < 1 << 63


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("base = ", "Invalid value"),
        ('base = "nowhere"', "there is no policy 'nowhere'"),
        ('base = "default"\nfrequency = 3', "frequency"),
        ('base = "default"\n[hard]\nmailings = "many"', "hard.mailings"),
        ('base = "default"\n[silence.email]\nafter = "soon"', '"72h"'),
        ("[hard]\nmailings = 1", "missing required field"),
    ],
)
def test_what_is_wrong_is_named_with_the_file(tmp_path: Path, text: str, words: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(BadPolicy) as caught:
        policies.load(path)
    assert words in str(caught.value)
    assert "nowhere" in words or path in str(caught.value)


def test_a_policy_cannot_rest_on_itself(tmp_path: Path) -> None:
    path = tmp_path / "loop.toml"
    path.write_text(f'base = "{path}"')
    with pytest.raises(BadPolicy, match="its own base"):
        policies.load(str(path))


@pytest.mark.parametrize(
    ("text", "microseconds"),
    [("1us", 1), ("2ms", 2_000), ("16s", 16_000_000), ("1.5h", 5_400_000_000), ("14d", 14 * DAY)],
)
def test_spans_have_a_number_and_a_unit(text: str, microseconds: int) -> None:
    assert Span.parse(text) == microseconds


@pytest.mark.parametrize("text", ["", "14", "d", "-1d", "1 d", "1w", "٣d", "9" * 20 + "d", None])
def test_anything_else_is_none(text: object) -> None:
    with pytest.raises(ValueError, match="span of time"):
        Span.parse(text)
