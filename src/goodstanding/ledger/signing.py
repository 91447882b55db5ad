"""The signer of this installation: what leaves with a message comes back provably ours."""

from __future__ import annotations

import functools
import hashlib

from django.conf import settings

from goodstanding.core.tokens import Signer


def signer() -> Signer:
    """The signer of the secret key; keys in SECRET_KEY_FALLBACKS verify too."""
    return _signer((settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS))


@functools.lru_cache(maxsize=8)
def _signer(secrets: tuple[str, ...]) -> Signer:
    # A key of its own: what signs tokens in mails must not be what signs sessions.
    return Signer(
        [
            hashlib.blake2b(secret.encode()[:64], person=b"gs-tokens", digest_size=32).digest()
            for secret in secrets
        ]
    )
