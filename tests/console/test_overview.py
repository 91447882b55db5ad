import html
import re
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone, translation

from goodstanding.console import unread
from goodstanding.console.templatetags import shown
from goodstanding.core.addresses import normalise
from goodstanding.core.events import SECOND, Event
from goodstanding.intake.models import NOT_UNDERSTOOD, UNDERSTOOD, Kept, Spooled
from goodstanding.ledger.models import Mailing, MailingTally, StatusTally
from goodstanding.ledger.recording import record
from goodstanding.mailings import brakes, contents, course, liveness
from goodstanding.mailings.contents import Draft
from goodstanding.mailings.models import Course, Lot
from tests.console.conftest import NOW
from tests.console.sending import Broadcast

pytestmark = pytest.mark.django_db(databases=["default", "spool"])

REFRESH = '<meta http-equiv="refresh" content="5">'


def page(client: Client, address: str = "/") -> str:
    answer = client.get(address)
    assert answer.status_code == 200
    return answer.content.decode()


def text(markup: str) -> str:
    """What a reader sees, a space between all elements."""
    markup = re.sub(r"<style.*?</style>", "", markup, flags=re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", markup)).split())


def part(markup: str, name: str) -> str:
    """What a reader sees of one section."""
    [found] = re.findall(
        rf'<section aria-labelledby="{name}">(.*?)</section>', markup, flags=re.DOTALL
    )
    return text(found)


def told(kind: str, number: int, at: int, **more: Any) -> Event:
    whom = normalise("email", f"p{number}@example.com")
    return Event(kind, at, whom, "link", mailing="Autumn", **more)


def test_nothing_yet(signed_in: Client) -> None:
    markup = page(signed_in)
    assert "Nothing has been sent yet." in markup
    assert "No address has been heard of yet." in markup
    assert "refresh" not in markup


def test_a_broadcast_from_planning_to_what_came_back(
    signed_in: Client, broadcast: Broadcast
) -> None:
    markup = page(signed_in)
    seen = part(markup, "sending")
    assert "Autumn Sending Started Not yet Ended Not yet Scheduled 12 Skipped 2 Sent 0" in seen
    assert "16 % done." in seen
    assert "Waiting: 10" in seen
    assert "Skipped, by reason Reason Messages Complained 1 Opted out 1" in seen
    assert "no worker is running" in markup
    assert REFRESH in markup
    assert REFRESH not in page(signed_in, "/?refresh=off")

    broadcast.send("sent", "sent", "sent", "sent", "bounced", "failed", "deferred", "deferred")
    seen = part(page(signed_in), "sending")
    assert "Sending Started 21 Sep 2026, 14:13:22 UTC Ended Not yet" in seen
    assert "Scheduled 12 Skipped 2 Sent 7 " in seen
    assert "On hold, to be tried again: 2" in seen
    assert "Waiting: 2" in seen
    assert "66 % done." in seen

    broadcast.send("sent", "sent", "sent", "sent")
    at = broadcast.now
    record(
        [
            told("delivered", 0, at),
            told("opened", 0, at, key="o1"),
            told("opened", 0, at, key="o2"),
            told("clicked", 1, at),
            told("list_unsubscribed", 2, at),
            told("complained", 3, at),
        ],
        at,
    )
    markup = page(signed_in)
    seen = part(markup, "sending")
    assert "Autumn Completed Started 21 Sep 2026, 14:13:22 UTC" in seen
    assert "Ended 21 Sep 2026, 14:13:23 UTC Scheduled 12 Skipped 2 Sent 9 " in seen
    assert "100 % done." in seen
    assert "Delivered 4 Opened 1 Clicked 1 Unsubscribed 1 Complained 1" in seen
    assert "Sent, nothing heard yet 4 Not delivered 1 Hard bounce 1" in seen
    assert "Not sent 1 Failed 1" in seen
    assert "Opens 2 Clicks 1 Unsubscribes 1 Complaints 1" in seen
    assert "refresh" not in markup
    widths = re.findall(r'<rect class="(\w+)" x="([\d.]+)" width="([\d.]+)" height="1"', markup)
    assert [(name, round(float(width) * 12 / 1000)) for name, _, width in widths] == [
        ("delivered", 4),
        ("in_flight", 4),
        ("not_delivered", 1),
        ("not_sent", 1),
        ("skipped", 2),
    ]


def test_a_mailing_is_planning_until_all_are_planned(
    signed_in: Client, broadcast: Broadcast
) -> None:
    Broadcast.of("Winter", NOW, planned=False)
    seen = part(page(signed_in), "sending")
    assert seen.index("Winter Planning") < seen.index("Autumn Sending"), "the newest comes first"


def test_what_an_operator_or_the_brake_did_is_shown_with_why(
    signed_in: Client, broadcast: Broadcast
) -> None:
    course.set_course("Autumn", Course.PAUSED, "bob", "the <b>price</b> is wrong", NOW)
    markup = page(signed_in)
    seen = part(markup, "sending")
    assert "Autumn Paused 21 Sep 2026, 14:13:20 UTC , bob : the <b>price</b> is wrong" in seen
    assert "refresh" not in markup, "there is nothing to watch"
    course.set_course("Autumn", Course.RUNNING, "bob", "right", NOW)
    brakes.hold({Lot.objects.get().pk: "15 of the last 20 bounced hard"}, NOW)
    seen = part(page(signed_in), "sending")
    assert "Autumn Held by the brake The brake holds what is left" in seen
    assert "15 of the last 20 bounced hard" in seen
    course.set_course("Autumn", Course.STOPPED, "bob", "enough", NOW)
    while course.end(NOW):
        pass
    seen = part(page(signed_in), "sending")
    assert "Autumn Stopped 21 Sep 2026, 14:13:20 UTC , bob : enough" in seen
    assert "Not sent 10 Stopped by hand 10" in seen
    assert "The brake" not in seen


def test_what_starts_some_day_is_shown_and_not_watched(signed_in: Client) -> None:
    text = "Hello\n{{ unsubscribe_url }}\n{{ postal_address }}\n"
    starts_at = NOW + 4_000_000_000 * SECOND
    contents.create(Draft(name="Someday", subject="News", text=text, starts_at=starts_at), NOW)
    markup = page(signed_in)
    assert "Someday Scheduled Starts" in part(markup, "sending")
    assert "refresh" not in markup
    assert "no worker is running" in markup


def test_a_worker_that_runs_is_seen(signed_in: Client, broadcast: Broadcast) -> None:
    lifeline = liveness.Lifeline(NOW)
    try:
        if connection.vendor == "sqlite":  # elsewhere this session's own lock does not count
            assert "no worker is running" not in page(signed_in)
            assert "1 worker is running." in page(signed_in)
    finally:
        lifeline.let_go()
    assert "0 workers are running." in page(signed_in)


def test_imported_history_is_a_mailing_too(signed_in: Client) -> None:
    record([told("sent", 1, NOW), told("sent", 2, NOW)], NOW)
    seen = part(page(signed_in), "sending")
    assert "Autumn Completed" in seen
    assert "Scheduled 2 Skipped 0 Sent 2" in seen


def test_the_newest_ten_are_shown(signed_in: Client) -> None:
    Mailing.objects.bulk_create(Mailing(name=f"mailing {n}") for n in range(12))
    seen = part(page(signed_in), "sending")
    assert re.findall(r"mailing (\d+) Completed", seen) == [str(n) for n in range(11, 1, -1)]
    assert "These are the newest 10." in seen


def test_standings_by_family_status_and_channel(signed_in: Client, broadcast: Broadcast) -> None:
    phone = normalise("sms", "+34600111222")
    record([Event("opted_in", NOW, phone, "form"), Event("blocked", NOW, phone, "operator")], NOW)
    broadcast.send("bounced", "sent")
    markup = page(signed_in)
    seen = part(markup, "standings")
    assert "13 addresses in all." in seen
    assert "Good 9 69.2 %" in seen
    assert "Bad 2 15.4 %" in seen
    assert "Ugly 2 15.4 %" in seen
    assert "Status Email SMS Opted out 1 0 Blocked 0 1 All 1 1" in seen
    assert "Complained 1 0 Hard bounced 1 0 All 2 0" in seen
    assert "An operator blocked this address." in seen
    assert sum(row.count for row in StatusTally.objects.all()) == 13


def test_a_hostile_name_is_only_shown(signed_in: Client) -> None:
    hostile = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>{{ 7 }}{% now %}\u202e"
    Mailing.objects.create(name=hostile)
    Kept.objects.create(
        received_at=NOW, kind="mail", envelope="{}", content=b"", outcome=NOT_UNDERSTOOD,
        note="<b onclick=x>",
    )  # fmt: skip
    markup = page(signed_in)
    assert "<script" not in markup
    assert "<img" not in markup
    assert "<b " not in markup
    assert f"<bdi>{html.escape(hostile)}</bdi>" in markup


def test_what_could_not_be_used_is_counted_and_shown(
    signed_in: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    Kept.objects.bulk_create(
        Kept(
            received_at=NOW + n * SECOND,
            kind="mail",
            envelope='{"from":"someone@example.net","to":[]}',
            content=b"",
            outcome=UNDERSTOOD if n == 6 else NOT_UNDERSTOOD,
            note=f"note {n}",
        )
        for n in range(8)
    )
    Spooled.objects.create(kind="mail", received_at=NOW, envelope="{}", content=b"")
    record([told("opened", 1, NOW, key="same"), told("clicked", 1, NOW, key="same")], NOW)
    markup = page(signed_in)
    seen = part(markup, "unread")
    assert "Not understood 7 Events refused 1 Heard, not yet read 1" in seen
    assert re.findall(r"Mail: note (\d)", seen) == ["7", "5", "4", "3", "2"]
    assert "21 Sep 2026, 14:13:27 UTC Mail: note 7" in seen
    assert "clicked : the same key was heard before with other content" in seen
    assert "@example" not in seen, "nobody is named"

    monkeypatch.setattr(unread, "MOST", 3)
    assert "Not understood more than 3 Events refused 1" in part(page(signed_in), "unread")


def test_times_are_in_the_operators_zone() -> None:
    with timezone.override("Europe/Madrid"):
        assert shown.moment(NOW) == (
            '<time datetime="2026-09-21T16:13:20+02:00">21 Sep 2026, 16:13:20 CEST</time>'
        )


@pytest.mark.parametrize(
    ("how", "value", "language", "written"),
    [
        (shown.number, 1234567, "en", "1,234,567"),
        (shown.number, 1234567, "de", "1.234.567"),
        (shown.percent, 0, "en", "0 %"),
        (shown.percent, 100, "en", "100 %"),
        (shown.percent, 0.01, "en", "< 0.1 %"),
        (shown.percent, 99.99, "de", "> 99,9 %"),
        (shown.percent, 12.36, "de", "12,4 %"),
    ],
)
def test_numbers_are_written_as_the_language_does(
    how: Callable[[float], str], value: float, language: str, written: str
) -> None:
    with translation.override(language):
        assert how(value) == written


def test_no_page_counts_what_a_tally_knows(signed_in: Client) -> None:
    """Ten mailings and years of standings take as many queries as none."""
    with CaptureQueriesContext(connection) as few:
        page(signed_in)
    mailings = Mailing.objects.bulk_create(Mailing(name=f"mailing {n}") for n in range(10))
    MailingTally.objects.bulk_create(
        MailingTally(mailing=mailing, name=name, count=500_000)
        for mailing in mailings
        for name in ("delivered", "opened", "skipped:opted_out")
    )
    StatusTally.objects.bulk_create(
        StatusTally(day=day, channel="email", status=status, count=500)
        for day in range(1000)
        for status in ("opted_in", "confirmed")
    )
    with CaptureQueriesContext(connection) as many:
        seen = text(page(signed_in))
    assert "1,000,000 addresses in all." in seen
    assert seen.count("Scheduled 1,500,000 Skipped 500,000 Sent 1,000,000") == 10
    # With mailings there are their tallies to ask for.
    assert len(many) <= len(few) + 1
    asked = " ".join(query["sql"] for query in many)
    assert "ledger_delivery" not in asked
    assert "ledger_address" not in asked
    assert "ledger_event" not in asked
