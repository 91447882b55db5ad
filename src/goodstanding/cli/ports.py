"""Ports for servers that are told theirs before they listen."""

from __future__ import annotations

import random
import socket
from typing import Final

_CHOICE: Final = range(10_240, 32_768)
"""Below what any system gives to those who don't choose (Linux from 32768, others from 49152,
RFC 6335): between the choice and the listening nobody comes to hold it by chance."""


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on.

    Raises:
        OSError: there is none.
    """
    for port in random.sample(_CHOICE, len(_CHOICE)):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise OSError("no port is free")
