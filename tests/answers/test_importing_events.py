import json
import random
from typing import Any

import pytest

from goodstanding.ledger import importing, models
from goodstanding.ledger.importing import LONGEST, Imported, Problem, import_events
from tests.answers.heard import NOW

pytestmark = pytest.mark.django_db(transaction=True)

AT = "2026-03-01T09:30:00Z"


def line(**said: Any) -> bytes:
    whole = {"kind": "sent", "occurred_at": AT, "address": "ann@example.com", **said}
    return json.dumps({name: value for name, value in whole.items() if value is not ...}).encode()


def import_lines(*lines: bytes, **how: Any) -> Imported:
    return import_events([each + b"\n" for each in lines], NOW, **how)


def stored(name: str = "ann") -> models.Address:
    return models.Address.objects.get(value=f"{name}@example.com")


def detail_of(kind: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(models.Event.objects.get(kind=kind).detail)
    return found


def test_what_was_said_is_read_and_folded() -> None:
    done = import_lines(
        line(kind="opted_in", occurred_at="2026-02-01T00:00:00+01:00"),
        line(mailing="spring"),
        line(kind="bounced", mailing="spring", detail={"text": "550 5.1.1 no such user here"}),
    )
    assert (done.read, done.stored, done.repeated, done.bad) == (3, 3, 0, 0)
    assert stored().status == "hard_bounced"
    assert stored().category == "mailbox_unknown"
    detail = detail_of("bounced")
    assert detail["text"] == "550 5.1.1 no such user here"
    assert (detail["category"], detail["disposition"]) == ("mailbox_unknown", "hard")
    assert (detail["code"], detail["status"]) == ("550", "5.1.1")
    assert detail["rule"]
    assert detail["rules"]
    opted_in = models.Event.objects.get(kind="opted_in")
    assert opted_in.occurred_at == 1_769_900_400_000_000  # 2026-01-31T23:00:00Z
    assert opted_in.source == "import"


@pytest.mark.parametrize(
    ("detail", "category", "response"),
    [
        ({"text": "450 4.2.2 mailbox full"}, "mailbox_full", "soft_bounced"),
        ({"category": "reputation"}, "reputation", "block_bounced"),
        ({"category": "provider_suppressed"}, "provider_suppressed", "skipped:refused_by_provider"),
        ({}, "undetermined", "soft_bounced"),
        ({"category": None}, "undetermined", "soft_bounced"),
        ({"text": "250 2.0.0 fine"}, "undetermined", "soft_bounced"),
    ],
)
def test_a_bounce_becomes_what_it_says(
    detail: dict[str, Any], category: str, response: str
) -> None:
    assert import_lines(line(kind="bounced", mailing="spring", detail=detail)).bad == 0
    delivery = models.Delivery.objects.get()
    assert (delivery.category, delivery.response) == (category, response)


def test_a_deferral_is_no_bounce_whatever_it_says() -> None:
    import_lines(line(kind="deferred", mailing="spring", detail={"text": "550 5.1.1 no such user"}))
    assert models.Delivery.objects.get().deferred_category == "mailbox_unknown"
    assert stored().status == "non_marketable"


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (b"{", "not JSON"),
        (b"[]", "Expected `object`"),
        (b"\xff\xfe", "not JSON"),
        (b'{"kind": "sent"}', "missing required field"),
        (line(kind="exploded"), "'exploded' is not a kind of event"),
        (line(kind="erased"), "'erased' cannot be imported"),
        (line(occurred_at="2026-03-01T09:30:00"), "RFC 3339 with an offset"),
        (line(occurred_at="yesterday"), "RFC 3339 with an offset"),
        (line(occurred_at=1_772_357_400), "RFC 3339 with an offset"),
        (line(occurred_at="1969-12-31T23:59:59Z"), "before 1970"),
        (line(address="ann@"), "'ann@' is not an email address"),
        (line(address="12", channel="sms"), "is not a phone number"),
        (line(channel="fax"), "$.channel"),
        (line(purpose="spam"), "'spam' is not a purpose"),
        (line(source="gossip"), "'gossip' is not a source"),
        (line(mailings="spring"), "unknown field `mailings`"),
        (line(key="k" * 201), "Key is longer than 200"),
        (line(mailing="m\0"), "not plain text"),
        (line(detail=[]), "$.detail"),
        (line(detail={"mailing": "spring"}), "may not hold mailing"),
        (line(detail={"reports": "no"}), "neither true nor false"),
        (line(kind="imported", detail={"permission": "yes"}), "neither true nor false"),
        (line(kind="confirmed", detail={"method": "pigeon"}), "'pigeon' is not a method"),
        (line(kind="skipped", detail={"reason": "mood"}), "'mood' is not a reason to skip"),
        (line(kind="stopped", detail={"reason": "x" * 101}), "at most 100"),
        (line(kind="bounced", detail={"category": "sad"}), "'sad' is not a category"),
        (line(kind="bounced", detail={"category": ["sad"]}), "is not a category"),
        (line(kind="bounced", detail={"category": "not_mobile"}), "one of sms alone"),
        (line(kind="bounced", detail={"text": 550}), "text is not a text"),
        (
            line(kind="bounced", detail={"category": "reputation", "disposition": "hard"}),
            "reputation is block",
        ),
        (line(detail={"x": "y" * LONGEST}), "longer than 1,000,000 bytes"),
        (b'{"x":' + b"[" * 90_000, "nested deeper than 32"),
    ],
)
def test_a_bad_line_is_named_and_the_good_ones_are_kept(bad: bytes, why: str) -> None:
    told: list[Problem] = []
    done = import_lines(
        line(address="bob@example.com"),
        b"",
        bad,
        line(address="eve@example.com"),
        on_problem=told.append,
    )
    assert (done.read, done.stored, done.bad) == (3, 2, 1)
    [problem] = done.problems
    assert told == [problem]
    assert problem.line == 3
    assert why in problem.why
    assert len(problem.why) < 400
    assert problem.why.endswith(".")


def test_texts_may_hold_as_many_brackets_as_they_like() -> None:
    assert import_lines(line(kind="replied", detail={"text": '\\"' + "[{" * 100})).bad == 0


def test_a_reply_by_sms_that_is_a_keyword_is_the_persons_word() -> None:
    number = {"channel": "sms", "address": "+447700900123", "mailing": "spring"}
    lines = [
        line(**number),
        line(kind="replied", key="r1", detail={"text": "Stop, please."}, **number),
        line(kind="replied", key="r2", detail={"text": "See you"}, **number),
        line(kind="replied", key="r3", detail={"text": "STOP"}, mailing="spring"),
    ]
    done = import_lines(*lines)
    assert (done.read, done.stored, done.words, done.bad) == (4, 4, 1, 0)
    assert models.Address.objects.get(channel="sms").status == "opted_out"
    assert models.Delivery.objects.get(address__channel="sms").response == "unsubscribed"
    assert stored().status == "non_marketable"
    assert models.Delivery.objects.get(address__channel="email").response == "replied"
    again = import_lines(*lines)
    assert (again.stored, again.repeated, again.words, again.bad) == (0, 4, 0, 0)


def test_a_reply_that_is_refused_is_named_by_its_line_and_says_nothing() -> None:
    number = {"channel": "sms", "address": "+447700900123", "kind": "replied", "key": "r1"}
    done = import_lines(
        line(**number, detail={"text": "Hello"}), line(**number, detail={"text": "START"})
    )
    assert [problem.line for problem in done.problems] == [2]
    assert (done.stored, done.words, done.bad) == (1, 0, 1)
    strict = import_lines(
        line(**number | {"key": "r2"}, detail={"text": "STOP"}), b"{", strict=True
    )
    assert (strict.stored, strict.words) == (0, 0)
    assert models.Address.objects.get().status == "non_marketable"


def test_an_export_of_what_was_recorded_can_be_read_in_again() -> None:
    number = {"channel": "sms", "address": "+447700900123", "source": "webhook:sms"}
    reply = line(kind="replied", key="r1", detail={"text": "STOP"}, **number)
    import_lines(reply)
    word = models.Event.objects.get(kind="opted_out")
    as_stored = line(kind="opted_out", key=word.key, detail=json.loads(word.detail), **number)
    for lines in ([reply, as_stored], [as_stored, reply]):
        done = import_lines(*lines)
        assert (done.stored, done.repeated, done.words, done.bad) == (0, 2, 0, 0)


def test_hearing_a_file_twice_changes_nothing() -> None:
    lines = [line(key=f"k{n}", kind="opened", mailing="spring") for n in range(5)]
    import_lines(*lines)
    before = models.Delivery.objects.values().get()
    done = import_lines(*lines)
    assert (done.stored, done.repeated, done.bad) == (0, 5, 0)
    assert models.Delivery.objects.values().get() == before


def test_the_same_key_with_other_content_is_refused_and_named() -> None:
    done = import_lines(
        line(key="a", kind="opted_in"),
        line(key="a", kind="opted_out"),
        line(key="b", kind="opted_in", occurred_at="2090-01-01T00:00:00Z"),
        line(key="b", kind="opted_out", occurred_at="2090-01-01T00:00:00Z"),
    )
    assert [problem.line for problem in done.problems] == [2, 4]
    assert "same key" in done.problems[0].why
    assert (done.stored, done.bad) == (2, 2)


@pytest.mark.parametrize(
    "bad", [b"{", line(key="a" * 201), line(key="k1", kind="opened", mailing="other")]
)
def test_strict_keeps_nothing_where_one_line_is_bad(
    bad: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "BATCH", 2)
    lines = [line(key=f"k{n}", kind="sent", mailing="spring") for n in range(5)]
    done = import_lines(*lines, bad, *lines, b"}", strict=True)
    assert (done.read, done.stored, done.repeated, done.bad) == (12, 0, 0, 2)
    assert [problem.line for problem in done.problems] == [6, 12]
    assert not models.Event.objects.exists()
    assert not models.Address.objects.exists()
    done = import_lines(*lines, strict=True)
    assert (done.stored, done.bad) == (5, 0)


def test_lines_end_as_they_may(tmp_path: Any) -> None:
    file = tmp_path / "events.jsonl"
    file.write_bytes(
        b"\xef\xbb\xbf" + line(key="1") + b"\r\n\r\n" + line(key="2") + b"\n \n" + line(key="3")
    )
    done_bytes: list[int] = []
    with file.open("rb") as opened:
        done = import_events(importing.bounded_lines(opened), NOW, progress=done_bytes.append)
    assert (done.read, done.stored, done.bad) == (3, 3, 0)
    assert sum(done_bytes) == file.stat().st_size


def test_a_line_without_end_is_not_held_in_memory(tmp_path: Any) -> None:
    file = tmp_path / "events.jsonl"
    with file.open("wb") as opened:
        for _ in range(30):
            opened.write(b"x" * LONGEST)
        opened.write(b"\n" + line())
    with file.open("rb") as opened:
        assert max(len(each) for each in importing.bounded_lines(opened)) <= LONGEST + 2
    with file.open("rb") as opened:
        done = import_events(importing.bounded_lines(opened), NOW)
    assert [problem.line for problem in done.problems] == [1]
    assert done.stored == 1


def test_only_so_many_problems_are_kept_but_all_are_counted() -> None:
    done = import_lines(*[b"{"] * (importing.KEPT + 5))
    assert done.bad == importing.KEPT + 5
    assert len(done.problems) == importing.KEPT


def test_no_bytes_whatever_break_an_import() -> None:
    chance = random.Random(7)
    whole = line(
        mailing="spring",
        kind="bounced",
        topic="news",
        detail={"text": "550 5.1.1 no such user", "x": [1, 2.5, None, {"y": True}]},
    )
    lines = []
    for _ in range(1_500):
        broken = bytearray(whole)
        for _ in range(chance.randint(1, 2)):
            broken[chance.randrange(len(broken))] = chance.choice(
                b'"\\{}[]:,0129Ee.-\x00\xff abcdefghijklmnopqrstuvwxyz'
            )
        lines.append(bytes(broken))
    done = import_lines(*lines)
    assert done.read == len(lines)
    assert done.stored + done.repeated + done.bad == len(lines)
    assert done.bad > 100
    assert done.stored > 100
