"""What was said of an address, and what wins when two say it at once (design, section 4)."""

from __future__ import annotations

import pytest

from goodstanding.core.registers import Registers, Said
from tests.core.telling import SMS, at, event, tell


def said(*events: object) -> Registers:
    return tell(*events).registers  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("field", "kind"),
    [
        ("admin_opted_in", "admin_opted_in"),
        ("admin_opted_out", "admin_opted_out"),
        ("invalid", "declared_invalid"),
        ("invalid", "found_invalid"),
        ("corrected", "corrected"),
        ("blocked", "blocked"),
        ("unblocked", "unblocked"),
        ("locked", "locked"),
        ("unlocked", "unlocked"),
        ("engaged", "opened"),
        ("engaged", "clicked"),
        ("engaged", "replied"),
        ("engaged", "confirmed"),
        ("machine_opened", "machine_opened"),
    ],
)
def test_the_last_word_of_each_sort_is_kept(field: str, kind: str) -> None:
    whole = said(event(kind, 2, key="b"), event(kind, 3, key="c"), event(kind, 1, key="a"))
    assert getattr(whole, field) == Said(at(3), getattr(whole, field).what, "c")


def test_of_imports_the_first_is_kept() -> None:
    whole = said(
        event("imported", 2, permission=True, key="b"),
        event("imported", 1, permission=True, key="a"),
        event("imported", 0, permission=False, key="c"),
    )
    assert whole.permitted == Said(at(1), "import", "a")
    assert whole.unpermitted == Said(at(0), "import", "c")


@pytest.mark.parametrize(
    ("stricter", "other"),
    [
        ("list_unsubscribed", "opted_out"),
        ("opted_out_with_feedback", "list_unsubscribed"),
        ("opted_out_with_feedback", "opted_out"),
    ],
)
def test_in_a_tie_the_more_restrictive_wins_whatever_the_keys(stricter: str, other: str) -> None:
    for keys in (("a", "b"), ("b", "a")):
        whole = said(event(stricter, 1, key=keys[0]), event(other, 1, key=keys[1]))
        assert whole.person.opted_out == Said(at(1), stricter, keys[0])


def test_then_the_lesser_key() -> None:
    whole = said(event("blocked", 1, key="b"), event("blocked", 1, key="a"))
    assert whole.blocked == Said(at(1), "blocked", "a")


def test_a_complaint_outdoes_a_spam_report_at_the_same_time() -> None:
    whole = said(event("complained", 1, "m", key="b"), event("spam_reported", 1, "m", key="a"))
    assert whole.complaints["m"].what == "complained"


def test_a_form_engages_a_phone_call_does_not() -> None:
    assert said(event("opted_in", 1, how="form", key="a")).engaged == Said(at(1), "form", "a")
    assert said(event("opted_in", 1, how="phone", key="a")).engaged is None


@pytest.mark.parametrize(
    "kind", ["machine_opened", "machine_clicked", "auto_replied", "delivered", "sent"]
)
def test_machines_do_not_engage(kind: str) -> None:
    assert said(event(kind, 1, "m")).engaged is None


def test_a_carriers_opt_out_is_one_from_everything() -> None:
    whole = said(event("bounced", 1, "m", category="carrier_opted_out", topic="news", address=SMS))
    assert whole.person.opted_out is not None
    assert whole.topics == {}


def test_a_word_on_a_topic_is_kept_for_the_topic() -> None:
    whole = said(event("opted_out", 1, topic="news"), event("opted_in", 2, topic="offers"))
    assert whole.person.opted_out is None
    assert whole.topics["news"].opted_out is not None
    assert whole.topics["offers"].opted_in is not None


def test_registers_stay_small_however_often_an_operator_acts() -> None:
    acts = [event("admin_opted_in", days, key=str(days)) for days in range(300)]
    acts += [event("locked", days + 0.5, key=f"l{days}") for days in range(300)]
    whole = said(*acts)
    assert len(whole.admin_opted_ins) == len(whole.locks) == 16
    assert whole.admin_opted_in == Said(at(299), "admin_opted_in", "299")
    assert whole.locked == Said(at(299.5), "locked", "l299")


def test_a_manner_of_any_length_is_kept_short() -> None:
    word = said(event("opted_in", 1, how="x" * 10_000)).person.opted_in
    assert word is not None
    assert len(word.what) <= 40
