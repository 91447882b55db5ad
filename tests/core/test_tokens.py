"""Tokens: ours come back as they went, and nothing else is taken for one."""

from __future__ import annotations

import re
import string

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from goodstanding.core.tokens import LARGEST_NUMBER, BadToken, Signer

OLD, NEW, FOREIGN = b"o" * 32, b"n" * 32, b"f" * 32
BASE16 = string.digits + "abcdef"
ours = Signer([NEW, OLD])

numbers = st.lists(st.integers(0, LARGEST_NUMBER), max_size=3)
purposes = st.sampled_from(["return-path", "message-id", "open", "click", "unsubscribe"])


@given(purposes, numbers)
@example("click", [])
@example("click", [0, 0])
@example("click", [127, 128, LARGEST_NUMBER])
def test_what_was_signed_comes_back_in_either_case(purpose: str, signed: list[int]) -> None:
    token = ours.sign(purpose, *signed)
    assert ours.verify(purpose, token) == tuple(signed)
    assert ours.verify(purpose, token.upper()) == tuple(signed)
    assert ours.verify(purpose, token.title()) == tuple(signed)


@given(st.integers(0, LARGEST_NUMBER))
def test_a_token_fits_a_local_part_and_a_url(number: int) -> None:
    assert re.fullmatch(r"[a-f0-9]{24,40}", ours.sign("return-path", number))


def test_a_token_is_short_for_the_numbers_there_will_be() -> None:
    assert len(ours.sign("return-path", 10**9)) == 32
    assert len(ours.sign("click", 10**9, 12)) == 34


def test_a_token_stays_what_it_is_from_one_release_to_the_next() -> None:
    # Messages already sent carry these: HMAC-SHA256 over purpose, NUL, the number in MessagePack.
    assert Signer([b"k" * 32]).sign("unsubscribe", 300) == "91cd012c7e57b12ffae3ba05382e"


@given(purposes, purposes, numbers)
def test_a_token_is_good_for_its_own_purpose_alone(
    purpose: str, other: str, signed: list[int]
) -> None:
    token = ours.sign(purpose, *signed)
    if other != purpose:
        with pytest.raises(BadToken):
            ours.verify(other, token)


def test_where_a_purpose_ends_cannot_be_moved() -> None:
    # "open" + "A" and "openA" sign the same letters, but for what parts them.
    token = ours.sign("open", ord("A"))
    with pytest.raises(BadToken):
        ours.verify("openA", token)
    with pytest.raises(ValueError, match="NUL"):
        ours.sign("open\0A", 1)


def test_every_key_verifies_and_the_first_one_signs() -> None:
    before = Signer([OLD])
    assert ours.verify("open", before.sign("open", 7)) == (7,)
    with pytest.raises(BadToken):
        before.verify("open", ours.sign("open", 7))
    assert Signer([NEW]).verify("open", ours.sign("open", 7)) == (7,)


def test_another_key_is_refused() -> None:
    with pytest.raises(BadToken):
        ours.verify("open", Signer([FOREIGN]).sign("open", 7))


@pytest.mark.parametrize("signed", [(), (5,), (300, 2), (10**9,), (2**40, 3)])
def test_no_other_character_anywhere_is_accepted(signed: tuple[int, ...]) -> None:
    token = ours.sign("click", *signed)
    for place, was in enumerate(token):
        for letter in BASE16:
            if letter != was:
                with pytest.raises(BadToken):
                    ours.verify("click", token[:place] + letter + token[place + 1 :])


@given(numbers, st.integers(0, 100))
def test_a_truncated_token_is_refused(signed: list[int], kept: int) -> None:
    token = ours.sign("open", *signed)
    if kept < len(token):
        with pytest.raises(BadToken):
            ours.verify("open", token[:kept])


@given(st.text() | st.text(BASE16 + "=gO ") | st.text(BASE16, max_size=64))
@example("")
@example("=" * 24)
@example("a" * 10_000_000)
@example("\u212a" * 24)  # the Kelvin sign is `k` in lower case
@example("a" * 23 + "\n")
@example("\ud800" * 24)
def test_anything_else_is_refused_in_the_same_plain_words(text: str) -> None:
    with pytest.raises(BadToken, match=r"^This is not a token of ours\.$"):
        ours.verify("open", text)


@pytest.mark.parametrize(
    "around", [" {}", "{} ", "{}=", "{}\n", "{}a", "{}aaaaaaaa", "a{}", "<{}>", "{}\u212a"]
)
def test_nothing_may_stand_around_a_token(around: str) -> None:
    for signed in [(1,), (10**9,)]:
        with pytest.raises(BadToken):
            ours.verify("open", around.format(ours.sign("open", *signed)))


@pytest.mark.parametrize("number", [-1, LARGEST_NUMBER + 1])
def test_a_number_out_of_range_is_not_signed(number: int) -> None:
    with pytest.raises(ValueError, match=r"0 to 2\*\*63"):
        ours.sign("open", number)


def test_too_many_numbers_are_not_signed_as_they_could_not_be_verified() -> None:
    assert ours.verify("open", ours.sign("open", *range(20))) == tuple(range(20))
    with pytest.raises(ValueError, match="too long"):
        ours.sign("open", *range(36))


@pytest.mark.parametrize("keys", [[], [b"short"], [NEW, b"short"]])
def test_a_signer_needs_keys_worth_the_name(keys: list[bytes]) -> None:
    with pytest.raises(ValueError, match="key"):
        Signer(keys)
