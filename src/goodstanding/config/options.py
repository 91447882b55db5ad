"""What an operator may set: environment variables ``GOODSTANDING_…`` or keys in goodstanding.toml.

The environment wins over the file. ``GOODSTANDING_HOME`` and ``DATABASE_URL`` are read here
too. Anything misspelt, misshapen or contradictory is an error at start, never ignored.
"""

from __future__ import annotations

import os
import secrets
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl, unquote, urlsplit

import msgspec

from goodstanding.gateways.smtp import SmtpSettings

PREFIX: Final = "GOODSTANDING_"


class BadOption(ValueError):
    """A setting that cannot be used; the message names it and what was expected."""


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Everything that can be set, with what holds where nothing is said."""

    policy: str = "default"
    base_url: str = "http://127.0.0.1:8000"
    listen_web: str = "127.0.0.1:8000"
    listen_mail: str = "127.0.0.1:2525"
    bounce_domain: str = "bounces.example.com"
    postal_address: str = ""
    sender_name: str = ""
    sender_address: str = ""
    sender_id: str = "goodstanding"
    region: str | None = None
    language: str = "en"
    time_zone: str = "UTC"
    allowed_hosts: list[str] = []
    keep_raw_days: int = 30
    log_level: str = "info"
    secret_key: str = ""
    lanes: dict[str, SmtpSettings] = {}


def home(environment: Mapping[str, str] = os.environ) -> Path:
    """The folder that state lives in, made where it is missing (for its owner only)."""
    folder = Path(environment.get(PREFIX + "HOME") or "goodstanding-data").absolute()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise BadOption(f"GOODSTANDING_HOME {folder} cannot be used: {error.strerror}") from error
    return folder


def read(folder: Path, environment: Mapping[str, str] = os.environ) -> Options:
    """The settings from the environment and from goodstanding.toml.

    The file is looked for in the working folder, then in ``folder``.

    Raises:
        BadOption: a key that is not one, or a value of the wrong sort.
    """
    said = _from_file(folder)
    said.update(_from_environment(environment))
    try:
        options = msgspec.convert(said, Options, strict=False)
    except msgspec.ValidationError as error:
        raise BadOption(f"setting: {error}") from error
    if urlsplit(options.base_url).scheme not in ("http", "https"):
        raise BadOption(f"setting base_url: {options.base_url!r} is not an http or https address")
    for name in ("listen_web", "listen_mail"):
        host_and_port(name, getattr(options, name))
    return options


def host_and_port(name: str, text: str) -> tuple[str, int]:
    """Read ``HOST:PORT``.

    Raises:
        BadOption: it is not of that form.
    """
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise BadOption(f"setting {name}: {text!r} is not HOST:PORT")
    return host.strip("[]"), int(port)


def secret_key(folder: Path, options: Options) -> str:
    """The installation's secret: as set, or one made once and kept in the home folder."""
    if options.secret_key:
        return options.secret_key
    path = folder / "secret.key"
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_urlsafe(48))
            file.flush()
            os.fsync(file.fileno())
    except FileExistsError:
        pass
    return path.read_text().strip()


def database(folder: Path, environment: Mapping[str, str] = os.environ) -> dict[str, Any]:
    """Django's description of the database: PostgreSQL by DATABASE_URL, else SQLite in the home.

    Raises:
        BadOption: DATABASE_URL is not a postgresql:// address.
    """
    url = environment.get("DATABASE_URL")
    if not url:
        return sqlite(folder / "goodstanding.sqlite3")
    parts = urlsplit(url)
    if parts.scheme not in ("postgresql", "postgres") or not parts.path.strip("/"):
        raise BadOption("DATABASE_URL is not of the form postgresql://user:password@host/name")
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": unquote(parts.path.strip("/")),
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": unquote(parts.hostname or ""),
        "PORT": parts.port or "",
        "OPTIONS": dict(parse_qsl(parts.query)),
        "CONN_HEALTH_CHECKS": True,
        "CONN_MAX_AGE": None,
    }


def sqlite(path: Path) -> dict[str, Any]:
    """Django's description of a SQLite file that is durable and never waits to upgrade a lock."""
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": str(path),
        "OPTIONS": {
            "transaction_mode": "IMMEDIATE",
            "timeout": 30,
            "init_command": (
                "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON;"
                "PRAGMA cache_size=-65536; PRAGMA temp_store=MEMORY; PRAGMA mmap_size=268435456;"
            ),
        },
        "CONN_MAX_AGE": None,
    }


def _from_file(folder: Path) -> dict[str, Any]:
    for path in (Path("goodstanding.toml"), folder / "goodstanding.toml"):
        if path.is_file():
            try:
                return tomllib.loads(path.read_text())
            except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
                raise BadOption(f"{path}: {error}") from error
    return {}


def _from_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    fields = {field.name for field in msgspec.structs.fields(Options)} - {"lanes"}
    said: dict[str, Any] = {}
    for variable, value in environment.items():
        if not variable.startswith(PREFIX) or variable == PREFIX + "HOME":
            continue
        name = variable.removeprefix(PREFIX).lower()
        if name not in fields:
            raise BadOption(f"{variable} is not a setting")
        said[name] = value.split(",") if name == "allowed_hosts" else value
    return said
