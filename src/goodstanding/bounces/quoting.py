"""Answers that a reporter quotes, told apart from its own words."""

from __future__ import annotations

import re
from typing import Final

# A reply of another server, and what the reporter says before quoting one.
_REPLY: Final = re.compile(r"(?:[45]\d\d[\s,-]|[45]\.\d\.\d).{3,2000}", re.DOTALL)
_BEFORE_REPLY: Final = (
    *("said:", "said", "]:", "response was:", "response was", "returned was:", "returned was"),
    *("<<<", "<--", "error_code :", "error_code:", "responded with:", "responded with"),
    *("error '", " error", "\nerror", "message: [", "returned '", "smtp;"),
)
_AFTER: Final = re.compile(
    r"after (?:end of data|initial connection|(?:rcpt to|mail from|helo|ehlo)[^\n]{0,120}):\Z"
)
_REPLY_BEGINS: Final = re.compile(r"[45](?<![\d.][45])(?:\d\d[\s,-]|\.\d\.\d)")
_ALONE: Final = re.compile(r"[45]\d\d[ -]")
_ANGLE: Final = re.compile(r"[45]\d\d [45]\.\d")
_BEFORE: Final = 150  # characters before a reply that are looked at

# A host's name before its address, or before what it said.
_HOST: Final = re.compile(r"(?<!@)(?<![A-Za-z0-9.-])[A-Za-z0-9.-]++(?=:| ?\[| #)")
_CODED: Final = 4  # characters of an answer that its code takes; what follows stands as it was
_NAMED: Final = 500  # characters before an answer in which its server is named

# The end of a paragraph; what is indented after it may go on with it.
_BLANK: Final = re.compile(r"\n[ \t]*+\n(?![ \t]{4})")
# What the reporter adds behind a reply.
_ADDED: Final = re.compile(
    r"(?:\(in\s{1,9}reply\s{1,9}to\s[^()]{1,60}\)?|\[[A-Z_]{4,20}\]|##|'|>"
    r"|\n[ \t]{0,8}Giving up on [^\n]{0,100})\Z"
)
_ADDS: Final = 150  # characters that it takes at most
_ANSWERED: Final = re.compile(
    r"^[ \t]{0,8}<<< [45]\d\d[ -][^\n]*(?:\n[ \t]{0,8}<<< [45]\d\d[ -][^\n]*){0,20}", re.MULTILINE
)


def paragraph(text: str) -> str:
    """The first paragraph of ``text``, with those that are indented after it."""
    return _BLANK.split(text, 1)[0].rstrip()


def quoted(text: str) -> str:
    """The reply of the remote server that ``text`` quotes, without the reporter's own words."""
    text = text[:8192]
    if "<<< " in text and (answered := _ANSWERED.search(text)):
        # The last word of a dialogue; what the reporter adds stands on lines of its own.
        return "\n".join(line.strip("< \t") for line in answered[0].split("\n"))
    for found in _REPLY_BEGINS.finditer(text):
        at = found.start()
        before = text[max(0, at - _BEFORE) : at].rstrip().lower()
        if (
            before.endswith(_BEFORE_REPLY)
            or (before.endswith("<") and _ANGLE.match(text, at))
            or (before.endswith((" #", "\n#")) and _ALONE.match(text, at))
            or (before.endswith(":") and (_begins_a_line(text, at) or _AFTER.search(before)))
        ):
            reply = _REPLY.match(text, at)
            return _bare(paragraph(reply[0])) if reply else ""
    return ""


def _bare(answer: str) -> str:
    """``answer`` without what the reporter puts behind it, and without its quotation mark."""
    answer = answer[:-_ADDS] + _ADDED.sub("", answer[-_ADDS:])
    return f"{answer[:3]} {answer[5:]}" if answer[3:5] == "-'" else answer


def _begins_a_line(text: str, at: int) -> bool:
    """Whether a reply begins there with its line, and does not only go on."""
    before = text[:at].rstrip(" \t")
    if not before.endswith("\n") or _ALONE.match(text, at) is None:
        return False
    return f"{text[at : at + 3]}-" not in before.rstrip().rpartition("\n")[2]


def own_words(text: str, answer: str) -> str:
    """What the reporter itself says of ``answer`` in ``text``, before it and in its paragraph."""
    at = text.find(answer[_CODED:])
    end = _BLANK.search(text, at + len(answer) - _CODED) if at >= 0 else None
    return without(text[: end.start()] if end else text, answer)


def without(text: str, answer: str) -> str:
    """``text`` without the ``answer`` that it quotes (see ``quoted``)."""
    own = text[:8192].replace(answer[_CODED:], "\n")
    return "\n".join([line for line in own.split("\n") if not line.lstrip().startswith("<<< ")])


def host_of(text: str, answer: str) -> str | None:
    """The server that gave ``answer``, as ``text`` names it before quoting it."""
    hosts: list[str] = _HOST.findall(text[: text.find(answer[_CODED:])][-_NAMED:])
    for host in reversed(hosts):
        name, _, last = host.rstrip(".").rpartition(".")
        if name and last.isalpha():
            return host
    return None
