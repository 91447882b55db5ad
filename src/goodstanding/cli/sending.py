"""`goodstanding send`: a broadcast from template files."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from goodstanding.cli import parameters
from goodstanding.cli.output import BadInput, Refused, complain, print_json
from goodstanding.cli.setup import log_with_structlog, prepare

if TYPE_CHECKING:
    from goodstanding.answers.progress import Progress

LARGEST_TEMPLATE = 2 * 1024 * 1024  # bytes
LOOK_FOR_WORKERS = 2.0  # seconds between looks whether somebody else is sending


def send(
    name: Annotated[str, typer.Argument(help="What the mailing is called; no other may be.")],
    subject: Annotated[str, typer.Option(help="The subject; merge fields may stand in it.")],
    html: Annotated[Path | None, typer.Option(help="The HTML body, a template file.")] = None,
    text: Annotated[Path | None, typer.Option(help="The text body, a template file.")] = None,
    from_address: Annotated[
        str, typer.Option("--from", help="Whom it is from; else the setting sender_address.")
    ] = "",
    from_name: Annotated[str, typer.Option(help="Their name; else the setting sender_name.")] = "",
    reply_to: Annotated[str | None, typer.Option(help="Where replies go.")] = None,
    topic: Annotated[
        str | None, typer.Option(help="The kind of mail, which people may leave on its own.")
    ] = None,
    list_name: Annotated[
        str | None, typer.Option("--list", help="Only to contacts on this list; else to all.")
    ] = None,
    control: Annotated[
        float, typer.Option(help="Share of the allowed who get nothing, to compare with: 0.05.")
    ] = 0.0,
    lane: Annotated[str, typer.Option(help="The lane to send by.")] = "main",
    start: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="When to start (RFC 3339 with an offset); else now."),
    ] = None,
    wait: Annotated[bool, typer.Option(help="Stay until everything has left.")] = True,
    json: parameters.Json = False,
) -> None:
    """Send a broadcast to your contacts, as far as the gate allows.

    Every recipient gets a delivery, sent or skipped with its reason. Templates hold merge fields
    such as {{ first_name|default:"friend" }}, and must hold {{ unsubscribe_url }} and
    {{ postal_address }}: without them a broadcast is refused.

    Where a `goodstanding serve` or `goodstanding worker` is running it does the sending; where
    none is, this command does.

    Example: goodstanding send june-news --subject "News for {{ first_name }}" --html june.html
    """
    if html is None and text is None:
        raise BadInput("Say what to send: --html FILE, --text FILE or both.")
    prepare()
    log_with_structlog()
    from goodstanding.mailings import checking, contents, planning

    draft = contents.Draft(
        name=name,
        subject=subject,
        html=template(html),
        text=template(text),
        from_address=from_address,
        from_name=from_name,
        reply_to=reply_to,
        topic=topic,
        list_name=list_name,
        control_share=control,
        lane=lane,
        starts_at=parameters.moment(start),
    )
    try:
        mailing = contents.create(draft, parameters.present())
    except contents.RefusedMailing as error:
        *first, last = error.problems
        for problem in first:
            complain(problem)
        raise Refused(last) from None
    planning.plan(mailing, parameters.present())
    checking.check(mailing, parameters.present())
    _finish(mailing, wait=wait, json=json)


def _finish(mailing: int, *, wait: bool, json: bool) -> None:
    from goodstanding.answers import progress
    from goodstanding.cli import watching

    now = _sent(mailing) if wait else progress.of(mailing)
    if json:
        print_json(
            {
                "mailing": now.name,
                "scheduled": now.scheduled,
                "skipped": now.skipped,
                "sent": now.sent,
                "left": now.left,
                "responses": now.responses,
            }
        )
    else:
        watching.print_progress(now)
    if wait and not now.is_over:
        raise Refused(f"{now.left:,} have still to leave: goodstanding worker sends them.")


def _sent(mailing: int) -> Progress:
    """Wait until all has left, whoever sends it; or until this process was told to stop."""
    from goodstanding.cli import watching
    from goodstanding.mailings import liveness

    looked_at = 0.0

    def is_left_to_us(now: Progress) -> bool:
        nonlocal looked_at
        if now.is_over:
            return True
        if time.monotonic() < looked_at + LOOK_FOR_WORKERS:
            return False
        looked_at = time.monotonic()
        return not liveness.alive()

    now = watching.until(is_left_to_us, mailing)
    return now if now.is_over else _send_here(mailing)


def _send_here(mailing: int) -> Progress:
    """Send it in this process: a worker that hears nothing and stops when all has left."""
    import asyncio

    from django.db import DatabaseError

    from goodstanding.answers import progress
    from goodstanding.cli.watching import LOOK_AGAIN, Watch
    from goodstanding.worker import Worker

    async def run() -> None:
        worker = Worker()
        with Watch() as watch:

            async def follow() -> None:
                while True:
                    try:
                        now = await asyncio.to_thread(_look, mailing)
                    except DatabaseError:
                        pass  # The worker says so, and goes on when there is one again.
                    else:
                        watch.show(now)
                        if now.is_over:
                            worker.stop()
                            return
                    await asyncio.sleep(LOOK_AGAIN)

            following = asyncio.create_task(follow())
            await worker.run(listen=False)
            following.cancel()

    asyncio.run(run())
    return progress.of(mailing)


def _look(mailing: int) -> Progress:
    from django.db import connection

    from goodstanding.answers import progress

    connection.close_if_unusable_or_obsolete()
    return progress.of(mailing)


def template(path: Path | None) -> str | None:
    """A template file's text.

    Raises:
        BadInput: it cannot be read, or is not text.
    """
    if path is None:
        return None
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}") from None
    if len(data) > LARGEST_TEMPLATE:
        raise BadInput(f"{path} is larger than {LARGEST_TEMPLATE:,} bytes.")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise BadInput(f"{path}, line {line}: is not UTF-8.") from None
