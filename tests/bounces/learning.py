"""What likeness is learnt from: the answers of the rules and of the tests, with their categories.

``python -m tests.bounces.learning`` writes ``rules/likeness.json`` anew (``make likeness``).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from goodstanding.bounces import likeness
from goodstanding.bounces.likeness import Counts
from goodstanding.bounces.rulebook import package_rules
from goodstanding.core.categories import CATEGORIES
from tests.bounces.test_replies import REPLIES, WORDINGS

FILE: Final = Path(likeness.__file__).parent / "rules" / "likeness.json"


def known() -> list[tuple[str, str]]:
    """Every known answer by email with its category, each once."""
    return sorted({one for one in _all() if CATEGORIES[one[1]].channel != "sms"})


def _all() -> Iterator[tuple[str, str]]:
    for rule in package_rules().rules:
        if not rule.provider:
            for text in (rule.example, *rule.examples):
                yield text, rule.category
    for reply in REPLIES:
        yield reply["text"], reply["category"]
    for said in WORDINGS:
        for text in said["texts"]:
            yield text, said["category"]


def written(counts: Counts) -> str:
    """``counts`` as JSON, a word a line."""
    words = [
        f"{msgspec.json.encode(word).decode()}:{msgspec.json.encode(found).decode()}"
        for word, found in counts.words.items()
    ]
    answers = msgspec.json.encode(counts.answers).decode()
    return f'{{"answers":{answers},\n"words":{{\n' + ",\n".join(words) + "\n}}\n"


if __name__ == "__main__":
    FILE.write_text(written(likeness.learn(known())), encoding="utf-8")
