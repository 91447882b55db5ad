"""What is wrong with a pattern before it meets any text."""

from __future__ import annotations

import re
from typing import Final

import hyperscan

from goodstanding.bounces.compiled import compile_patterns

_LONGEST: Final = 2000  # bytes of one pattern
_WIDEST: Final = 5000  # places, with every repeat written out: what compiling costs
_PART: Final = re.compile(
    r"\\.|\[\^?\]?(?:\\.|\[:[a-z^]+:\]|[^\]])*\]|\(\?:|\{\d+(?:,\d*)?\}|.", re.DOTALL
)
_TIMES: Final = re.compile(r"\{(\d+)(?:,(\d*))?\}")


def fault(pattern: str) -> str | None:
    """Why the matcher cannot take ``pattern``, or could never find it; None where all is well."""
    if len(pattern.encode()) > _LONGEST:
        return f"it is longer than {_LONGEST} bytes"
    bare = re.sub(r"\\.", "", pattern)
    if bare != bare.lower():
        return "it has capital letters, and is looked for in lower case: it would never match"
    parts = _PART.findall(pattern)
    if "(?" in bare.replace("(?:", "") or "\\Q" in parts or "\\E" in parts or "\0" in pattern:
        return "of groups that begin with (? only (?:…) is supported, and neither \\Q nor NUL is"
    for part in parts:
        if part.startswith("[") and not part.isascii():
            return f"the class {part} has letters outside ASCII; write (?:…|…) for it"
    if width(pattern) > _WIDEST:
        return f"with its repeats written out it has more than {_WIDEST:,} places"
    try:
        compile_patterns([pattern.encode()])
    except (hyperscan.HyperscanError, hyperscan.error) as error:
        if "matches empty buffer" in str(error):
            return "it matches the empty text, and so every text"
        return f"the matcher does not take it: {str(error).rstrip('.')}"
    return None


def width(pattern: str) -> int:
    """How many places ``pattern`` has with its repeats written out; of an open one the least."""
    total, last = 0, 0
    above: list[int] = []
    for part in _PART.findall(pattern):
        if part in ("(", "(?:"):
            above.append(total)
            total, last = 0, 0
        elif part == ")" and above:
            last, total = total, above.pop() + total
        elif found := _TIMES.fullmatch(part):
            times = max(int(found[1]), int(found[2] or 0), 1)
            total += last * (times - 1)
            last *= times
        elif part not in "*+?|":
            total, last = total + 1, 1
        if total > _WIDEST:
            break
    return total + sum(above)
