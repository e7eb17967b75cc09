"""One worker process and one book of each lab for all tests; both cost seconds."""

from __future__ import annotations

import functools

import pytest

from minilm.classroom import book as book_
from minilm.classroom import hostile, selftest, stress
from minilm.classroom.book import make_book
from minilm.classroom.runner import Limits, Runner


@pytest.fixture(scope="package")
def runner():
    with Runner(Limits(seconds=20.0)) as runner:
        yield runner


@pytest.fixture(scope="package", autouse=True)
def books(runner):
    """The book of a lab, made once by the real `make_book`; whoever calls that gets the same."""
    made = functools.cache(lambda name: make_book(name, runner))
    with pytest.MonkeyPatch.context() as patch:
        for module in (book_, hostile, selftest, stress):
            patch.setattr(module, "make_book", lambda name, runner: made(name))
        yield made


@pytest.fixture(scope="package")
def book(books):
    return books("lab2")
