"""What another policy would change: on the whole record, and without changing anything."""

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from goodstanding.answers import known, whatif
from goodstanding.answers.whatif import Compared
from goodstanding.core import history, policy_files
from goodstanding.core.addresses import Address, normalise
from goodstanding.core.annulments import Predicate
from goodstanding.core.events import Event
from goodstanding.core.policies import Policy
from goodstanding.core.standings import Standing
from goodstanding.ledger import annulling, models, recording
from tests.answers.heard import DAY, NOW, START, bounce, event, hear
from tests.core import histories
from tests.ledger import books

pytestmark = pytest.mark.django_db(transaction=True)

DEFAULT = policy_files.load("default")
Write = Callable[[str], Policy]

TOLERANT = "[hard]\nmailings = 3\n"
STRICT = """
[soft.email]
mailings = 2
at_least = "0s"
[soft.sms]
mailings = 1
[hard]
mailings_when_engaged = 1
lifted_by_engagement = false
[unengaged]
after = "10d"
stopped_after = "30d"
delivered = 1
[streak]
block_bounces = true
[frequency_cap]
mails = 2
within = "5d"
"""


@pytest.fixture
def policy(tmp_path: Path) -> Write:
    """Write a policy that differs from the one in force by that much."""

    def write(differs: str) -> Policy:
        file = tmp_path / "other.toml"
        while file.exists():
            file = file.with_stem(f"{file.stem}s")
        file.write_text(f'base = "default"\n{differs}')
        return policy_files.load(str(file))

    return write


def changes(compared: Compared) -> list[tuple[Any, ...]]:
    return [
        (each.channel, each.before, each.after, each.count, each.examples)
        for each in compared.statuses
    ]


def gate(compared: Compared) -> list[tuple[Any, ...]]:
    assert {each.purpose for each in compared.gate} <= {"broadcast"}
    return [(each.channel, each.before, each.after, each.count) for each in compared.gate]


def some_bounces() -> None:
    """Ann bounced and left, five bounced, cai has only opted in, dee bounced and was blocked."""
    hear(event("opted_in", 0, "ann"), event("opted_out", 2, "ann"), bounce("domain_unknown", 1))
    for name in ("bob", "bea", "ben", "bix", "boz"):
        hear(event("opted_in", 0, name), bounce("mailbox_unknown", 1, name, mailing="spring"))
    hear(event("opted_in", 0, "cai"))
    hear(bounce("mailbox_unknown", 1, "dee"), event("blocked", 2, "dee"))


def test_from_what_to_what_and_whom_and_what_the_gate_says(policy: Write) -> None:
    some_bounces()
    compared = whatif.whatif(policy(TOLERANT), NOW)
    assert changes(compared) == [
        (
            *("email", "hard_bounced", "opted_in", 5),
            ["bob@example.com", "bea@example.com", "ben@example.com"],
        ),
        ("email", "hard_bounced", "blocked", 1, ["dee@example.com"]),
    ]
    assert gate(compared) == [
        ("email", "hard_bounced", None, 5),
        ("email", "hard_bounced", "blocked", 1),
    ]
    totals = compared.totals
    assert (totals.policy, totals.against) == ("other", "default")
    assert totals.at == "2026-03-18T00:00:00Z"
    assert (totals.addresses, totals.changed, totals.unchanged) == (8, 6, 2)
    assert (totals.newly_refused, totals.newly_allowed) == (0, 5)
    assert [
        len(each.examples) for each in whatif.whatif(policy(TOLERANT), NOW, examples=4).statuses
    ] == [4, 1]
    assert changes(whatif.whatif(policy(TOLERANT), NOW, examples=0))[1][-1] == []


def test_the_policy_in_force_changes_nothing() -> None:
    some_bounces()
    compared = whatif.whatif(DEFAULT, NOW)
    assert (compared.statuses, compared.gate) == ([], [])
    assert (compared.totals.addresses, compared.totals.unchanged) == (8, 8)


def test_what_no_status_shows_changes_at_the_gate_alone(policy: Write) -> None:
    for name in ("ann", "bob"):
        hear(event("opted_in", 0, name), event("sent", 29.5, name, mailing="spring"))
    hear(event("opted_in", 0, "cai"), event("sent", 20, "cai", mailing="spring"))
    compared = whatif.whatif(policy('[frequency_cap]\nmails = 1\nwithin = "1d"\n'), NOW)
    assert changes(compared) == []
    assert gate(compared) == [("email", None, "limit_reached", 2)]
    assert (compared.totals.changed, compared.totals.unchanged) == (0, 3)
    assert (compared.totals.newly_refused, compared.totals.newly_allowed) == (2, 0)


def test_what_time_alone_changes_is_no_difference(policy: Write) -> None:
    hear(
        event("opted_in", 0),
        *(event("delivered", day, mailing=f"number {day}") for day in range(1, 5)),
    )
    later = NOW + 200 * DAY
    assert models.Address.objects.values_list("status", flat=True).get() == "opted_in"
    compared = whatif.whatif(policy(TOLERANT), later)
    assert (compared.statuses, compared.gate) == ([], [])
    patient = policy('[unengaged]\nafter = "300d"\n')
    assert changes(whatif.whatif(patient, later)) == [
        ("email", "unengaged", "opted_in", 1, ["ann@example.com"])
    ]
    assert changes(whatif.whatif(patient, NOW)) == []
    assert changes(whatif.whatif(patient, NOW, at=later)) != []


def test_as_of_a_time_only_what_had_happened_by_then_counts(policy: Write) -> None:
    some_bounces()
    hear(
        event("unblocked", 20, "bob"),
        event("opted_in", 25, "eve"),
        bounce("mailbox_unknown", 26, "eve"),
    )
    tolerant = policy(TOLERANT)
    assert whatif.whatif(tolerant, NOW, at=START - DAY).totals.addresses == 0
    before = whatif.whatif(tolerant, NOW, at=START + DAY // 2)
    assert (before.totals.addresses, before.totals.changed) == (7, 0)
    then = whatif.whatif(tolerant, NOW, at=START + int(1.5 * DAY), examples=1)
    assert changes(then) == [
        ("email", "hard_bounced", "opted_in", 6, ["ann@example.com"]),
        ("email", "hard_bounced", "non_marketable", 1, ["dee@example.com"]),
    ]
    assert then.totals.at == "2026-02-17T12:00:00Z"
    now = whatif.whatif(tolerant, NOW, examples=9)
    assert now.statuses == whatif.whatif(tolerant, NOW, at=NOW, examples=9).statuses
    [(*_, examples), _] = changes(now)
    assert "eve@example.com" in examples
    assert "bob@example.com" not in examples


def test_as_of_a_time_a_complaint_that_was_withdrawn_stands_no_more(policy: Write) -> None:
    hear(event("opted_in", 0), bounce("mailbox_unknown", 1, mailing="spring"))
    hear(event("complained", 2, mailing="spring"))
    hear(event("complaint_withdrawn", 3, mailing="spring"))
    hear(event("opted_out", 10))
    then = whatif.whatif(policy(TOLERANT), NOW, at=START + 5 * DAY)
    assert changes(then) == [("email", "hard_bounced", "opted_in", 1, ["ann@example.com"])]


def test_each_channel_has_its_own_lines_and_can_be_asked_for_alone(policy: Write) -> None:
    some_bounces()
    number = normalise("sms", "+447700900123")
    for kind, day in (("opted_in", 0), ("bounced", 1)):
        detail = {"category": "number_invalid"} if kind == "bounced" else {}
        hear(Event(kind, START + day * DAY, number, "import", detail=detail))
    tolerant = policy(TOLERANT)
    of_sms = ("sms", "hard_bounced", "opted_in", 1, ["+447700900123"])
    assert of_sms in changes(whatif.whatif(tolerant, NOW))
    only = whatif.whatif(tolerant, NOW, channel="sms")
    assert changes(only) == [of_sms]
    assert gate(only) == [("sms", "hard_bounced", None, 1)]
    assert (only.totals.addresses, whatif.how_many("sms")) == (1, 1)
    assert (whatif.how_many("email"), whatif.how_many()) == (8, 9)


def test_who_has_no_address_is_not_counted(policy: Write) -> None:
    hear(event("opted_in", 0))
    models.Address.objects.create(channel="email", value="")
    assert whatif.how_many() == 1
    assert whatif.whatif(policy(TOLERANT), NOW).totals.addresses == 1


# Against the rules themselves: every address folded in memory, one at a time.

PEOPLE = tuple(
    Address("sms", f"+346000000{number:02}") if number % 4 == 3 else Address("email", mail)
    for number, mail in enumerate(f"person-{number}@example.com" for number in range(40))
)


def by_the_rules(events: Sequence[Event], other: Policy, at: int) -> tuple[Any, Any, int]:
    """The changes of status, those of the gate, and how many had been heard of."""
    heard: dict[Address, list[Event]] = {}
    for each in events:
        if each.occurred_at <= at:
            heard.setdefault(each.address, []).append(each)
    statuses: Counter[Any] = Counter()
    refusals: Counter[Any] = Counter()
    for address, told in heard.items():
        folded = history.fold(address.channel, told)
        before, after = folded.standing(DEFAULT, at), folded.standing(other, at)
        statuses[address.channel, before.status, after.status] += before.status != after.status
        was, would_be = _reason(before), _reason(after)
        refusals[address.channel, was, would_be] += was != would_be
    return +statuses, +refusals, len(heard)


def _reason(standing: Standing) -> str | None:
    return standing.blocks["broadcast"]


@pytest.mark.parametrize("seed", range(3))
def test_it_is_what_the_rules_make_of_the_events(
    seed: int, policy: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(known, "BATCH", 7)
    monkeypatch.setattr(whatif, "_PAGE", 11)
    events = histories.history(seed, 500, PEOPLE)
    recording.record(events, histories.END)
    strict = policy(STRICT)
    differed = 0
    for at in (None, *histories.MOMENTS[::4]):
        compared = whatif.whatif(strict, histories.END, at)
        statuses, refusals, known_of = by_the_rules(events, strict, at or histories.END)
        assert {tuple(each[:3]): each[3] for each in changes(compared)} == statuses
        assert {each[:3]: each[3] for each in gate(compared)} == refusals
        totals = compared.totals
        assert (totals.addresses, totals.changed) == (known_of, statuses.total())
        assert totals.newly_refused == sum(n for (_, was, _), n in refusals.items() if was is None)
        assert totals.newly_allowed == sum(n for (*_, is_), n in refusals.items() if is_ is None)
        assert totals.unchanged == known_of - totals.changed
        counts = [each.count for each in compared.statuses]
        assert counts == sorted(counts, reverse=True)
        differed += totals.changed
    assert differed


def test_nothing_is_changed(policy: Write) -> None:
    recording.record(histories.history(9, 200, PEOPLE), histories.END)
    before, changed = books.book(), models.Change.objects.count()
    for at in (None, histories.MOMENTS[8]):
        assert whatif.whatif(policy(STRICT), histories.END, at).totals.changed
    assert books.differences(before, books.book()) == []
    assert models.Change.objects.count() == changed


@pytest.mark.parametrize("at", [None, histories.MOMENTS[8]])
def test_it_asks_in_sets_however_many_there_are(policy: Write, at: int | None) -> None:
    strict = policy(STRICT)
    asked = []
    for people in (PEOPLE[:4], PEOPLE):
        recording.record(histories.history(9, 200, people), histories.END)
        done: list[int] = []
        with CaptureQueriesContext(connection) as queries:
            whatif.whatif(strict, histories.END, at, advance=done.append)
        asked.append(len(queries))
        assert sum(done) == len(people)
    assert asked[0] == asked[1]
    assert asked[0] < 10


def test_what_was_annulled_later_had_not_been_then(policy: Write) -> None:
    hear(
        event("opted_in", 0, key="in"),
        event("sent", 1, mailing="spring", key="out"),
        bounce("mailbox_unknown", 1.5, mailing="spring", key="back"),
    )
    outage = Predicate(START, START + 2 * DAY)
    annulling.apply(annulling.annul(outage, why="an outage", by="ann", now=START + 5 * DAY), NOW)
    found = {
        days: whatif.whatif(policy("[hard]\nmailings = 2\n"), NOW, START + days * DAY).totals
        for days in (3, 6)
    }
    assert (found[3].newly_allowed, found[6].newly_allowed) == (1, 0)
