"""The documents say what is so: their tables are the data's, their commands and examples work.

The tables between `<!-- table: … -->` and `<!-- end -->` are made from the data files. To make them
anew after a change of the data: `.venv/bin/python tests/test_docs.py`
"""

import json
import mailbox
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
import typer

from goodstanding import bounces
from goodstanding.bounces import taxonomies
from goodstanding.bounces.own import own_rules
from goodstanding.cli import app
from goodstanding.config.options import Options
from goodstanding.core import policy_files, vocabularies
from goodstanding.core.categories import CATEGORIES
from goodstanding.core.events import KINDS
from goodstanding.core.gate import REASONS
from goodstanding.core.keywords import LANGUAGES
from goodstanding.core.policies import UNITS, Span
from goodstanding.core.standings import STATUSES
from goodstanding.core.vocabularies import Vocabulary
from goodstanding.mailings import sequence_files
from goodstanding.mailings.braking import Brake
from goodstanding.mailings.lanes import Lane
from goodstanding.mailings.pacing import Limits

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
MADE = re.compile(r"(<!-- (?:tables?|list): (\w+) -->).*?(<!-- end -->)", re.DOTALL)
BLOCK = re.compile(r"^[ ]*```(\w*)\n(.*?)^[ ]*```$", re.MULTILINE | re.DOTALL)


def table(*headings: str, rows: Iterator[tuple[str, ...]]) -> str:
    lines = [headings, tuple("---" for _ in headings), *rows]
    return "\n".join(["", *(f"| {' | '.join(cells)} |" for cells in lines), ""])


def categories() -> str:
    return table(
        *("category", "whose fault", "what it does", "channel"),
        rows=(
            (f"`{name}`", each.fault, each.disposition, each.channel or "both")
            for name, each in CATEGORIES.items()
        ),
    )


def taxonomy() -> str:
    return table(
        *("category", "whose fault", "what it does", "channel", "what it means", "for example"),
        rows=(
            (
                f"`{name}`",
                CATEGORIES[name].fault,
                CATEGORIES[name].disposition,
                CATEGORIES[name].channel or "both",
                each.meaning,
                f"`{each.example}`",
            )
            for name, each in taxonomies.explained().items()
        ),
    )


def to_other_systems() -> str:
    systems = taxonomies.systems()

    def said(category: str, system: str) -> str:
        word = taxonomies.to_other(category, system)
        return "-" if word is None else f"{'≈ ' if word.nearest else ''}`{word.name}`"

    return table(
        *("category", *(system.title for system in systems.values())),
        rows=(
            (f"`{category}`", *(said(category, system) for system in systems))
            for category in CATEGORIES
        ),
    )


def from_other_systems() -> str:
    return "".join(other_words(name, each) for name, each in taxonomies.systems().items())


def other_words(name: str, system: taxonomies.System) -> str:
    sources = ", ".join(
        f"<{source}>" if source.startswith("http") else source for source in system.sources
    )
    rows = (
        (
            lines(f"`{word}`", *([each.title] if each.title else [])),
            f"`{each.category}`" if each.category else "-",
            each.kind.replace("_", " "),
            "≈" if each.nearest else "",
            each.note or (f"until {each.until}" if each.until else ""),
        )
        for word, each in taxonomies.words_of(name).items()
    )
    return "\n".join(
        [
            f"\n### {system.title}: `{name}`\n",
            f"{system.version}, looked up on {system.looked_up}: {sources}. {system.note}",
            table("word", "category", "kind", "nearest", "what is lost", rows=rows),
        ]
    )


def statuses() -> str:
    words = vocabularies.choose("goodstanding").statuses
    return table(
        *("status", "name", "family", "mail goes", "what it means"),
        rows=(
            (
                f"`{name}`",
                words[name].name or "",
                each.family,
                f"no: `{each.refusal}`" if each.refusal else "yes",
                words[name].meaning,
            )
            for name, each in STATUSES.items()
        ),
    )


def responses() -> str:
    words = vocabularies.choose("goodstanding").responses
    rules = {rule.name: rule for rule in policy_files.load("default").responses}
    return table(
        *("response", "name", "group", "final", "what it means"),
        rows=(
            (
                f"`{name}:REASON`" if name == "skipped" else f"`{name}`",
                words[name].name or "",
                rule.group.replace("_", " "),
                "unless it left" if rule.unless_left else "yes" if rule.final else "",
                words[name].meaning,
            )
            for name, rule in rules.items()
        ),
    )


def reasons() -> str:
    words = vocabularies.choose("goodstanding").responses
    return table(
        "reason",
        "what it means",
        rows=((f"`{reason}`", words[f"skipped:{reason}"].meaning) for reason in REASONS),
    )


def kinds() -> str:
    about: dict[str, list[str]] = {}
    for name, kind in KINDS.items():
        if kind.about != "record":
            about.setdefault(kind.about, []).append(f"`{name}`")
    told = {
        "delivery": "what became of a message",
        "person": "the person's own word",
        "operator": "an operator's act, or an import",
    }
    return table("about", "kinds", rows=((told[a], ", ".join(names)) for a, names in about.items()))


def every_vocabulary() -> str:
    """Our own words first: others fall back to them."""
    found = vocabularies.load()
    ordered = sorted(found, key=lambda name: (name != "goodstanding", name))
    return "".join(vocabulary(name, found[name]) for name in ordered)


def vocabulary(name: str, words: Vocabulary) -> str:
    marks = words.consent_mark
    beside = f" Beside it stands *{marks.confirmed}* or *{marks.unconfirmed}*." if marks else ""
    progress = ", ".join(f"{what} *{name}*" for what, name in words.progress.items())
    return "\n".join(
        [
            f"\n## {words.title}: `{name}`\n",
            f"{words.about}\n",
            f"Where an address stands.{beside}",
            named_statuses(words),
            "What became of a message.",
            named_responses(words),
            f"How far a send is: {progress}.\n",
        ]
    )


def named_statuses(words: Vocabulary) -> str:
    goes = {"yes": "yes", "one_off": "one-off mail only", "no": "no", None: ""}
    rows = []
    for status, entry in words.statuses.items():
        name = ", ".join(entry.marks) or entry.name or ("as by consent alone" if entry.by else "-")
        mail, sms = words.still_goes(status), words.still_goes(status, channel="sms")
        cases = [(f"`{each}`", variant) for each, variant in entry.by_category.items()]
        cases += [("SMS", entry.sms)] if entry.sms else []
        rows.append(
            (
                f"`{status}`",
                lines(name, *(f"{case}: {each.name}" for case, each in cases if each.name)),
                lines(
                    entry.meaning, *(f"{c}: {each.meaning}" for c, each in cases if each.meaning)
                ),
                lines(goes[mail], *([f"SMS: {goes[sms]}"] if sms != mail else [])),
            )
        )
    return table("status", "name", "what it means", "mail still goes", rows=iter(rows))


SHOWN_PRESETS = ("default", "infusionsoft", "keap", "emma", "engage", "creatio")


def presets() -> str:
    """Every setting of every preset, but the tables of retries and responses."""
    policies = [dict(_settings(policy_files.load(name))) for name in SHOWN_PRESETS]
    return table(
        "setting",
        *SHOWN_PRESETS,
        rows=((f"`{name}`", *(each[name] for each in policies)) for name in policies[0]),
    )


def _settings(said: Any, within: str = "") -> Iterator[tuple[str, str]]:
    names = said.__struct_fields__ if isinstance(said, msgspec.Struct) else said
    for name in names:
        value = said[name] if isinstance(said, dict) else getattr(said, name)
        key = f"{within}{name}"
        if key in ("name", "retry", "responses"):
            continue
        if isinstance(value, dict | msgspec.Struct):
            yield from _settings(value, f"{key}.")
        elif isinstance(value, bool):
            yield key, "yes" if value else "no"
        elif isinstance(value, Span):
            unit = next(unit for unit in ("d", "h", "m") if value % UNITS[unit] == 0)
            yield key, f"{value // UNITS[unit]} {unit}"
        else:
            yield key, "off" if value is None else str(value)


def named_responses(words: Vocabulary) -> str:
    rows = []
    names = dict.fromkeys(rule.name for rule in policy_files.load("default").responses)
    for response in (*names, *(f"skipped:{reason}" for reason in REASONS)):
        if response == "skipped":
            continue
        entry = words.responses[response]
        held, sms = entry.when_deferred, entry.sms
        rows.append(
            (
                f"`{response}`",
                lines(entry.name or "-", *([f"after a hold: {held.name}"] if held else [])),
                words.response_name(response, channel="sms") or "-",
                entry.counted_as or "",
                "yes" if entry.final else "",
                lines(
                    entry.meaning,
                    *([f"After a hold: {held.meaning}"] if held else []),
                    *([f"SMS: {sms.meaning}"] if sms and sms.meaning else []),
                    *([f"Reasons: {'; '.join(entry.reasons)}."] if entry.reasons else []),
                ),
            )
        )
    return table(
        "response", "email", "SMS", "counted as", "final", "what it means", rows=iter(rows)
    )


def lines(*said: str) -> str:
    return "<br>".join(said)


SHOWN_WORDS = 6


def keywords() -> str:
    """Some words of each language, as the data has them."""

    def some(words: tuple[str, ...]) -> str:
        return ", ".join(words[:SHOWN_WORDS]) + (" …" if len(words) > SHOWN_WORDS else "")

    return table(
        *("language", "opts out", "opts in again", "asks"),
        rows=(
            (f"`{language}`", some(words.stop), some(words.start), some(words.help))
            for language, words in LANGUAGES.items()
        ),
    )


def filters() -> str:
    from goodstanding.mailings.mail.merge import FILTERS

    return ", ".join(f"`{name}`" for name in FILTERS)


MAKERS: dict[str, Callable[[], str]] = {
    each.__name__: each
    for each in (
        *(categories, statuses, responses, reasons, kinds, filters),
        *(every_vocabulary, presets, keywords),
        *(taxonomy, to_other_systems, from_other_systems),
    )
}


def made_anew(text: str) -> str:
    return MADE.sub(lambda found: f"{found[1]}{MAKERS[found[2]]()}{found[3]}", text)


def named(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_the_tables_are_those_of_the_data(page: Path) -> None:
    text = page.read_text("utf-8")
    assert text == made_anew(text), f"run: .venv/bin/python {named(Path(__file__))}"


def test_every_table_is_somewhere() -> None:
    shown = {found[2] for page in PAGES for found in MADE.finditer(page.read_text("utf-8"))}
    assert shown == MAKERS.keys()


# Settings


def described(heading: str) -> dict[str, str]:
    """The settings in the page's table below a heading, each with its default."""
    text = (ROOT / "docs" / "settings.md").read_text("utf-8")
    part = text.partition(heading)[2].partition("\n## ")[0]
    return dict(re.findall(r"^\| `(\w+)` \| [^|]+ \| (?:`([^`]*)`|none) \|", part, re.MULTILINE))


@pytest.mark.parametrize(
    ("heading", "shape"),
    [
        ("# Settings", Options),
        ("## Lanes", Lane),
        ("## Limits towards a provider", Limits),
        ("## The brake", Brake),
    ],
)
def test_every_setting_is_described_with_its_default(
    heading: str, shape: type[msgspec.Struct]
) -> None:
    made = shape()
    defaults = {name: getattr(made, name) for name in shape.__struct_fields__}
    assert described(heading) == {name: shown(value) for name, value in defaults.items()}


def shown(value: object) -> str:
    """How the page shows a default; of a table of settings it shows that it is one."""
    if value is None:
        return ""
    return "{}" if isinstance(value, msgspec.Struct) else json.dumps(value)


def blocks(language: str) -> list[tuple[str, str]]:
    """The blocks in that language, each with its page."""
    return [
        (named(page), text)
        for page in PAGES
        for found, text in BLOCK.findall(page.read_text("utf-8"))
        if found == language
    ]


def test_the_settings_that_are_shown_can_be_used(tmp_path: Path) -> None:
    shown = blocks("toml")
    assert shown
    for page, text in shown:
        if "base =" in text:
            (tmp_path / "strict.toml").write_text(text)
            assert policy_files.load(str(tmp_path / "strict.toml")).soft["email"].mailings == 3
        elif "[[steps]]" in text:
            for template in re.findall(r'^(?:html|text) = "(.+)"$', text, re.MULTILINE):
                (tmp_path / template).write_text("Hello")
            (tmp_path / "sequence.toml").write_text(text)
            assert sequence_files.read(tmp_path / "sequence.toml").problems == (), page
        elif "[[rule]]" in text:
            (tmp_path / "ours.toml").write_text(text)
            assert own_rules(tmp_path / "ours.toml").files["exchange-team"], page
        else:
            assert msgspec.convert(tomllib.loads(text), Options).lanes["main"].port == 587, page


# Commands


def commands() -> list[tuple[str, str]]:
    """Every command line that a document shows, with its page."""
    found = []
    for page in PAGES:
        text = page.read_text("utf-8")
        lines = [line for _, block in BLOCK.findall(text) for line in block.splitlines()]
        lines += [" ".join(code.split()) for code in re.findall(r"(?<!`)`([^`]+)`(?!`)", text)]
        for line in lines:
            match = re.match(r"\s*(?:\$ )?(?:GOODSTANDING_\w+=\S+ )?goodstanding ([a-z-].*)", line)
            if match:
                found.append((named(page), match[1]))
    return found


def wrong_with(line: str) -> str | None:
    words = shlex.split(line.partition(" | ")[0], comments=True)
    group: Any = typer.main.get_command(app)
    while words and hasattr(group, "get_command"):
        if words[0].startswith("-"):
            break
        command = group.get_command(typer.Context(group), words[0])
        if command is None:
            return f"there is no {words[0]}"
        group, words = command, words[1:]
    options = {name for each in group.params for name in (*each.opts, *each.secondary_opts)} | {
        "--help"
    }
    unknown = [word for word in words if word.startswith("--") and word not in options]
    return f"no {', '.join(unknown)}" if unknown else None


def test_every_command_that_is_shown_exists_with_its_options() -> None:
    shown = commands()
    assert len(shown) > 50
    wrong = [(page, line, why) for page, line in shown if (why := wrong_with(line)) is not None]
    assert wrong == []


def test_a_command_or_an_option_that_is_not_there_is_found() -> None:
    assert wrong_with("chek ann@example.com") == "there is no chek"
    assert wrong_with('report statuses --vocabulry "keap"') == "no --vocabulry"


def test_every_command_is_described() -> None:
    from goodstanding.cli import COMMANDS

    shown = {line.split()[0] for _, line in commands()}
    assert shown >= COMMANDS.keys()


# Examples


def test_the_mail_that_is_shown_can_be_sent() -> None:
    from goodstanding.mailings.mail.compose import compile_content
    from goodstanding.mailings.mail.content import Content

    shown = [text for page, text in blocks("html") if page == "docs/send-a-broadcast.md"]
    assert len(shown) == 1
    content = Content(
        from_address="news@example.com",
        subject="News for {{ first_name }}",
        html=shown[0],
        postal_address="1 High Street",
    )
    compiled = compile_content(content, ["first_name", "city"])
    assert compiled.links == ("https://example.com/june",)


def test_the_events_that_are_shown_can_be_imported(
    environment: dict[str, str], tmp_path: Path
) -> None:
    [shown] = [text for page, text in blocks("json") if page == "docs/import.md"]
    (tmp_path / "history.jsonl").write_text(shown)
    goodstanding = Path(sys.executable).with_name("goodstanding")
    done = subprocess.run(
        [goodstanding, "import-events", tmp_path / "history.jsonl", "--strict", "--json"],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["stored"] == 3


def test_the_library_reads_what_the_page_says() -> None:
    [shown] = [text for _, text in blocks("python") if "read_reply" in text]
    text, provider, said = re.findall(
        r'read_reply\("([^"]+)", provider="([^"]+)"\).*?# (.+?)\n', shown, re.DOTALL
    )[0]
    report = bounces.read_reply(text, provider)
    assert f"{report.category} {report.disposition} {report.rule}" == said


def test_the_library_translates_as_the_page_says(capsys: pytest.CaptureFixture[str]) -> None:
    [shown] = [text for page, text in blocks("python") if page == "docs/bounce-taxonomies.md"]
    exec(shown, {})
    assert capsys.readouterr().out.splitlines() == re.findall(r"  # (.+)$", shown, re.MULTILINE)


def test_the_library_reads_mailboxes_as_the_page_says(tmp_path: Path) -> None:
    [shown] = [text for _, text in blocks("python") if "read_all" in text]
    mail = (
        b"From: MAILER-DAEMON@example.com\nX-Failed-Recipients: ann@example.com\n\n550 5.2.2 full\n"
    )
    with closing(mailbox.mbox(tmp_path / "bounces.mbox")) as box:
        box.add(mail)
    mailbox.Maildir(tmp_path / "Maildir").add(mail)
    done = subprocess.run(
        [sys.executable, "-c", shown], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    lines = done.stdout.splitlines()
    assert lines[0] == "bounces.mbox#1 ['mailbox_full']"
    assert re.fullmatch(r"Maildir/new/\S+ \['mailbox_full'\]", lines[1])


def test_the_tests_that_are_named_are_there() -> None:
    text = "".join(page.read_text("utf-8") for page in PAGES)
    files = set(re.findall(r"`(tests/[\w/]+\.py)`", text))
    assert files
    assert {file for file in files if not (ROOT / file).is_file()} == set()


def scenarios_named() -> set[tuple[str, str]]:
    """The tests that the page on the five documents names, each with its file."""
    text = (ROOT / "docs" / "seeds.md").read_text("utf-8")
    return set(re.findall(r"\[`(test_\w+)`\]\(\.\./(tests/[\w/]+\.py)\)", text))


def defined_in(file: Path) -> set[tuple[str, str]]:
    names = re.findall(r"^def (test_\w+)\(", file.read_text("utf-8"), re.MULTILINE)
    return {(name, named(file)) for name in names}


def test_every_scenario_that_the_page_names_is_there() -> None:
    scenarios = scenarios_named()
    assert len(scenarios) > 80
    files = [ROOT / file for _, file in scenarios]
    assert [file for file in files if not file.is_file()] == []
    assert scenarios - {test for file in files for test in defined_in(file)} == set()


def test_every_scenario_is_on_the_page() -> None:
    there = {
        test
        for file in sorted((ROOT / "tests" / "seeds").glob("test_*.py"))
        for test in defined_in(file)
    }
    assert there - scenarios_named() == set()


if __name__ == "__main__":
    for each in PAGES:
        each.write_text(made_anew(each.read_text("utf-8")), "utf-8")
