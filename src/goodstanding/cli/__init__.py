"""The `goodstanding` command.

A command is a line in ``COMMANDS`` and a function (or a typer app) in a module beside this one. The
module is imported when its command is called, and imports what is heavy when it runs.
"""

from __future__ import annotations

import inspect
import os
import sys
from importlib import import_module, metadata
from typing import Annotated, Any, Final, cast

import typer
from typer.core import TyperGroup

from goodstanding.cli.output import Stop, complain

COMMANDS: Final = {
    "explain": "explaining:explain",
    "import-contacts": "importing:import_contacts",
    "import-events": "importing:import_events",
    "check": "asking:check",
    "why": "asking:why",
    "report": "reporting:report",
    "whatif": "supposing:whatif",
    "opt-in": "acting:opt_in",
    "opt-out": "acting:opt_out",
    "block": "acting:block",
    "unblock": "acting:unblock",
    "lock": "acting:lock",
    "unlock": "acting:unlock",
    "invalid": "acting:invalid",
    "annul": "annulling:annul",
    "annulments": "annulling:annulments",
    "holds": "holding:holds",
    "reread": "rereading:reread",
    "correct": "cleaning:correct",
    "purge": "cleaning:purge",
    "rebuild": "keeping:rebuild",
    "lint": "linting:lint",
    "rules": "ruling:rules",
    "send": "sending:send",
    "template": "singles:template",
    "message": "singles:message",
    "write": "singles:write",
    "pause": "steering:pause",
    "resume": "steering:resume",
    "stop": "steering:stop",
    "schedule": "steering:schedule",
    "release": "steering:release",
    "providers": "throttling:providers",
    "sequence": "sequences:sequence",
    "sequences": "sequences:sequences",
    "serve": "serving:serve",
    "worker": "serving:worker",
    "operator": "serving:operator",
    "demo": "demo:demo",
}
"""Each command, in the order of the help: the module in this package, and what there is called."""

INTERRUPTED: Final = 130


class _Commands(TyperGroup):
    """Commands that are imported when they are wanted."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        # The names alone, for suggestions.
        self.commands = cast(Any, dict.fromkeys(COMMANDS))

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002 - typer's signature
        """The names, without importing anything."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002 - typer's signature
        """The command of that name, imported now; None where there is none."""
        place = COMMANDS.get(cmd_name)
        if place is None:
            return None
        module, _, name = place.partition(":")
        found = getattr(import_module(f"{__name__}.{module}"), name)
        if not isinstance(found, typer.Typer):
            alone = typer.Typer(add_completion=False)
            alone.command(cmd_name, help=_flowing(found.__doc__))(found)
            found = alone
        command = typer.main.get_command(found)
        command.name = cmd_name
        return command


def _flowing(text: str | None) -> str:
    """A docstring's paragraphs, each on one line: the terminal says where lines end."""
    paragraphs = inspect.cleandoc(text or "").split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


app: Final = typer.Typer(cls=_Commands, add_completion=False, no_args_is_help=True)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(metadata.version("goodstanding"))
        raise typer.Exit


_ABOUT: Final = """Whether you may message someone, and what became of every message you sent.

    State is kept in the folder that GOODSTANDING_HOME names (./goodstanding-data where it names
    none), or in the PostgreSQL that DATABASE_URL names.

    Begin with: goodstanding import-contacts people.csv --permission "ticked the box on our site"

    then ask: goodstanding why ann@example.com
    """


@app.callback(help=_flowing(_ABOUT))
def _goodstanding(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say which it is.")
    ] = False,
) -> None:
    """The command itself, without a subcommand."""


def main(arguments: list[str] | None = None) -> int:
    """Run a command; its exit status: 0 done, 1 the answer is no, 2 bad usage or input."""
    try:
        for stream in (sys.stdout, sys.stderr):
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(errors="backslashreplace")
        status = _run(sys.argv[1:] if arguments is None else arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read our output has had enough of it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0
    except KeyboardInterrupt:
        return INTERRUPTED
    return status


def _run(arguments: list[str]) -> int:
    try:
        status = app(args=arguments, prog_name="goodstanding", standalone_mode=False)
    except Stop as stop:
        complain(str(stop))
        return stop.status
    except (BrokenPipeError, KeyboardInterrupt):
        raise
    except SystemExit as error:
        # Not ours: this is what typer makes of a broken pipe.
        raise BrokenPipeError from error
    except Exception as error:  # noqa: BLE001 - whatever it is, the user is told in a sentence
        return _told(error)
    return status if isinstance(status, int) else 0


def _told(error: Exception) -> int:
    """Say what went wrong, in a sentence."""
    usage = getattr(error, "format_message", None)
    if type(error).__name__ == "NoArgsIsHelpError":
        sys.stderr.write(f"{usage() if usage else error}\n")
    elif usage is not None:
        hint = getattr(error, "ctx", None)
        said = usage() if usage().endswith((".", "?")) else f"{usage()}."
        complain(f"{said}{f' See: {hint.command_path} --help' if hint else ''}")
    elif type(error).__module__.startswith("django.db"):
        complain(f"The database cannot be used: {error}")
    elif isinstance(error, OSError) and error.strerror:
        complain(f"{error.filename or 'A file'} cannot be used: {error.strerror}")
    elif os.environ.get("GOODSTANDING_LOG_LEVEL", "").lower() == "debug":
        import traceback

        traceback.print_exception(error)
    else:
        complain(
            f"Something went wrong inside Goodstanding: {type(error).__name__}: {error}"
            " (GOODSTANDING_LOG_LEVEL=debug shows where)"
        )
    return 2
