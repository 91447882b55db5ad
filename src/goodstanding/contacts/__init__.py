"""Contacts: people, companies and users, their addresses, and how they come in."""
