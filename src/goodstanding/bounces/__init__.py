"""Reads bounce mail, feedback reports, auto-replies and SMTP replies. Usable alone, without Django.

The way of a mail: ``guard`` bounds and normalises the bytes, ``mime`` makes the tree of its parts,
``delivery_status``, ``feedback`` and ``prose`` find who it is about and what was said, ``quoting``
tells what a server answered from the words of who quotes it, and ``classify`` decides by rules that
are data. No mail makes any of that raise, and time and memory stay bounded. ``taxonomies`` says
the categories in other systems' words.
"""

from goodstanding.bounces.mail import read, read_again, read_mail
from goodstanding.bounces.own import BadRules, use_rules
from goodstanding.bounces.report import Kind, Other, Reading, Report
from goodstanding.bounces.rulebook import version as rules_version
from goodstanding.bounces.session import read_reply
from goodstanding.bounces.taxonomies import (
    Meaning,
    UnknownName,
    Word,
    from_other,
    meaning_of,
    systems,
    to_other,
    words_of,
)

__all__ = [
    "BadRules",
    "Kind",
    "Meaning",
    "Other",
    "Reading",
    "Report",
    "UnknownName",
    "Word",
    "from_other",
    "meaning_of",
    "read",
    "read_again",
    "read_mail",
    "read_reply",
    "rules_version",
    "systems",
    "to_other",
    "use_rules",
    "words_of",
]
