"""`goodstanding whatif`: what it prints, and with which exit status."""

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Run

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")


def heard(*names: str) -> str:
    """Events by which each of them opted in, and the first mailing to them bounced for good."""
    said = []
    for name in names:
        address = f"{name}@example.com"
        of = {"address": address, "source": "import"}
        said += [
            of | {"kind": "opted_in", "occurred_at": "2026-02-16T00:00:00Z"},
            of
            | {"kind": "bounced", "occurred_at": "2026-02-17T00:00:00Z", "mailing": "spring"}
            | {"detail": {"category": "mailbox_unknown"}},
        ]
    said.append(
        {"kind": "opted_in", "occurred_at": "2026-02-16T00:00:00Z", "address": "sue@example.com"}
    )
    return "".join(json.dumps(event) + "\n" for event in said)


@pytest.fixture
def tolerant(tmp_path: Path) -> str:
    file = tmp_path / "tolerant.toml"
    file.write_text('base = "default"\n[hard]\nmailings = 3\n')
    return str(file)


def test_a_line_for_each_change_and_the_totals_last(run: Run, tolerant: str) -> None:
    run("import-events", "-", said=heard("ann", "bob"))
    done = run("whatif", "--policy", tolerant, "--json", "--at", "2026-03-01T00:00:00Z")
    assert (done.status, done.err) == (0, "")
    assert [json.dumps(item) for item in done.items] == [
        json.dumps(item)
        for item in (
            {
                "channel": "email",
                "from": "hard_bounced",
                "to": "opted_in",
                "count": 2,
                "examples": ["ann@example.com", "bob@example.com"],
            },
            {
                "channel": "email",
                "purpose": "broadcast",
                "from": "hard_bounced",
                "to": None,
                "count": 2,
            },
            {
                "policy": "tolerant",
                "against": "default",
                "at": "2026-03-01T00:00:00Z",
                "addresses": 3,
                "changed": 2,
                "unchanged": 1,
                "newly_refused": 0,
                "newly_allowed": 2,
            },
        )
    ]
    early = run("whatif", "--policy", tolerant, "--json", "--at", "2026-02-16T12:00:00Z")
    assert [item["changed"] for item in early.items] == [0]
    one = run("whatif", "--policy", tolerant, "--json", "--examples", "1").items[0]
    assert (one["count"], one["examples"]) == (2, ["ann@example.com"])
    [totals] = run("whatif", "--policy", tolerant, "--json", "--channel", "sms").items
    assert totals["addresses"] == 0
    assert run("check", "ann@example.com").status == 1


def test_tables_that_a_person_can_read(run: Run, tolerant: str) -> None:
    run("import-events", "-", said=heard(*(f"person-{number}" for number in range(1_234))))
    done = run("whatif", "--policy", tolerant, "--at", "2026-03-01T00:00:00Z")
    assert (done.status, done.err) == (0, "")
    assert "\x1b" not in done.out
    lines = [" ".join(line.split()) for line in done.out.splitlines()]
    assert "Under default Under tolerant Family Channel Addresses" in lines
    assert "hard_bounced opted_in ugly to good email 1,234" in lines
    [examples] = [line for line in lines if line.startswith("hard_bounced to opted_in:")]
    assert examples.count("@example.com") == 3
    assert "newly allowed hard_bounced allowed email 1,234" in lines
    assert lines[-2:] == [
        (
            "Under tolerant 1,234 of 1,235 addresses would stand otherwise than under default"
            " on 2026-03-01 00:00 UTC, and 1 as they do."
        ),
        "A broadcast would no longer go to 0 of them, and newly to 1,234.",
    ]


def test_it_is_compared_with_the_policy_of_the_settings(process: Run, tolerant: str) -> None:
    process("import-events", "-", said=heard("ann"), GOODSTANDING_POLICY=tolerant)
    done = process("whatif", "--policy", "default", "--json", GOODSTANDING_POLICY=tolerant)
    assert (done.status, done.err) == (0, "")
    [change, gate, totals] = done.items
    assert (change["from"], change["to"]) == ("opted_in", "hard_bounced")
    assert (gate["from"], gate["to"]) == (None, "hard_bounced")
    assert (totals["policy"], totals["against"]) == ("default", "tolerant")
    assert totals["newly_refused"] == 1


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ('base = "default"\n[hard]\nmailings = "many"\n', "expected `int`, got `str`"),
        ('base = "default"\n[hardly]\nmailings = 1\n', "line 2: hardly: there is no such setting"),
        ('base = "nonsense"\n', "no policy 'nonsense'"),
        ("a policy", "Expected '='"),
    ],
)
def test_a_bad_policy(run: Run, tmp_path: Path, written: str, says: str) -> None:
    file = tmp_path / "bad.toml"
    file.write_text(written)
    done = run("whatif", "--policy", str(file))
    assert (done.status, done.out) == (2, "")
    assert says in done.err
    assert len(done.err.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--policy", "nonsense"], "no policy 'nonsense'"),
        ([], "Missing option '--policy'"),
        (["--policy", "default", "--channel", "fax"], "'fax' is not a channel: email, sms."),
        (["--policy", "default", "--examples", "-1"], "'--examples'"),
        (["--policy", "default", "--at", "yesterday"], "RFC 3339 with an offset"),
    ],
)
def test_bad_usage(run: Run, arguments: list[str], says: str) -> None:
    done = run("whatif", *arguments, "--json")
    assert (done.status, done.out) == (2, "")
    assert says in done.err
