"""Fetches pages: a blocking browser with cookies, and the pool of threads that it runs in."""

from __future__ import annotations

import asyncio
import http.client
import ipaddress
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib import error, request
from urllib.parse import urlencode, urlsplit

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable

MOST_BYTES: Final = 1024 * 1024
TIMEOUT: Final = 15.0
FIRST_PAUSE: Final = 0.1
LONGEST_PAUSE: Final = 5.0

T = TypeVar("T")


class Answer(msgspec.Struct, frozen=True):
    """What a web server answered; ``page`` is the beginning of its body."""

    status: int
    url: str
    page: str
    location: str = ""

    def __str__(self) -> str:
        """Return the status, and whereto it pointed."""
        return f"{self.status} {self.location}".strip()


class _Redirects(request.HTTPRedirectHandler):
    """Follows a redirect only to where one may go."""

    def __init__(self, may_visit: Callable[[str], bool]) -> None:
        self._may_visit = may_visit

    def redirect_request(self, *given: Any) -> request.Request | None:
        """Return the next request; None to stay with the redirect itself."""
        return super().redirect_request(*given) if self._may_visit(given[-1]) else None


class Browser:
    """One person's or program's browser, with its own name and cookies."""

    def __init__(self, agent: str, may_visit: Callable[[str], bool], *, follows: bool) -> None:
        self.agent = agent
        redirects = _Redirects(may_visit if follows else lambda _: False)
        self._opener = request.build_opener(
            request.ProxyHandler({}), request.HTTPCookieProcessor(), redirects
        )

    def ask(
        self,
        method: str,
        url: str,
        form: list[tuple[str, str]] | None = None,
        headers: dict[str, str] | None = None,
    ) -> Answer:
        """Ask a web server for something; any answer is an answer.

        Raises:
            OSError: no answer came.
            http.client.HTTPException: what came was no HTTP.
            ValueError: the address is not one of the web.
        """
        if urlsplit(url).scheme not in {"http", "https"}:
            raise ValueError(f"{url!r} is not on the web")
        asked = request.Request(  # noqa: S310 - the scheme was checked above
            url,
            data=None if form is None else urlencode(form).encode(),
            headers={"User-Agent": self.agent, "Accept": "text/html,*/*"} | (headers or {}),
            method=method,
        )
        try:
            with self._opener.open(asked, timeout=TIMEOUT) as response:
                return _answer(response.status, response)
        except error.HTTPError as refusal:
            with refusal:
                return _answer(refusal.code, refusal)


def _answer(status: int, response: Any) -> Answer:
    page = response.read(MOST_BYTES).decode("utf-8", "replace")
    return Answer(status, response.geturl(), page, response.headers.get("Location", ""))


class Web:
    """The pool of threads that browsers run in, and the rule of where they may go."""

    def __init__(self, hosts: frozenset[str], most_at_once: int) -> None:
        self._hosts = hosts
        self._pool = ThreadPoolExecutor(most_at_once, thread_name_prefix="browser")

    def browser(self, agent: str, *, follows: bool = True) -> Browser:
        """Return a new browser that calls itself ``agent``."""
        return Browser(agent, self.may_visit, follows=follows)

    def may_visit(self, url: str) -> bool:
        """Say whether the URL is on this machine or on a host that was named."""
        try:
            parts = urlsplit(url)
            host = (parts.hostname or "").lower()
        except ValueError:
            return False
        if parts.scheme not in {"http", "https"} or not host:
            return False
        if host in self._hosts or host == "localhost":
            return True
        try:
            return ipaddress.ip_address(host).is_loopback
        except ValueError:
            return False

    async def run(self, work: Callable[[], T]) -> T:
        """Do blocking work in a thread of the pool."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)

    async def ask(
        self,
        browser: Browser,
        method: str,
        url: str,
        form: list[tuple[str, str]] | None = None,
        headers: dict[str, str] | None = None,
    ) -> Answer:
        """Ask until there is an answer that is not the server's own trouble (5xx, or too many).

        Raises:
            ValueError: the address is not one of the web.
        """
        pause = FIRST_PAUSE
        while True:
            try:
                answer = await self.run(partial(browser.ask, method, url, form, headers))
            except (OSError, http.client.HTTPException):
                answer = None
            if answer is not None and answer.status < 500 and answer.status != 429:
                return answer
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)

    def close(self) -> None:
        """Begin no further work."""
        self._pool.shutdown(wait=False, cancel_futures=True)
