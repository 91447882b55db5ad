"""People to send to, what was heard of them, and mailings to send them."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from django.db import connection

from goodstanding.contacts.models import Contact, ContactAddress, ContactList, Membership
from goodstanding.core.addresses import Address
from goodstanding.core.events import SECOND, Event
from goodstanding.ledger import models
from goodstanding.ledger.recording import record
from goodstanding.mailings import checking, contents, outbox, planning
from goodstanding.mailings.contents import Draft
from goodstanding.mailings.models import Outbox

DAY = 86_400 * SECOND
NOW = 1_790_000_000 * SECOND  # 2026-09-21 14:13:20 UTC

BODY = "Hello {{ first_name }}\n{{ unsubscribe_url }}\n{{ postal_address }}\n"


def address(name: str) -> Address:
    return Address("email", name if "@" in name else f"{name}@example.com")


def told(kind: str, name: str, at: int = NOW - 10 * DAY, **said: Any) -> None:
    """Let the ledger hear it."""
    source = said.pop("source", "form")
    event = Event(kind, at, address(name), source, **said)
    recorded = record([event], max(at, NOW))
    assert recorded.stored == 1, recorded


def contact(*names: str, on: str | None = None, **said: Any) -> int:
    """A contact with those addresses, which need not have been heard of."""
    if fields := said.pop("fields", None):
        said["fields"] = json.dumps(fields)
    made = Contact.objects.create(created_at=NOW, **said)
    for name in names:
        value = address(name).value
        held, _ = models.Address.objects.get_or_create(
            channel="email", value=value, defaults={"domain": value.rpartition("@")[2]}
        )
        ContactAddress.objects.create(contact=made, address=held, channel="email")
    if on is not None:
        listed, _ = ContactList.objects.get_or_create(name=on)
        Membership.objects.create(list=listed, contact=made)
    return int(made.pk)


def opted_in(*names: str, at: int = NOW - 20 * DAY) -> None:
    record([Event("opted_in", at, address(name), "form") for name in names], NOW)


def people(count: int, prefix: str = "p") -> list[str]:
    """So many who opted in, each a contact."""
    names = [f"{prefix}{number}" for number in range(count)]
    opted_in(*names)
    for name in names:
        contact(name)
    return names


def mailing(name: str = "news", at: int = NOW, **said: Any) -> int:
    """A mailing that is not planned yet."""
    return contents.create(Draft(name=name, subject="News", text=BODY, **said), at)


def planned(name: str = "news", at: int = NOW, **said: Any) -> int:
    """A mailing planned to its end."""
    made = mailing(name, at, **said)
    assert planning.plan(made, at)
    assert checking.check(made, at)
    return made


def claimed(worker: int, most: int, now: int) -> list[outbox.Claim]:
    """Claim so many, whatever lots they are in, each lot in its turn."""
    claims: list[outbox.Claim] = []
    for lot in outbox.open_lots(now):
        if len(claims) < most:
            claims += outbox.claim(worker, [outbox.Share(lot, most - len(claims))], now)
    return claims


def pending(mailing_id: int | None = None) -> int:
    """How many have still to leave, of one mailing or of all."""
    rows = Outbox.objects.all()
    return (rows if mailing_id is None else rows.filter(mailing_id=mailing_id)).count()


def event_of(claim: outbox.Claim, kind: str, at: int, **detail: object) -> Event:
    """What became of an attempt, as the sender records it."""
    key = f"{kind}:{claim.delivery}:{claim.attempt}"
    return Event(
        kind, at, claim.address, "smtp", key=key, delivery=claim.delivery, detail=dict(detail)
    )


def responses(mailing_id: int) -> dict[tuple[str, str], str]:
    """What became of each delivery, by address (the name before the @) and recipient."""
    rows = models.Delivery.objects.filter(mailing_id=mailing_id).values_list(
        "address__value", "recipient", "response"
    )
    return {(value.partition("@")[0], recipient): said for value, recipient, said in rows}


def response(mailing_id: int, name: str) -> str:
    return responses(mailing_id)[name, ""]


def counted(mailing_id: int) -> Counter[str]:
    return Counter(responses(mailing_id).values())


def at_once(*calls: Callable[[], object]) -> list[Any]:
    """Call them in threads that begin together; what each gave back, or raised."""
    start = threading.Barrier(len(calls))
    results: list[Any] = [None] * len(calls)

    def run(place: int) -> None:
        try:
            start.wait(30)
            results[place] = calls[place]()
        except BaseException as error:  # noqa: BLE001 - to be shown by the test
            results[place] = error
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=(place,)) for place in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)
    return results


def kinds(name: str) -> list[str]:
    """The kinds of what was heard of an address, in order of time."""
    events = models.Event.objects.filter(address__value=address(name).value)
    return list(events.order_by("occurred_at", "key").values_list("kind", flat=True))


def details(kind: str) -> Iterable[dict[str, Any]]:
    """What the events of a kind say."""
    texts = models.Event.objects.filter(kind=kind).values_list("detail", flat=True)
    return [json.loads(text) for text in texts]
