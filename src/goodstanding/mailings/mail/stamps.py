"""Stamps: what makes one delivery's message its own."""

from __future__ import annotations

import functools

from django.conf import settings

from goodstanding.ledger.signing import signer


class Stamp:
    """What makes one delivery's message its own: every address in it is signed."""

    def __init__(self, delivery: int, date: int, mailing: int, domain: str | None = None) -> None:
        options = settings.OPTIONS
        self.delivery = delivery
        self.date = date
        self._mailing = mailing
        self._base = options.base_url.rstrip("/")
        self._domain = domain or options.bounce_domain
        self._sign = signer().sign

    @property
    def return_path(self) -> str:
        """The envelope's sender, by which failures find the delivery."""
        return f"b-{self._sign('return-path', self.delivery)}@{self._domain}"

    @property
    def message_id(self) -> str:
        """Made from the delivery: a second try is the same message."""
        return f"<m-{self._sign('message-id', self.delivery)}@{self._domain}>"

    @property
    def unsubscribe_url(self) -> str:
        """The footer link's page."""
        return self.preferences_url

    @functools.cached_property
    def preferences_url(self) -> str:
        """The page where topics are chosen."""
        return f"{self._base}/preferences/{self._sign('preferences', self.delivery)}/"

    @property
    def one_click_url(self) -> str:
        """Where a mail client posts (RFC 8058)."""
        return f"{self._base}/unsubscribe/{self._unsubscribe}/"

    @property
    def unsubscribe_mailto(self) -> str | None:
        """For mail clients that write instead (RFC 2369)."""
        return f"mailto:unsubscribe-{self._unsubscribe}@{self._domain}"

    @functools.cached_property
    def _unsubscribe(self) -> str:
        return self._sign("unsubscribe", self.delivery)

    @property
    def open_url(self) -> str | None:
        """The pixel."""
        return f"{self._base}/open/{self._sign('open', self.delivery)}.gif"

    @property
    def feedback_id(self) -> tuple[str, ...]:
        """Names the mailing and the sender in a provider's complaint statistics."""
        return (str(self._mailing), settings.OPTIONS.sender_id)

    @property
    def list_id(self) -> str | None:
        """None: a broadcast is not a discussion list."""
        return None

    def confirm_url(self, n: int, /) -> str:
        """Where link number ``n`` of a request for confirmation asks for the person's word."""
        return f"{self._base}/confirm/{self._sign('confirm', self.delivery, n)}/"

    def click_url(self, n: int, /) -> str:
        """Where link number ``n`` is counted on its way."""
        return f"{self._base}/link/{self._sign('click', self.delivery, n)}"
