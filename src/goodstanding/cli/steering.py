"""What an operator does to a mailing: `pause`, `resume`, `stop`, `schedule`, `release`."""

from __future__ import annotations

import time as clock
from typing import Annotated

import typer

from goodstanding.cli import parameters
from goodstanding.cli.output import BadInput, Refused, print_json, print_text, progress
from goodstanding.cli.parameters import By, Json
from goodstanding.cli.setup import prepare

Name = Annotated[str, typer.Argument(help="The mailing, or the sequence.")]
Reason = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; it is shown.")]


def pause(name: Name, reason: Reason, by: By = None, as_json: Json = False) -> None:
    """Let nothing more of a mailing or a sequence leave, until it is resumed.

    It takes hold at once: only what is being handed over at this moment still leaves.

    Example: goodstanding pause june-news --reason "the price is wrong"
    """
    _steer(name, "paused", reason, by, as_json=as_json)


def resume(name: Name, reason: Reason, by: By = None, as_json: Json = False) -> None:
    """Let a paused mailing or sequence go on.

    A mailing that paused because somebody's mail could not be made goes to all the others.

    Example: goodstanding resume june-news --reason "the price is right now"
    """
    _steer(name, "running", reason, by, as_json=as_json)


def stop(name: Name, reason: Reason, by: By = None, as_json: Json = False) -> None:
    """Stop a mailing or a sequence for good: what has not left by now never does.

    Example: goodstanding stop june-news --reason "the sale was called off"
    """
    _steer(name, "stopped", reason, by, as_json=as_json)


def schedule(
    name: Annotated[str, typer.Argument(help="The mailing.")],
    time: Annotated[str, typer.Argument(metavar="TIME", help="RFC 3339 with an offset.")],
    as_json: Json = False,
) -> None:
    """Let a mailing that has not started yet start at another time.

    Example: goodstanding schedule june-news 2027-06-01T09:30:00+02:00
    """
    starts_at = parameters.moment(time)
    assert starts_at is not None  # noqa: S101 - an argument, not left out
    prepare()
    from goodstanding.core import times
    from goodstanding.mailings import course

    try:
        course.reschedule(name, starts_at, parameters.present())
    except course.RefusedCourse as error:
        raise _no(name, error) from None
    if as_json:
        print_json({"mailing": name, "starts_at": times.rfc3339(starts_at)})
    else:
        print_text(f"{name} starts {times.in_words(starts_at)}.")


def release(
    name: Annotated[str, typer.Argument(help="The mailing.")],
    reason: Reason,
    provider: Annotated[
        str | None,
        typer.Option(help="Only at this mailbox provider, by its name or one of its domains."),
    ] = None,
    by: By = None,
    as_json: Json = False,
) -> None:
    """Let go what the brake holds of a mailing.

    From then on what comes back is counted anew: another wave is held again. `goodstanding
    providers` says what is held, and why.

    Example: goodstanding release june-news --provider gmail.com --reason "they unblocked us"
    """
    prepare()
    from goodstanding.ledger.models import Mailing
    from goodstanding.mailings import brakes, providers

    mailing = Mailing.objects.filter(name=name).first()
    if mailing is None:
        raise BadInput(f"There is no mailing {name!r}.")
    where = None if provider is None else providers.named(provider)
    who = by or parameters.login()
    released = brakes.release(mailing.pk, where, who, reason, parameters.present())
    if not released:
        at = "" if where is None else f" at {where}"
        raise Refused(f"The brake holds nothing of {name}{at}.")
    if as_json:
        print_json({"mailing": name, "released": released})
    else:
        print_text(f"{name} goes on at {', '.join(released)}.")


def _steer(name: str, to: str, reason: str, by: str | None, *, as_json: bool) -> None:
    if not reason.strip():
        raise BadInput("--reason: say why.")
    prepare()
    from goodstanding.mailings import course, sequences
    from goodstanding.mailings.models import Course

    who, now = by or parameters.login(), parameters.present()
    try:
        if sequences.exists(name):
            sequences.set_course(name, Course(to), who, reason, now)
            _say_of_sequence(name, to, as_json=as_json)
            return
        if Course(to) is not Course.RUNNING:
            _must_be_under_way(name)
        mailing = course.set_course(name, Course(to), who, reason, now)
    except course.RefusedCourse as error:
        raise _no(name, error) from None
    if Course(to) is Course.STOPPED:
        _empty(mailing)
    _say(mailing, as_json=as_json)


def _must_be_under_way(name: str) -> None:
    """See that there is something left to stop.

    Raises:
        Refused: all has left, or was stopped.
    """
    from goodstanding.answers import progress
    from goodstanding.ledger.models import Mailing

    mailing = Mailing.objects.filter(name=name).first()
    if mailing is not None:
        now = progress.of(mailing.pk, parameters.present())
        if now.is_over and now.state in ("completed", "expired"):
            raise Refused(f"{name} is {now.state}: nothing of it has still to leave.")


def _empty(mailing: int) -> None:
    """See to it that nothing of a stopped mailing stays behind, where no worker does."""
    from goodstanding.answers import progress as answers
    from goodstanding.cli.watching import LOOK_AGAIN
    from goodstanding.mailings import course, liveness

    left = answers.of(mailing, parameters.present()).left
    with progress("Stopping", left) as advance:
        while left:
            if not course.end(parameters.present()):
                if not liveness.alive():
                    return
                # What a worker is handing over comes to its own end.
                clock.sleep(LOOK_AGAIN)
            before, left = left, answers.of(mailing, parameters.present()).left
            advance(before - left)


def _say(mailing: int, *, as_json: bool) -> None:
    from goodstanding.answers import progress

    now = progress.of(mailing, parameters.present())
    if as_json:
        print_json({"mailing": now.name, "state": now.state, "left": now.left, "sent": now.sent})
    elif now.state == "stopped":
        stopped = now.responses.get("stopped", 0)
        print_text(f"{now.name} is stopped: {now.sent:,} were sent, {stopped:,} were not.")
    elif now.state == "paused":
        print_text(f"{now.name} is paused: {now.left:,} have still to leave.")
    else:
        print_text(f"{now.name} goes on: {now.left:,} have still to leave.")


def _say_of_sequence(name: str, to: str, *, as_json: bool) -> None:
    if as_json:
        print_json({"sequence": name, "course": to})
    else:
        print_text(f"The sequence {name} {'goes on' if to == 'running' else f'is {to}'}.")


def _no(name: str, error: Exception) -> Exception:
    """The error for a name that there is not, or for a course that does not lead there."""
    from goodstanding.ledger.models import Mailing
    from goodstanding.mailings import sequences

    sentence = f"{str(error)[:1].upper()}{str(error)[1:]}."
    known = Mailing.objects.filter(name=name).exists() or sequences.exists(name)
    return Refused(sentence) if known else BadInput(sentence)
