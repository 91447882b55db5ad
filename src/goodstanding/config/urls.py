"""Every address of the web server."""

from __future__ import annotations

from django.urls import URLPattern, URLResolver, include, path

urlpatterns: list[URLPattern | URLResolver] = [
    path("", include("goodstanding.intake.urls")),
    path("", include("goodstanding.console.urls")),
]
