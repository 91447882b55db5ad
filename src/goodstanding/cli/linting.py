"""`goodstanding lint`: what mailbox providers would object to, before anything is sent."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from goodstanding.cli import parameters
from goodstanding.cli.output import BadInput, print_json, print_text
from goodstanding.cli.setup import prepare

if TYPE_CHECKING:
    from goodstanding.mailings.linting import Finding

_STYLES: Final = {"refused": "bold red", "objection": "yellow", "advice": "cyan"}


def lint(
    subject: Annotated[str, typer.Option(help="The subject; merge fields may stand in it.")],
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

    Example: goodstanding lint --subject "News for {{ first_name }}" --html june.html
    """
    if html is None and text is None:
        raise BadInput("Say what to look at: --html FILE, --text FILE or both.")
    prepare()
    from django.conf import settings

    from goodstanding.cli.sending import template
    from goodstanding.config.options import dkim_signer
    from goodstanding.mailings import contents, linting

    options = settings.OPTIONS
    draft = contents.Draft(
        name="",
        subject=subject,
        html=template(html),
        text=template(text),
        from_address=from_address,
        from_name=from_name,
        reply_to=reply_to,
    )
    setting = linting.Setting(
        base_url=options.base_url,
        bounce_domain=options.bounce_domain,
        signer=dkim_signer(options),
    )
    findings = linting.lint(contents.written(draft), setting, contents.fields())
    for finding in findings:
        if json:
            print_json(finding)
        else:
            _print(finding)
    if not json and not findings:
        print_text("Nothing to object to.")
    if any(finding.severity != "advice" for finding in findings):
        raise typer.Exit(1)


def _print(finding: Finding) -> None:
    line = f", line {finding.line}" if finding.line is not None else ""
    style = _STYLES[finding.severity]
    print_text(f"{finding.severity}: {finding.place}{line}: {finding.says}", style=style)
    for source in finding.sources:
        print_text(f"    {source}", style="dim")
