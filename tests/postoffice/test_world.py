"""Who has which temper, and who lives in the pretend internet."""

from __future__ import annotations

import csv
import random
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from urllib.error import HTTPError

import pytest

from goodstanding.postoffice.office import ACTS
from goodstanding.postoffice.people import Contact, make_contacts
from goodstanding.postoffice.world import World, mailbox
from tests.postoffice.neighbours import PostOffice


def mailed(rows: list[Contact]) -> set[str]:
    """Return the mailboxes that a broadcast may go to."""
    return {
        mailbox(row.email)
        for row in rows
        if row.consent == "opted_in" and row.email.count("@") == 1 and " " not in row.email
    }


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
def test_each_temper_occurs_at_least_twenty_times_among_two_thousand_contacts(seed: int) -> None:
    world = World(seed)
    counts = Counter(world.temper_of(box) for box in mailed(make_contacts(2000, seed)))
    drawn = {name for name, temper in world.tempers.items() if temper.weight > 0}
    assert len(drawn) >= 20
    assert {name: counts[name] for name in drawn if counts[name] < 20} == {}


def test_a_temper_depends_on_seed_and_address_alone() -> None:
    boxes = sorted(mailed(make_contacts(500, 1)))
    first, other = World(5), World(6)
    one = {box: first.temper_of(box) for box in boxes}
    shuffled = random.Random(1).sample(boxes, len(boxes))
    world = World(5)
    assert {box: world.temper_of(box.upper()) for box in shuffled} == one
    assert {box: other.temper_of(box) for box in boxes} != one
    assert world.temper_of("a@bücher-laden.example") == world.temper_of(
        "A@xn--bcher-laden-thb.example"
    )


def test_a_name_can_force_a_temper() -> None:
    world = World(1)
    for name in world.tempers:
        assert world.temper_of(f"Temper.{name}.x.y@pear.example") == name
    assert world.temper_of("temper.jolly.x@pear.example") in world.tempers


def test_the_tables_hang_together() -> None:
    world = World(1)
    for name, temper in world.tempers.items():
        assert not temper.act or temper.act in ACTS, name
        assert temper.says in {"", *world.tempers}, name
        assert temper.agents or temper.act not in {"open", "click", "scan", "use_page"}, name
    for provider in world.providers:
        assert set(provider.weights) | set(provider.replies) <= set(world.tempers)
        for name in world.tempers:
            if world.tempers[name].replies or world.tempers[name].says:
                reply = world.words(provider, name, "ann@pear.example", "192.0.2.1")
                assert reply.isascii()
                assert max(len(line) for line in reply.split("\n")) <= 510


def test_the_control_door_knows_and_changes_tempers(office: PostOffice) -> None:
    world = World(7)
    for box in ("ann@pear.example", "ben@bigmail.example", "cai@nowhere.example"):
        assert office.ask(f"/temper?address={box}")["temper"] == world.temper_of(box)
    try:
        office.ask("/temper", {"provider": "tegami.example", "weights": {"mailbox_full": 1}})
        asked = office.ask("/temper?address=x@tegami.example")
        assert asked["temper"] == "mailbox_full"
    finally:
        weights = {name: temper.weight for name, temper in world.tempers.items()}
        office.ask("/temper", {"provider": "tegami.example", "weights": weights})
    wrongs: list[object] = [[], {"provider": "x", "weights": {}}]
    for wrong in [*wrongs, {"provider": "pear.example", "weights": {}}]:
        with pytest.raises(HTTPError, match="400"):
            office.ask("/temper", wrong)


def test_contacts_repeat_with_the_seed_and_hold_every_kind(tmp_path: Path) -> None:
    file = tmp_path / "contacts.csv"
    command = [sys.executable, "-m", "goodstanding.postoffice.people", "--contacts", "2000"]
    subprocess.run([*command, "--seed", "3", "--out", str(file)], check=True)
    with file.open(encoding="utf-8", newline="") as lines:
        rows = [Contact(**row) for row in csv.DictReader(lines)]
    assert rows == make_contacts(2000, 3)
    assert rows != make_contacts(2000, 4)
    repeated = len(rows) - len(set(rows))
    emails = [row.email.lower() for row in set(rows) if row.email]
    shared = len(emails) - len(set(emails))
    good = re.compile(r"[\w+]+(\.[\w+]+)*@(\w[\w-]*\.)+example")
    odd = [row for row in rows if row.email and not good.fullmatch(row.email.lower())]
    kinds = {
        "repeated": repeated,
        "shared": shared,
        "malformed": len(odd),
        "empty": sum(not row.email for row in rows),
        "opted out": sum(row.consent == "opted_out" for row in rows),
        "never opted in": sum(row.consent == "" for row in rows),
    }
    assert {kind: count for kind, count in kinds.items() if not 15 <= count <= 80} == {}
    assert any(row.email.isupper() for row in rows)
    assert any(not row.email.isascii() for row in rows)
    assert {row.consent for row in rows} == {"opted_in", "opted_out", ""}
    assert len({row.email.rpartition("@")[2].lower() for row in rows}) >= 12
