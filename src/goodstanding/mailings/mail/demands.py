"""What a mail must hold, and what may not stand in its headers: told before anything leaves."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from goodstanding.core import addresses
from goodstanding.mailings.mail import confirming, links, merge, mime
from goodstanding.mailings.mail.content import BULK, POSTAL, SIGNED_OFF, UNSUBSCRIBE, sender

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from goodstanding.mailings.mail.confirming import Confirm
    from goodstanding.mailings.mail.content import Content

_BREAKS: Final = re.compile(r"[\r\n\x00\x0b\x0c\x85\u2028\u2029]")


class Wanted(NamedTuple):
    """What everybody must see: one of these merge fields."""

    names: Sequence[str]
    what: str


def header_problems(content: Content) -> list[str]:
    """What cannot stand in the headers, and what is missing there."""
    problems = [
        f"{name}: a line end or a NUL cannot stand in a header"
        for name, value in (
            ("subject", content.subject),
            ("from name", content.from_name),
            ("from address", content.from_address),
            ("reply-to", content.reply_to or ""),
        )
        if _BREAKS.search(value)
    ]
    for name, address in (("from address", content.from_address), ("reply-to", content.reply_to)):
        try:
            if address is not None and not sender(address).isascii():
                problems.append(f"{name}: only ASCII is understood everywhere before the @")
        except addresses.MalformedAddress as exc:
            problems.append(f"{name}: {exc}")
    if not mime.one_line(content.subject):
        problems.append("subject: it is empty")
    if content.purpose in SIGNED_OFF and not content.postal_address.strip():
        problems.append(
            f"a {content.purpose} must say where the sender is: no postal address is set"
        )
    return problems


def wanted_in(content: Content, confirms: Sequence[Confirm]) -> list[Wanted]:
    """What the parts of a mail must hold, in the order in which a text gets what it lacks."""
    wanted = []
    if content.purpose == confirming.PURPOSE:
        wanted.append(Wanted([*confirming.fields(confirms)], "a link to confirm by"))
    if content.purpose in SIGNED_OFF:
        wanted.append(Wanted([POSTAL], "the postal address"))
    if content.purpose in BULK:
        wanted.append(Wanted([UNSUBSCRIBE], "an unsubscribe link"))
    return wanted


def footer_problems(
    kind: str, source: str, template: merge.Merge, wanted: Sequence[Wanted]
) -> list[str]:
    """What everybody must see may hang on no condition and hide in no comment."""
    commented = links.scan(source).commented if kind == "html" else []
    problems = []
    for names, what in wanted:
        seen = sum(isinstance(p, merge.Field) and p.name in names for p in template.parts)
        hidden = sum(
            links.within(match.start(), commented)
            for match in re.finditer(
                rf"{{{{\s*(?:{'|'.join(map(re.escape, names))})\s*}}}}", source
            )
        )
        if seen <= hidden:
            problems.append(
                f"{kind}: {what} is missing: write {{{{ {names[0]} }}}} where everybody sees it,"
                " outside of any condition and comment"
            )
    return problems


def confirms_of(content: Content) -> tuple[tuple[Confirm, ...], list[str]]:
    """The links by which a mail is confirmed, and what is wrong with them."""
    if content.purpose == confirming.PURPOSE:
        confirms = content.confirms or (confirming.Confirm(),)
        return confirms, confirming.problems(confirms)
    wrong = f"links to confirm by are for a confirmation, not for a {content.purpose}"
    return (), [wrong] if content.confirms else []


def misplaced(content: Content) -> set[str]:
    """Fields that only a confirmation has: known, so that what is wrong with them is said once."""
    return confirming.fields_in(
        "\n".join((content.subject, content.html or "", content.text or ""))
    )


def confirm_problems(
    content: Content, confirms: Sequence[Confirm], found: Mapping[str, merge.Merge | None]
) -> list[str]:
    """Whether the mail holds each of its links that confirm, and no other."""
    used = {kind: template.names() for kind, template in found.items() if template is not None}
    misplaced = [
        (kind, name)
        for kind, names in used.items()
        if not confirms or kind == "subject"
        for name in sorted(filter(confirming.is_field, names))
    ]
    if misplaced:
        there = (
            "the text of a confirmation"
            if confirms
            else f"a confirmation, not for a {content.purpose}"
        )
        return [f"{kind}: {{{{ {name} }}}} is for {there}" for kind, name in misplaced]
    # Where there is one link alone, every part must have it.
    return confirming.unused(confirms, set().union(*used.values())) if len(confirms) > 1 else []
