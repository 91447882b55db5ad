"""Reads bounce mail, feedback reports, auto-replies and SMTP replies. Usable alone, without Django.

The way of a mail: ``guard`` bounds and normalises the bytes, ``mime`` makes the tree of its parts,
``delivery_status``, ``feedback`` and ``prose`` find who it is about and what was said, and
``classify`` decides by rules that are data.
Nothing here raises on any input, and time and memory stay bounded.
"""

from goodstanding.bounces.mail import read, read_again, read_mail
from goodstanding.bounces.report import Kind, Reading, Report
from goodstanding.bounces.rulebook import version as _version
from goodstanding.bounces.session import read_reply

RULES_VERSION: str = _version()

__all__ = [
    "RULES_VERSION",
    "Kind",
    "Reading",
    "Report",
    "read",
    "read_again",
    "read_mail",
    "read_reply",
]
