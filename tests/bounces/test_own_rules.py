"""A user's own rules: what they outrank, what is refused, and what else was in the running."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from goodstanding.bounces import BadRules, Other, read, read_reply, rules_version, use_rules

GONE = """
[[rule]]
name = "exchange-team"
category = "mailbox_moved"
example = "550 5.1.1 user unknown: ask the exchange team"
counter = "550 5.1.1 user unknown"
patterns = ["ask the [a-z]+ team"]
"""
SAID = "550 5.1.1 user unknown: ask the exchange team"


@pytest.fixture(autouse=True)
def without_own_rules() -> Iterator[None]:
    yield
    use_rules(None)


def own(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "ours.toml"
    file.write_text(text)
    return file


def rule(**keys: object) -> str:
    """A rule that is in order, but for ``keys``."""
    good: dict[str, object] = {
        "name": "ours",
        "category": "policy_refused",
        "example": "550 not on a sunday",
        "counter": "550 user unknown",
        "patterns": ["on a sunday"],
    }
    good.update(keys)
    return "[[rule]]\n" + "".join(
        f"{key} = {json.dumps(value, ensure_ascii=False)}\n"
        for key, value in good.items()
        if value is not None
    )


def test_a_rule_of_ones_own_outranks_the_packages_of_its_priority(tmp_path: Path) -> None:
    assert read_reply(SAID).rule == "user-unknown"
    use_rules(own(tmp_path, GONE))
    report = read_reply(SAID)
    assert (report.rule, report.category) == ("exchange-team", "mailbox_moved")
    assert report.words == "ask the exchange team"
    assert read_reply("550 5.1.1 user unknown").rule == "user-unknown"
    use_rules(None)
    assert read_reply(SAID).rule == "user-unknown"


def test_it_outranks_them_with_fewer_words_too(tmp_path: Path) -> None:
    use_rules(own(tmp_path, rule(patterns=["team"], example=SAID)))
    assert read_reply(SAID).rule == "ours"


def test_it_does_not_outrank_what_the_package_is_surer_of(tmp_path: Path) -> None:
    text = rule(patterns=["over quota"], example="550 over quota", counter="550 user unknown")
    use_rules(own(tmp_path, text))
    assert read_reply("550 mailbox is over quota").rule == "mailbox-full"
    use_rules(own(tmp_path, text + "priority = 90\n"))
    assert read_reply("550 mailbox is over quota").rule == "ours"


def test_a_rule_of_a_name_that_is_there_takes_its_place(tmp_path: Path) -> None:
    text = rule(name="user-unknown", category="undetermined", patterns=["nobody of that kind"])
    use_rules(own(tmp_path, text))
    assert read_reply("550 nobody of that kind").category == "undetermined"
    assert read_reply("550 user unknown").category != "mailbox_unknown"


def test_mails_are_read_by_them_too(tmp_path: Path) -> None:
    mail = (
        "From: MAILER-DAEMON@example.net\nSubject: Undelivered Mail Returned to Sender\n"
        "Content-Type: multipart/report; report-type=delivery-status; boundary=b\n\n"
        "--b\nContent-Type: message/delivery-status\n\nReporting-MTA: dns; mx.example.net\n\n"
        f"Final-Recipient: rfc822; ann@example.com\nAction: failed\nStatus: 5.1.1\n"
        f"Diagnostic-Code: smtp; {SAID}\n\n--b--\n"
    ).encode()
    use_rules(own(tmp_path, GONE))
    [report] = read(mail, explain=True)
    assert (report.recipient, report.rule) == ("ann@example.com", "exchange-team")
    assert report.others[0].rule == "user-unknown"


def test_the_version_is_that_of_both(tmp_path: Path) -> None:
    package = rules_version()
    use_rules(own(tmp_path, GONE))
    mine = rules_version()
    use_rules(own(tmp_path, GONE + "priority = 51\n"))
    assert len({package, mine, rules_version()}) == 3
    use_rules(own(tmp_path, GONE))
    assert rules_version() == mine
    use_rules(None)
    assert rules_version() == package


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ("no [[rule]]",)),
        ("rule = 1", ("no [[rule]]",)),
        ("[[", ("is not TOML",)),
        ("\ufeff\x00", ("is not TOML",)),
        ("a = " + "[" * 5000, ("is not TOML",)),
        ("[[provider]]\nname = 'x'", ("'provider'", "[[rule]]")),
        ("rule = [1]", ("rule number 1", "expected `object`")),
        (rule(category="gone"), ("rule ours", "no such category: gone")),
        (rule(priority="high"), ("rule ours", "priority", "expected `int`")),
        (rule(counter=None), ("rule ours", "`counter`")),
        (rule(patern=["x"]), ("rule ours", "`patern`")),
        (rule(patterns=[]), ("rule ours", "name a provider")),
        (rule(provider=["nobody.example"]), ("rule ours", "no such provider: nobody.example")),
        (rule() + rule(), ("rule ours", "a second")),
        (rule(patterns=["on a ("]), ("rule ours", "on a (", "parenthesis")),
        (rule(patterns=["(?=x)y"]), ("rule ours", "(?=x)y", "supported")),
        (rule(patterns=["(?x)a#)\n"]), ("rule ours", "supported")),
        (rule(patterns=["\\Q)\\E"]), ("rule ours", "supported")),
        (rule(patterns=["(x)\\1"]), ("rule ours", "Back-references")),
        (rule(patterns=["Sunday"]), ("rule ours", "Sunday", "capital")),
        (rule(patterns=["x*"]), ("rule ours", "x*", "empty")),
        (rule(patterns=[""]), ("rule ours", "empty")),
        (rule(patterns=["caf[éè]"]), ("rule ours", "[éè]", "ASCII")),
        (rule(patterns=["(?:a{80}b){80}"]), ("rule ours", "written out")),
        (rule(patterns=["((((a{9}){9}){9}){9}){9}"]), ("rule ours", "written out")),
        (rule(patterns=["(?:a{80}[[:alpha:])]){80}"]), ("rule ours", "written out")),
        (rule(patterns=["x" * 3000]), ("rule ours", "longer than")),
    ],
)
def test_what_is_wrong_is_refused_in_a_sentence(
    tmp_path: Path, text: str, words: tuple[str, ...]
) -> None:
    use_rules(own(tmp_path, GONE))
    before = rules_version()
    file = own(tmp_path, text)
    with pytest.raises(BadRules) as refused:
        use_rules(file)
    sentence = refused.value.wrong[0]
    assert str(file) in sentence
    assert sentence.endswith(".")
    assert all(word in sentence for word in words), sentence
    assert rules_version() == before


def test_every_fault_is_told(tmp_path: Path) -> None:
    with pytest.raises(BadRules) as refused:
        use_rules(own(tmp_path, rule(name="a", patterns=["("]) + rule(name="b", patterns=["X"])))
    assert ["rule a" in refused.value.wrong[0], "rule b" in refused.value.wrong[1]] == [True, True]
    with pytest.raises(BadRules, match="cannot be read"):
        use_rules(tmp_path / "nowhere.toml")


@pytest.mark.parametrize(
    "text",
    [
        "#" * 2_000_000,
        "".join(rule(name=f"r{n}") for n in range(600)),
        "".join(rule(name=f"r{n}", patterns=["(?:ab|cd){2000}"]) for n in range(100)),
    ],
    ids=["long", "many", "wide"],
)
def test_a_huge_file_is_refused_at_once(tmp_path: Path, text: str) -> None:
    file = own(tmp_path, text)
    begun = time.process_time()
    with pytest.raises(BadRules):
        use_rules(file)
    assert time.process_time() - begun < 2


def test_no_pattern_makes_reading_slow(tmp_path: Path) -> None:
    hostile = ["(?:a+)+!\\b", "(?:(?:a+)+ ?)+\\?", "x[^!]*a[^!]*a[^!]*a[^!]*!"]
    use_rules(own(tmp_path, rule(patterns=hostile, example="550 a!b", priority=99)))
    read_reply("550 a!b")
    begun = time.process_time()
    for _ in range(20):
        report = read_reply(f"550 x{'a' * 4000}!b {'aa ' * 1000}?")
        assert report.rule == "ours"
    assert report.words == f"{'a' * 299}!"
    assert time.process_time() - begun < 2


def test_what_else_was_in_the_running() -> None:
    report = read_reply(
        "554 5.7.1 try again later: access denied, user unknown in table", explain=True
    )
    assert report.rule == "user-unknown"
    assert report.others == (
        Other("try-again-later", "server_error", "try again later"),
        Other("access-denied", "policy_refused", "access denied"),
        Other("status 5.7.1", "policy_refused", None),
    )
    assert read_reply("554 5.7.1 access denied: user unknown").others == ()


def test_of_much_else_the_best_five_are_told() -> None:
    text = (
        "554 5.7.1 access denied by policy, spam, relaying denied, mailbox full, no such domain,"
        " virus found, greylisted, SPF failed, message too large, try again later"
    )
    others = read_reply(text, explain=True).others
    assert len(others) == 5
    assert "virus" not in {other.category for other in others}
    assert others[0].category == "greylisted"
