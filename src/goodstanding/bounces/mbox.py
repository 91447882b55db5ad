"""Several mails in one, parted as mbox files part them (RFC 4155)."""

from __future__ import annotations

import re
from typing import Final

MAILS: Final = 100

_SEPARATOR: Final = re.compile(
    rb"(?:\r\n|\n|\r)(?=From [^\r\n]{1,200}? [A-Z][a-z]{2} [A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d "
    rb"[^\r\n]{0,12}\d{4}(?:\r\n|\n|\r)[!-9;-~]{1,60}:)"
)
_BOUNDARY: Final = re.compile(
    rb"""boundary\s*=\s*(?:"([^"\r\n]{1,200})"|([^\s;"]{1,200}))""", re.IGNORECASE
)
_BLANK: Final = 100  # bytes of blank lines that may stand before the first mail
_HEAD: Final = 20_000  # bytes in which a mail announces its boundary


def mails(message: bytes) -> list[bytes]:
    """The mails in ``message``, at most ``MAILS``; itself where it begins otherwise."""
    if not message[:_BLANK].lstrip(b"\r\n").startswith(b"From "):
        return [message]
    found: list[bytes] = []
    begin = 0
    for separator in _SEPARATOR.finditer(message):
        if not _is_whole(message[begin : separator.start()]):
            # A mail returned inside this one, with its own separator.
            continue
        found.append(message[begin : separator.start()])
        begin = separator.end()
        if len(found) == MAILS:
            return found
    return [*found, message[begin:]]


def _is_whole(mail: bytes) -> bool:
    announced = _BOUNDARY.search(mail[:_HEAD])
    if announced is None:
        return True
    return b"--" + (announced[1] or announced[2]) + b"--" in mail
