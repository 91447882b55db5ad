"""Compiled rules are kept on disk, and believed only where they are our own and whole."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

READ = (
    "import sys, time, hyperscan\n"
    "from goodstanding.bounces import read_reply\n"
    "compiled = []\n"
    "class Counted(hyperscan.Database):\n"
    "    def compile(self, *args, **named):\n"
    "        compiled.append(1)\n"
    "        return super().compile(*args, **named)\n"
    "hyperscan.Database = Counted\n"
    "print(read_reply('550 5.1.1 user unknown').category, len(compiled))\n"
)


def read(cache: Path) -> tuple[str, bool]:
    """The category a new process reads, and whether it had to compile the rules."""
    done = subprocess.run(
        [sys.executable, "-c", READ],
        env={**os.environ, "XDG_CACHE_HOME": str(cache)},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    category, compiled = done.stdout.split()
    return category, int(compiled) > 0


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache folder in which a process has left its compiled rules."""
    cache = tmp_path_factory.mktemp("cache")
    assert read(cache) == ("mailbox_unknown", True)
    return cache


def the_file(cache: Path) -> Path:
    (file,) = (cache / "goodstanding").glob("rules-*.hs")
    return file


def test_the_next_process_compiles_nothing(kept: Path) -> None:
    assert read(kept) == ("mailbox_unknown", False)


def test_a_damaged_file_is_made_anew(kept: Path) -> None:
    file = the_file(kept)
    whole = file.read_bytes()
    file.write_bytes(whole[:-100] + bytes(100))
    assert read(kept) == ("mailbox_unknown", True)
    assert file.read_bytes() == whole


def test_a_file_that_others_may_write_is_not_believed(kept: Path) -> None:
    file = the_file(kept)
    file.chmod(0o666)
    assert read(kept) == ("mailbox_unknown", True)


def test_without_a_folder_to_write_to_it_reads_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert read(tmp_path / "file") == ("mailbox_unknown", True)
