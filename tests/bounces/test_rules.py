"""Every rule, signal and code is tested by its own example, and by one that only comes near it."""

import re
import subprocess
import sys

import pytest

from goodstanding.bounces import read_reply, rules_version
from goodstanding.bounces.matcher import Entry, fold, signal_matcher
from goodstanding.bounces.patterns import fault
from goodstanding.bounces.rulebook import Rule, Signal, rulebook
from goodstanding.core.categories import CATEGORIES

BOOK = rulebook()


@pytest.mark.parametrize(
    ("rule", "text"),
    [(rule, text) for rule in BOOK.rules for text in (rule.example, *rule.examples)],
    ids=lambda value: value.name if isinstance(value, Rule) else value,
)
def test_example_is_decided_by_its_rule(rule: Rule, text: str) -> None:
    provider = rule.provider[0] if rule.provider else None
    report = read_reply(text, provider)
    assert (report.rule, report.category) == (rule.name, rule.category)
    if rule.category != "timed_out":
        assert report.disposition == CATEGORIES[rule.category].disposition
    if rule.patterns:
        assert report.words
        assert report.words in fold(report.text or "").decode()


@pytest.mark.parametrize("rule", BOOK.rules, ids=lambda rule: rule.name)
def test_counter_example_means_something_else(rule: Rule) -> None:
    provider = rule.provider[0] if rule.provider else None
    report = read_reply(rule.counter, provider)
    assert report.rule != rule.name
    assert report.category not in (rule.category, "undetermined")


@pytest.mark.parametrize("signal", BOOK.signals, ids=lambda signal: signal.name)
def test_signal_hears_its_example(signal: Signal) -> None:
    assert any(
        hit.entry is signal for hit in signal_matcher(signal.where).scan(fold(signal.example))
    )


@pytest.mark.parametrize("signal", BOOK.signals, ids=lambda signal: signal.name)
def test_signal_does_not_hear_its_counter_example(signal: Signal) -> None:
    assert all(
        hit.entry is not signal for hit in signal_matcher(signal.where).scan(fold(signal.counter))
    )


@pytest.mark.parametrize(
    ("text", "category"),
    [
        ("550 5.1.1 <dmarc-reports@example.com>: user unknown", "mailbox_unknown"),
        ("550 Mail rejected: see our SPF/DKIM requirements.", "authentication"),
        ("550 5.1.1 user unknown, see http://postmaster.free.fr/", "mailbox_unknown"),
        ("550 5.7.1 Your account is temporarily suspended", "sender_refused"),
        ("552 5.2.2 Message would exceed the size of the mailbox", "mailbox_full"),
    ],
)
def test_near_misses_are_told_apart(text: str, category: str) -> None:
    provider = "free.fr" if "free.fr" in text else None
    assert read_reply(text, provider).category == category


def test_every_category_has_a_rule() -> None:
    covered = {rule.category for rule in BOOK.rules} | {"undetermined"}
    assert covered == set(CATEGORIES)


def test_the_matcher_can_take_every_pattern() -> None:
    entries: list[Entry] = [*BOOK.rules, *BOOK.providers, *BOOK.signals]
    faults = {p: why for entry in entries for p in entry.patterns if (why := fault(p))}
    assert faults == {}


@pytest.mark.parametrize("status", BOOK.status)
def test_status_table_decides_where_words_say_nothing(status: str) -> None:
    said = status.replace("x.", "5.")
    if said.count(".") == 1:
        said += ".250"
    wanted = BOOK.status.get(said) or BOOK.status[status]
    report = read_reply(f"{said[0]}50 {said} qwertz")
    assert (report.category, report.status) == (wanted.category, said)


def test_names_of_rules_are_unique() -> None:
    names = [rule.name for rule in BOOK.rules]
    assert len(names) == len(set(names))


def test_version_is_that_of_the_files() -> None:
    assert re.fullmatch(r"[0-9a-f]{12}", rules_version())


def test_the_library_imports_no_django_and_compiles_nothing_at_import() -> None:
    code = (
        "import sys, goodstanding.bounces as b, goodstanding.bounces.matcher as m;"
        "assert not any(name.split('.')[0] == 'django' for name in sys.modules);"
        "assert m._compiled.cache_info().currsize == 0"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=20)
