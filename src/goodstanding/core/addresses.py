"""Addresses: one canonical spelling for each, however it was written when it came in."""

from __future__ import annotations

import re
import unicodedata
from typing import Final, Literal, NoReturn

import email_validator
import msgspec
import phonenumbers
from phonenumbers import NumberParseException, PhoneNumberFormat, ValidationResult

Channel = Literal["email", "sms"]

LONGEST_EMAIL: Final = 254  # octets: RFC 5321 section 4.5.3.1.3, less the angle brackets
LONGEST_NUMBER: Final = 40  # characters as written; E.164 has fifteen digits at most

_SHOWN: Final = 50  # characters of a refused text that a sentence repeats
_REASON: Final = 120  # characters of a library's reason that a sentence repeats

_ATEXT: Final = r"[A-Za-z0-9!#$%&'*+\-/=?^_`{|}~]+"  # RFC 5322 section 3.2.3
_LABEL: Final = r"[A-Za-z0-9](?:[A-Za-z0-9\-]{0,61}[A-Za-z0-9])?"  # RFC 1123 section 2.1
_PLAIN: Final = re.compile(rf"{_ATEXT}(?:\.{_ATEXT})*@(?:{_LABEL}\.)+[A-Za-z]{{2,63}}")
# Names of no mailbox anywhere (RFC 6761 and its like). `.test` and `.example` are welcome.
_NOWHERE: Final = tuple(
    f"{dot}{name}"
    for name in email_validator.SPECIAL_USE_DOMAIN_NAMES
    if name != "test"
    for dot in "@."
)

# How people write a number: digits of any script, with spaces, brackets, dots, dashes, slashes.
_NUMBER: Final = re.compile(r"[+\uff0b]?[\d\s().\-/\u2010-\u2015\u2212\uff0d]+")


class MalformedAddress(ValueError):
    """A text that is no address of its channel; the message is one plain sentence."""


class Address(msgspec.Struct, frozen=True, order=True, forbid_unknown_fields=True, gc=False):
    """A channel and a value in its canonical spelling, as `normalise` gives it.

    The value of an email address is lower case, its local part NFC and its domain in ASCII (IDNA);
    that of an SMS address is a number as E.164 writes it.
    """

    channel: Channel
    value: str


def normalise(channel: Channel, text: str, region: str | None = None) -> Address:
    """Give the one spelling of the address that ``text`` says.

    Dots and +tags are never stripped. ``region`` is the two-letter country (ISO 3166) by which
    an SMS number without a country code is read.

    Raises:
        MalformedAddress: ``text`` is no address of that channel, or there is no such region.
        ValueError: there is no such channel.
    """
    if channel == "email":
        return Address("email", _plain_email(text) or _any_email(text))
    if channel == "sms":
        return Address("sms", _number(text, region))
    raise ValueError(f"There is no channel {channel!r}.")


def is_region(text: str) -> bool:
    """Whether ``text`` names a country by whose plan numbers can be read: two letters (ISO 3166).

    The United Kingdom is GB.
    """
    return text.upper() in phonenumbers.SUPPORTED_REGIONS


def domain_of(address: Address) -> str:
    """Give the domain of an email address, in ASCII and lower case.

    Raises:
        ValueError: the address is of another channel.
    """
    if address.channel != "email":
        raise ValueError(f"An address of channel {address.channel!r} has no domain.")
    return address.value.rpartition("@")[2]


def _plain_email(text: str) -> str | None:
    """Normalise an ordinary ASCII address; None leaves the verdict to the whole of the rules.

    Import reads millions of these, and lower case is all that the rules would do to them. Two
    dashes may be IDNA, which wants looking into.
    """
    if len(text) > LONGEST_EMAIL or "--" in text or not _PLAIN.fullmatch(text):
        return None
    value = text.lower()
    return None if value.endswith(_NOWHERE) else value


def _any_email(text: str) -> str:
    if len(text) > LONGEST_EMAIL:
        _refuse(text, "an email address", f"it is longer than {LONGEST_EMAIL} characters")
    if text != text.strip():
        _refuse(text, "an email address", "it has white space around it")
    try:
        parts = email_validator.validate_email(
            text,
            check_deliverability=False,
            test_environment=True,  # allows the domains of .test
            allow_smtputf8=True,
            allow_empty_local=False,
            allow_quoted_local=False,
            allow_domain_literal=False,
            allow_display_name=False,
            globally_deliverable=True,
            strict=False,
        )
    except (email_validator.EmailNotValidError, UnicodeError) as error:
        _refuse(text, "an email address", str(error), error)
    if parts.ascii_domain == "test":
        _refuse(text, "an email address", "its domain has no dot")
    local = unicodedata.normalize("NFC", parts.local_part.lower())
    value = f"{local}@{parts.ascii_domain}"
    if len(value.encode()) > LONGEST_EMAIL:  # some letters grow in lower case
        _refuse(text, "an email address", f"it is longer than {LONGEST_EMAIL} octets")
    return value


_NOT_POSSIBLE: Final = {
    ValidationResult.INVALID_COUNTRY_CODE: "no country has its country code",
    ValidationResult.TOO_SHORT: "it is too short",
    ValidationResult.TOO_LONG: "it is too long",
    ValidationResult.INVALID_LENGTH: "its country has no numbers of that length",
    ValidationResult.IS_POSSIBLE_LOCAL_ONLY: "it lacks the area code",
}
_NOT_READ: Final = {
    NumberParseException.INVALID_COUNTRY_CODE: "it needs a plus sign and a country code",
    NumberParseException.NOT_A_NUMBER: "it is not a number",
    NumberParseException.TOO_SHORT_AFTER_IDD: "it is too short",
    NumberParseException.TOO_SHORT_NSN: "it is too short",
    NumberParseException.TOO_LONG: "it is too long",
}


def _number(text: str, region: str | None) -> str:
    # Possible by its length, not assigned by this year's numbering plan: plans change faster than
    # software does, and a number that does not exist is reported back by its operator.
    what = "a phone number"
    if len(text) > LONGEST_NUMBER:
        _refuse(text, what, f"it is longer than {LONGEST_NUMBER} characters")
    if text != text.strip():
        _refuse(text, what, "it has white space around it")
    if not _NUMBER.fullmatch(text):
        _refuse(text, what, "it has other things in it than digits and what parts them")
    if region is not None and not is_region(region):
        raise MalformedAddress(f"There is no region {region[:_SHOWN]!r} to read a number by.")
    try:
        number = phonenumbers.parse(text, region.upper() if region else None)
    except NumberParseException as error:
        reason = _NOT_READ.get(error.error_type, "it is not a number")
        if error.error_type == NumberParseException.INVALID_COUNTRY_CODE and text[0] in "+\uff0b":
            reason = _NOT_POSSIBLE[ValidationResult.INVALID_COUNTRY_CODE]
        _refuse(text, what, reason, error)
    possible = phonenumbers.is_possible_number_with_reason(number)
    if possible != ValidationResult.IS_POSSIBLE:
        _refuse(text, what, _NOT_POSSIBLE.get(possible, "it is not a number"))
    return phonenumbers.format_number(number, PhoneNumberFormat.E164)


def _refuse(text: str, what: str, reason: str, cause: Exception | None = None) -> NoReturn:
    shown = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
    reason = reason if len(reason) <= _REASON else f"{reason[:_REASON]}…"
    raise MalformedAddress(f"{shown!r} is not {what}: {reason.rstrip('.')}.") from cause
