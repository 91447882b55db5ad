"""Acts of those who write back: mail servers, feedback loops, people."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qs, unquote, urlsplit

from goodstanding.postoffice import chance, letters, received
from goodstanding.postoffice.returns import NotTakenError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from goodstanding.postoffice.desk import Mail
    from goodstanding.postoffice.office import Office

RELAY: Final = "mx.relay.example"
BETWEEN_NOTICES: Final = (0.5, 2.0)


async def read(office: Office, mail: Mail) -> received.Letter:
    """Read a mail in a thread."""
    return await office.web.run(partial(received.read, mail.content))


async def send(
    office: Office,
    mail: Mail,
    did: str,
    content: bytes,
    *,
    to: str | None,
    sender: str = "",
    how: str | None = None,
    said: str | None = None,
) -> None:
    """Send a letter back, and enter in the book what was done or why it was not."""
    if not to or office.returns is None:
        reason = "nobody to write to" if office.returns else "no --return-to"
        office.enter(mail, "unsent", how=did, reply=reason)
        return
    try:
        reply = await office.returns.send(sender, to, content)
    except NotTakenError as error:
        office.enter(mail, "failed", how=did, reply=str(error))
        return
    office.enter(mail, did, how=how, reply=said or reply)


async def report_failure(office: Office, mail: Mail) -> None:
    """Report that the user is unknown."""
    await _report(office, mail, "failed", office.words(mail))


async def report_delay(office: Office, mail: Mail) -> None:
    """Report a delay, and nothing more."""
    await _report(office, mail, "delayed", office.words(mail))


async def report_in_prose(office: Office, mail: Mail) -> None:
    """Say in prose that the user is unknown."""
    content = letters.prose(mail, await read(office, mail))
    await send(office, mail, "reported", content, to=mail.envelope_from, how="prose")


async def relay_bounces(office: Office, mail: Mail) -> None:
    """Report, as a relay that took the mail unseen, how the provider refused it."""
    await _report(office, mail, "failed", office.words(mail), host=RELAY)


async def relay_gives_up(office: Office, mail: Mail) -> None:
    """Report, as a relay, a delay; and later that it has given up."""
    await _report(office, mail, "delayed", office.words(mail), host=RELAY)
    pause = chance.between(BETWEEN_NOTICES, office.options.seed, "gives up", mail.recipient)
    await asyncio.sleep(pause * office.options.pace)
    await _report(office, mail, "failed", office.words(mail), host=RELAY)


async def complain(office: Office, mail: Mail) -> None:
    """Send a complaint to whoever is to get them."""
    to = office.options.complaints_to
    content = letters.complaint(mail, await read(office, mail), to or "")
    await send(office, mail, "complained", content, to=to)


async def answer_automatically(office: Office, mail: Mail) -> None:
    """Say that one is away."""
    content = letters.away(mail, await read(office, mail), office.options.seed)
    await send(office, mail, "auto_replied", content, to=mail.envelope_from)


async def reply(office: Office, mail: Mail) -> None:
    """Write back, as a person."""
    letter = await read(office, mail)
    to = letter.reply_to or letter.author
    content = letters.answer(mail, letter, to, office.options.seed)
    await send(office, mail, "replied", content, to=to, sender=mail.recipient)


async def say_farewell(office: Office, mail: Mail, letter: received.Letter) -> None:
    """Unsubscribe by a mail to the mailto: address of List-Unsubscribe."""
    url = urlsplit(letter.unsubscribe_mail)
    to = unquote(url.path)
    subject = parse_qs(url.query).get("subject", ["unsubscribe"])[0]
    content = letters.farewell(mail, letter, to, subject)
    await send(office, mail, "unsubscribed", content, to=to, sender=mail.recipient, how="mail")


async def _report(
    office: Office, mail: Mail, action: str, said: str, *, host: str | None = None
) -> None:
    content = letters.report(
        mail,
        await read(office, mail),
        host=host or mail.provider.host,
        style="classic" if host else mail.provider.reports,
        action="failed" if action == "failed" else "delayed",
        status=office.world.tempers[mail.temper].status or "5.0.0",
        reply=said,
    )
    await send(office, mail, "reported", content, to=mail.envelope_from, how=action, said=said)


ACTS: Final[dict[str, Callable[[Office, Mail], Awaitable[None]]]] = {
    "report_failure": report_failure,
    "report_delay": report_delay,
    "report_in_prose": report_in_prose,
    "relay_bounces": relay_bounces,
    "relay_gives_up": relay_gives_up,
    "complain": complain,
    "answer_automatically": answer_automatically,
    "reply": reply,
}
