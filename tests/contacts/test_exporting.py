"""What is written to a file before it is purged: all of it, and nothing that is obeyed."""

from __future__ import annotations

import csv
import stat
import zipfile
from collections.abc import Iterator
from pathlib import Path

import openpyxl
import pytest

from goodstanding.contacts import exporting, purging, saving
from goodstanding.contacts.saving import CannotSave
from tests.mailings.audience import DAY, NOW, contact, told

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "spool"])


@pytest.fixture(params=[".csv", ".xlsx"])
def file(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return tmp_path / f"gone{request.param}"


def dead(name: str) -> None:
    told("bounced", name, NOW - 200 * DAY, source="smtp", detail={"category": "mailbox_unknown"})


def export(path: Path) -> None:
    found = purging.find(purging.terms(["hard_bounced"], 0, NOW), lambda _: None)
    exporting.export(found, path, lambda _: None)


def read(path: Path) -> Iterator[dict[str, str]]:
    """The rows, by their headings, without what is empty."""
    if path.suffix == ".csv":
        rows = list(csv.reader(path.read_text("utf-8").splitlines()))
    else:
        sheet = openpyxl.load_workbook(path).worksheets[0]
        rows = [[str(cell or "") for cell in row] for row in sheet.iter_rows(values_only=True)]
    for row in rows[1:]:
        yield {name: cell for name, cell in zip(rows[0], row, strict=True) if cell}


def test_it_has_a_row_for_each_address_of_each_contact(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporting, "CHUNK", 1)
    dead("one")
    dead("two")
    contact(
        *("one", "two"),
        on="shoppers",
        first_name="Zoë",
        last_name="Lee",
        company="Acme",
        external_id="c-1",
        fields={"City": "Málaga", "status": "gold"},
    )
    contact("one", fields={"Favourite colour": "red"})
    export(file)
    said = {
        "channel": "email",
        "status": "hard_bounced",
        "since": "2026-03-05T14:13:20Z",
        "category": "mailbox_unknown",
    }
    ann = {
        "first_name": "Zoë",
        "last_name": "Lee",
        "company": "Acme",
        "external_id": "c-1",
        "lists": "shoppers",
        "City": "Málaga",
        "status (field)": "gold",
    }
    rows = sorted(read(file), key=lambda row: (row["address"], -len(row)))
    assert rows == [
        {"address": "one@example.com", **said, **ann},
        {"address": "one@example.com", **said, "Favourite colour": "red"},
        {"address": "two@example.com", **said, **ann},
    ]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


DANGEROUS = ("=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(1)", "\t=1", "\uff1d1+1")


def test_what_looks_like_a_formula_is_none_in_csv(tmp_path: Path) -> None:
    file = tmp_path / "gone.csv"
    dead("one")
    fields = {f"f{place}": text for place, text in enumerate(DANGEROUS)}
    contact("one", first_name="=HYPERLINK(1)", fields={**fields, "phone": "+44 7700 900123"})
    export(file)
    [row] = read(file)
    assert row["first_name"] == "'=HYPERLINK(1)"
    assert [row[f"f{place}"] for place in range(len(DANGEROUS))] == [f"'{t}" for t in DANGEROUS]
    assert row["phone"] == "+44 7700 900123"


def test_what_looks_like_a_formula_is_none_in_a_workbook(tmp_path: Path) -> None:
    file = tmp_path / "gone.xlsx"
    dead("one")
    told_by = (*DANGEROUS, "#N/A", "a\x01b")
    contact("one", first_name="=HYPERLINK(1)", fields={"=f": "", **{t: t for t in told_by}})
    export(file)
    with zipfile.ZipFile(file) as archive:
        assert b"<f" not in archive.read("xl/worksheets/sheet1.xml")
    sheet = openpyxl.load_workbook(file).worksheets[0]
    cells = [cell for row in sheet.iter_rows() for cell in row if cell.value is not None]
    assert {cell.data_type for cell in cells} <= {"s", "inlineStr"}
    said = {cell.value for cell in cells}
    assert said >= {"=HYPERLINK(1)", "=1+1", "@SUM(1)", "#N/A", "a\ufffdb"}
    assert all(cell.quotePrefix for cell in cells if cell.value[0] in "=+-@")


def test_a_file_that_is_there_is_left_alone(file: Path) -> None:
    file.write_text("mine")
    with pytest.raises(CannotSave, match="is there already"):
        export(file)
    assert file.read_text() == "mine"


@pytest.mark.parametrize(
    ("name", "why"),
    [("gone.txt", "must end in .csv or .xlsx"), ("none/gone.csv", "is not a folder")],
)
def test_where_no_file_can_be_is_known_beforehand(tmp_path: Path, name: str, why: str) -> None:
    with pytest.raises(CannotSave, match=why):
        saving.may_be(tmp_path / name)


def test_what_a_workbook_cannot_hold_is_said_and_nothing_is_left(tmp_path: Path) -> None:
    dead("one")
    contact("one", fields={"story": "x" * 40_000})
    with pytest.raises(CannotSave, match="32,767 characters"):
        export(tmp_path / "gone.xlsx")
    assert list(tmp_path.iterdir()) == []
    export(tmp_path / "gone.csv")
    [row] = read(tmp_path / "gone.csv")
    assert len(row["story"]) == 40_000
