"""What the tests of the console send: a broadcast whose every step can be taken on its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from goodstanding.core.events import SECOND, Event
from goodstanding.mailings import checking, contents, liveness, outbox, planning
from goodstanding.mailings.contents import Draft
from goodstanding.mailings.outbox import Claim, Outcome, Share


@dataclass
class Broadcast:
    """A mailing by its id, and the time (µs) of the next thing that happens to it."""

    mailing: int
    now: int

    @classmethod
    def of(cls, name: str, now: int, *, planned: bool = True) -> Broadcast:
        text = "Hello\n{{ unsubscribe_url }}\n{{ postal_address }}\n"
        mailing = contents.create(Draft(name=name, subject="News", text=text), now)
        if planned:
            assert planning.plan(mailing, now)
            assert checking.check(mailing, now)
        return cls(mailing, now + SECOND)

    def send(self, *told: str) -> None:
        """Send as many as there are words: ``sent``, ``deferred`` or the kind of a failure."""
        lifeline = liveness.Lifeline(self.now)
        [lot] = [lot for lot in outbox.open_lots(self.now) if lot.mailing == self.mailing]
        claims = outbox.claim(lifeline.worker, [Share(lot, len(told))], self.now)
        outcomes = [self._outcome(*pair) for pair in zip(claims, told, strict=True)]
        outbox.commit(claims, [], self.now)
        outbox.settle(outcomes, self.now)
        lifeline.let_go()
        self.now += SECOND

    def _outcome(self, claim: Claim, told: str) -> Outcome:
        detail: dict[str, Any] = {}
        if told == "sent":
            detail = {"reports": False}
        if told == "bounced":
            detail = {"text": "550 5.1.1 no such user", "category": "mailbox_unknown"}
        if told == "deferred":
            detail = {"text": "450 4.2.0 greylisted", "category": "greylisted"}
        event = Event(
            told,
            self.now,
            claim.address,
            "smtp",
            key=f"{told}:{claim.delivery}",
            delivery=claim.delivery,
            detail=detail,
        )
        return Outcome(claim, (event,), self.now + SECOND if told == "deferred" else None)
