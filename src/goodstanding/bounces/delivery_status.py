"""Delivery status notifications: RFC 3464, and RFC 6533 for addresses beyond ASCII."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Final

from goodstanding.bounces import fields
from goodstanding.bounces.report import Kind
from goodstanding.bounces.said import Said
from goodstanding.bounces.text import clean_address, header

_KINDS: Final[dict[str, Kind]] = {
    "failed": "bounce",
    "failure": "bounce",
    "delayed": "delayed",
    "deferred": "delayed",
    "delivered": "delivered",
    "relayed": "delivered",
    "expanded": "delivered",
}
_STATUS: Final = re.compile(r"([245]\.\d{1,3}\.\d{1,3})[ \t]*(?:\((.{1,500})\))?", re.ASCII)
_FIELDS: Final = re.compile(r"\n[ \t]{0,4}(?:final|original)-recipient[ \t]*:")
_RECIPIENTS: Final = 400
_NEAR: Final = 2000  # characters behind a recipient's address that are near it
_LOOKS: Final = 20  # places where a recipient's address may stand in another's
_SESSION: Final = ("\n... while talking to ", "\n>>> ")
_BEGINS: Final = {"final-recipient", "original-recipient", "x-actual-recipient"}
_WORD: Final = re.compile(r"[a-z]{1,60}")
_LONGER_BEFORE: Final = re.compile(r"[\w.+=-]")
_LONGER_BEHIND: Final = re.compile(r"[\w-]|\.\w")


def in_text(text: str) -> bool:
    """Whether ``text``, meant for people, holds the fields of a delivery status all the same."""
    return _FIELDS.search("\n" + text.lower()) is not None


def extract(contents: list[str], notice: Callable[[], str]) -> list[Said]:
    """What the delivery-status parts ``contents`` say of each recipient, beside the ``notice``."""
    found: list[Said] = []
    for content in contents:
        reporter = ""
        for group in _joined(fields.groups(content)):
            reporter = _host(group, "reporting-mta") or reporter
            said = _recipient(group, reporter)
            if said is not None and len(found) < _RECIPIENTS:
                found.append(said)
    if found:
        beside = _Beside(notice, found)
        for said in found:
            # Not the recipient's record itself: going round in a circle, it would have to wait for
            # the collector.
            said.wider = partial(beside.of, said.recipient, said.original_recipient)
    return found


def _joined(groups: list[fields.Group]) -> list[fields.Group]:
    """``groups`` with what a stray blank line cut off a recipient put back."""
    whole: list[fields.Group] = []
    for group in groups:
        rest = whole and not (group.keys() & _BEGINS) and whole[-1].keys() & _BEGINS
        if rest and not group.keys() & whole[-1].keys():
            whole[-1].update(group)
        else:
            whole.append(group)
    return whole


class _Beside:
    """What the notice beside a report says of its recipients, of whom there may be hundreds."""

    __slots__ = ("_everyone", "_low", "_notice")

    def __init__(self, notice: Callable[[], str], found: list[Said]) -> None:
        self._notice = notice
        self._everyone = {said.recipient.lower() for said in found if said.recipient}
        self._low: str | None = None

    def of(self, *names: str | None) -> list[str]:
        """The wider texts of the one with these addresses, nearest first."""
        text = self._notice()
        if self._low is None:
            self._low = text.lower()
        near = _near(text, self._low, {name.lower() for name in names if name}, self._everyone)
        if len(self._everyone) > 1:
            # What stands elsewhere is about the others.
            return [near] if near else []
        return [near, text] if near else [text]


def _recipient(group: fields.Group, reporter: str) -> Said | None:
    final = _address(group, "final-recipient")
    original = _address(group, "original-recipient")
    if final and original and "." not in final.rpartition("@")[2]:
        final = original  # a store behind the server, such as user@ims-ms-daemon
    recipient = final or original or _address(group, "x-actual-recipient")
    if recipient is None:
        return None
    words = _WORD.findall(group.get("action", [""])[0].lower())
    action = words[0] if words else None
    status = _STATUS.search(group.get("status", [""])[0])
    diagnostics = [fields.typed(value)[1] for value in group.get("diagnostic-code", [])]
    # Domino writes what is not ASCII as a header would.
    diagnostics = [header(one) if "=?" in one else one for one in diagnostics]
    kind = _KINDS.get(action or "", "bounce")
    if action not in _KINDS and status and status[1][0] == "2":
        kind = "delivered"
    return Said(
        kind=kind,
        recipient=recipient,
        original_recipient=original,
        action=action,
        status=status[1] if status else None,
        text=" ".join(one for one in diagnostics if one) or (status and status[2]) or "",
        host=_host(group, "remote-mta") or None,
        reporter=reporter or None,
    )


def _address(group: fields.Group, name: str) -> str | None:
    for value in group.get(name, []):
        if address := clean_address(fields.address(value)):
            return address
    return None


def _host(group: fields.Group, name: str) -> str:
    return fields.typed(group.get(name, [""])[0])[1].split(" ")[0].strip("()[]")


def _near(notice: str, low: str, names: set[str], everyone: set[str]) -> str:
    """The stretch of the notice that follows this recipient's address, up to another's."""
    starts = [at for name in names if (at := _whole(low, name, low.find(name))) >= 0]
    if not starts:
        return ""
    begin = min(starts)
    end = begin + _NEAR
    if verdicts := [at for name in names if (at := low.find(f"<{name}>... ")) >= 0]:
        # Sendmail lists all, tells its sessions with their hosts, and ends with a line of each.
        begin = min(verdicts)
        end = next((at for sign in _SESSION if (at := low.find(sign, begin, end)) > 0), end)
    for one in everyone - names:
        # No further than is needed: there may be hundreds, each of whom looks for all others.
        at = low.find(one, begin, end)
        if at > 0 and (at := _whole(low, one, at, end)) > 0:
            end = at
    return notice[begin:end]


def _whole(low: str, address: str, at: int, end: int | None = None) -> int:
    """Where, from ``at`` on, ``address`` is not the end or the beginning of another; else -1."""
    for _ in range(_LOOKS):
        behind = low[at + len(address) : at + len(address) + 2]
        if at < 0 or not (
            _LONGER_BEFORE.match(low, max(at - 1, 0), at) or _LONGER_BEHIND.match(behind)
        ):
            return at
        at = low.find(address, at + 1, end)
    return -1
