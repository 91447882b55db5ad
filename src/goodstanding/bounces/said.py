"""What a mail says about one recipient, before it is classified."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from goodstanding.bounces.report import Kind


class Said(msgspec.Struct, kw_only=True):
    """One recipient's failure, delay or success as the mail tells it.

    ``text`` is what the server said; ``wider`` gives wider texts, nearest first, for where that
    means nothing: mostly it means enough, and they need not be looked for. ``code`` is the reply
    code, for where no text holds it. ``host`` is the server
    that said it, ``reporter`` the one that tells of it.
    """

    kind: Kind = "bounce"
    recipient: str | None = None
    original_recipient: str | None = None
    action: str | None = None
    status: str | None = None
    code: str | None = None
    text: str = ""
    wider: Callable[[], list[str]] = list
    host: str | None = None
    reporter: str | None = None
    known: list[str] | None = None

    @property
    def context(self) -> list[str]:
        """The wider texts."""
        if self.known is None:
            self.known = self.wider()
        return self.known
