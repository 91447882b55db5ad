"""`goodstanding lint`: what mailbox providers would object to, before anything is sent."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from goodstanding.cli import parameters
from goodstanding.cli.output import BadInput, print_json, print_text
from goodstanding.cli.sending import template
from goodstanding.cli.setup import prepare

if TYPE_CHECKING:
    from collections.abc import Collection

    from goodstanding.mailings.contents import Draft
    from goodstanding.mailings.mail.linting import Finding

_STYLES: Final = {"refused": "bold red", "objection": "yellow", "advice": "cyan"}


def lint(
    what: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="MAILING|FILE",
            help="The name of a mailing that is kept; or its template files, .html and .txt.",
        ),
    ] = None,
    subject: Annotated[
        str | None, typer.Option(help="The subject; merge fields may stand in it.")
    ] = None,
    html: Annotated[Path | None, typer.Option(help="The HTML body, a template file.")] = None,
    text: Annotated[Path | None, typer.Option(help="The text body, a template file.")] = None,
    from_address: Annotated[
        str, typer.Option("--from", help="Whom it is from; else the setting sender_address.")
    ] = "",
    from_name: Annotated[str, typer.Option(help="Their name; else the setting sender_name.")] = "",
    reply_to: Annotated[str | None, typer.Option(help="Where replies go.")] = None,
    json: parameters.Json = False,
) -> None:
    """Say what large mailbox providers would object to in a mail, and in how it would be sent.

    What is refused is turned away, or must not be sent; an objection counts against you, or part
    of the mail is not shown. The exit status is 1 where there is either; advice alone leaves it 0.

    Example: goodstanding lint june.html --subject "News for {{ first_name }}"

    Or, of a mailing that is kept: goodstanding lint june-news
    """
    prepare()
    from goodstanding.mailings import contents

    kept = _kept(what or [])
    if kept is not None:
        if subject is not None or html or text:
            raise BadInput(f"{kept.name} is a mailing that is kept: it has its own subject.")
        draft, fields = kept, {*contents.fields(), *contents.named_fields(kept)}
    else:
        for name in what or []:
            html, text = _file(name, html, text)
        if html is None and text is None:
            raise BadInput("Say what to look at: a mailing's name, --html FILE, --text FILE.")
        if subject is None:
            raise BadInput("Say the subject too: --subject TEXT.")
        draft = contents.Draft(
            name="",
            subject=subject,
            html=template(html),
            text=template(text),
            from_address=from_address,
            from_name=from_name,
            reply_to=reply_to,
        )
        fields = set(contents.fields())
    findings = _findings(draft, fields)
    for finding in findings:
        if json:
            print_json(finding)
        else:
            _print(finding)
    if not json and not findings:
        print_text("Nothing to object to.")
    if any(finding.severity != "advice" for finding in findings):
        raise typer.Exit(1)


def _kept(what: list[str]) -> Draft | None:
    """The mailing of that name, as it was written; None where there is none."""
    from goodstanding.mailings import contents
    from goodstanding.mailings.models import Content

    if len(what) != 1:
        return None
    found = Content.objects.select_related("mailing").filter(mailing__name=what[0]).first()
    return contents.draft_of(found) if found is not None else None


def _file(name: str, html: Path | None, text: Path | None) -> tuple[Path | None, Path | None]:
    """The HTML and the text part, with one more file.

    Raises:
        BadInput: there is neither a mailing nor a file of that name, or a part is said twice.
    """
    path = Path(name)
    ending = path.suffix.lower()
    if ending not in (".html", ".htm", ".txt") and not path.exists():
        raise BadInput(f"There is no mailing {name!r}.")
    if ending in (".html", ".htm") and html is None:
        return path, text
    if ending == ".txt" and text is None:
        return html, path
    raise BadInput(f"{name}: give one .html file, one .txt file, or both.")


def _findings(draft: Draft, fields: Collection[str]) -> list[Finding]:
    from django.conf import settings

    from goodstanding.config.options import dkim_signer
    from goodstanding.mailings import contents, lanes
    from goodstanding.mailings.mail import linting

    options = settings.OPTIONS
    lane = lanes.every().get(draft.lane)
    setting = linting.Setting(
        base_url=options.base_url,
        bounce_domain=(lane.bounce_domain if lane is not None else None) or options.bounce_domain,
        signer=dkim_signer(options),
    )
    return linting.lint(contents.written(draft), setting, fields)


def _print(finding: Finding) -> None:
    line = f", line {finding.line}" if finding.line is not None else ""
    style = _STYLES[finding.severity]
    print_text(f"{finding.severity}: {finding.place}{line}: {finding.says}", style=style)
    for source in finding.sources:
        print_text(f"    {source}", style="dim")
