"""Sequences as they are written: a TOML file, and beside it the templates of its mails.

What is wrong with one is gathered, and said at once with what is wrong with the mails themselves.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from goodstanding.core.events import KINDS
from goodstanding.core.policies import UNITS, Span

STARTS: Final = tuple(name for name, kind in KINDS.items() if kind.starts)
"""The kinds of events that may begin a sequence: those that the feed of changes tells."""

MOST_STEPS: Final = 100
LONGEST_DELAY: Final = Span.parse("3650d")
LONGEST_NAME: Final = 190
"""Characters, so that the names of its mailings (``NAME/100``) are none too long."""

LARGEST_FILE: Final = 2 * 1024 * 1024
"""Bytes, for each of the files."""


class RefusedSequence(ValueError):
    """A sequence that cannot be made; ``problems``: one plain sentence each."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = tuple(problems)


class StepDraft(msgspec.Struct, frozen=True, kw_only=True):
    """One mail of a sequence; ``delay`` (µs) is counted from the event that begins it."""

    number: int
    delay: int
    subject: str
    html: str | None = None
    text: str | None = None


class SequenceDraft(msgspec.Struct, frozen=True, kw_only=True):
    """A sequence as the sender wants it; ``starts_on`` is one of ``STARTS``.

    ``problems``: what is wrong with how it is written, one plain sentence each; what was readable
    of the rest is here all the same.
    """

    name: str
    starts_on: str
    steps: tuple[StepDraft, ...]
    topic: str | None = None
    lane: str = "main"
    from_address: str = ""
    from_name: str = ""
    reply_to: str | None = None
    problems: tuple[str, ...] = ()


_NEEDED: Final = ("name", "starts_on")
_OPTIONAL: Final = ("topic", "lane", "from", "from_name", "reply_to")
_STEP_NEEDED: Final = ("delay", "subject")
_STEP_OPTIONAL: Final = ("html", "text")


def read(path: Path) -> SequenceDraft:
    """The sequence that a file describes, its templates read from beside it.

    Raises:
        RefusedSequence: the file cannot be read, or is not TOML.
    """
    problems: list[str] = []
    table = _table(path)
    steps = table.pop("steps", None)
    said = _texts(table, _NEEDED, _OPTIONAL, f"{path}", "a sequence has steps,", problems)
    problems.extend(_sequence_problems(said))
    drafts = _steps(steps, path, problems)
    return SequenceDraft(
        # Where it has none, its mailings are looked at all the same.
        name=said.get("name", "?"),
        starts_on=said.get("starts_on", ""),
        steps=tuple(drafts),
        topic=said.get("topic"),
        lane=said.get("lane", "main"),
        from_address=said.get("from", ""),
        from_name=said.get("from_name", ""),
        reply_to=said.get("reply_to"),
        problems=tuple(problems),
    )


def _sequence_problems(said: dict[str, str]) -> list[str]:
    """What is wrong with what a sequence says; a name that cannot be is taken away."""
    problems = []
    if (kind := said.get("starts_on")) is not None and kind not in STARTS:
        problems.append(f"a sequence starts on one of {', '.join(STARTS)}, not on {kind[:40]!r}")
    name = said.get("name")
    if name is not None and not _is_name(name):
        problems.append(
            f"a sequence's name has 1 to {LONGEST_NAME} printable characters,"
            " and no space before or after them"
        )
        said["name"] = "?"
    return problems


def _is_name(text: str) -> bool:
    return 0 < len(text) <= LONGEST_NAME and text.isprintable() and text.strip() == text


def _steps(tables: object, path: Path, problems: list[str]) -> list[StepDraft]:
    """The steps that can be made of those tables; what is wrong with the others is a problem."""
    if not (isinstance(tables, list) and all(isinstance(table, dict) for table in tables)):
        if tables is not None:
            problems.append(f'{path}: steps are tables, each under a line "[[steps]]"')
            return []
        tables = []
    if not 1 <= len(tables) <= MOST_STEPS:
        problems.append(f"a sequence has 1 to {MOST_STEPS} steps, not {len(tables)}")
        return []
    drafts = []
    latest = 0
    for number, table in enumerate(tables, 1):
        where = f"step {number}"
        said = _texts(table, _STEP_NEEDED, _STEP_OPTIONAL, where, "a step has", problems)
        delay = _delay(said.get("delay"), where, problems)
        if delay is not None:
            if delay < latest:
                problems.append(
                    f"{where}: its delay, {said['delay']}, is shorter than that of the step before"
                    " it; both are counted from the event"
                )
            latest = max(latest, delay)
        if "html" not in said and "text" not in said:
            problems.append(f"{where}: it says nothing; name an html file, a text file or both")
        html = _template(path, said.get("html"), where, problems)
        text = _template(path, said.get("text"), where, problems)
        if "subject" in said and (html is not None or text is not None):
            drafts.append(
                StepDraft(
                    number=number, delay=delay or 0, subject=said["subject"], html=html, text=text
                )
            )
    return drafts


def _texts(
    table: Mapping[str, Any],
    needed: Sequence[str],
    optional: Sequence[str],
    where: str,
    what: str,
    problems: list[str],
) -> dict[str, str]:
    """What the table says under its keys, all of them texts."""
    keys = (*needed, *optional)
    problems.extend(
        f"{where}: {key[:40]!r} is not a key here; {what} {', '.join(keys)}"
        for key in table
        if key not in keys
    )
    said = {}
    for key in keys:
        value = table.get(key)
        if isinstance(value, str):
            said[key] = value
        elif value is not None:
            problems.append(f'{where}: {key} is a text in quotes: {key} = "…"')
        elif key in needed:
            problems.append(f"{where}: {key} is missing")
    return said


def _delay(text: str | None, where: str, problems: list[str]) -> int | None:
    if text is None:
        return None
    try:
        delay = Span.parse(text)
    except ValueError:
        problems.append(
            f"{where}: a delay is a number and one of the units {', '.join(UNITS)},"
            f' such as "0s", "12h" or "2d", not {text[:40]!r}'
        )
        return None
    if delay > LONGEST_DELAY:
        problems.append(f"{where}: a delay is at most ten years (3650d), not {text}")
        return None
    return int(delay)


def _template(path: Path, name: str | None, where: str, problems: list[str]) -> str | None:
    """A template's text; its name is relative to the folder of the sequence's file."""
    if name is None:
        return None
    try:
        return _text(path.parent / name)
    except RefusedSequence as error:
        problems.extend(f"{where}: {problem}" for problem in error.problems)
        return None


def _table(path: Path) -> dict[str, Any]:
    text = _text(path)
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise RefusedSequence([f"{path}: {error}"]) from None


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST_FILE + 1)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise RefusedSequence([f"{path} cannot be read: {why}"]) from None
    if len(data) > LARGEST_FILE:
        raise RefusedSequence([f"{path} is larger than {LARGEST_FILE:,} bytes"])
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise RefusedSequence([f"{path}, line {line}: is not UTF-8"]) from None
