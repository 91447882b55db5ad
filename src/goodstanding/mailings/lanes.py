"""Lanes: ways out, each with its own limits, return path and reporting."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec
from django.conf import settings

from goodstanding.core.policies import Policy
from goodstanding.gateways.smtp import SmtpSettings
from goodstanding.mailings.pacing import Limits

DEFAULT: Final = "default"
"""Among a lane's limits: those towards every provider that has none of its own."""

OTHERS: Final = "others"
"""The name that all domains go by that are too small to be a provider of their own."""


class Lane(SmtpSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A gateway with its own limits, return path and reporting."""

    direct: bool = False
    """Its sessions are with the recipients' own servers: what they accept is delivered."""
    bounce_domain: str | None = None
    """Where its failures are reported to; the setting ``bounce_domain`` where left out."""
    confirmed: str | None = None
    """The better lane, by which mail to confirmed addresses goes instead."""
    limits: dict[str, Limits] = {}  # noqa: RUF012 - msgspec copies it
    """Towards each provider, by its name; those towards the others as ``default``."""

    @property
    def width(self) -> int:
        """How many mails may be in flight at once."""
        return self.connections * len({None, *self.routes.values()})

    @property
    def reports(self) -> bool:
        """Whether silence after sending means something: word of deliveries comes back."""
        return self.direct or self.reports_deliveries

    def towards(self, provider: str) -> Limits:
        """What holds towards a provider."""
        if provider in self.limits:
            return self.limits[provider]
        if DEFAULT in self.limits:
            limits = self.limits[DEFAULT]
        else:
            # One that is slow must not keep all of a relay's connections.
            share = self.connections if self.routes else self.connections * 3 // 4
            limits = Limits(
                connections=max(1, share), mails_per_connection=self.mails_per_connection
            )
        # What one small domain says is not true of all the others.
        return msgspec.structs.replace(limits, at_once=False) if provider == OTHERS else limits


def every() -> Mapping[str, Lane]:
    """The lanes that are set, by name; where none is, a relay on this machine."""
    return settings.OPTIONS.lanes or {"main": Lane()}


def better(name: str, policy: Policy) -> str:
    """By which lane a mailing of the lane ``name`` goes to confirmed addresses."""
    if not policy.lanes.confirmed_by_better:
        return name
    lane = every().get(name)
    return (lane.confirmed if lane is not None else None) or name
