"""What a mailing says, as it was written, and what its purpose asks of it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import msgspec

from goodstanding.core import addresses
from goodstanding.mailings.mail import confirming, merge
from goodstanding.mailings.mail.confirming import Confirm

if TYPE_CHECKING:
    from collections.abc import Sequence

BULK: Final = frozenset({"broadcast", "sequence"})
"""Purposes that must let everybody leave, and say who writes. Only in these are opens and links
counted: nobody has agreed to that who gets a receipt, or is asked to confirm, or is written to by
another person."""
SIGNED_OFF: Final = BULK | {confirming.PURPOSE}
"""Purposes that must say where the sender is."""
PERSONAL: Final = "one_off"
"""The purpose of what looks like one person's mail to another, for that it is."""
AUTOMATIC: Final = frozenset({"transactional", "confirmation"})
"""Purposes of which no person presses the button: marked so (RFC 3834 section 5)."""
UNSUBSCRIBE: Final = "unsubscribe_url"
PREFERENCES: Final = "preferences_url"
POSTAL: Final = "postal_address"
OURS: Final = frozenset({UNSUBSCRIBE, PREFERENCES, POSTAL})
"""Merge fields that need no column; they win over a column of the same name."""
# A NUL; and the noncharacters that stand for template tags while HTML is read.
_NOBODYS: Final = re.compile("[\x00\ufdd0-\ufdef]")
_LEAVING: Final = re.compile(rf"\b(?:{UNSUBSCRIBE}|{PREFERENCES})\b")


class Content(msgspec.Struct, frozen=True, kw_only=True):
    """What a mailing says, as it was written; texts are templates of :mod:`.merge`."""

    from_address: str
    from_name: str = ""
    reply_to: str | None = None
    subject: str
    html: str | None = None
    text: str | None = None
    postal_address: str = ""
    purpose: str = "broadcast"
    topic: str | None = None
    confirms: tuple[Confirm, ...] = ()
    """What a request for confirmation links to; none: one link, to everything."""


class ContentError(ValueError):
    """A content that must not be sent. ``problems``: one plain sentence each."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


def sender(address: str) -> str:
    """The address as it stands in a header.

    Raises:
        MalformedAddress: it is none.
    """
    return addresses.normalise("email", address).value


def source_of(text: str) -> str:
    """A template as it was written, with one kind of line end and nobody's characters."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n")
    return _NOBODYS.sub("", lines)


def offers_leaving(content: Content) -> bool:
    """Whether it holds a link by which one leaves, so that its headers may have it too."""
    sources = (content.html or "", content.text or "")
    return any(_LEAVING.search(tag) for source in sources for tag in merge.TAG.findall(source))
