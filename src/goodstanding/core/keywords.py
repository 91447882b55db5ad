"""Keywords: what a reply by SMS says of consent (design, section 2). The words are data.

The rule: the whole message must be the word, or several that mean the same. Beside it may stand
only what the data file knows to be polite (``Stop please``), and beside a stop what is to stop
(``please stop texting me now``): ``MOST`` words in all, and nothing else whatever. So
``don't stop``, ``Stop by tomorrow?`` and ``cancel my appointment`` say nothing here: they are
replies, for people to read.

Where the same words could be meant in two ways, a stop and a start are weighed differently. Taken
wrongly, a stop costs messages that were wanted; missed, it costs one more message, which may break
the law: so punctuation and signs around it never matter. A start taken wrongly is consent that was
never given: so a start with a question mark, an emoji, or a word on when or what, is none.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable
from typing import Any, Final, Literal

import msgspec

from goodstanding.core import data
from goodstanding.core.events import Event, key_of

Meaning = Literal["stop", "start", "help"]

LONGEST: Final = 160  # characters, as many as one SMS has; a longer text is no keyword
MOST: Final = 24  # words, or characters where a script has no spaces


class _Language(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    stop: tuple[str, ...]
    start: tuple[str, ...] = ()
    help: tuple[str, ...] = ()
    polite: tuple[str, ...] = ()
    about: tuple[str, ...] = ()


LANGUAGES: Final[dict[str, _Language]] = data.load("keywords.toml", dict[str, _Language])

VERSION: Final = hashlib.blake2b(msgspec.json.encode(LANGUAGES), digest_size=6).hexdigest()
"""A short hash of the words: two readings with the same version read the same."""

# Letters that are no letter with an accent to Unicode, as those write them who have not got them.
_PLAIN: Final = str.maketrans({"ł": "l", "ø": "o", "đ": "d", "\u0131": "i", "æ": "ae", "œ": "oe"})
_DROPPED: Final = frozenset({"Mn", "Me", "Cf"})
_FILLERS: Final = frozenset("\u115f\u1160")  # letters to Unicode, nothing to the eye
_DRAWN_OUT: Final = re.compile(r"(.)\1{2,}")
# Chinese characters and kana are written without spaces: each is a word of its own here.
_WORD: Final = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]|[^\s\u3040-\u30ff\u3400-\u9fff]+")


def _fold(text: str) -> list[str]:
    """The words of a text, without case, accents, punctuation and what cannot be seen."""
    text = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold())
    kept = []
    for char in text.translate(_PLAIN):
        category = unicodedata.category(char)
        if category in _DROPPED or char in _FILLERS:
            continue
        kept.append(char if category[0] in "LN" or category == "Mc" else " ")
    return _WORD.findall(_DRAWN_OUT.sub(r"\1", "".join(kept)))


def _folded(entries: Iterable[str]) -> frozenset[str]:
    return frozenset("".join(_fold(entry)) for entry in entries)


def _of_all(field: str) -> frozenset[str]:
    return _folded(entry for each in LANGUAGES.values() for entry in getattr(each, field))


_KEYWORDS: Final[dict[Meaning, frozenset[str]]] = {
    "stop": _of_all("stop"),
    "start": _of_all("start"),
    "help": _of_all("help"),
}
_POLITE: Final = _of_all("polite")
_BESIDE: Final[dict[Meaning, frozenset[str]]] = {
    "stop": _POLITE | _of_all("about") | _KEYWORDS["stop"],
    "start": _POLITE | _KEYWORDS["start"],
    "help": _POLITE | _KEYWORDS["help"],
}


def read(text: str) -> Meaning | None:
    """What a message says, by the rule above; None where it is no keyword.

    Takes any text, in bounded time. White space around it is not counted in ``LONGEST``.
    """
    text = text.strip()
    if not text or len(text) > LONGEST:
        return None
    words = _fold(text)
    if not words or len(words) > MOST:
        return None
    for meaning, keywords in _KEYWORDS.items():
        if _is(words, keywords, _BESIDE[meaning]):
            return None if meaning == "start" and _is_doubtful(text) else meaning
    return None


def _is(words: list[str], keywords: frozenset[str], beside: frozenset[str]) -> bool:
    """Whether the words are one of the keywords, with nothing but those others on either side.

    Entries are compared without their spaces: people write OPTOUT, opt out and opt-out.
    """
    end = len(words)
    before, after = {0}, {end}
    for start in range(end):
        if start in before:
            before |= {to for to in range(start + 1, end) if "".join(words[start:to]) in beside}
    for to in range(end, 0, -1):
        if to in after:
            after |= {start for start in range(1, to) if "".join(words[start:to]) in beside}
    return any(
        "".join(words[start:to]) in keywords for start in before for to in after if start < to
    )


def _is_doubtful(text: str) -> bool:
    """Whether it asks something, or says something in pictures."""
    return any(
        char in "?¿؟;" or unicodedata.category(char) == "So"
        for char in unicodedata.normalize("NFKC", text)
    )


_SAYS: Final[dict[Meaning | None, str]] = {"stop": "opted_out", "start": "opted_in"}


def word_in(event: Event) -> Event | None:
    """The person's own word on consent, where the event is a reply by SMS that is one; else None.

    It is an event beside the reply, of the same time and about the same delivery, on everything
    and not on the mailing's topic. Its key follows from the reply's: heard twice, it is one word.
    """
    if event.kind != "replied" or event.address.channel != "sms":
        return None
    text = event.detail.get("text")
    if not isinstance(text, str) or (kind := _SAYS.get(read(text))) is None:
        return None
    reply = key_of(event)
    detail: dict[str, Any] = {
        "how": "keyword",
        "text": text.strip(),
        "reply": reply,
        "rules": VERSION,
    }
    if "claimed_at" in event.detail:
        detail["claimed_at"] = event.detail["claimed_at"]
    key = hashlib.blake2b(f"{kind}:{reply}".encode(), digest_size=16).hexdigest()
    return Event(
        kind=kind,
        occurred_at=event.occurred_at,
        address=event.address,
        source=event.source,
        key=f"keyword:{key}",
        mailing=event.mailing,
        delivery=event.delivery,
        recipient=event.recipient,
        detail=detail,
    )
