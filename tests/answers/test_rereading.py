"""What reading again would change, and how answers tell of it once it has."""

from __future__ import annotations

import pytest

from goodstanding.answers import checking, rereading, whatif
from goodstanding.answers.rereading import Told, Trial
from goodstanding.answers.why import Reasons, why
from goodstanding.core import policy_files
from goodstanding.core.addresses import Address
from goodstanding.core.annulments import Predicate
from goodstanding.core.events import Event
from goodstanding.ledger import acts, annulling, models
from goodstanding.ledger import rereading as ledger
from goodstanding.ledger.rebuilding import Named
from tests.answers.heard import DAY, NOW, START, address, event, hear
from tests.ledger import books

pytestmark = pytest.mark.django_db(transaction=True)

ALL = Predicate(0, NOW)
BLOCKED = "554 5.7.1 Service unavailable; client host [192.0.2.1] blocked using a block list"
UNKNOWN = "550 5.1.1 user unknown"
HARD = ("mailbox_unknown", "hard")
SOFT = ("mailbox_full", "soft")


def failed(name: str, text: str, read: tuple[str, str], day: float = 1.5) -> Event:
    """A bounce as an earlier version of the rules read it."""
    detail = {"text": text, "category": read[0], "disposition": read[1]}
    detail |= {"rule": "guess", "words": "5", "rules": "older"}
    return event("bounced", day, name, mailing="spring", key=f"back{day}", detail=detail)


def life(name: str, text: str, read: tuple[str, str]) -> None:
    hear(
        event("opted_in", 0, name, key="in"),
        event("sent", 1, name, mailing="spring", key="out"),
        failed(name, text, read),
    )


def some_lives() -> None:
    for name in ("ann", "bob", "cai"):
        life(name, BLOCKED, HARD)
    life("dee", UNKNOWN, SOFT)
    life("eve", BLOCKED, SOFT)
    life("fay", BLOCKED, HARD)
    hear(event("opted_out", 2, "fay"))


def tried(show: int = 10) -> Told:
    found, named = ledger.Found(), Named(show)
    trial = Trial(NOW, named)
    for window in ledger.windows(ALL):
        found.add(window)
        trial.add(window)
    return rereading.tell(found, trial.changed, named)


def made(now: int = NOW) -> tuple[int, Told]:
    found, named = ledger.Found(), Named(10)
    with ledger.gathering() as gathered:
        for window in ledger.windows(ALL):
            found.add(window)
            gathered.add(window)
        number = ledger.reread(gathered, why="better rules", by="ann", now=now)
    touched = annulling.apply(number, NOW, named=named)
    return number, rereading.tell(found, touched.changed, named, number)


def ask(name: str, at: int | None = None) -> Reasons:
    [reasons] = why([address(name)], NOW, at=at)
    return reasons


def may_go(name: str, at: int | None = None) -> bool:
    [answer] = checking.check([address(name)], "broadcast", None, NOW, at=at)
    return answer.allowed


def test_it_says_what_it_would_do_and_does_that() -> None:
    some_lives()
    before = books.book()
    would = tried()
    assert books.differences(before, books.book()) == []
    assert models.Annulment.objects.count() == 0
    assert [(each.before, each.after, each.count, each.examples) for each in would.statuses] == [
        ("hard_bounced", "opted_in", 3, [address(n).value for n in ("ann", "bob", "cai")]),
        ("soft_bouncing", "hard_bounced", 1, ["dee@example.com"]),
        ("soft_bouncing", "opted_in", 1, ["eve@example.com"]),
    ]
    assert [
        (each.before.category, each.before.disposition, each.after.category, each.failures)
        for each in would.readings
    ] == [
        ("mailbox_unknown", "hard", "reputation", 4),
        ("mailbox_full", "soft", "mailbox_unknown", 1),
        ("mailbox_full", "soft", "reputation", 1),
    ]
    totals = would.totals
    assert (totals.reread, totals.failures, totals.otherwise, totals.addresses) == (None, 6, 6, 6)
    assert (totals.returned.count, totals.stopped.count) == (3, 1)
    assert totals.stopped.examples == ["dee@example.com"]
    number, done = made()
    assert (done.readings, done.statuses) == (would.readings, would.statuses)
    assert done.totals.reread == number
    assert may_go("ann")
    assert not may_go("dee")
    assert ask("fay").status == "opted_out", "what the person said stays"
    assert tried().totals.otherwise == 0


def test_how_many_are_named() -> None:
    some_lives()
    few = tried(2)
    assert [len(each.examples) for each in few.statuses] == [2, 1, 1]
    assert (few.totals.returned.count, len(few.totals.returned.examples)) == (3, 2)
    assert tried(0).totals.returned.examples == []


def test_why_says_how_it_was_read_at_first_and_is_read_now() -> None:
    life("ann", BLOCKED, HARD)
    life("dee", UNKNOWN, SOFT)
    life("eve", "well", HARD)
    number, _ = made()
    reasons = ask("ann")
    assert reasons.status == "opted_in"
    assert (
        f"A failure was read as mailbox_unknown (hard) at first; reread {number} reads it as"
        " reputation (block)."
    ) in reasons.explanation
    *others, back = reasons.events
    assert [each.reread for each in others] == [None, None]
    assert back.detail["category"] == "reputation"
    assert back.detail["text"] == BLOCKED
    assert back.reread is not None
    assert back.reread.number == number
    assert back.reread.at_first == {
        "category": "mailbox_unknown",
        "disposition": "hard",
        "rule": "guess",
        "rules": "older",
        "words": "5",
    }
    unclear = ask("eve").events[-1].detail
    assert unclear["category"] == "undetermined"
    assert unclear.keys().isdisjoint({"rule", "words"}), "nothing of the first reading is left"
    dead = ask("dee").explanation
    assert "reads the words “user unknown” as mailbox_unknown" in dead
    assert "A failure was read as mailbox_full (soft) at first" in dead


def test_an_answer_as_of_a_time_goes_by_the_readings_of_then() -> None:
    life("ann", BLOCKED, HARD)
    hear(event("opened", 20, mailing="spring"))
    number, _ = made(START + 4 * DAY)
    undone = annulling.undo(number, why="so", by="bob", now=START + 6 * DAY)
    annulling.apply(undone, NOW)
    for days, allowed in ((3, False), (4, True), (5, True), (6, False), (25, False)):
        then = START + days * DAY
        assert may_go("ann", at=then) is allowed, days
        assert (ask("ann", at=then).status == "opted_in") is allowed
        assert (ask("ann", at=then).events[-1].reread is None) is not allowed
    assert not may_go("ann")


def test_what_if_goes_by_the_readings_that_count(tmp_path_factory: pytest.TempPathFactory) -> None:
    file = tmp_path_factory.mktemp("policy") / "tolerant.toml"
    file.write_text('base = "default"\n[hard]\nmailings = 3\n')
    tolerant = policy_files.load(str(file))
    life("ann", BLOCKED, HARD)
    made(START + 5 * DAY)
    found = {
        days: whatif.whatif(tolerant, NOW, START + days * DAY).totals.newly_allowed
        for days in (3, 6)
    }
    assert found == {3: 1, 6: 0}


def test_an_act_of_an_earlier_time_goes_by_the_readings_of_then() -> None:
    hear(failed("ann", BLOCKED, HARD), event("opted_in", 3), event("delivered", 4, mailing="m"))
    made(START + 5 * DAY)
    with pytest.raises(acts.NotAllowed, match="hard_bounced"):
        opt_in(address(), START + 4 * DAY)
    with pytest.raises(acts.NotAllowed) as refused:
        opt_in(address(), START + 6 * DAY)
    assert "hard_bounced" not in str(refused.value)


def opt_in(of: Address, at: int) -> None:
    acts.act("opt-in", of, reason="so", by="bob", now=NOW, at=at)
