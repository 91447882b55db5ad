"""Reads bounce mail, feedback reports, auto-replies and SMTP replies. Usable alone, without Django.

The way of a mail: ``guard`` bounds and normalises the bytes, ``mime`` makes the tree of its parts,
``delivery_status``, ``feedback`` and ``prose`` find who it is about and what was said, and
``classify`` decides by rules that are data.
Nothing here raises on any input, and time and memory stay bounded.
"""

from goodstanding.bounces.mail import read, read_again, read_mail
from goodstanding.bounces.own import BadRules, use_rules
from goodstanding.bounces.report import Kind, Other, Reading, Report
from goodstanding.bounces.rulebook import version as rules_version
from goodstanding.bounces.session import read_reply

__all__ = [
    "BadRules",
    "Kind",
    "Other",
    "Reading",
    "Report",
    "read",
    "read_again",
    "read_mail",
    "read_reply",
    "rules_version",
    "use_rules",
]
