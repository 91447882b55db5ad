"""What an operator may set: environment variables ``GOODSTANDING_…`` or keys in goodstanding.toml.

The environment wins over the file. ``GOODSTANDING_HOME`` and ``DATABASE_URL`` are read here
too. Anything misspelt, misshapen or contradictory is an error at start, never ignored.
"""

from __future__ import annotations

import contextlib
import difflib
import os
import re
import secrets
import ssl
import tomllib
import zoneinfo
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, TypeVar
from urllib.parse import parse_qsl, unquote, urlsplit

import msgspec

from goodstanding.core.addresses import MalformedAddress, is_region, normalise
from goodstanding.mailings.braking import Brake
from goodstanding.mailings.lanes import DEFAULT, OTHERS, Lane
from goodstanding.mailings.providers import named

if TYPE_CHECKING:
    from goodstanding.mailings.mail.signing import Signer

PREFIX: Final = "GOODSTANDING_"
SHORTEST_SECRET: Final = 32  # characters
LANGUAGES: Final = ("en",)
"""Those that have a catalogue."""


_IN_THE_FILE: Final = frozenset({"lanes", "brake"})
"""Tables of settings, which no environment variable holds."""

_Shape = TypeVar("_Shape")


class BadOption(ValueError):
    """A setting that cannot be used; the message names it and what was expected."""


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Everything that can be set, with what holds where nothing is said."""

    policy: str = "default"
    base_url: str = "http://127.0.0.1:8000"
    listen_web: str = "127.0.0.1:8000"
    listen_mail: str = "127.0.0.1:2525"
    listen_mail_protocol: Literal["smtp", "lmtp"] = "smtp"
    bounce_domain: str = "bounces.example.com"
    postal_address: str = ""
    sender_name: str = ""
    sender_address: str = ""
    sender_id: str = "goodstanding"
    dkim_domain: str = ""
    dkim_selector: str = ""
    dkim_key: str = ""
    region: str | None = None
    language: str = "en"
    time_zone: str = "UTC"
    allowed_hosts: list[str] = []
    mx_lookup: bool = True
    bounce_rules: str = ""
    keep_raw_days: Annotated[int, msgspec.Meta(ge=0, le=36_500)] = 30
    log_level: str = "info"
    secret_key: str = ""
    lanes: dict[str, Lane] = {}
    brake: Brake = Brake()

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """Every setting, the secret hidden."""
        shown = [(name, getattr(self, name)) for name in self.__struct_fields__]
        return [(k, "(hidden)" if k == "secret_key" and v else v) for k, v in shown]

    def __repr__(self) -> str:
        """As a call, the secret hidden."""
        return f"Options({', '.join(f'{k}={v!r}' for k, v in self.__rich_repr__())})"


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
    lanes = said.get("lanes")
    for name, lane in lanes.items() if isinstance(lanes, dict) else ():
        _converted(lane, Lane, f"lanes.{name}")
    options = _converted(said, Options)
    for name in ("listen_web", "listen_mail"):
        host_and_port(name, getattr(options, name))
    for name, check in _CHECKS.items():
        try:
            check(options)
        except (ValueError, OSError) as error:
            raise BadOption(f"setting {name}: {error}") from error
    dkim_signer(options)
    return options


def use_bounce_rules(options: Options) -> None:
    """Read bounces by the rules of one's own too, where there are some.

    Raises:
        BadOption: the file cannot be used.
    """
    if not options.bounce_rules:
        return
    # Only here: the reading of bounces takes a tenth of a second to import.
    from goodstanding.bounces import BadRules, use_rules

    try:
        use_rules(options.bounce_rules)
    except BadRules as error:
        raise BadOption(f"setting bounce_rules: {error}") from None


def dkim_signer(options: Options) -> Signer | None:
    """What signs the mails; None where no key is set.

    Raises:
        BadOption: the three settings do not go together, or the key is of no use.
    """
    said = {name: getattr(options, name) for name in ("dkim_domain", "dkim_selector", "dkim_key")}
    if not any(said.values()):
        return None
    missing = [name for name, value in said.items() if not value]
    if missing:
        raise BadOption(f"setting {missing[0]}: to sign with DKIM, {', '.join(said)} are needed")
    from goodstanding.mailings.mail import signing

    try:
        return signing.load(
            signing.Dkim(said["dkim_domain"], said["dkim_selector"], said["dkim_key"])
        )
    except signing.BadKey as error:
        raise BadOption(f"setting {error}") from None


def _check_base_url(options: Options) -> None:
    url = options.base_url
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{url!r} is not an http or https address")
    if parts.query or parts.fragment or not re.fullmatch(r"[\x21-\x7e]+", url):
        # It begins every link, and stands in a header of every mail.
        raise ValueError(f"{url!r} has a query, or letters that cannot stand in a link")
    if parts.port == 0:
        raise ValueError(f"{url!r} has no port that one can connect to")


def _check_bounce_domain(options: Options) -> None:
    _check_domain(options.bounce_domain)


def _check_domain(domain: str) -> None:
    try:
        fits = normalise("email", f"b@{domain}").value == f"b@{domain.lower()}"
    except MalformedAddress:
        fits = False
    if not fits or "@" in domain:
        raise ValueError(f"{domain!r} is not a domain that mail can come to, written in ASCII")


def _check_sender_address(options: Options) -> None:
    if options.sender_address:
        normalise("email", options.sender_address)


def _check_region(options: Options) -> None:
    if options.region is not None and not is_region(options.region):
        raise ValueError(f"{options.region!r} is not a country's two letters, such as GB")


def _check_time_zone(options: Options) -> None:
    try:
        zoneinfo.ZoneInfo(options.time_zone)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(
            f"{options.time_zone!r} is not a time zone, such as Europe/Berlin"
        ) from None


def _check_language(options: Options) -> None:
    if not re.fullmatch(r"[a-z]{2,3}(-[a-z0-9]{2,8})*", options.language):
        raise ValueError(f"{options.language!r} is not a language, such as en")
    if options.language.partition("-")[0] not in LANGUAGES:
        raise ValueError(f"there is no {options.language!r} yet, only {', '.join(LANGUAGES)}")


def _check_secret_key(options: Options) -> None:
    if options.secret_key and len(options.secret_key) < SHORTEST_SECRET:
        raise ValueError(f"it has fewer than {SHORTEST_SECRET} characters")


def _check_lanes(options: Options) -> None:
    for name, lane in options.lanes.items():
        if lane.confirmed is not None and lane.confirmed not in options.lanes:
            raise ValueError(f"{name}: confirmed = {lane.confirmed!r}, and there is no such lane")
        if lane.bounce_domain is not None:
            _check_domain(lane.bounce_domain)
        for provider in lane.limits:
            if provider not in (DEFAULT, OTHERS) and provider != (known := named(provider)):
                raise ValueError(f"{name}: limits of {provider!r}: it is called {known!r}")
        if not re.fullmatch(r"[\w.-]{1,40}", name):
            raise ValueError(f"{name!r} is not a lane's name: 1 to 40 letters, digits, . _ -")
        if lane.certificates is not None:
            try:
                ssl.create_default_context(cafile=lane.certificates)
            except OSError as error:
                why = error.strerror or error
                raise ValueError(f"{name}: certificates {lane.certificates!r}: {why}") from error


_CHECKS: Final[dict[str, Callable[[Options], None]]] = {
    "base_url": _check_base_url,
    "bounce_domain": _check_bounce_domain,
    "sender_address": _check_sender_address,
    "region": _check_region,
    "time_zone": _check_time_zone,
    "language": _check_language,
    "secret_key": _check_secret_key,
    "lanes": _check_lanes,
}


def host_and_port(name: str, text: str) -> tuple[str, int]:
    """Read ``HOST:PORT``.

    Raises:
        BadOption: it is not of that form.
    """
    host, _, port = text.rpartition(":")
    if not host or not re.fullmatch(r"[0-9]{1,5}", port) or int(port) > 65535:
        raise BadOption(f"setting {name}: {text!r} is not HOST:PORT")
    return host.strip("[]"), int(port)


def secret_key(folder: Path, options: Options) -> str:
    """The installation's secret: as set, or one made once and kept in the home folder.

    Raises:
        BadOption: the file cannot be made or read, or does not hold one.
    """
    if options.secret_key:
        return options.secret_key
    path = folder / "secret.key"
    if not path.exists():
        _make_secret(path)
    try:
        secret = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise BadOption(f"{path}, which holds the secret key, cannot be read") from error
    if len(secret) < SHORTEST_SECRET:
        raise BadOption(
            f"{path} does not hold the secret key any more: put it back, or take the file away and"
            " what was signed with it is good no more"
        )
    return secret


def _make_secret(path: Path) -> None:
    """Make the secret's file, whole from its first moment: others may start at the same time."""
    new = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    try:
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_urlsafe(48))
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(new, path)
    except OSError as error:
        raise BadOption(f"{path} cannot be made: {error.strerror}") from error
    finally:
        new.unlink(missing_ok=True)


_POSTGRESQL: Final = {
    # A worker that was stopped in mid-transaction would keep its locks, and all others, for ever.
    "options": "-c idle_in_transaction_session_timeout=30s",
    # A server that is gone without a word is found out about within a minute.
    "connect_timeout": "10",
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
    "tcp_user_timeout": "60000",
}
"""What holds for a connection where DATABASE_URL's query does not say otherwise (libpq)."""


def database(folder: Path, environment: Mapping[str, str] = os.environ) -> dict[str, Any]:
    """Django's description of the database: PostgreSQL by DATABASE_URL, else SQLite in the home.

    Raises:
        BadOption: DATABASE_URL is not a postgresql:// address.
    """
    url = environment.get("DATABASE_URL")
    if not url:
        return sqlite(folder / "goodstanding.sqlite3")
    wrong = "DATABASE_URL is not of the form postgresql://user:password@host/name"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise BadOption(wrong) from None  # what was said may hold a password
    if parts.scheme not in ("postgresql", "postgres") or not parts.path.strip("/"):
        raise BadOption(wrong)
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": unquote(parts.path.strip("/")),
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": unquote(parts.hostname or ""),
        "PORT": port or "",
        "OPTIONS": {
            **_POSTGRESQL,
            **dict(parse_qsl(parts.query, keep_blank_values=True)),
            # To plan what a sender asks for takes longer than to do it: it is planned once.
            "server_side_binding": True,
            "prepare_threshold": 3,
        },
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
                "PRAGMA cache_size=-65536; PRAGMA temp_store=MEMORY;"
                "PRAGMA wal_autocheckpoint=4000;"
            ),
        },
        "CONN_MAX_AGE": None,
    }


def _from_file(folder: Path) -> dict[str, Any]:
    for path in (Path("goodstanding.toml"), folder / "goodstanding.toml"):
        if path.is_file():
            try:
                return tomllib.loads(path.read_text(encoding="utf-8"))
            except OSError as error:
                raise BadOption(f"{path} cannot be read: {error.strerror}") from error
            except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
                raise BadOption(f"{path}: {error}") from error
    return {}


def _from_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    fields = {field.name for field in msgspec.structs.fields(Options)} - _IN_THE_FILE
    said: dict[str, Any] = {}
    for variable, value in environment.items():
        if not variable.startswith(PREFIX) or variable == PREFIX + "HOME":
            continue
        name = variable.removeprefix(PREFIX).lower()
        if name not in fields:
            raise BadOption(f"{variable} is not a setting{_instead(name, fields)}")
        said[name] = value
        if name == "allowed_hosts":
            said[name] = [host.strip() for host in value.split(",") if host.strip()]
    return said


def _converted(said: object, shape: type[_Shape], within: str = "") -> _Shape:
    """What was said in its shape.

    Raises:
        BadOption: which key says something else, as in ``lanes.main.port: expected …``.
    """
    try:
        return msgspec.convert(said, shape, strict=False)
    except msgspec.ValidationError as error:
        why, _, place = str(error).partition(" - at `$")
        key = f"{within}{place.strip('`')}".strip(".") or "in goodstanding.toml"
        raise BadOption(f"setting {key}: {why[:1].lower()}{why[1:]}") from error


def _instead(name: str, fields: Collection[str]) -> str:
    if name in _IN_THE_FILE:
        return f": {name} stands in goodstanding.toml"
    close = difflib.get_close_matches(name, fields, n=1)
    return f"; did you mean {PREFIX}{close[0].upper()}?" if close else ""
