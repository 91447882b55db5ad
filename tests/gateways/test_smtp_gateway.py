"""The SMTP gateway against real sockets: outcomes, the pool, TLS, sign-in, routes."""

from __future__ import annotations

import asyncio
import shutil
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiosmtpd.smtp import AuthResult, LoginPassword
from rich.pretty import pretty_repr

from goodstanding.cli.ports import free_port
from goodstanding.gateways.base import Gateway, Handover, Mail
from goodstanding.gateways.smtp import SmtpGateway, SmtpSettings
from tests.gateways.smtp_servers import (
    CUT,
    HANG,
    PIPELINING,
    Mailbox,
    Script,
    aiosmtpd_server,
    self_signed,
)

CONTENT = b"Subject: Hello\r\n\r\nA line\r\n.a dot\r\n"


def mail(recipient: str = "ann@example.com", content: bytes = CONTENT) -> Mail:
    return Mail("b+token@example.org", recipient, content)


async def yes() -> bool:
    return True


def settings(port: int, **more: Any) -> SmtpSettings:
    plain: dict[str, Any] = {"timeout": 0.4, "dot_timeout": 0.4, "local_hostname": "us.example"}
    return SmtpSettings(host="127.0.0.1", port=port, **(plain | more))


async def send(
    port: int,
    *mails: Mail,
    fence: Callable[[], Awaitable[bool]] = yes,
    **more: Any,
) -> list[Handover]:
    gateway = SmtpGateway(settings(port, **more))
    try:
        return [await gateway.send(each, fence) for each in mails]
    finally:
        await gateway.close()


def send_to_script(script: Script, *mails: Mail, **more: Any) -> list[Handover]:
    async def run() -> list[Handover]:
        async with script.running() as port:
            return await send(port, *(mails or (mail(),)), **more)

    return asyncio.run(run())


@pytest.fixture(params=[{}, PIPELINING], ids=["one by one", "pipelining"])
def offers(request: pytest.FixtureRequest) -> dict[str, str]:
    """What a scripted server says to EHLO."""
    said: dict[str, str] = request.param
    return said


# Outcomes with a well-behaved server


def test_outcomes_of_a_well_behaved_server() -> None:
    box = Mailbox()

    async def run() -> list[Handover]:
        async with aiosmtpd_server(box) as port:
            people = ["ann", "nobody", "later", "spam", "busy", "bob"]
            return await send(port, *(mail(f"{p}@example.com") for p in people))

    told = [(h.outcome, h.stage, h.code, h.text) for h in asyncio.run(run())]
    assert told == [
        ("accepted", "dot", 250, "250 2.0.0 Queued as 1"),
        ("refused", "rcpt", 550, "550 5.1.1 No such user"),
        ("deferred", "rcpt", 451, "451 4.7.1 Greylisted, try again later"),
        ("refused", "dot", 554, "554 5.7.1 Looks like spam"),
        ("deferred", "dot", 452, "452 4.3.1 Out of space"),
        ("accepted", "dot", 250, "250 2.0.0 Queued as 1"),
    ]
    assert len(box.sessions) == 1, "failures must not cost the connection"
    assert [e.mail_from for e in box.envelopes] == ["b+token@example.org"] * 2
    assert box.envelopes[0].content == CONTENT
    assert set(box.hosts) == {"us.example"}


@pytest.mark.parametrize(
    ("content", "arrives"),
    [
        (b"A: b\n\nbare\nlf\n", b"A: b\r\n\r\nbare\r\nlf\r\n"),
        (b"A: b\r\n\r\n.\r\nMAIL FROM:<x@example.net>\r\n", None),
        (b"A: b\r\n\r\nsmuggled\n.\nMAIL FROM:<x@example.net>\r\n",
         b"A: b\r\n\r\nsmuggled\r\n.\r\nMAIL FROM:<x@example.net>\r\n"),
        (b"A: b\r\n\r\nsmuggled\r.\rend", b"A: b\r\n\r\nsmuggled\r\n.\r\nend\r\n"),
        (b".leads\r\n\r\n..two\r\n", None),
        (b"A: b\r\n\r\n" + b"x" * 300 + b"\r\n" * 5000, None),
    ],
)  # fmt: skip
def test_content_arrives_whole(content: bytes, arrives: bytes | None) -> None:
    box = Mailbox()

    async def run() -> list[Handover]:
        async with aiosmtpd_server(box) as port:
            return await send(port, mail(content=content), mail())

    assert [h.outcome for h in asyncio.run(run())] == ["accepted", "accepted"]
    assert [e.content for e in box.envelopes] == [arrives or content, CONTENT]


# What the wire can do, step by step

BEFORE = ["CONNECT", "EHLO", "MAIL", "RCPT", "DATA"]
STAGES = dict(zip(BEFORE, ["connect", "connect", "mail", "rcpt", "data"], strict=True))


@pytest.mark.parametrize("failure", [CUT, HANG])
@pytest.mark.parametrize("step", BEFORE)
def test_broken_before_the_content_is_unsent(
    step: str, failure: str, offers: dict[str, str]
) -> None:
    script = Script(**{**offers, step: failure})
    (told,) = send_to_script(script)
    assert (told.outcome, told.stage, told.code) == ("unsent", STAGES[step], None)
    assert told.error
    assert script.bodies == []


@pytest.mark.parametrize("failure", [CUT, HANG, "not smtp at all", "354 go on"])
def test_broken_after_the_dot_is_lost(failure: str, offers: dict[str, str]) -> None:
    script = Script(**offers, DOT=failure)
    (told,) = send_to_script(script)
    assert (told.outcome, told.stage) == ("lost", "dot")
    assert told.error
    assert len(script.bodies) == 1


def test_cut_in_the_middle_of_the_content_is_lost() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in (b"220 a", b"250 a", b"250 ok", b"250 ok", b"354 go on"):
            writer.write(answer + b"\r\n")
            await reader.readline()
        await reader.read(50_000)
        writer.transport.abort()

    async def run() -> list[Handover]:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with server:
            big = b"A: b\r\n\r\n" + b"0123456789\r\n" * 1_000_000
            return await send(server.sockets[0].getsockname()[1], mail(content=big), timeout=5)

    (told,) = asyncio.run(run())
    assert (told.outcome, told.stage) == ("lost", "dot")


@pytest.mark.parametrize("step", [*BEFORE, "DOT"])
@pytest.mark.parametrize(
    ("code", "outcome"), [("421", "deferred"), ("450", "deferred"), ("554", "refused")]
)
def test_refusals_at_each_step(step: str, code: str, outcome: str, offers: dict[str, str]) -> None:
    (told,) = send_to_script(Script(**{**offers, step: f"{code} 1.2.3 Words"}))
    stage = (STAGES | {"DOT": "dot"})[step]
    assert (told.outcome, told.stage, told.code) == (outcome, stage, int(code))
    assert told.text == f"{code} 1.2.3 Words"


@pytest.mark.parametrize("step", [*BEFORE, "DOT"])
def test_an_answer_out_of_turn_is_never_taken_for_a_yes(step: str, offers: dict[str, str]) -> None:
    script = Script(**{**offers, step: "354 what" if step != "DATA" else "250 what"})
    (told,) = send_to_script(script)
    assert told.outcome == ("lost" if step == "DOT" else "unsent")
    assert told.error


def test_nobody_listens() -> None:
    (told,) = asyncio.run(send(free_port(), mail()))
    assert (told.outcome, told.stage, told.code) == ("unsent", "connect", None)
    assert told.error


def test_an_old_server_without_ehlo() -> None:
    script = Script(EHLO="502 what?")
    assert [h.outcome for h in send_to_script(script)] == ["accepted"]
    assert script.verbs[:2] == ["EHLO", "HELO"]


def test_long_and_dirty_answers_are_bounded_and_clean() -> None:
    lines = "\n".join(["550-5.7.1 caf\x00\x1b[31m" + "x" * 400] * 30 + ["550 end"])
    (told,) = send_to_script(Script(RCPT=lines))
    assert told.outcome == "refused"
    assert told.text.startswith("550 5.7.1 caf [31mxxx")
    assert len(told.text) <= 2000
    told.text.encode("utf-8")


def test_multi_line_answers_become_one_line() -> None:
    (told,) = send_to_script(Script(RCPT="550-5.1.1 No such user.\n550 5.1.1 See the help."))
    assert told.text == "550 5.1.1 No such user. 5.1.1 See the help."


def test_bytes_that_are_no_utf8_do_not_become_surrogates() -> None:
    class Latin(Script):
        async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"554 buz\xf3n cerrado\r\n")
            await reader.read()

    (told,) = send_to_script(Latin())
    assert (told.outcome, told.stage) == ("refused", "connect")
    assert told.text == "554 buz\ufffdn cerrado"


# The fence


def test_fence_is_asked_once_after_rcpt_and_before_data() -> None:
    script = Script()
    seen: list[list[str]] = []

    async def fence() -> bool:
        seen.append(list(script.verbs))
        return True

    assert [h.outcome for h in send_to_script(script, fence=fence)] == ["accepted"]
    assert seen == [["EHLO", "MAIL", "RCPT"]]


def test_fence_is_not_asked_when_the_recipient_was_refused() -> None:
    async def fence() -> bool:
        pytest.fail("asked")

    told = send_to_script(Script(RCPT="550 no"), mail(), mail("a b@example.com"), fence=fence)
    assert [h.outcome for h in told] == ["refused", "refused"]


def test_fence_says_no() -> None:
    script = Script()
    answers = iter([False, True])

    async def fence() -> bool:
        return next(answers)

    told = send_to_script(script, mail(), mail("bob@example.com"), fence=fence)
    assert [h.outcome for h in told] == ["dropped", "accepted"]
    assert script.verbs == ["EHLO", "MAIL", "RCPT", "RSET", "MAIL", "RCPT", "DATA", "QUIT"]
    assert len(script.bodies) == 1


def test_fence_that_raises_leaves_nothing_behind() -> None:
    script = Script()

    async def broken() -> bool:
        raise OSError("database away")

    async def run() -> Handover:
        async with script.running() as port:
            gateway = SmtpGateway(settings(port, connections=1))
            with pytest.raises(OSError, match="database away"):
                await gateway.send(mail(), broken)
            told = await gateway.send(mail(), yes)
            await gateway.close()
            return told

    assert asyncio.run(run()).outcome == "accepted"
    assert (script.connections, len(script.bodies)) == (2, 1)


# Several commands at once (RFC 2920)


def test_envelope_and_data_go_out_at_once_and_the_content_after_the_fence() -> None:
    packets: list[bytes] = []
    fenced_after: list[int] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answers in (
            b"220 a\r\n",
            b"250-a\r\n250 PIPELINING\r\n",
            b"250 ok\r\n250 ok\r\n354 go on\r\n",
            b"250 taken\r\n",
            b"221 bye\r\n",
        ):
            writer.write(answers)
            packets.append(await reader.read(10_000))
        writer.close()

    async def fence() -> bool:
        fenced_after.append(len(packets))
        await asyncio.sleep(0.05)
        assert len(packets) == 2
        return True

    async def run() -> list[Handover]:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with server:
            return await send(server.sockets[0].getsockname()[1], mail(), fence=fence)

    assert [h.outcome for h in asyncio.run(run())] == ["accepted"]
    assert fenced_after == [2]
    assert packets[1:4] == [
        b"MAIL FROM:<b+token@example.org>\r\nRCPT TO:<ann@example.com>\r\nDATA\r\n",
        CONTENT.replace(b"\r\n.a", b"\r\n..a") + b".\r\n",
        b"QUIT\r\n",
    ]


def test_fence_says_no_while_the_server_waits_for_the_content() -> None:
    script = Script(**PIPELINING)
    answers = iter([False, True])

    async def fence() -> bool:
        while script.waiting == 0:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        return next(answers)

    told = send_to_script(script, mail(), mail("bob@example.com"), fence=fence)
    assert [h.outcome for h in told] == ["dropped", "accepted"]
    assert (script.connections, len(script.bodies), script.halves) == (2, 1, [b""])


def test_fence_says_no_where_data_was_refused_anyway() -> None:
    script = Script(**PIPELINING, DATA="451 not now")

    async def no() -> bool:
        return False

    told = send_to_script(script, mail(), mail(), fence=no)
    assert [h.outcome for h in told] == ["dropped", "dropped"]
    assert script.connections == 1


def test_fence_that_raises_while_the_server_waits_leaves_nothing_behind() -> None:
    script = Script(**PIPELINING)

    async def broken() -> bool:
        raise OSError("database away")

    async def run() -> Handover:
        async with script.running() as port:
            gateway = SmtpGateway(settings(port, connections=1))
            with pytest.raises(OSError, match="database away"):
                await gateway.send(mail(), broken)
            told = await gateway.send(mail(), yes)
            await gateway.close()
            return told

    assert asyncio.run(run()).outcome == "accepted"
    assert (script.connections, len(script.bodies)) == (2, 1)


@pytest.mark.parametrize("step", ["MAIL", "RCPT"])
def test_refused_with_data_already_said(step: str) -> None:
    script = Script(**{**PIPELINING, step: "550 no"}, DATA="503 no valid recipients")
    told = send_to_script(script, mail(), mail())
    assert [(h.outcome, h.stage, h.code) for h in told] == [("refused", step.lower(), 550)] * 2
    assert script.connections == 1
    assert script.verbs == ["EHLO", *["MAIL", "RCPT", "DATA", "RSET"] * 2, "QUIT"]


class EagerForContent(Script):
    """Takes DATA whatever was refused before, and a lone dot for a content."""

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 a\r\n")
        while line := (await reader.readline()).decode():
            self.said.append(line.rstrip())
            verb = line.split()[0]
            writer.write(
                self.answers.get(verb, "554 nobody").replace("\n", "\r\n").encode() + b"\r\n"
            )


def test_the_dot_for_nobody() -> None:
    script = EagerForContent(**PIPELINING, RCPT="550 no")
    told = send_to_script(script, mail(), mail())
    assert [(h.outcome, h.stage) for h in told] == [("refused", "rcpt")] * 2
    assert script.connections == 1
    assert script.verbs == ["EHLO", *["MAIL", "RCPT", "DATA", ".", "RSET"] * 2, "QUIT"]


def test_no_dot_where_somebody_might_get_it() -> None:
    script = EagerForContent(**PIPELINING, MAIL="451 later")
    told = send_to_script(script, mail(), mail())
    assert [(h.outcome, h.stage) for h in told] == [("deferred", "mail")] * 2
    assert script.connections == 2
    assert script.verbs == ["EHLO", "MAIL", "RCPT", "DATA"] * 2


# The pool


def test_what_a_server_says_unasked_answers_nothing() -> None:
    class Impatient(Script):
        """Says goodbye after a mail, as if it had been silent too long, and does not hang up."""

        async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self.answers = {**self.answers, "DOT": "250 taken\n421 too slow"}
            await super()._talk(reader, writer)

    script = Impatient(**PIPELINING)

    async def run() -> list[str]:
        async with script.running() as port:
            gateway = SmtpGateway(settings(port))
            told = []
            for _ in range(2):
                told.append(await gateway.send(mail(), yes))
                await asyncio.sleep(0.05)
            await gateway.close()
            return [h.outcome for h in told]

    assert asyncio.run(run()) == ["accepted", "accepted"]
    assert (script.connections, len(script.bodies)) == (2, 2)


@pytest.mark.parametrize("endless", ["250-x\n" * 20_000, "250 " + "x" * 40_000])
def test_answers_without_end_are_cut(endless: str) -> None:
    (told,) = send_to_script(Script(**PIPELINING, MAIL=endless))
    assert (told.outcome, told.stage) == ("unsent", "mail")
    assert told.error


def test_connections_and_mails_per_connection_are_bounded() -> None:
    script = Script()

    async def run() -> list[Handover]:
        async with script.running() as port:
            gateway = SmtpGateway(settings(port, connections=3, mails_per_connection=5))
            told = await asyncio.gather(*(gateway.send(mail(), yes) for _ in range(60)))
            await gateway.close()
            await asyncio.sleep(0.01)
            return told

    assert [h.outcome for h in asyncio.run(run())] == ["accepted"] * 60
    assert script.most_open == 3
    assert script.connections == 12
    assert script.verbs.count("QUIT") == 12
    assert script.open == 0


def test_a_mail_may_ask_for_fewer_on_its_connection() -> None:
    script = Script()

    async def run() -> None:
        async with script.running() as port:
            gateway = SmtpGateway(settings(port, connections=1, mails_per_connection=5))
            one = msgspec.structs.replace(mail(), connection_mails=2)
            for _ in range(6):
                await gateway.send(one, yes)
            await gateway.close()
            await asyncio.sleep(0.01)

    asyncio.run(run())
    assert script.connections == 3


def test_idle_connections_are_hung_up() -> None:
    script = Script()

    async def run() -> tuple[int, int]:
        async with script.running() as port:
            gateway = SmtpGateway(settings(port, connections=4, idle_seconds=0.1))
            await asyncio.gather(*(gateway.send(mail(), yes) for _ in range(4)))
            before = script.open
            await asyncio.sleep(0.25)
            after = script.open
            await gateway.send(mail(), yes)
            await gateway.close()
            return before, after

    assert asyncio.run(run()) == (4, 0)
    assert script.connections == 5


def test_a_connection_that_died_in_the_pool_costs_nothing() -> None:
    class Once(Script):
        """Answers one mail, then closes at the next command, as an idle timeout would."""

        async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self.answers = {**self.answers, "MAIL": "250 ok"}
            await super()._talk(reader, writer)

    script = Once()

    async def run() -> list[str]:
        async with script.running() as port:
            gateway = SmtpGateway(settings(port))
            first = await gateway.send(mail(), yes)
            script.answers = {**script.answers, "MAIL": CUT}
            second = await gateway.send(mail(), yes)
            await gateway.close()
            return [first.outcome, second.outcome]

    assert asyncio.run(run()) == ["accepted", "accepted"]
    assert (script.connections, len(script.bodies)) == (2, 2)


def test_a_server_that_restarted_is_found_again() -> None:
    async def run() -> list[str]:
        box = Mailbox()
        async with aiosmtpd_server(box, timeout=0.1) as port:
            gateway = SmtpGateway(settings(port))
            told = [await gateway.send(mail(), yes)]
            await asyncio.sleep(0.2)  # the server hangs up on the silent
            told.append(await gateway.send(mail(), yes))
            await gateway.close()
        return [h.outcome for h in told]

    assert asyncio.run(run()) == ["accepted", "accepted"]


def test_cancelled_in_mid_flight_gives_the_place_back() -> None:
    script = Script(DOT=HANG)

    async def run() -> str:
        async with script.running() as port:
            gateway = SmtpGateway(settings(port, connections=1, dot_timeout=30))
            task = asyncio.create_task(gateway.send(mail(), yes))
            while not script.bodies:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            script.answers = {**script.answers, "DOT": "250 ok"}
            told = await gateway.send(mail(), yes)
            await gateway.close()
            return told.outcome

    assert asyncio.run(run()) == "accepted"
    assert script.most_open <= 2


def test_close_waits_for_what_is_in_flight() -> None:
    async def run() -> str:
        async with Script().running() as port:
            gateway = SmtpGateway(settings(port))

            async def slow() -> bool:
                await asyncio.sleep(0.1)
                return True

            task = asyncio.create_task(gateway.send(mail(), slow))
            await asyncio.sleep(0.03)
            await gateway.close()
            assert task.done()
            with pytest.raises(RuntimeError):
                await gateway.send(mail(), yes)
            return task.result().outcome

    assert asyncio.run(run()) == "accepted"


# Routes


def test_routes_go_elsewhere_and_take_no_password_along() -> None:
    relay, other = Script(), Script(EHLO="250-mx.example.net\n250 AUTH PLAIN LOGIN")

    async def run() -> list[Handover]:
        async with relay.running() as port, other.running() as other_port:
            return await send(
                port,
                mail("ann@example.com"),
                mail("bob@Example.NET"),
                starttls="never",
                routes={"example.net": f"127.0.0.1:{other_port}"},
                username=None,
            )

    async def signed_in() -> list[Handover]:
        async with other.running() as other_port:
            return await send(
                free_port(),
                mail("bob@example.net"),
                starttls="never",
                routes={"example.net": f"127.0.0.1:{other_port}"},
                username="us",
                password="pa55word",
            )

    told = asyncio.run(run())
    assert [h.outcome for h in told] == ["accepted", "accepted"]
    assert told[0].host != told[1].host
    assert (len(relay.bodies), len(other.bodies)) == (1, 1)
    assert [h.outcome for h in asyncio.run(signed_in())] == ["accepted"]
    assert "AUTH" not in other.verbs


# Addresses and eight bits


def test_international_addresses() -> None:
    box = Mailbox()

    async def run(*, smtputf8: bool) -> Handover:
        async with aiosmtpd_server(box, enable_SMTPUTF8=smtputf8) as port:
            return (await send(port, mail("пётр@example.com")))[0]

    assert asyncio.run(run(smtputf8=True)).outcome == "accepted"
    assert box.envelopes[0].rcpt_tos == ["пётр@example.com"]
    assert box.envelopes[0].smtp_utf8
    told = asyncio.run(run(smtputf8=False))
    assert (told.outcome, told.stage, told.code) == ("refused", "rcpt", 553)
    assert told.text.startswith("553 5.6.7 ")
    assert told.error
    assert len(box.envelopes) == 1


def test_eight_bits() -> None:
    eight = mail(content="Subject: x\r\n\r\né\r\n".encode())
    offering = Script(EHLO="250-mx.example.com\n250-SIZE 1000\n250 8BITMIME")
    assert [h.outcome for h in send_to_script(offering, eight)] == ["accepted"]
    assert any("BODY=8BITMIME" in line and "SIZE=18" in line for line in offering.said)
    silent = Script()
    (told,) = send_to_script(silent, eight)
    assert (told.outcome, told.stage, told.code) == ("refused", "mail", 554)
    assert told.error
    assert "MAIL" not in silent.verbs


@pytest.mark.parametrize(
    "recipient",
    ["", "ann", "a@x.example> SIZE=1", "a@x.example\r\nDATA", "a b@x.example", "a@x.example\x00",
     "<a@x.example>", 'a"b@x.example'],
)  # fmt: skip
def test_addresses_that_would_break_out_never_reach_the_wire(recipient: str) -> None:
    script = Script()
    (told,) = send_to_script(script, mail(recipient))
    assert (told.outcome, told.stage, told.code) == ("refused", "rcpt", 553)
    (told,) = send_to_script(script, Mail(recipient or "x", "ann@example.com", CONTENT))
    assert (told.outcome, told.stage) == ("refused", "mail")
    assert script.said == []


def test_null_return_path_and_quoted_local_parts() -> None:
    script = Script()
    told = send_to_script(script, Mail("", '"a <b>"@example.com', CONTENT))
    assert [h.outcome for h in told] == ["accepted"]
    assert script.said[1:3] == ["MAIL FROM:<>", 'RCPT TO:<"a <b>"@example.com>']


# TLS and sign-in


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    if shutil.which("openssl") is None:
        pytest.skip("needs the openssl command to make a certificate")
    return self_signed(tmp_path_factory.mktemp("tls"))


def server_context(certificate: tuple[Path, Path]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*map(str, certificate))
    return context


def authenticator(
    server: object, session: object, envelope: object, mechanism: str, data: object
) -> AuthResult:
    assert isinstance(data, LoginPassword)
    return AuthResult(success=(data.login, data.password) == (b"us", b"pa55word"), handled=False)


def sign_in(certificate: tuple[Path, Path], box: Mailbox, **more: Any) -> Handover:
    async def run() -> Handover:
        async with aiosmtpd_server(
            box,
            tls_context=server_context(certificate),
            require_starttls=True,
            auth_required=True,
            authenticator=authenticator,
        ) as port:
            told = await send(port, mail(), **({"timeout": 3} | more))
            return told[0]

    return asyncio.run(run())


def test_starttls_and_sign_in(certificate: tuple[Path, Path]) -> None:
    box = Mailbox()
    us = {"username": "us", "password": "pa55word", "certificates": str(certificate[0])}
    assert sign_in(certificate, box, starttls="always", **us).outcome == "accepted"
    assert sign_in(certificate, box, starttls="when_offered", **us).outcome == "accepted"
    assert len(box.envelopes) == 2


def test_a_wrong_password_is_our_fault_and_stays_secret(certificate: tuple[Path, Path]) -> None:
    told = sign_in(
        certificate,
        Mailbox(),
        starttls="always",
        verify_certificate=False,
        username="us",
        password="wr0ng-s3cret",
    )
    assert (told.outcome, told.stage, told.code) == ("unsent", "connect", 535)
    assert told.error
    assert "wr0ng" not in repr(told)


def test_an_unknown_certificate_is_not_trusted(certificate: tuple[Path, Path]) -> None:
    told = sign_in(certificate, Mailbox(), starttls="always", username="us", password="pa55word")
    assert (told.outcome, told.stage) == ("unsent", "connect")
    assert "certificate" in (told.error or "").lower()


def test_tls_from_the_first_byte(certificate: tuple[Path, Path]) -> None:
    box = Mailbox()

    async def run(**more: Any) -> Handover:
        loop = asyncio.get_running_loop()
        from aiosmtpd.smtp import SMTP

        server = await loop.create_server(
            lambda: SMTP(box, loop=loop), "127.0.0.1", 0, ssl=server_context(certificate)
        )
        async with server:
            port = server.sockets[0].getsockname()[1]
            return (await send(port, mail(), tls=True, timeout=3, **more))[0]

    assert asyncio.run(run(certificates=str(certificate[0]))).outcome == "accepted"
    assert asyncio.run(run()).outcome == "unsent"


def test_starttls_is_demanded_and_not_offered() -> None:
    script = Script()
    (told,) = send_to_script(script, starttls="always")
    assert (told.outcome, told.stage) == ("unsent", "connect")
    assert "STARTTLS" in (told.error or "")


def test_the_password_never_goes_over_a_stripped_connection() -> None:
    script = Script(EHLO="250-mx.example.com\n250 AUTH PLAIN LOGIN", AUTH="235 welcome")
    us = {"username": "us", "password": "pa55word"}
    (told,) = send_to_script(script, **us)
    assert (told.outcome, told.stage) == ("unsent", "connect")
    assert "AUTH" not in script.verbs
    (told,) = send_to_script(script, starttls="never", **us)
    assert told.outcome == "accepted"


@pytest.mark.parametrize("code", ["535", "454"])
def test_a_server_that_repeats_the_password(code: str) -> None:
    script = Script(
        EHLO="250-mx.example.com\n250 AUTH PLAIN",
        AUTH=f"{code} no: pa55word AHVzAHBhNTV3b3Jk cGE1NXdvcmQ=",
    )
    (told,) = send_to_script(script, starttls="never", username="us", password="pa55word")
    assert told.outcome == ("unsent" if code == "535" else "deferred")
    assert told.stage == "connect"
    for secret in ("pa55word", "AHVzAHBhNTV3b3Jk", "cGE1NXdvcmQ="):
        assert secret not in repr(told)


# Settings


def test_password_never_in_repr() -> None:
    ours = SmtpSettings(username="us", password="pa55word", starttls="always")
    gateway = SmtpGateway(ours)
    for shown in (repr(ours), str(ours), f"{ours}", pretty_repr(ours), repr(gateway)):
        assert "pa55word" not in shown
    assert "username='us'" in repr(ours)


@pytest.mark.parametrize(
    "wrong",
    [
        {"tls": True, "starttls": "always"},
        {"username": "us"},
        {"password": "x"},
        {"routes": {"example.com": "mx.example.com"}},
        {"routes": {"example.com": ":25"}},
        {"routes": {"example.com": "mx.example.com:99999"}},
        {"connections": 0},
        {"timeout": 0},
        {"prot": 25},
        {"starttls": "maybe"},
    ],
)
def test_wrong_settings_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(wrong, SmtpSettings)


def test_it_is_a_gateway() -> None:
    gateway: Gateway = SmtpGateway(SmtpSettings(reports_deliveries=True))
    assert gateway.reports_deliveries
    assert not SmtpGateway(SmtpSettings()).reports_deliveries
