"""The console: signing in, and one page with the sends and the standings.

No page has a script: a page on which something is under way asks to be loaded again.
"""

from __future__ import annotations

import functools
import secrets
import time
from collections.abc import Callable
from typing import Any, Concatenate, Final, ParamSpec

from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.contrib.auth.views import LoginView, LogoutView
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import render
from django.urls import reverse_lazy
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_safe

from goodstanding.console import progress, standings, unread
from goodstanding.mailings import liveness

REFRESH_SECONDS: Final = 5

P = ParamSpec("P")
View = Callable[Concatenate[HttpRequest, P], HttpResponseBase]


def guarded(view: View[P]) -> View[P]:
    """Let a page run no script, send its forms nowhere else, and be kept by nobody.

    The page's styles carry ``request.nonce``.
    """

    @functools.wraps(view)
    def answered(request: HttpRequest, /, *args: P.args, **named: P.kwargs) -> HttpResponseBase:
        nonce = secrets.token_urlsafe(12)
        request.nonce = nonce  # type: ignore[attr-defined]
        response = view(request, *args, **named)
        response["Content-Security-Policy"] = (
            f"default-src 'none'; style-src 'nonce-{nonce}'; img-src data:; form-action 'self'; "
            "base-uri 'none'; frame-ancestors 'none'"
        )
        response["X-Robots-Tag"] = "noindex, nofollow"
        return response

    return never_cache(answered)


@require_safe
@guarded
@login_required
def overview(request: HttpRequest) -> HttpResponse:
    """The newest sends, where all addresses stand, and what could not be understood."""
    mailings = progress.newest(time.time_ns() // 1000)
    to_send = [mailing.of.state for mailing in mailings if mailing.of.goes_on]
    # What starts some day is nothing to watch.
    under_way = any(state != "scheduled" for state in to_send)
    paused = request.GET.get("refresh") == "off"
    context: dict[str, Any] = {
        "mailings": mailings,
        "most": progress.NEWEST,
        "standings": standings.now_standing(),
        "unread": unread.now_unread(),
        "workers": len(liveness.alive()),
        "to_send": bool(to_send),
        "under_way": under_way,
        "paused": paused,
        "refresh": REFRESH_SECONDS if under_way and not paused else None,
        "time_zone": settings.TIME_ZONE,
        "sender": settings.OPTIONS.sender_name,
    }
    return render(request, "console/overview.html", context)


sign_in = require_http_methods(["GET", "HEAD", "POST"])(
    guarded(
        LoginView.as_view(template_name="console/sign_in.html", redirect_authenticated_user=True)
    )
)
"""Where operators say who they are."""

sign_out = guarded(LogoutView.as_view(next_page=reverse_lazy("console:sign-in")))
"""Takes POST alone: no link and no picture on another site can sign anybody out."""
