"""One part of a mail, whoever parsed it."""

from __future__ import annotations

import msgspec


class Part(msgspec.Struct):
    """A node of the MIME tree.

    ``headers`` maps lower-cased names to their values in order; ``content`` is the decoded body of
    a leaf, None for a container. A ``message/rfc822`` part has the embedded mail as its one child.
    """

    content_type: str
    headers: dict[str, list[str]]
    content: bytes | None
    children: list[Part]

    def first(self, name: str) -> str:
        """The first value of the header ``name`` (lower case), or an empty string."""
        values = self.headers.get(name)
        return values[0] if values else ""
