"""`goodstanding reread`: what it prints, what it changes, and with which exit status."""

import json
from typing import Any

import pytest

from tests.cli.conftest import Run

pytestmark = pytest.mark.django_db(transaction=True, databases="__all__")

BLOCKED = "554 5.7.1 Service unavailable; client host [192.0.2.1] blocked using a block list"
UNKNOWN = "550 5.1.1 user unknown"
NOTHING = "There is nothing to read again: no failure was read by other rules than today's.\n"
WHY = ("--why", "better rules", "--by", "bob")


def life(name: str, text: str, category: str, when: str = "2026-02-17T00:00:00Z") -> str:
    """Someone who opted in, and whose mail came back; an earlier version of the rules read how."""
    of = {"address": f"{name}@example.com", "source": "import"}
    detail = {"text": text, "category": category, "rules": "older", "rule": "guess"}
    said: list[dict[str, Any]] = [
        of | {"kind": "opted_in", "occurred_at": "2026-02-16T00:00:00Z"},
        of | {"kind": "bounced", "occurred_at": when, "mailing": "spring", "detail": detail},
    ]
    return "".join(json.dumps(event) + "\n" for event in said)


@pytest.fixture
def heard(run: Run) -> None:
    said = [life(f"ann-{number}", BLOCKED, "mailbox_unknown") for number in range(3)]
    said.append(life("dee", UNKNOWN, "mailbox_full"))
    said.append(life("gus", BLOCKED, "mailbox_disabled", "2026-02-20T00:00:00Z"))
    assert run("import-events", "-", "--strict", said="".join(said)).status == 0


@pytest.mark.usefixtures("heard")
def test_a_line_for_each_change_and_the_totals_last(run: Run) -> None:
    done = run("reread", "--json", "--show", "2")
    assert (done.status, done.err) == (0, "")
    hard, block = {"disposition": "hard"}, {"disposition": "block"}
    reputation = {"category": "reputation"} | block
    changed = {"channel": "email", "from": "hard_bounced", "to": "opted_in", "count": 4}
    first = ["ann-0@example.com", "ann-1@example.com"]
    assert done.items == [
        {"from": {"category": "mailbox_unknown"} | hard, "to": reputation, "failures": 3},
        {"from": {"category": "mailbox_disabled"} | hard, "to": reputation, "failures": 1},
        {
            "from": {"category": "mailbox_full", "disposition": "soft"},
            "to": {"category": "mailbox_unknown"} | hard,
            "failures": 1,
        },
        changed | {"examples": first},
        {
            "channel": "email",
            "from": "soft_bouncing",
            "to": "hard_bounced",
            "count": 1,
            "examples": ["dee@example.com"],
        },
        {
            "reread": None,
            "failures": 5,
            "otherwise": 5,
            "addresses": 5,
            "returned": {"count": 4, "examples": first},
            "stopped": {"count": 1, "examples": ["dee@example.com"]},
        },
    ]
    assert run("check", "ann-0@example.com").status == 1, "nothing was changed"
    assert run("annulments", "--json").items == []
    made = run("reread", "--apply", *WHY, "--json", "--show", "2")
    assert (made.status, made.err) == (0, "")
    number = made.items[-1]["reread"]
    assert made.items[:-1] == done.items[:-1]
    assert made.items[-1] == done.items[-1] | {"reread": number}
    assert run("check", "ann-0@example.com").status == 0
    assert run("check", "dee@example.com").status == 1
    assert run("rebuild", "--verify").status == 0
    [again] = run("reread", "--apply", *WHY, "--json").items
    assert (again["reread"], again["otherwise"]) == (None, 0)
    [listed] = run("annulments", "--json").items
    assert (listed["annulment"], listed["by"], listed["why"]) == (number, "bob", "better rules")
    assert (listed["rereads"], listed["holds"], listed["from"]) == (5, True, None)
    assert run("annul", "--undo", str(number), "--why", "no").status == 0
    assert run("check", "ann-0@example.com").status == 1
    listed, undoing = run("annulments", "--json").items
    assert (listed["holds"], undoing["undoes"]) == (False, number)
    assert run("rebuild", "--verify").status == 0


@pytest.mark.usefixtures("heard")
def test_tables_and_sentences_that_a_person_can_read(run: Run) -> None:
    done = run("reread", "--show", "2")
    assert (done.status, done.err) == (0, "")
    assert "\x1b" not in done.out
    lines = [" ".join(line.split()) for line in done.out.splitlines()]
    assert "mailbox_unknown (hard) reputation (block) 3" in lines
    assert "hard_bounced opted_in email 4" in lines
    assert lines[-4:] == [
        "Would be back from the dead: 4 (ann-0@example.com, ann-1@example.com and 2 more)",
        "Would newly be stopped: 1 (dee@example.com)",
        "Failures read again: 5. Read otherwise: 5, of 5 addresses.",
        "Nothing was changed: `goodstanding reread --apply --why TEXT` does it.",
    ]
    made = run("reread", "--apply", *WHY, "--show", "0").out.splitlines()
    assert "Back from the dead: 4" in made
    number = made[-1].split()[3].rstrip(";")
    assert made[-1] == (
        f"It is reread {number}; `goodstanding annul --undo {number}` takes it back."
    )
    assert "reads 5 failures anew; holds" in run("annulments").out
    said = run("why", "ann-0@example.com").out
    assert f"reread {number} reads it as reputation (block)." in said
    assert f"[reputation] (reread {number}; at first mailbox_unknown)" in " ".join(said.split())
    assert run("reread").out == NOTHING


def test_what_reads_as_it_did_is_said(run: Run) -> None:
    assert run("reread").out == NOTHING
    run("import-events", "-", said=life("ann", UNKNOWN, "mailbox_unknown"))
    assert run("reread").out == "Failures read again: 1. All read as they did.\n"


@pytest.mark.usefixtures("heard")
@pytest.mark.parametrize(
    ("which", "many"),
    [
        (["--category", "mailbox_disabled"], 1),
        (["--rule", "guess"], 5),
        (["--rule", "another"], 0),
        (["--domain", "Example.com"], 5),
        (["--provider", "gmail.com"], 0),
        (["--from", "2026-02-18T00:00:00Z"], 1),
        (["--until", "2026-02-18T00:00:00Z"], 4),
    ],
)
def test_it_can_be_narrowed(run: Run, which: list[str], many: int) -> None:
    assert run("reread", *which, "--json").items[-1]["otherwise"] == many


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--apply"], "Say why"),
        (["--apply", "--why", " "], "A reason is needed"),
        (["--category", "lost"], "'lost' is not a category of bounce"),
        (["--from", "yesterday"], "RFC 3339"),
        (["--until", "2026-02-18"], "RFC 3339"),
        (
            ["--from", "2026-02-18T00:00:00Z", "--until", "2026-02-17T00:00:00Z"],
            "begins after it ends",
        ),
        (["--show", "-1"], "'--show'"),
        (["--show", "many"], "'--show'"),
        (["--rules", "mine.toml"], "--rules"),
    ],
)
def test_bad_usage(run: Run, arguments: list[str], says: str) -> None:
    done = run("reread", *arguments, "--json")
    assert (done.status, done.out) == (2, "")
    assert says in done.err
    assert len(done.err.splitlines()) == 1


def test_as_a_process_and_where_nothing_was_ever_heard(process: Run) -> None:
    done = process("reread")
    assert (done.status, done.err) == (0, "")
    assert done.out == NOTHING
    process("import-events", "-", said=life("ann", BLOCKED, "mailbox_unknown"))
    assert process("reread", "--apply", *WHY, "--json").items[-1]["returned"]["count"] == 1
    assert process("check", "ann@example.com").status == 0
