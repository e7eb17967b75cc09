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


@pytest.fixture(scope="module")
def warm():
    """Workers that outlive their runners: tests call the verb several times, and each start of torch costs seconds."""
    idle, started = [], Runner._started

    def take(self):
        if self._control is None and not self._options and idle:
            self._process, self._control = idle.pop()
        return started(self)

    def leave(self, *_):
        if self._control and not self._options and self._process.poll() is None:
            idle.append((self._process, self._control))
            self._process = self._control = None
        self.close()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Runner, "_started", take)
        patch.setattr(Runner, "__exit__", leave)
        yield
    for process, control in idle:
        control.close()
        process.kill()
        process.communicate()
