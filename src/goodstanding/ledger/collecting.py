"""The garbage collector, kept from looking through a batch again and again."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected() -> Iterator[None]:
    """Collect no garbage meanwhile: only for work of bounded size that makes no cycles.

    A batch makes some hundred thousand objects, which reference counts free at its end; to have
    the collector look through them took a fifth of a fold's time. Where it was off, it stays off.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
