"""Notices written for people only: who failed, and what was said of them.

One way for all mailers: a line that begins with an address opens that recipient's section, which
runs to the next; an SMTP dialogue names its recipients in its own way; where neither is there, the
addresses in the sentences are taken.
"""

from __future__ import annotations

import re
from typing import Final

from goodstanding.bounces.said import Said
from goodstanding.bounces.text import ADDRESS, addresses, clean_address

LINES: Final = 1500
RECIPIENTS: Final = 100
SECTION: Final = 3000  # characters of one recipient's section

_OPENS: Final = re.compile(
    r"[ \t]*(?:[-*•][ \t]+|Recipients?:[ \t]*"
    r"|(?:User|Address|RCPT TO|Failed recipient)[ \t]*:[ \t]*)?"
    rf"""["'<\[(]{{0,2}}(?:mailto:)?({ADDRESS})["'>\])]{{0,2}}(?P<rest>.*)""",
    re.IGNORECASE,
)
_DIALOGUE: Final = re.compile(
    r"[ \t]*(?:<<<|>>>)?[ \t]*(?:[245]\d\d[ -]+(?:[245]\.\d\.\d{1,3} )?|RCPT TO:[ \t]*)"
    rf"<?({ADDRESS})>?(?:\.\.\.|>|,|:|$)",
    re.IGNORECASE,
)
_VERDICT: Final = re.compile(
    rf"[ \t]*[245]\d\d[ -]+(?:[245]\.\d\.\d{{1,3}} )?<({ADDRESS})>\.\.\. ", re.IGNORECASE
)
_TALKING: Final = re.compile(r"[ \t.]*while talking to ", re.IGNORECASE)
_SENTENCE: Final = re.compile(
    r"(?:\bto|\bfor|recipients?|user|userid|address(?:es)?|mailbox|account|user name|list)"
    rf"[ \t]*:?[ \t]*[\"'<(]?({ADDRESS})",
    re.IGNORECASE,
)
_SERVICE: Final = re.compile(
    r"[^\s@]*[-._+](?:ctl|request|help|owner|admin|(?:un)?subscribe)@", re.IGNORECASE
)
_NOBODY: Final = re.compile(
    r"(?:postmaster|mailer-daemon|abuse|support|help|no-?reply)@", re.IGNORECASE
)


def extract(notice: str, own: set[str], failed: list[str]) -> list[Said]:
    """The recipients of ``notice`` and the text of each.

    ``own`` are addresses (lower case) that are the sender's, ``failed`` those that a header named
    as failed.
    """
    sections = _sections(notice, own - {one.lower() for one in failed})
    if sections and all(_SERVICE.match(one) for one in sections):
        # A list's own addresses, told so that one may ask there.
        named = [one for one in _in_sentences(notice, own) if not _SERVICE.match(one)]
        sections = dict.fromkeys(named, "") or sections
    if not sections:
        sections = dict.fromkeys(failed or _in_sentences(notice, own), "")
    told: list[Said] = []
    for recipient, text in list(sections.items())[:RECIPIENTS]:
        # What stands below another recipient is about that one.
        own_alone = len(sections) > 1 and any(letter.isalpha() for letter in text)
        wider = list if own_alone else [notice].copy
        told.append(Said(recipient=recipient, text=_trim(text), wider=wider))
    return told


def _sections(notice: str, own: set[str]) -> dict[str, str]:
    opened: dict[str, list[str]] = {}
    names: dict[str, str] = {}
    current: list[str] | None = None
    dialogue: list[str] = []
    for line in notice.split("\n", LINES)[:LINES]:
        found = None
        verdict = _VERDICT.match(line) if "@" in line else None
        if verdict and (address := clean_address(verdict[1])) and address.lower() not in own:
            # Sendmail closes what was said of one recipient with its own line.
            key = names.setdefault(address.lower(), address)
            if len(opened) < RECIPIENTS or key in opened:
                opened.setdefault(key, []).extend([*dialogue, line])
            current, dialogue = None, []
            continue
        if "@" in line:
            found = _DIALOGUE.match(line) or _OPENS.match(line)
        address = clean_address(found[1]) if found else None
        if found and address and address.lower() not in own and not _NOBODY.match(address):
            key = names.setdefault(address.lower(), address)
            if len(opened) < RECIPIENTS or key in opened:
                current = opened.setdefault(key, [])
                current.append(found.groupdict().get("rest") or line)
                continue
        if _TALKING.match(line):
            current, dialogue = None, []
        elif current is not None:
            current.append(line)
        elif len(dialogue) < 20:
            dialogue.append(line)
    return {key: "\n".join(lines)[:SECTION] for key, lines in opened.items()}


def _in_sentences(notice: str, own: set[str]) -> list[str]:
    found = [address for one in _SENTENCE.findall(notice[:8000]) if (address := clean_address(one))]
    found = found or addresses(notice[:8000])
    kept: dict[str, str] = {}
    for address in found:
        if address.lower() not in own and not _NOBODY.match(address):
            kept.setdefault(address.lower(), address)
    return list(kept.values())[:RECIPIENTS]


def _trim(text: str) -> str:
    return text.strip(" \t\n:;>")
