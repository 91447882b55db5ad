"""What a sender meets at the doors: replies by temper, hang-ups, hostile input."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from tests.postoffice.neighbours import PostOffice, Website, newsletter, wait_for

Open = Callable[..., PostOffice]
PLAIN = b"From: a@example.com\r\nMessage-ID: <m1@example.com>\r\nSubject: x\r\n\r\nHello\r\n"


def talk(port: int, *lines: bytes) -> list[bytes]:
    """Say lines to a port one after another; return the first line it says and each reply."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as line:
        file = line.makefile("rb")
        replies = [file.readline()]
        for words in lines:
            line.sendall(words)
            while True:
                reply = file.readline()
                if reply[3:4] != b"-":
                    break
            replies.append(reply)
        return replies


def test_every_provider_has_a_door_a_banner_and_a_name_of_its_own(office: PostOffice) -> None:
    assert all(domain.endswith(".example") for domain in office.providers)
    ports = set(office.providers.values())
    assert len(ports) >= 8
    banners = {talk(port)[0] for port in [office.relay, *ports]}
    assert len(banners) == len(ports) + 1
    assert len({banner.split()[1] for banner in banners}) == len(ports) + 1


@pytest.mark.parametrize(
    ("temper", "domain", "says"),
    [
        ("unknown_user", "uni-altstadt.example", r"550 5\.1\.1 .*(User unknown|does not exist)"),
        ("unknown_user", "bigmail.example", r"(?s)550 5\.1\.1 .*does not exist.*\n.*bsmtp"),
        ("unknown_user", "northwind-group.example", r"550 5\.1\.10 .*RecipientNotFound"),
        ("mailbox_full", "uni-altstadt.example", r"552 5\.2\.2 .*(full|quota)"),
        ("refuses_reputation", "hotlook.example", r"550 5\.7\.1 .*block list \(S31[45]0\)"),
        ("refuses_reputation", "oldmail.example", r"55[04] 5\.7\.1 .*(blocked|reputation)"),
        ("refuses_content", "oldmail.example", r"55[04] 5\.7\.1 .*spam"),
        ("defers_forever", "bigmail.example", r"451 4\.3\.0 "),
        ("accepts", "bigmail.example", r"250 2\.0\.0 "),
    ],
)
def test_a_temper_says_what_it_should(
    office: PostOffice, temper: str, domain: str, says: str
) -> None:
    box = f"temper.{temper}.says@{domain}"
    reply = office.post(box, PLAIN, sender="b+1@example.com")
    assert re.match(says, reply), reply
    [line] = office.lines(box)
    assert line["did"] == {"2": "accepted", "4": "deferred", "5": "refused"}[reply[0]]
    assert re.sub(r"(?m)^\d{3}[- ]", "", line["reply"]) == reply[4:]
    assert (line["temper"], line["provider"]) == (temper, domain)
    assert line["envelope_from"] == "b+1@example.com"
    # Only who has seen the message knows its number.
    seen = temper in {"accepts", "refuses_content"}
    assert line["message_id"] == ("<m1@example.com>" if seen else None)


def test_greylisting_ends_after_a_pause(open_office: Open) -> None:
    office = open_office("--pace", "0.4")
    box = "temper.greylists.a@uni-altstadt.example"
    assert office.post(box, PLAIN, sender="b+1@example.com").startswith("45")
    assert office.post(box, PLAIN, sender="b+1@example.com").startswith("45")
    time.sleep(0.6)
    assert office.post(box, PLAIN, sender="b+2@example.com").startswith("45")
    assert office.post(box, PLAIN, sender="b+1@example.com").startswith("250")
    assert office.did(box) == ["deferred"] * 3 + ["accepted"]


def test_greylisting_without_a_pause_still_takes_two_tries(open_office: Open) -> None:
    office = open_office("--pace", "0", "--only", "greylists")
    replies = [office.post("a@pear.example", PLAIN, sender="b@x.example")[:3] for _ in range(2)]
    assert replies[0] in {"450", "451"}
    assert replies[1] == "250"


def test_too_fast_hangs_up_and_then_recovers(office: PostOffice) -> None:
    box = "temper.too_fast.a@yonder.example"
    replies = [office.post(box, PLAIN, sender="b+1@example.com") for _ in range(4)]
    assert replies[0].startswith("421")
    assert replies[-1].startswith("250")
    lines = [b"EHLO x\r\n", b"MAIL FROM:<c@example.com>\r\n", f"RCPT TO:<{box}>\r\n".encode()]
    said = talk(office.providers["yonder.example"], *lines, b"")
    assert said[-2].startswith(b"421")
    assert said[-1] == b""


def test_deferring_for_ever_is_for_ever(office: PostOffice) -> None:
    box = "temper.defers_forever.a@pear.example"
    replies = {office.post(box, PLAIN, sender="b+1@example.com")[:3] for _ in range(6)}
    assert replies == {"451"}


def test_only_the_relay_takes_mail_for_others(office: PostOffice) -> None:
    strange = office.post(
        "ann@bigmail.example", PLAIN, sender="b@x.example", port=office.providers["pear.example"]
    )
    assert re.match(r"554 5\.7\.1 .*Relay access denied", strange)
    assert office.post("ann@nowhere.example", PLAIN, sender="b@x.example").startswith("550 5.1.2")
    box = "temper.unknown_user.via@hotlook.example"
    direct = office.post(box, PLAIN, sender="b@x.example")
    assert office.post(box, PLAIN, sender="b@x.example", port=office.relay) == direct


def test_one_reply_to_the_dot_is_true_for_all(office: PostOffice) -> None:
    port = office.relay
    replies = talk(
        port,
        b"EHLO x\r\n",
        b"MAIL FROM:<b@example.com>\r\n",
        b"RCPT TO:<temper.accepts.m@pear.example>\r\n",
        b"RCPT TO:<temper.refuses_content.m@pear.example>\r\n",
        b"RCPT TO:<temper.accepts.n@bigmail.example>\r\n",
        b"DATA\r\n",
        PLAIN + b".\r\n",
    )
    assert [reply[:3] for reply in replies[3:]] == [b"250", b"452", b"250", b"354", b"250"]
    assert office.did("temper.accepts.m@pear.example") == ["accepted"]
    assert office.did("temper.accepts.n@bigmail.example") == ["accepted"]
    assert office.did("temper.refuses_content.m@pear.example") == []


def test_what_is_sent_twice_stands_twice_in_the_book(office: PostOffice) -> None:
    box = "temper.accepts.twice@bigmail.example"
    before = office.status()["accepted"]
    for _ in range(2):
        office.post(box, PLAIN, sender="b+9@example.com")
    assert office.did(box) == ["accepted", "accepted"]
    assert office.status()["accepted"] == before + 2
    assert office.status()["by_temper"]["accepts"]["accepted"] >= 2


def test_a_line_cut_before_the_dot_leaves_nothing(open_office: Open) -> None:
    office = open_office("--cut-before-dot", "1", "--only", "accepts")
    assert office.post("ann@pear.example", PLAIN, sender="b@x.example") == "cut"
    [line] = office.lines("ann@pear.example")
    assert (line["did"], line["accepted"]) == ("cut_before_dot", False)


def test_a_line_cut_after_the_dot_has_taken_the_mail(open_office: Open, site: Website) -> None:
    office = open_office("--cut-after-dot", "0.5", "--pace", "0.01")
    boxes = [f"temper.opens.{n}@pear.example" for n in range(12)]
    mail = newsletter(site.url, "cut")
    replies = [office.post(box, mail, sender="b@x.example") for box in boxes]
    assert "cut" in replies
    assert replies.count("cut") < len(boxes)
    for box, reply in zip(boxes, replies, strict=True):
        office.wait_line(box, "opened")
        expected = ["accepted", "cut_after_dot"] if reply == "cut" else ["accepted"]
        assert [did for did in office.did(box) if did != "opened"] == expected


def test_slow_takes_its_time(open_office: Open) -> None:
    office = open_office("--slow", "300", "--only", "accepts")
    began = time.monotonic()
    assert office.post("ann@pear.example", PLAIN, sender="b@x.example").startswith("250")
    assert time.monotonic() - began >= 0.3


def test_hostile_clients_do_not_matter(office: PostOffice) -> None:
    port = office.providers["pear.example"]
    assert talk(port, b"\xff\x00\xfe\r\n")[1].startswith(b"500")
    assert talk(port, b"x" * 100_000 + b"\r\n")[1].startswith(b"500")
    assert talk(port, b"EHLO x\r\n", b"MAIL FROM:<a@b.example> SIZE=99999999\r\n")[2][:3] == b"552"
    assert talk(port, b"EHLO x\r\n", b"MAIL FROM:<>\r\n", b"RCPT TO:<>\r\n")[2:] == [
        b"250 2.1.0 OK\r\n",
        b"501 5.1.3 Bad recipient address syntax\r\n",
    ]
    with socket.create_connection(("127.0.0.1", port)) as line:
        line.sendall(
            b"EHLO x\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<temper.accepts.z@pear.example>\r\n"
        )
        line.sendall(b"DATA\r\nhalf a mess")
    assert office.post("temper.accepts.y@pear.example", PLAIN, sender="b@x.example")[:3] == "250"
    assert office.did("temper.accepts.z@pear.example") == []


def test_mail_that_no_program_can_read_harms_nothing(office: PostOffice, site: Website) -> None:
    deep = b"".join(
        b'Content-Type: multipart/mixed; boundary="b%d"\r\n\r\n--b%d\r\n' % (n, n)
        for n in range(3000)
    )
    for number, content in enumerate([deep, b"", b"\r\n\0\xff\r\n", b"Content-Type: \xff;;\r\n"]):
        box = f"temper.clicks.hostile{number}@pear.example"
        assert office.post(box, content, sender="b@x.example").startswith("250")
        assert office.wait_line(box, "failed")
    wait_for(lambda: office.status()["pending"] == 0)


def test_it_stops_at_once_with_work_still_to_do(open_office: Open) -> None:
    office = open_office("--pace", "0", "--return-to", "127.0.0.1:9")
    box = "temper.reports_unknown.a@pear.example"
    office.post(box, PLAIN, sender="b@x.example")
    office.post("temper.replies.a@pear.example", PLAIN, sender="b@x.example")
    wait_for(lambda: office.status()["pending"] == 2)
    began = time.monotonic()
    assert office.stop() == 0
    assert time.monotonic() - began < 3
    assert office.did(box) == ["accepted"]


def test_a_wrong_option_is_a_plain_error() -> None:
    command = [sys.executable, "-m", "goodstanding.postoffice"]
    for wrong in (["--only", "jolly"], ["--return-to", "nowhere"], ["--cut-after-dot", "2"]):
        ended = subprocess.run([*command, *wrong], capture_output=True, text=True, check=False)
        assert ended.returncode == 2
        assert wrong[1] in ended.stderr
        assert "Traceback" not in ended.stderr
