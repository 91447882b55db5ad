"""`goodstanding demo`: the main job from end to end, against a pretend internet on this machine.

Everything is done by the commands that a user has. Only the settings, the policy file and the
mailbox providers on the other side are the demonstration's own.
"""

from __future__ import annotations

import json as jsons
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any, Final

import typer

from goodstanding.cli import parameters
from goodstanding.cli.output import Stop, print_json, print_table, print_text
from goodstanding.cli.ports import free_port

if TYPE_CHECKING:
    from goodstanding.answers.progress import Progress

PATIENCE: Final = 600.0
"""Seconds after which a demonstration that does not come to its end is given up."""

_SUBJECTS: Final = {
    "first": "The garden opens, {{ first_name }}",
    "second": "Another Saturday in the garden",
}
_ANNOUNCED: Final = {
    "first": "The first broadcast goes out to all whom the gate allows, and much comes back.",
    "second": "The second broadcast: what came back of the first decides who gets it.",
}
_STORIES: Final = (
    ("hard_bounced", "An address that does not exist any more"),
    ("opted_out_with_feedback", "Somebody who left, and said why"),
    ("soft_bouncing", "A mailbox that is full, or a server that keeps us waiting"),
)
_FILES: Final = "goodstanding.cli.demonstration"


def demo(
    contacts: Annotated[int, typer.Option(min=100, help="How many made-up contacts.")] = 2000,
    seed: Annotated[int, typer.Option(help="The same seed gives the same world.")] = 1,
    serve: Annotated[
        bool, typer.Option("--serve", help="Keep the web pages open on the result.")
    ] = False,
    home: Annotated[
        Path | None,
        typer.Option(help="Keep everything in this folder, which must be empty or new."),
    ] = None,
    database_url: Annotated[
        str | None, typer.Option(help="An empty PostgreSQL to use; else SQLite.")
    ] = None,
    json: parameters.Json = False,
) -> None:
    """Show the main job: send, hear, decide, refuse, say why.

    Makes up contacts, sends them two broadcasts over real SMTP to a pretend internet on this
    machine, hears all that comes back, and shows where every address stands. Nothing leaves this
    machine, and nothing that you have is touched.

    Example: goodstanding demo --contacts 500 --serve
    """
    begun = time.monotonic()
    # Told to end, it takes with it what it started, as with Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with _folder(home) as folder, _postoffice(folder, seed) as office:
        _set_up(folder, office, database_url)
        with _served(folder) as server:
            _import(folder, contacts, seed, json=json)
            told = _Told(json=json)
            for name in ("first", "second"):
                if not json:
                    print_text(f"\n{_ANNOUNCED[name]}", style="bold")
                told.broadcast(_send(folder, name, office, server))
                if name == "first":
                    told.standings()
                    told.stories()
            if not json:
                print_text(f"Done in {time.monotonic() - begun:.0f} s.", style="bold")
            if serve:
                _keep_open(server)


@contextmanager
def _folder(home: Path | None) -> Iterator[Path]:
    if home is not None:
        home.mkdir(parents=True, exist_ok=True)
        if any(home.iterdir()):
            raise Stop(f"{home} is not empty: the demonstration begins with an empty folder.")
        yield home.absolute()
        return
    with tempfile.TemporaryDirectory(prefix="goodstanding-demo-", ignore_cleanup_errors=True) as at:
        yield Path(at)


@contextmanager
def _postoffice(folder: Path, seed: int) -> Iterator[dict[str, Any]]:
    """The pretend internet, and where its doors are."""
    mail = f"127.0.0.1:{free_port()}"
    command = [sys.executable, "-m", "goodstanding.postoffice", "--seed", str(seed)]
    command += ["--book", str(folder / "book.jsonl"), "--return-to", mail]
    command += ["--complaints-to", "complaints@bounces.example.com", "--pace", "0.5"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603
        try:
            assert process.stdout is not None  # noqa: S101 - a pipe was asked for
            line = process.stdout.readline()
            if not line:
                raise Stop("The pretend internet could not be started.")
            yield {**jsons.loads(line), "mail": mail}
        finally:
            process.terminate()


def _set_up(folder: Path, office: dict[str, Any], database_url: str | None) -> None:
    """Write the settings, and let this process and all that it starts use them and no others."""
    template = resources.files(_FILES).joinpath("settings.template").read_text()
    routes = "\n".join(
        f'"{domain}" = "127.0.0.1:{port}"' for domain, port in office["providers"].items()
    )
    said = template.format(
        web=f"127.0.0.1:{free_port()}", mail=office["mail"], relay=office["relay"], routes=routes
    )
    (folder / "goodstanding.toml").write_text(said)
    for variable in list(os.environ):
        if variable.startswith("GOODSTANDING_") or variable == "DATABASE_URL":
            del os.environ[variable]
    os.environ["GOODSTANDING_HOME"] = str(folder)
    if database_url is not None:
        os.environ["DATABASE_URL"] = database_url
    os.chdir(folder)

    from goodstanding.cli.setup import log_with_structlog, prepare

    prepare()
    log_with_structlog()


@contextmanager
def _served(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """`goodstanding serve`, running."""
    with (folder / "serve.log").open("w") as log, _command(["serve"], log) as process:
        try:
            yield process
        finally:
            process.terminate()


def _command(arguments: list[str], output: IO[str] | int) -> subprocess.Popen[str]:
    return subprocess.Popen(  # noqa: S603 - our own command
        [sys.executable, "-m", "goodstanding", *arguments],
        stdout=output,
        stderr=subprocess.STDOUT,
        text=True,
    )


def _import(folder: Path, contacts: int, seed: int, *, json: bool) -> None:
    people = folder / "contacts.csv"
    maker = [sys.executable, "-m", "goodstanding.postoffice.people", "--contacts", str(contacts)]
    subprocess.run([*maker, "--seed", str(seed), "--out", str(people)], check=True)  # noqa: S603

    from goodstanding.contacts.importing import import_contacts

    done = import_contacts(people, now=parameters.present())
    if json:
        print_json(
            {"imported": done.rows, "addresses": done.addresses, "malformed": done.malformed}
        )
        return
    print_text(
        f"{done.rows:,} rows imported: {done.contacts_new:,} contacts,"
        f" {done.addresses:,} addresses, {done.malformed:,} of them malformed;"
        f" {done.without_address:,} without an address."
    )


def _send(
    folder: Path,
    name: str,
    office: dict[str, Any],
    server: subprocess.Popen[str],
) -> Progress:
    """Send a broadcast with `goodstanding send`, and watch until nothing more is on its way."""
    from goodstanding.answers import progress
    from goodstanding.cli import watching
    from goodstanding.ledger.models import Mailing

    files = resources.files(_FILES)
    with (
        resources.as_file(files.joinpath(f"{name}.html")) as html,
        resources.as_file(files.joinpath(f"{name}.txt")) as text,
        (folder / f"send-{name}.log").open("w") as log,
    ):
        arguments = ["send", name, "--subject", _SUBJECTS[name], "--control", "0.02", "--no-wait"]
        with _command([*arguments, "--html", str(html), "--text", str(text)], log) as sending:
            status = sending.wait()
    if status:
        raise Stop(f"The {name} broadcast was not sent: {_end_of(Path(log.name))}")
    end = time.monotonic() + PATIENCE
    quiet_looks = 0

    def is_over(now: Progress) -> bool:
        nonlocal quiet_looks
        if server.poll() is not None or time.monotonic() > end:
            said = _end_of(folder / "serve.log")
            raise Stop(f"The demonstration did not come to its end. The server said: {said}")
        if (why := watching.stands_still(now)) is not None:
            raise Stop(why)
        at_rest = now.is_settled and not progress.unheard() and not _under_way(office)
        quiet_looks = quiet_looks + 1 if at_rest else 0
        # What the other side has just done may not have reached us: look again before believing it.
        return quiet_looks > 2

    return watching.until(is_over, Mailing.objects.get(name=name).pk)


def _end_of(log: Path) -> str:
    """The last lines of a log, which is deleted with the folder."""
    return "".join(log.read_text(errors="replace").splitlines(keepends=True)[-20:]) or "nothing."


def _under_way(office: dict[str, Any]) -> int:
    """How much the pretend internet has still to do."""
    url = f"http://127.0.0.1:{office['control']}/status"
    with urllib.request.urlopen(url, timeout=30) as answer:
        return int(jsons.load(answer)["pending"])


class _Told:
    """Says what happened, to a person or to a program."""

    def __init__(self, *, json: bool) -> None:
        self._json = json

    def broadcast(self, progress: Progress) -> None:
        """The send progress, the responses and the commonest categories."""
        from goodstanding.answers import reports
        from goodstanding.cli import watching

        if self._json:
            print_json(reports.mailing(progress.name, parameters.present()))
            return
        watching.print_progress(progress)
        print_table(
            ("Why it came back", "Recipients"),
            [(name.replace("_", " "), n) for name, n in reports.categories(progress.name)],
        )

    def standings(self) -> None:
        """Where the addresses stand, by family."""
        from goodstanding.answers import reports

        vocabulary = reports.choose_vocabulary("goodstanding", None)
        rows = reports.statuses(vocabulary, parameters.present())
        if self._json:
            for row in rows:
                print_json(row)
            return
        colours = {"good": "green", "bad": "yellow", "ugly": "red"}
        print_table(
            ("Family", "Status", "Addresses"),
            [(row.family, row.name, row.count) for row in rows],
            title="Where the addresses stand",
            styles=lambda row: colours.get(str(row[0])),
        )

    def stories(self) -> None:
        """Three addresses, and why they stand where they do."""
        from goodstanding.cli import asking
        from goodstanding.ledger.models import Address

        for status, title in _STORIES:
            value = (
                Address.objects.filter(status=status, channel="email")
                .order_by("value")
                .values_list("value", flat=True)
                .first()
            )
            if value is None:
                continue
            if self._json:
                print_json({"story": title, "address": value})
                continue
            print_text(f"\n{title}: goodstanding why {value}", style="bold")
            asking.why([value])


def _keep_open(server: subprocess.Popen[str]) -> None:
    from django.conf import settings

    from goodstanding.console import operators

    password = secrets.token_urlsafe(12)
    operators.create("demo", password)
    print_text(f"\nThe console is open on {settings.OPTIONS.base_url}/", style="bold")
    print_text(f"Sign in as demo with the password {password}. Ctrl-C ends.")
    try:
        server.wait()
    except KeyboardInterrupt:
        return
