"""What all tests share: which database they run on, a home of their own, and a browser.

`pytest --database sqlite` is the default. `pytest --database postgresql` starts a server for the
run, or uses the one that DATABASE_URL names.
"""

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from tests import postgres

TESTS = Path(__file__).parent
SETTINGS = "goodstanding.config.settings"

# Rooms that know no Django: where these alone are run, it is not even imported.
WITHOUT_DJANGO = {
    "bounces",
    "core",
    "gateways",
    "postoffice",
    "test_databases.py",
    "test_repository.py",
}
# Rooms whose tests all run again on PostgreSQL.
WITH_DATABASE = {"answers", "contacts", "e2e", "intake", "ledger", "mailings"}
DATABASE_FIXTURES = {"db", "transactional_db", "environment"}

_server = pytest.StashKey[str]()
_cleanup = pytest.StashKey[ExitStack]()

# Two cores are shared with the code under test: how long one example took says nothing.
hypothesis.settings.register_profile(
    "goodstanding",
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("goodstanding")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--database",
        choices=("sqlite", "postgresql"),
        help="the database to run on (default: the one of DATABASE_URL, else sqlite)",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Set the environment before anything reads the settings."""
    _hear_interrupts()
    if config.option.help:
        return
    cleanup = config.stash[_cleanup] = ExitStack()
    for name in [name for name in os.environ if name.startswith("GOODSTANDING_")]:
        del os.environ[name]
    os.environ.pop("NATS_URL", None)
    home = Path(tempfile.mkdtemp(prefix="goodstanding-tests-"))
    cleanup.callback(shutil.rmtree, home, ignore_errors=True)
    os.environ["GOODSTANDING_HOME"] = str(home)

    url = os.environ.pop("DATABASE_URL", "")
    if config.option.database is None:
        config.option.database = "postgresql" if url.startswith("postgres") else "sqlite"
    worker: dict[str, Any] = getattr(config, "workerinput", {})
    if "postgres" in worker:
        config.stash[_server] = worker["postgres"]
    elif url.startswith("postgres"):
        config.stash[_server] = url
    elif config.option.database == "postgresql":
        config.stash[_server] = cleanup.enter_context(postgres.running())
    if config.option.database == "postgresql":
        os.environ["DATABASE_URL"] = postgres.hastily(config.stash[_server])

    if _needs_django(config):
        os.environ["DJANGO_SETTINGS_MODULE"] = SETTINGS
        import django

        django.setup()


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell a worker of xdist which server the run has."""
    if _server in node.config.stash:
        node.workerinput["postgres"] = node.config.stash[_server]


def pytest_unconfigure(config: pytest.Config) -> None:
    if _cleanup in config.stash:
        config.stash[_cleanup].close()


def pytest_report_header(config: pytest.Config) -> str:
    return f"database: {config.option.database}"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what touches a database."""
    for item in items:
        if (
            _room(item.path) in WITH_DATABASE
            or item.get_closest_marker("django_db") is not None
            or DATABASE_FIXTURES & set(getattr(item, "fixturenames", ()))
        ):
            item.add_marker("database")


def _hear_interrupts() -> None:
    """Let what tests start be interrupted, also where a shell's background job ignores that."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _needs_django(config: pytest.Config) -> bool:
    paths = (Path(config.invocation_params.dir, arg.split("::")[0]) for arg in config.args)
    return any(_room(path.resolve()) not in WITHOUT_DJANGO for path in paths)


def _room(path: Path) -> str:
    """Name the folder or file right below `tests` that a path is in; empty for `tests` itself."""
    parts = path.relative_to(TESTS).parts if path.is_relative_to(TESTS) else ()
    return parts[0] if parts else ""


@pytest.fixture(scope="session")
def django_db_modify_db_settings(django_db_modify_db_settings_parallel_suffix: None) -> None:
    """Put SQLite's test databases into files, as in life: in memory there is no WAL."""
    from django.conf import settings

    for alias, database in settings.DATABASES.items():
        if "sqlite" in database["ENGINE"]:
            file = Path(os.environ["GOODSTANDING_HOME"]) / f"test-{alias}.sqlite3"
            database.setdefault("TEST", {})["NAME"] = str(file)


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None) -> Iterator[None]:
    """Let go of the test databases before they are dropped."""
    from django.db import connections
    from django.test import TransactionTestCase

    # Django empties every table, and makes all content types and permissions anew: most of what a
    # test took.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TransactionTestCase, "_fixture_teardown", _empty_what_was_filled)
        yield
    connections.close_all()


def _empty_what_was_filled(case: Any) -> None:
    """Delete all rows but those that Django itself put there when it made the tables."""
    from django.db import connections, transaction

    for alias in case._databases_names(include_mirrors=False):
        introspection = connections[alias].introspection
        tables = set(introspection.django_table_names(only_existing=True))
        filled = " UNION ALL ".join(
            f"SELECT '{table}' WHERE EXISTS (SELECT 1 FROM {table})"
            for table in sorted(tables - {"django_content_type", "auth_permission"})
        )
        # Foreign keys are looked at when it commits.
        with transaction.atomic(using=alias), connections[alias].cursor() as cursor:
            cursor.execute(filled)
            for (table,) in cursor.fetchall():
                cursor.execute(f"DELETE FROM {table}")


@pytest.fixture(scope="session")
def postgres_server(pytestconfig: pytest.Config) -> Iterator[str]:
    """URL of a PostgreSQL on which databases can be made, whatever the run is on."""
    if _server in pytestconfig.stash:
        yield pytestconfig.stash[_server]
    else:
        with postgres.running() as url:
            yield url


@pytest.fixture
def postgres_url(postgres_server: str) -> Iterator[str]:
    """URL of a fresh, empty PostgreSQL database, as durable as in life."""
    with postgres.fresh_database(postgres_server) as url:
        yield url


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Give an empty folder to be the GOODSTANDING_HOME of commands run as processes."""
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


@pytest.fixture
def environment(
    home: Path, pytestconfig: pytest.Config, request: pytest.FixtureRequest
) -> dict[str, str]:
    """Environment for commands run as processes: `home`, and a database of the run's kind."""
    unwanted = {"DJANGO_SETTINGS_MODULE", "DATABASE_URL"}
    variables = {name: value for name, value in os.environ.items() if name not in unwanted}
    variables["GOODSTANDING_HOME"] = str(home)
    if pytestconfig.option.database == "postgresql":
        variables["DATABASE_URL"] = request.getfixturevalue("postgres_url")
    return variables


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Give a headless Chromium (`playwright.sync_api.Browser`), or skip where there is none."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("NO CHROMIUM HERE: this page was not looked at (apt-get install chromium)")
    from playwright.sync_api import sync_playwright

    quiet = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
    quiet += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=chromium, args=quiet)
        yield running
        running.close()
