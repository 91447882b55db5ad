"""Mails as they come, no two alike: other names, hosts, ids, IP addresses, order of headers."""

from __future__ import annotations

import random
import re
import string
from typing import Final

# What may be another in each mail: a mailbox, a host's number, a queue's or a message's id, an
# IP address. Codes, words and the domains of providers stay, for they are what is read. Long runs
# of letters are encoded text.
_NAMES: Final = re.compile(
    rb"(?P<mailbox>(?<![\w.+-])[A-Za-z][\w.+-]{1,40}(?=@))"
    rb"|(?P<ip>(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?![\w.]))"
    rb"|(?P<host>(?<![\w.-])[a-z]{1,8}\d{1,3}(?=\.[a-z]))"
    rb"|(?P<id>(?<![\w+/=.-])(?=\w*\d\w*\d\w*\d)\w{7,30}(?![\w+/=.-]))"
)
_DAEMONS: Final = re.compile(rb"(?i)mailer-daemon|postmaster|abuse|no-?reply|complaints?|feedback")
_HEADER: Final = re.compile(rb"[!-9;-~]+:[^\n]*\n(?:[ \t][^\n]*\n)*")


def varied(mail: bytes, dice: random.Random) -> bytes:
    """``mail`` with other names in it, the same ones wherever they stand; it reads the same."""
    known: dict[bytes, bytes] = {}

    def another(found: re.Match[bytes]) -> bytes:
        name = found[0]
        if name not in known:
            known[name] = _another(name, found.lastgroup, dice)
        return known[name]

    return _shuffled(_NAMES.sub(another, mail), dice)


def _another(name: bytes, kind: str | None, dice: random.Random) -> bytes:
    if kind == "mailbox":
        return name if _DAEMONS.search(name) else name + b"%d" % dice.randrange(10**6)
    if kind == "ip":
        return b"198.51.%d.%d" % (dice.randrange(256), dice.randrange(256))
    return bytes(_letter(letter, dice) for letter in name)


def _letter(letter: int, dice: random.Random) -> int:
    return ord(dice.choice(string.digits)) if 48 <= letter <= 57 else letter


def _shuffled(mail: bytes, dice: random.Random) -> bytes:
    """The header's fields in another order."""
    at = 0
    fields: list[bytes] = []
    while found := _HEADER.match(mail, at):
        fields.append(found[0])
        at = found.end()
    dice.shuffle(fields)
    return b"".join(fields) + mail[at:]
