"""`goodstanding send`: a broadcast from template files."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from goodstanding.cli import parameters
from goodstanding.cli.output import BadInput, Refused, complain, print_json, print_text
from goodstanding.cli.output import progress as progress_bar
from goodstanding.cli.setup import log_with_structlog, prepare

if TYPE_CHECKING:
    from goodstanding.answers.progress import Progress
    from goodstanding.cli.watching import Eye, Seen
    from goodstanding.mailings.contents import Draft, RefusedMailing

LARGEST_TEMPLATE = 2 * 1024 * 1024  # bytes
LOOK_FOR_WORKERS = 2.0  # seconds between looks whether somebody else is sending

Html = Annotated[Path | None, typer.Option(help="The HTML body, a template file.")]
Text = Annotated[Path | None, typer.Option(help="The text body, a template file.")]
From = Annotated[
    str, typer.Option("--from", help="Whom it is from; else the setting sender_address.")
]
FromName = Annotated[str, typer.Option(help="Their name; else the setting sender_name.")]
ReplyTo = Annotated[str | None, typer.Option(help="Where replies go.")]
Topic = Annotated[
    str | None, typer.Option(help="The kind of mail, which people may leave on its own.")
]
Lane = Annotated[str, typer.Option(help="The lane to send by.")]
Test = Annotated[
    list[str] | None,
    typer.Option(
        "--test",
        metavar="ADDRESS",
        help="Only show it to this address, now; nothing is kept, nobody else gets it. May be"
        " given several times.",
    ),
]


def send(
    name: Annotated[str, typer.Argument(help="What the mailing is called; no other may be.")],
    subject: Annotated[str, typer.Option(help="The subject; merge fields may stand in it.")],
    html: Html = None,
    text: Text = None,
    from_address: From = "",
    from_name: FromName = "",
    reply_to: ReplyTo = None,
    topic: Topic = None,
    list_name: Annotated[
        str | None, typer.Option("--list", help="Only to contacts on this list; else to all.")
    ] = None,
    control: Annotated[
        float, typer.Option(help="Share of the allowed who get nothing, to compare with: 0.05.")
    ] = 0.0,
    lane: Lane = "main",
    start: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="When to start (RFC 3339 with an offset); else now. Who is a contact by then"
            " gets it.",
        ),
    ] = None,
    expires: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="When to stop, whatever has not left by then."),
    ] = None,
    test: Test = None,
    wait: Annotated[
        bool | None,
        typer.Option(
            help="Stay until everything has left; where neither is said, unless it starts later.",
            show_default=False,
        ),
    ] = None,
    json: parameters.Json = False,
) -> None:
    """Send a broadcast to your contacts, as far as the gate allows.

    Every recipient gets a delivery, sent or skipped with its reason. Templates hold merge fields
    such as {{ first_name|default:"friend" }}, and must hold {{ unsubscribe_url }} and
    {{ postal_address }}: without them a broadcast is refused. Every recipient's mail is tried
    before the first one leaves; where one cannot be made, it pauses and says whose.

    Where a `goodstanding serve` or `goodstanding worker` is running it does the sending; where
    none is, this command does.

    Example: goodstanding send june-news --subject "News for {{ first_name }}" --html june.html

    Show it to yourself first: goodstanding send june-news --subject "…" --html june.html --test
    you@example.com
    """
    if html is None and text is None:
        raise BadInput("Say what to send: --html FILE, --text FILE or both.")
    prepare()
    log_with_structlog()
    from goodstanding.mailings import contents

    now = parameters.present()
    starts_at, expires_at = parameters.moment(start), parameters.moment(expires)
    if expires_at is not None and expires_at <= now:
        raise BadInput("--expires is in the past.")
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
        starts_at=starts_at,
        expires_at=expires_at,
    )
    if test:
        try_out(draft, test, json=json)
        return
    mailing = keep(draft)
    later = starts_at is not None and starts_at > now
    finish(mailing, wait=not later if wait is None else wait, json=json)


def keep(draft: Draft) -> int:
    """Check a draft and keep it; the mailing's id.

    Raises:
        Refused: it must not go out as it is; all but the last reason have been complained of.
    """
    from goodstanding.mailings import contents

    try:
        return contents.create(draft, parameters.present())
    except contents.RefusedMailing as error:
        refuse(error)


def refuse(error: RefusedMailing) -> NoReturn:
    """Say all that is wrong with a mailing, a line each."""
    *first, last = error.problems
    for problem in first:
        complain(problem)
    raise Refused(last) from None


def try_out(draft: Draft, texts: list[str], *, json: bool) -> None:
    """Send a draft to a few addresses, and say what became of that.

    Raises:
        Refused: one of them did not get it.
    """
    from goodstanding.mailings import contents, trials

    addresses = parameters.addresses(texts)
    try:
        tried = trials.send(draft, addresses, parameters.present())
    except contents.RefusedMailing as error:
        refuse(error)
    failed = [each for each in tried if not each.sent]
    for each in tried:
        if json:
            print_json(each)
        elif each.sent:
            whose = "their contact's" if each.fields == "contact" else "sample"
            print_text(f"Sent to {each.address}, with {whose} merge fields: {each.said}")
        elif each.refused is not None:
            complain(f"{each.address} was sent nothing: the gate refuses it, {each.refused}.")
        else:
            complain(f"{each.address} was sent nothing: {each.said}")
    if failed:
        raise Refused(f"{len(failed)} of {len(tried)} test mails did not leave.")


def finish(mailing: int, *, wait: bool, json: bool) -> None:
    """Plan what is to be planned, wait where that is wanted, and say how far it is.

    Raises:
        Refused: not all has left that should have, and why.
    """
    from goodstanding.answers import progress
    from goodstanding.cli import watching

    _plan(mailing)
    now = progress.of(mailing, parameters.present())
    if wait and not now.rests:
        now = _sent(mailing)
    if json:
        print_json(
            {
                "mailing": now.name,
                "state": now.state,
                "scheduled": now.scheduled,
                "skipped": now.skipped,
                "sent": now.sent,
                "left": now.left,
                "responses": now.responses,
            }
        )
    elif now.state == "scheduled":
        _print_start(now)
    else:
        watching.print_progress(now)
    if (why := watching.stands_still(now)) is not None:
        if wait or now.state != "held":
            raise Refused(why)
        complain(why)  # Workers were quicker; what was asked for here is done.
    if wait and not now.is_over:
        raise Refused(f"{now.left:,} have still to leave: goodstanding worker sends them.")


def _plan(mailing: int) -> None:
    """Find the recipients, and try every one's mail; a worker goes on where this stops."""
    from goodstanding.mailings import checking, planning
    from goodstanding.mailings.models import Content

    kept = Content.objects.filter(pk=mailing)
    with progress_bar("Finding the recipients", kept.get().plan_until) as advance:
        done = 0
        while not planning.plan(mailing, parameters.present(), most=10):
            before, done = done, kept.get().planned_to
            advance(done - before)
    if kept.get().plan_until is None:
        return  # It starts later.
    with progress_bar("Trying every recipient's mail") as advance:
        while not checking.check(mailing, parameters.present(), most=1):
            advance(checking.CHUNK)


def _print_start(now: Progress) -> None:
    from goodstanding.core.times import in_words
    from goodstanding.mailings import liveness

    starts = in_words(now.starts_at) if now.starts_at is not None else "later"
    print_text(f"{now.name} starts {starts}; its recipients are found then.")
    if not liveness.alive():
        print_text(
            "No worker is running: goodstanding serve or goodstanding worker must be by then.",
            style="yellow",
        )


def _sent(mailing: int) -> Progress:
    """Wait until nothing more happens, whoever sends it; or until this process is told to stop."""
    from goodstanding.cli import watching
    from goodstanding.mailings import liveness

    looked_at = 0.0

    def is_left_to_us(now: Progress) -> bool:
        nonlocal looked_at
        if now.rests:
            return True
        if time.monotonic() < looked_at + LOOK_FOR_WORKERS:
            return False
        looked_at = time.monotonic()
        return not liveness.alive()

    now = watching.until(is_left_to_us, mailing)
    return now if now.rests else _send_here(mailing)


def _send_here(mailing: int) -> Progress:
    """Send it in this process: a worker that hears nothing and stops when all has left."""
    import asyncio

    from django.db import DatabaseError

    from goodstanding.answers import progress
    from goodstanding.cli.watching import LOOK_AGAIN, Eye, Watch
    from goodstanding.worker import Worker

    async def run() -> None:
        worker = Worker()
        eye = Eye(mailing)
        with Watch() as watch:

            async def follow() -> None:
                while True:
                    try:
                        seen = await asyncio.to_thread(_look, eye)
                    except DatabaseError:
                        pass  # The worker says so, and goes on when there is one again.
                    else:
                        watch.show(seen)
                        if seen.progress.rests:
                            worker.stop()
                            return
                    await asyncio.sleep(LOOK_AGAIN)

            following = asyncio.create_task(follow())
            await worker.run(listen=False)
            following.cancel()

    asyncio.run(run())
    return progress.of(mailing, parameters.present())


def _look(eye: Eye) -> Seen:
    from django.db import connection

    connection.close_if_unusable_or_obsolete()
    return eye.look()


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
