"""The incident guard: an outage's bounces count for nothing until somebody decides."""

from __future__ import annotations

import random
from collections import Counter
from itertools import chain, islice
from pathlib import Path

import pytest
from django.test import override_settings

from goodstanding.core.addresses import Address
from goodstanding.core.annulments import Predicate, holds
from goodstanding.core.events import Event
from goodstanding.ledger import annulling, annulments, guarding, models
from goodstanding.ledger.acts import NotAllowed
from goodstanding.ledger.rebuilding import rebuild
from tests.ledger import books
from tests.ledger.weeks import (
    DAY,
    GONE,
    HOUR,
    NOW,
    SECOND,
    START,
    WEEK,
    arrived,
    failed,
    hear,
    people,
    sent,
)

pytestmark = pytest.mark.django_db(transaction=True)

THEN = START + WEEK
"""When it happens: a week after all was well."""


def look(now: int = NOW) -> list[str]:
    """Let the guard look, and apply what it did."""
    acts = guarding.look(now)
    for act in acts:
        annulling.apply(act.annulment, now)
    return [act.what for act in acts]


def states() -> dict[int, str]:
    from django.db import connection

    with connection.cursor() as cursor:
        return dict(holds(annulments.every(cursor)))


def undecided() -> list[models.Annulment]:
    return [models.Annulment.objects.get(pk=n) for n, s in states().items() if s == "undecided"]


def statuses() -> Counter[tuple[str, str]]:
    rows = models.Address.objects.values_list("domain", "status")
    return Counter((domain, status) for domain, status in rows)


def without(events: list[Event], predicate: Predicate) -> books.Book:
    """The ledger that never heard of what the predicate covers."""
    books.empty()
    models.Annulment.objects.all().delete()
    hear(event for event in events if not predicate.covers(event))
    books.settle(NOW)
    return books.book(events=False)


def test_a_wave_is_held_until_it_is_decided() -> None:
    good = people(10_000, "gmail.com")
    others = people(4_000, "example.org", name="o")
    gone = others[:80]
    hear(
        (Event("opted_in", START - DAY, each, "form") for each in good + others),
        arrived("last week", good + others, START),
        arrived("this week", others[80:], THEN),
        failed("this week", gone, THEN),
    )
    assert look() == [], "two in a hundred bounce"
    false = list(failed("this week", good, THEN, over=2 * HOUR))
    hear(false[:8_000])
    assert look() == ["held"]
    hear(false[8_000:])
    assert look() == ["moved"], "its end, with the wave"
    held = statuses()
    assert held == {
        ("gmail.com", "opted_in"): 10_000,
        ("example.org", "opted_in"): 3_920,
        ("example.org", "hard_bounced"): 80,
    }
    assert rebuild(NOW, verify=True) == []
    [hold] = undecided()
    assert (hold.by, hold.provider, hold.domain) == ("guard", "gmail.com", None)
    assert (hold.category, hold.rule) == ("mailbox_unknown", "user-unknown")
    assert hold.why.startswith("10,000 hard bounces at gmail.com since 2026-02-23 09:00 UTC")
    saw = guarding.saws([hold.pk])[hold.pk]
    assert (saw.hard_bounces, saw.delivered_to, saw.tried) == (10_000, 10_000, 10_000)
    assert saw.words == {"user unknown": 10_000}
    assert look() == []

    given_back = guarding.release(hold.pk, why="they are gone", by="ann", now=NOW)
    annulling.apply(given_back, NOW)
    assert statuses()["gmail.com", "hard_bounced"] == 10_000
    assert rebuild(NOW, verify=True) == []
    hear([Event("bounced", THEN + HOUR, good[0], "dsn", detail=GONE)])
    assert look() == [], "what was released is not held again"
    assert states() == {hold.pk: "released"}

    annulling.apply(annulling.undo(given_back, why="no", by="ann", now=NOW), NOW)
    assert statuses() == held
    assert states() == {hold.pk: "upheld"}
    assert rebuild(NOW, verify=True) == []


def test_what_is_upheld_stays_and_covers_what_comes_in_later() -> None:
    good = people(200, "gmail.com")
    hear(arrived("last week", good, START), failed("this week", good[:150], THEN))
    assert look() == ["held"]
    [hold] = undecided()
    word = guarding.uphold(hold.pk, why="an outage", by="ann", now=NOW)
    assert states() == {hold.pk: "upheld"}
    hear(failed("this week", good[150:], THEN))
    assert look() == []
    assert statuses() == {("gmail.com", "non_marketable"): 200}
    assert rebuild(NOW, verify=True) == []
    for act in (guarding.uphold, guarding.release):
        with pytest.raises(NotAllowed, match=f"hold {hold.pk} is upheld already"):
            act(hold.pk, why="so", by="ann", now=NOW)
    with pytest.raises(NotAllowed, match=f"says that the hold {hold.pk} stays"):
        annulling.undo(word, why="so", by="ann", now=NOW)
    annulling.apply(annulling.undo(hold.pk, why="no outage", by="ann", now=NOW), NOW)
    assert statuses() == {("gmail.com", "hard_bounced"): 200}
    assert look() == []
    assert rebuild(NOW, verify=True) == []


def test_a_decision_that_cannot_be_is_refused_and_changes_nothing() -> None:
    for act in (guarding.uphold, guarding.release):
        with pytest.raises(NotAllowed, match="There is no hold 7"):
            act(7, why="so", by="ann", now=NOW)
        with pytest.raises(ValueError, match="reason"):
            act(7, why=" ", by="ann", now=NOW)
    number = annulling.annul(Predicate(1, 2), why="so", by="ann", now=NOW)
    with pytest.raises(NotAllowed, match=f"There is no hold {number}"):
        guarding.release(number, why="so", by="ann", now=NOW)
    assert models.Annulment.objects.count() == 1


# Ordinary weeks


@pytest.mark.parametrize(
    ("many", "domains", "over"),
    [
        (20_000, 1, HOUR),
        (20_000, 4, HOUR // 2),
        (20_000, 2, 7 * DAY),
        (20_000, 300, HOUR),
    ],
    ids=["an hour", "half an hour", "a week", "many providers"],
)
@pytest.mark.parametrize("first", [False, True], ids=["", "first week"])
def test_an_ordinary_week_passes_without_a_word(
    many: int, domains: int, over: int, first: bool
) -> None:
    who = people(many, *(f"d{n}.example" for n in range(domains)))
    chance = random.Random(many + domains)
    chance.shuffle(who)
    gone = chance.sample(who, many // 50)
    kept = sorted(set(who) - set(gone), key=who.index if many < 1_000 else str)
    if not first:
        # The lists are long enough for each to have been written to within 90 days.
        hear(arrived("last week", gone, START))
    hear(arrived("this week", kept, THEN, over), failed("this week", gone, THEN, over))
    assert look() == []
    assert models.Annulment.objects.count() == 0


def test_bounces_that_come_back_hours_after_the_broadcast_are_no_wave() -> None:
    who = people(20_000, "gmail.com")
    gone, kept = who[::50], [each for n, each in enumerate(who) if n % 50]
    hear(arrived("last week", gone, START), arrived("this week", kept, THEN))
    for event in failed("this week", gone, THEN):
        if event.kind == "sent":
            hear([event])
    hear(
        Event("bounced", THEN + 5 * HOUR + n, each, "dsn", mailing="this week", detail=GONE)
        for n, each in enumerate(gone)
    )
    assert look() == []


def test_the_hosted_domains_of_a_provider_are_no_wave_where_only_failures_name_it() -> None:
    """Whoever failed is then known to be there; who did not fail may be there too."""
    who = people(4_000, *(f"company{n}.example" for n in range(2_000)))
    gone, kept = who[::50], [each for n, each in enumerate(who) if n % 50]
    hear(
        arrived("last week", gone, START),
        arrived("this week", kept, THEN),
        failed("this week", gone, THEN, provider="outlook.com"),
    )
    assert look() == []


def test_where_what_is_sent_names_the_provider_an_outage_of_a_small_one_is_seen() -> None:
    hosted = people(60, *(f"company{n}.example" for n in range(30)))
    others = people(5_000, "gmail.com", name="o")
    hear(
        arrived("last week", hosted, START, provider="hoster.example"),
        arrived("this week", others, THEN),
        failed("this week", hosted, THEN, provider="hoster.example"),
    )
    assert look() == ["held"]
    assert [hold.provider for hold in undecided()] == ["hoster.example"]
    assert statuses()["company1.example", "hard_bounced"] == 0


def test_one_dead_address_that_is_written_to_often_is_no_wave() -> None:
    [one] = people(1, "small.example")
    hear(arrived("hello", [one], START))
    hear(*(failed(f"alert {n}", [one], THEN + n * SECOND, over=1) for n in range(60)))
    assert look() == []


# One condition each, at its boundary


def wave(
    many: int = 50,
    *,
    known: int | None = None,
    ago: int = WEEK,
    over: int = HOUR,
    well: int = 0,
    usual: int | None = None,
) -> list[str]:
    """What the guard does of so many failures, of which ``known`` were delivered to ``ago``."""
    who = people(many, "gmail.com")
    others = people(max(well, 1), "gmail.com", name="o")
    hear(
        arrived("before", who[: many if known is None else known], THEN - ago, 1),
        failed("this week", who, THEN, over * many // max(many - 1, 1)),
        arrived("this week", others[:well], THEN) if well else (),
    )
    if usual is not None:
        for day in range(1, 6):
            gone = people(usual, "gmail.com", name=f"g{day}.")
            hear(failed(f"day {day}", gone, THEN - day * DAY))
            hear(arrived(f"day {day}", people(100, "gmail.com", name="u"), THEN - day * DAY))
    return look()


def test_at_least() -> None:
    assert wave(50) == ["held"]


def test_below_at_least() -> None:
    assert wave(49) == []


def test_within_an_hour() -> None:
    assert wave(50, over=HOUR) == ["held"]


def test_over_more_than_an_hour() -> None:
    assert wave(50, over=HOUR + 60 * SECOND) == []


def test_times_usual() -> None:
    assert wave(60, usual=6) == ["held"]


def test_below_times_usual() -> None:
    assert wave(59, usual=6) == []


def test_usual_is_of_the_time_that_the_policy_looks_back(tmp_path: Path) -> None:
    policy = tmp_path / "short.toml"
    policy.write_text('base = "default"\n[guard]\nusual_over = "12h"\n')
    with override_settings(OPTIONS=options(policy)):
        assert wave(59, usual=6) == ["held"]


def test_share_failed() -> None:
    assert wave(50, well=450) == ["held"]


def test_below_share_failed() -> None:
    assert wave(50, well=451) == []


def test_share_delivered() -> None:
    assert wave(50, known=40) == ["held"]


def test_below_share_delivered() -> None:
    assert wave(50, known=39) == []


def test_delivered_within() -> None:
    assert wave(50, ago=90 * DAY - HOUR - SECOND) == ["held"]


def test_delivered_longer_ago() -> None:
    assert wave(50, ago=90 * DAY + HOUR) == []


def test_taken_by_a_lane_that_does_not_report_is_delivered_unless_it_came_back() -> None:
    who = people(60, "gmail.com")
    hear(sent("last week", who, START, reports=False), failed("this week", who, THEN))
    assert look() == ["held"]
    books.empty()
    models.Annulment.objects.all().delete()
    hear(sent("last week", who, START, reports=True), failed("this week", who, THEN))
    assert look() == [], "nobody said that it arrived"
    books.empty()
    full = GONE | {"category": "mailbox_full", "disposition": "soft", "rule": "full"}
    came_back = (
        Event("bounced", START + DAY, each, "dsn", mailing="last week", detail=full)
        for each in who[:13]
    )
    hear(sent("last week", who, START, reports=False), came_back)
    hear(failed("this week", who, THEN))
    assert look() == [], "a fifth of them came back"


def test_what_arrived_and_then_came_back_is_no_sign_that_it_was_good() -> None:
    who = people(60, "gmail.com")
    hear(
        arrived("this week", who, THEN),
        (
            Event("bounced", THEN + 2 * HOUR + n, each, "dsn", mailing="this week", detail=GONE)
            for n, each in enumerate(who)
        ),
        failed("this week too", who, THEN + 3 * HOUR),
    )
    assert look() == []


def test_a_list_that_was_never_written_to_before_is_no_outage_however_often_it_is_now() -> None:
    who = people(60, "gmail.com")
    taken = chain(
        sent("one", who, THEN, 1, reports=False), sent("two", who, THEN + SECOND, 1, reports=False)
    )
    hear(
        taken,
        (
            Event("bounced", THEN + n + HOUR // 2, each, "dsn", mailing=mailing, detail=GONE)
            for mailing in ("one", "two")
            for n, each in enumerate(who)
        ),
    )
    assert look() == []


def test_a_domain_that_fails_at_several_providers() -> None:
    who = people(60, "company.example")
    hear(
        arrived("last week", who, START),
        failed("this week", who[:30], THEN, provider="one.example"),
        failed("this week", who[30:], THEN, provider="two.example"),
    )
    assert look() == ["held"]
    [hold] = undecided()
    assert (hold.provider, hold.domain) == (None, "company.example")


def test_strays_are_not_held_and_a_mixture_is() -> None:
    who = people(100, "gmail.com")
    disabled = GONE | {"category": "mailbox_disabled", "rule": "disabled"}
    hear(
        arrived("last week", who, START),
        failed("this week", who[:97], THEN),
        failed("this week", who[97:], THEN, **disabled),
    )
    assert look() == ["held"]
    [hold] = undecided()
    assert (hold.category, hold.rule) == ("mailbox_unknown", "user-unknown")
    assert statuses()["gmail.com", "hard_bounced"] == 3
    more = people(50, "gmail.com", name="m")
    hear(arrived("last week", more, START), failed("this week", more, THEN, **disabled))
    assert look() == ["moved"]
    [hold] = undecided()
    assert (hold.category, hold.rule) == (None, None)
    assert statuses()["gmail.com", "hard_bounced"] == 0
    assert rebuild(NOW, verify=True) == []


def test_numbers_are_guarded_by_their_carrier() -> None:
    who = [Address("sms", f"+49170000{n:04}") for n in range(60)]
    invalid = {"category": "number_invalid", "rule": None}
    hear(arrived("last week", who, START))
    hear(failed("this week", who[:30], THEN, **invalid))
    assert look() == [], "whose they are nobody said"
    books.empty()
    hear(arrived("last week", who, START, provider="carrier"))
    hear(failed("this week", who, THEN, **invalid, provider="carrier"))
    assert look() == ["held"]
    assert Counter(models.Address.objects.values_list("status", flat=True)) == {
        "non_marketable": 60
    }


def test_later_news_takes_a_hold_back() -> None:
    who = people(50, "gmail.com")
    hear(arrived("last week", who, START), failed("this week", who, THEN))
    assert look() == ["held"]
    hear(arrived("this week", people(500, "gmail.com", name="o"), THEN))
    assert look() == ["taken back"]
    assert statuses()["gmail.com", "hard_bounced"] == 50
    assert rebuild(NOW, verify=True) == []
    assert [*states().values()] == ["withdrawn"]
    with pytest.raises(NotAllowed, match="its failures count already"):
        guarding.release(next(iter(states())), why="so", by="ann", now=NOW)


def test_switched_off_nothing_is_held(tmp_path: Path) -> None:
    policy = tmp_path / "calm.toml"
    policy.write_text('base = "default"\nguard = "off"\n')
    with override_settings(OPTIONS=options(policy)):
        assert wave(500) == []


def options(policy: Path) -> object:
    import msgspec
    from django.conf import settings

    return msgspec.structs.replace(settings.OPTIONS, policy=str(policy))


def test_what_is_counted_is_what_the_events_say() -> None:
    [ann, bob] = people(2, "gmail.com", "example.org")
    details = [
        {},
        GONE,
        {"category": "mailbox_full", "disposition": "hard"},
        {"category": "reputation", "disposition": "hard"},
        {"category": "mailbox_unknown", "disposition": "soft"},
        {"category": "mailbox_unknown", "disposition": 7, "provider": 7},
        {"category": "mailbox_unknown", "provider": "outlook.com"},
        {"category": "mailbox_unknown", "provider": "gmail.com"},
        {"category": "mailbox_unknown", "provider": "x" * 300, "text": "a\0\0b \\u0000 \\\0"},
        {"category": "mailbox_unknown", "provider": None, "text": "ä"},
    ]
    hear(
        Event(kind, THEN + HOUR * place, person, "dsn", mailing=f"{place}", detail=detail)
        for kind in ("bounced", "undelivered", "deferred", "sent", "delivered", "opened")
        for place, detail in enumerate(details)
        for person in (ann, bob, Address("sms", "+491700000000"))
        if kind not in ("bounced", "deferred") or detail.get("disposition") != 7
    )
    assert rebuild(NOW, verify=True) == []
    look()
    assert models.TrafficNews.objects.count() == 0
    assert rebuild(NOW, verify=True) == []
    models.Traffic.objects.filter(name="outlook.com").update(failed=100)
    models.Traffic.objects.filter(what="all").delete()
    wrong = rebuild(NOW, verify=True)
    assert {difference.what.split(",")[1] for difference in wrong} == {" 'provider'", " 'all'"}
    assert rebuild(NOW) != []
    assert rebuild(NOW, verify=True) == []


# Any order, any moment


@pytest.mark.parametrize("seed", range(6))
def test_whenever_it_looks_in_whatever_order_the_result_is_the_same(seed: int) -> None:
    events = story()
    hear(events)
    look()
    books.settle(NOW)
    straight = books.book(events=False)
    covered = [predicate(hold) for hold in undecided()]
    assert len(covered) == 2

    books.empty()
    models.Annulment.objects.all().delete()
    chance = random.Random(seed)
    chance.shuffle(events)
    left = iter(events)
    while batch := list(islice(left, chance.randint(1, 400))):
        hear(batch)
        if chance.random() < 0.5:
            look()
    look()
    assert look() == []
    books.settle(NOW)
    assert [predicate(hold) for hold in undecided()] == covered
    assert books.differences(books.book(events=False), straight) == []
    assert rebuild(NOW, verify=True) == []


def predicate(hold: models.Annulment) -> Predicate:
    return Predicate(*(getattr(hold, name) for name in Predicate.__struct_fields__))


def story() -> list[Event]:
    """Two waves, one over two hours and one a fortnight later, among ordinary weeks."""
    good = people(300, "gmail.com")
    others = people(150, "example.org", name="o")
    return list(
        chain(
            arrived("one", good + others, START),
            arrived("two", good[:100] + others[3:], THEN),
            failed("two", good[100:], THEN + 10 * SECOND, 2 * HOUR),
            failed("two", others[:3], THEN),
            arrived("three", good + others[3:], THEN + WEEK),
            arrived("four", good[80:] + others[3:], THEN + 2 * WEEK),
            failed("four", good[:80], THEN + 2 * WEEK, rule="other-words"),
        )
    )


def test_what_is_held_is_as_if_it_had_not_been() -> None:
    events = story()
    hear(events)
    look()
    books.settle(NOW)
    held = books.book(events=False)
    first, second = (predicate(hold) for hold in undecided())
    kept = [event for event in events if not first.covers(event)]
    assert books.differences(held, without(kept, second)) == []


def test_who_is_killed_between_holding_and_applying_leaves_it_to_the_next() -> None:
    who = people(80, "gmail.com")
    hear(arrived("last week", who, START), failed("this week", who, THEN))
    [act] = guarding.look(NOW)
    assert act.what == "held"
    assert rebuild(NOW, verify=True) != []
    assert guarding.look(NOW) == []
    assert annulling.finish(NOW + annulling.INTERRUPTED)
    assert rebuild(NOW, verify=True) == []
    assert statuses() == {("gmail.com", "non_marketable"): 80}


def test_as_of_a_time_before_the_hold_it_counts() -> None:
    who = people(80, "gmail.com")
    hear(arrived("last week", who, START), failed("this week", who, THEN))
    look(THEN + 2 * DAY)
    from goodstanding.answers import known

    [(_, then)] = known.of([who[0]], THEN + DAY)
    [(_, after)] = known.of([who[0]], THEN + 3 * DAY)
    hard = [
        any(each.memory.first("hard_bounced") for each in history.deliveries.values())
        for history in (then, after)
    ]
    assert hard == [True, False]
