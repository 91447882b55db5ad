"""Mails that go to one person each: `template`, `message` and `write`."""

from __future__ import annotations

import json as jsons
import secrets
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from goodstanding.cli import parameters
from goodstanding.cli.output import BadInput, Refused, print_json, print_text
from goodstanding.cli.sending import (
    From,
    FromName,
    Html,
    Lane,
    ReplyTo,
    Test,
    Text,
    Topic,
    finish,
    keep,
    try_out,
)
from goodstanding.cli.sending import (
    template as template_text,
)
from goodstanding.cli.setup import log_with_structlog, prepare

if TYPE_CHECKING:
    from goodstanding.mailings.mail.confirming import Confirm

PURPOSES: Final = ("transactional", "confirmation")
LARGEST_FIELDS: Final = 1024 * 1024  # bytes of a file

_CONFIRM_KEYS: Final = ("name", "url", "topic", "method")


def template(
    name: Annotated[str, typer.Argument(help="What it is called; no other mailing may be.")],
    purpose: Annotated[
        str, typer.Option(metavar="|".join(PURPOSES), help="What its mails are for.")
    ],
    subject: Annotated[str, typer.Option(help="The subject; merge fields may stand in it.")],
    html: Html = None,
    text: Text = None,
    from_address: From = "",
    from_name: FromName = "",
    reply_to: ReplyTo = None,
    topic: Topic = None,
    lane: Lane = "main",
    confirm: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE,…",
            help="A link that confirms: name= (in the mail {{ confirm_url_NAME }}), url= (the page"
            " it then leads to), topic=, method=standard|custom; all may be left out. May be given"
            " several times.",
        ),
    ] = None,
    test: Test = None,
    json: parameters.Json = False,
) -> None:
    """Keep a mail that is sent to one person at a time, whenever `goodstanding message` asks.

    A transactional mail answers what somebody did: a receipt, a password. It may hold any merge
    field; those that no contact has come with each message. A confirmation asks somebody who opted
    in to confirm it, by a link: {{ confirm_url }}, or {{ confirm_url_NAME }} where there are
    several.

    Example: goodstanding template receipt --purpose transactional --subject "Order {{ order }}"
    --text receipt.txt

    Example: goodstanding template please-confirm --purpose confirmation --subject "One click more"
    --html confirm.html --confirm "name=news,topic=news,url=https://example.com/thanks"
    """
    from goodstanding.core.gate import ONLY_BY

    if ONLY_BY.get(purpose) == "sms":
        raise BadInput(f"An {purpose} goes by SMS only, and nothing sends SMS yet.")
    if purpose not in PURPOSES:
        raise BadInput(f"--purpose is one of {', '.join(PURPOSES)}, not {purpose!r}.")
    if confirm and purpose != "confirmation":
        raise BadInput("Only a mail of purpose confirmation has links to confirm by.")
    _must_say_something(html, text)
    prepare()
    from goodstanding.mailings import contents

    draft = contents.Draft(
        name=name,
        subject=subject,
        html=template_text(html),
        text=template_text(text),
        from_address=from_address,
        from_name=from_name,
        reply_to=reply_to,
        topic=topic,
        lane=lane,
        purpose=purpose,
        confirms=tuple(_confirm(said) for said in confirm or ()),
    )
    if test:
        try_out(draft, test, json=json)
        return
    keep(draft)
    needed = sorted(contents.needed_fields(draft))
    if json:
        print_json({"mailing": name, "purpose": purpose, "fields": needed})
        return
    with_fields = f" Each message brings: {', '.join(needed)}." if needed else ""
    print_text(f"{name} is kept; goodstanding message sends it.{with_fields}")


def message(
    mailing: Annotated[str, typer.Argument(help="What `goodstanding template` has kept.")],
    address: Annotated[str, typer.Argument(help="Whom it is for.")],
    key: Annotated[
        str | None,
        typer.Option(help="Asked twice with the same key, it is sent once; else made up."),
    ] = None,
    field: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="A merge field. May be given several times."),
    ] = None,
    fields: Annotated[
        Path | None, typer.Option(help="A file with merge fields: one JSON object of texts.")
    ] = None,
    json: parameters.Json = False,
) -> None:
    """Send a kept mail to one person, if the gate allows it.

    It is put in the outbox, before all broadcasts, and a `goodstanding serve` or `goodstanding
    worker` sends it. The exit status is 1 where the gate refuses. With a key of your own, such as
    an order's number, asking again is harmless: it says what came of the first time.

    Example: goodstanding message receipt ann@example.com --key order-1001 --field order=1001
    """
    said = {**_from_file(fields), **_from_options(field or [])}
    key = secrets.token_urlsafe(18) if key is None else key
    for text in (mailing, key, *said, *said.values()):
        parameters.must_be_text(text)
    prepare()
    from goodstanding.mailings import singles

    [to] = parameters.addresses([address])
    try:
        asked = singles.send(mailing, to, key, said, parameters.present(), source="operator")
    except singles.RefusedMessage as error:
        raise BadInput(f"{str(error)[:1].upper()}{str(error)[1:]}.") from None
    if json:
        print_json(
            {
                "mailing": mailing,
                "address": to.value,
                "key": key,
                "delivery": asked.delivery,
                "repeated": asked.repeated,
                "refused": asked.refused,
            }
        )
        if asked.refused is not None:
            raise typer.Exit(1)
        return
    again = f"The key {key!r} was used before: " if asked.repeated else ""
    if asked.refused is not None:
        raise Refused(f"{again}{to.value} is sent nothing: the gate refuses it, {asked.refused}.")
    print_text(f"{again}delivery {asked.delivery} of {mailing} to {to.value}, key {key}.")
    _hint_at_worker()


def write(
    address: Annotated[list[str], typer.Argument(metavar="ADDRESS", help="Whom it is for: one.")],
    author: Annotated[str, typer.Option(help='Who writes, by name: "Ann Example".')],
    subject: Annotated[str, typer.Option(help="The subject; merge fields may stand in it.")],
    html: Html = None,
    text: Text = None,
    from_address: From = "",
    reply_to: ReplyTo = None,
    topic: Topic = None,
    lane: Lane = "main",
    wait: Annotated[bool, typer.Option(help="Stay until it has left.")] = True,
    json: parameters.Json = False,
) -> None:
    """Write to one person: a one-off, from one person to another.

    Opens and links are not counted in it, and it goes to who has opted in to nothing, as far as
    the gate allows one-offs. To write to several, send a broadcast.

    Example: goodstanding write ann@example.com --author "Bo Example" --subject "Your question"
    --text answer.txt
    """
    if len(address) > 1:
        raise Refused(
            "A one-off goes to one recipient, from one person: to write to several, send a"
            " broadcast with goodstanding send."
        )
    _must_say_something(html, text)
    prepare()
    log_with_structlog()
    from goodstanding.ledger.models import Mailing
    from goodstanding.mailings import contents, singles
    from goodstanding.mailings.mail import merge

    [to] = parameters.addresses(address)
    draft = contents.Draft(
        name=f"one-off-{parameters.stamp()}-{secrets.token_hex(3)}",
        subject=subject,
        html=template_text(html),
        text=template_text(text),
        from_address=from_address,
        from_name=author,
        reply_to=reply_to,
        topic=topic,
        lane=lane,
        purpose="one_off",
        author=author,
    )
    with suppress(merge.MergeError):  # said when it is kept
        if missing := sorted(contents.needed_fields(draft)):
            raise Refused(f"There is no merge field {missing[0]!r}.")
    keep(draft)
    try:
        asked = singles.send(draft.name, to, "written", {}, parameters.present(), "operator")
    except singles.RefusedMessage as error:
        raise BadInput(f"{str(error)[:1].upper()}{str(error)[1:]}.") from None
    if asked.refused is not None:
        raise Refused(f"{to.value} is sent nothing: the gate refuses it, {asked.refused}.")
    finish(Mailing.objects.get(name=draft.name).pk, wait=wait, json=json)


def _must_say_something(html: Path | None, text: Path | None) -> None:
    if html is None and text is None:
        raise BadInput("Say what to send: --html FILE, --text FILE or both.")


def _confirm(said: str) -> Confirm:
    """A link that confirms, from ``name=news,topic=news,url=https://…``; a url may hold commas."""
    from goodstanding.mailings.mail.confirming import Confirm

    values: dict[str, Any] = {}
    last = ""
    for part in said.split(","):
        key, equals, value = part.partition("=")
        if equals and key.strip() in _CONFIRM_KEYS:
            last = key.strip()
            if last in values:
                raise BadInput(f"--confirm {said!r}: {last} is said twice.")
            values[last] = value.strip()
        elif last == "url":
            values[last] += f",{part}"
        else:
            raise BadInput(
                f"--confirm {said!r}: {part!r} is not KEY=VALUE, with a key of"
                f" {', '.join(_CONFIRM_KEYS)}."
            )
    if values.get("method", "standard") not in ("standard", "custom"):
        raise BadInput(f"--confirm {said!r}: a method is standard or custom.")
    return Confirm(**values)


def _from_options(said: list[str]) -> dict[str, str]:
    fields = {}
    for each in said:
        name, equals, value = each.partition("=")
        if not equals or not name.strip():
            raise BadInput(f"--field {each!r} is not NAME=VALUE.")
        fields[name.strip()] = value
    return fields


def _from_file(path: Path | None) -> dict[str, str]:
    if path is None:
        return {}
    text = template_text(path) or ""
    if len(text) > LARGEST_FIELDS:
        raise BadInput(f"{path} is larger than {LARGEST_FIELDS:,} bytes.")
    try:
        said = jsons.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{path} is not JSON: {error}.") from None
    if not isinstance(said, dict):
        raise BadInput(f"{path} does not hold a JSON object of names and texts.")
    for name, value in said.items():
        if not isinstance(value, str | int | float) or isinstance(value, bool):
            raise BadInput(f"{path}: the field {name!r} is neither a text nor a number.")
    return {name: str(value) for name, value in said.items()}


def _hint_at_worker() -> None:
    from goodstanding.mailings import liveness

    if not liveness.alive():
        print_text(
            "No worker is running: goodstanding serve or goodstanding worker sends it.",
            style="yellow",
        )
