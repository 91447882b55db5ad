"""Policies as files: presets and a user's own, each of which may rest on another.

A file names its ``base`` and says only what differs. ``"off"`` takes away what the base says, where
that may be left out. ``[responses.NAME]`` changes that row of the base's table of responses.
"""

from __future__ import annotations

import functools
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, Final, get_args, get_origin

import msgspec

from goodstanding.core.addresses import Channel
from goodstanding.core.memory import FIRST
from goodstanding.core.policies import Policy, ResponseRule, Span

OFF: Final = "off"
CHANNELS: Final[tuple[str, ...]] = get_args(Channel)

Where = tuple[str, ...]
"""A key with the tables that it is in."""

_OPTIONAL: Final = {(field.name,) for field in msgspec.structs.fields(Policy) if not field.required}
"""Whole tables that a policy may do without."""


class BadPolicy(ValueError):
    """A policy file that cannot be used: in which line, at which key, and what was expected."""


class _File(msgspec.Struct, frozen=True):
    """One file as it is written."""

    name: str
    text: str
    said: dict[str, Any]


class _Wrong(Exception):
    """What is wrong with a key."""

    def __init__(self, where: Where, why: str) -> None:
        super().__init__(why)
        self.where = where


@functools.cache
def load(name_or_path: str) -> Policy:
    """The preset of that name, or the policy file at that path.

    Raises:
        BadPolicy: there is none, or it does not hold what a policy holds.
    """
    files = list(_files(name_or_path))
    try:
        said: dict[str, Any] = {}
        for file in reversed(files):
            said = _over(said, file.said)
        return _policy(Path(name_or_path).stem, said)
    except _Wrong as wrong:
        raise BadPolicy(_sentence(files, wrong)) from None


def presets() -> list[str]:
    """The names of those that come with the product."""
    folder = resources.files("goodstanding.core.data").joinpath("policies")
    return sorted(Path(file.name).stem for file in folder.iterdir())


def _files(name_or_path: str) -> Iterator[_File]:
    """The file, its base, the base's base …"""
    seen: list[str] = []
    wanted: object = name_or_path
    while wanted is not None:
        name = str(wanted)
        if name in seen:
            raise BadPolicy(f"policy {name} is its own base")
        seen.append(name)
        try:
            text = _text(name)
            said = tomllib.loads(text)
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise BadPolicy(f"policy {name}: {error}") from error
        wanted = said.pop("base", None)
        yield _File(name, text, said)


def _text(name_or_path: str) -> str:
    if re.fullmatch(r"[a-z0-9_-]+", name_or_path):
        preset = resources.files("goodstanding.core.data").joinpath(f"policies/{name_or_path}.toml")
        if preset.is_file():
            return preset.read_text("utf-8")
    try:
        return Path(name_or_path).read_text("utf-8")
    except OSError:
        known = ", ".join(presets())
        raise BadPolicy(
            f"there is no policy {name_or_path!r}: neither a preset ({known}) nor a file"
        ) from None


def _over(below: dict[str, Any], above: Mapping[str, Any], where: Where = ()) -> dict[str, Any]:
    """What both say, the upper one where they differ."""
    merged = dict(below)
    for key, value in above.items():
        under = below.get(key)
        if value == OFF and not (isinstance(under, str | None) or (*where, key) in _OPTIONAL):
            raise _Wrong((*where, key), f"{under!r} cannot be switched off")
        if value == OFF:
            merged.pop(key, None)
        elif isinstance(value, dict) and isinstance(under, list):
            merged[key] = _rows(under, value, (*where, key))
        elif isinstance(value, dict):
            merged[key] = _over(under if isinstance(under, dict) else {}, value, (*where, key))
        else:
            merged[key] = value
    return merged


def _rows(rows: Sequence[Any], changes: Mapping[str, Any], where: Where) -> list[Any]:
    """The table of responses with some of its rows changed."""
    names = [row.get("slot") or row.get("name") for row in rows]
    changed = list(rows)
    for name, change in changes.items():
        if name not in names:
            raise _Wrong((*where, name), f"there is no such response: expected {_one_of(names)}")
        row = {**rows[names.index(name)], **change}
        changed[names.index(name)] = row
        _converted(row, ResponseRule, (*where, name))
    return changed


def _policy(name: str, said: Mapping[str, Any]) -> Policy:
    shapes = {field.name: field for field in msgspec.structs.fields(Policy) if field.name != "name"}
    for key in said:
        if key not in shapes:
            raise _Wrong((key,), f"there is no such setting: expected {_one_of(shapes)}")
    missing = [key for key, field in shapes.items() if field.required and key not in said]
    if missing:
        raise _Wrong((), f"missing required setting {missing[0]!r} (a base would have it)")
    parts = {key: _part(value, shapes[key].type, (key,)) for key, value in said.items()}
    _check_responses(parts["responses"])
    return Policy(name=name, **parts)


def _part(value: Any, shape: Any, where: Where) -> Any:
    if get_origin(shape) is not dict or not isinstance(value, dict):
        return _converted(value, shape, where)
    for channel in value:
        if channel not in CHANNELS:
            raise _Wrong(
                (*where, channel), f"there is no such channel: expected {_one_of(CHANNELS)}"
            )
    each = get_args(shape)[1]
    return {channel: _converted(said, each, (*where, channel)) for channel, said in value.items()}


def _converted(value: Any, shape: Any, where: Where) -> Any:
    try:
        return msgspec.convert(value, shape, dec_hook=_decode)
    except msgspec.ValidationError as error:
        why, _, place = str(error).partition(" - at `$")
        within = tuple(re.findall(r"[A-Za-z_0-9]+", place))
        if (unknown := re.search(r"unknown field `(.+)`", why)) is not None:
            within = (*within, unknown[1])
            why = "there is no such setting"
            if isinstance(shape, type) and issubclass(shape, msgspec.Struct):
                why += f": expected {_one_of(shape.__struct_fields__)}"
        raise _Wrong((*where, *within), f"{why[:1].lower()}{why[1:]}") from None


def _decode(shape: type, value: object) -> object:
    if shape is Span:
        return Span.parse(value)
    raise NotImplementedError(shape)


def _check_responses(rows: Sequence[ResponseRule]) -> None:
    """The rules look some rows up."""
    for row in rows:
        slot = row.slot or row.name
        if slot not in FIRST and slot != "expired":
            raise _Wrong(("responses",), f"nothing is ever heard of {slot!r}")
    for name in ("expired", "block_bounced"):
        if all(row.name != name for row in rows):
            raise _Wrong(("responses",), f"the row {name!r} is missing")


def _sentence(files: Sequence[_File], wrong: _Wrong) -> str:
    """Where it is wrong, and why."""
    key = ".".join(wrong.where)
    for file in files:
        if _says(file.said, wrong.where):
            line = _line(file.text, wrong.where)
            at = f", line {line}" if line is not None else ""
            return f"policy {file.name}{at}: {key}: {wrong}"
    return f"policy {files[0].name}: {f'{key}: ' if key else ''}{wrong}"


def _says(said: Any, where: Where) -> bool:
    for key in where:
        if isinstance(said, dict) and key in said:
            said = said[key]
        elif isinstance(said, list) and key.isdecimal() and int(key) < len(said):
            said = said[int(key)]
        else:
            return False
    return bool(where)


_HEADER: Final = re.compile(r"\s*\[\[?([^\[\]]+)\]\]?\s*(?:#.*)?")
_KEY: Final = re.compile(r"\s*([\w.\"' -]+?)\s*=")


def _line(text: str, where: Where) -> int | None:
    """On which line a key is; that of its table, where it has none of its own."""
    table: Where = ()
    rows: dict[Where, int] = {}
    best = None
    for number, line in enumerate(text.splitlines(), 1):
        if (header := _HEADER.fullmatch(line)) is not None:
            table = _keys(header[1])
            if line.lstrip().startswith("[["):
                rows[table] = rows.get(table, -1) + 1
                table = (*table, str(rows[table]))
            if where[: len(table)] == table:
                best = number
        elif (key := _KEY.match(line)) is not None:
            whole = (*table, *_keys(key[1]))
            if where[: len(whole)] == whole:
                return number
    return best


def _keys(dotted: str) -> Where:
    return tuple(part.strip(" \"'") for part in dotted.split("."))


def _one_of(names: Any) -> str:
    return f"one of {', '.join(dict.fromkeys(map(str, names)))}"
