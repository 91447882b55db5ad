"""What a mail says, apart from what differs from delivery to delivery.

A sender writes into each mail whose it is: in its Message-ID, its boundaries, its links, its date.
The same mail sent twice, even as two deliveries, has the same hash; so has the same text sent to
two people.
"""

from __future__ import annotations

import hashlib
import re
from typing import Final

import fast_mail_parser

MOST_BYTES: Final = 1024 * 1024
MOST_HEADERS: Final = 32 * 1024
MOST_ENCODED_WORDS: Final = 256

_LINK: Final = re.compile(r"(https?://|mailto:)[^\s<>\"']+")


def hash_of(content: bytes) -> str:
    """Return 16 hexadecimal digits for the subject and the texts, without what links lead to.

    Of a mail that is not safe to take apart, or cannot be, it is the body as it came.
    """
    end = content.find(b"\r\n\r\n")
    if _is_safe(content, end):
        try:
            mail = fast_mail_parser.parse_email(content)
            texts = [mail.subject or "", *mail.text_plain, "\x1e", *mail.text_html]
            text = _LINK.sub(r"\1", "\x1f".join(texts))
            return _digest(text.encode("utf-8", "surrogatepass"))
        except (fast_mail_parser.ParseError, ValueError):
            pass
    return _digest(content[end + 4 :] if end >= 0 else content)


def _is_safe(content: bytes, end: int) -> bool:
    # The parser takes quadratic time over long headers.
    return (
        0 <= end <= MOST_HEADERS
        and len(content) <= MOST_BYTES
        and content[:end].count(b"=?") <= MOST_ENCODED_WORDS
    )


def _digest(text: bytes) -> str:
    return hashlib.blake2b(text, digest_size=8).hexdigest()
