"""What recipients reach over HTTP: leaving, preferences, confirming, the pixel, links.

Whoever holds a token of ours may leave; nobody signs in, nothing sets a cookie, and no page needs
a script. A GET changes nothing: programs fetch every link of a mail before anybody reads it.
"""

from __future__ import annotations

import base64
import logging
import secrets
from typing import Any, Final
from urllib.parse import urlsplit

from django.conf import settings
from django.core.exceptions import SuspiciousOperation
from django.db import Error
from django.http import HttpRequest, HttpResponse
from django.http.multipartparser import MultiPartParserError
from django.shortcuts import render
from django.utils.encoding import iri_to_uri
from django.utils.translation import gettext
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods

from goodstanding.core.addresses import Address
from goodstanding.intake import spool, tokens
from goodstanding.intake.machines import LONGEST_AGENT, TELLING
from goodstanding.intake.models import HTTP
from goodstanding.intake.spool import SpoolFailed, Visit
from goodstanding.ledger import lookup
from goodstanding.ledger.lookup import Confirmation
from goodstanding.ledger.policy import active_policy

GIF: Final = base64.b64decode("R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7")
"""One transparent pixel."""

LONGEST_REASON: Final = 2_000

ACTS: Final = frozenset({"opt_out", "opt_out_of_topic", "spam"})
"""The buttons of the pages; all are called ``act``."""

_log = logging.getLogger(__name__)


@csrf_exempt  # the token is what lets one in: there is no session that could be borrowed
@require_http_methods(["GET", "HEAD", "POST"])
def unsubscribe(request: HttpRequest, token: str) -> HttpResponse:
    """The address in List-Unsubscribe: the mail program's button (RFC 8058), or a page with one."""
    return _leave(request, "unsubscribe", token)


@csrf_exempt
@require_http_methods(["GET", "HEAD", "POST"])
def preferences(request: HttpRequest, token: str) -> HttpResponse:
    """The page that the footer of a mail leads to."""
    return _leave(request, "preferences", token)


@csrf_exempt
@require_http_methods(["GET", "HEAD", "POST"])
def confirm(request: HttpRequest, token: str) -> HttpResponse:
    """A link of a request for confirmation: a page that asks, and what its button does."""
    numbers = tokens.named("confirm", token, 2)
    if numbers is None:
        return _refused(request)
    delivery, number = numbers
    asked: Confirmation | None = None
    try:
        asked = lookup.confirmation(delivery, number)
    except Error as error:
        # The token is ours: what it confirms can be looked up when the visit is understood.
        _log.error("A link that confirms could not be looked up: %s", type(error).__name__)
    else:
        if asked is None:
            return _refused(request)
    about = {"sender": _sender() or gettext("us")}
    if asked is not None:
        about |= {"topic": asked.topic or "", "address": _masked(asked.address)}
    if request.method != "POST":
        return _page(request, "confirm.html", about, leads_on=asked is None or bool(asked.url))
    if not _heard(request, Visit("confirm", delivery, link=number)):
        return _busy(request)
    if asked is None or not _is_web(asked.url):
        return _page(request, "confirmed.html", about)
    return _guarded(_redirect(303, asked.url))


@csrf_exempt
@require_http_methods(["GET", "HEAD"])
def opened(request: HttpRequest, token: str) -> HttpResponse:
    """The pixel. Always a picture, whatever the token."""
    numbers = tokens.named("open", token)
    heard = numbers is None or _heard(request, Visit("open", numbers[0]))
    return _guarded(HttpResponse(GIF, content_type="image/gif", status=200 if heard else 503))


@csrf_exempt
@require_http_methods(["GET", "HEAD"])
def link(request: HttpRequest, token: str) -> HttpResponse:
    """A link of a mailing: on to where it led when the mailing was written, and nowhere else."""
    numbers = tokens.named("click", token, 2)
    if numbers is None:
        return _refused(request)
    delivery, number = numbers
    try:
        url = lookup.link(delivery, number)
    except Error as error:
        _log.error("A link could not be looked up: %s", type(error).__name__)
        return _busy(request)
    if url is None or not _is_web(url):
        return _refused(request)
    # Who clicked is let through even where it cannot be written down.
    _heard(request, Visit("link", delivery, link=number, url=url))
    return _guarded(_redirect(302, url))


def _is_web(url: str) -> bool:
    return urlsplit(url).scheme in ("http", "https")


def _redirect(status: int, url: str) -> HttpResponse:
    # A header is ASCII, or what is not would arrive there as something else.
    return HttpResponse(status=status, headers={"Location": iri_to_uri(url)})


def _leave(request: HttpRequest, page: str, token: str) -> HttpResponse:
    numbers = tokens.named(page, token)
    if numbers is None:
        return _refused(request)
    delivery = numbers[0]
    if request.method != "POST":
        return _page(request, f"{page}.html", _about(delivery))
    try:
        one_click = request.POST.get("List-Unsubscribe", "")
        act, reason = request.POST.get("act", ""), request.POST.get("reason", "")
    except (SuspiciousOperation, MultiPartParserError, UnicodeError, OSError):
        one_click = act = reason = ""
    if page == "unsubscribe" and one_click.strip().lower() == "one-click":
        visit = Visit("one_click", delivery)
    elif act in ACTS:
        visit = Visit("page", delivery, act=act, reason=_plain(reason, LONGEST_REASON) or None)
    else:
        return _page(request, f"{page}.html", _about(delivery), status=400)
    if not _heard(request, visit):
        return _busy(request)
    return _page(request, "done.html", {**_about(delivery), "act": visit.act or "opt_out"})


def _heard(request: HttpRequest, visit: Visit) -> bool:
    """Spool a visit; whether it is on disk."""
    said = Visit(
        door=visit.door,
        delivery=visit.delivery,
        method=request.method or "",
        user_agent=_plain(request.headers.get("User-Agent", ""), LONGEST_AGENT),
        headers={
            name: _plain(request.headers[name], LONGEST_AGENT)
            for name in TELLING
            if name in request.headers
        },
        link=visit.link,
        url=visit.url,
        act=visit.act,
        reason=visit.reason,
    )
    try:
        spool.put(HTTP, said)
    except SpoolFailed as error:
        _log.error("A visit was not taken: %s", type(error.__cause__).__name__)
        return False
    return True


def _about(delivery: int) -> dict[str, Any]:
    """What a page may say of a delivery. One can leave even where nothing can be looked up."""
    about: dict[str, Any] = {"sender": _sender(), "more": tokens.preferences(delivery)}
    try:
        found = lookup.deliveries([delivery]).get(delivery)
    except Error as error:
        _log.error("A delivery could not be looked up: %s", type(error).__name__)
        found = None
    if found is not None:
        about |= {"topic": found.topic, "address": _masked(found.address)}
        leaving = active_policy().leaving
        about["button_leaves_topic"] = found.topic and leaving.header_button == "topic"
        about["link_leaves_topic"] = found.topic and leaving.footer_link == "topic"
    return about


def _sender() -> str:
    """Who writes, as people know them."""
    options = settings.OPTIONS
    return str(options.sender_name or options.sender_address.rpartition("@")[2])


def _masked(address: Address) -> str:
    """Enough of an address for its owner to know it, too little for anybody else."""
    local, at, domain = address.value.rpartition("@")
    return f"{local[:1]}…@{domain}" if at else f"…{domain[-2:]}"


def _page(
    request: HttpRequest,
    template: str,
    context: dict[str, Any],
    status: int = 200,
    *,
    leads_on: bool = False,
) -> HttpResponse:
    """A page of ours; ``leads_on``: what its button does may end on somebody else's page."""
    # Browsers hold what a form is answered with to this too, redirect after redirect.
    targets = "'self' https: http:" if leads_on else "'self'"
    nonce = secrets.token_urlsafe(12)
    context = {"sender": "", **context, "nonce": nonce}
    response = render(request, f"intake/{template}", context, status=status)
    response["Content-Security-Policy"] = (
        f"default-src 'none'; style-src 'nonce-{nonce}'; form-action {targets}; "
        "base-uri 'none'; frame-ancestors 'none'"
    )
    return _guarded(response)


def _refused(request: HttpRequest) -> HttpResponse:
    """A plain answer to a token that is none; it tells a forger nothing."""
    said = gettext("This link is not one of ours, or a part of it is missing.")
    return _page(request, "said.html", {"said": said}, status=404)


def _busy(request: HttpRequest) -> HttpResponse:
    said = gettext("Something is wrong here at the moment. Please try again in a few minutes.")
    response = _page(request, "said.html", {"said": said}, status=503)
    response["Retry-After"] = "120"
    return response


def _guarded(response: HttpResponse) -> HttpResponse:
    response["Cache-Control"] = "no-store, private"
    response["Referrer-Policy"] = "no-referrer"
    response["X-Robots-Tag"] = "noindex, nofollow"
    return response


def _plain(text: str, longest: int) -> str:
    """The text without what cannot be written down."""
    return text.replace("\0", " ").encode("utf-8", "replace").decode()[:longest].strip()
