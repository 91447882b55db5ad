"""Groups of fields as RFC 3464 and RFC 5965 write them: like headers, parted by blank lines."""

from __future__ import annotations

import re
from typing import Final

GROUPS = 400
LINES = 4000
FIELD = 4000  # characters of one unfolded field

_ONCE: Final = {"final-recipient"}  # begins a group where the one before it was not ended

_FIELD: Final = re.compile(r"[ \t]{0,4}([A-Za-z][A-Za-z0-9-]{1,60})[ \t]*:[ \t]*(.*)")
_XTEXT: Final = re.compile(r"\+([0-9A-F]{2})")
_UNITEXT: Final = re.compile(r"\\x\{([0-9A-Fa-f]{1,6})\}")

Group = dict[str, list[str]]


def groups(text: str) -> list[Group]:
    """The groups of ``text``, each lower-cased field name to its unfolded values."""
    found: list[Group] = [{}]
    last: list[str] | None = None
    for line in text.split("\n", LINES)[:LINES]:
        bare = line.strip()
        if not bare:
            last = None
            if found[-1]:
                found.append({})
        elif last is not None and line[0] in " \t":
            if len(last[-1]) < FIELD:
                last[-1] = f"{last[-1]} {bare}"
        elif match := _FIELD.match(line):
            name = match[1].lower()
            if name in _ONCE and name in found[-1]:
                # The blank line between two recipients is missing.
                found.append({})
            last = found[-1].setdefault(name, [])
            last.append(match[2].strip()[:FIELD])
        elif last is not None and len(last[-1]) < FIELD:
            # Folded; some mailers forget to indent.
            last[-1] = f"{last[-1]} {bare}"
        if len(found) > GROUPS:
            break
    return [group for group in found if group]


def typed(value: str) -> tuple[str, str]:
    """A field of the form ``type; value`` (RFC 3464 section 2.1.2), the type lower-cased."""
    kind, semicolon, rest = value.partition(";")
    if not semicolon or len(kind) > 20 or "@" in kind or not kind.strip():
        return "", value.strip()
    return kind.strip().lower(), rest.strip()


def address(value: str) -> str:
    """The address of a ``*-Recipient`` field, the escapes of RFC 3461 and RFC 6533 undone."""
    kind, text = typed(value)
    text = text.strip()
    if "<" in text and ">" in text:
        text = text[text.rfind("<") + 1 : text.rfind(">")]
    text = text.strip("<> ")
    if text[:1] in "\"'" and text[-1:] == text[:1]:
        text = text[1:-1]
    text = text.removeprefix("smtp:").removeprefix("SMTP:")
    if kind == "utf-8" or "\\x{" in text:
        text = _UNITEXT.sub(_character, text)
    if kind == "rfc822" and "+" in text and _XTEXT.search(text.partition("@")[0]) and "+2B" in text:
        # xtext (RFC 3461 section 4): a plus of the address itself is always written +2B.
        text = _XTEXT.sub(lambda found: chr(int(found[1], 16)), text)
    return text


def _character(found: re.Match[str]) -> str:
    point = int(found[1], 16)
    return chr(point) if 0 < point < 0xD800 or 0xE000 <= point < 0x110000 else ""
