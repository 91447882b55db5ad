"""Policies are files: what is in them, what is wrong with them, what rests on another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from goodstanding.core import policy_files
from goodstanding.core.policies import Policy, Span
from goodstanding.core.policy_files import BadPolicy
from tests.core.telling import DAY, HOUR


def written(folder: Path, text: str, name: str = "mine") -> str:
    path = folder / f"{name}.toml"
    path.write_text(text)
    return str(path)


def test_the_default_says_what_the_design_recommends() -> None:
    default = policy_files.load("default")
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
    mine = policy_files.load(written(tmp_path, 'base = "default"\n[hard]\nmailings = 3\n'))
    default = policy_files.load("default")
    assert mine.name == "mine"
    assert mine.hard.mailings == 3
    assert mine.hard.engaged_within == default.hard.engaged_within
    assert mine.responses == default.responses


def test_revisions_differ_where_the_policies_do_and_only_there(tmp_path: Path) -> None:
    same = policy_files.load(written(tmp_path, 'base = "default"\n', "same"))
    other = policy_files.load(
        written(tmp_path, 'base = "default"\n[hard]\nmailings = 3\n', "other")
    )
    default = policy_files.load("default")
    assert same.revision == default.revision != other.revision
    assert 0 < default.revision < 1 << 63


DESIGN = """
| | default | infusionsoft | keap | emma | engage | creatio |
| hard.mailings | 1 | 1 | 1 | 1 | 1 | 1 |
| hard.mailings_when_engaged | 2 | 1 | 1 | 1 | 1 | 1 |
| hard.lifted_by_engagement | yes | no | no | no | no | no |
| soft.email.mailings | 5 | 5 | 5 | 4 | 0 | 0 |
| soft.email.at_least | 14 | 0 | 0 | 0 | 0 | 0 |
| soft.email.warns_at | 0 | 0 | 0 | 0 | 0 | 3 |
| soft.sms.mailings | 5 | 5 | 5 | 5 | 0 | 0 |
| soft.sms.within | 90 | 90 | 90 | 90 | none | none |
| silence.email.after | 3 | 3 | 3 | 3 | 3 | 2 |
| silence.sms.after | 2 | 2 | 2 | 2 | 2 | 2 |
| expired is final | no | no | no | no | no | yes |
| streak.block_bounces | no | no | no | no | no | yes |
| unengaged.after | 120 | none | 120 | none | none | none |
| unengaged.stopped_after | 365 | none | none | none | none | none |
| unengaged.delivered | 3 | 0 | 0 | 0 | 0 | 0 |
| machine_opens.as_opens | no | yes | yes | yes | yes | no |
| machine_opens.as_engagement | no | yes | yes | yes | yes | no |
| machine_opens.against_stopping | yes | yes | yes | yes | yes | no |
| one_off.to_opted_out | yes | yes | no | no | no | no |
| one_off.to_never_opted_in | yes | yes | no | no | yes | yes |
| footer link leaves everything | yes | yes | yes | yes | yes | yes |
| header button leaves everything | yes | yes | yes | yes | yes | yes |
| duplicates.skip | yes | yes | yes | yes | yes | yes |
| lanes.confirmed_by_better | yes | yes | yes | no | no | no |
| frequency_cap.mails | 0 | 0 | 0 | 0 | 0 | 0 |
| confirmation.imported_every | 30 | 30 | 30 | 30 | 30 | 30 |
| statistics_days | none | none | none | none | none | none |
"""
"""The table of design section 5; spans in days."""

_HEAD, *_ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")] for line in DESIGN.strip().splitlines()
]


def said(policy: Policy, setting: str) -> str:
    """A setting as the table writes it."""
    value: Any = policy
    if setting == "expired is final":
        [value] = [rule.final for rule in policy.responses if rule.name == "expired"]
    elif setting.endswith("leaves everything"):
        value = getattr(
            policy.leaving, setting.removesuffix(" leaves everything").replace(" ", "_")
        )
        value = value == "everything"
    else:
        for part in setting.split("."):
            value = value[part] if isinstance(value, dict) else getattr(value, part)
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Span):
        return str(value // DAY)
    return str(value)


@pytest.mark.parametrize("name", _HEAD[1:])
def test_a_preset_says_what_the_design_has_in_its_column(name: str) -> None:
    policy = policy_files.load(name)
    column = _HEAD.index(name)
    assert {row[0]: said(policy, row[0]) for row in _ROWS} == {row[0]: row[column] for row in _ROWS}


def test_every_preset_can_be_the_base_of_ones_own(tmp_path: Path) -> None:
    assert {"default", *_HEAD[1:]} <= set(policy_files.presets())
    for name in policy_files.presets():
        mine = policy_files.load(
            written(tmp_path, f'statistics_days = 30\nbase = "{name}"\n', f"my-{name}")
        )
        assert mine.statistics_days == 30
        assert mine.uncut.revision == policy_files.load(name).revision


def test_what_the_base_says_can_be_switched_off(tmp_path: Path) -> None:
    text = 'base = "default"\n[unengaged]\nafter = "off"\n[soft.sms]\nwithin = "off"\n'
    mine = policy_files.load(written(tmp_path, text))
    assert mine.unengaged.after is None
    assert mine.soft["sms"].within is None
    assert mine.unengaged.stopped_after == policy_files.load("default").unengaged.stopped_after


def test_the_guard_can_be_switched_off_and_decides_no_standing(tmp_path: Path) -> None:
    default = policy_files.load("default")
    off = policy_files.load(written(tmp_path, 'base = "default"\nguard = "off"\n'))
    assert default.guard is not None
    assert off.guard is None
    assert off.revision == default.revision, "nothing is to be folded anew for it"
    mine = policy_files.load(written(tmp_path, 'base = "default"\n[guard]\nat_least = 9\n', "b"))
    assert mine.guard is not None
    assert (mine.guard.at_least, mine.guard.times_usual) == (9, 10)


def test_one_row_of_the_table_of_responses_can_be_changed(tmp_path: Path) -> None:
    text = 'base = "default"\n[responses.block_bounced]\noutcome = "soft"\n'
    mine = policy_files.load(written(tmp_path, text))
    default = policy_files.load("default")
    changed = [
        (was.name, now.outcome)
        for was, now in zip(default.responses, mine.responses, strict=True)
        if was != now
    ]
    assert changed == [("block_bounced", "soft")]


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("base = ", None, "Invalid value"),
        ('base = "nowhere"', None, "there is no policy 'nowhere'"),
        ('base = "default"\nfrequency = 3', 2, "frequency: there is no such setting: expected one"),
        ('base = "default"\n[hard]\n\nmailings = "many"', 4, "hard.mailings: expected `int`"),
        ('base = "default"\nhard.mailings = 0', 2, "hard.mailings: expected `int` >= 1"),
        ('base = "default"\n[hard]\nmaillings = 2', 3, "expected one of mailings,"),
        ('base = "default"\n[retry]\njitter = 1.5', 3, "retry.jitter: expected `float` <= 1"),
        ('base = "default"\n[silence.email]\nafter = "soon"', 3, '"72h"'),
        ('base = "default"\n[silence]\nemail = {after = "3 weeks"}', 3, "silence.email.after"),
        ('base = "default"\n[silence.fax]\nafter = "2d"', 2, "expected one of email, sms"),
        ('base = "default"\n[hard]\nmailings = "off"', 3, "1 cannot be switched off"),
        ('base = "default"\nhard = "off"', 2, "cannot be switched off"),
        ('base = "default"\n[guard]\nat_least = 0', 3, "expected `int` >= 1"),
        ('base = "default"\n[guard]\nshare_failed = 1.5', 3, "expected `float` <= 1"),
        ('base = "default"\n[leaving]\nfooter_link = "all"', 3, "leaving.footer_link"),
        ('base = "default"\n[responses.gone]\nfinal = true', 2, "there is no such response"),
        ('base = "default"\n[responses.lost]\n\nlast = true', 4, "responses.lost.last"),
        ('base = "default"\n[responses.lost]\ngroup = "away"', 3, "responses.lost.group"),
        ("[hard]\nmailings = 1", None, "missing required setting 'soft'"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(
    tmp_path: Path, text: str, line: int | None, words: str
) -> None:
    path = written(tmp_path, text)
    with pytest.raises(BadPolicy) as caught:
        policy_files.load(path)
    assert words in str(caught.value)
    assert "nowhere" in words or path in str(caught.value)
    if line is not None:
        assert f"{path}, line {line}: " in str(caught.value)


def test_what_is_wrong_in_the_base_is_named_there(tmp_path: Path) -> None:
    below = written(tmp_path, 'base = "default"\n[hard]\nmailings = -1\n', "below")
    with pytest.raises(BadPolicy, match=r"below\.toml, line 3: hard\.mailings"):
        policy_files.load(written(tmp_path, f'base = "{below}"\n[retry]\nfactor = 3.0\n'))


def test_a_table_of_responses_of_ones_own_has_the_rows_that_rules_need(tmp_path: Path) -> None:
    rows = '[[responses]]\nname = "{}"\ngroup = "in_flight"\n'
    with pytest.raises(BadPolicy, match="the row 'expired' is missing"):
        policy_files.load(written(tmp_path, f'base = "default"\n{rows.format("sent")}', "a"))
    with pytest.raises(BadPolicy, match="nothing is ever heard of 'vanished'"):
        policy_files.load(written(tmp_path, f'base = "default"\n{rows.format("vanished")}', "b"))


def test_a_policy_cannot_rest_on_itself(tmp_path: Path) -> None:
    path = tmp_path / "loop.toml"
    path.write_text(f'base = "{path}"')
    with pytest.raises(BadPolicy, match="its own base"):
        policy_files.load(str(path))


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
