"""Reading files: whatever is in them, each bad line is named and the good ones are kept."""

from __future__ import annotations

import codecs
import contextlib
import csv
import io
import random
import time
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from goodstanding.contacts import delimited, workbook
from goodstanding.contacts.headings import lay_out
from goodstanding.contacts.importing import ImportProblem, import_contacts
from goodstanding.contacts.problems import Problems

Rows = list[tuple[int, list[str]]]
FUNCTION_SCOPED = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "contacts.csv"


def read(
    path: Path, content: str | bytes, encoding: str | None = None
) -> tuple[list[str], Rows, dict[int, str]]:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    problems = Problems()
    with delimited.opened(path, encoding, problems) as table:
        rows = list(table.rows)
    assert problems.total >= len(problems.kept)
    return table.headings, rows, {problem.line: problem.why for problem in problems.kept}


def refusal(path: Path, content: str | bytes, **how: Any) -> str:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ImportProblem) as refused:
        import_contacts(path, now=1, **how)
    return str(refused.value)


TABLE = [["email", "nom, prénom"], ["a@example.com", "É; x"], ["b@example.com", "it's\t1"]]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be"])
def test_delimiters_line_ends_and_encodings(
    file: Path, delimiter: str, ending: str, encoding: str
) -> None:
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter, lineterminator=ending).writerows(TABLE)
    bom = codecs.BOM_UTF16_BE if encoding == "utf-16-be" else b""
    headings, rows, problems = read(file, bom + text.getvalue().encode(encoding))
    assert headings == TABLE[0]
    assert rows == [(2, TABLE[1]), (3, TABLE[2])]
    assert problems == {}


@pytest.mark.parametrize(
    ("first", "headings"),
    [
        ("email", ["email"]),
        ("email;name, first", ["email", "name, first"]),
        ("a;b;c,Email,d", ["a;b;c", "Email", "d"]),
        ('"first, last";email', ["first, last", "email"]),
        ("email,city,,", ["email", "city"]),
        ("sep=;\nemail;x,y,z", ["email", "x,y,z"]),
        ('\n\n"sep=\t"\nemail\tx,y', ["email", "x,y"]),
        ("\n \nemail,city", ["email", "city"]),
    ],
)
def test_the_delimiter_is_found(file: Path, first: str, headings: list[str]) -> None:
    assert read(file, first + "\n")[0] == headings


def test_a_line_that_is_not_utf8_is_named_and_the_others_kept(file: Path) -> None:
    content = b"email,name\na@example.com,Ann\nb@example.com,Jos\xe9\nc@example.com,Cat\n"
    _, rows, problems = read(file, content)
    assert [line for line, _ in rows] == [2, 4]
    assert problems == {3: "it is not UTF-8 (perhaps it is windows-1252)"}
    _, rows, problems = read(file, content, "windows-1252")
    assert rows[1] == (3, ["b@example.com", "José"])
    assert problems == {}
    _, rows, problems = read(file, b"email\na@example.com\n\x81@example.com\n", "windows-1252")
    assert problems == {3: "it is not WINDOWS-1252"}


def test_utf16_that_breaks_off_or_is_broken(file: Path) -> None:
    text = "email\na@example.com\n\ud800@example.com\nb@example.com"
    content = codecs.BOM_UTF16_LE + text.encode("utf-16-le", "surrogatepass") + b"x"
    _, rows, problems = read(file, content)
    assert rows == [(2, ["a@example.com"])]
    assert list(problems) == [3, 4]


def test_headings_that_cannot_be_read(file: Path) -> None:
    assert "headings in line 1 cannot be read: it is not UTF-8" in refusal(file, b"email,\xe9\n")
    assert "line 1 cannot be read: it has a NUL" in refusal(file, "email\n".encode("utf-16-le"))
    assert "line 2 cannot be read: text follows a closing" in refusal(file, '\n"email,x\n')
    assert refusal(file, b"") == refusal(file, b"\n\n") == "The file is empty."
    assert refusal(file, b"sep=;\n") == "The file has no headings."
    assert "its columns are none." in refusal(file, b",,,\n")
    assert "There is no encoding 'klingon'" in refusal(file, b"email\n", encoding="klingon")
    assert "There is no encoding 'zip'" in refusal(file, b"email\n", encoding="zip")
    assert "more than 500 columns" in refusal(file, b"email" + b",x" * 500)
    assert "heading of column 2 is longer than 200" in refusal(file, b"email," + b"x" * 999)
    assert "longer than 1,000,000 characters" in refusal(file, b"email," * 1_000_000)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none.csv"):
        with pytest.raises(ImportProblem, match="is not a file"):
            import_contacts(path, now=1)


def test_ragged_rows(file: Path) -> None:
    _, rows, problems = read(file, "email,name\na@example.com\nb@example.com,B,\nc@x.example,C,D\n")
    assert rows == [(3, ["b@example.com", "B"])]
    assert problems == {
        2: "it has 1 cells, the headings have 2",
        4: "it has 3 cells, the headings have 2",
    }


def test_blank_lines_are_nothing(file: Path) -> None:
    _, rows, problems = read(file, "email,name\n\n,\n  ,\n\na@example.com,A\n\n")
    assert rows[-1] == (6, ["a@example.com", "A"])
    assert problems == {}


def test_nul_characters(file: Path) -> None:
    _, rows, problems = read(file, "email\na@example.com\nb\0@example.com\nc@example.com\n")
    assert [line for line, _ in rows] == [2, 4]
    assert problems == {3: "it has a NUL character"}


@pytest.mark.parametrize("quoted", [False, True])
def test_a_million_character_cell(file: Path, quoted: bool) -> None:
    quote = '"' if quoted else ""
    for size in (999_000, 1_000_000, 5_000_000):
        cell = quote + "x" * size + quote
        content = f"email,note\na@example.com,1\nb@example.com,{cell}\nc@example.com,2\n"
        _, rows, problems = read(file, content)
        assert [line for line, _ in rows] == [2, 4]
        assert list(problems) == [3]
        assert "column 2" in problems[3]
        assert "is longer than 100,000 characters" in problems[3]
    _, rows, problems = read(file, f"email,note\nb@example.com,{quote}{'x' * 100_000}{quote}\n")
    assert (len(rows), problems) == (1, {})
    _, rows, problems = read(file, f"email,note\nb@example.com,{quote}{'x' * 100_001}{quote}\n")
    assert (len(rows), list(problems)) == (0, [2])
    assert "column 2 (note)" in problems[2]


def test_an_unclosed_quote_costs_its_own_line_alone(file: Path) -> None:
    good = "".join(f"p{n}@example.com,x\n" for n in range(5000))
    _, rows, problems = read(file, f'email,name\na@example.com,"Ann\n{good}z@example.com,"Z"\n')
    assert len(rows) == 5001
    assert rows[0] == (3, ["p0@example.com", "x"])
    assert rows[-1] == (5003, ["z@example.com", "Z"])
    assert list(problems) == [2]
    assert "quote" in problems[2]


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ('a@example.com,"Ann\n', [2]),
        ('a@example.com,"Ann "the" Great"\n', [2]),
        ('a@example.com,"Ann"x\n', [2]),
        ('a@example.com,"Ann\nb@example.com,"Ben\n', [2, 3]),
    ],
)
def test_quotes_that_do_not_match(file: Path, text: str, lines: list[int]) -> None:
    _, rows, problems = read(file, f"email,name\n{text}z@example.com,Z\n")
    assert [cells for _, cells in rows] == [["z@example.com", "Z"]]
    assert list(problems) == lines


def test_cells_of_several_lines_count_as_the_lines_they_are(file: Path) -> None:
    _, rows, problems = read(
        file, 'email,note\na@example.com,"one\ntwo ""2""\n"\nb@example.com\nc@example.com,3\n'
    )
    assert rows == [
        (2, ["a@example.com", 'one\ntwo "2"\n']),
        (6, ["c@example.com", "3"]),
    ]
    assert list(problems) == [5]


@pytest.mark.parametrize(
    "line", ['x","z\n', '"\n', '""\n', '"x\n', 'a,""",\n', '","\n', ",\n", '"' * 50 + "\n", "\r"]
)
def test_time_and_memory_are_linear_wherever_the_quotes_stand(file: Path, line: str) -> None:
    def seconds(size: int) -> float:
        file.write_text("email,name\n" + line * (size // len(line)))
        began = time.process_time()
        problems = Problems()
        with delimited.opened(file, None, problems) as table:
            for _ in table.rows:
                pass
        return time.process_time() - began

    seconds(100_000)
    assert seconds(1_500_000) < 6


def test_a_file_without_a_line_end_takes_no_memory(file: Path) -> None:
    with file.open("wb") as out:
        out.write(b"email\n")
        for _ in range(50):
            out.write(b"x" * 1_000_000)
        out.write(b"\na@example.com\n")
    tracemalloc.start()
    problems = Problems()
    with delimited.opened(file, None, problems) as table:
        assert [line for line, _ in table.rows] == [3]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 24_000_000
    assert [problem.line for problem in problems.kept] == [2]


TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)


@FUNCTION_SCOPED
@given(
    rows=st.lists(st.tuples(TEXT, TEXT), max_size=8),
    delimiter=st.sampled_from(",;\t"),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
)
def test_what_a_writer_of_csv_wrote_is_read_as_it_was(
    file: Path, rows: list[tuple[str, str]], delimiter: str, encoding: str
) -> None:
    text = io.StringIO()
    writer = csv.writer(text, delimiter=delimiter, quoting=csv.QUOTE_ALL)
    writer.writerows([("email", "name"), *rows])
    _, found, problems = read(file, text.getvalue().encode(encoding))
    assert [cells for _, cells in found] == [list(row) for row in rows if any(row)]
    assert problems == {}


@FUNCTION_SCOPED
@given(
    content=st.one_of(
        st.binary(max_size=300),
        st.binary(max_size=300).map(lambda noise: b"email,name\n" + noise),
        st.text("a\"',;\t\r\n@é\0", max_size=200).map(lambda noise: ("email,a\n" + noise).encode()),
        st.sampled_from([codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF8]).flatmap(
            lambda bom: st.binary(max_size=100).map(lambda noise: bom + noise)
        ),
    ),
    encoding=st.sampled_from([None, "windows-1252", "utf-16", "shift_jis", "utf-7", "idna"]),
)
@example(b"PK\x03\x04", None)
def test_nothing_but_a_plain_error_comes_of_noise(
    file: Path, content: bytes, encoding: str | None
) -> None:
    """Every line is in a row, in a problem, or blank; whatever is wrong is one of ours."""
    try:
        headings, rows, problems = read(file, content, encoding)
    except (ImportProblem, UnicodeError):  # the latter made a plain error by import_contacts
        return
    assert all(len(cells) == len(headings) for _, cells in rows)
    assert not any("\0" in cell for _, cells in rows for cell in cells)
    assert not {line for line, _ in rows} & problems.keys()
    for _, cells in rows:
        "".join(cells).encode()


@FUNCTION_SCOPED
@given(seed=st.integers(0, 10**6), bad=st.sets(st.integers(0, 19), max_size=6))
def test_good_lines_are_kept_whatever_the_bad_ones_are(
    file: Path, seed: int, bad: set[int]
) -> None:
    chance = random.Random(seed)
    lines = []
    for number in range(20):
        wrong = [b"x@example.com", b"x,y,z", b'x,"y', b"\xff,y", b"a\0,y", b'x,"y"z']
        lines.append(chance.choice(wrong) if number in bad else b"g%d@example.com,G" % number)
    _, rows, problems = read(file, b"\n".join([b"email,name", *lines]) + b"\n")
    assert {line - 2 for line, _ in rows} == set(range(20)) - bad
    assert {line - 2 for line in problems} == bad


@given(st.lists(st.text(max_size=20), max_size=12))
def test_headings_of_any_text(headings: list[str]) -> None:
    try:
        layout = lay_out(headings, {})
    except ImportProblem:
        return
    assert layout.email or layout.phone
    names = [name for _, name in layout.extra]
    assert len(names) == len(set(names))


# Workbooks.


def rezip(path: Path, parts: dict[str, bytes]) -> Path:
    """A small workbook, with some of its parts replaced."""
    book = openpyxl.Workbook()
    book.active.append(["email"])
    book.active.append(["a@example.com"])
    whole = io.BytesIO()
    book.save(whole)
    with (
        zipfile.ZipFile(whole) as old,
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for name in old.namelist():
            if name not in parts:
                new.writestr(name, old.read(name))
        for name, content in parts.items():
            new.writestr(name, content)
    return path


SHEET = "xl/worksheets/sheet1.xml"
OPEN = b'<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><sheetData>'
CLOSE = b"</sheetData></worksheet>"
HEAD = b'<row r="1"><c r="A1" t="inlineStr"><is><t>email</t></is></c></row>'


def row(number: int, text: bytes) -> bytes:
    return b'<row r="%d"><c r="A%d" t="inlineStr"><is><t>%s</t></is></c></row>' % (
        number,
        number,
        text,
    )


def read_book(path: Path) -> tuple[Rows, dict[int, str]]:
    problems = Problems()
    with workbook.opened(path, problems) as table:
        rows = list(table.rows)
    return rows, {problem.line: problem.why for problem in problems.kept}


@pytest.mark.parametrize(
    ("parts", "why"),
    [
        ({SHEET: OPEN + HEAD + b"<row/>" * 100 + b"<x>" * 50}, "too large"),
        ({SHEET: OPEN + HEAD + b"<row><c>" + b" " * 17_000_000}, "too large"),
        ({SHEET: b"<!DOCTYPE x [<!ENTITY a 'b'>]>" + OPEN + CLOSE}, "declares a document type"),
        ({"xl/styles.xml": b"<a>" + b"<b/>" * 200_001 + b"</a>"}, "too large"),
        ({"xl/styles.xml": b" " * 17_000_000}, "too large"),
        ({"xl/workbook.xml": b"<a"}, "not a workbook that can be read"),
        ({"[Content_Types].xml": b"<a/>"}, "not a workbook that can be read"),
        ({SHEET: OPEN + CLOSE}, "is empty"),
    ],
)
def test_bombs_and_broken_workbooks(tmp_path: Path, parts: dict[str, bytes], why: str) -> None:
    path = rezip(tmp_path / "x.xlsx", parts)
    began = time.process_time()
    with pytest.raises(ImportProblem, match=why):
        read_book(path)
    assert time.process_time() - began < 5


def test_a_workbook_that_claims_gigabytes(tmp_path: Path) -> None:
    path = rezip(tmp_path / "x.xlsx", {})
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("xl/media/image1.png", b"")
        archive.getinfo("xl/media/image1.png").file_size = 1_500_000_000
    with pytest.raises(ImportProblem, match="over 1,500 MB unpacked"):
        read_book(path)


def test_a_million_character_cell_in_a_workbook(tmp_path: Path) -> None:
    sheet = OPEN + HEAD + row(2, b"a@x.example") + row(3, b"x" * 1_000_000) + row(4, b"b@x.example")
    rows, problems = read_book(rezip(tmp_path / "x.xlsx", {SHEET: sheet + CLOSE}))
    assert [line for line, _ in rows] == [2, 4]
    assert problems == {3: "the cell in column 1 (email) is longer than 100,000 characters"}


def test_rows_far_apart_keep_their_numbers_and_take_no_time(tmp_path: Path) -> None:
    sheet = OPEN + HEAD + row(900_000, b"a@x.example") + row(99_999_999_999, b"b@x.example") + CLOSE
    rows, _ = read_book(rezip(tmp_path / "x.xlsx", {SHEET: sheet}))
    assert rows == [(900_000, ["a@x.example"])]


def test_a_sheet_that_breaks_off_keeps_the_rows_before(tmp_path: Path) -> None:
    bad = b'<row r="3"><c r="A3" t="s"><v>77</v></c></row>'
    sheet = OPEN + HEAD + row(2, b"a@x.example") + bad + row(4, b"b@x.example") + CLOSE
    rows, problems = read_book(rezip(tmp_path / "x.xlsx", {SHEET: sheet}))
    assert [line for line, _ in rows] == [2]
    assert list(problems) == [3]
    assert problems[3].startswith("it and all after it cannot be read")


def test_old_and_locked_workbooks_are_named_as_such(file: Path) -> None:
    content = bytes.fromhex("d0cf11e0a1b11ae1") + bytes(100)
    assert "old or a locked workbook" in refusal(file, content)


@settings(FUNCTION_SCOPED, max_examples=40)
@given(st.data())
def test_a_workbook_with_any_octets_changed(tmp_path: Path, data: st.DataObject) -> None:
    path = rezip(tmp_path / "x.xlsx", {})
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        # A workbook's size differs from run to run by its times: what is drawn must not.
        place = data.draw(st.integers(0, 1 << 30)) % len(content)
        content[place] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    with contextlib.suppress(ImportProblem):
        read_book(path)
