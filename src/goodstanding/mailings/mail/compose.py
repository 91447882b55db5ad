"""What a mailing says, made into one message for each recipient. Pure: no models, no settings.

A content is compiled once: whatever could go wrong is found then, by line, and whatever does not
depend on the recipient is encoded then. Rendering is joining.
"""

from __future__ import annotations

import html
import re
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

import msgspec
from django.utils.safestring import mark_safe

from goodstanding.core import addresses
from goodstanding.mailings.mail import confirming, inlining, links, merge, mime, plaintext
from goodstanding.mailings.mail.confirming import Confirm

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from goodstanding.mailings.mail.signing import Signer

BULK: Final = frozenset({"broadcast", "sequence"})
"""Purposes that must let everybody leave, and say who writes. Only in these are opens and links
counted: nobody has agreed to that who gets a receipt, or is asked to confirm, or is written to by
another person."""
SIGNED_OFF: Final = BULK | {confirming.PURPOSE}
"""Purposes that must say where the sender is."""
PERSONAL: Final = "one_off"
"""The purpose of what looks like one person's mail to another, for that it is."""
AUTOMATIC: Final = frozenset({"transactional", "confirmation"})
"""Purposes of which no person presses the button: marked so (RFC 3834 section 5)."""

UNSUBSCRIBE: Final = "unsubscribe_url"
PREFERENCES: Final = "preferences_url"
POSTAL: Final = "postal_address"
OURS: Final = frozenset({UNSUBSCRIBE, PREFERENCES, POSTAL})
"""Merge fields that need no column; they win over a column of the same name."""

_SLOT: Final = "gs_slot_"
_CLICK: Final = f"{_SLOT}click_"
_ADDRESS: Final = f"{_SLOT}address_"
_PIXEL: Final = f"{_SLOT}pixel"
NOWHERE: Final = "#"
"""What stands for an address that a mail must not lead to."""
LARGEST: Final = 1_000_000
"""Characters that one recipient's merge fields may bring into a mail."""
_BREAKS: Final = re.compile(r"[\r\n\x00\x0b\x0c\x85\u2028\u2029]")
# A NUL; and the noncharacters that stand for template tags while HTML is read.
_NOBODYS: Final = re.compile("[\x00\ufdd0-\ufdef]")
_NOT_IN_HEADER: Final = re.compile(r"[^\x21-\x7e]")
_NOT_IN_FEEDBACK_ID: Final = re.compile(r"[^A-Za-z0-9._-]+")
# "=_" occurs in neither quoted-printable nor base64 (RFC 2045 section 6.7).
_BOUNDARY: Final = "=_goodstanding_alternative"


class Content(msgspec.Struct, frozen=True, kw_only=True):
    """What a mailing says, as it was written; texts are templates of :mod:`.merge`."""

    from_address: str
    from_name: str = ""
    reply_to: str | None = None
    subject: str
    html: str | None = None
    text: str | None = None
    postal_address: str = ""
    purpose: str = "broadcast"
    topic: str | None = None
    confirms: tuple[Confirm, ...] = ()
    """What a request for confirmation links to; none: one link, to everything."""


class Recipe(msgspec.Struct, frozen=True):
    """What a mailing's messages are made of: its content, and the merge fields that it may use."""

    content: Content
    fields: tuple[str, ...]

    def compiled(self, signer: Signer | None) -> Compiled:
        """Make it ready; see :func:`compile_content`."""
        return compile_content(self.content, self.fields, signer)


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


class ContentError(ValueError):
    """A content that must not be sent. ``problems``: one plain sentence each."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


class _Scope(NamedTuple):
    """What a slot of a message is filled from."""

    fields: Mapping[str, str]
    stamp: Stamp


class _Made(NamedTuple):
    """What slots are made with: the same for all recipients."""

    postal: str
    addresses: Sequence[_Slotted] = ()
    """What makes the addresses that merge fields decide."""
    confirms: Mapping[str, int] = MappingProxyType({})
    """Which of the links that confirm a merge field is."""


class _Slotted(NamedTuple):
    """A template as fixed texts with slots between them."""

    fixed: list[str]
    slots: list[Callable[[_Scope], str]]

    def values(self, scope: _Scope) -> list[str]:
        return [slot(scope) for slot in self.slots]

    def render(self, scope: _Scope) -> str:
        parts = [""] * (len(self.fixed) + len(self.slots))
        parts[::2] = self.fixed
        parts[1::2] = self.values(scope)
        return "".join(parts)


class _EncodedPart:
    """One part of the message: its own headers, and a body with slots."""

    def __init__(self, subtype: str, template: _Slotted) -> None:
        self._template = template
        self._body = mime.Body(template.fixed)
        self._headers = (
            f'Content-Type: text/{subtype}; charset="utf-8"\r\n'
            f"Content-Transfer-Encoding: {self._body.encoding}\r\n\r\n"
        ).encode()

    def render(self, scope: _Scope) -> bytes:
        return self._headers + self._body.encode(self._template.values(scope))


class Compiled:
    """A content ready to be rendered any number of times, by any number of threads."""

    links: tuple[str, ...]
    """The web addresses of the HTML part that go by a click link, each once, in order."""
    confirms: tuple[Confirm, ...]
    """The links that confirm, in order."""

    def __init__(
        self,
        content: Content,
        links: tuple[str, ...],
        confirms: tuple[Confirm, ...],
        subject: _Slotted,
        parts: Sequence[tuple[str, _Slotted]],
        addresses: Sequence[tuple[int, _Slotted]],
        signer: Signer | None,
    ) -> None:
        self.links = links
        self.confirms = confirms
        self._signer = signer
        self._addresses = addresses
        self._templates = {"subject": subject, **dict(parts)}
        self._leaving = content.purpose in BULK or _offers_leaving(content)
        self._personal = content.purpose == PERSONAL
        self._senders = mime.mailbox("From", content.from_name, _sender(content.from_address))
        if content.reply_to:
            self._senders += mime.mailbox("Reply-To", "", _sender(content.reply_to))
        self._subject = subject
        self._fixed_subject = (
            None if subject.slots else mime.unstructured("Subject", subject.fixed[0])
        )
        self._last = "Auto-Submitted: auto-generated\r\n" if content.purpose in AUTOMATIC else ""
        self._last += "MIME-Version: 1.0\r\n"
        self._parts = [_EncodedPart(subtype, template) for subtype, template in parts]
        if len(parts) > 1:
            kind = f'multipart/alternative;\r\n boundary="{_BOUNDARY}"'
            self._last += f"Content-Type: {kind}\r\n\r\n"

    def render(self, fields: Mapping[str, str], recipient: str, stamp: Stamp) -> bytes:
        """The whole message for one recipient, with CRLF line ends.

        ``fields``: the recipient's merge fields; what is missing is empty.
        ``recipient``: a normalised email address.

        Raises:
            ValueError: the recipient or the stamp cannot stand in a header.
        """
        scope = _Scope(fields, stamp)
        head = f"{self._senders}{self._heading(scope, recipient)}{self._last}".encode()
        if len(self._parts) == 1:
            message = head + self._parts[0].render(scope)
        else:
            rendered = _BETWEEN.join([part.render(scope) for part in self._parts])
            message = b"".join((head, _BEFORE, rendered, _AFTER))
        if self._signer is None:
            return message
        head, _, body = message.partition(b"\r\n\r\n")
        # The stamp's date, not the clock's: a second try is the same message.
        return self._signer.sign(head, body, stamp.date // 1_000_000) + message

    def size(self, fields: Mapping[str, str]) -> int:
        """How many bytes the HTML has in UTF-8 for such fields; 0 where there is none."""
        template = self._templates.get("html")
        if template is None:
            return 0
        return len(template.render(_Scope(fields, _TRIAL)).encode("utf-8", "replace"))

    def problem(self, fields: Mapping[str, str], recipient: str) -> str | None:
        """Why this recipient's message would not be fit to be sent; None: it would be.

        Faster than rendering it, and told before the first one leaves.
        """
        if not mime.is_mailbox(recipient):
            return "the address cannot stand in a To header"
        scope = _Scope(fields, _TRIAL)
        try:
            values = [template.values(scope) for template in self._templates.values()]
            for line, template in self._addresses:
                url = template.render(scope)
                if url and not links.is_whole(url):
                    return (
                        f"html, line {line}: the address would be {url[:80]!r}, which begins with"
                        " neither http://, https://, mailto: nor tel:"
                    )
        except Exception as error:  # noqa: BLE001 - whatever it is, it must not come up later
            return f"it cannot be rendered: {error}"
        if sum(len(value) for each in values for value in each) > LARGEST:
            return f"its merge fields are longer than {LARGEST:,} characters"
        if self._fixed_subject is None and not mime.one_line(self._subject.render(scope)):
            return "the subject would be empty"
        return None

    def _heading(self, scope: _Scope, recipient: str) -> str:
        if not mime.is_mailbox(recipient):
            raise ValueError(f"{recipient[:80]!r} cannot stand in a To header")
        stamp = scope.stamp
        subject = self._fixed_subject
        if subject is None:
            subject = mime.unstructured("Subject", self._subject.render(scope))
        message_id = stamp.message_id.strip("<>")
        given = [message_id]
        lines = [
            f"To: {recipient}\r\n",
            subject,
            f"Date: {mime.date(stamp.date // 1_000_000)}\r\n",
            f"Message-ID: <{message_id}>\r\n",
        ]
        if self._leaving:
            mailto = stamp.unsubscribe_mailto
            by_mail = f"<{mailto}>,\r\n " if mailto else ""
            lines.append(
                f"List-Unsubscribe: {by_mail}<{stamp.one_click_url}>\r\n"
                "List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n"
            )
            given += (stamp.one_click_url, mailto or "")
            if stamp.list_id:
                lines.append(f"List-Id: <{stamp.list_id}>\r\n")
                given.append(stamp.list_id)
        if stamp.feedback_id and not self._personal:
            names = [_NOT_IN_FEEDBACK_ID.sub("_", name) for name in stamp.feedback_id]
            lines.append(f"Feedback-ID: {':'.join(names)}\r\n")
        if _NOT_IN_HEADER.search("".join(given)):
            raise ValueError(f"the stamp of delivery {stamp.delivery} cannot stand in a header")
        return "".join(lines)


_BEFORE: Final = f"--{_BOUNDARY}\r\n".encode()
_BETWEEN: Final = f"\r\n--{_BOUNDARY}\r\n".encode()
_AFTER: Final = f"\r\n--{_BOUNDARY}--\r\n".encode()


def compile_content(
    content: Content, fields: Collection[str], signer: Signer | None = None
) -> Compiled:
    """Check a content and make it ready; ``fields`` are the merge fields that recipients have.

    ``signer``: puts a DKIM signature on every message.

    Raises:
        ContentError: with everything that is wrong, and on which line.
    """
    confirms, problems = _confirms(content)
    known = OURS.union(
        (name for name in fields if not name.startswith(_SLOT) and not confirming.is_field(name)),
        confirming.fields(confirms) or _misplaced(content),
    )
    problems += _header_problems(content)
    subject = _template("subject", content.subject, known, problems, markup=False)
    texts = {"text": content.text, "html": content.html}
    given = {kind: _source(text) for kind, text in texts.items() if text is not None}
    if not given:
        problems.append("a mail needs a text, an HTML part, or both")
    found = {}
    for kind, source in given.items():
        template = _template(kind, source, known, problems, markup=kind == "html")
        if template is not None:
            problems += _footer_problems(kind, source, template, _wanted(content, confirms))
        found[kind] = template
    problems += _confirm_problems(content, confirms, {"subject": subject, **found})
    page = _page(given["html"], content, known, confirms, problems) if "html" in given else None
    if problems or subject is None:
        raise ContentError(problems)
    made = _Made(
        _source(content.postal_address).strip(),
        page.addresses if page else (),
        confirming.fields(confirms),
    )
    if page is not None:
        found["html"] = _final(page.html, page.names, markup=True)
        if "text" not in found:
            found = {"text": _text_of(page, _wanted(content, confirms)), **found}
    # Text comes first: the last alternative is the one preferred (RFC 2046 section 5.1.4).
    compiled = Compiled(
        content,
        page.links if page else (),
        confirms,
        _slotted(subject, made, markup=False),
        [
            ("plain" if kind == "text" else kind, _slotted(template, made, markup=kind == "html"))
            for kind, template in found.items()
            if template is not None
        ],
        list(zip(page.lines, page.addresses, strict=True)) if page else [],
        signer,
    )
    _try(compiled, fields)
    return compiled


class BadRow(NamedTuple):
    """A recipient whose message would not be fit to be sent."""

    row: int
    """Which it is, counted from 1."""
    recipient: str
    problem: str

    def __str__(self) -> str:
        return f"row {self.row:,} ({self.recipient[:320]}): {self.problem}"


def check_rows(compiled: Compiled, rows: Iterable[tuple[str, Mapping[str, str]]]) -> BadRow | None:
    """The first of an audience's rows that cannot be sent, before anything is; None: all can.

    ``rows``: recipients' addresses with their merge fields, read once and not kept.
    """
    for number, (recipient, fields) in enumerate(rows, 1):
        if (problem := compiled.problem(fields, recipient)) is not None:
            return BadRow(number, recipient, problem)
    return None


class _Page(NamedTuple):
    """An HTML part made ready."""

    html: str
    """Styles inlined, with slots for click links, for addresses from fields, and the pixel."""
    plain: str
    """The same with its links as they were, to make a text of."""
    names: frozenset[str]
    """What its templates may use: merge fields and slots."""
    links: tuple[str, ...]
    addresses: Sequence[_Slotted]
    lines: Sequence[int]
    """Where each of the addresses stands."""


def _page(
    source: str,
    content: Content,
    known: Collection[str],
    confirms: Sequence[Confirm],
    problems: list[str],
) -> _Page | None:
    """Make an HTML part ready; what is wrong with it is added to ``problems``."""
    written = links.scan(source)
    wrong = [
        f"html, line {line}: a merge field here would be taken for markup, a script or a"
        " style: put it between tags, or within the quotes of an attribute"
        for line in written.unquoted
    ]
    if written.depth > links.DEEPEST:
        wrong.append(f"html: it is nested more than {links.DEEPEST} elements deep")
    if written.unclosed is not None:
        wrong.append(f"html, line {written.unclosed}: a tag is not closed")
    problems += wrong
    made = _Made("", (), confirming.fields(confirms))
    addresses = [_address(each, known, made, problems) for each in written.built]
    if problems:
        return None
    try:
        source = inlining.inlined(source)
    except inlining.CannotInline as error:
        problems.append(f"html: {error}")
        return None
    scanned = links.scan(source)
    counted = scanned.places if content.purpose in BULK else []
    urls = tuple(dict.fromkeys(place.url for place in counted))
    numbers = {url: n for n, url in enumerate(urls)}
    built = [
        (each.start, each.end, f'"{{{{ {_ADDRESS}{n} }}}}"') for n, each in enumerate(scanned.built)
    ]
    slots = [(p.start, p.end, f'"{{{{ {_CLICK}{numbers[p.url]} }}}}"') for p in counted]
    if content.purpose in BULK:
        slots.append((scanned.body_end, scanned.body_end, f"{{{{ {_PIXEL} }}}}"))
    return _Page(
        html=_replaced(source, [*slots, *built]),
        plain=_replaced(source, built),
        names=frozenset(
            {
                *known,
                _PIXEL,
                *(f"{_CLICK}{n}" for n in range(len(urls))),
                *(f"{_ADDRESS}{n}" for n in range(len(built))),
            }
        ),
        links=urls,
        addresses=[address for address in addresses if address is not None],
        lines=[each.line for each in written.built],
    )


def page_as_shown(source: str) -> str:
    """An HTML template with its styles inlined, so that what they hide can be told."""
    try:
        return inlining.inlined(_source(source))
    except inlining.CannotInline:
        return _source(source)


def _address(
    built: links.Built, known: Collection[str], made: _Made, problems: list[str]
) -> _Slotted | None:
    try:
        template = merge.parse(built.template, known, markup=False)
    except merge.MergeError as exc:
        problems += [
            f"html, line {built.line + line - 1}: in an address: {text}"
            for line, text in exc.problems
        ]
        return None
    return _slotted(template, made, markup=False)


def _text_of(page: _Page, wanted: Sequence[_Wanted]) -> merge.Merge:
    """The text part that a mail without one gets from its HTML."""
    try:
        source = plaintext.from_html(page.plain)
    except plaintext.NoText as error:
        raise ContentError([f"html: {error}; give a text too"]) from None
    template = _final(source, page.names, markup=False)
    seen = {part.name for part in template.parts if isinstance(part, merge.Field)}
    missing = [f"{{{{ {each.names[0]} }}}}\n" for each in wanted if seen.isdisjoint(each.names)]
    if missing:
        template = merge.parse("".join([source, "\n", *missing]), page.names, markup=False)
    return template


def _final(source: str, names: Collection[str], *, markup: bool) -> merge.Merge:
    """Parse what was made here of a template that had nothing wrong with it."""
    try:
        return merge.parse(source, names, markup=markup)
    except merge.MergeError as exc:
        what = "with its styles inlined" if markup else "made into a text (give one too)"
        raise ContentError([f"html, {what}: {exc.problems[0][1]}"]) from None


def _header_problems(content: Content) -> list[str]:
    problems = [
        f"{name}: a line end or a NUL cannot stand in a header"
        for name, value in (
            ("subject", content.subject),
            ("from name", content.from_name),
            ("from address", content.from_address),
            ("reply-to", content.reply_to or ""),
        )
        if _BREAKS.search(value)
    ]
    for name, address in (("from address", content.from_address), ("reply-to", content.reply_to)):
        try:
            if address is not None and not _sender(address).isascii():
                problems.append(f"{name}: only ASCII is understood everywhere before the @")
        except addresses.MalformedAddress as exc:
            problems.append(f"{name}: {exc}")
    if not mime.one_line(content.subject):
        problems.append("subject: it is empty")
    if content.purpose in SIGNED_OFF and not content.postal_address.strip():
        problems.append(
            f"a {content.purpose} must say where the sender is: no postal address is set"
        )
    return problems


def _sender(address: str) -> str:
    return addresses.normalise("email", address).value


def _source(text: str) -> str:
    lines = text.replace("\r\n", "\n").replace("\r", "\n")
    return _NOBODYS.sub("", lines)


def _template(
    where: str, source: str, known: Collection[str], problems: list[str], *, markup: bool
) -> merge.Merge | None:
    try:
        return merge.parse(source, known, markup=markup)
    except merge.MergeError as exc:
        problems += [f"{where}, line {line}: {text}" for line, text in exc.problems]
        return None


class _Wanted(NamedTuple):
    """What everybody must see: one of these merge fields."""

    names: Sequence[str]
    what: str


def _wanted(content: Content, confirms: Sequence[Confirm]) -> list[_Wanted]:
    """What the parts of a mail must hold, in the order in which a text gets what it lacks."""
    wanted = []
    if content.purpose == confirming.PURPOSE:
        wanted.append(_Wanted([*confirming.fields(confirms)], "a link to confirm by"))
    if content.purpose in SIGNED_OFF:
        wanted.append(_Wanted([POSTAL], "the postal address"))
    if content.purpose in BULK:
        wanted.append(_Wanted([UNSUBSCRIBE], "an unsubscribe link"))
    return wanted


def _footer_problems(
    kind: str, source: str, template: merge.Merge, wanted: Sequence[_Wanted]
) -> list[str]:
    """What everybody must see may hang on no condition and hide in no comment."""
    commented = links.scan(source).commented if kind == "html" else []
    problems = []
    for names, what in wanted:
        seen = sum(isinstance(p, merge.Field) and p.name in names for p in template.parts)
        hidden = sum(
            links.within(match.start(), commented)
            for match in re.finditer(
                rf"{{{{\s*(?:{'|'.join(map(re.escape, names))})\s*}}}}", source
            )
        )
        if seen <= hidden:
            problems.append(
                f"{kind}: {what} is missing: write {{{{ {names[0]} }}}} where everybody sees it,"
                " outside of any condition and comment"
            )
    return problems


def _confirms(content: Content) -> tuple[tuple[Confirm, ...], list[str]]:
    """The links by which a mail is confirmed, and what is wrong with them."""
    if content.purpose == confirming.PURPOSE:
        confirms = content.confirms or (confirming.Confirm(),)
        return confirms, confirming.problems(confirms)
    wrong = f"links to confirm by are for a confirmation, not for a {content.purpose}"
    return (), [wrong] if content.confirms else []


def _misplaced(content: Content) -> set[str]:
    """Fields that only a confirmation has: known, so that what is wrong with them is said once."""
    return confirming.fields_in(
        "\n".join((content.subject, content.html or "", content.text or ""))
    )


def _confirm_problems(
    content: Content, confirms: Sequence[Confirm], found: Mapping[str, merge.Merge | None]
) -> list[str]:
    """Whether the mail holds each of its links that confirm, and no other."""
    used = {kind: template.names() for kind, template in found.items() if template is not None}
    misplaced = [
        (kind, name)
        for kind, names in used.items()
        if not confirms or kind == "subject"
        for name in sorted(filter(confirming.is_field, names))
    ]
    if misplaced:
        there = (
            "the text of a confirmation"
            if confirms
            else f"a confirmation, not for a {content.purpose}"
        )
        return [f"{kind}: {{{{ {name} }}}} is for {there}" for kind, name in misplaced]
    # Where there is one link alone, every part must have it.
    return confirming.unused(confirms, set().union(*used.values())) if len(confirms) > 1 else []


_LEAVING: Final = re.compile(rf"\b(?:{UNSUBSCRIBE}|{PREFERENCES})\b")


def _offers_leaving(content: Content) -> bool:
    """Whether it holds a link by which one leaves, so that its headers may have it too."""
    sources = (content.html or "", content.text or "")
    return any(_LEAVING.search(tag) for source in sources for tag in merge.TAG.findall(source))


def _replaced(source: str, edits: list[tuple[int, int, str]]) -> str:
    pieces: list[str] = []
    at = 0
    for start, end, written in sorted(edits):
        if start >= at:
            pieces += (source[at:start], written)
            at = end
    return "".join([*pieces, source[at:]])


def _slotted(template: merge.Merge, made: _Made, *, markup: bool) -> _Slotted:
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
            else:
                slots.append(_block_slot(template, part, made))
    return _Slotted(fixed, slots)


def _postal(text: str) -> str:
    return html.escape(text).replace("\n", "<br>\n")


def _field_slot(name: str, made: _Made, *, markup: bool) -> Callable[[_Scope], str]:
    value = _value_of(name, made)
    if not markup or name == _PIXEL:
        return value
    escape = html.escape
    return lambda scope: escape(value(scope))


def _block_slot(template: merge.Merge, block: merge.Block, made: _Made) -> Callable[[_Scope], str]:
    values = {name: _value_of(name, made) for name in block.names if name != POSTAL}
    fixed = {POSTAL: made.postal} if POSTAL in block.names else {}
    render = template.render_block

    def slot(scope: _Scope) -> str:
        return render(block, {name: value(scope) for name, value in values.items()} | fixed)

    return slot


def _value_of(name: str, made: _Made) -> Callable[[_Scope], str]:
    """Where the value of a merge field comes from; unescaped."""
    if name == UNSUBSCRIBE:
        return lambda scope: scope.stamp.unsubscribe_url
    if name == PREFERENCES:
        return lambda scope: scope.stamp.preferences_url
    if name == _PIXEL:
        return _pixel
    if (confirm := made.confirms.get(name)) is not None:
        return lambda scope: scope.stamp.confirm_url(confirm)
    if name.startswith(_CLICK):
        number = int(name.removeprefix(_CLICK))
        return lambda scope: scope.stamp.click_url(number)
    if name.startswith(_ADDRESS):
        address = made.addresses[int(name.removeprefix(_ADDRESS))]
        return lambda scope: _safe(address.render(scope))
    clean = mime.clean
    return lambda scope: clean(scope.fields.get(name) or "")


def _safe(url: str) -> str:
    """The address, unless it leads where a mail must not: into a script, say."""
    return url if not url or links.is_whole(url) else NOWHERE


def _pixel(scope: _Scope) -> str:
    url = scope.stamp.open_url
    if not url:
        return ""
    return mark_safe(f'<img src="{html.escape(url)}" width="1" height="1" alt="">')  # noqa: S308


class _Trial:
    """A stamp for trying a content before anything is sent."""

    delivery = 0
    date = 0
    message_id = "trial@example.com"
    unsubscribe_url = preferences_url = one_click_url = "https://example.com/"
    unsubscribe_mailto = list_id = None
    open_url: str | None = None
    feedback_id: tuple[str, ...] = ()

    def click_url(self, n: int, /) -> str:
        return f"https://example.com/{n}"

    confirm_url = click_url


_TRIAL: Final = _Trial()


def _try(compiled: Compiled, fields: Collection[str]) -> None:
    """Render with nothing and with something: what fails on any value fails now."""
    for value in ("", "1", "two words\nand a line"):
        try:
            compiled.render(dict.fromkeys(fields, value), "trial@example.com", _TRIAL)
        except Exception as exc:
            raise ContentError(
                [f"it cannot be rendered where fields are {value!r}: {exc}"]
            ) from exc
