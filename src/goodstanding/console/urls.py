"""The addresses of the pages that need signing in."""

from __future__ import annotations

from django.urls import path

from goodstanding.console import views

app_name = "console"
urlpatterns = [
    path("", views.overview, name="overview"),
    path("sign-in/", views.sign_in, name="sign-in"),
    path("sign-out/", views.sign_out, name="sign-out"),
]
