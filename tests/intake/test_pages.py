"""What recipients see and press, and what programs fetch before them."""

import re
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
from django.conf import settings
from django.db import OperationalError
from django.http import HttpResponse
from django.test import Client

from goodstanding.core.tokens import Signer
from goodstanding.intake import digest, pages, spool
from goodstanding.intake.models import Spooled
from goodstanding.ledger import models as ledger
from tests.intake.post import SendIt, Sent

pytestmark = [
    pytest.mark.django_db(databases=["default", "spool"]),
    pytest.mark.urls("tests.intake.site"),
]

ONE_CLICK = {"List-Unsubscribe": "One-Click"}
FIREFOX = "Mozilla/5.0 (X11; Ubuntu; Linux x86_64; rv:139.0) Gecko/20100101 Firefox/139.0"


@pytest.fixture
def web() -> Client:
    return Client(enforce_csrf_checks=True, headers={"user-agent": FIREFOX})


def heard() -> None:
    digest.digest(time.time_ns() // 1000)


def text(response: Any) -> str:
    return str(response.content.decode())


def is_guarded(response: HttpResponse) -> bool:
    return (
        "no-store" in response["Cache-Control"]
        and response["Referrer-Policy"] == "no-referrer"
        and "noindex" in response["X-Robots-Tag"]
        and not response.cookies
    )


@pytest.mark.parametrize("slash", ["", "/"])
def test_the_button_of_the_mail_program(web: Client, ann: Sent, slash: str) -> None:
    url = f"/unsubscribe/{ann.token('unsubscribe')}{slash}"
    response = web.post(url, ONE_CLICK)
    assert response.status_code == 200
    assert is_guarded(response)
    assert Spooled.objects.count() == 1  # before anybody has understood it
    heard()
    ((kind, detail),) = ann.events()
    assert (kind, detail) == ("list_unsubscribed", {"user_agent": FIREFOX})
    assert ann.status() == "list_unsubscribed"
    assert ann.row().response == "unsubscribed"


def test_the_button_sends_urlencoded_or_multipart_in_any_case(web: Client, ann: Sent) -> None:
    url = f"/unsubscribe/{ann.token('unsubscribe').upper()}/"
    form = "application/x-www-form-urlencoded"
    assert web.post(url, "List-Unsubscribe=One-Click", content_type=form).status_code == 200
    assert Spooled.objects.count() == 1


def test_pressing_twice_leaves_all_as_it_is(web: Client, ann: Sent) -> None:
    url = f"/unsubscribe/{ann.token('unsubscribe')}/"
    for _ in range(2):
        assert web.post(url, ONE_CLICK).status_code == 200
        heard()
    assert (ann.status(), ann.row().response) == ("list_unsubscribed", "unsubscribed")
    assert ledger.RefusedEvent.objects.count() == 0


@pytest.mark.parametrize("method", ["get", "head"])
@pytest.mark.parametrize("page", ["unsubscribe", "preferences"])
def test_looking_changes_nothing(web: Client, ann: Sent, page: str, method: str) -> None:
    response = getattr(web, method)(f"/{page}/{ann.token(page)}/?act=opt_out&List-Unsubscribe=1")
    assert response.status_code == 200
    assert is_guarded(response)
    assert Spooled.objects.count() == 0


@pytest.mark.parametrize("body", [{}, {"act": "dance"}, {"List-Unsubscribe": "no"}])
@pytest.mark.parametrize("page", ["unsubscribe", "preferences"])
def test_a_post_that_says_nothing_changes_nothing(
    web: Client, ann: Sent, page: str, body: dict[str, str]
) -> None:
    assert web.post(f"/{page}/{ann.token(page)}/", body).status_code == 400
    assert Spooled.objects.count() == 0


def test_a_body_that_is_no_form(web: Client, ann: Sent) -> None:
    url = f"/unsubscribe/{ann.token('unsubscribe')}/"
    broken = web.post(url, b"\xff\0", content_type="multipart/form-data; boundary=")
    huge = web.post(url, "a=" + "x" * 3_000_000, content_type="application/x-www-form-urlencoded")
    assert {broken.status_code, huge.status_code} == {400}
    assert Spooled.objects.count() == 0


def test_the_unsubscribe_page_has_a_button_that_works(web: Client, ann: Sent) -> None:
    url = f"/unsubscribe/{ann.token('unsubscribe')}/"
    page = text(web.get(url))
    assert 'name="act" value="opt_out"' in page
    assert f"/preferences/{ann.token('preferences')}" in page
    assert "You are unsubscribed" in text(web.post(url, {"act": "opt_out"}))
    heard()
    assert ann.kinds() == ["opted_out"]
    assert ann.status() == "opted_out"
    assert ledger.Event.objects.get(kind="opted_out").source == "form"


def test_the_preferences_page_says_whose_it_is_and_what_one_can_do(
    web: Client, send: SendIt
) -> None:
    sent = send("cornelia@example.net", topic="Spring offers")
    response = web.get(f"/preferences/{sent.token('preferences')}/")
    page = text(response)
    assert "The Shop" in page
    assert "Spring offers" in page
    assert "c…@example.net" in page
    assert "cornelia" not in page
    assert re.findall('name="act" value="([a-z_]+)"', page) == [
        "opt_out_of_topic",
        "opt_out",
        "spam",
    ]
    assert '<html lang="en"' in page
    assert "<script" not in page
    nonce = re.search('style nonce="([^"]+)"', page)
    assert nonce
    assert f"'nonce-{nonce[1]}'" in response["Content-Security-Policy"]
    assert "default-src 'none'" in response["Content-Security-Policy"]


@pytest.mark.parametrize(
    ("pressed", "reason", "kind", "status", "shown"),
    [
        ("opt_out", "", "opted_out", "opted_out", "You are unsubscribed"),
        (
            "opt_out",
            " Too\0 many. ",
            "opted_out_with_feedback",
            "opted_out_with_feedback",
            "You are unsubscribed",
        ),
        ("spam", "", "spam_reported", "spam_reported", "you never asked"),
        # There is no topic: whoever presses that wants to leave.
        ("opt_out_of_topic", "", "opted_out", "opted_out", "You are unsubscribed"),
    ],
)
def test_the_footer_page_does_what_its_buttons_say(
    web: Client, ann: Sent, pressed: str, reason: str, kind: str, status: str, shown: str
) -> None:
    url = f"/preferences/{ann.token('preferences')}/"
    response = web.post(url, {"act": pressed, "reason": reason})
    assert response.status_code == 200
    assert shown in text(response)
    heard()
    ((said, detail),) = ann.events()
    assert said == kind
    assert detail.get("reason") == ("Too  many." if reason else None)
    assert ann.status() == status


def test_leaving_one_topic(web: Client, send: SendIt) -> None:
    sent = send(topic="Spring offers")
    url = f"/preferences/{sent.token('preferences')}/"
    response = web.post(url, {"act": "opt_out_of_topic", "reason": ""})
    assert "no more mail about “Spring offers”" in text(response)
    heard()
    assert ledger.Event.objects.get(kind="opted_out").topic == "Spring offers"
    assert sent.status() == "opted_in"
    assert ledger.TopicStanding.objects.get().topic == "Spring offers"


@pytest.mark.parametrize("way", ["one click", "page"])
def test_the_button_leaves_only_the_topic_where_the_policy_has_it(
    web: Client, send: SendIt, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    policy = tmp_path / "topics.toml"
    policy.write_text(
        'base = "default"\n[leaving]\nfooter_link = "topic"\nheader_button = "topic"\n'
    )
    options = msgspec.structs.replace(settings.OPTIONS, policy=str(policy))
    monkeypatch.setattr(settings, "OPTIONS", options)
    sent = send(topic="Spring offers")
    url = f"/unsubscribe/{sent.token('unsubscribe')}/"
    page = text(web.get(url))
    assert 'value="opt_out_of_topic"' in page
    web.post(url, ONE_CLICK if way == "one click" else {"act": "opt_out_of_topic"})
    heard()
    assert sent.status() == "opted_in"
    assert ledger.TopicStanding.objects.get().topic == "Spring offers"
    choices = text(web.get(f"/preferences/{sent.token('preferences')}/"))
    assert 'class="main" type="submit" name="act" value="opt_out_of_topic"' in choices


def test_what_a_person_writes_is_shown_to_nobody_as_markup(web: Client, send: SendIt) -> None:
    sent = send(topic="<script>alert(1)</script>")
    page = text(web.get(f"/preferences/{sent.token('preferences')}/"))
    assert "<script" not in page
    assert "&lt;script&gt;" in page


def test_the_pixel(web: Client, ann: Sent) -> None:
    response = web.get(f"/open/{ann.token('open')}.gif")
    assert response.status_code == 200
    assert response["Content-Type"] == "image/gif"
    assert response.content[:6] in (b"GIF87a", b"GIF89a")
    assert is_guarded(response)
    heard()
    assert ann.kinds() == ["opened"]


def test_the_pixel_as_a_proxy_fetches_it(ann: Sent) -> None:
    Client(headers={"user-agent": "Mozilla/5.0"}).get(f"/open/{ann.token('open')}.gif")
    prefetch = {"user-agent": FIREFOX, "sec-purpose": "prefetch"}
    Client(headers=prefetch).get(f"/open/{ann.token('open')}.gif")
    heard()
    assert ann.kinds() == ["machine_opened", "machine_opened"]


def test_a_link_leads_on(web: Client, ann: Sent) -> None:
    where = "https://shop.example/spring?a=1&b=%20"
    ledger.Link.objects.create(mailing=ann.row().mailing, number=3, url=where)
    response = web.get(f"/link/{ann.token('click', 3)}?url=https://evil.example/")
    assert (response.status_code, response["Location"]) == (302, where)
    assert is_guarded(response)
    assert web.head(f"/link/{ann.token('click', 3)}").status_code == 302
    heard()
    assert ann.kinds() == ["clicked", "machine_clicked"]
    assert (ann.row().clicks, ann.row().response) == (1, "clicked")


def test_a_link_leads_nowhere_else(web: Client, ann: Sent) -> None:
    ledger.Link.objects.create(mailing=ann.row().mailing, number=3, url="javascript:alert(1)")
    for number in (3, 4):
        response = web.get(f"/link/{ann.token('click', number)}")
        assert (response.status_code, response.get("Location")) == (404, None)
    assert Spooled.objects.count() == 0


def _bad_tokens(sent: Sent, purpose: str, *more: int) -> list[str]:
    token = sent.token(purpose, *more)
    others = Signer([b"another key altogether"]).sign(purpose, sent.delivery, *more)
    return [
        ("b" if token[0] == "a" else "a") + token[1:],
        token[:-1],
        token + "a",
        others,
        sent.token("return-path", *more),
        sent.token(purpose, 1, 2, 3),
        "x",
        "ä",
        "a" * 199,
    ]


@pytest.mark.parametrize("page", ["unsubscribe", "preferences", "link"])
def test_a_token_that_is_not_ours_gets_a_plain_answer(web: Client, ann: Sent, page: str) -> None:
    purpose = ("click", 3) if page == "link" else (page,)
    for token in _bad_tokens(ann, *purpose):  # type: ignore[arg-type]
        methods = [web.get, web.head] if page == "link" else [web.get, web.head, web.post]
        for method in methods:
            response = method(f"/{page}/{token}/", ONE_CLICK)
            assert response.status_code == 404
            assert is_guarded(response)
        assert "This link is not one of ours" in text(web.get(f"/{page}/{token}/"))
    assert Spooled.objects.count() == 0


def test_the_pixel_is_a_picture_whatever_the_token(web: Client, ann: Sent) -> None:
    for token in _bad_tokens(ann, "open"):
        response = web.get(f"/open/{token}.gif")
        assert (response.status_code, response.content) == (200, pages.GIF)
    assert Spooled.objects.count() == 0


def test_while_the_spool_fails_nobody_is_told_it_is_done(
    web: Client, ann: Sent, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger.Link.objects.create(mailing=ann.row().mailing, number=1, url="https://shop.example/")
    monkeypatch.setattr(spool, "_try", lambda _: OperationalError("disk full"))
    one_click = web.post(f"/unsubscribe/{ann.token('unsubscribe')}/", ONE_CLICK)
    assert one_click.status_code == 503
    assert one_click["Retry-After"]
    page = web.post(f"/preferences/{ann.token('preferences')}/", {"act": "opt_out"})
    assert page.status_code == 503
    assert "Please try again" in text(page)
    assert web.get(f"/link/{ann.token('click', 1)}").status_code == 302
    pixel = web.get(f"/open/{ann.token('open')}.gif")
    assert (pixel.status_code, pixel.content) == (503, pages.GIF)


def test_one_can_leave_while_the_ledger_is_away(
    web: Client, ann: Sent, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object) -> None:
        raise OperationalError

    url = f"/preferences/{ann.token('preferences')}/"
    with monkeypatch.context() as patched:
        patched.setattr(pages.lookup, "deliveries", away)
        assert 'value="opt_out"' in text(web.get(url))
        assert web.post(url, {"act": "opt_out"}).status_code == 200
    heard()
    assert ann.status() == "opted_out"


def test_other_methods_are_refused(web: Client, ann: Sent) -> None:
    assert web.post(f"/open/{ann.token('open')}.gif").status_code == 405
    assert web.post(f"/link/{ann.token('click', 1)}").status_code == 405
    assert web.delete(f"/unsubscribe/{ann.token('unsubscribe')}/").status_code == 405
    assert Spooled.objects.count() == 0
