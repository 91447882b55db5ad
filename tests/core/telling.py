"""A short way to tell a history: ``tell(sent(0, "spring"), bounced(1, "spring", "mailbox_full"))``.

Times are in days after the start.
"""

from __future__ import annotations

from typing import Any

from goodstanding.core import policy_files
from goodstanding.core.addresses import Address
from goodstanding.core.events import Event
from goodstanding.core.history import History, fold
from goodstanding.core.policies import Policy
from goodstanding.core.responses import Response
from goodstanding.core.standings import Standing

DAY = 86_400_000_000
HOUR = DAY // 24
START = 1_700_000_000_000_000
LONG_AFTER = 100.0
DEFAULT = policy_files.load("default")
EMAIL = Address("email", "ana@example.com")
SMS = Address("sms", "+34600000001")


def at(days: float) -> int:
    return START + round(days * DAY)


def event(kind: str, days: float, mailing: str | None = None, **said: Any) -> Event:
    """An event; what is no field of it goes into its detail."""
    fields = {
        name: said.pop(name)
        for name in ("key", "recipient", "purpose", "topic", "source", "address")
        if name in said
    }
    return Event(
        kind,
        at(days),
        **{"address": EMAIL, "source": "api", "mailing": mailing, "detail": said, **fields},
    )


def sent(days: float, mailing: str, **said: Any) -> Event:
    return event("sent", days, mailing, **said)


def bounced(days: float, mailing: str | None, category: str, **said: Any) -> Event:
    return event("bounced", days, mailing, category=category, **said)


def tell(*events: Event, channel: str = "email") -> History:
    return fold(channel, events)


def standing(
    *events: Event, now: float = LONG_AFTER, channel: str = "email", policy: Policy = DEFAULT
) -> Standing:
    return tell(*events, channel=channel).standing(policy, at(now))


def status(*events: Event, now: float = LONG_AFTER, policy: Policy = DEFAULT) -> str:
    return standing(*events, now=now, policy=policy).status


def response(
    *events: Event, now: float = LONG_AFTER, channel: str = "email", policy: Policy = DEFAULT
) -> Response:
    """What became of the only delivery that the events tell of."""
    [only] = standing(*events, now=now, channel=channel, policy=policy).responses
    return only


def became(*events: Event, now: float = LONG_AFTER, channel: str = "email") -> str:
    return response(*events, now=now, channel=channel).name
