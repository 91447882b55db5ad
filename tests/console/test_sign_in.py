import re

import pytest
from django.test import Client
from django.urls import reverse

from goodstanding.console.urls import urlpatterns
from tests.console.conftest import NAME, PASSWORD

pytestmark = pytest.mark.django_db(databases=["default", "spool"])

WITHOUT = {"sign-in", "sign-out"}
GOOD = {"username": NAME, "password": PASSWORD}


@pytest.mark.parametrize("name", [url.name for url in urlpatterns if url.name not in WITHOUT])
def test_every_page_needs_signing_in(name: str, client: Client) -> None:
    address = reverse(f"console:{name}")
    answer = client.get(address)
    assert (answer.status_code, answer["Location"]) == (302, f"/sign-in/?next={address}")


def test_signing_in_leads_to_the_page_that_was_asked_for(operator: None, client: Client) -> None:
    answer = client.post("/sign-in/?next=/%3Frefresh=off", {**GOOD, "next": "/?refresh=off"})
    assert (answer.status_code, answer["Location"]) == (302, "/?refresh=off")
    cookie = client.cookies["sessionid"]
    assert cookie["httponly"]
    assert cookie["samesite"] == "Lax"
    assert client.get("/").status_code == 200
    assert client.get("/sign-in/")["Location"] == "/"


def test_signing_in_leads_nowhere_else(operator: None, client: Client) -> None:
    answer = client.post("/sign-in/", {**GOOD, "next": "https://elsewhere.example/"})
    assert answer["Location"] == "/"


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"password": "guess"}, "do not belong together"),
        ({"username": "nobody"}, "do not belong together"),
        ({"username": "a\0b"}, "Null characters are not allowed"),
        ({"password": ""}, "This field is required"),
    ],
)
def test_a_wrong_password_is_said_and_lets_nobody_in(
    operator: None, client: Client, wrong: dict[str, str], said: str
) -> None:
    answer = client.post("/sign-in/", {**GOOD, **wrong})
    assert answer.status_code == 200
    assert said in answer.content.decode()
    assert "sessionid" not in client.cookies
    assert client.get("/").status_code == 302


def test_forms_from_elsewhere_are_refused(operator: None) -> None:
    client = Client(enforce_csrf_checks=True)
    assert client.post("/sign-in/", GOOD).status_code == 403
    page = client.get("/sign-in/").content.decode()
    [token] = re.findall(r'name="csrfmiddlewaretoken" value="(\w+)"', page)
    assert client.post("/sign-in/", {**GOOD, "csrfmiddlewaretoken": token}).status_code == 302
    assert client.post("/sign-out/").status_code == 403
    assert client.get("/").status_code == 200


def test_only_a_post_signs_out(signed_in: Client) -> None:
    assert signed_in.get("/sign-out/").status_code == 405
    assert signed_in.get("/").status_code == 200
    assert signed_in.post("/sign-out/")["Location"] == "/sign-in/"
    assert signed_in.get("/").status_code == 302


@pytest.mark.parametrize("address", ["/", "/sign-in/"])
def test_pages_run_no_script_and_are_kept_by_nobody(operator: None, address: str) -> None:
    client = Client()
    if address == "/":
        client.login(**GOOD)
    answer = client.get(address)
    policy = answer["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; style-src 'nonce-")
    assert "unsafe" not in policy
    assert "script" not in policy
    [nonce] = re.findall("'nonce-([^']+)'", policy)
    page = answer.content.decode()
    assert f'<style nonce="{nonce}">' in page
    assert "<script" not in page
    assert 'style="' not in page, "the policy lets no style of a single element work"
    assert "no-store" in answer["Cache-Control"]
    again = client.get(address)
    assert nonce not in again["Content-Security-Policy"]
