from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.postoffice.neighbours import Listener, PostOffice, Website


@pytest.fixture(scope="session")
def site() -> Iterator[Website]:
    website = Website()
    yield website
    website.close()


@pytest.fixture(scope="session")
def listener() -> Iterator[Listener]:
    running = Listener()
    yield running
    running.close()


@pytest.fixture(scope="session")
def office(tmp_path_factory: pytest.TempPathFactory, listener: Listener) -> Iterator[PostOffice]:
    """Run one post office that answers to the listener, at a brisk pace."""
    running = PostOffice(
        tmp_path_factory.mktemp("office") / "book.jsonl",
        *("--seed", "7", "--pace", "0.1", "--return-to", f"127.0.0.1:{listener.port}"),
        *("--complaints-to", "fbl@news.example.com"),
    )
    yield running
    errors = running.close()
    assert "Traceback" not in errors, errors


@pytest.fixture
def open_office(tmp_path: Path) -> Iterator[Callable[..., PostOffice]]:
    """Open further post offices, each with options of its own."""
    running: list[PostOffice] = []

    def start(*arguments: str) -> PostOffice:
        running.append(PostOffice(tmp_path / f"book{len(running)}.jsonl", *arguments))
        return running[-1]

    yield start
    errors = [one.close() for one in running]
    assert not any("Traceback" in text for text in errors), errors
