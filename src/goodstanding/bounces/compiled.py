"""Compiled patterns, kept on disk between runs: compiling them takes a second, loading a moment.

The file lies in the user's cache folder (``$XDG_CACHE_HOME``, else ``~/.cache``) and is named by a
hash of the patterns and of what they were compiled by and for. It is believed only where it is our
own and whole; where anything is amiss the patterns are compiled, so it may be deleted at any time.
"""

from __future__ import annotations

import hashlib
import os
import platform
import stat
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Final

import hyperscan

_DIGEST: Final = 32  # bytes of the hash that stands before the content
_LARGEST: Final = 64 * 1024 * 1024
_KEPT: Final = 8  # files, also of earlier rules


def database(patterns: Sequence[bytes]) -> hyperscan.Database:
    """The database of ``patterns``, numbered in order: from the cache, else compiled and kept."""
    path = _path(patterns)
    if path is not None and (known := _load(path)) is not None:
        with suppress(OSError):
            os.utime(path)  # what is used is kept longest
        return known
    made = compile_patterns(patterns)
    if path is not None:
        _keep(path, made)
    return made


def compile_patterns(patterns: Sequence[bytes]) -> hyperscan.Database:
    """The database of ``patterns``, numbered in order, which is not kept."""
    made = hyperscan.Database(mode=hyperscan.HS_MODE_BLOCK)
    made.compile(
        expressions=list(patterns),
        ids=list(range(len(patterns))),
        elements=len(patterns),
        # The first end of each pattern is all that is needed; starts would cost much more.
        flags=[hyperscan.HS_FLAG_SINGLEMATCH] * len(patterns),
    )
    return made


@lru_cache(256)
def with_starts(pattern: bytes) -> hyperscan.Database | None:
    """The database of one pattern that tells where matches begin; None where none can be made."""
    made = hyperscan.Database(mode=hyperscan.HS_MODE_BLOCK)
    try:
        made.compile(
            expressions=[pattern], ids=[0], elements=1, flags=[hyperscan.HS_FLAG_SOM_LEFTMOST]
        )
    except hyperscan.HyperscanError:
        return None
    return made


def _path(patterns: Sequence[bytes]) -> Path | None:
    root = Path(os.environ.get("XDG_CACHE_HOME", ""))
    try:
        folder = root if root.is_absolute() else Path.home() / ".cache"
    except RuntimeError:
        return None
    made_by = f"{version('hyperscan')} {platform.machine()} {platform.system()} {_processor()}"
    digest = hashlib.blake2b(made_by.encode(), digest_size=12)
    for pattern in patterns:
        digest.update(pattern + b"\0")
    return folder / "goodstanding" / f"rules-{digest.hexdigest()}.hs"


def _processor() -> str:
    """What the processor can do, where the system tells: code for another would not run."""
    try:
        with Path("/proc/cpuinfo").open(encoding="ascii", errors="replace") as file:
            flags = next((line for line in file if line.startswith(("flags", "Features"))), "")
    except OSError:
        return platform.processor()
    return " ".join(sorted(flags.partition(":")[2].split()))


def _load(path: Path) -> hyperscan.Database | None:
    try:
        with path.open("rb") as file:
            about = os.fstat(file.fileno())
            if about.st_uid != os.getuid() or about.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
                return None
            kept = file.read(_LARGEST)
        content = kept[_DIGEST:]
        if hashlib.blake2b(content, digest_size=_DIGEST).digest() != kept[:_DIGEST]:
            return None
        return hyperscan.loadb(content, hyperscan.HS_MODE_BLOCK)
    except (OSError, hyperscan.HyperscanError, hyperscan.DatabaseVersionError, ValueError):
        return None


def _keep(path: Path, made: hyperscan.Database) -> None:
    try:
        content = hyperscan.dumpb(made)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent)
        with os.fdopen(handle, "wb") as file:
            file.write(hashlib.blake2b(content, digest_size=_DIGEST).digest() + content)
        Path(name).replace(path)
        earlier = sorted(path.parent.glob("rules-*.hs"), key=lambda one: one.stat().st_mtime)
        for one in earlier[:-_KEPT]:
            one.unlink(missing_ok=True)
    except (OSError, hyperscan.HyperscanError):
        # Nothing is lost but the time next time.
        return
