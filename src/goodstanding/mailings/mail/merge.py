"""Templates for mails: merge fields, a few filters, if, for. No files, no settings, no methods.

Django's template language, cut down to what can neither reach outside the mail nor fail on the
ten-thousandth recipient. What is wrong is found once, before anything leaves.
"""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING, Any, ClassVar, Final, NamedTuple

from django.template import Context, Engine, Library, Template, TemplateSyntaxError, defaultfilters
from django.template import defaulttags as tags
from django.template.base import FilterExpression, Node, TextNode, Variable, VariableNode

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

TAGS: Final = ("if", "for", "comment")
FILTERS: Final = (
    "add", "capfirst", "cut", "default", "default_if_none", "first", "last", "length",
    "linebreaks", "linebreaksbr", "lower", "pluralize", "slice", "slugify", "title",
    "upper", "urlencode", "wordcount",
)  # fmt: skip
"""None of them marks a text as safe markup that was not, fails on any text, asks for the settings'
language, or lets a template demand a gigabyte of spaces."""

LONGEST: Final = 1_000_000
"""Characters of a template."""

TAG: Final = re.compile(r"{%.*?%}|{{.*?}}|{#.*?#}")
"""Template tags as Django's lexer finds them; none crosses the end of a line."""

_CONSTANTS: Final = {"True", "False", "None"}
_ON_LINE: Final = re.compile(r" on line \d+")
_INVALID_TAG: Final = re.compile(r"Invalid block tag on line \d+: '([^']*)'")


class Field(NamedTuple):
    """A merge field that stands for itself: no filter, in no block."""

    name: str
    line: int


class Default(NamedTuple):
    """A merge field with a fixed text for where it is empty: ``{{ name|default:"friend" }}``.

    The commonest of all filters, which Django takes ten times as long for.
    """

    name: str
    line: int
    instead: str


class Block(NamedTuple):
    """Anything else that depends on the recipient, and the names that it uses."""

    node: Node
    names: frozenset[str]


Part = str | Field | Default | Block


class Merge:
    """A template taken apart: fixed text, merge fields, and blocks for Django to render."""

    def __init__(self, template: Template, parts: tuple[Part, ...]) -> None:
        self._template = template
        self.parts = parts

    def names(self) -> set[str]:
        """Every merge field that it uses, wherever."""
        fields = {part.name for part in self.parts if isinstance(part, Field | Default)}
        return fields.union(*(part.names for part in self.parts if isinstance(part, Block)))

    def render_block(self, block: Block, values: Mapping[str, str]) -> str:
        """Render one block; ``values`` must have every one of its names."""
        context = Context(
            dict(values), autoescape=self._template.engine.autoescape, use_l10n=False, use_tz=False
        )
        context.template = self._template
        return str(block.node.render_annotated(context))


class MergeError(ValueError):
    """What is wrong with a template, each with its line."""

    def __init__(self, problems: list[tuple[int, str]]) -> None:
        super().__init__("; ".join(f"line {line}: {text}" for line, text in problems))
        self.problems = problems


def parse(source: str, known: Collection[str], *, markup: bool) -> Merge:
    """Compile a template whose merge fields are among ``known``.

    ``markup``: values are escaped for HTML.

    Raises:
        MergeError: the syntax is wrong, or there is no such merge field.
    """
    if len(source) > LONGEST:
        raise MergeError([(1, f"it is longer than {LONGEST:,} characters")])
    problems = [
        (_line(source, match.start()), "texts to be translated, _(…), are not available here")
        for match in TAG.finditer(source)
        if "_(" in match[0] and not match[0].startswith("{#")
    ]
    if problems:
        raise MergeError(problems)
    try:
        template = Template(source, engine=_ENGINES[markup])
        uses = list(_uses(template.nodelist, frozenset(), loops=0))
        problems = [found for use in uses if (found := _wrong(use, known)) is not None]
        problems += _left_open(template)
        parts = tuple(_parts(template))
    except TemplateSyntaxError as exc:
        line = getattr(getattr(exc, "token", None), "lineno", 1)
        raise MergeError([(line, _plainly(str(exc)))]) from None
    except RecursionError:
        raise MergeError([(1, "it is nested too deeply")]) from None
    if problems:
        raise MergeError(sorted(problems))
    return Merge(template, parts)


class _Use(NamedTuple):
    """One thing that a template refers to: a variable, or what it may not do at all."""

    line: int
    name: str
    refused: str | None = None


def _wrong(use: _Use, known: Collection[str]) -> tuple[int, str] | None:
    if use.refused is not None:
        return use.line, use.refused
    if use.name in known or use.name in _CONSTANTS:
        return None
    close = difflib.get_close_matches(use.name, known, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    return use.line, f"there is no merge field {use.name!r}{hint}"


def _left_open(template: Template) -> list[tuple[int, str]]:
    """Braces that opened a tag and do not close on the same line would go out as they are."""
    return [
        (_line_of(node) + _line(node.s, match.start()) - 1, f"{match[0]!r} is not closed")
        for node in template.nodelist.get_nodes_by_type(TextNode)
        if isinstance(node, TextNode)
        for match in re.finditer(r"{{|{%", node.s)
    ]


def _parts(template: Template) -> Iterator[Part]:
    fixed: list[str] = []
    for node in template.nodelist:
        if isinstance(node, TextNode):
            fixed.append(node.s)
            continue
        if isinstance(node, tags.CommentNode):
            continue
        yield "".join(fixed)
        fixed = []
        if isinstance(node, VariableNode) and _is_plain(node.filter_expression):
            yield Field(node.filter_expression.var.lookups[0], _line_of(node))
        elif isinstance(node, VariableNode) and (default := _default(node)) is not None:
            yield default
        else:
            names = {use.name for use in _uses([node], frozenset(), loops=0)}
            yield Block(node, frozenset(names - _CONSTANTS))
    yield "".join(fixed)


def _is_plain(expression: FilterExpression) -> bool:
    return bool(expression.is_var and not expression.filters and expression.var.lookups)


def _default(node: VariableNode) -> Default | None:
    expression = node.filter_expression
    match expression.filters:
        case [(defaultfilters.default, [(False, str(instead))])] if expression.is_var:
            return Default(expression.var.lookups[0], _line_of(node), instead)
    return None


def _uses(nodes: Any, bound: frozenset[str], loops: int) -> Iterator[_Use]:
    """Every variable that a template refers to, save those that its own loops bind."""
    for node in nodes:
        line = _line_of(node)
        if isinstance(node, VariableNode):
            yield from _in_expression(node.filter_expression, line, bound)
        elif isinstance(node, tags.IfNode):
            for condition, body in node.conditions_nodelists:
                yield from _in_condition(condition, line, bound)
                yield from _uses(body, bound, loops)
        elif isinstance(node, tags.ForNode):
            if loops:
                yield _Use(line, "", "a loop within a loop is not available here")
            if len(node.loopvars) > 1:
                yield _Use(line, "", "a loop has one variable here")
            yield from _in_expression(node.sequence, line, bound)
            inner = bound | {*node.loopvars, "forloop"}
            yield from _uses(node.nodelist_loop, inner, loops + 1)
            yield from _uses(node.nodelist_empty, bound, loops)


def _in_condition(condition: Any, line: int, bound: frozenset[str]) -> Iterator[_Use]:
    if condition is None:
        return
    if isinstance(condition.value, FilterExpression):
        yield from _in_expression(condition.value, line, bound)
    yield from _in_condition(condition.first, line, bound)
    yield from _in_condition(condition.second, line, bound)


def _in_expression(expression: Any, line: int, bound: frozenset[str]) -> Iterator[_Use]:
    arguments = [value for _, given in expression.filters for _, value in given]
    for variable in (expression.var, *arguments):
        if not isinstance(variable, Variable) or variable.lookups is None:
            continue
        name, *rest = variable.lookups
        if name in bound:
            if rest and name != "forloop":
                yield _Use(line, name, f"{variable.var!r}: a letter of a loop has no parts")
        elif rest:
            yield _Use(line, name, f"{variable.var!r}: merge fields have no parts")
        else:
            yield _Use(line, name)


def _plainly(said: str) -> str:
    if (unknown := _INVALID_TAG.match(said)) is not None:
        return f"the tag {unknown[1].split(',')[0]!r} is not available here: only {', '.join(TAGS)}"
    if said.startswith("Invalid filter"):
        return f"{said} (there are {', '.join(FILTERS)})"
    return _ON_LINE.sub("", said)


def _line_of(node: Node) -> int:
    return (node.token.lineno if node.token is not None else None) or 1


def _line(source: str, position: int) -> int:
    return source.count("\n", 0, position) + 1


class _Engine(Engine):
    """An engine that finds nothing but what it is given."""

    default_builtins: ClassVar[list[str]] = []


def _engine(*, markup: bool) -> Engine:
    library = Library()
    library.tags = {name: tags.register.tags[name] for name in TAGS}
    library.filters = {name: defaultfilters.register.filters[name] for name in FILTERS}
    engine = _Engine(loaders=[], autoescape=markup)
    engine.template_builtins = [library]
    return engine


_ENGINES: Final = {markup: _engine(markup=markup) for markup in (False, True)}
