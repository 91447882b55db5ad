"""Sending over SMTP to a sink, with everything on, against bare aiosmtplib with ready-made bytes.

``python -m benchmarks.sending [--messages N] [--database sqlite] [--connections N] [--json]``; see
docs/performance.md.
"""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.console import Console

from benchmarks import measuring, sink
from benchmarks.measuring import DATABASES, Figure, Target

TARGET: Final = Target(ratio=1 / 0.7, memory=200)
READY_MADE: Final = 20_000
"""The yardstick's messages are in memory, so no more of them than this."""
_PROCESS: Final = "benchmarks.sending_process"

_Pair = tuple[dict[str, Any], dict[str, Any]]
"""What was measured of ours, and of the yardstick: the mean of right before and right after."""


def measure(
    *,
    messages: int = 20_000,
    connections: int = 50,
    workers: int = 1,
    dkim: str | None = None,
    repeat: int = 3,
    databases: tuple[str, ...] = DATABASES,
    profile: Path | None = None,
    tell: Console | None = None,
) -> list[Figure]:
    """Measure it, each repeat between two of its yardstick; a figure for each database.

    ``connections``: of the yardstick, and of all ``workers`` together. ``dkim``: the kind of key to
    sign with, ``rsa`` or ``ed25519``. ``profile``: where to write what each thread did, for
    ``pstats``.
    """
    found: dict[str, list[_Pair]] = {name: [] for name in databases}
    with tempfile.TemporaryDirectory(prefix="goodstanding-bench-") as name, ExitStack() as stack:
        ready, key = Path(name, "messages"), _key(Path(name), dkim)
        _make_ready(ready, min(messages, READY_MADE), connections, key)
        server = measuring.postgresql(stack) if "postgresql" in databases else ""
        before = _bare(ready, connections, messages)
        for number in range(repeat):
            if tell is not None:
                tell.print(f"Repeat {number + 1}, to {sink.name()}")
            for database in databases:
                with measuring.database(database, server) as place:
                    ours = _ours(place, messages, connections, workers, key, profile)
                after = _bare(ready, connections, messages)
                bare = {name: (before[name] + after[name]) / 2 for name in after}
                before = after
                found[database].append((ours, bare))
                if tell is not None:
                    tell.print(f"  {database}: {_said(messages, ours, bare)}")
    return [_figure(database, messages, found[database]) for database in databases]


def _said(messages: int, ours: dict[str, Any], bare: dict[str, Any]) -> str:
    """Both rates, and what one message takes of a processor (which noise beside disturbs less)."""
    processor = [f"{each['processor'] / messages * 1e6:,.0f}" for each in (ours, bare)]
    return (
        f"{messages / ours['seconds']:,.0f} messages/s, {bare['seconds'] / ours['seconds']:.2f} of"
        f" the yardstick's {messages / bare['seconds']:,.0f};"
        f" of the processor {processor[0]} µs each, the yardstick {processor[1]}"
    )


def _make_ready(file: Path, messages: int, connections: int, key: Path | None) -> None:
    """Send once, not timed, to a sink that keeps the messages."""
    with measuring.database("sqlite", "") as place, sink.running(keep=file) as to:
        _configure(place, to.port, connections, 1, key)
        measuring.run(_PROCESS, "prepare", str(messages), **place)
        measuring.at_once(1, _PROCESS, "send", **place)
    if to.messages != messages:
        raise RuntimeError(f"{messages} messages were planned, and {to.messages} came")


def _bare(ready: Path, connections: int, messages: int) -> dict[str, Any]:
    """What so many messages take the yardstick."""
    with sink.running() as to:
        said = measuring.run(_PROCESS, "bare", str(ready), str(to.port), str(connections))
    more = messages / int(said["messages"])
    return {name: said[name] * more for name in ("seconds", "processor")}


def _ours(
    place: dict[str, str],
    messages: int,
    connections: int,
    workers: int,
    key: Path | None,
    profile: Path | None,
) -> dict[str, Any]:
    more = ["--profile", str(profile)] if profile is not None else []
    with sink.running() as to:
        _configure(place, to.port, connections, workers, key)
        planned = measuring.run(_PROCESS, "prepare", str(messages), **place)["planned"]
        found = measuring.at_once(workers, _PROCESS, "send", *more, **place)
    sent = max(each["sent"] for each in found)
    if not messages == planned == sent == (to.messages or messages):
        raise RuntimeError(
            f"{messages} messages: {planned} planned, {sent} sent, {to.messages} came"
        )
    return max(found, key=lambda each: float(each["seconds"])) | {
        "memory": max(each["memory"] for each in found),
        "processor": sum(each["processor"] for each in found),
    }


def _configure(
    place: dict[str, str], port: int, connections: int, workers: int, key: Path | None
) -> None:
    """The settings: all as they are where nothing is said, but for where the sink is."""
    signing = ""
    if key is not None:
        signing = f'dkim_domain = "shop.example"\ndkim_selector = "news"\ndkim_key = "{key}"\n'
    Path(place["GOODSTANDING_HOME"], "goodstanding.toml").write_text(
        'sender_name = "The Shop"\n'
        'sender_address = "news@shop.example"\n'
        'postal_address = "1 High Street, Anytown"\n'
        'base_url = "https://go.shop.example"\n'
        f'bounce_domain = "bounces.shop.example"\nmx_lookup = false\n{signing}'
        f'[lanes.main]\nhost = "127.0.0.1"\nport = {port}\nconnections = {connections // workers}\n'
        f"[lanes.main.limits.default]\nconnections = {connections}\n",
        encoding="utf-8",
    )


def _key(folder: Path, kind: str | None) -> Path | None:
    if kind is None:
        return None
    from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
    )

    made: rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey
    if kind == "rsa":
        made = rsa.generate_private_key(public_exponent=65_537, key_size=2_048)
    else:
        made = ed25519.Ed25519PrivateKey.generate()
    file = folder / "dkim.pem"
    file.write_bytes(made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return file


def _figure(database: str, messages: int, found: list[_Pair]) -> Figure:
    last = found[-1][0]
    return Figure(
        work="sending",
        where=database,
        unit="messages",
        count=messages,
        seconds=[ours["seconds"] for ours, _ in found],
        yardstick=[bare["seconds"] for _, bare in found],
        target=TARGET,
        memory=max(ours["memory"] for ours, _ in found),
        memory_before=last["memory_before"],
        shares=last["shares"],
    )


def main(
    messages: Annotated[int, typer.Option(min=10, help="How many.")] = 20_000,
    database: Annotated[list[str] | None, typer.Option(help="sqlite, postgresql.")] = None,
    connections: Annotated[int, typer.Option(min=1, help="To the sink, at once.")] = 50,
    workers: Annotated[int, typer.Option(min=1, help="Processes that share the work.")] = 1,
    dkim: Annotated[str | None, typer.Option(help="Sign with a key: rsa, ed25519.")] = None,
    repeat: Annotated[int, typer.Option(min=1, help="How often; the median counts.")] = 3,
    profile: Annotated[
        Path | None, typer.Option(help="Profile each thread, to FILE.THREAD.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="A line of JSON for each figure.")
    ] = False,
) -> None:
    """Measure how fast messages leave."""
    if dkim not in (None, "rsa", "ed25519"):
        raise typer.BadParameter("--dkim is rsa or ed25519")
    console = Console(stderr=as_json)
    figures = measure(
        messages=messages,
        connections=connections,
        workers=workers,
        dkim=dkim,
        repeat=repeat,
        databases=tuple(database or DATABASES),
        profile=profile,
        tell=console,
    )
    measuring.show(figures, console)
    if as_json:
        measuring.print_json(figures)


if __name__ == "__main__":
    typer.run(main)
