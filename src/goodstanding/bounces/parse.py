"""The MIME tree of a guarded mail."""

from __future__ import annotations

from fast_mail_parser import ParseError, PyLazyMimePart, parse_email_tree

from goodstanding.bounces import splitter
from goodstanding.bounces.guard import Guarded
from goodstanding.bounces.part import Part

PARTS = 60  # parts looked at
DEPTH = 8  # levels looked at


def parse(mail: Guarded) -> Part:
    """The tree of ``mail``: by the parser where it may be trusted, else by our own splitter."""
    if mail.calm:
        try:
            root = parse_email_tree(mail.message, mode="lazy")
            if not _is_hollow(root):
                return _Copy().copy(root, 0)
        except ParseError:
            pass
    return splitter.split(mail.message)


def _is_hollow(root: PyLazyMimePart) -> bool:
    """Whether the parser lost the mail: nothing in it, or a container with nothing inside."""
    if root.children:
        return any(
            child.content_type.startswith("multipart/") and not child.children
            for child in root.children
        )
    return not root.headers or root.content_type.startswith("multipart/") or not root.content


class _Copy:
    """Copies the first parts of a tree, so that nobody downstream has to count."""

    def __init__(self) -> None:
        self.left = PARTS

    def copy(self, node: PyLazyMimePart, depth: int) -> Part:
        self.left -= 1
        headers: dict[str, list[str]] = {}
        for name, values in node.headers.items():
            headers.setdefault(name.lower(), []).extend(values)
        children: list[Part] = []
        if depth < DEPTH:
            for child in node.children:
                if self.left <= 0:
                    break
                children.append(self.copy(child, depth + 1))
        content = None
        if not node.children:
            try:
                content = node.content
            except ParseError:
                content = b""
        return Part(node.content_type.lower(), headers, content, children)
