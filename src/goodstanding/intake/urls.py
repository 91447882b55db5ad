"""The addresses that are written into messages. They stay: mails are opened years later."""

from __future__ import annotations

from django.urls import re_path

from goodstanding.intake import pages

app_name = "intake"
# The last slash may be missing: a POST must not be redirected (RFC 8058 section 3.1).
urlpatterns = [
    re_path(r"^unsubscribe/(?P<token>[^/]{1,200})/?\Z", pages.unsubscribe, name="unsubscribe"),
    re_path(r"^preferences/(?P<token>[^/]{1,200})/?\Z", pages.preferences, name="preferences"),
    re_path(r"^open/(?P<token>[^/]{1,200})\.gif\Z", pages.opened, name="open"),
    re_path(r"^confirm/(?P<token>[^/]{1,200})/?\Z", pages.confirm, name="confirm"),
    re_path(r"^link/(?P<token>[^/]{1,200})/?\Z", pages.link, name="link"),
]
