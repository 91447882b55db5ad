"""The mail listener, spoken to by real clients."""

import asyncio
from typing import Any

import aiosmtplib
import pytest
from django.db import DatabaseError

from goodstanding.core.tokens import Signer
from goodstanding.intake import spool
from goodstanding.intake.models import Spooled
from tests.intake.post import DOMAIN, SENDER, Sent, bounce, letter, with_listener

pytestmark = pytest.mark.django_db(databases=["default", "spool"], transaction=True)


async def _send(port: int, content: bytes, *recipients: str, sender: str = "") -> str:
    async with aiosmtplib.SMTP(hostname="127.0.0.1", port=port) as client:
        _, said = await client.sendmail(sender, list(recipients), content)
        return said


async def _try(port: int, *recipients: str) -> list[tuple[int, str]]:
    """What is said to each recipient."""
    said = []
    async with aiosmtplib.SMTP(hostname="127.0.0.1", port=port) as client:
        await client.ehlo()
        await client.mail("person@example.net")
        for recipient in recipients:
            try:
                answer = await client.rcpt(recipient)
            except aiosmtplib.SMTPRecipientRefused as refusal:
                said.append((refusal.code, refusal.message))
            else:
                said.append((answer.code, answer.message))
    return said


def test_a_bounce_is_on_disk_when_the_client_is_told_so(ann: Sent) -> None:
    content = bounce(ann) + b".a line that begins with a dot\r\n"

    async def talk(port: int) -> int:
        await _send(port, content, ann.return_path)
        return await asyncio.to_thread(Spooled.objects.count)

    assert with_listener(talk)[0] == 1
    row = Spooled.objects.get()
    assert bytes(row.content) == content
    assert row.envelope == f'{{"from":"","to":["{ann.return_path}"]}}'


def test_only_our_own_mailboxes_take_mail(ann: Sent) -> None:
    ours = [
        ann.return_path,
        ann.return_path.upper(),
        f"unsubscribe-{ann.token('unsubscribe')}@{DOMAIN}",
        f"complaints@{DOMAIN}",
        f"postmaster@{DOMAIN}",
        f"abuse@{DOMAIN}",
        SENDER,
    ]
    token = ann.token("return-path")
    forged = token[:-1] + ("a" if token[-1] != "a" else "b")
    others = Signer([b"another key altogether"]).sign("return-path", ann.delivery)
    not_ours = [
        f"b-{forged}@{DOMAIN}",
        f"b-{token[:-3]}@{DOMAIN}",
        f"b-{others}@{DOMAIN}",
        f"b-{ann.token('unsubscribe')}@{DOMAIN}",
        f"unsubscribe-{token}@{DOMAIN}",
        f"b-@{DOMAIN}",
        f"b-{token}@example.org",
        f"someone@{DOMAIN}",
        ann.address,
    ]

    async def talk(port: int) -> Any:
        return await _try(port, *ours), await _try(port, *not_ours)

    taken, refused = with_listener(talk)[0]
    assert [code for code, _ in taken] == [250] * len(ours)
    assert refused == [(550, "5.1.1 no such mailbox here")] * len(not_ours)


def test_a_spool_that_fails_is_a_temporary_failure(
    ann: Sent, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise DatabaseError("disk full")

    monkeypatch.setattr(spool.Spooled.objects, "using", fail)

    async def talk(port: int) -> aiosmtplib.SMTPDataError:
        with pytest.raises(aiosmtplib.SMTPDataError) as refusal:
            await _send(port, bounce(ann), ann.return_path)
        return refusal.value

    refusal = with_listener(talk)[0]
    assert (refusal.code, refusal.message[:5]) == (451, "4.3.0")
    monkeypatch.undo()
    assert Spooled.objects.count() == 0


def test_a_mail_too_large_is_refused_and_the_next_one_taken(ann: Sent) -> None:
    long_line = b"Subject: x\r\n\r\n" + b"x" * 300_000 + b"\r\n"

    async def talk(port: int) -> tuple[int, int]:
        async with aiosmtplib.SMTP(hostname="127.0.0.1", port=port) as client:
            await client.ehlo()
            await client.mail("")  # says no size beforehand
            await client.rcpt(ann.return_path)
            try:
                await client.data(b"x" * 1_500_000)
            except aiosmtplib.SMTPDataError as refusal:
                code = refusal.code
            taken, _ = await client.sendmail("", [ann.return_path], long_line)
            return code, len(taken)

    answer, listener = with_listener(talk, largest_mail=1_000_000)
    assert answer == (552, 0)
    assert bytes(Spooled.objects.get().content) == long_line
    assert listener.bytes_under_way == 0


def test_who_never_ends_a_mail_is_not_heard_out(ann: Sent) -> None:
    async def talk(port: int) -> int:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        hello = f"EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<{ann.return_path}>\r\nDATA\r\n"
        writer.write(hello.encode())
        written = 0
        while written < 100_000_000:
            try:
                writer.write(b"x" * 65_536)
                await writer.drain()
            except ConnectionError:
                break
            written += 65_536
        writer.close()
        return written

    # What the operating system holds on the way counts too.
    assert with_listener(talk, largest_mail=1_000_000)[0] < 20_000_000
    assert Spooled.objects.count() == 0


def test_all_mails_under_way_together_have_a_bound(ann: Sent) -> None:
    async def talk(port: int) -> int:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        hello = f"EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<{ann.return_path}>\r\nDATA\r\n"
        writer.write(hello.encode() + b"x" * 150_000)
        await reader.readuntil(b"354")
        await asyncio.sleep(0.2)
        try:
            await _send(port, b"x" * 100_000, ann.return_path)
        except aiosmtplib.SMTPDataError as refusal:
            return refusal.code
        finally:
            writer.close()
        return 250

    assert with_listener(talk, most_bytes=200_000)[0] == 452


def test_a_bare_line_feed_ends_no_mail(ann: Sent) -> None:
    smuggled = b"Subject: x\r\n\r\none\n.\nMAIL FROM:<a@b.example>\r\nlast\r\n"

    async def talk(port: int) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        hello = f"EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<{ann.return_path}>\r\nDATA\r\n"
        writer.write(hello.encode() + smuggled + b".\r\nQUIT\r\n")
        said = await reader.read()
        writer.close()
        return said

    assert b"221" in with_listener(talk)[0]
    assert bytes(Spooled.objects.get().content) == smuggled


def test_one_connection_too_many_is_asked_to_come_again() -> None:
    async def talk(port: int) -> bytes:
        first = await asyncio.open_connection("127.0.0.1", port)
        await first[0].readline()
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        said = await reader.read()
        writer.close()
        first[1].close()
        return said

    assert with_listener(talk, most_connections=1)[0].startswith(b"421 4.3.2 ")


def test_who_says_nothing_is_hung_up_on() -> None:
    async def talk(port: int) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        said = await reader.read()
        writer.close()
        return said

    assert with_listener(talk, timeout=0.2)[0].startswith(b"220 ")


def test_lmtp_answers_for_each_recipient(ann: Sent, send: Any) -> None:
    bob = send("bob@example.net")

    async def talk(port: int) -> list[bytes]:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(
            f"LHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<{ann.return_path}>\r\n"
            f"RCPT TO:<{bob.return_path}>\r\nRCPT TO:<nobody@{DOMAIN}>\r\nDATA\r\n".encode()
        )
        await reader.readuntil(b"354")
        await reader.readline()
        writer.write(letter().replace(b"\n", b"\r\n") + b"\r\n.\r\nQUIT\r\n")
        said = await reader.read()
        writer.close()
        return said.splitlines()

    said, _ = with_listener(talk, lmtp=True)
    assert [line[:3] for line in said] == [b"250", b"250", b"221"]
    assert Spooled.objects.count() == 1


def test_many_connections_share_commits(ann: Sent) -> None:
    async def talk(port: int) -> None:
        await asyncio.gather(*(_send(port, bounce(ann), ann.return_path) for _ in range(64)))

    _, listener = with_listener(talk)
    assert Spooled.objects.count() == 64
    assert listener.spooler.commits < 48
