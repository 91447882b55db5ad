"""What kind of mail this is, by who sends it, its subject, its first words and its headers."""

from __future__ import annotations

import re
from typing import Final

import msgspec

from goodstanding.bounces import text
from goodstanding.bounces.matcher import fold, signal_matcher
from goodstanding.bounces.rulebook import Signal, Where
from goodstanding.bounces.view import View

ENOUGH: Final = 3
_DAEMON: Final = 2  # the weight of a sender's name that only a mail system has
BODY: Final = 4000  # characters of the notice that are looked at

_REPLIERS: Final = frozenset(
    {
        *("x-autoreply", "x-autorespond", "x-autoresponder"),
        *("x-auto-reply-from", "x-autoreply-from", "x-mail-autoreply", "x-vacation"),
    }
)
# Both for a text that begins with a line end.
_QUOTED: Final = re.compile(r"\n[ \t]*>(?!>>)[^\n]*")
_ANSWER: Final = re.compile(
    r"\n[ \t]*(?:[^\n]{0,80}: (?:\[[\d.]{7,15}\],? )?)?[45]\d\d(?: - |[ -])"
    r"(?:[45]\.\d{1,3}\.\d{1,3}\b|[A-Za-z<#])"
)
_REPLY: Final = re.compile(r"\s*(?:re|aw|sv|antw)\s*:", re.IGNORECASE)
_TICKET: Final = re.compile(r"\[[^\]]{0,80}#\s?\d{2,20}\]")


class Signals(msgspec.Struct):
    """The weights found, by kind of mail."""

    weights: dict[str, int]

    def enough(self, kind: str) -> bool:
        """Whether the mail is of this ``kind``."""
        return self.weights.get(kind, 0) >= ENOUGH

    def rather(self, kind: str, other: str) -> bool:
        """Whether the mail is of this ``kind`` at least as clearly as of the ``other``."""
        return self.enough(kind) and self.weights[kind] >= self.weights.get(other, 0)


def signals(seen: View, subject: str) -> Signals:
    """Weigh ``seen``."""
    weights: dict[str, int] = {}
    named = _hear(weights, text.header(seen.first("from")), "from")
    daemon = weights.get("bounce", 0) >= _DAEMON
    _hear(weights, subject, "subject")
    said = "\n" + seen.notice()[:BODY]
    _hear(weights, _QUOTED.sub("", said) if ">" in said else said, "body")
    automatic = _automatic(seen)
    _weigh_bounce(weights, seen, subject, said, automatic=automatic, daemon=daemon)
    if not (named or automatic or seen.first("x-failed-recipients")):
        # A person who writes about a bounce.
        weights["bounce"] = weights["delayed"] = 0
    if (
        not daemon
        and "list-manager" not in named
        and (not _proves(seen, said) or _TICKET.search(subject))
    ):
        # A machine of another trade, whose goods come back too; or a desk that quotes a bounce.
        weights["bounce"] = min(weights["bounce"], ENOUGH - 1)
    if _replies_by_itself(seen):
        weights["auto_reply"] = weights.get("auto_reply", 0) + ENOUGH
    elif weights.get("auto_reply") and automatic:
        weights["auto_reply"] += 1
    return Signals(weights)


def _weigh_bounce(
    weights: dict[str, int],
    seen: View,
    subject: str,
    said: str,
    *,
    automatic: bool,
    daemon: bool,
) -> None:
    heard = weights.get("bounce", 0) + (1 if automatic else 0)
    if seen.first("x-failed-recipients"):
        heard += ENOUGH
    if weights.get("delayed"):
        heard += 1
    weights["bounce"] = heard
    listed = seen.first("list-unsubscribe") or (seen.first("list-id") and not daemon)
    if listed and not seen.first("x-list-administrivia"):
        for kind in weights:
            weights[kind] -= ENOUGH
    if _REPLY.match(subject) and (seen.first("in-reply-to") or seen.first("references")):
        weights["bounce"] -= 2
    if daemon and weights["bounce"] < ENOUGH and _ANSWER.search(said):
        weights["bounce"] += 1


def _proves(seen: View, said: str) -> bool:
    """Whether it has what only mail has: an answer, an original, a null reverse-path."""
    return bool(
        seen.first("x-failed-recipients")
        or seen.first("return-path").strip() == "<>"
        or seen.returned
        or seen.behind()
        or _ANSWER.search(said)
    )


def _hear(weights: dict[str, int], words: str, where: Where) -> set[str]:
    """The names of the signals in ``words``, which are weighed."""
    heard: set[str] = set()
    for hit in signal_matcher(where).scan(fold(words)) if words else ():
        one = hit.entry
        if isinstance(one, Signal) and one.name not in heard:
            heard.add(one.name)
            weights[one.kind] = weights.get(one.kind, 0) + one.weight
    return heard


def _automatic(seen: View) -> bool:
    """Whether a machine wrote the mail (RFC 3834 section 5; a null reverse-path, RFC 5321)."""
    submitted = seen.first("auto-submitted").strip().lower()
    if submitted and not submitted.startswith("no"):
        return True
    if seen.first("precedence").strip().lower() == "junk":
        return True
    return seen.first("return-path").strip() == "<>" or "report" in seen.root.content_type


def _replies_by_itself(seen: View) -> bool:
    """Whether the headers say an automatic reply (RFC 3834, and what was used before it)."""
    if seen.first("auto-submitted").strip().lower().startswith("auto-replied"):
        return True
    if seen.first("precedence").strip().lower() in ("auto_reply", "auto-reply", "autoreply"):
        return True
    if seen.first("x-autogenerated").strip().lower() == "reply":
        return True
    return any(
        seen.first(name).strip().lower() not in ("", "no", "none", "false")
        for name in _REPLIERS & seen.root.headers.keys()
    )
