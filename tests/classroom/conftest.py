"""One worker process and one book of lab 2 for all tests; both cost seconds."""

from __future__ import annotations

import pytest

from minilm.classroom.book import make_book
from minilm.classroom.runner import Limits, Runner


@pytest.fixture(scope="package")
def runner():
    with Runner(Limits(seconds=20.0)) as runner:
        yield runner


@pytest.fixture(scope="package")
def book(runner):
    return make_book("lab2", runner)
