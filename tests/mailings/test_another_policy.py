"""The policy was changed, and no worker has folded anybody by it: the stricter of the two stands.

Of each pair of policies one would let mail go, the old or the new: whoever asked that one alone
would send.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from django.conf import settings

from goodstanding.answers.checking import Checked, check
from goodstanding.core import policy_files
from goodstanding.core.events import SECOND
from goodstanding.ledger import clock, rebuilding
from goodstanding.ledger.models import Address
from goodstanding.mailings import contents, singles
from goodstanding.mailings.contents import Draft
from goodstanding.mailings.models import Worker
from tests.mailings.audience import (
    DAY,
    NOW,
    address,
    claimed,
    people,
    planned,
    response,
    told,
)

pytestmark = pytest.mark.django_db(transaction=True)

STRICT, LENIENT = "default", "lenient.toml"
CHANGES = pytest.mark.parametrize(
    ("old", "new"), [(STRICT, LENIENT), (LENIENT, STRICT)], ids=["old refuses", "new refuses"]
)
Use = Callable[[str], None]


@pytest.fixture
def use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Use:
    """Lets the settings name a policy; by the lenient one it takes three hard bounces."""
    file = tmp_path / LENIENT
    file.write_text('base = "default"\n[hard]\nmailings = 3\nmailings_when_engaged = 3\n')

    def naming(name: str) -> None:
        policy = name if name == STRICT else str(file)
        options = msgspec.structs.replace(settings.OPTIONS, policy=policy)
        monkeypatch.setattr(settings, "OPTIONS", options)

    return naming


def bounced(name: str, at: int = NOW - DAY) -> None:
    told("bounced", name, at, source="dsn", mailing="old", detail={"category": "mailbox_unknown"})


def ask(purpose: str, name: str = "p0") -> Checked:
    [answer] = check([address(name)], purpose, None, NOW)
    return answer


def nobody_was_folded() -> bool:
    revision = policy_files.load(settings.OPTIONS.policy).revision
    return not Address.objects.filter(policy=revision).exists()


@CHANGES
@pytest.mark.parametrize("purpose", ["broadcast", "transactional"])
def test_check_refuses_what_either_refuses(use: Use, old: str, new: str, purpose: str) -> None:
    use(old)
    people(2)
    bounced("p0")
    use(new)
    assert nobody_was_folded()
    assert ask(purpose).reason == "hard_bounced"
    assert ask(purpose, "p1").allowed
    assert ("policy that was in force before" in ask(purpose).why) is (new == LENIENT)
    [tried] = check([address("p0")], purpose, None, NOW, policy_files.load(settings.OPTIONS.policy))
    assert tried.allowed is (new == LENIENT), "a policy that is named answers alone"
    assert nobody_was_folded(), "asking folds nobody"
    assert clock.renew(NOW) is not None
    assert ask(purpose).allowed is (new == LENIENT), "folded, it is the new one that counts"


def test_on_a_topic_what_stood_for_the_topic_counts(use: Use) -> None:
    use(STRICT)
    people(2)
    for name in ("p0", "p1"):
        told("opted_out", name, NOW - 3 * DAY, source="link")
        told("opted_in", name, NOW - 2 * DAY, topic="offers")
    bounced("p0")
    use(LENIENT)
    asked = list(check([address("p0"), address("p1")], "broadcast", "offers", NOW))
    assert [answer.reason for answer in asked] == ["hard_bounced", None]
    made = planned(topic="offers")
    assert [response(made, "p0"), response(made, "p1")] == ["skipped:hard_bounced", "planned"]


@CHANGES
def test_a_broadcast_skips_whom_either_refuses(use: Use, old: str, new: str) -> None:
    use(old)
    people(2)
    bounced("p0")
    use(new)
    assert nobody_was_folded()
    made = planned()
    assert response(made, "p0") == "skipped:hard_bounced"
    assert response(made, "p1") == "planned"
    clock.renew(NOW)
    assert rebuilding.rebuild(NOW, verify=True) == []
    assert response(planned("again"), "p0") == (
        "planned" if new == LENIENT else "skipped:hard_bounced"
    )


@CHANGES
def test_what_was_planned_is_not_claimed_where_either_refuses(use: Use, old: str, new: str) -> None:
    me = Worker.objects.create(started_at=NOW, host="here", process=1).pk
    use(old)
    people(2)
    made = planned()
    bounced("p0", NOW)
    use(new)
    assert nobody_was_folded()
    assert [claim.address for claim in claimed(me, 9, NOW + SECOND)] == [address("p1")]
    assert response(made, "p0") == "skipped:hard_bounced"


@CHANGES
def test_a_single_message_is_refused_where_either_does(use: Use, old: str, new: str) -> None:
    use(old)
    people(2)
    bounced("p0")
    contents.create(
        Draft(name="receipt", subject="Your order", text="Thank you.", purpose="transactional"), NOW
    )
    use(new)
    assert nobody_was_folded()
    assert singles.send("receipt", address("p0"), "k0", {}, NOW).refused == "hard_bounced"
    assert singles.send("receipt", address("p1"), "k1", {}, NOW).refused is None
