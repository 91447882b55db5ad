"""What happens after a mail was accepted: reports, complaints, answers, visits."""

from __future__ import annotations

import re
from collections.abc import Callable
from email.message import EmailMessage
from typing import cast

import pytest

from goodstanding.cli.ports import free_port
from tests.postoffice.neighbours import Listener, PostOffice, Website, newsletter, wait_for

Open = Callable[..., PostOffice]


def send(
    office: PostOffice, site: Website, temper: str, domain: str = "bigmail.example"
) -> tuple[str, str]:
    """Send a newsletter to a mailbox of this temper; return the mailbox and the mail's token."""
    provider = domain.partition(".")[0]
    token = f"{temper}-{provider}".replace("_", "-")
    box = f"temper.{temper}.reader@{domain}"
    reply = office.post(box, newsletter(site.url, token), sender=f"b+{token}@news.example.com")
    assert reply.startswith("250"), reply
    return box, token


def parts(mail: EmailMessage) -> list[EmailMessage]:
    return [cast("EmailMessage", part) for part in mail.iter_parts()]


def fields(part: EmailMessage) -> dict[str, str]:
    """Return the fields of a message/delivery-status or a message/feedback-report part."""
    payload = part.get_payload()
    if isinstance(payload, str):
        lines = payload.splitlines()
        return dict(cast("tuple[str, str]", tuple(line.split(": ", 1))) for line in lines if line)
    return {k: v for block in cast("list[EmailMessage]", payload) for k, v in block.items()}


@pytest.mark.parametrize(
    "domain",
    ["bigmail.example", "hotlook.example", "tegami.example", "oldmail.example"],
)
def test_a_report_says_who_what_and_about_which_mail(
    office: PostOffice, listener: Listener, site: Website, domain: str
) -> None:
    box, token = send(office, site, "reports_unknown", domain)
    sender, mail = listener.mail_to(f"b+{token}@news.example.com")
    assert sender == ""
    assert mail.get_content_type() == "multipart/report"
    assert mail.get_param("report-type") == "delivery-status"
    assert not mail.defects
    _, status, returned = parts(mail)
    said = fields(status)
    assert said["Final-Recipient"] == f"rfc822; {box}"
    assert said["Action"] == "failed"
    assert re.match(r"5\.[15]\.\d+$", said["Status"])
    assert re.match(r"smtp; 55\d", said["Diagnostic-Code"])
    assert returned.get_content_type() in {"message/rfc822", "text/rfc822-headers"}
    assert f"<{token}@news.example.com>" in returned.as_string()
    line = office.wait_line(box, "reported")
    assert (line["how"], line["message_id"]) == ("failed", f"<{token}@news.example.com>")


def test_a_delay_is_a_warning_and_nothing_follows(
    office: PostOffice, listener: Listener, site: Website
) -> None:
    box, token = send(office, site, "reports_delay")
    _, mail = listener.mail_to(f"b+{token}@news.example.com")
    said = fields(parts(mail)[1])
    assert said["Action"] == "delayed"
    assert said["Status"].startswith("4.")
    assert said["Will-Retry-Until"]
    wait_for(lambda: office.did(box) == ["accepted", "reported"])


@pytest.mark.parametrize("domain", ["oldmail.example", "bigmail.example", "freipost.example"])
def test_an_old_server_bounces_in_prose(
    office: PostOffice, listener: Listener, site: Website, domain: str
) -> None:
    box, token = send(office, site, "reports_prose", domain)
    sender, mail = listener.mail_to(f"b+{token}@news.example.com")
    assert sender == ""
    assert mail.get_content_type() == "text/plain"
    text = mail.get_content()
    assert box in text
    assert re.search(r"no mailbox|Unknown user|User unknown", text)
    assert f"Message-ID: <{token}@news.example.com>" in text
    assert office.wait_line(box, "reported")["how"] == "prose"


def test_an_absent_owner_answers_automatically(
    office: PostOffice, listener: Listener, site: Website
) -> None:
    box, token = send(office, site, "out_of_office")
    sender, mail = listener.mail_to(f"b+{token}@news.example.com")
    assert (sender, mail["From"], mail["Auto-Submitted"]) == ("", box, "auto-replied")
    assert mail["In-Reply-To"] == f"<{token}@news.example.com>"
    assert office.wait_line(box, "auto_replied")


@pytest.mark.parametrize("domain", ["hotlook.example", "yonder.example"])
def test_a_complaint_goes_to_the_feedback_address_with_the_mail(
    office: PostOffice, listener: Listener, site: Website, domain: str
) -> None:
    listener.got.clear()
    box, token = send(office, site, "complains", domain)
    sender, mail = listener.mail_to("fbl@news.example.com")
    assert sender == ""
    assert mail.get_param("report-type") == "feedback-report"
    _, report, returned = parts(mail)
    said = fields(report)
    assert said["Feedback-Type"] == "abuse"
    assert said["Original-Mail-From"] == f"<b+{token}@news.example.com>"
    original = cast("EmailMessage", returned.get_payload(0))
    assert original["Message-ID"] == f"<{token}@news.example.com>"
    assert "Grüße" in original.get_body(("html",)).get_content()  # type: ignore[union-attr]
    is_redacted = domain == "yonder.example"
    assert (box in mail.as_string()) is not is_redacted
    assert office.wait_line(box, "complained")


def test_a_person_writes_back_to_reply_to_or_else_to_from(
    office: PostOffice, listener: Listener, site: Website
) -> None:
    box, token = send(office, site, "replies")
    sender, mail = listener.mail_to("answers@news.example.com")
    assert (sender, mail["From"]) == (box, box)
    assert mail["Subject"] == f"Re: Grüße aus {token}"
    assert mail["Auto-Submitted"] is None
    other = "temper.replies.other@pear.example"
    office.post(other, newsletter(site.url, "rr", reply_to=""), sender="b+rr@news.example.com")
    assert listener.mail_to("news@news.example.com")[0] == other
    assert office.wait_line(other, "replied")


@pytest.mark.parametrize(
    ("temper", "agent"),
    [
        ("opens", r"Mozilla/5\.0 \(.+"),
        ("privacy_proxy", r"Mozilla/5\.0$"),
        ("image_proxy", r".*via ggpht\.com GoogleImageProxy"),
    ],
)
def test_who_opens_fetches_the_pixel_once_and_nothing_else(
    office: PostOffice, site: Website, temper: str, agent: str
) -> None:
    box, token = send(office, site, temper)
    line = office.wait_line(box, "opened")
    [(method, path, headers, _)] = site.of(token)
    assert (method, path) == ("GET", f"/p/{token}")
    assert re.match(agent, headers["User-Agent"])
    assert (line["agent"], line["url"]) == (headers["User-Agent"], f"{site.url}/p/{token}")
    assert office.did(box) == ["accepted", "opened"]


def test_who_clicks_opens_and_follows_the_first_link_that_the_mail_is_about(
    office: PostOffice, site: Website
) -> None:
    box, token = send(office, site, "clicks")
    line = office.wait_line(box, "clicked")
    assert [asked[:2] for asked in site.of(token)] == [
        ("GET", f"/p/{token}"),
        ("GET", f"/c/{token}"),
    ]
    # The redirect leads to a host that nobody allowed to visit.
    assert line["reply"] == "302 https://shop.example/offer"
    assert office.did(box) == ["accepted", "opened", "clicked"]


def test_the_header_button_is_one_post(office: PostOffice, site: Website) -> None:
    box, token = send(office, site, "unsubscribes_header")
    assert office.wait_line(box, "unsubscribed")["how"] == "header"
    [(method, path, headers, form)] = site.of(token)
    assert (method, path, form) == ("POST", f"/o/{token}", [("List-Unsubscribe", "One-Click")])
    assert headers["Content-Type"] == "application/x-www-form-urlencoded"
    assert "Cookie" not in headers


def test_without_a_header_to_post_to_the_button_writes_a_mail(
    office: PostOffice, listener: Listener, site: Website
) -> None:
    content = newsletter(site.url, "bymail").replace(b"List-Unsubscribe-Post", b"X-Nothing")
    box = "temper.unsubscribes_header.mail@pear.example"
    office.post(box, content, sender="b+m@news.example.com")
    sender, mail = listener.mail_to("leave@news.example.com")
    assert (sender, mail["Subject"]) == (box, "bymail")
    assert office.wait_line(box, "unsubscribed")["how"] == "mail"


@pytest.mark.parametrize(
    ("temper", "how", "act"),
    [
        ("unsubscribes_page", "page", "opt_out"),
        ("unsubscribes_with_reason", "page_reason", "opt_out"),
        ("reports_spam_on_page", "page_spam", "spam"),
    ],
)
def test_the_page_is_used_as_a_browser_would(
    office: PostOffice, site: Website, temper: str, how: str, act: str
) -> None:
    box, token = send(office, site, temper)
    assert office.wait_line(box, "unsubscribed")["how"] == how
    pixel, page, sent = site.of(token)
    assert pixel[:2] == ("GET", f"/p/{token}")
    assert page[:2] == ("GET", f"/u/{token}")
    assert sent[:2] == ("POST", f"/u/{token}")
    assert sent[2]["Cookie"] == "visit=42"
    form = dict(sent[3])
    assert bool(form.pop("reason")) is (how == "page_reason")
    assert form == {"secret": "s3&4", "topic": "news", "act": act}


def test_a_page_without_the_button_is_no_unsubscribing(office: PostOffice, site: Website) -> None:
    content = newsletter(site.url, "nobutton").replace(b"/u/", b"/e/")
    box = "temper.unsubscribes_page.none@pear.example"
    office.post(box, content, sender="b+n@news.example.com")
    assert "no button" in office.wait_line(box, "failed")["reply"]
    assert "unsubscribed" not in office.did(box)


def test_a_scanner_fetches_every_link_twice(office: PostOffice, site: Website) -> None:
    box, token = send(office, site, "scanner")
    wait_for(lambda: len(office.lines(box)) == 11, "ten fetches")
    asked = site.of(token)
    expected = [(m, f"/{p}/{token}") for p in ("v", "c", "d", "u", "o") for m in ("HEAD", "GET")]
    assert [one[:2] for one in asked] == expected
    assert all(re.search("Scanner|Barracuda", one[2]["User-Agent"]) for one in asked)


def test_nothing_is_lost_while_the_listener_and_the_site_are_in_trouble(
    open_office: Open, site: Website
) -> None:
    port = free_port()
    office = open_office("--pace", "0", "--return-to", f"127.0.0.1:{port}")
    boxes = [f"temper.reports_unknown.{n}@pear.example" for n in range(20)]
    for number, box in enumerate(boxes):
        content = newsletter(site.url, f"lost{number}")
        office.post(box, content, sender=f"b+{number}@news.example.com")
    site.troubles = {"/p/later": 2, "/o/later": 2}
    for temper in ("opens", "unsubscribes_header"):
        box = f"temper.{temper}.later@pear.example"
        office.post(box, newsletter(site.url, "later"), sender="b+later@news.example.com")
    assert office.status()["pending"] >= 20
    late = Listener(port=port)
    try:
        late.refusals = ["451 4.3.0 Not now", "421 4.3.2 Closing"] * 3
        wait_for(lambda: office.status()["pending"] == 0, "everything to end")
        assert late.refused == 6
        assert sorted(mail[1][0] for mail in late.got) == sorted(
            f"b+{number}@news.example.com" for number in range(20)
        )
    finally:
        late.close()
    assert [office.did(box) for box in boxes] == [["accepted", "reported"]] * 20
    assert office.wait_line("temper.opens.later@pear.example", "opened")["reply"] == "200"
    assert office.wait_line("temper.unsubscribes_header.later@pear.example", "unsubscribed")
    assert [one[0] for one in site.of("later")].count("POST") == 3


def test_what_the_listener_refuses_for_good_is_in_the_book(
    open_office: Open, site: Website
) -> None:
    stern = Listener()
    stern.refusals = ["550 5.7.1 No"]
    office = open_office("--pace", "0", "--return-to", f"127.0.0.1:{stern.port}")
    try:
        box, _ = send(office, site, "reports_prose")
        assert office.wait_line(box, "failed")["reply"] == "550 5.7.1 No"
    finally:
        stern.close()


def test_the_way_back_can_be_lmtp(open_office: Open, site: Website) -> None:
    listener = Listener(lmtp=True)
    office = open_office("--pace", "0", "--return-to", f"lmtp://127.0.0.1:{listener.port}")
    try:
        _, token = send(office, site, "reports_unknown")
        assert listener.mail_to(f"b+{token}@news.example.com")[0] == ""
    finally:
        listener.close()


def test_a_relay_that_accepts_everything_bounces_later(open_office: Open, site: Website) -> None:
    listener = Listener()
    office = open_office(
        *("--relay", "accepts", "--pace", "0.05", "--return-to", f"127.0.0.1:{listener.port}")
    )
    boxes = {
        "temper.unknown_user.a@hotlook.example": ["failed"],
        "temper.refuses_content.a@pear.example": ["failed"],
        "temper.defers_forever.a@bigmail.example": ["delayed", "failed"],
        "temper.greylists.a@uni-altstadt.example": [],
        "ann@nowhere.example": ["failed"],
    }
    try:
        for number, box in enumerate(boxes):
            content = newsletter(site.url, f"relay{number}")
            sender = f"b+relay{number}@news.example.com"
            assert office.post(box, content, sender=sender, port=office.relay)[:3] == "250"
        wait_for(lambda: office.status()["pending"] == 0, "everything to end")
        for number, (box, reports) in enumerate(boxes.items()):
            lines = office.lines(box)
            assert [line["did"] for line in lines] == ["accepted"] + ["reported"] * len(reports)
            assert [line.get("how") for line in lines[1:]] == reports
            got = [
                mail for mail in listener.got if mail[1] == [f"b+relay{number}@news.example.com"]
            ]
            assert len(got) == len(reports)
            assert all(b"Reporting-MTA: dns; mx.relay.example" in mail[2] for mail in got)
    finally:
        listener.close()
