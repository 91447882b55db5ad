"""Whole mailboxes: every mail once and in order, however they are kept and however many read."""

import io
import itertools
import mailbox
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from goodstanding.bounces import mailboxes, read
from goodstanding.bounces.mailboxes import files, parting

FROM = b"From MAILER-DAEMON Thu Jan  1 00:00:00 2026\n"
BOUNCE = b"""From: MAILER-DAEMON@example.net
Subject: Undelivered Mail Returned to Sender
Content-Type: multipart/report; report-type=delivery-status; boundary=b

--b
Content-Type: message/delivery-status

Reporting-MTA: dns; mx.example.net

Final-Recipient: rfc822; %s
Action: failed
Status: 5.1.1

--b--
"""


def an_mbox(path: Path, count: int, filling: int = 0) -> Path:
    """Bounces of user0, user1 …, each with some bytes behind it."""
    with path.open("wb") as file:
        for number in range(count):
            file.write(FROM + BOUNCE % b"user%d@example.com" % number + b"x\n" * filling + b"\n")
    return path


def recipients(found: list[mailboxes.Mail]) -> list[str | None]:
    return [report.recipient for mail in found for report in mail.reports]


def names(count: int) -> list[str]:
    return [f"user{number}@example.com" for number in range(count)]


@pytest.mark.parametrize("processes", [1, 2, 5])
def test_every_mail_is_read_once_and_in_order(tmp_path: Path, processes: int) -> None:
    path = an_mbox(tmp_path / "box", 3000, 100)
    found = list(mailboxes.read_all(str(path), processes=processes))
    assert recipients(found) == names(3000)
    assert [mail.place for mail in found] == [f"{path}#{n}" for n in range(1, 3001)]


def test_some_of_everything_is_read_alike_by_one_and_by_many(tmp_path: Path) -> None:
    an_mbox(tmp_path / "a box", 2000, 200)
    an_mbox(tmp_path / "small", 3)
    box = mailbox.Maildir(tmp_path / "b maildir")
    for name in names(700):
        box.add(BOUNCE % name.encode())
    (tmp_path / "large.eml").write_bytes(BOUNCE % b"large@example.com" + b"x" * 3_000_000)
    paths = (str(tmp_path), str(tmp_path / "small"), str(tmp_path / "none"))
    told: list[list[str]] = []
    read_by = []
    for processes in (1, 2, 3):
        told.append([])
        unread = told[-1]
        found = mailboxes.read_all(
            *paths,
            processes=processes,
            onerror=lambda place, error, unread=unread: unread.append(f"{place}: {error.strerror}"),
        )
        read_by.append(list(found))
    assert read_by[0] == read_by[1] == read_by[2]
    assert len(read_by[0]) == 2000 + 3 + 700 + 1 + 3
    assert told == [[f"{tmp_path}/none: No such file or directory"]] * 3
    with pytest.raises(FileNotFoundError):
        list(mailboxes.read_all(str(tmp_path / "none")))


def test_what_is_said_of_each_is_what_read_says(tmp_path: Path) -> None:
    path = an_mbox(tmp_path / "box", 2000)
    [*found] = mailboxes.read_all(str(path), processes=2)
    assert found[1234].reports == read(BOUNCE % b"user1234@example.com")


def test_a_few_mails_start_no_process(tmp_path: Path) -> None:
    others = _children(os.getpid())
    path = an_mbox(tmp_path / "box", 20)
    found = mailboxes.read_all(str(path), processes=4)
    assert next(found).reports
    assert not _children(os.getpid()) - others
    many = mailboxes.read_all(str(an_mbox(tmp_path / "many", 3000, 100)), processes=4)
    assert next(many).reports
    if sys.platform == "linux":
        assert len(_children(os.getpid()) - others) == 4
    many.close()
    assert not _children(os.getpid()) - others


PIECES = [
    FROM,
    b"\n" + FROM,
    b"\r\n" + FROM,
    b"From ann@example.com Thu, 01 Jan 2026 00:00:00 +0000\r\n",
    b"\nFrom here on it is no mail of its own\n",
    b"\n>From x Thu Jan  1 00:00:00 2026\n>>From y\n",
    b"Subject: hi\n",
    b"\n",
    b"\r\n",
    b"From ",
    b"x" * 700,
    b"\n" * 600,
]


class Dripping(io.RawIOBase):
    """A stream that gives a few bytes at a time."""

    def __init__(self, content: bytes, dice: random.Random) -> None:
        self._left, self._dice = content, dice

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray) -> int:
        count = min(self._dice.randrange(1, 40), len(buffer), len(self._left))
        buffer[:count], self._left = self._left[:count], self._left[count:]
        return count


@given(
    st.lists(st.sampled_from(PIECES), max_size=30), st.lists(st.integers(4, 4000)), st.integers()
)
def test_an_mbox_has_the_same_mails_wherever_it_is_cut(
    pieces: list[bytes], cuts: list[int], number: int
) -> None:
    box = FROM + b"".join(pieces)
    mails = list(parting.parted(io.BytesIO(box)))
    assert mails == _by_lines(box)
    places = sorted({0, len(box), *(cut for cut in cuts if cut < len(box))})
    parts = [
        mail
        for begin, end in itertools.pairwise(places)
        for mail in parting.parted(io.BytesIO(box), begin, end)
    ]
    assert parts == mails
    dripping = io.BufferedReader(Dripping(box, random.Random(number)), 64)
    assert list(parting.parted(dripping)) == mails


def _by_lines(box: bytes) -> list[bytes]:
    """A line that soon says who and when begins a mail, after an empty one or at first."""
    mails: list[bytes] = []
    empty = False
    for line in io.BytesIO(box):
        if not mails or (empty and line.startswith(b"From ") and b"00:00:00" in line[:250]):
            mails.append(b"")
        else:
            quoted = line[:1] == b">" and line.lstrip(b">").startswith(b"From ")
            mails[-1] += line[1:] if quoted else line
        empty = line in (b"\n", b"\r\n")
    return mails


def test_the_files_of_a_large_folder_come_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "RUN", 7)  # more than seven names are sorted on disk
    dice = random.Random(1)
    made = {
        f"{dice.randrange(10**6)}{dice.choice(['', ' é', chr(10), chr(0xDCFF)])}"
        for _ in range(100)
    }
    for name in made:
        (tmp_path / name).write_bytes(b"")
    for name in ("10", "9", "zz"):
        (tmp_path / f"folder{name}").mkdir()
        (tmp_path / f"folder{name}" / "mail").write_bytes(b"")
    (tmp_path / "loop").symlink_to("loop")
    found = [Path(str(file)).relative_to(tmp_path) for file in files.files(str(tmp_path))]
    assert found[-3:] == [Path(f"folder{name}/mail") for name in ("10", "9", "zz")]
    assert {str(file) for file in found[:-3]} == made
    known = [os.fsencode(file).replace(b"\n", b"/") for file in found[:-3]]
    assert known == sorted(known)


PROBE = """
import resource, sys
from goodstanding.bounces import mailboxes
count = sum(1 for _ in mailboxes.read_all(sys.argv[1], processes=2))
most = max(resource.getrusage(who).ru_maxrss
           for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
print(count, most // 1024)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="memory is counted otherwise")
@pytest.mark.parametrize("by", ["file", "stream"])
def test_memory_does_not_grow_with_the_mailbox(tmp_path: Path, by: str) -> None:
    most = {}
    for count in (20, 200):
        path = an_mbox(tmp_path / "box", count, 500_000)
        with path.open("rb") as file:
            done = subprocess.run(
                [sys.executable, "-c", PROBE, "-" if by == "stream" else path],
                stdin=file,
                capture_output=True,
                check=True,
            )
        mails, most[count] = map(int, done.stdout.split())
        assert mails == count
    assert most[200] < most[20] + 15  # MB


def _children(process: int) -> set[int]:
    lists = Path(f"/proc/{process}/task").glob("*/children")
    return {int(child) for each in lists for child in each.read_text().split()}
