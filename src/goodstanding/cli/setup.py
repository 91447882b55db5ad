"""What a command needs before it can ask the ledger: settings, Django, tables, logging."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from goodstanding.cli.output import BadInput

_LEVELS: Final = ("debug", "info", "warning", "error", "critical")
_LOCK: Final = 0x676F6F64  # an advisory lock of PostgreSQL: "good"


def prepare() -> None:
    """Read the settings, set up Django, and bring the tables up to date where they are not.

    Raises:
        BadInput: a setting, the policy or the database is not what it should be.
    """
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "goodstanding.config.settings")
    import django

    from goodstanding.config.options import BadOption
    from goodstanding.core.policy_files import BadPolicy

    try:
        import goodstanding.config.settings as own

        _log(own.OPTIONS.log_level)
        django.setup()

        from goodstanding.ledger.policy import active_policy

        active_policy()
    except (BadOption, BadPolicy) as error:
        raise BadInput(str(error)) from error
    _migrate(own.HOME)


def _log(level: str) -> None:
    if level.lower() not in _LEVELS:
        raise BadInput(f"setting log_level: {level!r} is not one of {', '.join(_LEVELS)}")
    number = logging.getLevelNamesMapping()[level.upper()]
    logging.basicConfig(
        level=number,
        stream=sys.stderr,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        force=True,
    )


def log_with_structlog() -> None:
    """Let structlog, which the long-running commands log with, write through standard logging."""
    import structlog

    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.processors.format_exc_info,
            structlog.processors.KeyValueRenderer(key_order=["event"]),
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )


def _migrate(home: Path) -> None:
    """Make the tables, or bring them up to date; one process at a time, the others wait."""
    from django.db import connections

    files = [alias for alias in connections if connections[alias].vendor == "sqlite"]
    aliases = list(dict.fromkeys(["default", *files]))
    if files:
        with _locked(home):
            # Two that turn a new file's journal to WAL at once don't wait: one is "locked" out.
            for alias in files:
                connections[alias].ensure_connection()
    if not any(_is_behind(connections[alias]) for alias in aliases):
        return
    from django.core.management import call_command

    with _alone(home, connections["default"]):
        for alias in aliases:
            if _is_behind(connections[alias]):
                call_command("migrate", database=alias, verbosity=0)


def _is_behind(connection: Any) -> bool:
    """Whether there are migrations that this database has not seen.

    Raises:
        BadInput: it has seen some of ours that are not there: a later version made it.
    """
    from django.apps import apps

    with connection.cursor() as cursor:
        if "django_migrations" not in connection.introspection.table_names(cursor):
            return True
        cursor.execute("SELECT app, name FROM django_migrations")
        seen = set(cursor.fetchall())
    known = {
        (config.label, file.stem)
        for config in apps.get_app_configs()
        for file in Path(config.path, "migrations").glob("[!_]*.py")
    }
    ours = {
        config.label for config in apps.get_app_configs() if config.name.startswith("goodstanding.")
    }
    later = sorted(name for label, name in seen - known if label in ours)
    if later:
        raise BadInput(f"A later version of Goodstanding made this database: it has {later[-1]}.")
    return not known <= seen


@contextmanager
def _locked(home: Path) -> Iterator[None]:
    import fcntl

    with (home / "migrate.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def _alone(home: Path, connection: Any) -> Iterator[None]:
    if connection.vendor == "sqlite":
        with _locked(home):
            yield
        return
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(%s)", [_LOCK])
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_unlock(%s)", [_LOCK])
