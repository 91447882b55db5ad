"""Notices written for people only: who failed, and what was said of them.

One way for all mailers: a line that begins with an address opens that recipient's section, which
runs to the next; an SMTP dialogue names its recipients in its own way; where neither is there, the
addresses in the sentences are taken.
"""

from __future__ import annotations

import re
from typing import Final

from goodstanding.bounces.quoting import quoted, without
from goodstanding.bounces.said import Said
from goodstanding.bounces.text import ADDRESS, addresses, clean_address

LINES: Final = 1500
RECIPIENTS: Final = 100
_DIALOGUE_LINES: Final = 20
SECTION: Final = 3000  # characters of one recipient's section

# Blanks are taken whole (``*+``): a line may have thousands of them, and of nothing else.
_OPENS: Final = re.compile(
    r"[ \t]*+(?:[-*•][ \t]+|Recipients?(?: address)?:[ \t]*"
    r"|(?:User|Address|RCPT TO|Failed (?:recipient|address))[ \t]*:[ \t]*)?"
    rf"""["'<\[(]{{0,2}}(?:mailto:)?(?![245]\d\d-)({ADDRESS})["'>\])]{{0,2}}(?P<rest>.*)""",
    re.IGNORECASE,
)
_DIALOGUE: Final = re.compile(
    r"[ \t]*+(?:(?:<<<|>>>)[ \t]*+)?(?:[245]\d\d[ -]++(?:[245]\.\d\.\d{1,3} )?|RCPT TO:[ \t]*+)"
    rf"<?({ADDRESS})>?(?:\.\.\.|>|,|:|$)",
    re.IGNORECASE,
)
_VERDICT: Final = re.compile(
    rf"[ \t]*[245]\d\d +(?:[245]\.\d\.\d{{1,3}} )?<({ADDRESS})>\.\.\. ", re.IGNORECASE
)
_ALIAS: Final = re.compile(r"\((?:expanded|generated|forwarded) from:?[ \t]*\Z", re.IGNORECASE)
_EXPANDED: Final = re.compile(
    rf"\((?:ultimately )?(?:expanded|generated|forwarded) from:?\s{{0,20}}<?({ADDRESS})>?\)",
    re.IGNORECASE,
)
# Sun's servers name the mailbox, and then whom the mail was for.
_ORIGINALLY: Final = re.compile(rf"[ \t]*+Original address:[ \t]*+<?({ADDRESS})", re.IGNORECASE)
_CODE: Final = re.compile(r"[ \t]*+(?:<<< )?([45]\d\d)[ -]")
# A line of an environment that a program printed: it names nobody who failed.
_VARIABLE: Final = re.compile(r"[A-Z][A-Z0-9_]*=")
# What follows is said of all who were named, one a line, before it.
_REASON: Final = re.compile(r"(?:the )?reasons?\b[^:@]{0,40}:[ \t]*\Z", re.IGNORECASE)
# What follows is the address of whoever wrote.
_SENDER: Final = re.compile(r"[^@:]{0,40}\bsender(?: was| is|:)[ \t:]*\Z", re.IGNORECASE)
_COMMAND: Final = re.compile(r">>> (?:MAIL|RCPT) ", re.IGNORECASE)
_TALKING: Final = re.compile(r"[ \t.]*while talking to ", re.IGNORECASE)
_SENTENCE: Final = re.compile(
    r"(?:(?<!write )(?<!reply )(?<!report )(?<!forward )\bto|\bfor|recipients?|user|userid"
    r"|address(?:es)?|mailbox|account|user name|list)"
    rf"(?=[ \t:\"'<(])[ \t]*+(?::[ \t]*+)?[\"'<(]?({ADDRESS})",
    re.IGNORECASE,
)
# A line that holds an address, and at most a word with a colon before it.
_ALONE: Final = re.compile(
    rf"^[ \t]*+(?:[\w-]{{1,20}}:[ \t]*+)?<?({ADDRESS})>?[ \t]*+$", re.MULTILINE
)
# What is added to a list's name in its own addresses; to those that bounce nobody writes for help.
_ASKED: Final = "ctl|request|help|owner|admin|(?:un)?subscribe"
_SERVICE: Final = re.compile(rf"[^\s@]*[-._+](?:{_ASKED})@", re.IGNORECASE)
_OWN: Final = re.compile(rf"[-._+](?:bounces?|{_ASKED})(?=@)", re.IGNORECASE)
# Even where that is an address to which one may write for help.
_MEANT: Final = re.compile(
    rf"(?:your (?:message|mail|e-?mail)|deliver(?:ed|ing|y)?) to\s{{1,9}}[\"'<]?({ADDRESS})",
    re.IGNORECASE,
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
        named = [one for one in _named(notice, own) if not _SERVICE.match(one)]
        sections = dict.fromkeys(named, "") or sections
    if len(sections) == 1:
        ((alias, said),) = sections.items()
        answered = _CODE.match(said) or _CODE.match(said.rpartition("\n")[2])
        if answered and (meant := _beside_answer(notice, own, alias)):
            sections = dict.fromkeys(meant, "")
    if not sections:
        sections = dict.fromkeys(failed or _named(notice, own), "")
    told: list[Said] = []
    for recipient, text in list(sections.items())[:RECIPIENTS]:
        # What stands below another recipient is about that one.
        own_alone = len(sections) > 1 and any(letter.isalpha() for letter in text)
        wider = list if own_alone else [notice].copy
        told.append(
            Said(
                recipient=recipient,
                original_recipient=_expanded_from(text),
                text=_trim(text),
                wider=wider,
            )
        )
    return told


def of_service(told: list[Said]) -> bool:
    """Whether those told of are only a list's own addresses."""
    return all(_SERVICE.match(said.recipient or "") for said in told)


def of_list(told: list[Said], sender: str) -> list[Said]:
    """``told`` of a list's own addresses: of the list itself, where its ``sender`` is the list."""
    of_sender = _OWN.sub("", sender.lower())
    for said in told:
        named = _OWN.sub("", said.recipient or "")
        if named.lower() == of_sender:
            said.recipient = named
    return told


def _sections(notice: str, own: set[str]) -> dict[str, str]:
    sections = _Sections(own)
    for line in notice.split("\n", LINES)[:LINES]:
        sections.hear(line)
    return {key: "\n".join(lines)[:SECTION] for key, lines in sections.opened.items()}


class _Sections:
    """The lines about each recipient, by their address as it was first written."""

    def __init__(self, own: set[str]) -> None:
        self.own = own
        self.opened: dict[str, list[str]] = {}
        self._names: dict[str, str] = {}
        self._current: list[str] | None = None
        self._dialogue: list[str] = []
        self._indent = 0

    def hear(self, line: str) -> None:
        """The next line of the notice."""
        if self._current and "(" in self._current[-1] and _ALIAS.search(self._current[-1]):
            # The address that the recipient was expanded from; it is no other recipient.
            self._current.append(line)
        elif self._current is not None and (original := _ORIGINALLY.match(line)):
            self._rename(original[1])
        elif (
            "@" not in line or self._answers(line) or not (self._closes(line) or self._opens(line))
        ):
            self._goes_on(line)

    def _closes(self, line: str) -> bool:
        """Sendmail closes what was said of one recipient with its own line."""
        verdict = _VERDICT.match(line)
        address = clean_address(verdict[1]) if verdict else None
        if address is None or address.lower() in self.own:
            return False
        if (section := self._of(address)) is not None:
            section.extend([*self._dialogue, line])
        self._current, self._dialogue = None, []
        return True

    def _answers(self, line: str) -> bool:
        """Whether an address in ``line`` is part of what is being said of somebody.

        An answer may name them otherwise: it stands behind a colon, or further in than they do.
        """
        last = (self._current or self._dialogue or [""])[-1]
        bare, code = line.lstrip(), _CODE.match(line)
        if (bare.startswith("<<<") and _COMMAND.match(last.lstrip())) or _SENDER.match(last):
            return True
        if code and f"{code[1]}-" in last:
            return True  # a further line of the same answer
        if not self._current or bare.startswith((">>>", "<<<")):
            return False
        before = next((one for one in reversed(self._current) if one.strip()), "")
        if code and before.endswith(":") and len(self._current) > 1:
            return True
        return _indent(line) > self._indent and any(map(str.isalpha, before))

    def _opens(self, line: str) -> bool:
        found = _DIALOGUE.match(line) or _OPENS.match(line)
        address = clean_address(found[1]) if found else None
        if not found or not address or address.lower() in self.own:
            return False
        if _NOBODY.match(address) or _VARIABLE.match(address):
            return False
        section = self._of(address)
        if section is None:
            return False
        section.append(found.groupdict().get("rest") or line)
        self._current = section
        self._indent = _indent(line)
        return True

    def _rename(self, written: str) -> None:
        """The recipient being told of is ``written``, where that is an address."""
        address = clean_address(written)
        if address and address.lower() not in self._names and self._current is not None:
            self._names[address.lower()] = address
            self.opened = {
                address if lines is self._current else key: lines
                for key, lines in self.opened.items()
            }

    def _goes_on(self, line: str) -> None:
        if _TALKING.match(line):
            self._current, self._dialogue = None, []
        elif self._current is not None:
            self._current.append(line)
            if _REASON.match(line):
                self._share(self._current)
        elif len(self._dialogue) < _DIALOGUE_LINES:
            self._dialogue.append(line)

    def _share(self, current: list[str]) -> None:
        """Those of whom nothing was said yet share what is said from here on."""
        for key, lines in self.opened.items():
            if key in lines[0] and not any(line.strip() for line in lines[1:]):
                self.opened[key] = current

    def _of(self, address: str) -> list[str] | None:
        key = self._names.setdefault(address.lower(), address)
        if key not in self.opened and len(self.opened) >= RECIPIENTS:
            return None
        return self.opened.setdefault(key, [])


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _named(notice: str, own: set[str]) -> list[str]:
    """Who is named in the sentences of ``notice``, rather than in an answer that it quotes."""
    answer = quoted(notice)
    said = _in_sentences(without(notice, answer), own) if answer else []
    return said or _in_sentences(notice, own)


def _beside_answer(notice: str, own: set[str], recipient: str) -> list[str]:
    """Who is named beside an answer, where only that names ``recipient``, perhaps an alias."""
    answer = quoted(notice)
    if recipient not in answer:
        return []
    beside = without(notice, answer)
    return [] if recipient in beside else _in_sentences(beside, own)


def _in_sentences(notice: str, own: set[str]) -> list[str]:
    # No address runs over a line's end.
    spoken = "\n".join([line for line in notice[:8000].split("\n") if "@" in line])
    found = _those(_SENTENCE, spoken)
    if found:
        return (
            _others(found, own)
            or _others(_those(_ALONE, spoken), own)
            or _others(_those(_MEANT, spoken), own, helpers=True)
        )
    return _others(addresses(spoken), own)


def _those(form: re.Pattern[str], spoken: str) -> list[str]:
    return [address for one in form.findall(spoken) if (address := clean_address(one))]


def _expanded_from(text: str) -> str | None:
    """The alias that was mailed, where the recipient was found by way of one."""
    found = _EXPANDED.search(text)
    return clean_address(found[1]) if found else None


def _others(found: list[str], own: set[str], *, helpers: bool = False) -> list[str]:
    """Those who are not one's own, nor, unless ``helpers`` count, somebody to write to for help."""
    kept: dict[str, str] = {}
    for address in found:
        if address.lower() not in own and (helpers or not _NOBODY.match(address)):
            kept.setdefault(address.lower(), address)
    return list(kept.values())[:RECIPIENTS]


def _trim(text: str) -> str:
    return text.strip(" \t\n:;>")
