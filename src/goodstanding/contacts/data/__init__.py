"""The tables that the import reads, as TOML beside this file."""

from __future__ import annotations

from importlib import resources
from typing import TypeVar

import msgspec

T = TypeVar("T")


def load(name: str, shape: type[T]) -> T:
    """Read the TOML file ``name`` of this folder as ``shape``.

    Raises:
        msgspec.ValidationError: the file does not have that shape.
    """
    return msgspec.toml.decode(resources.files(__name__).joinpath(name).read_bytes(), type=shape)
