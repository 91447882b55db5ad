"""Whose word counts (design, section 4): on everything, on a topic, against a complaint."""

from __future__ import annotations

import pytest

from goodstanding.core.events import Event
from tests.core.telling import event, standing, status

OPT_OUTS = ["opted_out", "list_unsubscribed", "opted_out_with_feedback"]
COMPLAINTS = ["complained", "spam_reported"]
BROADCAST = "broadcast"


def consent(*events: Event) -> str:
    return standing(*events).consent


def refuses(*events: Event, topic: str | None = None, purpose: str = BROADCAST) -> str | None:
    stands = standing(*events)
    return stands.topics.get(topic or "", stands.blocks)[purpose]


def test_nobody_who_was_never_heard_of_opted_in() -> None:
    assert status() == "non_marketable"
    assert refuses() == "never_opted_in"


@pytest.mark.parametrize("out", OPT_OUTS)
def test_the_latest_of_opt_in_confirmed_and_opt_out_decides(out: str) -> None:
    assert consent(event("opted_in", 1), event(out, 2)) == out
    assert consent(event("opted_in", 3), event(out, 2)) == "opted_in"
    assert consent(event("confirmed", 3), event(out, 2)) == "confirmed"
    assert consent(event("confirmed", 1), event("opted_in", 1.5), event(out, 2)) == out


@pytest.mark.parametrize("word", ["opted_in", "confirmed"])
@pytest.mark.parametrize("out", [*OPT_OUTS, "admin_opted_out"])
def test_in_a_tie_the_opt_out_decides(word: str, out: str) -> None:
    expected = "opted_out_by_admin" if out == "admin_opted_out" else out
    assert consent(event(word, 1), event(out, 1)) == expected


def test_a_later_opt_in_does_not_weaken_what_is_confirmed() -> None:
    assert consent(event("confirmed", 1), event("opted_in", 2)) == "confirmed"
    custom = event("confirmed", 1, method="custom")
    assert consent(custom, event("opted_in", 2)) == "confirmed_custom"
    assert consent(custom, event("confirmed", 2)) == "confirmed"


def test_but_after_an_opt_out_an_opt_in_is_one_only() -> None:
    events = [event("confirmed", 1), event("opted_out", 2), event("opted_in", 3)]
    assert consent(*events) == "opted_in"
    by_admin = [event("confirmed", 1), event("admin_opted_out", 2), event("opted_in", 3)]
    assert consent(*by_admin) == "opted_in"


# Operators.


def test_an_operators_opt_out_undoes_a_persons_opt_in() -> None:
    assert status(event("opted_in", 1), event("admin_opted_out", 2)) == "opted_out_by_admin"
    assert status(event("confirmed", 1), event("admin_opted_out", 2)) == "opted_out_by_admin"


@pytest.mark.parametrize("word", ["opted_in", "admin_opted_in"])
def test_it_is_undone_by_the_operator_or_by_the_persons_own_later_opt_in(word: str) -> None:
    assert status(event("admin_opted_out", 2), event(word, 3)) == "opted_in"
    assert status(event("admin_opted_out", 3), event(word, 2)) == "opted_out_by_admin"


def test_an_operator_opts_in_who_never_opted_in() -> None:
    assert status(event("admin_opted_in", 1)) == "opted_in"
    assert status(event("imported", 0, permission=False), event("admin_opted_in", 1)) == "opted_in"


@pytest.mark.parametrize("out", [*OPT_OUTS, *COMPLAINTS])
def test_what_a_person_refused_only_that_person_undoes(out: str) -> None:
    assert status(event("opted_in", 0), event(out, 1), event("admin_opted_in", 2)) == out
    assert status(event(out, 1), event("imported", 2, permission=True)) == out
    both = [event(out, 1), event("admin_opted_out", 1.5), event("admin_opted_in", 2)]
    assert status(*both) == out


@pytest.mark.parametrize("out", OPT_OUTS)
def test_and_then_does(out: str) -> None:
    assert status(event(out, 1), event("opted_in", 2)) == "opted_in"


def test_nobody_is_opted_in_by_hand_while_locked() -> None:
    locked, unlocked = event("locked", 1), event("unlocked", 3)
    assert consent(locked, event("admin_opted_in", 2)) == "non_marketable"
    assert status(locked, event("admin_opted_in", 2), unlocked) == "non_marketable"
    assert status(locked, event("admin_opted_in", 4), unlocked) == "opted_in"
    assert status(locked, event("admin_opted_in", 2)) == "locked"
    assert refuses(locked, event("opted_in", 2)) == "locked"


def test_an_opt_in_by_hand_that_had_no_effect_takes_nothing_away() -> None:
    events = [
        event("admin_opted_in", 0),
        event("locked", 1),
        event("admin_opted_in", 2),
        event("unlocked", 3),
    ]
    assert status(*events) == "opted_in"


def test_nor_does_a_later_lock_make_one_of_it() -> None:
    events = [
        event("locked", 1),
        event("admin_opted_in", 2),
        event("unlocked", 3),
        event("locked", 4),
        event("unlocked", 5),
    ]
    assert status(*events) == "non_marketable"


def test_a_second_unlocking_does_not_undo_what_was_done_since_the_first() -> None:
    events = [
        event("locked", 1),
        event("unlocked", 2),
        event("admin_opted_in", 3),
        event("unlocked", 4),
    ]
    assert status(*events) == "opted_in"


def test_a_person_may_opt_in_while_locked() -> None:
    events = [event("locked", 1), event("opted_in", 2), event("unlocked", 3)]
    assert status(*events) == "opted_in"


# Imports.


def test_an_import_decides_only_where_nobody_ever_spoke() -> None:
    with_, without = event("imported", 5, permission=True), event("imported", 6, permission=False)
    assert status(with_) == "opted_in"
    assert status(without) == "non_marketable"
    assert status(with_, event("opted_out", 1)) == "opted_out"
    assert status(with_, event("admin_opted_out", 1)) == "opted_out_by_admin"


def test_without_permission_never_takes_permission_away() -> None:
    without = event("imported", 9, permission=False)
    assert status(event("imported", 1, permission=True), without) == "opted_in"
    assert status(event("opted_in", 1), without) == "opted_in"
    assert status(event("confirmed", 1), without) == "confirmed"


# Complaints.


@pytest.mark.parametrize("kind", COMPLAINTS)
def test_a_complaint_stands_until_a_later_confirmation(kind: str) -> None:
    assert status(event("confirmed", 1), event(kind, 2)) == kind
    assert status(event("confirmed", 2), event(kind, 2)) == kind
    assert status(event("confirmed", 3), event(kind, 2)) == "confirmed"
    assert status(event("opted_in", 3), event(kind, 2)) == kind
    assert status(event("confirmed", 3, topic="news"), event(kind, 2)) == kind


def test_or_until_that_complaint_is_withdrawn() -> None:
    complained = [event("opted_in", 0), event("complained", 1, "spring")]
    assert status(*complained, event("complaint_withdrawn", 2, "spring")) == "opted_in"
    assert status(*complained, event("complaint_withdrawn", 2, "summer")) == "complained"
    assert status(*complained, event("complaint_withdrawn", 1, "spring")) == "complained"
    assert status(*complained, event("complaint_withdrawn", 0.5, "spring")) == "complained"
    other = event("complained", 1.5, "summer")
    assert status(*complained, other, event("complaint_withdrawn", 2, "spring")) == "complained"


# Topics.


def test_for_a_topic_the_latest_word_decides() -> None:
    out, in_ = event("opted_out", 1, topic="news"), event("opted_in", 2, topic="news")
    general_in, general_out = event("opted_in", 0), event("opted_out", 3)
    assert refuses(general_in, out, topic="news") == "opted_out_of_topic"
    assert refuses(general_in, out, topic="offers") is None
    assert refuses(general_in, out) is None
    assert refuses(general_in, out, in_, topic="news") is None
    assert refuses(general_in, in_, general_out, topic="news") == "opted_out"
    assert refuses(event("opted_out", 0), in_, topic="news") is None
    assert refuses(event("opted_out", 0), in_) == "opted_out"


@pytest.mark.parametrize("word", ["opted_in", "confirmed", "admin_opted_in"])
def test_a_general_opt_in_does_not_undo_an_earlier_opt_out_of_the_topic(word: str) -> None:
    events = [event("opted_in", 0), event("opted_out", 1, topic="news"), event(word, 2)]
    assert refuses(*events, topic="news") == "opted_out_of_topic"
    assert refuses(*events) is None


def test_who_opted_in_to_one_topic_only_gets_that_one() -> None:
    only = event("opted_in", 1, topic="news")
    assert refuses(only, topic="news") is None
    assert refuses(only) == "never_opted_in"
    assert refuses(only, topic="offers") == "never_opted_in"


def test_who_left_everything_is_not_asked_which_topic() -> None:
    events = [event("opted_out", 1, topic="news"), event("opted_out", 2)]
    assert refuses(*events, topic="news") == "opted_out"


def test_topics_say_nothing_of_the_status() -> None:
    events = [event("opted_in", 0), event("opted_out", 1, topic="news")]
    assert status(*events) == "opted_in"
