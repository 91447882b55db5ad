"""Sequences: who begins one gets each of its mails once, at its time, until the gate refuses."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest
from django.conf import settings
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from goodstanding.core.addresses import Address as Value
from goodstanding.core.events import SECOND, Event
from goodstanding.ledger import changes, rebuilding
from goodstanding.ledger import models as ledger
from goodstanding.ledger.recording import record
from goodstanding.mailings import course, planning, sequence_files, sequences
from goodstanding.mailings.course import RefusedCourse
from goodstanding.mailings.models import Bookmark, Course, Enrolment, Outbox, Step
from goodstanding.mailings.sequence_files import RefusedSequence, SequenceDraft, StepDraft
from tests.mailings.audience import (
    BODY,
    DAY,
    NOW,
    address,
    at_once,
    contact,
    counted,
    mailing,
    planned,
    response,
    responses,
)

pytestmark = pytest.mark.django_db(transaction=True)

SOON = NOW + 60 * SECOND


def draft(
    name: str = "welcome",
    starts_on: str = "opted_in",
    delays: tuple[int, ...] = (0, 2 * DAY, 5 * DAY),
    **said: Any,
) -> SequenceDraft:
    steps = tuple(
        StepDraft(number=number, delay=delay, subject=f"Mail {number}", text=BODY)
        for number, delay in enumerate(delays, 1)
    )
    return SequenceDraft(name=name, starts_on=starts_on, steps=steps, **said)


def sequence(*, at: int = NOW, **said: Any) -> list[int]:
    """A sequence; the mailings of its steps."""
    made = sequences.create(draft(**said), at)
    return list(
        Step.objects.filter(sequence=made).order_by("number").values_list("mailing", flat=True)
    )


def heard(kind: str, *names: str, at: int = SOON, now: int | None = None, **said: Any) -> None:
    """It happens, and is recorded at once or at ``now``."""
    source = said.pop("source", "form")
    events = [Event(kind, at, address(name), source, **said) for name in names]
    recorded = record(events, at if now is None else now)
    assert recorded.stored == len(names), recorded


def work(now: int) -> None:
    """Do all there is to do by then; it leaves."""
    plan(now)
    leave()


def plan(now: int) -> None:
    """Plan all there is to plan by then."""
    for _ in range(1_000):
        if not sequences.step(now):
            return
    raise AssertionError("it never comes to rest")


def leave() -> None:
    """Let all that was planned go out, with nothing said of it."""
    gone.update(Outbox.objects.values_list("delivery_id", flat=True))
    Outbox.objects.all().delete()


gone: Counter[int] = Counter()
"""How often each delivery has left."""


@pytest.fixture(autouse=True)
def _nobody_gets_a_mail_twice() -> Iterator[None]:
    gone.clear()
    yield
    assert set(gone.values()) <= {1}


def enrolled() -> dict[str, tuple[int, int | None, str | None]]:
    """Each address's next step, when that is due, and why it has left."""
    rows = Enrolment.objects.values_list("address_id", "next_step", "due_at", "left_why")
    names = dict(ledger.Address.objects.values_list("pk", "value"))
    return {names[who].partition("@")[0]: (step, due, why) for who, step, due, why in rows}


def got(mailings: list[int], name: str = "ann") -> list[list[str]]:
    """What became of each step's deliveries to an address, the first before a further one."""
    return [
        [said for (to, _), said in sorted(responses(each).items()) if to == name]
        for each in mailings
    ]


# Its course


def test_each_mail_comes_at_its_time_and_then_it_is_done() -> None:
    mailings = sequence()
    heard("opted_in", "ann")
    contact("ann", first_name="Ann")
    work(SOON)
    assert got(mailings) == [["planned"], [], []]
    assert enrolled() == {"ann": (2, SOON + 2 * DAY, None)}
    work(SOON + 2 * DAY - 1)
    assert got(mailings) == [["planned"], [], []]
    work(SOON + 2 * DAY)
    assert got(mailings) == [["planned"], ["planned"], []]
    work(SOON + 5 * DAY)
    assert got(mailings) == [["planned"], ["planned"], ["planned"]]
    assert enrolled() == {"ann": (4, None, None)}
    work(SOON + 50 * DAY)
    assert [counted(each) for each in mailings] == [{"planned": 1}] * 3
    assert len(gone) == 3
    assert rebuilding.rebuild(SOON + 50 * DAY, verify=True) == []


def test_who_is_nobodys_contact_gets_it_all_the_same() -> None:
    mailings = sequence()
    heard("opted_in", "ann")
    plan(SOON)
    assert got(mailings)[0] == ["planned"]
    assert list(Outbox.objects.values_list("contact_id", flat=True)) == [None]


def test_of_several_contacts_with_the_address_the_first_is_written_to() -> None:
    sequence()
    heard("opted_in", "ann")
    first = contact("ann")
    contact("ann")
    plan(SOON)
    assert list(Outbox.objects.values_list("contact_id", flat=True)) == [first]


def test_what_comes_late_never_follows_closer_than_it_was_meant_to() -> None:
    mailings = sequence(delays=(0, DAY, 3 * DAY))
    heard("opted_in", "ann")
    work(SOON + 10 * DAY)  # nobody was working
    assert got(mailings) == [["planned"], [], []]
    work(SOON + 11 * DAY - 1)
    assert got(mailings)[1] == []
    work(SOON + 11 * DAY)
    assert got(mailings)[1] == ["planned"]
    work(SOON + 13 * DAY - 1)
    assert got(mailings)[2] == []
    work(SOON + 13 * DAY)
    assert got(mailings)[2] == ["planned"]


def test_mails_without_a_pause_between_them_come_one_after_the_other() -> None:
    mailings = sequence(delays=(0, 0, DAY, DAY))
    heard("opted_in", "ann")
    work(SOON)
    work(SOON + sequences.SOONEST)
    assert got(mailings) == [["planned"], ["planned"], [], []]


def test_none_comes_before_the_one_before_it_has_left() -> None:
    mailings = sequence(delays=(0, DAY, 2 * DAY))
    heard("opted_in", "ann", "bob")
    plan(SOON)
    Outbox.objects.filter(address_id=pk_of("bob")).delete()  # his has left, hers is put off
    plan(SOON + DAY)
    plan(SOON + DAY + 1)
    assert (got(mailings)[1], got(mailings, "bob")[1]) == ([], ["planned"])
    assert enrolled()["ann"] == (2, SOON + DAY + DAY // 100, None)
    plan(SOON + DAY + DAY // 100)
    assert got(mailings)[1] == []
    leave()
    work(SOON + DAY + DAY // 50)
    assert got(mailings)[1] == ["planned"]
    # And the third a day after that, as was meant.
    assert enrolled()["ann"] == (3, SOON + 2 * DAY + DAY // 50, None)


def pk_of(name: str) -> int:
    return int(ledger.Address.objects.get(value=address(name).value).pk)


# Who begins it


def test_only_what_happens_after_it_was_made_begins_it() -> None:
    heard("opted_in", "before", at=NOW - 5 * SECOND)
    mailings = sequence()
    # Heard now, but of long ago, as an import of old history tells it.
    heard("opted_in", "imported", at=NOW - DAY, now=SOON, source="import")
    heard("admin_opted_in", "other-kind", detail={"reason": "asked by phone"}, source="operator")
    heard("opted_in", "late", at=SOON, now=SOON + sequences.LATE + SECOND)
    heard("opted_in", "hardly", at=SOON, now=SOON + sequences.LATE)
    # In the second in which it was made: some tell a time only to the second.
    heard("opted_in", "same-second", at=NOW, now=NOW + SECOND // 2)
    record([Event("opted_in", SOON, Value("sms", "+491711234567"), "form")], SOON)
    work(SOON + 8 * DAY)
    assert set(enrolled()) == {"hardly", "same-second"}
    assert counted(mailings[0]) == {"planned": 2}


def test_made_within_a_second_it_hears_what_is_told_later_in_it() -> None:
    made_at = NOW + 700_000
    sequence(at=made_at)
    heard("opted_in", "ann", at=NOW, now=made_at + 100_000)
    heard("opted_in", "bob", at=NOW - 1, now=made_at + 100_000)
    work(SOON)
    assert set(enrolled()) == {"ann"}


def test_the_topic_decides_who_begins_it() -> None:
    sequence(name="general")
    sequence(name="offers", topic="offers")
    heard("opted_in", "ann")
    heard("opted_in", "bob", topic="offers")
    heard("opted_in", "cid", topic="else")
    work(SOON)
    assert Enrolment.objects.count() == 2
    assert response(mailing_of("general/1"), "ann") == "planned"
    assert response(mailing_of("offers/1"), "bob") == "planned"


def mailing_of(name: str) -> int:
    return int(ledger.Mailing.objects.get(name=name).pk)


def test_a_click_begins_it_by_the_topic_of_what_was_clicked() -> None:
    heard("opted_in", "ann", "bob", at=NOW - DAY)
    contact("ann")
    news, offers = mailing("news", NOW - DAY), mailing("offers", NOW - DAY, topic="offers")
    for each in (news, offers):
        planning.plan(each, NOW)
    anything = sequence(name="any", starts_on="clicked")
    on_offers = sequence(name="on-offers", starts_on="clicked", topic="offers")
    clicked("ann", news, SOON)
    work(SOON)
    assert (got(anything)[0], got(on_offers)[0]) == (["planned"], [])
    clicked("ann", offers, SOON + 1)
    work(SOON + 1)
    assert (got(anything)[0], got(on_offers)[0]) == (["planned"], ["planned"])


def clicked(name: str, mailing_id: int, at: int) -> None:
    [delivery] = ledger.Delivery.objects.filter(
        mailing_id=mailing_id, address__value=address(name).value
    )
    heard("clicked", name, at=at, source="link", delivery=delivery.pk)


def test_once_is_enough_while_it_is_under_way_and_after() -> None:
    mailings = sequence(delays=(0, DAY))
    for at in (SOON, SOON + 1, SOON + DAY // 2, SOON + 9 * DAY):
        heard("opted_in", "ann", at=at)
        work(at)
    work(SOON + 30 * DAY)
    assert got(mailings) == [["planned"], ["planned"]]
    assert enrolled() == {"ann": (3, None, None)}


def test_several_words_in_one_reading_count_as_one() -> None:
    mailings = sequence()
    for second in range(5):
        heard("opted_in", "ann", "bob", at=SOON + second)
    work(SOON + 10)
    assert counted(mailings[0]) == {"planned": 2}
    assert enrolled()["ann"] == (2, SOON + 10 + 2 * DAY, None)


# Who leaves it


def test_who_is_refused_leaves_and_begins_anew_with_a_new_opt_in() -> None:
    mailings = sequence()
    heard("opted_in", "ann")
    work(SOON)
    heard("opted_out", "ann", at=SOON + DAY, source="link")
    work(SOON + 2 * DAY)
    assert got(mailings) == [["planned"], ["skipped:opted_out"], []]
    assert enrolled() == {"ann": (2, None, "opted_out")}
    work(SOON + 9 * DAY)
    assert got(mailings)[2] == []

    # An opt-in of before, heard only now, is none.
    heard("opted_in", "ann", at=SOON - 1, now=SOON + 6 * DAY)
    work(SOON + 9 * DAY)
    assert enrolled() == {"ann": (2, None, "opted_out")}

    again = SOON + 20 * DAY
    heard("opted_in", "ann", at=again)
    for at in (again, again + 2 * DAY, again + 5 * DAY, again + 30 * DAY):
        work(at)
    assert got(mailings) == [
        ["planned", "planned"],
        ["skipped:opted_out", "planned"],
        ["planned"],
    ]
    assert enrolled() == {"ann": (4, None, None)}
    # Of the first time one, of the second all three: each in its own right.
    assert len(gone) == 4
    assert rebuilding.rebuild(again + 30 * DAY, verify=True) == []


def test_leaving_and_coming_back_between_two_readings() -> None:
    mailings = sequence()
    heard("opted_in", "ann")
    heard("opted_out", "ann", at=SOON + 1, source="link")
    work(SOON + 2)
    assert enrolled() == {"ann": (1, None, "opted_out")}
    for at in (3, 5):
        heard("opted_in", "ann", at=SOON + at)
        heard("opted_out", "ann", at=SOON + at + 1, source="link")
    heard("opted_in", "ann", at=SOON + 7)
    work(SOON + 8)
    assert got(mailings)[0] == ["skipped:opted_out", "planned"]
    assert enrolled() == {"ann": (2, SOON + 8 + 2 * DAY, None)}


@pytest.mark.parametrize(
    ("kind", "said", "why"),
    [
        ("bounced", {"source": "smtp", "detail": {"category": "mailbox_unknown"}}, "hard_bounced"),
        ("complained", {"source": "arf"}, "complained"),
        ("blocked", {"source": "operator", "detail": {"reason": "asked"}}, "blocked"),
    ],
)
def test_whatever_the_gate_refuses_for_ends_it(kind: str, said: dict[str, Any], why: str) -> None:
    mailings = sequence()
    heard("opted_in", "ann")
    work(SOON)
    if kind == "bounced":
        [delivery] = ledger.Delivery.objects.all()
        said = {**said, "delivery": delivery.pk}
    heard(kind, "ann", at=SOON + DAY, **said)
    work(SOON + 2 * DAY)
    assert got(mailings)[1:] == [[f"skipped:{why}"], []]
    assert enrolled() == {"ann": (2, None, why)}
    assert sequences.listed()[0].left == {why: 1}


def test_an_address_that_was_corrected_leaves() -> None:
    mailings = sequence()
    heard("opted_in", "ann", "bob")
    work(SOON)
    correction = {"reason": "misspelt", "by": "eve", "to": "anna@example.com"}
    heard("corrected", "ann", at=SOON + DAY, source="operator", detail=correction)
    work(SOON + 2 * DAY)
    assert got(mailings) == [["planned"], [], []]
    assert enrolled() == {"ann": (2, None, "invalid_address"), "bob": (3, SOON + 5 * DAY, None)}

    # It was somebody's after all: who opts in with it later begins anew.
    heard("opted_in", "ann", at=SOON + 3 * DAY)
    work(SOON + 3 * DAY)
    assert enrolled()["ann"] == (2, SOON + 5 * DAY, None)


def test_who_never_opted_in_is_skipped_and_a_click_does_not_begin_it_anew() -> None:
    heard("opted_in", "ann", at=NOW - DAY)
    contact("ann")
    news = planned("news", NOW - DAY)
    heard("opted_out", "ann", at=NOW - DAY + 1, source="link")
    mailings = sequence(starts_on="clicked")
    for second in range(3):
        clicked("ann", news, SOON + second)
        work(SOON + second)
    assert got(mailings) == [["skipped:opted_out"], [], []]


def test_a_mail_over_the_limit_is_left_out_and_the_next_one_comes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = tmp_path / "capped.toml"
    policy.write_text('base = "default"\n[frequency_cap]\nmails = 1\nwithin = "3d"\n')
    monkeypatch.setattr(
        settings, "OPTIONS", msgspec.structs.replace(settings.OPTIONS, policy=str(policy))
    )
    mailings = sequence(delays=(0, DAY, 10 * DAY))
    heard("opted_in", "ann")
    work(SOON)
    [delivery] = ledger.Delivery.objects.all()
    heard("sent", "ann", at=SOON + 1, source="smtp", delivery=delivery.pk)
    work(SOON + DAY)
    work(SOON + 10 * DAY)
    assert got(mailings) == [["expired"], ["skipped:limit_reached"], ["planned"]]
    assert enrolled() == {"ann": (4, None, None)}


def test_what_time_or_another_policy_has_changed_is_folded_first() -> None:
    mailings = sequence()
    heard("opted_in", "ann", "bob")
    heard("complained", "bob", at=SOON + 1, source="arf")
    ledger.Address.objects.update(policy=1, blocks_sequence=None)
    work(SOON + 2)
    assert counted(mailings[0]) == {"planned": 1, "skipped:complained": 1}


# What an operator wants of it


def test_paused_it_enrols_but_plans_nothing_until_it_goes_on() -> None:
    mailings = sequence()
    heard("opted_in", "ann")
    work(SOON)
    sequences.set_course("welcome", Course.PAUSED, "eve", "typing error", SOON)
    assert {state(each) for each in mailings} == {"paused"}
    heard("opted_in", "bob", at=SOON + DAY)
    work(SOON + 3 * DAY)
    assert [counted(each) for each in mailings] == [{"planned": 1}, {}, {}]
    sequences.set_course("welcome", Course.RUNNING, "eve", "", SOON + 3 * DAY)
    work(SOON + 3 * DAY)
    assert [counted(each) for each in mailings] == [{"planned": 2}, {"planned": 1}, {}]
    assert {state(each) for each in mailings} == {"running"}


def state(mailing_id: int) -> str:
    from goodstanding.mailings.models import Content

    return str(Content.objects.get(pk=mailing_id).course)


def test_stopped_it_ends_for_everybody_and_for_good() -> None:
    mailings = sequence()
    heard("opted_in", "ann")
    plan(SOON)
    sequences.set_course("welcome", Course.STOPPED, "eve", "over", SOON)
    heard("opted_in", "bob", at=SOON + 1)
    plan(SOON + 9 * DAY)
    while course.end(SOON + 9 * DAY):
        pass
    assert [counted(each) for each in mailings] == [{"stopped": 1}, {}, {}]
    [told] = sequences.listed()
    assert (told.state, told.under_way, told.done, told.left) == ("stopped", 0, 0, {"stopped": 1})
    for wanted in (Course.RUNNING, Course.STOPPED):
        with pytest.raises(RefusedCourse, match="'welcome' is stopped already"):
            sequences.set_course("welcome", wanted, "eve", "", SOON)
    with pytest.raises(RefusedCourse, match="no sequence 'nix'"):
        sequences.set_course("nix", Course.PAUSED, "eve", "", SOON)


def test_a_step_that_was_stopped_on_its_own_is_left_out() -> None:
    mailings = sequence()
    course.set_course("welcome/2", Course.STOPPED, "eve", "out of date", NOW)
    heard("opted_in", "ann")
    for at in (SOON, SOON + 2 * DAY, SOON + 5 * DAY):
        work(at)
    assert got(mailings) == [["planned"], [], ["planned"]]
    sequences.set_course("welcome", Course.PAUSED, "eve", "", SOON)
    assert [state(each) for each in mailings] == ["paused", "stopped", "paused"]


def test_the_list_counts_who_is_where() -> None:
    sequence(name="first", delays=(0, DAY))
    sequence(name="second", topic="offers")
    heard("opted_in", "ann", "bob", "cid", at=SOON)
    work(SOON)
    heard("opted_out", "ann", at=SOON + 1, source="link")
    heard("opted_in", "dan", at=SOON + DAY)
    work(SOON + DAY)
    first, second = sequences.listed()
    assert (first.under_way, first.done, first.left) == (1, 2, {"opted_out": 1})
    assert (second.under_way, second.done, second.left) == (0, 0, {})
    assert [step.mailing for step in second.steps] == ["second/1", "second/2", "second/3"]


# Whatever dies, and however many work


def test_workers_at_once_plan_each_step_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sequences, "BATCH", 7)
    monkeypatch.setattr(sequences, "FEED", 11)
    mailings = sequence(delays=(0, 0, DAY))
    other = sequence(name="other", delays=(0, DAY))
    names = [f"p{number}" for number in range(40)]
    heard("opted_in", *names)
    heard("opted_out", *names[:5], at=SOON + 1, source="link")
    ledger.Address.objects.update(policy=1)  # so that all must be folded on the way

    for at in (SOON + 2, SOON + 9 * SECOND, SOON + 2 * DAY):
        assert at_once(*[lambda at=at: plan(at)] * 3) == [None, None, None]
        work(at)
    assert counted(mailings[0]) == {"planned": 35, "skipped:opted_out": 5}
    assert [counted(each) for each in mailings[1:]] == [{"planned": 35}] * 2
    assert [counted(each) for each in other] == [
        {"planned": 35, "skipped:opted_out": 5},
        {"planned": 35},
    ]
    assert len(gone) == 35 * 5
    assert rebuilding.rebuild(SOON + 2 * DAY, verify=True) == []


def test_working_while_the_same_people_are_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither locks the other out, and nobody is missed."""
    monkeypatch.setattr(sequences, "BATCH", 5)
    mailings = sequence()
    names = [f"p{number}" for number in range(40)]

    def hear() -> None:
        for place in range(0, len(names), 4):
            heard("opted_in", *names[place : place + 4])
            heard("opted_in", *names[: place + 4], at=SOON + 1 + place)

    assert at_once(hear, lambda: plan(SOON), lambda: plan(SOON)) == [None, None, None]
    work(SOON + DAY)
    assert counted(mailings[0]) == {"planned": 40}
    assert rebuilding.rebuild(SOON + DAY, verify=True) == []


DYING = [
    (sequences, "_enrol_all"),
    (sequences, "_turn_to"),
    (planning, "_write"),
    (planning, "_queue"),
    (sequences, "_go_on"),
    (sequences, "_leave"),
]


@pytest.mark.parametrize(("module", "name"), DYING, ids=[name for _, name in DYING])
@pytest.mark.parametrize("after", [False, True])
def test_a_worker_that_dies_is_taken_over_from(
    monkeypatch: pytest.MonkeyPatch, module: Any, name: str, after: bool
) -> None:
    """It dies before or after that statement, in the midst of a transaction."""
    monkeypatch.setattr(sequences, "BATCH", 4)
    mailings = sequence(delays=(0, DAY))
    names = [f"p{number}" for number in range(10)]
    heard("opted_in", *names)
    heard("opted_out", "p3", at=SOON + 1, source="link")
    whole = getattr(module, name)

    def dying(*arguments: Any, **more: Any) -> None:
        if after:
            whole(*arguments, **more)
        raise KeyboardInterrupt

    for at in (SOON + 2, SOON + DAY + 2):
        monkeypatch.setattr(module, name, dying)
        for _ in range(3):
            with suppress(KeyboardInterrupt):
                sequences.step(at)
        monkeypatch.setattr(module, name, whole)
        work(at)
    assert counted(mailings[0]) == {"planned": 9, "skipped:opted_out": 1}
    assert counted(mailings[1]) == {"planned": 9}
    assert len(gone) == 18
    assert rebuilding.rebuild(SOON + 2 * DAY, verify=True) == []


def test_one_that_fails_does_not_keep_the_others_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    bad = sequence(name="bad")
    good = sequence(name="good")
    plan = planning.plan_addresses

    def failing(cursor: Any, content: Any, *more: Any) -> Any:
        if content.pk in bad:
            raise RuntimeError("no")
        return plan(cursor, content, *more)

    monkeypatch.setattr(planning, "plan_addresses", failing)
    heard("opted_in", "ann")
    with pytest.raises(RuntimeError):
        sequences.step(SOON)
    assert got(good)[0] == ["planned"]
    assert got(bad)[0] == []


def test_a_feed_that_was_long_before_is_not_read_again() -> None:
    for second in range(5):
        heard("opted_in", "ann", at=NOW - DAY + second)
    sequence(name="first")
    assert int(Bookmark.objects.get().cursor) == changes.latest()
    heard("opted_in", "bob")
    sequence(name="second")  # does not take from the first what it has not read yet
    work(SOON)
    assert set(enrolled()) == {"bob"}
    for name in ("first", "second"):
        sequences.set_course(name, Course.STOPPED, "eve", "", SOON)
    heard("opted_in", "cid", at=SOON + 1)
    assert not sequences.step(SOON + 1)
    sequence(name="third", at=SOON + 2)
    assert int(Bookmark.objects.get().cursor) == changes.latest()


numbers = itertools.count()


@pytest.fixture
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything goes in many small parts."""
    monkeypatch.setattr(sequences, "BATCH", 2)
    monkeypatch.setattr(sequences, "FEED", 3)


WORDS = st.lists(
    st.tuples(
        st.sampled_from(["a", "b", "c"]),
        st.integers(0, 30),  # when it happened, in minutes
        st.sampled_from(["opted_in", "opted_in", "confirmed", "clicked?"]),
    ),
    min_size=1,
    max_size=12,
)


@pytest.mark.usefixtures("_small")
@hypothesis_settings(max_examples=25)
@given(words=WORDS, data=st.data())
def test_in_whatever_order_it_is_told_and_however_often(words: Any, data: st.DataObject) -> None:
    """Who opted in gets each mail once; nobody else gets any."""
    number = next(numbers)
    base = NOW + number * 100 * DAY
    mailings = sequence(name=f"s{number}", at=base, delays=(0, DAY, DAY))
    minute = 60 * SECOND
    last = base + 31 * minute
    for name, at, kind in words:
        if kind != "clicked?":
            event = Event(kind, base + at * minute, address(f"{name}{number}"), "form")
            for _ in range(data.draw(st.integers(1, 3))):  # said again it is no other event
                record([event], last)
        if data.draw(st.booleans()):
            sequences.step(last)
    for at in (last, last + DAY, last + 2 * DAY):
        work(at)
    expected = {f"{name}{number}" for name, _, kind in words if kind == "opted_in"}
    for each in mailings:
        assert responses(each) == {(name, ""): "planned" for name in expected}
    sequences.set_course(f"s{number}", Course.STOPPED, "eve", "", last)


# Making one


def write(folder: Path, text: str, **files: str) -> Path:
    for name, content in files.items():
        (folder / f"{name}.txt").write_text(content)
    path = folder / "sequence.toml"
    path.write_text(text)
    return path


WELL = """
name = "welcome"
starts_on = "confirmed"
topic = "offers"
from = "ann@shop.example"
from_name = "Ann"
reply_to = "ask@shop.example"

[[steps]]
delay = "0s"
subject = "Hello {{ first_name }}"
text = "hello.txt"

[[steps]]
delay = "2.5d"
subject = "Still there?"
text = "hello.txt"
"""


def test_a_file_says_it_all(tmp_path: Path) -> None:
    read = sequence_files.read(write(tmp_path, WELL, hello=BODY))
    assert read == SequenceDraft(
        name="welcome",
        starts_on="confirmed",
        topic="offers",
        from_address="ann@shop.example",
        from_name="Ann",
        reply_to="ask@shop.example",
        steps=(
            StepDraft(number=1, delay=0, subject="Hello {{ first_name }}", text=BODY),
            StepDraft(number=2, delay=5 * DAY // 2, subject="Still there?", text=BODY),
        ),
    )
    sequences.create(read, NOW)
    heard("confirmed", "ann", topic="offers", detail={"method": "standard"})
    work(SOON)
    assert response(mailing_of("welcome/1"), "ann") == "planned"
    made = ledger.Mailing.objects.get(name="welcome/2")
    assert (made.purpose, made.topic) == ("sequence", "offers")


def test_everything_that_is_wrong_is_said_at_once(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        """
name = "welcome "
starts_on = "opened"
lane = "quick"
begins = "now"

[[steps]]
delay = "2 days"
subject = "Hello {{ frist_name }}"
text = "hello.txt"

[[steps]]
delay = "2d"
subject = "Hello"
text = "nowhere.txt"

[[steps]]
delay = "1d"
subject = "Hello"
text = "rude.txt"
after = "3d"

[[steps]]
delay = 5
text = "hello.txt"

[[steps]]
delay = "9999d"
subject = "Hello"
""",
        hello=BODY,
        rude="No way out",
    )
    with pytest.raises(RefusedSequence) as refused:
        sequences.create(sequence_files.read(path), NOW)
    said = list(refused.value.problems)
    for expected in (
        "'begins' is not a key here; a sequence has steps, name, starts_on, topic, lane, from,",
        "starts on one of clicked, replied, opted_in, confirmed, admin_opted_in, not on 'opened'",
        "a sequence's name has 1 to 190 printable characters",
        'step 1: a delay is a number and one of the units us, ms, s, m, h, d, such as "0s"',
        "step 2: ",
        "nowhere.txt cannot be read: No such file",
        "step 3: its delay, 1d, is shorter than that of the step before it",
        "step 3: 'after' is not a key here; a step has delay, subject, html, text",
        'step 4: delay is a text in quotes: delay = "…"',
        "step 4: subject is missing",
        "step 5: a delay is at most ten years",
        "step 5: it says nothing",
        "every step: there is no lane 'quick'",
        "step 1: subject, line 1: there is no merge field 'frist_name'",
        "unsubscribe_url",
    ):
        found = [problem for problem in said if expected in problem]
        assert found, f"{expected} in " + "\n".join(said)
    assert not ledger.Mailing.objects.exists()
    assert not Bookmark.objects.exists()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("name = ", "Invalid value"),
        ("name = 'a'\nname = 'b'", "Cannot overwrite a value"),
        ("steps = 5", "steps are tables"),
        ("steps = [1]", "steps are tables"),
        ("", "1 to 100 steps, not 0"),
        ("[[steps]]\n" * 101, "1 to 100 steps, not 101"),
        ('topic = "a\\u0000b"\n[[steps]]\ndelay = "0s"\nsubject="s"\ntext="a.txt"', "a topic has"),
        ('[[steps]]\ndelay = "0s"\nsubject="s"\ntext="a\\u0000b"', "cannot be read"),
        ('[[steps]]\ndelay = "0s"\nsubject="s"\ntext="."', "Is a directory"),
    ],
)
def test_hostile_and_broken_files_are_refused(tmp_path: Path, text: str, expected: str) -> None:
    with pytest.raises(RefusedSequence, match=expected):
        sequences.create(sequence_files.read(write(tmp_path, text, a=BODY)), NOW)


def test_a_file_is_not_read_for_ever(tmp_path: Path) -> None:
    with pytest.raises(RefusedSequence, match="is larger than"):
        sequence_files.read(Path("/dev/zero"))
    (tmp_path / "latin.toml").write_bytes(b'name = "a"\nstarts_on = "\xe9"')
    with pytest.raises(RefusedSequence, match="line 2: is not UTF-8"):
        sequence_files.read(tmp_path / "latin.toml")


def test_a_name_is_taken_once() -> None:
    sequence()
    with pytest.raises(RefusedSequence, match="there is a sequence 'welcome' already"):
        sequence()
    mailing("news")
    with pytest.raises(RefusedSequence, match="there is a mailing 'news' already"):
        sequence(name="news")
    mailing("tips/2")
    with pytest.raises(RefusedSequence, match="step 2: there is a mailing 'tips/2' already"):
        sequence(name="tips")
    assert {each.name for each in sequences.listed()} == {"welcome"}


def test_two_who_make_it_at_once_make_one() -> None:
    made = at_once(lambda: sequence() != [], lambda: sequence() != [])
    assert sorted(str(each) for each in made if isinstance(each, Exception)) == [
        "there is a sequence 'welcome' already"
    ]
    assert made.count(True) == 1
    assert Step.objects.count() == 3
