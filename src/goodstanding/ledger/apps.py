"""The ledger as a Django app."""

from django.apps import AppConfig


class LedgerConfig(AppConfig):
    """Addresses, mailing facts, deliveries, events, changes and tallies."""

    name = "goodstanding.ledger"
    label = "ledger"
