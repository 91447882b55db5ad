"""An installation with people to send to, made once and copied for each test."""

from __future__ import annotations

import os
import shutil
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg import sql

from tests import postgres
from tests.e2e.parts import DOMAINS, Installation, Office, office

RECIPIENTS = 300


@pytest.fixture(scope="session")
def _made(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[dict[str, str]]:
    """The environment of an installation whose contacts are imported."""
    home = tmp_path_factory.mktemp("made") / "home"
    home.mkdir()
    unwanted = {"DJANGO_SETTINGS_MODULE", "DATABASE_URL"}
    environment = {name: value for name, value in os.environ.items() if name not in unwanted}
    environment["GOODSTANDING_HOME"] = str(home)
    rows = [f"person{n}@{DOMAINS[n % len(DOMAINS)]},opted_in" for n in range(RECIPIENTS)]
    (home / "people.csv").write_text("\n".join(["email,consent", *rows]))
    if request.config.option.database == "sqlite":
        Installation(environment).run("import-contacts", "people.csv")
        yield environment
        return
    server = request.getfixturevalue("postgres_server")
    with postgres.fresh_database(server) as url:
        environment["DATABASE_URL"] = url
        Installation(environment).run("import-contacts", "people.csv")
        yield environment


@contextmanager
def _copied(url: str) -> Iterator[str]:
    """A copy of a database that nobody is connected to; its URL."""
    parts = urlsplit(url)
    server = parts._replace(path="/postgres").geturl()
    made, name = parts.path.strip("/"), f"goodstanding_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(server, autocommit=True) as connection:
        statement = sql.SQL("CREATE DATABASE {} TEMPLATE {}")
        connection.execute(statement.format(sql.Identifier(name), sql.Identifier(made)))
    try:
        yield parts._replace(path=f"/{name}").geturl()
    finally:
        with psycopg.connect(server, autocommit=True) as connection:
            statement = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)")
            connection.execute(statement.format(sql.Identifier(name)))


@contextmanager
def _watched(installation: Installation) -> Iterator[Installation]:
    """Ends its workers, and leaves word for whoever reads of a failure."""
    try:
        yield installation
        with suppress(Exception):
            sys.stdout.write(installation.story())
    finally:
        installation.end()


@pytest.fixture
def bare(_made: dict[str, str], home: Path) -> Iterator[Installation]:
    """A copy of the installation; its lane leads nowhere yet."""
    shutil.copytree(_made["GOODSTANDING_HOME"], home, dirs_exist_ok=True)
    environment = {**_made, "GOODSTANDING_HOME": str(home)}
    if "DATABASE_URL" not in _made:
        with _watched(Installation(environment)) as installation:
            yield installation
        return
    with (
        _copied(_made["DATABASE_URL"]) as url,
        _watched(Installation({**environment, "DATABASE_URL": url})) as installation,
    ):
        yield installation


@pytest.fixture
def slow(tmp_path: Path) -> Iterator[Office]:
    """A pretend internet that takes everything, slowly: what happens meets mails in every stage."""
    with office(tmp_path, "--only", "accepts", "--slow", "40") as opened:
        yield opened


@pytest.fixture
def installation(bare: Installation, slow: Office) -> Installation:
    """An installation that sends to the slow pretend internet."""
    bare.settings(slow.relay)
    return bare
