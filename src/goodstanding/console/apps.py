"""The room as a Django app."""

from django.apps import AppConfig


class ConsoleConfig(AppConfig):
    """See the package."""

    name = "goodstanding.console"
    label = "console"
