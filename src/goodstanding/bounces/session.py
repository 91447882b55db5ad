"""Reading one reply, as finally given."""

from __future__ import annotations

import re
from typing import Final

from goodstanding.bounces import providers
from goodstanding.bounces.classify import classify, said_before
from goodstanding.bounces.phases import phases
from goodstanding.bounces.quoting import own_words, quoted
from goodstanding.bounces.reply import Reply, is_answer, take_apart
from goodstanding.bounces.report import Kind, Report
from goodstanding.bounces.text import SAID

# How a field of a report or of a webhook gives a reply.
_WRAPPED: Final = re.compile(r"\A\s*(?:smtp;\s*)?[\"']?(?=[2-5]\d\d[ -])", re.IGNORECASE)


def read_reply(text: str, provider: str | None = None, *, explain: bool = False) -> Report:
    """Read one SMTP reply (or an SMS provider's words), single-line or multi-line.

    The reply is read as finally given: the words decide its category, also of a 4xx. That a 4xx in
    a session is temporary is for the caller to know. A 2xx is ``delivered``. ``provider`` is a
    provider's name, a domain of it, or the host that answered. With ``explain`` the report says
    what else was in the running. Never raises on any text.
    """
    if not text.isascii():
        # Half a character, as JSON may hold one, could be written nowhere.
        text = text.encode("utf-8", "replace").decode()
    if not text[:1].isdigit():
        text = _WRAPPED.sub("", text).rstrip("\"' \r\n")
    reply = take_apart(text)
    named = providers.named(provider)
    said = reply.text[:SAID] or None
    if reply.code is not None and reply.code[0] in "23":
        kind: Kind = "delivered" if reply.code[0] == "2" else "not_a_report"
        return Report(kind=kind, status=reply.status, code=reply.code, text=said, provider=named)
    answer, *own = parts(text, reply)
    code, status = answer.code or reply.code, answer.status or reply.status
    # The domain of somebody's own says nothing of who takes its mail: the words may.
    known = named if providers.is_known(named) else None
    verdict = classify(
        [answer.text, *own],
        status=status,
        code=code,
        provider=known,
        alone=bool(own),
        explain=explain,
    )
    if verdict.disposition == "hard" or verdict.category == "undetermined":
        before, _ = phases(text)
        if before is not None:
            verdict = said_before(verdict, before, explain=explain)
    if own and verdict.rests_on(answer.text):
        said = answer.text[:SAID] or None
    return Report(
        kind="bounce",
        status=status,
        code=code,
        category=verdict.category,
        disposition=verdict.disposition,
        rule=verdict.rule,
        text=said,
        provider=verdict.provider or named,
        words=verdict.words,
        others=verdict.others,
    )


def parts(text: str, reply: Reply) -> tuple[Reply] | tuple[Reply, str]:
    """The answer that ``text`` quotes, and what is said round it; ``reply``, where it quotes none.

    ``reply`` is ``text`` taken apart.
    """
    heard = "" if is_answer(reply.text) else quoted(text)
    return (take_apart(heard), own_words(text, heard)) if heard else (reply,)
