"""Categories of bounce: whose fault, and what it does to the address."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from goodstanding.core import data

Fault = Literal["address", "domain", "server", "sender", "content", "none"]
Disposition = Literal["hard", "soft", "block", "none"]


class Category(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One reason for which a message comes back."""

    fault: Fault
    disposition: Disposition
    channel: Literal["email", "sms"] | None = None


CATEGORIES: Final[dict[str, Category]] = data.load("categories.toml", dict[str, Category])
