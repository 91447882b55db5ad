"""Templates as fixed texts with slots between them, and what fills the slots for a recipient."""

from __future__ import annotations

import html
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from django.utils.safestring import mark_safe

from goodstanding.mailings.mail import links, merge, mime
from goodstanding.mailings.mail.content import POSTAL, PREFERENCES, UNSUBSCRIBE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

SLOT: Final = "gs_slot_"
CLICK: Final = f"{SLOT}click_"
ADDRESS: Final = f"{SLOT}address_"
PIXEL: Final = f"{SLOT}pixel"
NOWHERE: Final = "#"
"""What stands for an address that a mail must not lead to."""


class Stamp(Protocol):
    """What makes one delivery's message its own. Every URL is whole, in ASCII, as signed."""

    @property
    def delivery(self) -> int:
        """The delivery's id."""

    @property
    def date(self) -> int:
        """Microseconds since 1970."""

    @property
    def message_id(self) -> str:
        """``token@domain``, with or without angle brackets."""

    @property
    def unsubscribe_url(self) -> str:
        """The footer link's page."""

    @property
    def preferences_url(self) -> str:
        """The page where topics are chosen."""

    @property
    def one_click_url(self) -> str:
        """Where a mail client posts (RFC 8058)."""

    @property
    def unsubscribe_mailto(self) -> str | None:
        """``mailto:…`` for clients that write instead (RFC 2369)."""

    @property
    def open_url(self) -> str | None:
        """The pixel; None: opens are not counted."""

    @property
    def feedback_id(self) -> Sequence[str]:
        """Up to three names to tell complaints apart by, then the sender's; empty: none."""

    @property
    def list_id(self) -> str | None:
        """``news.example.com`` (RFC 2919)."""

    def click_url(self, n: int, /) -> str:
        """What stands for link number ``n`` of :attr:`Compiled.links`."""

    def confirm_url(self, n: int, /) -> str:
        """Where link number ``n`` of :attr:`Compiled.confirms` leads: the page that asks."""


class Scope(NamedTuple):
    """What a slot of a message is filled from."""

    fields: Mapping[str, str]
    stamp: Stamp


class Made(NamedTuple):
    """What slots are made with: the same for all recipients."""

    postal: str
    addresses: Sequence[Slotted] = ()
    """What makes the addresses that merge fields decide."""
    confirms: Mapping[str, int] = MappingProxyType({})
    """Which of the links that confirm a merge field is."""


class Slotted(NamedTuple):
    """A template as fixed texts with slots between them."""

    fixed: list[str]
    slots: list[Callable[[Scope], str]]

    def values(self, scope: Scope) -> list[str]:
        """What fills each slot."""
        return [slot(scope) for slot in self.slots]

    def render(self, scope: Scope) -> str:
        """The whole text."""
        parts = [""] * (len(self.fixed) + len(self.slots))
        parts[::2] = self.fixed
        parts[1::2] = self.values(scope)
        return "".join(parts)


def slotted(template: merge.Merge, made: Made, *, markup: bool) -> Slotted:
    """The template with what is the same for all put into the fixed texts."""
    fixed, slots = [""], []
    for part in template.parts:
        if isinstance(part, str):
            fixed[-1] += part
        elif isinstance(part, merge.Field) and part.name == POSTAL:
            fixed[-1] += _postal(made.postal) if markup else made.postal
        else:
            fixed.append("")
            if isinstance(part, merge.Field):
                slots.append(_field_slot(part.name, made, markup=markup))
            elif isinstance(part, merge.Default):
                slots.append(_default_slot(part, made, markup=markup))
            else:
                slots.append(_block_slot(template, part, made))
    return Slotted(fixed, slots)


def _field_slot(name: str, made: Made, *, markup: bool) -> Callable[[Scope], str]:
    value = _value_of(name, made)
    if not markup or name == PIXEL:
        return value
    escape = html.escape
    return lambda scope: escape(value(scope))


def _default_slot(part: merge.Default, made: Made, *, markup: bool) -> Callable[[Scope], str]:
    """As Django has it, the text in its place is markup as it stands."""
    instead = part.instead
    if part.name == POSTAL:
        postal = html.escape(made.postal) if markup else made.postal
        return lambda _: postal or instead
    value = _value_of(part.name, made)
    if not markup:
        return lambda scope: value(scope) or instead
    escape = html.escape
    return lambda scope: escape(value(scope)) or instead


def _block_slot(template: merge.Merge, block: merge.Block, made: Made) -> Callable[[Scope], str]:
    values = {name: _value_of(name, made) for name in block.names if name != POSTAL}
    fixed = {POSTAL: made.postal} if POSTAL in block.names else {}
    render = template.render_block

    def slot(scope: Scope) -> str:
        return render(block, {name: value(scope) for name, value in values.items()} | fixed)

    return slot


def _value_of(name: str, made: Made) -> Callable[[Scope], str]:
    """Where the value of a merge field comes from; unescaped."""
    if name == UNSUBSCRIBE:
        return lambda scope: scope.stamp.unsubscribe_url
    if name == PREFERENCES:
        return lambda scope: scope.stamp.preferences_url
    if name == PIXEL:
        return _pixel
    if (confirm := made.confirms.get(name)) is not None:
        return lambda scope: scope.stamp.confirm_url(confirm)
    if name.startswith(CLICK):
        number = int(name.removeprefix(CLICK))
        return lambda scope: scope.stamp.click_url(number)
    if name.startswith(ADDRESS):
        address = made.addresses[int(name.removeprefix(ADDRESS))]
        return lambda scope: _safe(address.render(scope))
    clean = mime.clean
    return lambda scope: clean(scope.fields.get(name) or "")


def _postal(text: str) -> str:
    return html.escape(text).replace("\n", "<br>\n")


def _safe(url: str) -> str:
    """The address, unless it leads where a mail must not: into a script, say."""
    return url if not url or links.is_whole(url) else NOWHERE


def _pixel(scope: Scope) -> str:
    url = scope.stamp.open_url
    if not url:
        return ""
    return mark_safe(f'<img src="{html.escape(url)}" width="1" height="1" alt="">')  # noqa: S308
