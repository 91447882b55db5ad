"""The room as a Django app."""

from django.apps import AppConfig


class MailingsConfig(AppConfig):
    """See the package."""

    name = "goodstanding.mailings"
    label = "mailings"
