"""How many stand where, and what became of a mailing."""

from typing import Any

import msgspec
import pytest

from goodstanding.answers import reports
from goodstanding.answers.reports import choose_vocabulary, statuses
from goodstanding.core import policy_files
from tests.answers.heard import DAY, NOW, START, bounce, event, hear

pytestmark = pytest.mark.django_db(transaction=True)


def counted(vocabulary: str = "goodstanding", lang: str | None = None, **how: Any) -> list[Any]:
    lines = statuses(choose_vocabulary(vocabulary, lang), how.pop("now", NOW), **how)
    return [(line.status, line.name, line.family, line.channel, line.count) for line in lines]


def a_spring() -> None:
    """A mailing to six, of whom one was skipped."""
    for name in ("ann", "bob", "cai", "dee", "eve", "fay"):
        hear(event("opted_in", 0, name))
        if name != "fay":
            hear(event("sent", 1, name, mailing="spring"))
    hear(
        event("skipped", 1, "fay", mailing="spring", detail={"reason": "duplicate"}),
        event("delivered", 1.1, "ann", mailing="spring"),
        event("opened", 2, "ann", mailing="spring"),
        event("opened", 3, "ann", mailing="spring"),
        event("clicked", 4, "ann", mailing="spring"),
        bounce("domain_unknown", 1.2, "bob", mailing="spring"),
        event("complained", 2, "cai", mailing="spring"),
        event("opted_out", 2.5, "dee", mailing="spring"),
        event("delivered", 5, "eve", mailing="spring"),
    )


def test_statuses_in_our_words() -> None:
    a_spring()
    assert counted() == [
        ("complained", "Complained", "ugly", "email", 1),
        ("opted_out", "Opted out", "bad", "email", 1),
        ("hard_bounced", "Hard bounced", "ugly", "email", 1),
        ("opted_in", "Opted in", "good", "email", 3),
    ]


def test_statuses_in_other_words() -> None:
    a_spring()
    hear(bounce("mailbox_unknown", 2, "gus"), event("confirmed", -40, "gus"))
    keap = counted("keap", "es")
    assert ("hard_bounced", "Hard Bounce", "ugly", "email", 1) in keap
    assert ("hard_bounced", "Invalid Email", "ugly", "email", 1) in keap
    emma = counted("emma")
    assert ("hard_bounced", ["Error (delivery)", "confirmed opt-in"], "ugly", "email", 1) in emma
    with pytest.raises(LookupError, match="no vocabulary 'klingon'"):
        choose_vocabulary("klingon", None)
    with pytest.raises(LookupError, match="in the language 'fr'"):
        choose_vocabulary("keap", "fr")
    assert choose_vocabulary("keap", "en").title == "Keap"


def test_statuses_as_of_a_time_and_under_another_policy(tmp_path: Any) -> None:
    a_spring()
    assert counted(at=START - 1) == []
    assert counted(at=START + DAY) == [("opted_in", "Opted in", "good", "email", 6)]
    assert counted(at=NOW) == counted()
    lenient = tmp_path / "lenient.toml"
    lenient.write_text('base = "default"\n[hard]\nmailings = 3\n')
    named = {line[0]: line[4] for line in counted(policy=policy_files.load(str(lenient)))}
    assert named == {"complained": 1, "opted_out": 1, "opted_in": 4}


def test_what_time_changed_is_counted_before_the_clock_has_run() -> None:
    a_spring()
    hear(
        event("sent", 29, "ann", mailing="summer"),
        event("deferred", 29.1, "ann", mailing="summer", detail={"category": "mailbox_full"}),
    )
    assert reports.mailing("summer", NOW).responses == {"deferred": 1}
    later = NOW + 10 * DAY
    assert ("soft_bouncing", "Soft bouncing", "bad", "email", 1) in counted(now=later)
    assert reports.mailing("summer", later).responses == {"expired": 1}


def test_a_mailing() -> None:
    a_spring()
    assert msgspec.to_builtins(reports.mailing("spring", NOW)) == {
        "mailing": "spring",
        "state": "completed",
        "started_at": "2026-02-17T00:00:00Z",
        "ended_at": "2026-02-17T00:00:00Z",
        "scheduled": 6,
        "skipped": {"duplicate": 1},
        "sent": 5,
        "responses": {
            "clicked": 1,
            "complained": 1,
            "delivered": 1,
            "hard_bounced": 1,
            "unsubscribed": 1,
        },
        "opens": 2,
        "clicks": 1,
        "unsubscribes": 1,
        "complaints": 1,
    }
    assert reports.categories("spring") == [("domain_unknown", 1)]
    assert reports.mailing("spring", NOW, at=NOW) == reports.mailing("spring", NOW)
    then = reports.mailing("spring", NOW, at=START + 2 * DAY)
    assert then.responses == {"opened": 1, "hard_bounced": 1, "complained": 1, "sent": 2}
    assert (then.opens, then.clicks, then.unsubscribes, then.complaints) == (1, 0, 0, 1)


def test_a_mailing_nobody_heard_of() -> None:
    with pytest.raises(reports.NoSuchMailing, match="no mailing 'autumn'"):
        reports.mailing("autumn", NOW)
