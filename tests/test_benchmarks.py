"""The benchmarks run and say what they should; how fast anything is, no test decides."""

import json
import subprocess
import sys
from pathlib import Path

from benchmarks.history import history

ROOT = Path(__file__).parent.parent


def test_the_fold_is_measured_against_its_yardstick() -> None:
    command = [sys.executable, "-m", "benchmarks.fold", "--json"]
    options = ["--events", "500", "--repeat", "1", "--database", "sqlite"]
    done = subprocess.run(
        [*command, *options], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    [figure] = [json.loads(line) for line in done.stdout.splitlines()]
    assert (figure["where"], figure["count"]) == ("sqlite", 500)
    assert figure["ratio"] == round(figure["seconds"][0] / figure["yardstick"][0], 3)
    assert abs(sum(figure["shares"].values()) - 1) < 0.01


def test_a_history_is_the_same_for_the_same_seed_and_hears_little_twice() -> None:
    lines = list(history(2_000, 7))
    assert lines == list(history(2_000, 7))
    assert lines != list(history(2_000, 8))
    assert len(lines) == 2_000
    assert len(set(lines)) == 1_960
