"""The mailboxes that the mail listener has, and what the address of each tells."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final, Literal

import msgspec
from django.conf import settings

from goodstanding.core.addresses import MalformedAddress, normalise
from goodstanding.intake import tokens

Use = Literal["return_path", "unsubscribe", "complaints", "postmaster", "sender"]


class Mailbox(msgspec.Struct, frozen=True):
    """A mailbox of ours: what it is for, and the delivery that its signed token names."""

    use: Use
    delivery: int | None = None


_PLAIN: Final[dict[str, Use]] = {
    "complaints": "complaints",
    "postmaster": "postmaster",
    "abuse": "postmaster",
}
_SIGNED: Final[dict[str, tuple[Use, str]]] = {
    "b-": ("return_path", "return-path"),
    "unsubscribe-": ("unsubscribe", "unsubscribe"),
}
# Where a returned mail's headers name the delivery: prefix of the local part, purpose.
_TRACES: Final = {"b": "return-path", "m": "message-id", "unsubscribe": "unsubscribe"}
_TRACE: Final = re.compile(
    r"(?<![a-z0-9-])(b|m|unsubscribe)-([0-9a-f]{24,40})@([a-z0-9.-]{1,255})", re.IGNORECASE
)
_MOST_TEXT: Final = 20_000  # characters of a header that are looked at


def find(address: str) -> Mailbox | None:
    """The mailbox of ours with that address; None where there is none, or its token is not ours."""
    local, _, domain = address.lower().rpartition("@")
    if not local:
        # RFC 5321 section 4.5.1: postmaster is known without a domain too.
        return Mailbox("postmaster") if domain == "postmaster" else None
    if domain.rstrip(".") == bounce_domain():
        use = _PLAIN.get(local)
        if use is not None:
            return Mailbox(use)
        for prefix, (signed_use, purpose) in _SIGNED.items():
            if local.startswith(prefix):
                numbers = tokens.named(purpose, local.removeprefix(prefix))
                if numbers is not None:
                    return Mailbox(signed_use, numbers[0])
    return Mailbox("sender") if _is_sender(address) else None


def traced(texts: Iterable[str]) -> int | None:
    """The delivery that the first signed token in headers of a message of ours names.

    ``Message-ID``, ``Return-Path``, ``List-Unsubscribe`` and, in answers, ``In-Reply-To`` and
    ``References`` hold them.
    """
    for text in texts:
        for kind, token, domain in _TRACE.findall(text[:_MOST_TEXT]):
            if domain.lower().rstrip(".") != bounce_domain():
                continue
            numbers = tokens.named(_TRACES[kind.lower()], token)
            if numbers is not None:
                return numbers[0]
    return None


def bounce_domain() -> str:
    """The domain of return paths and Message-IDs, in lower case."""
    domain: str = settings.OPTIONS.bounce_domain
    return domain.lower().rstrip(".")


def _is_sender(address: str) -> bool:
    ours: str = settings.OPTIONS.sender_address
    if not ours:
        return False
    try:
        return normalise("email", address) == normalise("email", ours)
    except MalformedAddress:
        return False
