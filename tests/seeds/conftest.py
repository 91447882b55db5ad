"""The five documents that started the product, as scenarios."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.handlers import Sink

from goodstanding.cli import main
from goodstanding.cli.ports import free_port
from tests.cli.conftest import Ran, command
from tests.seeds.hearing import Hearers, hearers

pytest.register_assert_rewrite("tests.seeds.scenarios")

if TYPE_CHECKING:
    # Models can be imported only when Django is set up, which is after this file is read.
    from tests.seeds.scenarios import Scenario


@pytest.fixture(scope="session")
def heard_at_once(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Hearers | None]:
    """Two processes that hear parts of scenarios at once; on PostgreSQL alone."""
    if request.config.option.database == "sqlite":
        yield None
        return
    request.getfixturevalue("django_db_setup")
    with hearers(tmp_path_factory.mktemp("hearing")) as found:
        yield found


@pytest.fixture
def scenario(
    transactional_db: None,
    heard_at_once: Hearers | None,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    settings: Any,
    request: pytest.FixtureRequest,
) -> Scenario:
    """A story under the policy and in the words of the module's `SYSTEM`."""
    from tests.seeds.scenarios import Scenario, options_with

    def run(*arguments: str, said: str = "") -> Ran:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(said.encode())))
        capfd.readouterr()
        status = main(list(arguments))
        return Ran(status, *capfd.readouterr())

    def use_policy(name: str) -> None:
        settings.OPTIONS = options_with(name)

    return Scenario(request.module.SYSTEM, run, use_policy, heard_at_once)


@pytest.fixture
def on_postgresql(environment: dict[str, str], postgres_url: str) -> dict[str, str]:
    """Environment for processes on an empty PostgreSQL, whatever the run is on."""
    return environment | {"DATABASE_URL": postgres_url}


@pytest.fixture
def shop(
    environment: dict[str, str], home: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Ran]]:
    """Commands as processes in a home that can really send: a mail server takes everything.

    The folder holds `body.txt` to send; `policy=` names the policy.
    """
    # Commands that ran in this process may have left logging with an output that is closed by now.
    monkeypatch.setattr(logging.getLogger("mail.log"), "disabled", True)
    port = free_port()
    controller = Controller(Sink(), hostname="127.0.0.1", port=port)
    controller.start()
    (home / "goodstanding.toml").write_text(
        'sender_address = "news@shop.example"\npostal_address = "1 High Street"\n'
        f'[lanes.main]\nhost = "127.0.0.1"\nport = {port}\nstarttls = "never"\n'
    )
    (home / "body.txt").write_text("Hello {{ unsubscribe_url }} {{ postal_address }}\n")

    def running(*arguments: str, policy: str = "default") -> Ran:
        return command(environment | {"GOODSTANDING_POLICY": policy}, *arguments)

    yield running
    controller.stop()


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Iterator[None]:
    """Every scenario is told again, in other orders, when its test has passed."""
    result = yield
    scenario: Scenario | None = pyfuncitem.funcargs.get("scenario")
    if scenario is not None:
        scenario.retell()
    return result
