"""The room as a Django app."""

from django.apps import AppConfig


class IntakeConfig(AppConfig):
    """See the package."""

    name = "goodstanding.intake"
    label = "intake"
