"""When in the session something was said, as a reporter tells."""

from __future__ import annotations

import re
from typing import Final

_AFTER_DATA: Final = ("in reply to end of data", "after end of data")
# What was refused before a recipient was named, and whose fault that is.
_BEFORE_RECIPIENT: Final = {
    "in reply to mail from": "sender_refused",
    "after mail from:": "sender_refused",
    "after pipelined mail from:": "sender_refused",
    "but sender was rejected": "sender_refused",
    "in reply to helo": "policy_refused",
    "in reply to ehlo": "policy_refused",
    "after helo": "policy_refused",
    "after ehlo": "policy_refused",
    "after initial connection": "policy_refused",
    "but my name was rejected": "policy_refused",
    "but greeting failed": "policy_refused",
    "refused to talk to me": "policy_refused",
}
# One of these stands in each of those phrases, or before it: qmail "connected to HOST but …".
_IN_PHASES: Final = ("after", "reply", "connected", "refused")
_NEAR: Final = 100  # of their places are looked at
# Bounded: a line may hold nothing but such commands.
_TO_MAIL: Final = re.compile(r">>> mail from[^\n]{0,500}\n<<< 5")
_TO_RCPT: Final = re.compile(r">>> rcpt to[^\n]{0,500}\n<<< [45]")

Phases = tuple[str | None, bool]
"""The category of what was refused before a recipient was named, and whether data had ended."""


def phases(text: str) -> Phases:
    """What ``text`` says of when it was said.

    The category of what was refused before a recipient was named, None for what came later, and
    whether it came after the end of data. Phrases run over the ends of lines.
    """
    low = text.lower()
    if flat := _near(low):
        for phase, category in _BEFORE_RECIPIENT.items():
            if phase in flat:
                return category, False
        if any(phase in flat for phase in _AFTER_DATA):
            return None, True
    if ">>> mail from" in low and _TO_MAIL.search(low) and not _TO_RCPT.search(low):
        return "sender_refused", False
    return None, False


def _near(low: str) -> str:
    """What stands near a word that every phrase of a phase has, a line each; no blank twice."""
    found: list[str] = []
    for word in _IN_PHASES:
        at = low.find(word)
        while at >= 0 and len(found) < _NEAR:
            found.append(" ".join(low[max(0, at - 20) : at + 150].split()))
            at = low.find(word, at + 1)
    return "\n".join(found)
