"""Settings: a wrong one is one clear sentence at the start, and the secret stays one."""

from __future__ import annotations

import stat
import subprocess
import sys
from pathlib import Path

import pytest

from goodstanding.config import options
from goodstanding.config.options import BadOption, Options

SECRET = "correct horse battery staple, twice"


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No goodstanding.toml of this folder is read."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)


def read(folder: Path, **variables: str) -> Options:
    return options.read(folder, {f"GOODSTANDING_{k.upper()}": v for k, v in variables.items()})


def refused(folder: Path, **variables: str) -> str:
    with pytest.raises(BadOption) as error:
        read(folder, **variables)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_where_nothing_is_said_the_defaults_hold(tmp_path: Path) -> None:
    assert read(tmp_path) == Options()


def test_the_environment_wins_over_the_file_and_the_working_folder_over_the_home(
    tmp_path: Path,
) -> None:
    (tmp_path / "goodstanding.toml").write_text('sender_name = "Home"\nkeep_raw_days = 7\n')
    said = read(tmp_path, sender_name="Environment")
    assert (said.sender_name, said.keep_raw_days) == ("Environment", 7)
    Path("goodstanding.toml").write_text('sender_name = "Café"\n', encoding="utf-8")
    said = read(tmp_path)
    assert (said.sender_name, said.keep_raw_days) == ("Café", 30)


def test_hosts_in_the_environment_are_parted_by_commas(tmp_path: Path) -> None:
    assert read(tmp_path, allowed_hosts="a.example, b.example,").allowed_hosts == [
        "a.example",
        "b.example",
    ]
    assert read(tmp_path, allowed_hosts="").allowed_hosts == []


@pytest.mark.parametrize(
    ("variables", "parts"),
    [
        ({"sender_nmae": "x"}, ("GOODSTANDING_SENDER_NMAE", "SENDER_NAME?")),
        ({"lanes": "x"}, ("GOODSTANDING_LANES", "goodstanding.toml")),
        ({"keep_raw_days": "soon"}, ("keep_raw_days", "int")),
        ({"keep_raw_days": "-1"}, ("keep_raw_days", ">= 0")),
        ({"base_url": "shop.example"}, ("base_url", "http")),
        ({"base_url": "http://"}, ("base_url", "http")),
        ({"base_url": "ftp://shop.example"}, ("base_url", "http")),
        ({"base_url": "http://[::1"}, ("base_url",)),
        ({"base_url": "http://shop.example:99999"}, ("base_url", "Port")),
        ({"base_url": "https://shöp.example"}, ("base_url", "letters")),
        ({"base_url": "https://shop.example/a b"}, ("base_url", "letters")),
        ({"base_url": "https://shop.example/?x=1"}, ("base_url", "query")),
        ({"listen_web": "8000"}, ("listen_web", "HOST:PORT")),
        ({"listen_mail": "127.0.0.1:x"}, ("listen_mail", "HOST:PORT")),
        ({"listen_mail": "127.0.0.1:65536"}, ("listen_mail", "HOST:PORT")),
        ({"listen_mail": ":2525"}, ("listen_mail", "HOST:PORT")),
        ({"bounce_domain": "no domain"}, ("bounce_domain", "no domain")),
        ({"bounce_domain": "b@shop.example"}, ("bounce_domain",)),
        ({"bounce_domain": "shöp.example"}, ("bounce_domain", "ASCII")),
        ({"bounce_domain": ""}, ("bounce_domain",)),
        ({"sender_address": "the shop"}, ("sender_address", "the shop")),
        ({"region": "Germany"}, ("region", "Germany")),
        ({"region": "UK"}, ("region", "'UK'", "such as GB")),
        ({"time_zone": "Mars/Base"}, ("time_zone", "Mars/Base")),
        ({"time_zone": "../../etc/passwd"}, ("time_zone",)),
        ({"language": "xx"}, ("language", "xx")),
        ({"language": "../en"}, ("language",)),
    ],
)
def test_a_wrong_variable_is_named(
    tmp_path: Path, variables: dict[str, str], parts: tuple[str, ...]
) -> None:
    said = refused(tmp_path, **variables)
    for part in parts:
        assert part in said


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("x = ?", ("goodstanding.toml", "line 1")),
        ('sender_nmae = "x"', ("sender_nmae",)),
        ("sender_name = 3", ("sender_name", "str")),
        ("allowed_hosts = 3", ("allowed_hosts", "array")),
        ('lanes = "x"', ("lanes", "object")),
        ("lanes.main = 3", ("lanes.main", "object")),
        ('lanes.main.port = "x"', ("lanes.main.port", "int")),
        ("lanes.main.port = 0", ("lanes.main.port", ">= 1")),
        ("lanes.bulk.hots = 'x'", ("lanes.bulk", "hots")),
        ("lanes.main.connections = 0", ("lanes.main.connections",)),
        ("lanes.main.starttls = 'maybe'", ("lanes.main.starttls", "maybe")),
        ("lanes.main.username = 'x'", ("lanes.main", "password")),
        ("lanes.main = {tls = true, starttls = 'always'}", ("lanes.main", "exclude")),
        ("lanes.main.routes = {'a.example' = 'b'}", ("lanes.main", "host:port")),
        ("lanes.main.certificates = '/no/such.pem'", ("lanes", "main", "/no/such.pem")),
        ("lanes.'a b'.port = 25", ("lanes", "a b")),
    ],
)
def test_a_wrong_key_in_the_file_is_named(
    tmp_path: Path, text: str, parts: tuple[str, ...]
) -> None:
    (tmp_path / "goodstanding.toml").write_text(text)
    said = refused(tmp_path)
    for part in parts:
        assert part in said


def test_a_file_that_is_not_utf_8_is_named(tmp_path: Path) -> None:
    (tmp_path / "goodstanding.toml").write_bytes(b'sender_name = "Caf\xe9"\n')
    assert "goodstanding.toml" in refused(tmp_path)


def test_a_home_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BadOption, match=r"GOODSTANDING_HOME.*cannot be used"):
        options.home({"GOODSTANDING_HOME": str(tmp_path / "file")})


def test_a_home_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    folder = options.home({"GOODSTANDING_HOME": str(tmp_path / "a" / "b")})
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


@pytest.mark.parametrize(
    "url",
    ["mysql://u:hush@h/x", "postgresql://u:hush@h", "postgresql://u:hush@h:x/n", "u:hush@h/x"],
)
def test_a_wrong_database_url_is_an_error_that_repeats_no_password(
    tmp_path: Path, url: str
) -> None:
    with pytest.raises(BadOption, match="DATABASE_URL is not of the form") as error:
        options.database(tmp_path, {"DATABASE_URL": url})
    assert "hush" not in str(error.value)


def test_a_database_url_is_taken_apart(tmp_path: Path) -> None:
    url = "postgresql://a%40b:p%2Fw@db.example:5433/na%20me?sslmode=require"
    said = options.database(tmp_path, {"DATABASE_URL": url})
    assert (said["USER"], said["PASSWORD"], said["HOST"], said["PORT"], said["NAME"]) == (
        "a@b",
        "p/w",
        "db.example",
        5433,
        "na me",
    )
    assert said["OPTIONS"]["sslmode"] == "require"
    assert "idle_in_transaction_session_timeout" in said["OPTIONS"]["options"]
    assert options.database(tmp_path, {})["NAME"] == str(tmp_path / "goodstanding.sqlite3")


def test_a_database_url_has_the_last_word_on_its_connections(tmp_path: Path) -> None:
    url = "postgresql://u@h/n?options=&connect_timeout=3"
    said = options.database(tmp_path, {"DATABASE_URL": url})["OPTIONS"]
    assert (said["options"], said["connect_timeout"]) == ("", "3")


def test_the_secret_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    secret = options.secret_key(tmp_path, Options())
    assert len(secret) >= 48
    assert options.secret_key(tmp_path, Options()) == secret
    assert sorted(file.name for file in tmp_path.iterdir()) == ["secret.key", "work"]
    assert stat.S_IMODE((tmp_path / "secret.key").stat().st_mode) == 0o600


def test_a_secret_that_is_set_makes_no_file(tmp_path: Path) -> None:
    said = read(tmp_path, secret_key=SECRET)
    assert options.secret_key(tmp_path, said) == SECRET
    assert not (tmp_path / "secret.key").exists()


@pytest.mark.parametrize("left", ["", "short\n"])
def test_a_secret_that_was_lost_is_not_replaced_unseen(tmp_path: Path, left: str) -> None:
    (tmp_path / "secret.key").write_text(left)
    with pytest.raises(BadOption, match="does not hold the secret key"):
        options.secret_key(tmp_path, Options())
    assert (tmp_path / "secret.key").read_text() == left


def test_a_short_secret_is_refused_and_not_repeated(tmp_path: Path) -> None:
    said = refused(tmp_path, secret_key="hush")
    assert "secret_key" in said
    assert "hush" not in said


def test_neither_secret_nor_password_is_ever_shown(tmp_path: Path) -> None:
    (tmp_path / "goodstanding.toml").write_text(
        f"secret_key = '{SECRET}'\nlanes.main = {{username = 'ann', password = 'hush'}}\n"
    )
    said = read(tmp_path)
    for shown in (repr(said), str(said), f"{said.__rich_repr__()}"):
        assert SECRET not in shown
        assert "hush" not in shown
        assert "ann" in shown


def test_processes_that_start_at_once_have_one_secret(tmp_path: Path) -> None:
    program = (
        "import sys, time; from pathlib import Path; from goodstanding.config import options\n"
        "folder = Path(sys.argv[1]); print('ready', flush=True); sys.stdin.readline()\n"
        "print(options.secret_key(folder, options.Options()))"
    )
    started = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(tmp_path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    for process in started:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in started:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    secrets = {process.communicate(timeout=30)[0].strip() for process in started}
    assert len(secrets) == 1
    assert len(secrets.pop()) >= 48
