"""Contents: a mailing as it was written, checked before anything is planned, made ready to send."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

import msgspec
from django.conf import settings
from django.db import IntegrityError, connection, transaction
from django.db.models import Max

from goodstanding.config.options import dkim_signer
from goodstanding.contacts.models import Contact, ContactList
from goodstanding.core.gate import ONLY_BY, PURPOSES
from goodstanding.ledger import bulk, models
from goodstanding.mailings import lanes
from goodstanding.mailings import models as rows
from goodstanding.mailings.mail import compose, confirming, merge
from goodstanding.mailings.mail.compose import Recipe
from goodstanding.mailings.mail.confirming import Confirm
from goodstanding.mailings.mail.content import OURS, ContentError
from goodstanding.mailings.mail.content import Content as Mail
from goodstanding.mailings.mail.rendering import Compiled
from goodstanding.mailings.models import Content
from goodstanding.mailings.outbox import Claim

_TO_MANY: Final = ("broadcast",)
"""Purposes that are sent to an audience; the others are for one person each."""

_OF_CONTACTS: Final = (*_TO_MANY, "sequence")
"""Purposes whose mails have no merge fields but their contacts'."""

STANDARD_FIELDS: Final = ("email", "first_name", "last_name", "company")
"""The merge fields that every contact has; beside them those that imports brought."""


LONGEST_NAME: Final = 200
LONGEST_TOPIC: Final = 100

_NOT_IN_NAMES: Final = re.compile(r"\W+")
_WORD: Final = re.compile(r"\w+")


class RefusedMailing(ValueError):
    """A mailing that must not go out as it is; ``problems``: one plain sentence each."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = tuple(problems)


class Draft(msgspec.Struct, frozen=True, kw_only=True):
    """A mailing as the sender wants it. ``control_share`` is at most 0.9; times in µs.

    ``author``: who writes; a one-off needs one, nothing else has one.
    """

    name: str
    subject: str
    html: str | None = None
    text: str | None = None
    from_address: str = ""
    from_name: str = ""
    reply_to: str | None = None
    purpose: str = "broadcast"
    topic: str | None = None
    lane: str = "main"
    list_name: str | None = None
    control_share: float = 0.0
    starts_at: int | None = None
    expires_at: int | None = None
    author: str | None = None
    confirms: tuple[Confirm, ...] = ()


def create(draft: Draft, now: int) -> int:
    """Check a mailing and keep it, ready to be planned; its id.

    Raises:
        RefusedMailing: what is wrong with it, all of it.
    """
    if unwritable := _not_text(draft):
        raise RefusedMailing(unwritable)
    problems = _problems(draft)
    mail = written(draft)
    # What is asked for one by one brings its own fields.
    known = fields() if draft.purpose in _OF_CONTACTS else {*fields(), *named_fields(draft)}
    try:
        compiled = compose.compile_content(mail, known)
    except ContentError as error:
        problems.extend(error.problems)
    if problems:
        raise RefusedMailing(problems)
    try:
        with transaction.atomic():
            return _keep(draft, mail, compiled, now)
    except IntegrityError:
        # Somebody else was quicker.
        if not models.Mailing.objects.filter(name=draft.name).exists():
            raise
        raise RefusedMailing([_taken(draft.name)]) from None


def _keep(draft: Draft, mail: Mail, compiled: Compiled, now: int) -> int:
    mailing = models.Mailing.objects.create(
        name=draft.name, purpose=draft.purpose, topic=draft.topic, channel="email"
    )
    models.Link.objects.bulk_create(
        models.Link(mailing=mailing, number=number, url=url)
        for number, url in enumerate(compiled.links)
    )
    models.Link.objects.bulk_create(
        models.Link(
            mailing=mailing, number=number, url=link.url, confirms=link.method, topic=link.topic
        )
        for number, link in enumerate(compiled.confirms)
    )
    starts_at = draft.starts_at if draft.starts_at is not None else now
    one_by_one = draft.purpose not in _TO_MANY
    # Who comes until a later start is in the audience too.
    later = starts_at > now
    Content.objects.create(
        mailing=mailing,
        from_address=mail.from_address,
        from_name=mail.from_name,
        reply_to=draft.reply_to,
        subject=draft.subject,
        html=_without_nul(draft.html),
        text=_without_nul(draft.text),
        confirms=msgspec.json.encode(compiled.confirms).decode(),
        lane=draft.lane,
        list_name=draft.list_name,
        control_share=draft.control_share,
        salt=secrets.token_hex(8),
        created_at=now,
        starts_at=starts_at,
        expires_at=draft.expires_at,
        author=draft.author,
        one_by_one=one_by_one,
        is_checked=one_by_one,
        plan_until=None
        if one_by_one or later
        else Contact.objects.aggregate(last=Max("pk"))["last"] or 0,
    )
    return int(mailing.pk)


def _problems(draft: Draft) -> list[str]:
    """What is wrong with a draft beside what it says."""
    problems = _purpose_problems(draft)
    if draft.lane not in lanes.every():
        problems.append(f"there is no lane {draft.lane!r}")
    if not 0 <= draft.control_share <= 0.9:
        problems.append("the control group is a share between 0 and 0.9")
    if len(draft.from_name) > LONGEST_NAME:
        problems.append(f"the sender's name has at most {LONGEST_NAME} characters")
    if draft.list_name is not None and (
        not _is_plain(draft.list_name, LONGEST_NAME)
        or not ContactList.objects.filter(name=draft.list_name).exists()
    ):
        problems.append(f"there is no list {draft.list_name!r}")
    if draft.topic is not None and not _is_plain(draft.topic, LONGEST_TOPIC):
        problems.append(f"a topic has 1 to {LONGEST_TOPIC} printable characters")
    if not _is_plain(draft.name, LONGEST_NAME):
        problems.append(f"a mailing's name has 1 to {LONGEST_NAME} printable characters")
    elif models.Mailing.objects.filter(name=draft.name).exists():
        problems.append(_taken(draft.name))
    elif rows.Sequence.objects.filter(name=draft.name).exists():
        problems.append(f"there is a sequence {draft.name!r} already")
    return problems


def _purpose_problems(draft: Draft) -> list[str]:
    """What does not go with what the mailing is for."""
    problems = []
    if draft.purpose not in PURPOSES:
        problems.append(f"a purpose is one of {', '.join(PURPOSES)}, not {draft.purpose!r}")
    elif ONLY_BY.get(draft.purpose, "email") != "email":
        problems.append(
            f"{draft.purpose} goes by {ONLY_BY[draft.purpose]} only, and this is a mail"
        )
    if (draft.purpose == "one_off") != (draft.author is not None):
        problems.append("a one-off, and nothing else, has an author: the person who writes it")
    if draft.author is not None and not _is_plain(draft.author, LONGEST_NAME):
        problems.append(f"an author's name has 1 to {LONGEST_NAME} printable characters")
    if draft.purpose not in _TO_MANY and (draft.list_name is not None or draft.control_share):
        problems.append(f"only {', '.join(_TO_MANY)} goes to a list, or keeps a control group")
    if draft.expires_at is not None and draft.expires_at <= (draft.starts_at or 0):
        problems.append("a mailing expires after it starts")
    return problems


def _not_text(draft: Draft) -> list[str]:
    """Where half a surrogate pair is: what a bad byte on the command line becomes."""
    return [
        f"{what}: it is not UTF-8"
        for what, text in (
            ("subject", draft.subject),
            ("html", draft.html),
            ("text", draft.text),
            ("from name", draft.from_name),
            ("from address", draft.from_address),
            ("reply-to", draft.reply_to),
        )
        if text is not None and not _is_text(text)
    ]


def _taken(name: str) -> str:
    return f"there is a mailing {name!r} already"


def _is_plain(text: str, longest: int) -> bool:
    return 0 < len(text) <= longest and text.isprintable() and not text.isspace()


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _without_nul(text: str | None) -> str | None:
    return text.replace("\0", "") if text is not None else None


def compiled(mailing: int) -> tuple[Content, Compiled]:
    """A kept mailing's content, ready to render.

    Raises:
        RefusedMailing: by what is set now it must not go out as it is.
    """
    content = Content.objects.select_related("mailing").get(pk=mailing)
    return content, _compiled(content, _recipe(content))


def recipe(mailing: int) -> Recipe:
    """What a kept mailing's messages are made of; it is known that it can be compiled.

    Raises:
        RefusedMailing: by what is set now it must not go out as it is.
    """
    content = Content.objects.select_related("mailing").get(pk=mailing)
    found = _recipe(content)
    _compiled(content, found)
    return found


def _recipe(content: Content) -> Recipe:
    draft = draft_of(content)
    return Recipe(written(draft), tuple(named_fields(draft)))


def _compiled(content: Content, recipe: Recipe) -> Compiled:
    if content.lane not in lanes.every():
        raise RefusedMailing([f"there is no lane {content.lane!r}"])
    try:
        return recipe.compiled(dkim_signer(settings.OPTIONS))
    except ContentError as error:
        raise RefusedMailing(error.problems) from error


def draft_of(content: Content) -> Draft:
    """The mailing as it was written."""
    return Draft(
        name=content.mailing.name,
        subject=content.subject,
        html=content.html,
        text=content.text,
        from_address=content.from_address,
        from_name=content.from_name,
        reply_to=content.reply_to,
        purpose=content.mailing.purpose,
        topic=content.mailing.topic,
        lane=content.lane,
        list_name=content.list_name,
        control_share=content.control_share,
        starts_at=content.starts_at,
        expires_at=content.expires_at,
        author=content.author,
        confirms=msgspec.json.decode(content.confirms, type=tuple[Confirm, ...]),
    )


def fields() -> Collection[str]:
    """Every merge field that a template may use."""
    known = dict.fromkeys(STANDARD_FIELDS)
    newest = Contact.objects.exclude(fields="{}").order_by("-pk").values_list("fields", flat=True)
    for text in newest[:1000]:
        known.update(dict.fromkeys(map(field_name, json.loads(text))))
    return list(known)


def field_name(heading: str) -> str:
    """What a template calls the column of an import: ``{{ Favourite_colour }}``."""
    return _NOT_IN_NAMES.sub("_", heading).strip("_")


def named_fields(draft: Draft) -> Collection[str]:
    """Every name in the draft's tags, each of which may be a merge field.

    Which of them are merge fields was checked when it was made; contacts that came or went since
    must not undo that.
    """
    return {
        word
        for source in (draft.subject, draft.html or "", draft.text or "")
        for tag in merge.TAG.findall(source)
        for word in _WORD.findall(tag)
    }


def merge_fields(claims: Sequence[Claim]) -> dict[int, dict[str, str]]:
    """Each delivery's merge fields: its contact's, and over them those it was asked for with."""
    known = contact_fields({claim.contact for claim in claims if claim.contact is not None})
    own = _own_fields([claim.delivery for claim in claims if claim.lot.is_one_by_one])
    return {
        claim.delivery: {
            **known.get(claim.contact or 0, {}),
            **own.get(claim.delivery, {}),
            "email": claim.address.value,
        }
        for claim in claims
    }


def needed_fields(draft: Draft) -> set[str]:
    """The merge fields that the draft shows as they are and that no contact brings."""
    named = named_fields(draft)
    known = {*named, *OURS}
    shown = {
        part.name
        for source in (draft.subject, draft.html or "", draft.text or "")
        for part in merge.parse(source, known, markup=False).parts
        if isinstance(part, merge.Field) and not confirming.is_field(part.name)
    }
    return shown - OURS - set(fields())


def contact_fields(contacts: Collection[int]) -> dict[int, Mapping[str, str]]:
    """Each contact's merge fields."""
    if not contacts:
        return {}
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT id, first_name, last_name, company, fields FROM contacts_contact WHERE "
            + bulk.among("id"),
            [bulk.listed(contacts)],
        )
        return {row[0]: _merge_fields(row) for row in cursor.fetchall()}


def _own_fields(deliveries: Collection[int]) -> dict[int, Mapping[str, str]]:
    if not deliveries:
        return {}
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT delivery_id, fields FROM mailings_message WHERE " + bulk.among("delivery_id"),
            [bulk.listed(deliveries)],
        )
        return {row[0]: json.loads(row[1]) for row in cursor.fetchall()}


def _merge_fields(row: tuple[Any, ...]) -> Mapping[str, str]:
    said: dict[str, str] = json.loads(row[4]) if row[4] != "{}" else {}
    if said:
        said = {field_name(heading): value for heading, value in said.items()}
    return {**said, "first_name": row[1], "last_name": row[2], "company": row[3]}


def written(draft: Draft) -> Mail:
    """The draft's mail as it would be composed, with what the settings say."""
    options = settings.OPTIONS
    return Mail(
        from_address=draft.from_address or options.sender_address,
        from_name=draft.from_name or options.sender_name,
        reply_to=draft.reply_to,
        subject=draft.subject,
        html=draft.html,
        text=draft.text,
        postal_address=options.postal_address,
        purpose=draft.purpose,
        topic=draft.topic,
        confirms=draft.confirms,
    )
