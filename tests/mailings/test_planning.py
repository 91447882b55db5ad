"""Planning: everybody in the audience gets one delivery, sent or skipped with its reason."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from pathlib import Path

import msgspec
import pytest
from django.conf import settings

from goodstanding.contacts.models import Contact
from goodstanding.core.addresses import Address as Value
from goodstanding.core.events import Event
from goodstanding.ledger import rebuilding
from goodstanding.ledger.models import Address, Delivery, MailingTally
from goodstanding.ledger.models import Event as Stored
from goodstanding.ledger.recording import record
from goodstanding.mailings import checking, planning
from goodstanding.mailings.models import Content, Outbox
from tests.mailings.audience import (
    DAY,
    NOW,
    address,
    at_once,
    contact,
    counted,
    mailing,
    opted_in,
    people,
    planned,
    response,
    responses,
    told,
)

pytestmark = pytest.mark.django_db(transaction=True)


def bounced(name: str, category: str, at: int, of: str) -> None:
    told("sent", name, at, mailing=of, source="smtp")
    told("bounced", name, at, mailing=of, source="smtp", detail={"category": category})


def soft_stopped(name: str) -> None:
    for number in range(5):
        bounced(name, "mailbox_full", NOW - (30 - 5 * number) * DAY, f"old-{number}")


def unengaged(name: str, since: int) -> None:
    for number in range(5):
        at = since + (number + 1) * DAY
        told("sent", name, at, mailing=f"old-{number}", source="smtp")
        told("delivered", name, at, mailing=f"old-{number}", source="smtp")


# Each refused for the first of the reasons that hold, in the gate's order.
REFUSED = {
    "malformed": "invalid_address",
    "complainer": "complained",
    "complainer-bounced": "complained",
    "spammed": "spam_reported",
    "left": "opted_out",
    "left-and-blocked": "opted_out",
    "left-topic": "opted_out_of_topic",
    "gone": "hard_bounced",
    "full": "soft_stopped",
    "barred": "blocked",
    "shut": "locked",
    "stranger": "never_opted_in",
    "asleep": "unengaged",
}


def everybody() -> None:
    """Somebody for each reason, two who may be sent to, and some who share or have no address."""
    opted_in(*(name for name in REFUSED if name not in {"stranger", "asleep"}), "ann", "bob")
    opted_in("asleep", at=NOW - 420 * DAY)
    told("declared_invalid", "malformed", source="operator", detail={"reason": "typed wrong"})
    for name in ("complainer", "complainer-bounced"):
        told("complained", name, source="arf")
    bounced("complainer-bounced", "mailbox_unknown", NOW - 5 * DAY, "old-0")
    told("spam_reported", "spammed")
    told("opted_out", "left", source="link")
    told("opted_out", "left-and-blocked", source="link")
    told("opted_out", "left-topic", source="link", topic="offers")
    bounced("gone", "mailbox_unknown", NOW - 5 * DAY, "old-0")
    soft_stopped("full")
    for name in ("barred", "left-and-blocked"):
        told("blocked", name, source="operator", detail={"reason": "asked by phone"})
    told("locked", "shut", source="operator", detail={"reason": "a role account"})
    unengaged("asleep", NOW - 420 * DAY)
    contact("ann", first_name="Ann")
    for name in REFUSED:
        contact(name)
    contact("ann", first_name="Ann's husband")
    contact(first_name="Nobody")
    contact("bob")
    contact("left", first_name="A second who left")
    contact("malformed", first_name="A second with a wrong one")
    contact(first_name="Nobody either")


@pytest.mark.parametrize("chunk", [2_000, 1])
def test_whoever_shares_an_address_gets_a_message_of_their_own_where_the_policy_has_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, chunk: int
) -> None:
    policy = tmp_path / "each.toml"
    policy.write_text('base = "creatio"\n[duplicates]\nskip = false\n')
    options = msgspec.structs.replace(settings.OPTIONS, policy=str(policy))
    monkeypatch.setattr(settings, "OPTIONS", options)
    monkeypatch.setattr(planning, "CHUNKS", dict.fromkeys(planning.CHUNKS, chunk))
    everybody()
    made = planned(topic="offers")

    to_ann = Delivery.objects.filter(mailing_id=made, address__value="ann@example.com")
    assert {each.response for each in to_ann} == {"planned"}
    assert len({each.recipient for each in to_ann}) == 2
    assert counted(made)["planned"] == Outbox.objects.count()
    assert set(
        Outbox.objects.filter(delivery_id__in=to_ann).values_list("contact_id", flat=True)
    ) == set(Contact.objects.filter(first_name__startswith="Ann").values_list("pk", flat=True))
    others = Counter(
        (name, response) for (name, recipient), response in responses(made).items() if recipient
    )
    assert others == {
        ("ann", "planned"): 1,
        ("left", "skipped:opted_out"): 1,
        ("malformed", "skipped:invalid_address"): 1,
        ("", "skipped:no_address"): 2,
    }
    assert rebuilding.rebuild(NOW, verify=True) == []


@pytest.mark.parametrize("chunk", [2_000, 3, 1])
def test_each_is_planned_once_or_skipped_for_the_first_reason(
    monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    monkeypatch.setattr(planning, "CHUNKS", dict.fromkeys(planning.CHUNKS, chunk))
    everybody()
    made = planned(topic="offers")

    said = responses(made)
    own = {name: response for (name, recipient), response in said.items() if recipient == ""}
    assert own == {
        "ann": "planned",
        "bob": "planned",
        **{name: f"skipped:{reason}" for name, reason in REFUSED.items()},
    }
    others = Counter((name, response) for (name, recipient), response in said.items() if recipient)
    assert others == {
        ("ann", "skipped:duplicate"): 1,
        ("left", "skipped:duplicate"): 1,
        # What is wrong with an address is said of everybody who has it.
        ("malformed", "skipped:invalid_address"): 1,
        ("", "skipped:no_address"): 2,
    }
    assert MailingTally.objects.get(mailing_id=made, name="planned").count == 2
    tallies = dict(
        MailingTally.objects.filter(mailing_id=made, count__gt=0).values_list("name", "count")
    )
    assert tallies == counted(made)
    assert set(Outbox.objects.values_list("address_id", flat=True)) == set(
        Address.objects.filter(value__in=["ann@example.com", "bob@example.com"]).values_list(
            "pk", flat=True
        )
    )
    assert rebuilding.rebuild(NOW, verify=True) == []


def test_a_skip_is_an_event_with_its_reason() -> None:
    opted_in("ann")
    contact("ann")
    contact("stranger")
    planned()
    events = {
        value: (kind, json.loads(detail))
        for value, kind, detail in Stored.objects.exclude(kind="opted_in").values_list(
            "address__value", "kind", "detail"
        )
    }
    assert events == {
        "ann@example.com": ("planned", {}),
        "stranger@example.com": ("skipped", {"reason": "never_opted_in"}),
    }


def test_a_word_on_the_topic_decides_for_that_topic_alone() -> None:
    opted_in("ann", "bob")
    contact("ann")
    contact("bob")
    told("opted_out", "ann", NOW - 9 * DAY)
    told("opted_in", "ann", NOW - 8 * DAY, topic="offers")
    told("opted_out", "bob", NOW - 9 * DAY, topic="offers")
    general, offers, else_ = (
        planned("general"),
        planned("offers", topic="offers"),
        planned("else", topic="else"),
    )
    assert response(general, "ann") == "skipped:opted_out"
    assert response(offers, "ann") == "planned"
    assert response(else_, "ann") == "skipped:opted_out"
    assert response(general, "bob") == "planned"
    assert response(offers, "bob") == "skipped:opted_out_of_topic"
    assert response(else_, "bob") == "planned"


def test_a_contact_with_several_addresses_gets_one_mail() -> None:
    opted_in("home", "work")
    contact("home", "work")
    record([Event("opted_in", NOW, Value("sms", "+491711234567"), "form")], NOW)
    made = planned()
    assert len(responses(made)) == 1
    assert counted(made) == {"planned": 1}


def test_only_the_list() -> None:
    opted_in("ann", "bob", "cid")
    contact("ann", on="buyers")
    contact("bob")
    contact("cid", on="others")
    made = planned(list_name="buyers")
    assert responses(made) == {("ann", ""): "planned"}
    assert planning.unfinished(NOW) == []


def test_who_came_after_the_mailing_was_made_is_not_in_its_audience() -> None:
    people(3)
    made = mailing()
    people(2, prefix="late")
    assert planning.plan(made, NOW + DAY)
    assert {name for name, _ in responses(made)} == {"p0", "p1", "p2"}


def test_nobody_to_send_to_is_a_mailing_that_is_done() -> None:
    made = planned()
    assert responses(made) == {}
    assert planning.unfinished(NOW) == []


def test_the_control_group_is_drawn_among_the_allowed_by_a_salted_hash() -> None:
    names = people(300)
    for name in names[:60]:
        told("opted_out", name)
    made, other = mailing(control_share=0.25), mailing("other", control_share=0.25)
    Content.objects.filter(pk=made).update(salt="0123456789abcdef")
    for each in (made, other):
        planning.plan(each, NOW)
    drawn, drawn_again = (
        {name for (name, _), said in responses(each).items() if said == "skipped:control_group"}
        for each in (made, other)
    )
    # Said here again: it must be the same on every database.
    ids = {value.partition("@")[0]: pk for value, pk in Address.objects.values_list("value", "pk")}
    expected = {
        name
        for name in names[60:]
        if hashlib.md5(f"0123456789abcdef{ids[name]}".encode()).hexdigest()[:8] < "40000000"
    }
    assert drawn == expected
    assert 30 <= len(drawn) <= 90
    assert drawn != drawn_again
    assert 30 <= len(drawn_again) <= 90
    assert counted(made)["skipped:opted_out"] == 60
    assert rebuilding.rebuild(NOW, verify=True) == []


def test_what_time_alone_has_changed_is_seen() -> None:
    opted_in("asleep", at=NOW - 364 * DAY)
    unengaged("asleep", NOW - 364 * DAY)
    contact("asleep")
    first = planned("first", NOW)
    second = planned("second", NOW + 3 * DAY)  # no clock has ticked
    assert response(first, "asleep") == "planned"
    assert response(second, "asleep") == "skipped:unengaged"
    assert rebuilding.rebuild(NOW + 3 * DAY, verify=True) == []


def test_what_another_policy_folded_is_folded_first() -> None:
    opted_in("ann", "complainer")
    told("complained", "complainer")
    contact("ann")
    contact("complainer")
    Address.objects.update(policy=1, blocks_broadcast=None, status="opted_in")
    made = planned()
    assert response(made, "complainer") == "skipped:complained"
    assert response(made, "ann") == "planned"


def test_a_planner_that_dies_is_taken_over_where_it_stopped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(planning, "CHUNKS", dict.fromkeys(planning.CHUNKS, 4))
    people(18)
    contact("p1")
    made = mailing()
    assert not planning.plan(made, NOW, most=2)
    assert len(responses(made)) == 8
    assert planning.unfinished(NOW) == [made]

    write = planning._write

    def dying(*arguments: object) -> None:
        write(*arguments)  # type: ignore[arg-type]
        raise KeyboardInterrupt

    monkeypatch.setattr(planning, "_write", dying)
    with pytest.raises(KeyboardInterrupt):
        planning.plan(made, NOW)
    assert len(responses(made)) == 8
    monkeypatch.setattr(planning, "_write", write)

    assert planning.plan(made, NOW + DAY)
    assert counted(made) == {"planned": 18, "skipped:duplicate": 1}
    assert Outbox.objects.count() == 18
    assert planning.unfinished(NOW) == [made]  # it is still to be checked
    assert checking.check(made, NOW)
    assert planning.unfinished(NOW) == []
    assert planning.plan(made, NOW + DAY)
    assert len(responses(made)) == 19
    assert rebuilding.rebuild(NOW + DAY, verify=True) == []


def test_planners_at_once_plan_each_recipient_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "CHUNKS", dict.fromkeys(planning.CHUNKS, 5))
    names = people(60)
    contact(names[0])
    made, other = mailing(), mailing("other")
    Address.objects.update(policy=1)  # so that all must be folded on the way

    def plan() -> bool:
        return planning.plan(made, NOW) and planning.plan(other, NOW)

    assert at_once(plan, plan, plan) == [True, True, True]
    for each in (made, other):
        assert counted(each) == {"planned": 60, "skipped:duplicate": 1}
    assert Outbox.objects.count() == 120
    assert rebuilding.rebuild(NOW, verify=True) == []


def test_planning_while_the_same_people_are_folded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither locks the other out, whichever comes first."""
    monkeypatch.setattr(planning, "CHUNKS", dict.fromkeys(planning.CHUNKS, 5))
    names = people(40)
    made = mailing()
    Address.objects.update(policy=1)

    def hear() -> None:
        for place in range(0, len(names), 4):
            batch = [Event("opted_out", NOW, address(n), "link") for n in names[place : place + 4]]
            record(batch, NOW)

    assert at_once(lambda: planning.plan(made, NOW), hear) == [True, None]
    assert set(counted(made)) <= {"planned", "skipped:opted_out"}
    assert sum(counted(made).values()) == 40
    assert rebuilding.rebuild(NOW, verify=True) == []
