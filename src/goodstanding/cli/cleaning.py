"""`correct` and `purge`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from goodstanding.cli import parameters
from goodstanding.cli.acting import At, Reason
from goodstanding.cli.output import (
    BadInput,
    asked_of_a_rule,
    complain,
    print_json,
    print_table,
    print_text,
    progress,
)
from goodstanding.cli.parameters import By, Json

if TYPE_CHECKING:
    from goodstanding.contacts.purging import Example, Found, OfStatus, Purged
    from goodstanding.core.addresses import Address, Channel


def correct(
    old: Annotated[str, typer.Argument(help="The wrong address, as it was written.")],
    new: Annotated[str, typer.Argument(help="The right one.")],
    reason: Reason,
    by: By = None,
    at: At = None,
    as_json: Json = False,
) -> None:
    """Correct an address: every contact that holds the old one holds the new one instead.

    The new one gets no consent by it: it stands where it stood, and one that nobody knew has never
    opted in. The old one keeps its history. The exit status is 1 where there is nothing to correct.

    Example: goodstanding correct ann@exmaple.example ann@example.com --reason "misspelt"
    """
    done_at = parameters.moment(at)

    from goodstanding.cli.setup import prepare

    prepare()
    from goodstanding.contacts import correcting

    [right] = parameters.addresses([new])
    wrong = _wrong(old, right.channel)
    with asked_of_a_rule():
        done = correcting.correct(
            wrong,
            right,
            reason=reason,
            by=by or parameters.login(),
            now=parameters.present(),
            at=done_at,
        )
    if as_json:
        print_json(
            {
                "address": wrong.value,
                "channel": wrong.channel,
                "kind": "corrected",
                "status": done.status,
                "family": done.family,
                "to": right.value,
                "to_status": done.to_status,
                "to_family": done.to_family,
                "contacts": done.contacts,
            }
        )
        return
    hold = "1 contact holds" if done.contacts == 1 else f"{done.contacts:,} contacts hold"
    print_text(f"{hold} {right.value} instead of {wrong.value}.")
    print_text(f"{right.value} is {done.to_status} ({done.to_family}).")


def _wrong(text: str, channel: Channel) -> Address:
    """The address to be corrected: a malformed one is found as it was kept.

    Raises:
        BadInput: there is nothing of it to be found.
    """
    from goodstanding.core.addresses import MalformedAddress

    try:
        return parameters.known_address(text, channel)
    except MalformedAddress as error:
        raise BadInput(str(error)) from None


def purge(
    status: Annotated[
        list[str] | None,
        typer.Option(
            metavar="STATUS",
            help="Who stands so; may be said again. hard_bounced and invalid if left out.",
        ),
    ] = None,
    older_than: Annotated[
        str,
        typer.Option(metavar="SPAN", help="Only who has stood so for that long: 180d, 36h, 0d."),
    ] = "180d",
    yes: Annotated[
        bool, typer.Option("--yes", help="Do it; without this it only shows what would be done.")
    ] = False,
    export: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="First write all of it to a new file, .csv or .xlsx: see below."
        ),
    ] = None,
    show: Annotated[int, typer.Option(min=0, help="How many of them to show.")] = 10,
    reason: Annotated[
        str | None, typer.Option("--reason", metavar="TEXT", help="Why; it is logged.")
    ] = None,
    by: By = None,
    as_json: Json = False,
) -> None:
    """Take addresses to which nothing may be sent from their contacts.

    A contact that then holds no address is deleted, with its places on lists. The ledger keeps the
    address's standing and history: whoever imports it again finds it standing where it stood.

    Without --yes nothing is changed. It may be interrupted, and run again, while workers run. The
    file has a row for each address of each contact: standing, names, lists and fields.

    Example: goodstanding purge --status hard_bounced --status invalid --older-than 180d

    and then: goodstanding purge --status hard_bounced --status invalid --older-than 180d --yes
    --export gone.xlsx
    """
    from goodstanding.cli.setup import log_with_structlog, prepare

    prepare()
    log_with_structlog()
    from goodstanding.contacts import purging
    from goodstanding.ledger import lookup

    wanted = _terms(status or (), older_than)
    if export is not None:
        _must_be_savable(export)
    with progress("Looking", lookup.last_address()) as advance:
        found = purging.find(wanted, advance)
    counted = purging.by_status()
    shown = purging.examples(show)
    if not as_json:
        _print_found(found, counted, shown, older_than)
    if found.pairs == 0:
        export = None
    if export is not None:
        _export(found, export)
    done = _purge(found, by or parameters.login(), reason) if yes else None
    if as_json:
        print_json(_plain(found, counted, shown, export, done))
    elif found.pairs:
        _print_done(found, done, export)


def _terms(statuses: Any, older_than: str) -> Any:
    from goodstanding.contacts import purging
    from goodstanding.core.policies import Span

    try:
        return purging.terms(statuses, Span.parse(older_than), parameters.present())
    except purging.NotPurgeable as error:
        raise BadInput(str(error)) from None
    except ValueError as error:
        raise BadInput(f"--older-than: {error}.") from None


def _must_be_savable(path: Path) -> None:
    from goodstanding.contacts import saving

    try:
        saving.may_be(path)
    except saving.CannotSave as error:
        raise BadInput(f"--export: {error}") from None


def _export(found: Found, path: Path) -> None:
    from goodstanding.contacts import exporting, saving

    try:
        with progress("Exporting", 2 * found.pairs) as advance:
            exporting.export(found, path, advance)
    except saving.CannotSave as error:
        raise BadInput(f"Nothing was purged: {error}") from None


def _purge(found: Found, by: str, reason: str | None) -> Purged:
    from goodstanding.contacts import purging

    try:
        with progress("Purging", found.pairs) as advance:
            return purging.purge(found, by=by, reason=reason, advance=advance)
    except KeyboardInterrupt:
        complain("Interrupted: run it again for what is left.")
        raise


def _plain(
    found: Found,
    counted: list[OfStatus],
    shown: list[Example],
    export: Path | None,
    done: Purged | None,
) -> dict[str, Any]:
    """What there is to say, as one item."""
    import msgspec

    from goodstanding.core import times

    total = done or found
    return {
        "purged": done is not None,
        "addresses": total.addresses,
        "contacts": total.contacts,
        "contacts_deleted": total.contacts_deleted,
        "statuses": [
            {
                **msgspec.to_builtins(each),
                "since_first": times.rfc3339(each.since_first),
                "since_last": times.rfc3339(each.since_last),
            }
            for each in counted
        ],
        "first": [
            {**msgspec.to_builtins(each), "since": times.rfc3339(each.since)} for each in shown
        ],
        "export": None if export is None else str(export),
    }


def _print_found(
    found: Found, counted: list[OfStatus], shown: list[Example], older_than: str
) -> None:
    from goodstanding.core import times

    if not found.pairs:
        statuses = " or ".join(found.terms.statuses)
        print_text(f"No contact holds an address that has been {statuses} for {older_than}.")
        return
    print_table(
        ("Status", "Addresses", "Contacts", "First since", "Last since"),
        [
            (
                *(each.status, each.addresses, each.contacts),
                *(times.in_words(each.since_first), times.in_words(each.since_last)),
            )
            for each in counted
        ],
    )
    if shown:
        print_table(
            ("Address", "Status", "Since", "Category", "Contacts"),
            [
                (
                    each.address,
                    each.status,
                    times.in_words(each.since),
                    each.category,
                    each.contacts,
                )
                for each in shown
            ],
            title=None if len(shown) == found.addresses else f"The first {len(shown):,}",
        )


def _print_done(found: Found, done: Purged | None, export: Path | None) -> None:
    if export is not None:
        print_text(f"{export} has all of them.")
    total = done or found
    was, were = ("was", "were") if done else ("would be", "would be")
    print_text(
        f"{_count(total.addresses, 'address', 'addresses')}"
        f" {was if total.addresses == 1 else were} taken from"
        f" {_count(total.contacts, 'contact', 'contacts')};"
        f" {_count(total.contacts_deleted, 'contact', 'contacts')} without any other address"
        f" {was if total.contacts_deleted == 1 else were} deleted."
    )
    if done is None:
        print_text("Nothing was changed. With --yes it is done.")
    elif done.addresses < found.addresses:
        left = _count(found.addresses - done.addresses, "address", "addresses")
        print_text(f"{left} had changed meanwhile, and stayed.")


def _count(number: int, one: str, many: str) -> str:
    return f"{number:,} {one if number == 1 else many}"
