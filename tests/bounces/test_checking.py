"""The test that rules are put to: the package's pass it, and each fault is found."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from goodstanding.bounces import use_rules
from goodstanding.bounces.checking import Finding, Text, check


@pytest.fixture(autouse=True)
def without_own_rules() -> Iterator[None]:
    yield
    use_rules(None)


def found(tmp_path: Path, *rules: str, material: tuple[Text, ...] = ()) -> list[Finding]:
    file = tmp_path / "ours.toml"
    file.write_text("".join(f"[[rule]]\n{rule}\n" for rule in rules))
    use_rules(file)
    return check(material)


def test_the_packages_rules_are_in_order() -> None:
    assert [finding.says for finding in check()] == []


SUNDAY = """
name = "sunday"
category = "policy_refused"
example = "550 not on a sunday"
counter = "550 user unknown"
patterns = ["on a sunday"]
"""


def test_a_good_rule_is_in_order(tmp_path: Path) -> None:
    assert found(tmp_path, SUNDAY) == []


FAULTS = {
    "never_matched": (SUNDAY.replace('sunday"]', 'sunday", "nor on a monday"]'), "nor on a monday"),
    "too_wide": (SUNDAY.replace("550 user unknown", "550 do come on a sunday"), "do come"),
    "shadowed": (SUNDAY.replace("550 not", "550 user unknown, not") + "priority = 9", "user-unk"),
    "duplicate": (SUNDAY.replace('sunday"]', 'sunday", "on a sunday"]'), "sunday already"),
    "slow": (
        SUNDAY.replace(
            'patterns = ["',
            'patterns = ["(?:[a-z]+ ){0,20}(?:user|mail)(?: [^ ]+){0,20} zz(?: [^ ]+){0,20} yy", "',
        ),
        "KB when compiled",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_fault_is_found(tmp_path: Path, fault: str) -> None:
    rule, words = FAULTS[fault]
    findings = [finding for finding in found(tmp_path, rule) if finding.fault == fault]
    assert findings
    assert {(finding.file, finding.rule) for finding in findings} == {
        (str(tmp_path / "ours.toml"), "sunday")
    }
    assert words in findings[0].says


def test_what_only_the_length_of_the_words_decides_is_found(tmp_path: Path) -> None:
    other = """
name = "far-away"
category = "rate_limited"
example = "550 too far away"
counter = "550 user unknown"
patterns = ["too far"]
"""
    [finding] = found(tmp_path, SUNDAY, other, material=(Text("550 too far on a sunday"),))
    assert (finding.fault, finding.rule) == ("ambiguous", "sunday")
    assert "far-away matches" in finding.says
    assert "only the longer words decide" in finding.says


def test_an_empty_example_is_found(tmp_path: Path) -> None:
    findings = found(tmp_path, SUNDAY.replace("550 not on a sunday", " "))
    assert {finding.fault for finding in findings} == {"shadowed", "never_matched"}


def test_a_rule_that_takes_the_packages_examples_is_found(tmp_path: Path) -> None:
    wide = SUNDAY.replace('patterns = ["', 'patterns = ["user", "').replace(
        "550 user unknown", "550 no such mailbox"
    )
    findings = found(tmp_path, wide)
    [one] = [finding for finding in findings if finding.rule == "user-unknown"]
    assert (one.fault, one.file) == ("shadowed", "mailbox.toml")
    assert "is decided by sunday" in one.says


def test_material_shows_that_a_pattern_is_of_use(tmp_path: Path) -> None:
    rule = SUNDAY.replace('sunday"]', 'sunday", "nor on a monday"]')
    assert found(tmp_path, rule, material=(Text("550 nor on a monday"),)) == []


def test_a_pattern_that_others_always_outrank_is_found(tmp_path: Path) -> None:
    rule = SUNDAY.replace('sunday"]', 'sunday", "greylisted"]')
    [finding] = found(tmp_path, rule, material=(Text("450 greylisted, come back"),))
    assert (finding.fault, finding.pattern) == ("shadowed", "greylisted")
    assert "as greylisted does" in finding.says
