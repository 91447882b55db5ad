"""Options that several commands have, and how what they say is read."""

from __future__ import annotations

import getpass
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from goodstanding.cli.output import BadInput, complain

if TYPE_CHECKING:
    from goodstanding.core.addresses import Address, Channel
    from goodstanding.core.annulments import Predicate
    from goodstanding.core.policies import Policy

_LONGEST: Final = 64 * 1024  # bytes of one reply

Json = Annotated[bool, typer.Option("--json", help="Print JSON, an item a line, and nothing else.")]
At = Annotated[
    str | None,
    typer.Option(
        "--at",
        metavar="TIME",
        help="Answer as of then (RFC 3339 with an offset): only what had happened by that time.",
    ),
]
By = Annotated[
    str | None,
    typer.Option("--by", metavar="WHO", help="Who does it; the name of your login if left out."),
]
Why = Annotated[
    str | None, typer.Option("--why", "--reason", metavar="TEXT", help="Why; kept for good.")
]
Provider = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Of mailboxes at that provider, such as gmail.com."),
]
Domain = Annotated[str | None, typer.Option(metavar="DOMAIN", help="Of addresses at that domain.")]
Category = Annotated[
    str | None, typer.Option(metavar="NAME", help="Read as that category: mailbox_unknown …")
]
Rule = Annotated[
    str | None, typer.Option(metavar="NAME", help="Read so by that rule (`why` names it).")
]
Since = Annotated[
    str | None,
    typer.Option("--from", metavar="TIME", help="That happened then or later (RFC 3339)."),
]
Until = Annotated[
    str | None, typer.Option(metavar="TIME", help="And then or earlier; now if left out.")
]
Replies = Annotated[
    Path | None, typer.Option(metavar="FILE", help="A file of SMTP replies, one a line.")
]
RulesFile = Annotated[
    Path | None,
    typer.Option("--rules", metavar="FILE", help="Rules of your own, to be read by as well."),
]
PolicyName = Annotated[
    str | None,
    typer.Option(
        "--policy",
        metavar="NAME",
        help="Answer under another policy, a preset or a file, without changing anything.",
    ),
]


def present() -> int:
    """The present, in microseconds."""
    return time.time_ns() // 1_000


def login() -> str:
    """Who calls the command."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"


def stamp() -> str:
    """The present as it may stand in a name: ``20270601-093000``."""
    return time.strftime("%Y%m%d-%H%M%S", time.gmtime())


def must_be_text(text: str) -> None:
    """See that an argument is text: what is not UTF-8 comes in with half surrogates.

    Raises:
        BadInput: it is not.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        raise BadInput(f"{text!r} is not UTF-8.") from None


def moment(text: str | None) -> int | None:
    """The time that an option says, in microseconds.

    Raises:
        BadInput: it is not RFC 3339 with an offset.
    """
    if text is None:
        return None
    from goodstanding.core import times

    try:
        return times.parse(text)
    except ValueError as error:
        raise BadInput(str(error)) from None


def failures(
    since: str | None,
    until: str | None,
    *,
    provider: str | None,
    domain: str | None,
    category: str | None,
    rule: str | None,
) -> Predicate:
    """The failures that options name: all from the beginning until now, where they name none.

    Raises:
        BadInput: a time is not RFC 3339 with an offset.
    """
    from goodstanding.core.annulments import Predicate

    ends = moment(until)
    return Predicate(
        since=moment(since) or 0,
        until=present() if ends is None else ends,
        provider=_lower(provider),
        domain=_lower(domain),
        category=category,
        rule=rule,
    )


def _lower(text: str | None) -> str | None:
    return text.strip().lower() if text is not None else None


def policy(name: str | None) -> Policy | None:
    """The policy that an option names, None where it names none.

    Raises:
        BadInput: there is none of that name.
    """
    if name is None:
        return None
    from goodstanding.core import policy_files

    try:
        return policy_files.load(name)
    except policy_files.BadPolicy as error:
        raise BadInput(str(error)) from None


def use_rules(file: Path | None) -> None:
    """Read bounces by the rules in that file too; by the package's alone where there is none.

    Raises:
        BadInput: the file cannot be used; what else is wrong with it was told before.
    """
    from goodstanding import bounces

    try:
        bounces.use_rules(file)
    except bounces.BadRules as error:
        *others, last = error.wrong
        for sentence in others:
            complain(sentence)
        raise BadInput(last) from None


def replies(file: Path) -> Iterator[tuple[str, str]]:
    """The SMTP replies in a file, each with its place.

    Raises:
        BadInput: it cannot be read.
    """
    from goodstanding.bounces.mailboxes import printable

    try:
        with file.open("rb") as opened:
            number = 0
            while line := opened.readline(_LONGEST):
                number += 1
                text = line.decode("utf-8", "replace").strip()
                while len(line) == _LONGEST and not line.endswith(b"\n"):
                    line = opened.readline(_LONGEST)
                if text:
                    yield f"{printable(str(file))}#{number}", text
    except OSError as error:
        raise BadInput(f"{file} cannot be read: {error.strerror or error}.") from None


def addresses(texts: Sequence[str]) -> list[Address]:
    """The addresses that arguments say: with an @ email, else what begins like a number is one.

    Raises:
        BadInput: one of them is malformed; every one that is has been complained of.
    """
    return _each(texts, address)


def known_addresses(texts: Sequence[str]) -> list[Address]:
    """The same for a question: also the malformed ones that an import kept.

    Raises:
        BadInput: one of them is malformed and was never kept; all of those are complained of.
    """
    return _each(texts, known_address)


def _each(texts: Sequence[str], read: Callable[[str], Address]) -> list[Address]:
    from goodstanding.core.addresses import MalformedAddress

    found = []
    wrong = []
    for text in texts:
        try:
            found.append(read(text))
        except MalformedAddress as error:
            wrong.append(str(error))
    for sentence in wrong[:-1]:
        complain(sentence)
    if wrong:
        raise BadInput(wrong[-1])
    return found


def address(text: str) -> Address:
    """The address that an argument says: with an @ email, else a number.

    Raises:
        MalformedAddress: it says none.
    """
    from django.conf import settings

    from goodstanding.core.addresses import normalise

    return normalise(_channel(text), text, settings.OPTIONS.region)


def known_address(text: str, channel: Channel | None = None) -> Address:
    """The address that an argument says, or the malformed one that was kept as it was written.

    ``channel``: where to look for a malformed one; None: first on that which it looks like.

    Raises:
        MalformedAddress: it says none, and none was kept.
    """
    from goodstanding.contacts.rows import as_kept
    from goodstanding.core.addresses import Address, MalformedAddress
    from goodstanding.ledger import lookup

    try:
        return address(text)
    except MalformedAddress:
        looks_like = _channel(text)
        other: Channel = "sms" if looks_like == "email" else "email"
        kept = as_kept(text.strip())
        places = [Address(each, kept) for each in ([channel] if channel else [looks_like, other])]
        known = lookup.address_ids(places) if kept else {}
        for place in places:
            if place in known:
                return place
        raise


def _channel(text: str) -> Channel:
    numeric = text[:1].isdecimal() or text[:1] in tuple("+\uff0b(")
    return "sms" if numeric and "@" not in text else "email"
