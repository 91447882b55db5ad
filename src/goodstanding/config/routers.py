"""Which database a model lives in: intake's tables in the spool, all else together."""

from __future__ import annotations

from typing import Any

from django.db import connections, models

_SPOOLED = "intake"


class SpoolRouter:
    """Sends intake's models to the spool, a file of its own on SQLite.

    On PostgreSQL the spool is a connection of its own to the same database, whose tables are made
    with all the others.
    """

    def db_for_read(self, model: type[models.Model], **_hints: Any) -> str | None:
        """The alias to read from, or None for the usual one."""
        return "spool" if model._meta.app_label == _SPOOLED else None

    db_for_write = db_for_read

    def allow_migrate(self, db: str, app_label: str, **_hints: Any) -> bool:
        """Whether that app's tables are made in that database."""
        if connections[db].vendor != "sqlite":
            return db == "default"
        return (app_label == _SPOOLED) == (db == "spool")
