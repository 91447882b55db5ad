"""From what was said to a category, by the rules."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from operator import attrgetter
from typing import Final

import msgspec

from goodstanding.bounces import providers
from goodstanding.bounces.likeness import Weighed, likeness, says_enough
from goodstanding.bounces.matcher import Hit, fold, matcher, words
from goodstanding.bounces.reply import is_generic
from goodstanding.bounces.report import Other
from goodstanding.bounces.rulebook import Rule, Rulebook, rulebook
from goodstanding.core.categories import CATEGORIES, Disposition

_VAGUE: Final = 20  # a priority up to here says less than other texts may
_CLEAR: Final = 30  # a priority from here on counts also in a reporter's own words
_PLAIN: Final = 60  # a priority from here on names a cause by more than a failed connection
_OTHERS: Final = 5
_LIKELY: Final = (False, 29, False)  # the rank of what an answer is only like
LIKENESS: Final = "likeness"
"""What stands for a rule where none knew the words, which are like those of known answers."""
SAID_BEFORE: Final = "said before the recipient"
"""What stands for a rule where it was said before any recipient was named."""
_SAYS_NOTHING: Final = 10  # a priority up to here only says "other or undefined"


class Verdict(msgspec.Struct, frozen=True):
    """The category, what it does to the address, which rule decided and by which words.

    ``others``: what would have decided otherwise, best first, where that was asked for.
    """

    category: str
    disposition: Disposition
    rule: str | None
    words: str | None
    provider: str | None
    others: tuple[Other, ...] = ()

    def rests_on(self, text: str) -> bool:
        """Whether ``text`` holds the words that decided; where only codes did, it does."""
        return self.words is None or self.words.encode() in fold(text)


class _Candidate(msgspec.Struct, frozen=True, gc=False):
    """A rule, or a code, that would decide; the rule's hit in the folded text."""

    rank: tuple[bool, int, bool]  # as that of a rule
    name: str
    category: str
    hit: Hit | None = None
    folded: bytes = b""
    like: str | None = None

    @property
    def words(self) -> str | None:
        """What was matched; finding that costs more than all else."""
        return words(self.hit, self.folded) if self.hit else self.like


Heard = tuple[bytes, list[Hit]]
"""A text as the patterns expect it, and what they matched."""


def hear(text: str) -> Heard:
    """What the patterns make of ``text``."""
    folded = fold(text)
    return folded, matcher().scan(folded)


def classify(
    texts: Iterable[str],
    *,
    hear: Callable[[str], Heard] = hear,
    status: str | None = None,
    code: str | None = None,
    provider: str | None = None,
    host: str | None = None,
    recipient: str | None = None,
    reporter: str | None = None,
    delayed: bool = False,
    alone: bool = False,
    is_reply: bool = True,
    explain: bool = False,
) -> Verdict:
    """Decide by the first of ``texts`` that a rule knows, else by the codes.

    What a known provider means outranks the words, the words outrank the codes; a vague word does
    not outrank a code that says more. A delay (``delayed``) without a reason is that of time.
    With ``alone`` the first text is what the server said, and enough where any rule knows its
    words; of what others say about it a vague word counts for nothing. A reply (``is_reply``) that
    no rule knows well is what it is most like, and what only one rule takes for hard, and nobody
    known has said, must not be like all else. With ``explain`` the verdict says what else was in
    the running. ``hear`` is another where texts come again.
    """
    provider = provider or providers.by_host(host)
    ranked = _by_codes(status, code)
    first = b""
    for number, text in enumerate(texts):
        folded, hits = hear(text)
        first = first or folded
        provider = provider or providers.by_words(hits) or providers.by_recipient(recipient)
        found = _by_words(hits, folded, status, code, provider)
        ranked += _of_reporter(found, ranked, gave_up=not delayed) if alone and number else found
        if any(one.rank[1] > _VAGUE for one in ranked):
            break
        if alone and any(isinstance(hit.entry, Rule) for hit in hits):
            break
    provider = provider or providers.by_recipient(recipient) or providers.by_host(reporter)
    if provider is not None:
        ranked += _by_provider(provider, status, code)
    like: Weighed | None = None
    if is_reply and _is_vague(ranked) and (like := likeness().weigh(first)):
        ranked += _by_likeness(like, ranked)
    if not ranked:
        category = "timed_out" if delayed else "undetermined"
        return Verdict(category, CATEGORIES[category].disposition, None, None, provider)
    if len(ranked) > 1:
        ranked.sort(key=_rank, reverse=True)
    best = _given_up(ranked, status, delayed=delayed) or _longest(ranked)
    if is_reply and provider is None and says_enough(first) and _stands_alone(best, ranked):
        like = like or likeness().weigh(first)
        if like is not None and (rather := like.rather()) is not None:
            best = _Candidate(best.rank, LIKENESS, rather, like=like.words)
    others = _others(ranked, best) if explain else ()
    return Verdict(
        best.category, _disposition(best, ranked), best.name, best.words, provider, others
    )


def said_before(verdict: Verdict, category: str, *, explain: bool = False) -> Verdict:
    """``verdict`` where it was said when no recipient was named yet: ``category`` (see ``phases``).

    Whatever the words say, they are not about somebody who comes later.
    """
    others = verdict.others
    if explain and verdict.rule:
        others = (Other(verdict.rule, verdict.category, verdict.words), *others)
    return Verdict(category, "block", SAID_BEFORE, verdict.words, verdict.provider, others)


_rank: Final = attrgetter("rank")


def _is_vague(ranked: list[_Candidate]) -> bool:
    """Whether all that is said is less than what likeness says.

    A rule of the user's own says what they meant, and many an enhanced status code is clear. Of a
    vague word for a dead address nothing but that is asked (see ``rather``).
    """
    for one in ranked:
        if one.rank > _LIKELY or one.rank[2]:
            return False
        if one.rank[1] >= _VAGUE if one.hit is None else _is_hard(one):
            return False
    return True


def _is_hard(one: _Candidate) -> bool:
    return CATEGORIES[one.category].disposition == "hard"


def _longest(ranked: list[_Candidate]) -> _Candidate:
    """Among those of the first rank the one of the longest words; a code has none."""
    best = ranked[0]
    if len(ranked) == 1 or ranked[1].rank < best.rank:
        return best
    first = [one for one in ranked if one.rank == best.rank]
    if len({one.name for one in first}) == 1:
        return best
    return max(first, key=lambda one: len(one.words or ""))


def _of_reporter(
    found: list[_Candidate], ranked: list[_Candidate], *, gave_up: bool
) -> list[_Candidate]:
    """Of what a reporter says in its own words beside an answer, what counts.

    That it gave up is for itself to say; else it counts where the answer means nothing to us, and
    is never hard (Sendmail says "User unknown" of many a 550).
    """
    understood = any(one.category != "undetermined" for one in ranked)
    return [
        one
        for one in found
        if one.rank[1] >= _CLEAR
        and ((one.category == "timed_out" and gave_up) or not (understood or _is_hard(one)))
    ]


def _others(ranked: list[_Candidate], best: _Candidate) -> tuple[Other, ...]:
    """Those of another category than ``best``, by rank and then by the length of their words."""
    others: dict[str, Other] = {}
    for one in sorted(ranked, key=lambda one: (one.rank, len(one.words or "")), reverse=True):
        if one.category != best.category:
            others.setdefault(one.name, Other(one.name, one.category, one.words))
    return tuple(others.values())[:_OTHERS]


def _given_up(ranked: list[_Candidate], status: str | None, *, delayed: bool) -> _Candidate | None:
    """That the time was up, where all else that was said is that it did not work so far."""
    best = ranked[0]
    if delayed and best.rank[:2] <= (False, _SAYS_NOTHING):
        return _Candidate((False, 0, False), "delayed", "timed_out")
    if status is None or not status.endswith(".4.7"):
        return None
    if best.category != "network_error" or best.rank[:2] >= (False, _PLAIN):
        return None
    return next((one for one in ranked if one.category == "timed_out"), None)


def _by_words(
    hits: Sequence[Hit], folded: bytes, status: str | None, code: str | None, provider: str | None
) -> list[_Candidate]:
    found: list[_Candidate] = []
    for hit in hits:
        rule = hit.entry
        if isinstance(rule, Rule) and (not rule.is_bound or holds(rule, status, code, provider)):
            found.append(_Candidate(rule.rank, rule.name, rule.category, hit, folded))
    return found


def _by_provider(provider: str, status: str | None, code: str | None) -> list[_Candidate]:
    return [
        _Candidate(rule.rank, rule.name, rule.category)
        for rule in _wordless(rulebook()).get(provider, [])
        if holds(rule, status, code, provider)
    ]


@lru_cache(2)
def _wordless(book: Rulebook) -> dict[str, list[Rule]]:
    rules: dict[str, list[Rule]] = {}
    for rule in book.rules:
        if not rule.patterns:
            for name in rule.provider:
                rules.setdefault(name, []).append(rule)
    return rules


def holds(rule: Rule, status: str | None, code: str | None, provider: str | None) -> bool:
    """Whether ``rule`` says anything of what this provider says, with these codes."""
    if rule.provider and provider not in rule.provider:
        return False
    if not rule.status and not rule.code:
        return True
    return (status in rule.status) or (code in rule.code)


def _by_codes(status: str | None, code: str | None) -> list[_Candidate]:
    book = rulebook()
    known = (
        _of_status(book, status) if status is not None and not is_generic(status) else None,
        _of_code(book, code) if code is not None else None,
    )
    return [one for one in known if one is not None]


@lru_cache(1024)
def _of_status(book: Rulebook, status: str) -> _Candidate | None:
    detail = status[1:]
    known = (
        book.status.get(status)
        or book.status.get("x" + detail)
        or book.status.get("x" + detail[: detail.rindex(".")])
    )
    if known is None:
        return None
    return _Candidate((False, known.priority, False), f"status {status}", known.category)


@lru_cache(256)
def _of_code(book: Rulebook, code: str) -> _Candidate | None:
    known = book.code.get(code)
    if known is None:
        return None
    return _Candidate((False, known.priority, False), f"code {code}", known.category)


def _stands_alone(best: _Candidate, ranked: list[_Candidate]) -> bool:
    """Whether only one general rule, or only a code, says that the address is dead."""
    of_sms = CATEGORIES[best.category].channel == "sms"
    if not _is_hard(best) or of_sms or best.rank[0] or best.rank[2]:
        return False
    return not any(one.name != best.name and _is_hard(one) for one in ranked)


def _by_likeness(like: Weighed, vague: list[_Candidate]) -> list[_Candidate]:
    """What the text is like, where that is another category than what is said vaguely."""
    category = like.likely(surer=any(one.hit for one in vague))
    if category is None or (vague and max(vague, key=_rank).category == category):
        return []
    return [_Candidate(_LIKELY, LIKENESS, category, like=like.words)]


def _disposition(best: _Candidate, ranked: list[_Candidate]) -> Disposition:
    disposition = CATEGORIES[best.category].disposition
    if best.category != "timed_out":
        return disposition
    second = next((one for one in ranked if one.category != "timed_out"), None)
    if second is None:
        return disposition
    # Giving up takes after the last deferral; what was only ever deferred is never hard.
    last = CATEGORIES[second.category].disposition
    return "soft" if last == "hard" else last
