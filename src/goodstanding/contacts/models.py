"""Contacts' rows. Where an address stands is the ledger's to know: nothing of it is kept here."""

from __future__ import annotations

from django.db import models

from goodstanding.ledger.models import Address


class Contact(models.Model):
    """A person, company or user, with any number of addresses.

    ``fields`` is a JSON object of texts: what else was told, by its column's heading. ``identity``
    is a hash of the addresses, names and company that the contact was last imported with: the same
    row a second time finds it again. ``created_at`` in microseconds.
    """

    class Kind(models.TextChoices):
        """What a contact is."""

        PERSON = "person"
        COMPANY = "company"
        USER = "user"

    kind = models.CharField(max_length=8, choices=Kind, default=Kind.PERSON)
    external_id = models.CharField(max_length=200, null=True, unique=True)
    first_name = models.CharField(max_length=200, default="", blank=True)
    last_name = models.CharField(max_length=200, default="", blank=True)
    company = models.CharField(max_length=200, default="", blank=True)
    fields = models.TextField(default="{}")
    identity = models.CharField(max_length=32, default="")
    created_at = models.BigIntegerField()

    class Meta:
        indexes = [models.Index(fields=["identity"], name="contacts_contact_identity")]

    def __str__(self) -> str:
        return " ".join(filter(None, (self.first_name, self.last_name))) or self.company


class ContactAddress(models.Model):
    """That a contact can be reached at an address; ``channel`` is the address's own.

    Contacts may share an address, and then share its one standing.
    """

    pk = models.CompositePrimaryKey("contact_id", "address_id")
    contact = models.ForeignKey(Contact, on_delete=models.CASCADE, db_index=False)
    address = models.ForeignKey(Address, on_delete=models.PROTECT, db_index=False)
    channel = models.CharField(max_length=8)

    class Meta:
        # Read in order, it gives a channel's addresses each with all that hold it.
        indexes = [
            models.Index(fields=["address", "channel", "contact"], name="contacts_address_held")
        ]


class ContactList(models.Model):
    """A list that contacts were put on, by name."""

    name = models.CharField(max_length=200, unique=True)

    def __str__(self) -> str:
        return self.name


class Membership(models.Model):
    """That a contact is on a list."""

    pk = models.CompositePrimaryKey("list_id", "contact_id")
    list = models.ForeignKey(ContactList, on_delete=models.CASCADE, db_index=False)
    contact = models.ForeignKey(Contact, on_delete=models.CASCADE)


class ImportedFile(models.Model):
    """A file that was imported, known by a hash of its content and of how it was read.

    What it says without a date it said at ``first_at`` (microseconds): imported again it tells the
    ledger nothing new.
    """

    digest = models.CharField(max_length=64, unique=True)
    name = models.CharField(max_length=200)
    first_at = models.BigIntegerField()

    def __str__(self) -> str:
        return self.name
