"""How well real bounce mail is read: ``python -m benchmarks.corpus``. The mails are others'.

They are looked for in the folder that BOUNCES_CORPUS names, else in ``../shared/corpus``:
``bounces/`` with the mails, and ``bounces.jsonl`` with what each should be read as, a line a file:
``{"file", "expect": [{"kind", "recipient", "status", "code", "accept", "hard",
"feedback_type"}]}``, one for each recipient, null where it is not checked, a list where several
are right.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path
from typing import Any, Final

import msgspec
from rich.console import Console
from rich.table import Table

from goodstanding.bounces import Report, read

CORPUS: Final = Path(
    os.environ.get("BOUNCES_CORPUS") or Path(__file__).parent.parent.parent / "shared" / "corpus"
)


class Marks(msgspec.Struct):
    """Of how many things that were checked (``asked``) how many were ``right``, by their kind.

    ``wrong`` says of each that was not what it should have been.
    """

    asked: Counter[str]
    right: Counter[str]
    wrong: list[str]

    def share(self, name: str) -> float:
        """The percentage that was right."""
        return 100 * self.right[name] / self.asked[name]


def there() -> bool:
    """Whether the mails are."""
    return (CORPUS / "bounces.jsonl").is_file()


def mails() -> list[bytes]:
    """The mails; none where they are not there."""
    return [file.read_bytes() for file in sorted((CORPUS / "bounces").glob("*.eml"))]


def marks() -> Marks:
    """Read all of them and compare."""
    found = Marks(Counter(), Counter(), [])
    for line in (CORPUS / "bounces.jsonl").read_text().splitlines():
        mail = json.loads(line)
        left = read((CORPUS / "bounces" / mail["file"]).read_bytes())
        for expected in mail["expect"]:
            report = _take(left, expected.get("recipient"))
            for name, fits in _judged(report, expected).items():
                found.asked[name] += 1
                found.right[name] += fits
                if not fits:
                    found.wrong.append(f"{mail['file']}: {name}: {expected} but {report}")
    return found


def show(found: Marks, console: Console) -> None:
    """Print the figures, and what was read otherwise."""
    table = Table(title="Real bounce mails, read as they should be", title_justify="left")
    table.add_column("what")
    for heading in ("of", "wrong", "right"):
        table.add_column(heading, justify="right")
    for name, title in _TITLES.items():
        wrong = found.asked[name] - found.right[name]
        right = f"{found.share(name):.1f} %" if found.asked[name] else "-"
        table.add_row(title, str(found.asked[name]), str(wrong), right)
    console.print(table)
    for one in found.wrong:
        console.print(one, markup=False, highlight=False, soft_wrap=True)


_TITLES: Final = {
    "kind": "kind",
    "recipient": "recipient",
    "category": "category",
    "not hard": "not hard (wrong: wrongly hard)",
    "hard": "hard (wrong: hard missed)",
    "status": "enhanced status code",
    "code": "reply code",
    "feedback_type": "feedback type",
}


def _take(left: list[Report], recipient: str | list[str] | None) -> Report | None:
    """The report about this recipient, else any, removed from those left."""
    names = [recipient] if isinstance(recipient, str) else recipient or []
    wanted = {name.lower() for name in names}
    for report in left:
        if (report.recipient or "").lower() in wanted:
            left.remove(report)
            return report
    return left.pop(0) if left else None


def _judged(report: Report | None, expected: dict[str, Any]) -> dict[str, bool]:
    fits = {"kind": _among(report.kind if report else None, expected["kind"])}
    if expected.get("recipient"):
        fits["recipient"] = _among(report.recipient if report else None, expected["recipient"])
    for field in ("status", "code", "feedback_type"):
        if expected.get(field):
            fits[field] = report is not None and getattr(report, field) == expected[field]
    if expected.get("accept"):
        fits["category"] = report is not None and report.category in expected["accept"]
    if expected.get("hard") is not None:
        hard = report is not None and report.disposition == "hard"
        fits["hard" if expected["hard"] else "not hard"] = hard == expected["hard"]
    return fits


def _among(value: str | None, right: str | list[str]) -> bool:
    names = [right] if isinstance(right, str) else right
    return value is not None and value.lower() in {name.lower() for name in names}


if __name__ == "__main__":
    if not there():
        raise SystemExit(f"There is no corpus at {CORPUS}.")
    show(marks(), Console())
