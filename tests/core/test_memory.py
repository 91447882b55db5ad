"""What a delivery remembers (design, section 3)."""

from __future__ import annotations

from goodstanding.core import memory
from goodstanding.core.events import KINDS
from goodstanding.core.memory import Memory
from tests.core.telling import at, bounced, event, sent, tell

M = "spring"


def remembered(*events: object) -> Memory:
    [only] = tell(*events).deliveries.values()  # type: ignore[arg-type]
    return only.memory


def test_it_keeps_when_each_thing_first_and_last_happened() -> None:
    whole = remembered(*(event("opened", days, M, key=str(days)) for days in (3, 1, 2)))
    assert (whole.first("opened"), whole.last("opened")) == (at(1), at(3))
    assert (whole.first("clicked"), whole.last("clicked")) == (None, None)


def test_soft_block_and_hard_bounces_are_kept_apart() -> None:
    whole = remembered(
        bounced(1, M, "mailbox_full"), bounced(2, M, "reputation"), bounced(3, M, "mailbox_unknown")
    )
    assert whole.first("soft_bounced") == at(1)
    assert whole.first("block_bounced") == at(2)
    assert whole.first("hard_bounced") == at(3)


def test_the_hard_category_is_of_the_first_the_deferrals_of_the_last() -> None:
    whole = remembered(
        bounced(2, M, "domain_unknown"),
        bounced(1, M, "mailbox_moved"),
        event("deferred", 4, M, category="greylisted"),
        event("deferred", 3, M, category="rate_limited"),
    )
    assert whole.hard_category == "mailbox_moved"
    assert whole.deferred_category == "greylisted"
    assert whole.category == "greylisted"


def test_of_two_reasons_at_one_instant_the_lesser_name_is_kept() -> None:
    for order in (("duplicate", "control_group"), ("control_group", "duplicate")):
        whole = remembered(*(event("skipped", 1, M, reason=reason) for reason in order))
        assert whole.skip_reason == "control_group"


def test_it_was_sent_when_that_was_said_else_at_the_first_sign_of_it() -> None:
    assert remembered(event("planned", 0, M)).sent_at is None
    assert remembered(event("failed", 2, M), event("deferred", 1, M)).sent_at == at(1)
    assert remembered(event("opened", 5, M), event("delivered", 4, M)).sent_at == at(4)
    assert remembered(event("deferred", 1, M), sent(2, M)).sent_at == at(2)


def test_from_when_to_when_it_was_tried_only_ever_widens() -> None:
    one = remembered(event("delivered", 5, M), event("deferred", 3, M))
    more = remembered(event("delivered", 5, M), event("deferred", 3, M), sent(4, M), sent(2, M))
    assert (one.tried_from, one.tried_until) == (at(3), at(3))
    assert (more.tried_from, more.tried_until) == (at(2), at(4))


def test_every_kind_about_a_delivery_is_remembered() -> None:
    for kind, about in KINDS.items():
        if about.about == "delivery":
            assert memory.of_event(kind, 1, {}) is not None, kind


def test_what_says_nothing_new_leaves_the_same_memory() -> None:
    one = memory.remember(Memory(), "opened", 5, {})
    assert memory.remember(one, "opened", 5, {}) is one
    assert memory.remember(one, "opted_in", 5, {}) is one
    assert memory.remember(one, "opened", 6, {}) is not one


def test_odd_details_do_no_harm() -> None:
    odd: list[object] = [None, 5, [], {"a": 1}, "x" * 1000, "\0"]
    for said in odd:
        for kind in KINDS:
            alone = memory.of_event(
                kind, 1, {"category": said, "disposition": said, "reason": said, "reports": said}
            )
            assert alone is None or len(alone.stop_reason or "") <= 100
            assert alone is None or "\0" not in (alone.stop_reason or "")
