"""What the gate answers, as it is stored and as of any time."""

import random
from pathlib import Path
from typing import Any

import pytest

from goodstanding.answers.checking import Checked, check
from goodstanding.core import policy_files
from goodstanding.core.addresses import normalise
from goodstanding.core.events import Event
from goodstanding.core.gate import PURPOSES
from tests.answers.heard import DAY, NOW, START, address, bounce, event, hear

pytestmark = pytest.mark.django_db(transaction=True)


def ask(
    purpose: str = "broadcast", name: str = "ann", topic: str | None = None, **how: Any
) -> Checked:
    [answer] = check([address(name)], purpose, topic, NOW, **how)
    return answer


def test_an_address_never_heard_of() -> None:
    answer = ask()
    assert (answer.address, answer.channel) == ("ann@example.com", "email")
    assert (answer.allowed, answer.reason) == (False, "never_opted_in")
    assert (answer.status, answer.family) == ("non_marketable", "bad")
    assert answer.why == "Refused: nothing was ever heard of this address."
    assert ask("one_off").allowed
    assert "although nothing was ever heard" in ask("one_off").why
    assert ask("transactional").allowed
    assert ask("confirmation").reason == "not_requested"


@pytest.mark.parametrize(
    ("heard", "purpose", "reason", "status", "why"),
    [
        ([event("opted_in", 0)], "broadcast", None, "opted_in", "opted in on 2026-02-16 00:00 UTC"),
        (
            [event("imported", 0, detail={"permission": True})],
            "broadcast",
            None,
            "opted_in",
            "imported with permission on 2026-02-16",
        ),
        (
            [event("confirmed", 1, detail={"method": "custom"})],
            "sequence",
            None,
            "confirmed_custom",
            "confirmed in a way of your own",
        ),
        (
            [event("admin_opted_in", 2)],
            "broadcast",
            None,
            "opted_in",
            "an operator opted the address in on 2026-02-18",
        ),
        (
            [event("opted_in", 0), event("list_unsubscribed", 3, mailing="m")],
            "broadcast",
            "opted_out",
            "list_unsubscribed",
            "pressed the unsubscribe button of their mail program on 2026-02-19",
        ),
        (
            [event("opted_in", 0), event("complained", 3, mailing="m")],
            "one_off",
            "complained",
            "complained",
            "marked a message as spam",
        ),
        (
            [event("admin_opted_out", 1)],
            "broadcast",
            "opted_out",
            "opted_out_by_admin",
            "an operator",
        ),
        (
            [
                event("opted_in", 0),
                event("sent", 1, mailing="m"),
                bounce("mailbox_unknown", 2, mailing="m"),
            ],
            "transactional",
            "hard_bounced",
            "hard_bounced",
            "came back for good on 2026-02-18 00:00 UTC (mailbox_unknown)",
        ),
        (
            [event("opted_in", 0), event("declared_invalid", 1)],
            "broadcast",
            "invalid_address",
            "invalid",
            "an operator declared the address invalid",
        ),
        ([event("opted_in", 0), event("blocked", 1)], "broadcast", "blocked", "blocked", "blocked"),
        ([event("opted_in", 0), event("locked", 1)], "broadcast", "locked", "locked", "locked"),
        (
            [event("opted_in", 0)]
            + [
                heard
                for n in range(5)
                for heard in (
                    event("sent", 1 + 4 * n, mailing=f"m{n}"),
                    bounce("mailbox_full", 2 + 4 * n, mailing=f"m{n}"),
                )
            ],
            "broadcast",
            "soft_stopped",
            "soft_stopped",
            "5 mailings in a row could not be delivered, the last of them sent on 2026-03-05",
        ),
    ],
)
def test_an_answer_has_its_reason(
    heard: list[Event], purpose: str, reason: str | None, status: str, why: str
) -> None:
    hear(*heard)
    answer = ask(purpose)
    assert (answer.reason, answer.status) == (reason, status)
    assert answer.allowed == (reason is None)
    assert why in answer.why
    assert answer.why.startswith("Allowed: " if answer.allowed else "Refused: ")


def test_a_limit_is_told_with_its_numbers(tmp_path: Path) -> None:
    file = tmp_path / "sparing.toml"
    file.write_text('base = "default"\n[frequency_cap]\nmails = 2\nwithin = "7d"\n')
    sparing = policy_files.load(str(file))
    sent = [event("sent", day, mailing=f"m{day}", purpose="broadcast") for day in (27, 28)]
    asked = event("sent", 27, mailing="ask", purpose="confirmation", detail={"reports": False})
    hear(event("imported", 0, detail={"permission": True}), *sent, asked)
    answer = ask(policy=sparing)
    assert (answer.reason, answer.status) == ("limit_reached", "opted_in")
    assert answer.why == (
        "Refused: the person was sent as many messages of this sort as they may be in this time."
        " By the policy sparing 2 mailings in 7 days are the most that go to one address."
    )
    assert ask().allowed, "by default there is no cap"
    assert ask(policy=sparing, at=START + 34 * DAY).allowed, "the window is free again"
    assert ask("one_off", policy=sparing).allowed
    answer = ask("confirmation")
    assert answer.reason == "limit_reached"
    assert answer.why.endswith(
        " By the policy default a person is asked to confirm 3 times a day at the most,"
        " and once in 30 days where others say that they agreed."
    )


def test_a_word_on_a_topic_counts_for_that_topic() -> None:
    hear(event("opted_in", 0), event("opted_out", 1, topic="news"))
    assert ask(topic="news").reason == "opted_out_of_topic"
    assert "opted out of this topic on 2026-02-17" in ask(topic="news").why
    assert ask(topic="offers").allowed
    assert ask().allowed


def test_as_of_a_time_only_what_had_happened_by_then_counts() -> None:
    hear(event("opted_in", 5), event("opted_out", 10))
    assert ask().reason == "opted_out"
    assert ask(at=START + 10 * DAY).reason == "opted_out"
    assert ask(at=START + 10 * DAY - 1).allowed
    assert ask(at=START + 4 * DAY).reason == "never_opted_in"


def test_another_policy_answers_and_changes_nothing(tmp_path: Any) -> None:
    lenient = tmp_path / "lenient.toml"
    lenient.write_text('base = "default"\n[hard]\nmailings = 3\n')
    hear(
        event("opted_in", 0),
        event("sent", 1, mailing="m"),
        bounce("mailbox_unknown", 2, mailing="m"),
    )
    assert ask(policy=policy_files.load(str(lenient))).allowed
    assert ask().reason == "hard_bounced"


def test_what_time_changed_is_seen_before_the_clock_has_run() -> None:
    hear(
        event("opted_in", 0),
        event("sent", 29, mailing="m"),
        event("deferred", 29, mailing="m", detail={"category": "mailbox_full"}),
    )
    assert ask().status == "opted_in"
    [later] = check([address()], "broadcast", None, NOW + 10 * DAY)
    assert later.status == "soft_bouncing"


def test_answers_come_in_the_order_asked() -> None:
    hear(event("opted_in", 0, "bob"))
    asked = [address("zoe"), address("bob"), normalise("sms", "+491711234567"), address("zoe")]
    answers = list(check(asked, "broadcast", None, NOW))
    assert [answer.address for answer in answers] == [each.value for each in asked]
    assert [answer.channel for answer in answers] == ["email", "email", "sms", "email"]
    assert [answer.allowed for answer in answers] == [False, True, False, False]


def test_as_of_now_is_what_is_stored() -> None:
    """Folding the events anew and reading the rows give the same answers."""
    chance = random.Random(3)
    kinds = ["opted_in", "opted_out", "complained", "sent", "delivered", "opened", "clicked"]
    kinds += ["admin_opted_in", "locked", "imported", "deferred", "blocked", "unblocked"]
    names = [f"p{n}" for n in range(60)]
    for name in names:
        events = []
        for n in range(chance.randint(1, 9)):
            mailing = chance.choice([None, "one", "two", "three"])
            topic = chance.choice([None, None, "news"])
            said = {"mailing": mailing, "topic": topic, "key": str(n)}
            day = chance.randint(0, 20)
            if chance.random() < 0.3:
                category = chance.choice(["mailbox_unknown", "mailbox_full", "reputation"])
                events.append(bounce(category, day, name, **said))
            else:
                events.append(event(chance.choice(kinds), day, name, **said))
        hear(*events)
    for purpose in PURPOSES:
        for topic in (None, "news"):
            asked = [address(name) for name in names]
            now = list(check(asked, purpose, topic, NOW))
            assert list(check(asked, purpose, topic, NOW, at=NOW)) == now
    assert len({answer.status for answer in now}) > 5
