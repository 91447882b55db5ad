"""Reading a mail: guard, parse, extract, classify."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from functools import cache, partial
from typing import Final

from goodstanding.bounces import (
    delivery_status,
    feedback,
    notification,
    prose,
    providers,
    text,
)
from goodstanding.bounces.classify import (
    SAID_BEFORE,
    Heard,
    Verdict,
    classify,
    hear,
    said_before,
)
from goodstanding.bounces.guard import guard
from goodstanding.bounces.matcher import fold
from goodstanding.bounces.mbox import mails
from goodstanding.bounces.mime import parse
from goodstanding.bounces.phases import Phases, phases
from goodstanding.bounces.quoting import host_of, own_words, paragraph, quoted
from goodstanding.bounces.reply import Codes, codes, is_answer, is_generic, take_apart
from goodstanding.bounces.report import Kind, Reading, Report
from goodstanding.bounces.said import Said
from goodstanding.bounces.signals import Signals, signals
from goodstanding.bounces.view import View, view

_UNSUBSCRIBE_TO: Final = re.compile(
    r"(?:^|[<\s,+=_.-])(?:un-?subscribe|opt-?out|leave|remove)[+=_.@-]", re.IGNORECASE
)
_CLEAR: Final = 2  # the weight from which on a notice of failure is rather one of another kind
_AGGREGATE: Final = re.compile(r"\s*report[ -]domain:", re.IGNORECASE)
_FORENSIC: Final = re.compile(r"\s*dmarc (?:forensic|failure) report\b", re.IGNORECASE)


def read(message: bytes, *, explain: bool = False) -> list[Report]:
    """The reports in ``message``, one for each recipient; none for plain mail. Never raises.

    Of several mails in one, as mbox files hold them, the reports of all. With ``explain`` each says
    what else was in the running.
    """
    return [
        report for mail in mails(message) for report in _reports(view(parse(guard(mail))), explain)
    ]


def read_mail(message: bytes) -> Reading:
    """``message`` as read: reports, date, and the original that it returns. Never raises."""
    seen = view(parse(guard(message)))
    return Reading(
        reports=tuple(_reports(seen)),
        date=text.date(seen.first("date")),
        subject=text.header(seen.first("subject")),
        original=seen.original,
    )


def _reports(seen: View, explain: bool = False) -> list[Report]:
    if seen.feedback and (complaints := feedback.extract(seen.feedback, seen)):
        return complaints
    if seen.status and (found := delivery_status.extract(seen.status, seen.notice)):
        return _classified(found, explain)
    if complaints := feedback.old_form(seen):
        return complaints
    found, complaints = notification.extract(seen.notice())
    if found or complaints:
        return [*complaints, *_classified(found, explain)]
    return _by_signals(seen, explain)


def _by_signals(seen: View, explain: bool) -> list[Report]:
    """What a mail without any part for machines is, by the words of people's language."""
    subject = text.header(seen.first("subject"))
    heard = signals(seen, subject)
    if heard.enough("bounce") and not heard.rather("challenge", "bounce"):
        found = _told(seen)
        if not found and (wrapped := _wrapped(seen, explain)):
            return wrapped
        found = found or _about_what_is_returned(seen)
        for said in found:
            if said.action is None:
                said.kind = _kind(heard)
        if found:
            return _classified(found, explain)
    if _is_about_authentication(seen, subject):
        return [Report(kind="authentication_report", feedback_type="auth-failure")]
    if _asks_to_leave(seen, heard):
        return [_about_sender(seen, "unsubscribe_request", feedback_type="opt-out")]
    if heard.enough("challenge"):
        return [_about_sender(seen, "challenge")]
    if heard.enough("auto_reply"):
        return [_about_sender(seen, "auto_reply")]
    return []


def _is_about_authentication(seen: View, subject: str) -> bool:
    """Whether it is an aggregate report (RFC 7489), or one of a failure that is told in prose."""
    parts = seen.root.children or [seen.root]
    if _AGGREGATE.match(subject):
        return any("zip" in one.content_type for one in parts)
    return _FORENSIC.match(subject) is not None and "report" in seen.root.content_type


def read_again(
    kind: Kind,
    kept: str,
    *,
    status: str | None = None,
    code: str | None = None,
    provider: str | None = None,
    recipient: str | None = None,
    rule: str | None = None,
    words: str | None = None,
) -> Report | None:
    """Read what was kept of a report once more: its text, its codes and who said it.

    None where what it was read by, ``words`` or when it was said (``rule``), is not in the text:
    then that stood elsewhere in the mail, and what is kept of it is not enough.
    """
    if words is not None and words.encode() not in fold(kept):
        return None
    if rule == SAID_BEFORE and phases(kept)[0] is None:
        return None
    said = Said(kind=kind, text=kept, status=status, code=code, host=provider, recipient=recipient)
    return _report(said, _Looks(shared=False))


def _told(seen: View) -> list[Said]:
    """What a notice for people tells."""
    if delivery_status.in_text(seen.notice()) and (
        found := delivery_status.extract([seen.notice()], seen.notice)
    ):
        return found
    if seen.inner_status and (found := delivery_status.extract(seen.inner_status, seen.notice)):
        # A daemon that wrapped a report in a mail of its own.
        return found
    own = {one.lower() for one in text.addresses(f"{seen.first('to')} {seen.first('from')}"[:2000])}
    failed = text.addresses(seen.first("x-failed-recipients")[:8000])
    found = prose.extract(seen.notice(), own, failed)
    if not found and seen.markup:
        found = prose.extract(seen.html_notice(), own, failed)
    if found and prose.of_service(found):
        # Told so that one may ask there: about the list itself.
        asked = _about_what_is_returned(seen) if seen.original.get("to") else []
        return asked or prose.of_list(found, text.sender(seen.first("from")) or "")
    return found


def _about_what_is_returned(seen: View) -> list[Said]:
    """One whom the original was for, where the notice names nobody."""
    wider = [seen.notice()].copy
    if found := text.addresses(seen.original.get("to", "")[:2000], 1):
        return [Said(recipient=found[0], wider=wider)]
    # Without a recipient and without what is returned, it only speaks of bounces.
    return [Said(wider=wider)] if seen.returned or seen.behind() else []


def _kind(heard: Signals) -> Kind:
    if heard.weights.get("delayed", 0) >= _CLEAR:
        return "delayed"
    return "delivered" if heard.weights.get("delivered", 0) >= _CLEAR else "bounce"


def _wrapped(seen: View, explain: bool) -> list[Report]:
    """The reports in a report that a daemon put, as text, into a notice of its own."""
    if not seen.behind():
        return []
    inner = view(parse(guard(seen.behind().encode("utf-8", "replace"))))
    inner.halves = inner.notice(), ""
    return _reports(inner, explain)


class _Looks:
    """What is found in a text. Recipients share texts, above all the notice: one look is enough."""

    __slots__ = ("codes", "hear", "phases", "quoted")

    def __init__(self, *, shared: bool) -> None:
        self.hear: Callable[[str], Heard] = cache(hear) if shared else hear
        self.quoted: Callable[[str], str] = cache(quoted) if shared else quoted
        self.codes: Callable[[str], Codes] = cache(_codes) if shared else _codes
        self.phases: Callable[[str], Phases] = cache(phases) if shared else phases


def _classified(found: list[Said], explain: bool) -> list[Report]:
    looks = _Looks(shared=len(found) > 1)
    return [_report(said, looks, explain=explain) for said in found]


def _report(said: Said, looks: _Looks, *, explain: bool = False) -> Report:
    heard = _heard(said, looks)
    whole = take_apart(said.text)
    answer = take_apart(heard) if heard else whole
    code = answer.code or whole.code or said.code
    status = said.status
    if answer.status is not None and (heard or answer.code is not None or is_generic(status)):
        # What the server said is nearer to it than what the reporter made of it.
        status = answer.status
    if code is None:
        for wider in said.context:
            code, around = looks.codes(wider)
            if is_generic(status):
                status = around or status
            if code is not None:
                break
    verdict: Verdict | None = None
    if said.kind in ("bounce", "delayed"):
        texts = _texts(said, heard, answer.text, looks)
        verdict = _verdict(
            said, texts, answer.text, status, code, looks, alone=bool(heard), explain=explain
        )
    if heard and verdict and verdict.rule != SAID_BEFORE and verdict.rests_on(answer.text):
        words = answer.text
    else:
        words = whole.text or " ".join(" ".join(said.context[:1]).split())
    return Report(
        kind=said.kind,
        recipient=said.recipient,
        original_recipient=said.original_recipient,
        action=said.action,
        status=status,
        code=code,
        text=words[: text.SAID] or None,
        category=verdict.category if verdict else None,
        disposition=("none" if said.kind == "delayed" else verdict.disposition)
        if verdict
        else None,
        rule=verdict.rule if verdict else None,
        words=verdict.words if verdict else None,
        others=verdict.others if verdict else (),
        provider=verdict.provider if verdict else _provider(said),
    )


def _codes(text: str) -> Codes:
    """The reply code and the enhanced status code of a text that quotes an answer, or is one."""
    return codes(quoted(text) or text)


def _heard(said: Said, looks: _Looks) -> str:
    """What the server answered, where a reporter quotes it."""
    around = said.text
    if not around and said.action is None and said.context:
        # A notice for people that names somebody by the way.
        around = said.context[0]
    heard = looks.quoted(around)
    if is_answer(around) and not (heard and f"<{heard[:7]}" in around):
        # An answer itself, whatever it quotes in turn, but for the last deferral.
        return "" if said.action else paragraph(around)
    if heard and said.host is None:
        said.host = host_of(around, heard)
    return heard


def _verdict(
    said: Said,
    texts: Iterable[str],
    answer: str,
    status: str | None,
    code: str | None,
    looks: _Looks,
    *,
    alone: bool,
    explain: bool,
) -> Verdict:
    decide = partial(
        classify,
        hear=looks.hear,
        status=status,
        code=code,
        host=said.host,
        recipient=said.recipient,
        reporter=said.reporter,
        delayed=said.kind == "delayed",
        is_reply=alone or (answer != "" and (said.action is not None or is_answer(answer))),
        explain=explain,
    )
    verdict = decide(texts, alone=alone)
    if verdict.disposition != "hard" and verdict.category != "undetermined":
        return verdict
    told = [looks.phases(text) for text in (said.text, *said.context)]
    for category, _ in told:
        if category is not None:
            return said_before(verdict, category, explain=explain)
    if verdict.provider is not None and any(after_data for _, after_data in told):
        # A provider that refuses a recipient only then has accepted them before.
        return decide([f"{answer} (after end of data)"])
    return verdict


def _texts(said: Said, heard: str, answer: str, looks: _Looks) -> Iterator[str]:
    if heard:
        # What the reporter adds in its own words may say more, but never together with the answer.
        yield answer
        yield own_words(said.text, heard)
        return
    if answer:
        yield answer
    for wider in said.context:
        if told := looks.quoted(wider):
            yield told
            yield own_words(wider, told)
        else:
            yield wider


def _provider(said: Said) -> str | None:
    return providers.by_host(said.host) or providers.by_recipient(said.recipient)


def _asks_to_leave(seen: View, heard: Signals) -> bool:
    if heard.enough("unsubscribe_request"):
        return True
    return _UNSUBSCRIBE_TO.search(seen.first("to")[:1000]) is not None and not seen.first("list-id")


def _about_sender(seen: View, kind: Kind, *, feedback_type: str | None = None) -> Report:
    sender = text.sender(seen.first("from"))
    return Report(
        kind=kind,
        recipient=sender,
        text=" ".join(seen.notice().split())[: text.SAID] or None,
        provider=providers.by_recipient(sender),
        feedback_type=feedback_type,
    )
