"""What is counted of messages, as the policy counts it."""

from typing import Any

import msgspec
import pytest
from django.conf import settings

from goodstanding.answers import progress, reports
from goodstanding.answers.whatif import whatif
from goodstanding.answers.why import why
from goodstanding.core import policy_files
from goodstanding.ledger import clock
from goodstanding.ledger.models import Mailing
from goodstanding.ledger.rebuilding import rebuild
from tests.answers.heard import DAY, NOW, START, address, event, hear

pytestmark = pytest.mark.django_db(transaction=True)

PEOPLES = ("default", "creatio")
ANYBODYS = ("infusionsoft", "keap", "emma", "engage")


@pytest.fixture
def policy(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Lets the settings name another policy."""

    def use(name: str) -> None:
        options = msgspec.structs.replace(settings.OPTIONS, policy=name)
        monkeypatch.setattr(settings, "OPTIONS", options)

    return use


def opened() -> None:
    """Ann opened it herself twice; machines opened hers three times and Bob's once."""
    for name in ("ann", "bob"):
        hear(
            event("opted_in", 0, name),
            event("sent", 1, name, mailing="spring"),
            event("delivered", 1.1, name, mailing="spring"),
        )
    hear(*(event("opened", 2 + day, "ann", mailing="spring") for day in range(2)))
    hear(*(event("machine_opened", 2.5 + day, "ann", mailing="spring") for day in range(3)))
    hear(event("machine_opened", 2, "bob", mailing="spring"))
    hear(event("machine_opened", 2, "bob", mailing="spring"))  # heard twice


def opens(**how: Any) -> list[int]:
    """Of the mailing; of Ann's message, and of Bob's."""
    of_messages = [
        message.opens
        for said in why([address("ann"), address("bob")], NOW, **how)
        for message in said.deliveries
    ]
    return [reports.mailing("spring", NOW, **how).opens, *of_messages]


@pytest.mark.parametrize(
    ("names", "expected"), [(PEOPLES, [2, 2, 0]), (ANYBODYS, [6, 5, 1])], ids=["people", "anybody"]
)
def test_machines_opens_count_where_they_are_opens(
    names: tuple[str, ...], expected: list[int], policy: Any
) -> None:
    opened()
    for name in names:
        asked = policy_files.load(name)
        assert opens(policy=asked) == expected
        assert opens(policy=asked, at=NOW) == expected
        policy(name)
        assert opens() == opens(at=NOW) == expected, "no row has been folded by it yet"
        assert progress.of(Mailing.objects.get().pk, NOW).counts["opens"] == expected[0]
        assert rebuild(NOW, verify=True) == []
        clock.renew(NOW)
        assert opens() == expected
        assert rebuild(NOW, verify=True) == []


def test_as_of_a_time_those_by_then_count() -> None:
    opened()
    engage = policy_files.load("engage")
    assert opens(policy=engage, at=START + 3 * DAY) == [4, 3, 1]
    assert opens(at=START + 3 * DAY) == [2, 2, 0]


def test_a_count_of_opens_is_no_response_and_no_recipient() -> None:
    opened()
    report = reports.mailing("spring", NOW, policy_files.load("engage"))
    assert report == reports.mailing("spring", NOW, policy_files.load("keap"))
    assert (report.scheduled, report.responses) == (2, {"opened": 2})
    now = reports.mailing("spring", NOW)
    assert (now.scheduled, now.responses) == (2, {"opened": 1, "machine_opened": 1})
    far = progress.of(Mailing.objects.get().pk, NOW)
    assert (far.scheduled, far.responses) == (2, now.responses)


def test_trying_a_policy_leaves_the_counts_as_they_are() -> None:
    opened()
    before = opens()
    whatif(policy_files.load("engage"), NOW)
    assert opens() == before
    assert rebuild(NOW, verify=True) == []
