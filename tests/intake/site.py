"""A web server of which only intake's pages are served."""

from django.urls import include, path

urlpatterns = [path("", include("goodstanding.intake.urls"))]
