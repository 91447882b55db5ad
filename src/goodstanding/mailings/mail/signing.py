"""DKIM signatures (RFC 6376; keys of RFC 8301 and 8463), relaxed in header and body.

Made here and not by dkimpy, whose RSA is Python's own: it takes seven milliseconds a mail, this a
quarter of one. The tests have dkimpy verify what is signed.
"""

from __future__ import annotations

import re
from binascii import b2a_base64
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)

from goodstanding.core import addresses

if TYPE_CHECKING:
    from collections.abc import Sequence

SIGNED: Final = (
    "from", "reply-to", "to", "subject", "date", "message-id", "list-unsubscribe",
    "list-unsubscribe-post", "list-id", "feedback-id", "auto-submitted", "mime-version",
    "content-type", "content-transfer-encoding",
)  # fmt: skip
"""Headers that are signed where they stand. RFC 8058 section 4 wants both that unsubscribe."""

SMALLEST: Final = 1024
"""Bits of an RSA key that nobody verifies below (RFC 8301 section 3.2)."""

LINE: Final = 76
"""Characters of a line of the signature's header."""

_LARGEST: Final = 64 * 1024  # bytes of a key file
_SELECTOR: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")
_RUNS: Final = re.compile(rb"[ \t]+")


class BadKey(ValueError):
    """Nothing can be signed with these settings; one plain sentence."""


class Dkim(msgspec.Struct, frozen=True):
    """Who signs: the domain (``d=``), the selector (``s=``) and a PEM file of the private key."""

    domain: str
    selector: str
    key: str


class Signer:
    """Signs messages; for any number of threads."""

    domain: str
    """In ASCII."""
    algorithm: str
    """``rsa-sha256`` or ``ed25519-sha256``."""
    bits: int
    """The key's size."""

    def __init__(self, domain: str, selector: str, pem: bytes) -> None:
        """``pem``: the private key, RSA or Ed25519, not encrypted.

        Raises:
            BadKey: one of them is of no use.
        """
        self.domain = _domain(domain)
        if len(selector) > 63 or not _SELECTOR.fullmatch(selector):
            raise BadKey(f'dkim_selector: {selector[:80]!r} is no selector, such as "mail"')
        self._key = _private_key(pem)
        rsa = isinstance(self._key, RSAPrivateKey)
        self.algorithm = "rsa-sha256" if rsa else "ed25519-sha256"
        self.bits = self._key.key_size if isinstance(self._key, RSAPrivateKey) else 256
        self.selector = selector
        self._start = (
            f"v=1; a={self.algorithm}; c=relaxed/relaxed;\r\n d={self.domain};\r\n s={selector}; t="
        )

    def sign(self, head: bytes, body: bytes, second: int) -> bytes:
        """The ``DKIM-Signature`` header, with its line end, to stand before ``head``.

        ``head``: the headers, each once, without the empty line; ``body``: what comes after that.
        Both with CRLF; ``second``: when it is signed, since 1970.
        """
        found = {}
        for line in head.replace(b"\r\n ", b" ").split(b"\r\n"):
            name, _, value = line.partition(b":")
            found[name.decode().lower()] = value
        names = [name for name in SIGNED if name in found]
        # From is named once more than it stands there: a second one breaks the signature.
        said = _lists(["from", *names])
        body_hash = b2a_base64(sha256(relaxed(body)).digest(), newline=False).decode()
        ours = f"{self._start}{second};\r\n h={said};\r\n bh={body_hash};\r\n b="
        signed = (
            b"".join(
                [b"%s:%s\r\n" % (name.encode(), b" ".join(found[name].split())) for name in names]
            )
            + b"dkim-signature:"
            + b" ".join(ours.encode().split())
        )
        signature = b2a_base64(self._signature(signed), newline=False).decode()
        return f"DKIM-Signature: {ours}{_folded(signature)}\r\n".encode()

    def public_key(self) -> str:
        """What is published as ``p=`` at :attr:`place` in DNS."""
        if isinstance(self._key, RSAPrivateKey):
            raw = self._key.public_key().public_bytes(
                Encoding.DER, PublicFormat.SubjectPublicKeyInfo
            )
        else:
            raw = self._key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        return b2a_base64(raw, newline=False).decode()

    @property
    def record(self) -> str:
        """The TXT record that the public must find at :attr:`place` (RFC 6376 section 3.6.1)."""
        return f"v=DKIM1; k={self.algorithm.partition('-')[0]}; p={self.public_key()}"

    @property
    def place(self) -> str:
        """The name in DNS where the public key belongs."""
        return f"{self.selector}._domainkey.{self.domain}"

    def _signature(self, signed: bytes) -> bytes:
        if isinstance(self._key, RSAPrivateKey):
            return self._key.sign(signed, PKCS1v15(), SHA256())
        # RFC 8463 section 3: Ed25519 signs the hash.
        return self._key.sign(sha256(signed).digest())


@lru_cache(maxsize=16)
def load(dkim: Dkim) -> Signer:
    """Read the key, once, before anything is sent.

    Raises:
        BadKey: the file cannot be read or holds no key that will do.
    """
    try:
        with Path(dkim.key).open("rb") as file:
            pem = file.read(_LARGEST + 1)
    except OSError as error:
        raise BadKey(f"dkim_key: {dkim.key} cannot be read: {error.strerror}") from None
    except ValueError:
        raise BadKey(f"dkim_key: {dkim.key!r} is no file's name") from None
    try:
        return Signer(dkim.domain, dkim.selector, pem[:_LARGEST])
    except BadKey as error:
        raise BadKey(str(error).replace("dkim_key:", f"dkim_key: {dkim.key}", 1)) from None


def relaxed(body: bytes) -> bytes:
    """A body in its relaxed form (RFC 6376 section 3.4.4)."""
    if b"  " in body or b"\t" in body:
        body = _RUNS.sub(b" ", body)
    if b" \r\n" in body:
        body = body.replace(b" \r\n", b"\r\n")
    body = body.rstrip(b"\r\n")
    return body + b"\r\n" if body else b""


def _domain(text: str) -> str:
    try:
        return addresses.normalise("email", f"dkim@{text}").value.partition("@")[2]
    except addresses.MalformedAddress:
        raise BadKey(f"dkim_domain: {text[:80]!r} is no domain") from None


def _private_key(pem: bytes) -> RSAPrivateKey | Ed25519PrivateKey:
    try:
        key = load_pem_private_key(pem, password=None)
    except TypeError:
        raise BadKey("dkim_key: is encrypted; one without a passphrase is needed") from None
    except (ValueError, UnsupportedAlgorithm):
        raise BadKey("dkim_key: is no private key in PEM") from None
    if not isinstance(key, RSAPrivateKey | Ed25519PrivateKey):
        raise BadKey("dkim_key: is neither an RSA nor an Ed25519 key")
    if isinstance(key, RSAPrivateKey) and key.key_size < SMALLEST:
        raise BadKey(f"dkim_key: has {key.key_size} bits; nobody believes fewer than {SMALLEST}")
    return key


def _lists(names: Sequence[str]) -> str:
    lines, line = [], ""
    for name in names:
        if line and len(line) + len(name) + 6 > LINE:
            lines.append(f"{line}:")
            line = name
        else:
            line = f"{line}:{name}" if line else name
    return "\r\n  ".join([*lines, line])


def _folded(text: str) -> str:
    room = LINE - 3
    return "\r\n ".join(
        [text[:room], *(text[at : at + LINE - 1] for at in range(room, len(text), LINE - 1))]
    )
