"""The web server's own process, which ends with the one that started it, however that ends.

``python -m goodstanding.config.web_server HOST PORT SECONDS``, leading a session of its own, with a
pipe as its standard input into which nobody writes: where that closes, whoever started it is gone,
and it has those seconds to end.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from typing import Final

from granian import Granian
from granian.constants import Interfaces
from granian.log import LogLevels

THREADS: Final = 16
"""Requests answered at once."""


def _end_with_parent(seconds: float) -> None:
    os.read(sys.stdin.fileno(), 1)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(seconds)
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    threading.Thread(target=_end_with_parent, args=[float(sys.argv[3])], daemon=True).start()
    Granian(
        "goodstanding.config.wsgi:application",
        address=sys.argv[1],
        port=int(sys.argv[2]),
        interface=Interfaces.WSGI,
        blocking_threads=THREADS,
        log_level=LogLevels.error,
    ).serve()
