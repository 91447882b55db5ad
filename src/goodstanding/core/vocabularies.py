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


class Variant(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Another name in a certain case; no name: the system has no word for that case."""

    name: str | None = None
    meaning: str | None = None


class StatusName(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a status is called: a name, or marks, or (``by``) the name of another status.

    ``meaning``: one sentence. ``mail_goes``: whether broadcasts still go there, where the system
    says so. ``by_category``: other names, by the category of the bounce that made the status.
    ``by = "consent"``: the name of the status that the address's consent alone would give.
    """

    meaning: str
    name: str | None = None
    marks: tuple[str, ...] = ()
    by: Literal["consent"] | None = None
    mail_goes: bool | None = None
    by_category: dict[str, Variant] = {}
    sms: Variant | None = None

    def __post_init__(self) -> None:
        if sum((self.name is not None, bool(self.marks), self.by is not None)) != 1:
            raise ValueError("a status has either a name or marks or `by`")


class ResponseName(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a response is called.

    ``meaning``: one sentence. ``counted_as``: the name under which reports of a whole mailing
    count it, where that is another. ``final``: whether the system says that it never changes.
    ``when_deferred``: another name, where the recipient's server had put the message on hold.
    """

    name: str
    meaning: str
    counted_as: str | None = None
    final: bool = False
    when_deferred: Variant | None = None
    sms: Variant | None = None


class ConsentMark(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A mark that is shown beside every status, from consent alone."""

    confirmed: str
    unconfirmed: str


class Vocabulary(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The words of one system in one language.

    ``language``: BCP 47. ``progress``: the words of a send's progress (``status``, ``started``,
    ``ended``, ``scheduled``, ``skipped``, ``sent``). ``falls_back_to``: the vocabulary that names
    the responses and the progress which this one has no words for.
    """

    title: str
    language: str
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
        variant = _variant(entry, channel, category)
        return variant.name if variant else entry.name

    def status_meaning(
        self, status: str, *, channel: Channel = "email", category: str | None = None
    ) -> str | None:
        """One sentence on what that name means; None where the system has no word for it."""
        entry = self.statuses.get(status)
        return _meaning(entry, _variant(entry, channel, category)) if entry else None

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
        variant = _response_variant(entry, channel, deferred=deferred)
        return variant.name if variant else entry.name

    def response_meaning(
        self, response: str, *, channel: Channel = "email", deferred: bool = False
    ) -> str | None:
        """One sentence on what that name means; None where the system has no word for it."""
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


def _meaning(entry: StatusName | ResponseName, variant: Variant | None) -> str | None:
    if variant is None:
        return entry.meaning
    return (variant.meaning or entry.meaning) if variant.name else None
