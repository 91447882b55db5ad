"""Domains: whose mailboxes they are, by what is known of them when a mailing is planned."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import msgspec
import pytest
from django.conf import settings
from django.db import connection
from django.db.backends.utils import CursorWrapper

from goodstanding.mailings import domains
from goodstanding.mailings.domains import KNOWN_FOR, TRY_AGAIN
from goodstanding.mailings.lanes import Lane
from goodstanding.mailings.models import Lot
from tests.mailings.audience import NOW, contact, opted_in, planned, told

pytestmark = pytest.mark.django_db(transaction=True)


def people_at(domain: str, count: int) -> None:
    names = [f"p{n}@{domain}" for n in range(count)]
    opted_in(*names)
    for name in names:
        contact(name)


def lots(mailing: int) -> dict[str, int]:
    """How many a mailing has for each provider."""
    rows = Lot.objects.filter(mailing_id=mailing).values_list("provider__name", "planned")
    return dict(rows.order_by("provider__name"))


def test_known_ones_by_name_large_ones_by_domain_and_small_ones_together() -> None:
    people_at("gmail.com", 2)
    people_at("googlemail.com", 1)
    people_at("large.example", 20)
    people_at("small.example", 19)
    people_at("tiny.example", 1)
    assert lots(planned()) == {"gmail.com": 3, "large.example": 20, "others": 20}


def test_one_that_grew_gets_a_lot_of_its_own() -> None:
    people_at("growing.example", 5)
    assert lots(planned()) == {"others": 5}
    names = [f"q{n}@growing.example" for n in range(15)]
    opted_in(*names)
    for name in names:
        contact(name)
    assert lots(planned("later")) == {"growing.example": 20}


def test_what_another_planner_came_to_know_meanwhile_stands(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if connection.vendor == "sqlite":
        pytest.skip("one planner at a time")
    people_at("large.example", 3)
    people_at("small.example", 3)
    know = domains.know

    def late(cursor: CursorWrapper) -> None:
        """Know only when another has known: the others by now, and a provider of its own."""
        with ThreadPoolExecutor(1) as others:
            others.submit(meanwhile).result()
        know(cursor)

    def meanwhile() -> None:
        with connection.cursor() as cursor:
            assert domains.of(cursor, "small.example") == domains.OTHERS
            cursor.execute("INSERT INTO mailings_provider (name) VALUES ('large.example')")
            cursor.execute(
                "INSERT INTO mailings_domain (domain, provider_id)"
                " SELECT name, id FROM mailings_provider WHERE name = 'large.example'"
            )
        connection.close()

    monkeypatch.setattr(domains, "know", late)
    assert lots(planned()) == {"large.example": 3, "others": 3}


def test_domains_whose_mail_one_host_takes_are_one_provider() -> None:
    for number in range(10):
        people_at(f"shop{number}.example", 3)
    people_at("bureau.example", 2)
    assert lots(planned()) == {"others": 32}
    found = {f"shop{number}.example": ("mx1.hoster.example",) for number in range(10)}
    domains.looked_up({**found, "bureau.example": ("aspmx.l.google.com",)}, NOW)
    assert lots(planned("later")) == {"gmail.com": 2, "hoster.example": 30}


def test_a_domain_is_asked_for_once_a_week_and_sooner_where_nobody_answered() -> None:
    people_at("gmail.com", 1)
    people_at("one.example", 1)
    people_at("two.example", 1)
    planned()
    assert domains.to_look_up(9, NOW) == ["one.example", "two.example"], "gmail.com is known"
    assert domains.to_look_up(1, NOW) == ["one.example"]
    domains.looked_up({"one.example": ("mx.hoster.example",), "two.example": None}, NOW)
    assert domains.to_look_up(9, NOW + TRY_AGAIN - 1) == []
    assert domains.to_look_up(9, NOW + TRY_AGAIN) == ["two.example"]
    assert domains.to_look_up(9, NOW + KNOWN_FOR) == ["two.example", "one.example"]


@pytest.mark.parametrize(
    ("policy", "by"), [("default", {"main": 1, "fast": 2}), ("emma", {"main": 3})]
)
def test_confirmed_addresses_go_by_the_better_lane_where_the_policy_has_it(
    monkeypatch: pytest.MonkeyPatch, policy: str, by: dict[str, int]
) -> None:
    lanes = {"main": Lane(confirmed="fast"), "fast": Lane()}
    options = msgspec.structs.replace(settings.OPTIONS, lanes=lanes, policy=policy)
    monkeypatch.setattr(settings, "OPTIONS", options)
    people_at("one.example", 3)
    told("confirmed", "p1@one.example", detail={"method": "standard"})
    told("confirmed", "p2@one.example", detail={"method": "custom"})
    made = planned()
    rows = Lot.objects.filter(mailing_id=made).values_list("lane", "planned")
    assert dict(rows) == by
