"""How well real bounce mail is read. The mails are no part of the repository.

``benchmarks.corpus`` says where they are looked for, and what each should be read as.
"""

import warnings

import pytest

from benchmarks import corpus

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
def marks() -> corpus.Marks:
    if not corpus.there():
        reason = f"NO CORPUS at {corpus.CORPUS}: how well real mail is read was NOT measured"
        warnings.warn(reason, stacklevel=1)
        pytest.skip(reason)
    return corpus.marks()


@pytest.mark.parametrize("name", AT_LEAST)
def test_real_mail_is_read(name: str, marks: corpus.Marks) -> None:
    misread = "\n".join(one for one in marks.wrong if f": {name}: " in one)
    assert marks.share(name) >= AT_LEAST[name], f"{name}: {marks.share(name):.1f} %\n{misread}"
