"""`goodstanding sequence` makes a sequence from its file, `goodstanding sequences` lists them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from goodstanding.cli import parameters
from goodstanding.cli.output import (
    BadInput,
    Refused,
    complain,
    print_json,
    print_table,
    print_text,
)
from goodstanding.cli.setup import prepare

if TYPE_CHECKING:
    from goodstanding.mailings.sequences import Listed

_STYLES: Final = {"paused": "yellow", "stopped": "dim"}


def sequence(
    file: Annotated[Path, typer.Argument(help="The TOML file that describes it.")],
    json: parameters.Json = False,
) -> None:
    """Make a sequence: mails that follow on what a person did, each after its delay.

    The file names the sequence, the event that begins it (such as opted_in), and its steps, each
    with a delay from that event, a subject and its templates. Whoever does that from now on gets
    the mails, as far as the gate allows; who is refused leaves the sequence.

    A `goodstanding serve` or `goodstanding worker` must be running to send them.

    Example: goodstanding sequence welcome.toml
    """
    prepare()
    from goodstanding.mailings import sequence_files, sequences

    try:
        draft = sequence_files.read(file)
    except sequence_files.RefusedSequence as error:
        raise BadInput(str(error)) from None
    try:
        sequences.create(draft, parameters.present())
    except sequence_files.RefusedSequence as error:
        *first, last = error.problems
        for problem in first:
            complain(problem)
        raise BadInput(last) if draft.problems else Refused(last) from None
    [made] = [each for each in sequences.listed() if each.name == draft.name]
    if json:
        print_json(_as_json(made))
        return
    count = len(made.steps)
    about = f" on the topic {made.topic}" if made.topic is not None else ""
    print_text(
        f"{made.name}: {count} mail{'' if count == 1 else 's'}, begun by every"
        f" {made.starts_on}{about} from now on."
    )
    _print_steps(made)


def sequences(json: parameters.Json = False) -> None:
    """List the sequences: how many are under way, done, or have left and why.

    What became of one of its mails says, for the first, goodstanding report mailing NAME/1.

    Example: goodstanding sequences
    """
    prepare()
    from goodstanding.mailings import sequences as kept

    found = kept.listed()
    for each in found:
        if json:
            print_json(_as_json(each))
    if json:
        return
    if not found:
        print_text("There is no sequence yet: goodstanding sequence FILE makes one.")
        return
    print_table(
        ("Sequence", "State", "Starts on", "Topic", "Steps", "Under way", "Done", "Left"),
        [
            (
                each.name,
                each.state,
                each.starts_on,
                each.topic,
                len(each.steps),
                each.under_way,
                each.done,
                ", ".join(f"{why} {count:,}" for why, count in each.left.items()) or None,
            )
            for each in found
        ],
        styles=lambda row: _STYLES.get(str(row[1])),
    )
    for each in found:
        print_text(each.name, style="bold")
        _print_steps(each)


def _print_steps(of: Listed) -> None:
    print_table(
        ("Mailing", "After", "Subject"),
        [(step.mailing, _delay(step.delay), step.subject) for step in of.steps],
    )


def _delay(length: int) -> str:
    from goodstanding.answers.words import span

    return span(length) if length else "at once"


def _as_json(of: Listed) -> dict[str, Any]:
    from goodstanding.core.times import rfc3339

    return {
        "sequence": of.name,
        "state": of.state,
        "starts_on": of.starts_on,
        "topic": of.topic,
        "created_at": rfc3339(of.created_at),
        "steps": [
            {"mailing": step.mailing, "delay": step.delay / 1_000_000, "subject": step.subject}
            for step in of.steps
        ],
        "under_way": of.under_way,
        "done": of.done,
        "left": of.left,
    }
