"""Run the post office: ``python -m goodstanding.postoffice``."""

from __future__ import annotations

import asyncio
import os
import signal
import sys

import msgspec

from goodstanding.postoffice import control, options
from goodstanding.postoffice.office import Office
from goodstanding.postoffice.weather import BadWeather
from goodstanding.postoffice.world import UnknownTemper


async def _run(wanted: options.Options) -> None:
    office = Office(wanted)
    relay, providers = await office.open()
    last = wanted.port_base + len(office.world.providers) + 1 if wanted.port_base else 0
    loop = asyncio.get_running_loop()
    door = control.start(control.Control(office, loop), "127.0.0.1", last)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    ready = {"relay": relay, "providers": providers, "control": door}
    sys.stdout.write(msgspec.json.encode(ready).decode() + "\n")
    sys.stdout.flush()
    await stop.wait()
    await office.close()


def main() -> int:
    """Run until told to stop; return the exit status."""
    wanted = options.read()
    try:
        asyncio.run(_run(wanted))
    except (OSError, UnknownTemper, BadWeather) as error:
        sys.stderr.write(f"The post office cannot open: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    outcome = main()
    # Not by way of exit handlers: they would wait for threads that still wait for a web server.
    sys.stderr.flush()
    os._exit(outcome)
