"""The room as a Django app."""

from django.apps import AppConfig


class ContactsConfig(AppConfig):
    """See the package."""

    name = "goodstanding.contacts"
    label = "contacts"
