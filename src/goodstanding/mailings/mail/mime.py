"""Headers and bodies of a message, written by hand for speed (RFC 5322, 2045 to 2047).

The email package takes a millisecond for what changes very little from one recipient to the next.
Here all that stays the same is encoded once.
"""

from __future__ import annotations

import re
from binascii import b2a_base64, b2a_qp
from datetime import UTC, datetime
from email.utils import format_datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Sequence

LINE: Final = 76
"""Characters of a line that holds an encoded word or an encoded body."""

_WORD_FRAME: Final = len("=?utf-8?b??=")
_SPACES: Final = re.compile(r"[\x00-\x20\x7f-\x9f\u2028\u2029]+")
_ATOMS: Final = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~ -]+")
_DOT_ATOM: Final = r"[^\s\x00-\x20\x7f-\x9f\u2028\u2029()<>\[\]:;@\\,.\"]+"
_MAILBOX: Final = re.compile(
    rf"(?:{_DOT_ATOM}(?:\.{_DOT_ATOM})*|"
    r'"(?:[^"\\\x00-\x1f\x7f-\x9f\u2028\u2029]|\\[\x20-\x7e])*")'
    r"@[A-Za-z0-9.\[\]:-]+"
)
_UNSAFE: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")


def one_line(text: str) -> str:
    """A text without line ends and control characters, as a header can hold it."""
    return _SPACES.sub(" ", text).strip(" ")


def clean(value: str) -> str:
    """A value as a body can hold it: no control characters but tab and line end (``\\n``)."""
    if value.isprintable():
        return value
    return _UNSAFE.sub("", value.replace("\r\n", "\n").replace("\r", "\n"))


def unstructured(name: str, text: str) -> str:
    """The header ``name: text``, folded and encoded where it must be, with its line end."""
    text = one_line(text)
    room = LINE - len(name) - 2
    if text.isascii() and "=?" not in text:
        if len(text) <= room:
            return f"{name}: {text}\r\n"
        if (folded := _folded(text, room)) is not None:
            return f"{name}: {folded}\r\n"
    return f"{name}: {_encoded_words(text, room)}\r\n"


def mailbox(name: str, display: str, address: str) -> str:
    """The header ``name: display <address>`` with its line end."""
    display = one_line(display)
    if not display:
        return f"{name}: {address}\r\n"
    room = LINE - len(name) - 2
    if display.isascii() and "=?" not in display and len(display) <= room - 4:
        if not _ATOMS.fullmatch(display):
            escaped = display.replace("\\", "\\\\").replace('"', '\\"')
            display = f'"{escaped}"'
    else:
        display = _encoded_words(display, room)
    last = len(display) - display.rfind("\n")
    gap = " " if last + len(name) + 5 + len(address) <= LINE else "\r\n "
    return f"{name}: {display}{gap}<{address}>\r\n"


def is_mailbox(address: str) -> bool:
    """Whether an address can stand in a header as it is; its domain in ASCII."""
    return len(address) <= 320 and _MAILBOX.fullmatch(address) is not None


@lru_cache(maxsize=64)
def date(second: int) -> str:
    """A second since 1970 as RFC 5322 section 3.3 writes it."""
    return format_datetime(datetime.fromtimestamp(second, UTC))


def _folded(text: str, room: int) -> str | None:
    """An ASCII text folded at its spaces; None where a word is too long for a line."""
    lines, line = [], ""
    for word in text.split(" "):
        if len(word) > room:
            return None
        if line and len(line) + 1 + len(word) > room:
            lines.append(line)
            line, room = word, LINE - 1
        else:
            line = f"{line} {word}" if line else word
    return "\r\n ".join([*lines, line])


def _encoded_words(text: str, room: int) -> str:
    """RFC 2047 section 4.1; a character is never split between two words (section 5)."""
    left = text.encode("utf-8", "replace")
    words = []
    while left:
        end = min((room - _WORD_FRAME) // 4 * 3, len(left))
        while end < len(left) and left[end] & 0xC0 == 0x80:
            end -= 1
        words.append(f"=?utf-8?b?{b2a_base64(left[:end], newline=False).decode()}?=")
        left = left[end:]
        room = LINE - 1
    return "\r\n ".join(words)


class Body:
    """A text of fixed parts with values between them, in its transfer encoding."""

    encoding: Literal["quoted-printable", "base64"]

    def __init__(self, fixed: Sequence[str]) -> None:
        """``fixed``: the parts before, between and after the values; lines end with ``\\n``."""
        whole = "".join(fixed)
        if not whole.endswith("\n"):
            fixed = [*fixed[:-1], fixed[-1] + "\n"]
        raw = [part.encode("utf-8", "replace") for part in fixed]
        foreign = sum(len(part.translate(None, _ASCII)) for part in raw)
        # Base64 adds a third; quoted-printable trebles whatever is not ASCII.
        if foreign * 6 > sum(map(len, raw)):
            self.encoding = "base64"
            self._fixed = [part.replace(b"\n", b"\r\n") for part in raw]
        else:
            self.encoding = "quoted-printable"
            self._fixed = [*(_quoted_before_value(part) for part in raw[:-1]), _quoted(raw[-1])]

    def encode(self, values: Sequence[str]) -> bytes:
        """The body with one value fewer than there are fixed parts; it ends with CRLF."""
        if self.encoding == "base64":
            encoded = [value.encode("utf-8", "replace").replace(b"\n", b"\r\n") for value in values]
            return _base64(_interleaved(self._fixed, encoded))
        quoted = [_quoted_before_value(value.encode("utf-8", "replace")) for value in values]
        return _interleaved(self._fixed, quoted)


_ASCII: Final = bytes(range(128))

_PLAIN: Final = re.compile(rb"[ -<>-~]{0,70}[!-<>-~]")
"""What stands on one line of quoted-printable as it is."""


def _interleaved(fixed: list[bytes], values: list[bytes]) -> bytes:
    parts = [b""] * (len(fixed) + len(values))
    parts[::2] = fixed
    parts[1::2] = values
    return b"".join(parts)


def _quoted(raw: bytes) -> bytes:
    encoded = b2a_qp(raw)
    if b" \n" in raw or b"\t\n" in raw:
        # b2a_qp keeps no room for the =20 or =09 that a space or tab becomes at the end of a line.
        encoded = b"\n".join(
            [
                line if len(line) <= LINE else line[:-3] + b"=\n" + line[-3:]
                for line in encoded.split(b"\n")
            ]
        )
    return encoded.replace(b"\n", b"\r\n")


def _quoted_before_value(raw: bytes) -> bytes:
    """Quoted-printable that ends at the start of a line: by a soft line break where need be.

    Whatever comes next then begins on a line of its own, and can be encoded without knowing this.
    A last ``=`` is encoded along to keep room for the soft line break; of its ``=3D`` the first
    character becomes just that.
    """
    if _PLAIN.fullmatch(raw):
        return raw + b"=\r\n"
    if not raw or raw.endswith(b"\n"):
        return _quoted(raw)
    return _quoted(raw + b"=")[:-2] + b"\r\n"


def _base64(raw: bytes) -> bytes:
    encoded = b2a_base64(raw, newline=False)
    return b"\r\n".join([encoded[at : at + LINE] for at in range(0, len(encoded), LINE)] + [b""])
