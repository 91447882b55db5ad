"""What a mailing says, made ready to be rendered for each recipient. Pure: no models, no settings.

A content is compiled once: whatever could go wrong is found then, by line.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec

from goodstanding.mailings.mail import confirming, demands, inlining, links, merge, plaintext
from goodstanding.mailings.mail.content import BULK, OURS, Content, ContentError, source_of
from goodstanding.mailings.mail.rendering import TRIAL, Compiled
from goodstanding.mailings.mail.slots import ADDRESS, CLICK, PIXEL, SLOT, Made, Slotted, slotted

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from goodstanding.mailings.mail.confirming import Confirm
    from goodstanding.mailings.mail.signing import Signer


class Recipe(msgspec.Struct, frozen=True):
    """What a mailing's messages are made of: its content, and the merge fields that it may use."""

    content: Content
    fields: tuple[str, ...]

    def compiled(self, signer: Signer | None) -> Compiled:
        """Make it ready; see :func:`compile_content`."""
        return compile_content(self.content, self.fields, signer)


def compile_content(
    content: Content, fields: Collection[str], signer: Signer | None = None
) -> Compiled:
    """Check a content and make it ready; ``fields`` are the merge fields that recipients have.

    ``signer``: puts a DKIM signature on every message.

    Raises:
        ContentError: with everything that is wrong, and on which line.
    """
    confirms, problems = demands.confirms_of(content)
    known = OURS.union(
        (name for name in fields if not name.startswith(SLOT) and not confirming.is_field(name)),
        confirming.fields(confirms) or demands.misplaced(content),
    )
    problems += demands.header_problems(content)
    subject = _template("subject", content.subject, known, problems, markup=False)
    texts = {"text": content.text, "html": content.html}
    given = {kind: source_of(text) for kind, text in texts.items() if text is not None}
    if not given:
        problems.append("a mail needs a text, an HTML part, or both")
    wanted = demands.wanted_in(content, confirms)
    found = {}
    for kind, source in given.items():
        template = _template(kind, source, known, problems, markup=kind == "html")
        if template is not None:
            problems += demands.footer_problems(kind, source, template, wanted)
        found[kind] = template
    problems += demands.confirm_problems(content, confirms, {"subject": subject, **found})
    page = _page(given["html"], content, known, confirms, problems) if "html" in given else None
    if problems or subject is None:
        raise ContentError(problems)
    made = Made(
        source_of(content.postal_address).strip(),
        page.addresses if page else (),
        confirming.fields(confirms),
    )
    if page is not None:
        found["html"] = _final(page.html, page.names, markup=True)
        if "text" not in found:
            found = {"text": _text_of(page, wanted), **found}
    # Text comes first: the last alternative is the one preferred (RFC 2046 section 5.1.4).
    compiled = Compiled(
        content,
        page.links if page else (),
        confirms,
        slotted(subject, made, markup=False),
        [
            ("plain" if kind == "text" else kind, slotted(template, made, markup=kind == "html"))
            for kind, template in found.items()
            if template is not None
        ],
        list(zip(page.lines, page.addresses, strict=True)) if page else [],
        signer,
    )
    _try(compiled, fields)
    return compiled


class _Page(NamedTuple):
    """An HTML part made ready."""

    html: str
    """Styles inlined, with slots for click links, for addresses from fields, and the pixel."""
    plain: str
    """The same with its links as they were, to make a text of."""
    names: frozenset[str]
    """What its templates may use: merge fields and slots."""
    links: tuple[str, ...]
    addresses: Sequence[Slotted]
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
    made = Made("", (), confirming.fields(confirms))
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
        (each.start, each.end, f'"{{{{ {ADDRESS}{n} }}}}"') for n, each in enumerate(scanned.built)
    ]
    slots = [(p.start, p.end, f'"{{{{ {CLICK}{numbers[p.url]} }}}}"') for p in counted]
    if content.purpose in BULK:
        slots.append((scanned.body_end, scanned.body_end, f"{{{{ {PIXEL} }}}}"))
    return _Page(
        html=_replaced(source, [*slots, *built]),
        plain=_replaced(source, built),
        names=frozenset(
            {
                *known,
                PIXEL,
                *(f"{CLICK}{n}" for n in range(len(urls))),
                *(f"{ADDRESS}{n}" for n in range(len(built))),
            }
        ),
        links=urls,
        addresses=[address for address in addresses if address is not None],
        lines=[each.line for each in written.built],
    )


def page_as_shown(source: str) -> str:
    """An HTML template with its styles inlined, so that what they hide can be told."""
    try:
        return inlining.inlined(source_of(source))
    except inlining.CannotInline:
        return source_of(source)


def _address(
    built: links.Built, known: Collection[str], made: Made, problems: list[str]
) -> Slotted | None:
    try:
        template = merge.parse(built.template, known, markup=False)
    except merge.MergeError as exc:
        problems += [
            f"html, line {built.line + line - 1}: in an address: {text}"
            for line, text in exc.problems
        ]
        return None
    return slotted(template, made, markup=False)


def _text_of(page: _Page, wanted: Sequence[demands.Wanted]) -> merge.Merge:
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


def _template(
    where: str, source: str, known: Collection[str], problems: list[str], *, markup: bool
) -> merge.Merge | None:
    try:
        return merge.parse(source, known, markup=markup)
    except merge.MergeError as exc:
        problems += [f"{where}, line {line}: {text}" for line, text in exc.problems]
        return None


def _replaced(source: str, edits: list[tuple[int, int, str]]) -> str:
    pieces: list[str] = []
    at = 0
    for start, end, written in sorted(edits):
        if start >= at:
            pieces += (source[at:start], written)
            at = end
    return "".join([*pieces, source[at:]])


def _try(compiled: Compiled, fields: Collection[str]) -> None:
    """Render with nothing and with something: what fails on any value fails now."""
    for value in ("", "1", "two words\nand a line"):
        try:
            compiled.render(dict.fromkeys(fields, value), "trial@example.com", TRIAL)
        except Exception as exc:
            raise ContentError(
                [f"it cannot be rendered where fields are {value!r}: {exc}"]
            ) from exc
