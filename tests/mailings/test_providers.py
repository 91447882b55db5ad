"""Providers: who takes the mail of an address, by its domain or by what the DNS says."""

from __future__ import annotations

import asyncio
import socket
import socketserver
import struct
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.resolver
import dns.rrset
import pytest
from hypothesis import given
from hypothesis import strategies as st

from goodstanding.bounces import providers as in_bounces
from goodstanding.bounces.rulebook import rulebook
from goodstanding.mailings.providers import _KNOWN, MxLookup, by_domain, by_mx, name_for, named

T = TypeVar("T")
Answer = Callable[[dns.message.Message, bool], bytes | None]
"""The reply's bytes to a query over UDP or (true) TCP; None: silence."""


# Names


@pytest.mark.parametrize(
    ("domain", "hosts", "name"),
    [
        ("gmail.com", [], "gmail.com"),
        ("GoogleMail.com", [], "gmail.com"),
        ("shop.example", ["aspmx.l.google.com", "alt1.aspmx.l.google.com"], "gmail.com"),
        ("shop.example", ["smtp.google.com."], "gmail.com"),
        ("hotmail.co.uk", [], "outlook.com"),
        ("hotmail.gr", ["hotmail-com.olc.protection.outlook.com"], "outlook.com"),
        ("shop.example", ["shop-example.mail.protection.outlook.com"], "office365.com"),
        ("shop.example", ["shop-example.m-v1.mx.microsoft"], "office365.com"),
        ("sky.com", ["mx-eu.mail.am0.yahoodns.net"], "yahoo.com"),
        ("yahoo.co.jp", [], "yahoo.co.jp"),
        ("web.de", [], "gmx.net"),
        ("shop.example", ["mx00.kundenserver.de"], "gmx.net"),
        ("shop.example", ["mxa-0001.gslb.pphosted.com"], "proofpoint.com"),
        ("shop.example", ["eu-smtp-inbound-1.mimecast.com"], "mimecast.com"),
        ("blueyonder.co.uk", ["mx.tb.ukmail.iss.as9143.net"], "virginmedia.com"),
        ("shop.example", ["mx1.provider.net", "aspmx.l.google.com"], "provider.net"),
        ("shop.example", ["mx.mail.provider.co.uk"], "mail.provider.co.uk"),
        ("shop.example", ["provider.net"], "provider.net"),
        ("shop.example", ["provider.co.uk"], "provider.co.uk"),
        ("shop.co.uk", ["shop.co.uk"], "shop.co.uk"),
        ("shop.co.uk", ["mx1.shop.co.uk"], "shop.co.uk"),
        ("shop.example", ["mx.eu.shop.example"], "shop.example"),
        ("news.shop.example", ["mx.shop.example"], "shop.example"),
        ("shop.example", [], "shop.example"),
        ("shop.example", ["notgoogle.com"], "notgoogle.com"),
        ("shop.example", ["google.com.attacker.net"], "com.attacker.net"),
        ("shop.example", ["192.0.2.1"], "shop.example"),
        ("shop.example", ["localhost"], "shop.example"),
        ("shop.example", ["mx\x00.provider.net"], "shop.example"),
        ("shop.example", ["x" * 70 + ".provider.net"], "shop.example"),
    ],
)
def test_who_takes_the_mail(domain: str, hosts: list[str], name: str) -> None:
    assert name_for(domain, hosts) == name


def test_a_host_belongs_to_the_longest_suffix_by_whole_labels() -> None:
    assert by_mx("nam.olc.protection.outlook.com") == "outlook.com"
    assert by_mx("x.mail.protection.outlook.com") == "office365.com"
    assert by_mx("xgoogle.com") is None
    assert by_mx("com") is None
    assert by_mx("") is None
    assert by_domain("mail.gmail.com") is None


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("gmail.com", "gmail.com"),
        ("Hotmail.com", "outlook.com"),
        ("aspmx.l.google.com", "gmail.com"),
        ("web.de", "gmx.net"),
        ("others", "others"),
        ("provider.net", "provider.net"),
    ],
)
def test_a_provider_is_meant_by_any_of_its_names(said: str, meant: str) -> None:
    assert named(said) == meant


def test_each_is_listed_once() -> None:
    for listed in (
        [each.name for each in _KNOWN],
        [domain for each in _KNOWN for domain in each.domains],
        [suffix for each in _KNOWN for suffix in each.mx],
    ):
        assert len(listed) == len(set(listed))
        assert [name for name in listed if name != name.lower().strip(". ")] == []
    for each in _KNOWN:
        assert each.mx, f"{each.name} has no hosts"


def test_providers_are_called_the_same_as_in_what_is_read_from_bounces() -> None:
    """One name everywhere: in settings, in reports, in ``annul --provider``."""
    for each in _KNOWN:
        for domain in each.domains:
            assert in_bounces.by_recipient(f"a@{domain}") in (None, each.name), domain
        for suffix in each.mx:
            assert in_bounces.by_host(f"mx.{suffix}") in (None, each.name), suffix
    for provider in rulebook().providers:
        for host in provider.hosts:
            assert by_mx(f"mx.{host}") in (None, provider.name), host
        for domain in (provider.name, *provider.domains):
            assert by_domain(domain) in (None, provider.name), domain


@given(st.text(max_size=300), st.lists(st.text(max_size=300), max_size=3))
def test_nothing_that_a_host_is_called_makes_a_name_that_is_none(domain: str, hosts: Any) -> None:
    name = name_for(domain, hosts)
    assert name == domain[:255].lower().rstrip(".") or (name.isascii() and len(name) < 254)
    by_mx(domain)
    named(domain)


# Lookups


class _Dns:
    """A DNS server on this machine, over UDP and TCP at the same port."""

    def __init__(self, answer: Answer) -> None:
        asked = self.asked = []  # type: ignore[var-annotated]

        class Udp(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                data, listening = self.request
                query = dns.message.from_wire(data)
                asked.append(query.question[0].name.to_text(True))
                if (reply := answer(query, False)) is not None:
                    listening.sendto(reply, self.client_address)

        class Tcp(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                [length] = struct.unpack("!H", self.rfile.read(2))
                reply = answer(dns.message.from_wire(self.rfile.read(length)), True)
                if reply is not None:
                    self.wfile.write(struct.pack("!H", len(reply)) + reply)

        udp, tcp = _at_one_port(Udp, Tcp)
        self.port = udp.server_address[1]
        self._servers = (udp, tcp)
        for server in self._servers:
            server.daemon_threads = True
            threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()


def _at_one_port(
    udp: Any, tcp: Any
) -> tuple[socketserver.ThreadingUDPServer, socketserver.ThreadingTCPServer]:
    while True:
        first = socketserver.ThreadingUDPServer(("127.0.0.1", 0), udp)
        try:
            return first, socketserver.ThreadingTCPServer(first.server_address, tcp)
        except OSError:
            # Somebody else has that one for TCP.
            first.server_close()


@pytest.fixture
def serve() -> Iterator[Callable[[Answer], _Dns]]:
    servers: list[_Dns] = []

    def start(answer: Answer) -> _Dns:
        servers.append(_Dns(answer))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


Serve = Callable[[Answer], _Dns]


def records(*hosts: str) -> Answer:
    """Answers with these, each ``preference host``."""

    def answer(query: dns.message.Message, tcp: bool) -> bytes:
        reply = dns.message.make_response(query)
        if hosts:
            name = query.question[0].name
            reply.answer.append(dns.rrset.from_text(name, 300, "IN", "MX", *hosts))
        return reply.to_wire(max_size=65_535 if tcp else 0)

    return answer


def failing(rcode: dns.rcode.Rcode) -> Answer:
    def answer(query: dns.message.Message, tcp: bool) -> bytes:
        reply = dns.message.make_response(query)
        reply.set_rcode(rcode)
        return reply.to_wire()

    return answer


def asking(
    server: _Dns, call: Callable[[MxLookup], Awaitable[T]], lifetime: float = 2.0, at_once: int = 20
) -> T:
    async def run() -> T:
        return await call(MxLookup(["127.0.0.1"], server.port, lifetime=lifetime, at_once=at_once))

    return asyncio.run(run())


def lookup(server: _Dns, domain: str, lifetime: float = 2.0) -> tuple[str, ...] | None:
    return asking(server, lambda mx: mx.lookup(domain), lifetime)


def test_hosts_come_in_order_of_preference(serve: Serve) -> None:
    server = serve(records("20 MX2.mail.net.", "5 mx9.mail.net.", "10 mx1.mail.net."))
    assert lookup(server, "shop.net") == ("mx9.mail.net", "mx1.mail.net", "mx2.mail.net")


def test_a_domain_in_any_script(serve: Serve) -> None:
    server = serve(records("10 mx.mail.net."))
    assert lookup(server, "bücher.net") == ("mx.mail.net",)
    assert server.asked == ["xn--bcher-kva.net"]


@pytest.mark.parametrize(
    "answer", [records(), failing(dns.rcode.NXDOMAIN), records("0 .")], ids=["none", "no", "null"]
)
def test_none_is_known_to_be_none(serve: Serve, answer: Answer) -> None:
    assert lookup(serve(answer), "shop.net") == ()


def test_names_that_nobody_has_are_not_asked_for(serve: Serve) -> None:
    server = serve(records("10 mx.mail.net."))
    for domain in ("shop.example", "SHOP.test.", "localhost", "", ".", "a..b", "x" * 64 + ".net"):
        assert lookup(server, domain) == ()
    assert server.asked == []


@pytest.mark.parametrize(
    "answer",
    [
        failing(dns.rcode.SERVFAIL),
        failing(dns.rcode.REFUSED),
        lambda _query, _tcp: None,
        lambda _query, _tcp: b"\xff" * 40,
        lambda query, _tcp: query.to_wire()[:2] + b"\x81\x80" + b"\xff" * 30,
    ],
    ids=["broken", "refused", "silent", "noise", "malformed"],
)
def test_not_to_be_known_now(serve: Serve, answer: Answer) -> None:
    began = time.monotonic()
    assert lookup(serve(answer), "shop.net", lifetime=0.5) is None
    assert time.monotonic() - began < 2


def test_nobody_listens() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as held:
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
    mx = MxLookup(["127.0.0.1"], port, lifetime=0.3)
    assert asyncio.run(mx.lookup("shop.net")) is None


def test_no_servers_to_ask(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    read = dns.resolver.BaseResolver.read_resolv_conf
    monkeypatch.setattr(
        dns.resolver.BaseResolver,
        "read_resolv_conf",
        lambda self, _: read(self, str(tmp_path / "missing")),
    )
    assert asyncio.run(MxLookup().lookup("shop.net")) is None


def test_a_huge_answer_is_cut_short(serve: Serve) -> None:
    def answer(query: dns.message.Message, tcp: bool) -> bytes:
        if tcp:
            return records(*(f"{n} mx{n}.mail.net." for n in range(2000)))(query, tcp)
        reply = dns.message.make_response(query)
        reply.flags |= dns.flags.TC
        return reply.to_wire()

    assert lookup(serve(answer), "shop.net") == tuple(f"mx{n}.mail.net" for n in range(10))


def test_names_that_are_none_are_left_out(serve: Serve) -> None:
    server = serve(
        records(
            "1 a\\000b.mail.net.",
            "2 a\\032b.mail.net.",
            "3 \\255\\254.mail.net.",
            "4 a\\.b.mail.net.",
            "5 <script>.mail.net.",
            "6 192.0.2.1.",
            "7 localhost.",
            "8 mx.mail.net.",
        )
    )
    assert lookup(server, "shop.net") == ("mx.mail.net",)


def test_not_more_than_so_many_are_asked_at_once(serve: Serve) -> None:
    now, most, lock = [0], [0], threading.Lock()

    def answer(query: dns.message.Message, tcp: bool) -> bytes:
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        time.sleep(0.02)
        with lock:
            now[0] -= 1
        label = query.question[0].name.to_text(True).partition(".")[0]
        return records(f"10 mx.{label}-mail.net.")(query, tcp)

    domains = [f"shop{n}.net" for n in range(40)]
    hosts = [(f"mx.shop{n}-mail.net",) for n in range(40)]

    async def each(mx: MxLookup) -> list[tuple[str, ...] | None]:
        return await asyncio.gather(*map(mx.lookup, domains))

    server = serve(answer)
    found = asking(server, lambda mx: mx.lookup_all(domains, within=10), at_once=4)
    assert found == dict(zip(domains, hosts, strict=True))
    assert 2 <= most[0] <= 4
    assert asking(server, each, at_once=4) == hosts
    assert most[0] <= 4


def test_many_are_looked_up_within_the_time_there_is(serve: Serve) -> None:
    def answer(query: dns.message.Message, tcp: bool) -> bytes | None:
        slow = query.question[0].name.to_text(True).startswith("slow")
        return None if slow else records("10 mx.mail.net.")(query, tcp)

    domains = ["shop.net", *(f"slow{n}.net" for n in range(1000)), "late.net"]
    began = time.monotonic()
    found = asking(serve(answer), lambda mx: mx.lookup_all(domains, within=0.5))
    assert time.monotonic() - began < 3
    assert list(found) == domains
    assert found["shop.net"] == ("mx.mail.net",)
    assert found["slow1.net"] is None
    assert found["late.net"] is None
    assert asking(serve(answer), lambda mx: mx.lookup_all([], within=1)) == {}
