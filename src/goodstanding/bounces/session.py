"""Reading one reply, as finally given."""

from __future__ import annotations

from goodstanding.bounces import providers
from goodstanding.bounces.classify import classify
from goodstanding.bounces.reply import quoted, take_apart
from goodstanding.bounces.report import Kind, Report
from goodstanding.bounces.text import SAID


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
    reply = take_apart(text)
    named = providers.named(provider)
    said = reply.text[:SAID] or None
    if reply.code is not None and reply.code[0] in "23":
        kind: Kind = "delivered" if reply.code[0] == "2" else "not_a_report"
        return Report(kind=kind, status=reply.status, code=reply.code, text=said, provider=named)
    heard = "" if reply.text[:1].isdigit() else quoted(text)
    texts = [heard, reply.text] if heard else [reply.text]
    # The domain of somebody's own says nothing of who takes its mail: the words may.
    known = named if providers.is_known(named) else None
    verdict = classify(
        texts,
        status=reply.status,
        code=reply.code,
        provider=known,
        alone=bool(heard),
        explain=explain,
    )
    return Report(
        kind="bounce",
        status=reply.status,
        code=reply.code,
        category=verdict.category,
        disposition=verdict.disposition,
        rule=verdict.rule,
        text=said,
        provider=verdict.provider or named,
        words=verdict.words,
        others=verdict.others,
    )
