"""The databases that the tests are given are real, and are gone after the tests."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import psycopg
import pytest

ROOT = Path(__file__).parents[1]


def folder_of(url: str) -> Path:
    """Name the folder in which the server of `url` lives."""
    return Path(parse_qs(urlsplit(url).query)["host"][0])


@pytest.mark.database
def test_each_test_has_an_empty_durable_database(postgres_url: str) -> None:
    with psycopg.connect(postgres_url) as connection:
        said = [
            connection.execute(f"SHOW {name}").fetchone()
            for name in ("fsync", "synchronous_commit", "server_encoding")
        ]
        tables = connection.execute(
            "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"
        ).fetchone()
        connection.execute("CREATE TABLE mine (id int)")
        (version,) = connection.execute("SHOW server_version_num").fetchone() or ("0",)
    assert said == [("on",), ("on",), ("UTF8",)]
    assert tables == (0,)
    assert int(version) >= 14_00_00


def test_a_command_gets_the_database_and_the_home_of_its_test(
    environment: dict[str, str], home: Path, pytestconfig: pytest.Config
) -> None:
    assert environment["GOODSTANDING_HOME"] == str(home)
    assert home.is_dir()
    assert not list(home.iterdir())
    assert os.environ["GOODSTANDING_HOME"] != str(home)
    assert ("DATABASE_URL" in environment) is (pytestconfig.option.database == "postgresql")


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGKILL], ids=["interrupted", "killed"])
def test_a_run_that_is_cut_off_leaves_no_server_behind(ending: signal.Signals) -> None:
    script = (
        "import time\n"
        "from tests import postgres\n"
        "with postgres.running() as url:\n"
        "    print(url, flush=True)\n"
        "    time.sleep(60)\n"
    )
    run = subprocess.Popen(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=ROOT,
    )
    assert run.stdout is not None
    url = run.stdout.readline().strip()
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
    assert folder_of(url).exists()

    run.send_signal(ending)
    run.wait(40)
    run.stdout.close()

    deadline = time.monotonic() + 20
    while folder_of(url).parent.exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not folder_of(url).parent.exists()
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(url)
