"""Brings faults to single operations of the disk: each in turn fails, or is the last one before a crash."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from minilm import disk


class Crash(BaseException):
    """The process is gone: nothing may catch this."""


@contextmanager
def watched(watcher: Callable[[str, Path, Any], None]) -> Iterator[None]:
    """Calls the watcher before each operation."""
    disk.WATCHERS.append(watcher)
    try:
        yield
    finally:
        disk.WATCHERS.remove(watcher)


class Countdown:
    """Lets so many operations of some kinds pass, then raises at each one; `reached` once it has."""

    def __init__(self, left: int, error: Callable[[], BaseException], kinds: tuple[str, ...] = ()) -> None:
        self.left, self.error, self.kinds, self.reached = left, error, kinds, False

    def __call__(self, kind: str, path: Path, more: Any) -> None:
        if (kind != "read") if not self.kinds else kind in self.kinds:
            self.left -= 1
            if self.left < 0:
                self.reached = True
                raise self.error()


def crash_before(number: int) -> Countdown:
    """The process ends before operation `number`; what its `finally` blocks would still do is a crash as well."""
    return Countdown(number, Crash)


def failing(number: int, code: int = errno.ENOSPC, kinds: tuple[str, ...] = ()) -> Countdown:
    """From operation `number` on the system refuses all, as a full or dying disk does."""
    return Countdown(number, lambda: OSError(code, os.strerror(code)), kinds)
