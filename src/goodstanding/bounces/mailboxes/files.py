"""The files of a folder that may hold mails, in order of their names, however many there are."""

from __future__ import annotations

import heapq
import os
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, Final

RUN: Final = 100_000
"""Names that are sorted in memory at once."""


class Unreadable(Exception):
    """A folder that cannot be read. ``args``: the folder, and its ``OSError``."""


def files(folder: str) -> Iterator[str | Unreadable]:
    """The files in a folder and those below it; of a Maildir only the mails.

    Hidden files are left out, and what is no file, such as a pipe. A folder that cannot be read is
    among them, as ``Unreadable``.
    """
    names, folders = _Names(), _Names()
    try:
        maildir = all(Path(folder, part).is_dir() for part in ("cur", "new"))
        with os.scandir(folder) as entries:
            for entry in entries:
                if _is_folder(entry):
                    if not entry.is_symlink() and not (maildir and entry.name == "tmp"):
                        folders.add(entry.name)
                elif not maildir and not entry.name.startswith(".") and _is_file(entry):
                    # What lies beside cur and new is no mail.
                    names.add(entry.name)
    except OSError as error:
        yield Unreadable(folder, error)
    for name in names:
        yield os.path.join(folder, name)  # noqa: PTH118 - may be bytes that are no text
    for name in folders:
        yield from files(os.path.join(folder, name))  # noqa: PTH118


def size(paths: tuple[str, ...]) -> int | None:
    """The bytes of all files at ``paths``; None where that cannot be known before they are read."""
    whole = 0
    for path in paths:
        if Path(path).is_dir():
            for found in files(path):
                if isinstance(found, str):
                    with suppress(OSError):
                        whole += Path(found).stat().st_size
        elif Path(path).is_file():
            whole += Path(path).stat().st_size
        elif path == "-" or Path(path).exists():
            return None
    return whole


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def _is_file(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError:
        return False


class _Names:
    """Names of files, sorted; what is too much for memory lies in temporary files.

    There each has a line; a line end in a name becomes a slash, which no name has.
    """

    def __init__(self) -> None:
        self._names: list[bytes] = []
        self._runs: list[IO[bytes]] = []

    def add(self, name: str) -> None:
        self._names.append(os.fsencode(name).replace(b"\n", b"/") + b"\n")
        if len(self._names) == RUN:
            self._names.sort()
            # Closed, and gone, when the last name was taken out of it.
            run = tempfile.TemporaryFile()  # noqa: SIM115
            run.writelines(self._names)
            run.seek(0)
            self._runs.append(run)
            self._names = []

    def __iter__(self) -> Iterator[str]:
        self._names.sort()
        for name in heapq.merge(self._names, *self._runs):
            yield os.fsdecode(name[:-1].replace(b"/", b"\n"))
        for run in self._runs:
            run.close()
