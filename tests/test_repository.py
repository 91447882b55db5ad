"""The repository is fit for others: nothing of one machine in it, nothing broken, nothing vague."""

import ast
import csv
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "goodstanding"
TESTS = ROOT / "tests"

# Put together here, so that this file does not hold what it looks for.
MACHINE_PATHS = tuple(f"/{folder}/" for folder in ("work", "root", "home/runner"))
REGISTRY_HOSTS = tuple(
    ".".join(labels)
    for labels in (
        ("pypi", "org"),
        ("files", "pythonhosted", "org"),
        ("registry", "npmjs", "org"),
        ("deb", "debian", "org"),
    )
)
TEXT_LIMIT = 2_000_000  # bytes; what is larger belongs elsewhere
VAGUE_NAMES = {"utils", "util", "helpers", "misc", "common", "stuff"}


def tracked() -> list[Path]:
    """List the files of the repository, those not yet committed but not ignored included."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git repository: there is no list of its files")
    paths = [ROOT / name for name in listed.stdout.split("\0") if name]
    return [path for path in paths if path.is_file()]


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def test_no_file_names_a_machine_or_a_registry() -> None:
    unwanted = [text.encode() for text in MACHINE_PATHS + REGISTRY_HOSTS]
    found = [
        f"{name(path)}: {text.decode()}"
        for path in tracked()
        for text in unwanted
        if text in path.read_bytes()
    ]
    assert not found


def test_no_file_is_huge() -> None:
    assert [name(path) for path in tracked() if path.stat().st_size > TEXT_LIMIT] == []


def test_every_data_file_can_be_read() -> None:
    broken = []
    for path in tracked():
        if path.suffix != ".py" and TESTS in path.parents:
            continue  # tests may well keep broken ones to see what is made of them
        try:
            match path.suffix:
                case ".toml":
                    tomllib.loads(path.read_text("utf-8"))
                case ".json":
                    json.loads(path.read_text("utf-8"))
                case ".jsonl":
                    for line in path.read_text("utf-8").splitlines():
                        json.loads(line)
                case ".py":
                    ast.parse(path.read_text("utf-8"))
                case ".csv" if SOURCE in path.parents:
                    with path.open(encoding="utf-8", newline="") as file:
                        list(csv.reader(file, strict=True))
        except (ValueError, SyntaxError, csv.Error) as error:
            broken.append(f"{name(path)}: {error}")
    assert not broken


def test_every_module_has_a_name_that_says_what_it_is() -> None:
    vague = [name(path) for path in tracked() if path.suffix == ".py" and path.stem in VAGUE_NAMES]
    assert not vague


def test_every_room_and_module_says_what_it_is_for() -> None:
    silent = [
        name(path)
        for path in tracked()
        if path.suffix == ".py"
        and SOURCE in path.parents
        and "migrations" not in path.parts
        and path.read_bytes().strip()
        and ast.get_docstring(ast.parse(path.read_text("utf-8"))) is None
    ]
    assert not silent


def test_what_is_locked_has_hashes_and_names_no_index() -> None:
    for path in sorted((ROOT / "requirements").glob("*.txt")):
        text = path.read_text("utf-8")
        entries = re.split(r"\n(?=[a-z0-9])", text.split("\n", 2)[2])
        assert entries
        for entry in entries:
            assert re.match(r"[a-z0-9.\-]+==\S+", entry), entry
            assert "--hash=sha256:" in entry, entry
        assert not re.search(r"index-url|find-links|trusted-host|https?:", text), name(path)


def test_every_dependency_is_locked() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    groups = project["dependency-groups"]
    for wanted, file in (
        (project["project"]["dependencies"] + groups["build"], "runtime.txt"),
        (groups["dev"], "dev.txt"),
    ):
        locked = set(
            re.findall(
                r"^([a-z0-9.\-]+)==", (ROOT / "requirements" / file).read_text(), re.MULTILINE
            )
        )
        names = {re.split(r"[\[<>=~!;\s]", line)[0].lower().replace("_", "-") for line in wanted}
        assert names <= locked, f"run make lock: {file} lacks {names - locked}"


def documents() -> list[Path]:
    paths = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("**/*.md"))]
    return [path for path in paths if path.is_file()]


def test_documents_name_only_targets_that_make_knows() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    unknown = [
        f"{name(path)}: make {target}"
        for path in documents()
        for target in re.findall(r"(?:^|`)make ([a-z]+)", path.read_text("utf-8"), re.MULTILINE)
        if target not in targets
    ]
    assert not unknown


def test_documents_name_only_commands_that_there_are() -> None:
    pytest.importorskip("goodstanding.cli", reason="no command line yet")
    named = {
        command: name(path)
        for path in documents()
        for command in re.findall(
            r"(?:^\$? ?|`)goodstanding ([a-z][a-z-]*)", path.read_text(), re.MULTILINE
        )
    }
    if not named:
        pytest.skip("no document names a command yet")
    helped = subprocess.run(
        [Path(sys.executable).with_name("goodstanding"), "--help"],
        check=True,
        capture_output=True,
        text=True,
        env={"COLUMNS": "200", "NO_COLOR": "1", "PATH": ""},
    )
    known = set(re.findall(r"^\W*([a-z][a-z-]+)", helped.stdout, re.MULTILINE))
    assert {c: where for c, where in named.items() if c not in known} == {}


def test_links_between_documents_lead_somewhere() -> None:
    lost = [
        f"{name(path)}: {target}"
        for path in documents()
        for target in re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", path.read_text("utf-8"))
        if not (path.parent / target).exists()
    ]
    assert not lost


def test_example_addresses_are_nobodys() -> None:
    """Domains of addresses in documents are those that RFC 2606 keeps free for examples."""
    domains = {
        domain.lower()
        for path in documents()
        for domain in re.findall(r"[\w.+-]+@((?:[\w-]+\.)+[a-z]{2,})", path.read_text("utf-8"))
    }
    free = re.compile(r"(?:.*\.)?(?:example\.(?:com|net|org)|[\w-]+\.example|test|invalid)")
    assert {domain for domain in domains if not free.fullmatch(domain)} == set()
