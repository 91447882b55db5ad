"""Contents: what must not go out is refused when it is made, with all that is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from django.conf import settings

from goodstanding.contacts.importing import import_contacts
from goodstanding.contacts.models import Contact
from goodstanding.ledger.models import Link, Mailing
from goodstanding.mailings import contents
from goodstanding.mailings.contents import Draft, RefusedMailing
from goodstanding.mailings.lanes import Lane
from goodstanding.mailings.mail.stamps import Stamp
from goodstanding.mailings.models import Content, Sequence
from tests.mailings.audience import BODY, NOW, at_once, contact, mailing, people
from tests.mailings.compose_parts import strictly, text_of

pytestmark = pytest.mark.django_db(transaction=True)

HTML = (
    '<p>{{ postal_address }} <a href="https://shop.example/two">2</a>'
    '<a href="https://shop.example/one?x=1&amp;y=2">1</a>'
    '<a href="https://shop.example/two">2 again</a> <a href="{{ unsubscribe_url }}">leave</a></p>'
)


def problems(**said: Any) -> tuple[str, ...]:
    with pytest.raises(RefusedMailing) as refused:
        mailing(**said)
    assert Content.objects.count() == Mailing.objects.count()
    return refused.value.problems


def test_everything_that_is_wrong_is_said_at_once() -> None:
    mailing("taken")
    draft = Draft(
        name="taken",
        subject="Hi {{ nmae }}",
        html="<p>{{ postal_address }} {% fi %}</p>",
        text="no way to leave",
        from_address="nobody",
        lane="fast",
        list_name="nowhere",
        control_share=0.95,
    )
    with pytest.raises(RefusedMailing) as refused:
        contents.create(draft, NOW)
    said = "\n".join(refused.value.problems)
    for part in (
        "a mailing 'taken' already",
        "no lane 'fast'",
        "no list 'nowhere'",
        "between 0 and 0.9",
        "subject, line 1: there is no merge field 'nmae'",
        "html, line 1: the tag 'fi'",
        "text: an unsubscribe link is missing",
        "text: the postal address is missing",
        "from address: 'nobody' is not an email address",
    ):
        assert part in said
    assert Mailing.objects.count() == 1


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        ({"name": ""}, "1 to 200 printable"),
        ({"name": "   "}, "1 to 200 printable"),
        ({"name": "x" * 201}, "1 to 200 printable"),
        ({"name": "a\0b"}, "1 to 200 printable"),
        ({"name": "\udcff"}, "1 to 200 printable"),
        ({"topic": ""}, "a topic has"),
        ({"topic": "x" * 101}, "a topic has"),
        ({"purpose": "spam"}, "not 'spam'"),
        ({"purpose": "one_off"}, "has an author"),
        ({"author": "Ann"}, "has an author"),
        ({"purpose": "one_off", "author": "A\n"}, "printable"),
        ({"purpose": "transactional", "control_share": 0.1}, "only broadcast"),
        ({"expires_at": 5, "starts_at": 6}, "expires after it starts"),
        ({"lane": "other"}, "no lane 'other'"),
        ({"control_share": float("nan")}, "between 0 and 0.9"),
        ({"control_share": -0.1}, "between 0 and 0.9"),
        ({"list_name": "a\0b"}, "no list"),
        ({"from_name": "x" * 201}, "at most 200"),
        ({"from_name": "\udcff"}, "from name: it is not UTF-8"),
        ({"reply_to": "nobody"}, "reply-to"),
    ],
)
def test_refused(said: dict[str, Any], problem: str) -> None:
    assert problem in "\n".join(problems(**said))


def test_a_broadcast_without_a_postal_address_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    options = msgspec.structs.replace(settings.OPTIONS, postal_address="")
    monkeypatch.setattr(settings, "OPTIONS", options)
    assert problems() == ("a broadcast must say where the sender is: no postal address is set",)


def test_where_lanes_are_set_only_those_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    options = msgspec.structs.replace(settings.OPTIONS, lanes={"bulk": Lane()})
    monkeypatch.setattr(settings, "OPTIONS", options)
    assert problems(lane="main") == ("there is no lane 'main'",)
    mailing(lane="bulk")


def test_links_are_kept_in_the_order_in_which_they_stand() -> None:
    made = mailing(html=HTML)
    assert list(Link.objects.order_by("number").values_list("mailing", "number", "url")) == [
        (made, 0, "https://shop.example/two"),
        (made, 1, "https://shop.example/one?x=1&y=2"),
    ]


def test_every_column_of_an_import_is_a_merge_field(tmp_path: Path) -> None:
    file = tmp_path / "people.csv"
    file.write_text(
        "email,first name,Favourite colour,city,email2\n"
        "ann@example.com,Ann,deep blue,Rome,\nbob@example.com,Bob,,,\n"
    )
    import_contacts(file, permission="signed", now=NOW)
    body = BODY + "{{ Favourite_colour|default:'none' }} in {{ city|default:'no city' }}\n"
    made = contents.create(Draft(name="news", subject="Hi {{ first_name }}", text=body), NOW)
    content, compiled = contents.compiled(made)
    assert content.lane == "main"
    everybody = list(Contact.objects.values_list("pk", flat=True))
    merged = {
        fields["first_name"]: fields for fields in contents.contact_fields(everybody).values()
    }
    for name, line in (("Ann", "deep blue in Rome"), ("Bob", "none in no city")):
        raw = compiled.render(merged[name], "x@example.com", Stamp(5, NOW, made))
        message = strictly(raw)
        assert message["Subject"] == f"Hi {name}"
        assert line in text_of(message, "plain")


def test_what_was_checked_stays_checked_whoever_is_imported_later() -> None:
    contact("ann", fields={"city": "Rome"})
    made = contents.create(
        Draft(name="news", subject="Hi", text=BODY + "{{ city }} {% if city %}!{% endif %}"), NOW
    )
    people(3)
    Contact.objects.update(fields="{}")
    _, compiled = contents.compiled(made)
    stamp = Stamp(5, NOW, made)
    message = strictly(compiled.render({"city": "Rome"}, "ann@example.com", stamp))
    assert "Rome !" in text_of(message, "plain")


def test_a_content_that_must_not_go_out_any_more_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = mailing()
    whole = settings.OPTIONS
    for less in (
        {"postal_address": ""},
        {"lanes": {"bulk": Lane()}},
    ):
        monkeypatch.setattr(settings, "OPTIONS", msgspec.structs.replace(whole, **less))
        with pytest.raises(RefusedMailing):
            contents.compiled(made)


def test_a_nul_in_a_body_is_left_out() -> None:
    made = mailing(html=HTML.replace("2 again", "2 a\0gain"))
    assert "\0" not in (Content.objects.get(pk=made).html or "")


def test_of_two_made_at_once_under_one_name_one_is_refused() -> None:
    results = at_once(*(lambda: mailing("same") for _ in range(4)))
    refused = [r for r in results if isinstance(r, RefusedMailing)]
    assert len(refused) == 3, results
    assert {r.problems for r in refused} == {("there is a mailing 'same' already",)}
    assert Content.objects.count() == 1


def test_no_mailing_is_called_as_a_sequence_is() -> None:
    """Commands take the name of either."""
    Sequence.objects.create(name="welcome", starts_on="opted_in", created_at=NOW)
    assert "a sequence 'welcome' already" in "\n".join(problems(name="welcome"))
