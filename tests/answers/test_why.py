"""Why: everything that was heard, what it came to, and the words for it."""

from typing import Any

import msgspec
import pytest

from goodstanding.answers.why import Reasons, why
from goodstanding.core import vocabularies
from goodstanding.core.annulments import Predicate
from goodstanding.ledger import annulling
from tests.answers.heard import DAY, NOW, START, address, bounce, event, hear

pytestmark = pytest.mark.django_db(transaction=True)

TEXT = "550 5.1.1 <ann@example.com> user unknown"
READ = {
    "text": TEXT,
    "category": "mailbox_unknown",
    "disposition": "hard",
    "rule": "user-unknown",
    "words": "user unknown",
}


def ask(name: str = "ann", **how: Any) -> Reasons:
    [reasons] = why([address(name)], NOW, **how)
    return reasons


def test_why_of_a_hard_bounce() -> None:
    hear(
        event("opted_in", 0, key="in", detail={"how": "phone"}),
        event("sent", 1, mailing="spring", key="out"),
        event("bounced", 1.5, mailing="spring", key="back", source="dsn", detail=READ),
    )
    reasons = ask()
    plain = msgspec.to_builtins(reasons)
    assert list(plain) == [
        *("address", "channel", "status", "family", "names", "explanation"),
        *("registers", "events", "deliveries"),
    ]
    assert (reasons.status, reasons.family) == ("hard_bounced", "ugly")
    assert reasons.names.keys() == vocabularies.load().keys()
    assert reasons.names["keap"] == "Hard Bounce"
    assert reasons.names["emma"] == ["Error (delivery)", "has not confirmed opt in"]
    for told in (
        "since 2026-02-17 12:00 UTC",
        "came back for good",
        "the mailing “spring”",
        TEXT,
        "The rule user-unknown reads the words “user unknown” as mailbox_unknown",
        "the fault is the address's",
        "By the policy default an address is stopped when 1 of its mailings",
        "As to consent alone it would be “Opted in”",
    ):
        assert told in reasons.explanation
    assert [heard["kind"] for heard in plain["events"]] == ["opted_in", "sent", "bounced"]
    assert plain["events"][2] == {
        "kind": "bounced",
        "occurred_at": "2026-02-17T12:00:00Z",
        "recorded_at": "2026-03-18T00:00:00Z",
        "source": "dsn",
        "key": "back",
        "mailing": "spring",
        "recipient": "",
        "topic": None,
        "detail": READ,
        "annulled": False,
        "reread": None,
        "held": None,
    }
    [delivery] = plain["deliveries"]
    assert delivery["mailing"] == "spring"
    assert delivery["response"] == "hard_bounced"
    assert (delivery["opens"], delivery["clicks"]) == (0, 0)
    assert delivery["names"]["creatio"] == "Hard Bounce"
    assert delivery["names"].keys() == vocabularies.load().keys()
    assert delivery["sent_at"] == "2026-02-17T00:00:00Z"
    assert reasons.registers["person"]["opted_in"] == {
        "at": "2026-02-16T00:00:00Z",
        "what": "phone",
        "key": "in",
    }


def test_why_of_an_address_never_heard_of() -> None:
    reasons = ask("nobody")
    assert reasons.status == "non_marketable"
    assert "nothing was ever heard of this address" in reasons.explanation
    assert reasons.events == []
    assert reasons.deliveries == []


def test_why_as_of_a_time() -> None:
    hear(
        event("opted_in", 0),
        event("sent", 1, mailing="spring"),
        event("opened", 2, mailing="spring"),
        event("opened", 4, mailing="spring"),
        event("opted_out", 5, mailing="spring"),
    )
    then = ask(at=START + 3 * DAY)
    assert then.status == "opted_in"
    assert [heard.kind for heard in then.events] == ["opted_in", "sent", "opened"]
    assert [(d.response, d.opens) for d in then.deliveries] == [("opened", 1)]
    now = ask()
    assert now.status == "opted_out"
    assert [(d.response, d.opens) for d in now.deliveries] == [("unsubscribed", 2)]
    assert "It was about the mailing “spring”" in now.explanation


def test_why_tells_what_a_streak_is_made_of_and_what_the_policy_makes_of_it() -> None:
    hear(event("opted_in", 0))
    for n in range(2):
        hear(
            event("sent", 1 + n, mailing=f"m{n}"),
            bounce("mailbox_full", 2 + n, mailing=f"m{n}"),
        )
    told = ask().explanation
    assert "2 in a row" in told
    assert "The mailing “m0” of 2026-02-17 00:00 UTC: Soft bounce (mailbox_full)." in told
    assert "it would be stopped after 5 such mailings in a row over at least 14 days" in told


def test_why_tells_of_an_operators_opt_in_that_has_no_effect() -> None:
    hear(event("opted_in", 0), event("opted_out", 1), event("admin_opted_in", 2))
    reasons = ask()
    assert reasons.status == "opted_out"
    assert "An operator's opt-in on 2026-02-18 00:00 UTC has no effect" in reasons.explanation
    hear(event("locked", 1, "bob"), event("admin_opted_in", 2, "bob"))
    assert "has no effect: the address was locked" in ask("bob").explanation


def test_why_tells_who_did_it_and_what_reason_they_gave() -> None:
    hear(event("blocked", 1, source="operator", detail={"reason": "left the firm", "by": "eve"}))
    told = ask().explanation
    assert "an operator blocked the address on 2026-02-17" in told
    assert "reason “left the firm”" in told
    assert "by “eve”" in told


def test_every_standing_can_be_explained() -> None:
    """No sentence is missing its words, whatever an address has come to."""
    histories: dict[str, list[Any]] = {
        status: [event(kind, 1, status)]
        for status, kind in {
            "complained": "complained",
            "spam_reported": "spam_reported",
            "opted_out_with_feedback": "opted_out_with_feedback",
            "list_unsubscribed": "list_unsubscribed",
            "opted_out": "opted_out",
            "opted_out_by_admin": "admin_opted_out",
            "invalid": "found_invalid",
            "blocked": "blocked",
            "locked": "locked",
            "non_marketable": "sent",
            "confirmed": "confirmed",
            "opted_in": "opted_in",
        }.items()
    }
    histories["confirmed_custom"] = [
        event("confirmed", 1, "confirmed_custom", detail={"method": "custom"})
    ]
    histories["hard_bounced"] = [bounce("domain_unknown", 1, "hard_bounced")]
    histories["soft_bouncing"] = [
        event("opted_in", 0, "soft_bouncing"),
        bounce("mailbox_full", 1, "soft_bouncing"),
    ]
    histories["soft_stopped"] = [
        bounce("mailbox_full", 1 + 5 * n, "soft_stopped", mailing=f"s{n}") for n in range(5)
    ]
    for status, days in (("unengaged", 130), ("unengaged_blocked", 370)):
        histories[status] = [event("opted_in", -days, status)] + [
            heard
            for n in range(4)
            for heard in (
                event("sent", 1 - days + n, status, mailing=f"u{n}"),
                event("delivered", 1 - days + n, status, mailing=f"u{n}"),
            )
        ]
    for name, heard in histories.items():
        hear(*heard)
        reasons = ask(name)
        assert reasons.status == name
        assert "{" not in reasons.explanation
        assert "That is because" in reasons.explanation
        assert "an unknown day" not in reasons.explanation


def test_what_was_annulled_is_told_and_counts_for_nothing() -> None:
    hear(
        event("opted_in", 0, key="in"),
        event("sent", 1, mailing="spring", key="out"),
        event("bounced", 1.5, mailing="spring", key="back", source="dsn", detail=READ),
    )
    before = ask(at=START + 3 * DAY)
    assert before.status == "hard_bounced"
    outage = Predicate(START + DAY, START + 2 * DAY, domain="example.com")
    annulling.apply(annulling.annul(outage, why="an outage", by="ann", now=START + 4 * DAY), NOW)
    after = ask()
    assert after.status == "opted_in"
    assert [each.annulled for each in after.events] == [False, False, True]
    assert "annulled, and count for nothing: 1." in after.explanation
    assert "returned for good" not in after.explanation
    assert ask(at=START + 3 * DAY).status == "hard_bounced", "nobody had annulled it by then"
    assert ask(at=START + 5 * DAY).status == "opted_in"
