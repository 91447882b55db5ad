"""Addresses: one spelling for each, and a plain reason where there is none."""

from __future__ import annotations

import re
import time
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from goodstanding.core import addresses
from goodstanding.core.addresses import (
    Address,
    Channel,
    MalformedAddress,
    domain_of,
    is_region,
    normalise,
)

EMAILS = [
    ("jane@example.com", "jane@example.com"),
    ("Jane.Doe+News@Example.COM", "jane.doe+news@example.com"),
    ("j.a.n.e@example.com", "j.a.n.e@example.com"),
    ("o'hara@example.com", "o'hara@example.com"),
    ("jane--doe@example.com", "jane--doe@example.com"),
    ("1@2.example", "1@2.example"),
    ("jane@shop.test", "jane@shop.test"),
    ("POSTMASTER@example.com", "postmaster@example.com"),
    ("jane@bücher.example", "jane@xn--bcher-kva.example"),
    ("jane@BÜCHER.example", "jane@xn--bcher-kva.example"),
    ("jane@bu\u0308cher.example", "jane@xn--bcher-kva.example"),
    ("jane@XN--bcher-kva.example", "jane@xn--bcher-kva.example"),
    ("jane@faß.example", "jane@xn--fa-hia.example"),
    ("jane@例え。example", "jane@xn--r8jz45g.example"),
    ("JOS\u00c9@example.com", "jos\u00e9@example.com"),
    ("jose\u0301@example.com", "jos\u00e9@example.com"),
    ("JOSE\u0301@example.com", "jos\u00e9@example.com"),
    ("Ж@пример.example", "ж@xn--e1afmkfd.example"),
    ("a" * 242 + "@example.com", "a" * 242 + "@example.com"),
]

NO_EMAILS = [
    ("", "@-sign"),
    ("jane", "@-sign"),
    ("@example.com", "before the @-sign"),
    ("jane@", "after the @-sign"),
    ("jane@@example.com", "after the @-sign"),
    ("jane@doe@example.com", "after the @-sign"),
    ("jane@example", "period"),
    ("jane@test", "no dot"),
    ("jane@1.2.3.4", "top-level"),
    ("jane@[192.0.2.1]", "bracketed"),
    ("jane@example..com", "two periods"),
    ("jane@example.com.", "period"),
    (".jane@example.com", "period"),
    ("jane.@example.com", "period"),
    ("jane..doe@example.com", "two periods"),
    ("jane@-example.com", "hyphen"),
    ("jane@exa_mple.com", "'_'"),
    ("jane@mail.invalid", "special-use"),
    ("jane@ab--cd.example", "dashes"),
    ("jane@xn--zzzzzz.example", "IDNA"),
    ("Jane <jane@example.com>", "angle brackets"),
    ("<jane@example.com>", "angle brackets"),
    ('"jane doe"@example.com', "[Qq]uot"),
    (" jane@example.com", "white space"),
    ("jane@example.com\n", "white space"),
    ("jane doe@example.com", "SPACE"),
    ("jane\0@example.com", "U\\+0000"),
    ("mailto:jane@example.com", "':'"),
    ("jane@example.com,joe@example.com", "','"),
    ("jane\u200b@example.com", "ZERO WIDTH"),
    ("\u202ejane@example.com", "RIGHT-TO-LEFT"),
    ("jane\uff20example.com", "full-width"),
    ("jane\ud800@example.com", "character"),
    ("a" * 243 + "@example.com", "254"),
    ("\u0130" * 110 + "@example.com", "254 octets"),
    ("jane@" + "a" * 64 + ".example", "so many characters"),
]

NUMBERS = [
    ("+12025550123", None, "+12025550123"),
    ("+1 (202) 555-0123", None, "+12025550123"),
    ("202.555.0123", "US", "+12025550123"),
    ("07700 900123", "gb", "+447700900123"),
    ("00 44 7700 900123", "FR", "+447700900123"),
    ("\uff0b\uff14\uff14 7700 900123", None, "+447700900123"),
    ("+44 7700 900123", "US", "+447700900123"),
    ("+39 06 1234 5678", None, "+390612345678"),  # Italy keeps its zero
]

NO_NUMBERS = [
    ("", None, "digits"),
    ("jane", None, "digits"),
    ("jane@example.com", "US", "digits"),
    ("1-800-FLOWERS", "US", "digits"),
    ("tel:+12025550123", None, "digits"),
    ("call +12025550123", None, "digits"),
    ("+12025550123 ext. 5", None, "digits"),
    ("+12025550123\n", None, "white space"),
    ("202 555 0123", None, "plus sign and a country code"),
    ("+999 2025550123", None, "no country"),
    ("+1 202 555", None, "too short"),
    ("+1 555 0123", None, "area code"),
    ("+1 202 555 0123 4567", None, "too long"),
    ("12", "US", "too short"),
    ("1" * 40, "US", "too long"),
    ("+", None, "digits"),
    ("-----", None, "not a number"),
    ("202 555 0123", "XX", "region 'XX'"),
    ("202 555 0123", "", "region ''"),
    ("1" * 41, "US", "longer than 40"),
]


@pytest.mark.parametrize(("written", "value"), EMAILS)
def test_an_email_address_has_one_spelling(written: str, value: str) -> None:
    assert normalise("email", written) == Address("email", value)
    assert normalise("email", value).value == value


@pytest.mark.parametrize(("written", "reason"), NO_EMAILS)
def test_what_is_no_email_address_is_refused_for_a_reason(written: str, reason: str) -> None:
    assert_refused("email", written, None, reason)


@pytest.mark.parametrize(("written", "region", "value"), NUMBERS)
def test_a_number_has_one_spelling(written: str, region: str | None, value: str) -> None:
    assert normalise("sms", written, region) == Address("sms", value)
    assert normalise("sms", value).value == value


def test_a_region_is_a_country_that_has_numbers() -> None:
    assert [each for each in ("GB", "us", "De", "UK", "XX", "USA", "") if is_region(each)] == [
        *("GB", "us", "De")
    ]


@pytest.mark.parametrize(("written", "region", "reason"), NO_NUMBERS)
def test_what_is_no_number_is_refused_for_a_reason(
    written: str, region: str | None, reason: str
) -> None:
    assert_refused("sms", written, region, reason)


def assert_refused(channel: Channel, written: str, region: str | None, reason: str) -> None:
    with pytest.raises(MalformedAddress, match=reason) as refusal:
        normalise(channel, written, region)
    sentence = str(refusal.value)
    assert re.fullmatch(r".{10,250}\.", sentence)  # one line
    assert sentence.isprintable()


def test_a_channel_that_does_not_exist_is_no_fault_of_the_address() -> None:
    with pytest.raises(ValueError, match="channel 'fax'") as refusal:
        normalise("fax", "jane@example.com")  # type: ignore[arg-type]
    assert not isinstance(refusal.value, MalformedAddress)


def test_the_domain_of_an_email_address() -> None:
    assert domain_of(normalise("email", "Jane@Bücher.Example")) == "xn--bcher-kva.example"
    with pytest.raises(ValueError, match="no domain"):
        domain_of(normalise("sms", "+12025550123"))


def test_addresses_are_values() -> None:
    one, same = normalise("email", "A@example.com"), normalise("email", "a@example.com")
    assert len({one, same, Address("sms", "a@example.com")}) == 2
    assert sorted([Address("sms", "a"), Address("email", "b"), Address("email", "a")]) == [
        Address("email", "a"),
        Address("email", "b"),
        Address("sms", "a"),
    ]
    with pytest.raises(AttributeError):
        one.value = "b@example.com"  # type: ignore[misc]


# Texts near to being addresses, where the quick way and the thorough one might part.
letters = st.sampled_from(
    ["a", "Z", "0", "-", "--", "_", "+", "'", ".", "@", " ", '"', "<", ">", "[", "\n", "\0"]
)
strange = st.sampled_from(["é", "e\u0301", "\u212a", "\u0130", "ß", "xn--"])
endings = st.sampled_from(
    ["@example.com", ".com", ".TEST", "@test", "@a.test", ".local", "@local.", ".invalid", ".ARPA"]
)
lengths = st.sampled_from(["example", ".1", "a" * 61, "b" * 64, "c" * 100])
pieces = letters | strange | endings | lengths
nearly = st.lists(pieces, max_size=8).map("".join)
plain = st.from_regex(addresses._PLAIN, fullmatch=True)


@given(nearly | plain | st.emails() | plain.map(lambda text: text + ".local"))
@example("a@" + ("a" * 63 + ".") * 3 + "a" * 56 + ".com")
@example("a@" + "a" * 64 + ".com")
@example("a@b." + "c" * 64)
@example("a@LOCAL.local")
@example("a@test.test")
def test_the_quick_way_gives_the_answer_of_the_thorough_one(text: str) -> None:
    quick = addresses._plain_email(text)
    if quick is not None:
        assert quick == addresses._any_email(text)


def test_the_quick_way_is_the_one_that_ordinary_addresses_take() -> None:
    for text in ["jane@example.com", "Jane.Doe+News@mail.Example.ORG", "o'h_ara-1@a-b.example"]:
        assert addresses._plain_email(text) == text.lower()


@given(st.text() | nearly | st.emails() | st.builds("{}@{}.example".format, st.text(), st.text()))
def test_any_text_is_an_address_for_good_or_is_refused(text: str) -> None:
    try:
        address = normalise("email", text)
    except MalformedAddress:
        return
    assert normalise("email", address.value) == address
    assert address.value == address.value.lower()
    assert unicodedata.is_normalized("NFC", address.value)
    assert domain_of(address).isascii()
    assert len(address.value.encode()) <= 254


@given(
    st.text() | st.text("+0123456789 ()-./\u0661\uff11"),
    st.none() | st.sampled_from(["US", "gb", "IT", "001", "ZZ"]) | st.text(max_size=3),
)
def test_any_text_is_a_number_for_good_or_is_refused(text: str, region: str | None) -> None:
    try:
        address = normalise("sms", text, region)
    except MalformedAddress:
        return
    assert re.fullmatch(r"\+[0-9]{4,15}", address.value)
    assert normalise("sms", address.value) == address


@pytest.mark.parametrize("channel", ["email", "sms"])
@pytest.mark.parametrize(
    "text",
    [
        "a" * 10_000_000,
        "a@" * 5_000_000,
        "a@" + "a." * 126,
        "a@" + "xn--" + "a" * 245,
        "a@" + "\u0660" * 250,
        "a" * 253 + "@",
        "a" + ".a" * 126 + "!",
        "-" * 40,
        "\u0301" * 254,
        '"' * 254,
        "<" * 254,
        "1" * 10_000_000,
        " " * 10_000_000,
    ],
    ids=lambda text: text[:6],
)
def test_a_hostile_text_is_refused_at_once_and_hardly_repeated(channel: Channel, text: str) -> None:
    started = time.process_time()
    with pytest.raises(MalformedAddress) as refusal:
        normalise(channel, text, "US")
    assert time.process_time() - started < 0.1
    assert len(str(refusal.value)) < 1_000


def test_a_refusal_repeats_at_most_eighty_characters() -> None:
    strange = "".join(map(chr, range(0x4E00, 0x4E00 + 200)))  # each of them can be told apart
    for text in ["".join(chr(33 + i % 90) for i in range(250)), strange, strange + "@" + strange]:
        with pytest.raises(MalformedAddress) as refusal:
            normalise("email", text)
        quoted, reason = re.fullmatch(
            r"(.*) is not an email address: (.*)", str(refusal.value)
        ).groups()  # type: ignore[union-attr]
        assert len(quoted) + len(re.findall(r"'.'", reason)) <= 80
