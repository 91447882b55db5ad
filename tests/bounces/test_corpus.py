"""How well real bounce mail is read. The mails are no part of the repository.

Looked for in the folder that BOUNCES_CORPUS names, else in ``../shared/corpus``: ``bounces/``
with the mails and ``bounces.jsonl`` with what each should be read as.
"""

import json
import os
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from goodstanding.bounces import Report, read

ROOT = Path(__file__).parents[2]
CORPUS = Path(os.environ.get("BOUNCES_CORPUS") or ROOT.parent / "shared" / "corpus")

# percent of what is checked that must be read as expected
AT_LEAST = {
    "kind": 99.0,
    "recipient": 98.5,
    "category": 95.5,
    "status": 98.5,
    "code": 99.0,
    "hard": 97.5,
    "not hard": 98.5,
    "feedback_type": 99.0,
}


@pytest.fixture(scope="module")
def marks() -> tuple[Counter[str], Counter[str], list[str]]:
    if not (CORPUS / "bounces.jsonl").is_file():
        reason = f"NO CORPUS at {CORPUS}: how well real mail is read was NOT measured"
        warnings.warn(reason, stacklevel=1)
        pytest.skip(reason)
    asked: Counter[str] = Counter()
    right: Counter[str] = Counter()
    wrong: list[str] = []
    for line in (CORPUS / "bounces.jsonl").read_text().splitlines():
        mail = json.loads(line)
        left = read((CORPUS / "bounces" / mail["file"]).read_bytes())
        for expected in mail["expect"]:
            report = take(left, expected.get("recipient"))
            for name, fits in judged(report, expected).items():
                asked[name] += 1
                right[name] += fits
                if not fits:
                    wrong.append(f"{mail['file']}: {name}: {expected} but {report}")
    return asked, right, wrong


def take(left: list[Report], recipient: str | list[str] | None) -> Report | None:
    """The report about this recipient, else any, removed from those left."""
    names = [recipient] if isinstance(recipient, str) else recipient or []
    wanted = {name.lower() for name in names}
    for report in left:
        if (report.recipient or "").lower() in wanted:
            left.remove(report)
            return report
    return left.pop(0) if left else None


def judged(report: Report | None, expected: dict[str, Any]) -> dict[str, bool]:
    marks = {"kind": among(report.kind if report else None, expected["kind"])}
    if expected.get("recipient"):
        marks["recipient"] = among(report.recipient if report else None, expected["recipient"])
    for field in ("status", "code", "feedback_type"):
        if expected.get(field):
            marks[field] = report is not None and getattr(report, field) == expected[field]
    if expected.get("accept"):
        marks["category"] = report is not None and report.category in expected["accept"]
    if expected.get("hard") is not None:
        hard = report is not None and report.disposition == "hard"
        marks["hard" if expected["hard"] else "not hard"] = hard == expected["hard"]
    return marks


def among(value: str | None, right: str | list[str]) -> bool:
    names = [right] if isinstance(right, str) else right
    return value is not None and value.lower() in {name.lower() for name in names}


@pytest.mark.parametrize("name", AT_LEAST)
def test_real_mail_is_read(name: str, marks: tuple[Counter[str], Counter[str], list[str]]) -> None:
    asked, right, wrong = marks
    share = 100 * right[name] / asked[name]
    misread = "\n".join(one for one in wrong if f": {name}: " in one)
    assert share >= AT_LEAST[name], f"{name}: {share:.1f} %\n{misread}"
