"""How the report of a failure reads, as the detail of its event keeps it."""

from __future__ import annotations

from typing import Any, Final

from goodstanding import bounces
from goodstanding.bounces import Report

READING: Final = frozenset({"category", "disposition", "rule", "rules", "words", "provider"})
"""What a reading adds to what was said: another reading of the same words is no contradiction."""


def reading_of(report: Report) -> dict[str, Any]:
    """The reading of a report, with the revision of the rules that gave it.

    What no rule tells is soft: an address stays good until something says otherwise.
    """
    reading = {
        "category": report.category or "undetermined",
        "disposition": report.disposition or "soft",
        "rule": report.rule,
        "rules": bounces.RULES_VERSION,
        "words": report.words,
        "provider": report.provider,
        "code": report.code,
        "status": report.status,
    }
    return {name: value for name, value in reading.items() if value is not None}
