"""Signed tokens: what we wrote into a message, and can believe when it comes back.

A token is base16 (RFC 4648 section 8), in lower case, of its numbers in MessagePack and of the
first bytes of their HMAC-SHA256 (RFC 2104). It says nothing of its purpose: the purpose is part of
what is signed, so that a token for one is none for another.
"""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence

LARGEST_NUMBER: Final = 2**63 - 1
LONGEST_TOKEN: Final = 96
"""Characters. With one number it has at most 40, so that a local part may begin with a word and
a hyphen (64 in all: RFC 5321 section 4.5.3.1.1)."""
SHORTEST_KEY: Final = 16  # bytes

_MAC: Final = 10  # bytes: 80 bits, to be guessed one request at a time


class BadToken(ValueError):
    """Not a token of ours. The message does not tell a forger how near they came."""


class Signer:
    """Signs numbers for a purpose, and knows its own signature again.

    The first of ``keys`` signs; all of them verify, so that a key is changed by putting the new
    one first and dropping the old one when the last message signed with it no longer matters.

    Raises:
        ValueError: there is no key, or one is shorter than 16 bytes.
    """

    def __init__(self, keys: Sequence[bytes]) -> None:
        if not keys:
            raise ValueError("Signing needs at least one key.")
        if any(len(key) < SHORTEST_KEY for key in keys):
            raise ValueError(f"A signing key has at least {SHORTEST_KEY} bytes.")
        self._keys = tuple(keys)
        self._begun: dict[str, tuple[hmac.HMAC, ...]] = {}

    def sign(self, purpose: str, *numbers: int) -> str:
        """Give the token for ``numbers`` (each 0 to 2**63 - 1) under ``purpose``.

        One number of a billion gives 32 characters.

        Raises:
            ValueError: a number is out of range, or there are too many for 96 characters.
        """
        if numbers and not 0 <= min(numbers) <= max(numbers) <= LARGEST_NUMBER:
            raise ValueError("A number in a token is from 0 to 2**63 - 1.")
        body = _packed(numbers)
        text = (body + _mac(self._states(purpose)[0], body)).hex()
        if len(text) > LONGEST_TOKEN:
            raise ValueError(f"{len(numbers)} such numbers make too long a token.")
        return text

    def verify(self, purpose: str, token: str) -> tuple[int, ...]:
        """Give the numbers that ``sign`` was given; upper and lower case are the same.

        Raises:
            BadToken: it was not signed by any of our keys for this purpose.
        """
        signed = _bytes(token)
        body, mac = signed[:-_MAC], signed[-_MAC:]
        for state in self._states(purpose):
            if hmac.compare_digest(_mac(state, body), mac):
                return _unpacked(body)
        raise BadToken(_NOT_OURS)

    def _states(self, purpose: str) -> tuple[hmac.HMAC, ...]:
        # Keying costs more than the rest of a signature; a purpose is keyed once and copied from.
        states = self._begun.get(purpose)
        if states is None:
            if "\0" in purpose:  # it would not end where we say it does
                raise ValueError("A purpose has no NUL in it.")
            begun = purpose.encode() + b"\0"
            states = tuple(hmac.new(key, begun, "sha256") for key in self._keys)
            self._begun[purpose] = states
        return states


_packed: Final = msgspec.msgpack.Encoder().encode
_unpacked: Final = msgspec.msgpack.Decoder(tuple[int, ...]).decode
_NOT_OURS: Final = "This is not a token of ours."


def _mac(state: hmac.HMAC, body: bytes) -> bytes:
    state = state.copy()
    state.update(body)
    return state.digest()[:_MAC]


def _bytes(token: str) -> bytes:
    try:
        signed = bytes.fromhex(token) if len(token) <= LONGEST_TOKEN else b""
    except ValueError:
        raise BadToken(_NOT_OURS) from None
    # White space between the digits would be read over.
    if len(signed) <= _MAC or 2 * len(signed) != len(token):
        raise BadToken(_NOT_OURS)
    return signed
