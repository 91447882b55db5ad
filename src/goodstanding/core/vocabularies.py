"""Vocabularies: what one system, in one language, calls a standing or what became of a message.

Each is a file of ``data/vocabularies``, named ``SYSTEM.toml`` or ``SYSTEM.LANGUAGE.toml``; a new
one is a new file, and nothing else has to know of it.
"""

from __future__ import annotations

import functools
from importlib import resources
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from goodstanding.core import data

if TYPE_CHECKING:
    from goodstanding.core.addresses import Channel

_FOLDER: Final = "vocabularies"
_ENDING: Final = ".toml"


Goes = Literal["yes", "one_off", "no"]
"""What still goes to an address: every mailing, one-off mail only, or neither."""


class Variant(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What differs in a certain case; of what it does not say the entry's own holds.

    ``unnamed``: the system has no word for that case.
    """

    name: str | None = None
    unnamed: bool = False
    meaning: str | None = None
    one_off_goes: bool | None = None

    def __post_init__(self) -> None:
        if self.name is not None and self.unnamed:
            raise ValueError("either a name or `unnamed`")


class StatusName(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a status is called: a name, or marks, or (``by``) the name of another status.

    ``unnamed``: the system has no word for it. ``meaning``: one sentence. ``mail_goes``: whether
    broadcasts and sequences still go there: by the system's own document, else by the gate under
    its policy. ``one_off_goes``: whether one-off mail does, where they do not.
    ``by_category``: other names, by the category of the bounce that made the status.
    ``by = "consent"``: the name of the status that the address's consent alone would give.
    """

    meaning: str
    mail_goes: bool
    name: str | None = None
    unnamed: bool = False
    marks: tuple[str, ...] = ()
    by: Literal["consent"] | None = None
    one_off_goes: bool = False
    by_category: dict[str, Variant] = {}
    sms: Variant | None = None

    def __post_init__(self) -> None:
        said = (self.name is not None, self.unnamed, bool(self.marks), self.by is not None)
        if sum(said) != 1:
            raise ValueError("a status has one of: a name, `unnamed`, marks, `by`")
        if self.mail_goes and self.one_off_goes:
            raise ValueError("`one_off_goes` is for where `mail_goes` is false")


class ResponseName(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a response is called; ``unnamed``: the system has no word for it.

    ``meaning``: one sentence, for the recipient it is about. ``reasons``: what leads to it, where
    the system lists that. ``counted_as``: the name under which reports of a whole mailing count
    it, where that is another. ``final``: whether it never changes any more, by the system's own
    document, else by the table of responses.
    ``when_deferred``: what differs where the recipient's server had put the message on hold.
    """

    meaning: str
    name: str | None = None
    unnamed: bool = False
    reasons: tuple[str, ...] = ()
    counted_as: str | None = None
    final: bool = False
    when_deferred: Variant | None = None
    sms: Variant | None = None

    def __post_init__(self) -> None:
        if (self.name is not None) == self.unnamed:
            raise ValueError("a response has either a name or `unnamed`")


class ConsentMark(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A mark that is shown beside every status, from consent alone."""

    confirmed: str
    unconfirmed: str


class Vocabulary(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The words of one system in one language.

    ``language``: BCP 47. ``about``: what it has words for, and whose stand where it has none.
    ``progress``: the words of a send's progress (``status``, ``started``, ``ended``,
    ``scheduled``, ``skipped``, ``sent``). ``falls_back_to``: the vocabulary that names the
    responses and the progress which this one has no words for.
    """

    title: str
    language: str
    about: str
    statuses: dict[str, StatusName]
    responses: dict[str, ResponseName] = {}
    progress: dict[str, str] = {}
    consent_mark: ConsentMark | None = None
    falls_back_to: str | None = None

    def status_name(
        self,
        status: str,
        *,
        channel: Channel = "email",
        category: str | None = None,
        consent: str | None = None,
        confirmed: bool = False,
    ) -> str | list[str] | None:
        """What a standing is called; None where the system has no word for it.

        ``category``: of the bounce that made the status. ``consent``: the status that consent
        alone would give. ``confirmed``: whether that consent was confirmed.
        """
        entry = self._status(status, consent, confirmed=confirmed)
        if entry is None:
            return None
        if entry.marks:
            return [*entry.marks, *self._consent_marks(confirmed=confirmed)]
        return _name(entry, _variant(entry, channel, category))

    def status_meaning(
        self, status: str, *, channel: Channel = "email", category: str | None = None
    ) -> str | None:
        """One sentence on what a status means, named or not; None of what is no status."""
        entry = self.statuses.get(status)
        return _meaning(entry, _variant(entry, channel, category)) if entry else None

    def still_goes(self, status: str, *, channel: Channel = "email") -> Goes | None:
        """What still goes to an address that stands so; None of what is no status."""
        entry = self.statuses.get(status)
        if entry is None:
            return None
        if entry.mail_goes:
            return "yes"
        variant = _variant(entry, channel, None)
        if variant is not None and variant.one_off_goes is not None:
            return "one_off" if variant.one_off_goes else "no"
        return "one_off" if entry.one_off_goes else "no"

    def response_name(
        self, response: str, *, channel: Channel = "email", deferred: bool = False
    ) -> str | None:
        """What a response is called; None where the system has no word for it.

        ``response`` may be ``skipped:REASON``. ``deferred``: whether the recipient's server had
        put the message on hold.
        """
        entry = self._response(response)
        if entry is None:
            return None
        return _name(entry, _response_variant(entry, channel, deferred=deferred))

    def counted_name(self, response: str, *, channel: Channel = "email") -> str | None:
        """What a report of a whole mailing counts a response as; None where there is no word."""
        entry = self._response(response)
        counted = entry.counted_as if entry is not None and channel == "email" else None
        return counted or self.response_name(response, channel=channel)

    def response_meaning(
        self, response: str, *, channel: Channel = "email", deferred: bool = False
    ) -> str | None:
        """One sentence on what a response means, named or not; None of what is no response."""
        entry = self._response(response)
        if entry is None:
            return None
        return _meaning(entry, _response_variant(entry, channel, deferred=deferred))

    def _status(self, status: str, consent: str | None, *, confirmed: bool) -> StatusName | None:
        entry = self.statuses.get(status)
        if entry is None or entry.by is None:
            return entry
        shown = self.statuses.get(consent or ("confirmed" if confirmed else "opted_in"))
        return shown if shown is not None and shown.by is None else None

    def _consent_marks(self, *, confirmed: bool) -> list[str]:
        if self.consent_mark is None:
            return []
        return [self.consent_mark.confirmed if confirmed else self.consent_mark.unconfirmed]

    def _response(self, response: str) -> ResponseName | None:
        # A reason to skip may have a name of its own, or go by the one for all of them.
        return self.responses.get(response) or self.responses.get(response.partition(":")[0])


@functools.cache
def load() -> dict[str, Vocabulary]:
    """Give every vocabulary by its name (``keap``, ``keap.es``, …). Read once; not to be changed.

    Raises:
        msgspec.ValidationError: a file is not what it should be.
        KeyError: a vocabulary falls back to one that is not there.
    """
    folder = resources.files(data).joinpath(_FOLDER)
    names = sorted(
        file.name.removesuffix(_ENDING) for file in folder.iterdir() if file.name.endswith(_ENDING)
    )
    read = {name: data.load(f"{_FOLDER}/{name}{_ENDING}", Vocabulary) for name in names}
    return {name: _completed(vocabulary, read) for name, vocabulary in read.items()}


def choose(name: str, language: str | None = None) -> Vocabulary:
    """Give a vocabulary, in that language where it has it, else as it is.

    Raises:
        KeyError: there is no such vocabulary.
    """
    return load().get(f"{name}.{language}") or load()[name]


def _completed(vocabulary: Vocabulary, among: dict[str, Vocabulary]) -> Vocabulary:
    if vocabulary.falls_back_to is None:
        return vocabulary
    base = among[vocabulary.falls_back_to]
    return msgspec.structs.replace(
        vocabulary,
        responses=base.responses | vocabulary.responses,
        progress=base.progress | vocabulary.progress,
    )


def _variant(entry: StatusName, channel: Channel, category: str | None) -> Variant | None:
    if category in entry.by_category:
        return entry.by_category[category]
    return entry.sms if channel == "sms" else None


def _response_variant(entry: ResponseName, channel: Channel, *, deferred: bool) -> Variant | None:
    if channel == "sms" and entry.sms is not None:
        return entry.sms
    return entry.when_deferred if deferred else None


def _name(entry: StatusName | ResponseName, variant: Variant | None) -> str | None:
    if variant is None:
        return entry.name
    return None if variant.unnamed else variant.name or entry.name


def _meaning(entry: StatusName | ResponseName, variant: Variant | None) -> str:
    return (variant and variant.meaning) or entry.meaning
