"""A content made ready, and one message of it for each recipient.

Whatever does not depend on the recipient is encoded beforehand: rendering is joining.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from goodstanding.mailings.mail import links, mime
from goodstanding.mailings.mail.content import AUTOMATIC, BULK, PERSONAL, offers_leaving, sender
from goodstanding.mailings.mail.slots import Scope

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from goodstanding.mailings.mail.confirming import Confirm
    from goodstanding.mailings.mail.content import Content
    from goodstanding.mailings.mail.signing import Signer
    from goodstanding.mailings.mail.slots import Slotted, Stamp

LARGEST: Final = 1_000_000
"""Characters that one recipient's merge fields may bring into a mail."""
_NOT_IN_HEADER: Final = re.compile(r"[^\x21-\x7e]")
_NOT_IN_FEEDBACK_ID: Final = re.compile(r"[^A-Za-z0-9._-]+")
# "=_" occurs in neither quoted-printable nor base64 (RFC 2045 section 6.7).
_BOUNDARY: Final = "=_goodstanding_alternative"
_BEFORE: Final = f"--{_BOUNDARY}\r\n".encode()
_BETWEEN: Final = f"\r\n--{_BOUNDARY}\r\n".encode()
_AFTER: Final = f"\r\n--{_BOUNDARY}--\r\n".encode()


class Compiled:
    """A content ready to be rendered any number of times, by any number of threads."""

    links: tuple[str, ...]
    """The web addresses of the HTML part that go by a click link, each once, in order."""
    confirms: tuple[Confirm, ...]
    """The links that confirm, in order."""

    def __init__(
        self,
        content: Content,
        links: tuple[str, ...],
        confirms: tuple[Confirm, ...],
        subject: Slotted,
        parts: Sequence[tuple[str, Slotted]],
        addresses: Sequence[tuple[int, Slotted]],
        signer: Signer | None,
    ) -> None:
        self.links = links
        self.confirms = confirms
        self._signer = signer
        self._addresses = addresses
        self._templates = {"subject": subject, **dict(parts)}
        self._leaving = content.purpose in BULK or offers_leaving(content)
        self._personal = content.purpose == PERSONAL
        self._senders = mime.mailbox("From", content.from_name, sender(content.from_address))
        if content.reply_to:
            self._senders += mime.mailbox("Reply-To", "", sender(content.reply_to))
        self._subject = subject
        self._fixed_subject = (
            None if subject.slots else mime.unstructured("Subject", subject.fixed[0])
        )
        self._last = "Auto-Submitted: auto-generated\r\n" if content.purpose in AUTOMATIC else ""
        self._last += "MIME-Version: 1.0\r\n"
        self._parts = [_EncodedPart(subtype, template) for subtype, template in parts]
        if len(parts) > 1:
            kind = f'multipart/alternative;\r\n boundary="{_BOUNDARY}"'
            self._last += f"Content-Type: {kind}\r\n\r\n"

    def render(self, fields: Mapping[str, str], recipient: str, stamp: Stamp) -> bytes:
        """The whole message for one recipient, with CRLF line ends.

        ``fields``: the recipient's merge fields; what is missing is empty.
        ``recipient``: a normalised email address.

        Raises:
            ValueError: the recipient or the stamp cannot stand in a header.
        """
        scope = Scope(fields, stamp)
        head = f"{self._senders}{self._heading(scope, recipient)}{self._last}".encode()
        if len(self._parts) == 1:
            message = head + self._parts[0].render(scope)
        else:
            rendered = _BETWEEN.join([part.render(scope) for part in self._parts])
            message = b"".join((head, _BEFORE, rendered, _AFTER))
        if self._signer is None:
            return message
        head, _, body = message.partition(b"\r\n\r\n")
        # The stamp's date, not the clock's: a second try is the same message.
        return self._signer.sign(head, body, stamp.date // 1_000_000) + message

    def size(self, fields: Mapping[str, str]) -> int:
        """How many bytes the HTML has in UTF-8 for such fields; 0 where there is none."""
        template = self._templates.get("html")
        if template is None:
            return 0
        return len(template.render(Scope(fields, TRIAL)).encode("utf-8", "replace"))

    def problem(self, fields: Mapping[str, str], recipient: str) -> str | None:
        """Why this recipient's message would not be fit to be sent; None: it would be.

        Faster than rendering it, and told before the first one leaves.
        """
        if not mime.is_mailbox(recipient):
            return "the address cannot stand in a To header"
        scope = Scope(fields, TRIAL)
        try:
            values = [template.values(scope) for template in self._templates.values()]
            for line, template in self._addresses:
                url = template.render(scope)
                if url and not links.is_whole(url):
                    return (
                        f"html, line {line}: the address would be {url[:80]!r}, which begins with"
                        " neither http://, https://, mailto: nor tel:"
                    )
        except Exception as error:  # noqa: BLE001 - whatever it is, it must not come up later
            return f"it cannot be rendered: {error}"
        if sum(len(value) for each in values for value in each) > LARGEST:
            return f"its merge fields are longer than {LARGEST:,} characters"
        if self._fixed_subject is None and not mime.one_line(self._subject.render(scope)):
            return "the subject would be empty"
        return None

    def _heading(self, scope: Scope, recipient: str) -> str:
        if not mime.is_mailbox(recipient):
            raise ValueError(f"{recipient[:80]!r} cannot stand in a To header")
        stamp = scope.stamp
        subject = self._fixed_subject
        if subject is None:
            subject = mime.unstructured("Subject", self._subject.render(scope))
        message_id = stamp.message_id.strip("<>")
        given = [message_id]
        lines = [
            f"To: {recipient}\r\n",
            subject,
            f"Date: {mime.date(stamp.date // 1_000_000)}\r\n",
            f"Message-ID: <{message_id}>\r\n",
        ]
        if self._leaving:
            mailto = stamp.unsubscribe_mailto
            by_mail = f"<{mailto}>,\r\n " if mailto else ""
            lines.append(
                f"List-Unsubscribe: {by_mail}<{stamp.one_click_url}>\r\n"
                "List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n"
            )
            given += (stamp.one_click_url, mailto or "")
            if stamp.list_id:
                lines.append(f"List-Id: <{stamp.list_id}>\r\n")
                given.append(stamp.list_id)
        if stamp.feedback_id and not self._personal:
            names = [_NOT_IN_FEEDBACK_ID.sub("_", name) for name in stamp.feedback_id]
            lines.append(f"Feedback-ID: {':'.join(names)}\r\n")
        if _NOT_IN_HEADER.search("".join(given)):
            raise ValueError(f"the stamp of delivery {stamp.delivery} cannot stand in a header")
        return "".join(lines)


class _EncodedPart:
    """One part of the message: its own headers, and a body with slots."""

    def __init__(self, subtype: str, template: Slotted) -> None:
        self._template = template
        self._body = mime.Body(template.fixed)
        self._headers = (
            f'Content-Type: text/{subtype}; charset="utf-8"\r\n'
            f"Content-Transfer-Encoding: {self._body.encoding}\r\n\r\n"
        ).encode()

    def render(self, scope: Scope) -> bytes:
        return self._headers + self._body.encode(self._template.values(scope))


class _Trial:
    """A stamp for trying a content before anything is sent."""

    delivery = 0
    date = 0
    message_id = "trial@example.com"
    unsubscribe_url = preferences_url = one_click_url = "https://example.com/"
    unsubscribe_mailto = list_id = None
    open_url: str | None = None
    feedback_id: tuple[str, ...] = ()

    def click_url(self, n: int, /) -> str:
        return f"https://example.com/{n}"

    confirm_url = click_url


TRIAL: Final = _Trial()
