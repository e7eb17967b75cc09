"""Keeps worker processes alive as long as the study: each runs one picklable function at a time.

Every slot is its own `ProcessPoolExecutor` of one process, so that a worker that dies costs one call and is
replaced while the others go on. Workers ignore Ctrl-C and its like, which a batch system sends to every process and
which are the parent's to handle, and end when the parent does, however it ends. This file does not know what the
functions compute; another engine for the same study (Dask, a cluster) offers the four methods of `Pool`.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import types
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker
from multiprocessing.connection import wait as wait_for_end
from typing import Any, Protocol

from minilm.signals import HANGUP, STOPS

# Python hands it to the process that frees what a parent stopped at once has left: without it that one complains of it.
QUIET = "ignore:resource_tracker:UserWarning"
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


class Pool(Protocol):
    """The methods that a search needs of the engine that runs its trials."""

    @property
    def free(self) -> int:
        """How many calls could start at once."""

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future:
        """Starts the call on a free worker; the future fails with BrokenProcessPool if the worker dies."""

    def worker_of(self, future: Future) -> int:
        """The number of the worker that runs the call."""

    def kill(self, future: Future) -> None:
        """Stops the call by force; its future fails."""


class Workers:
    """`count` local processes; use as a context manager, so that none outlives the block."""

    def __init__(self, count: int, threads: int = 1, background: bool = False) -> None:
        assert count >= 1
        self.count, self.threads, self.background = count, threads, background
        self._slots: list[ProcessPoolExecutor | None] = [None] * count
        self._calls: dict[int, Future] = {}

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @property
    def free(self) -> int:
        return self.count - sum(not call.done() for call in self._calls.values())

    def warm_up(self, function: Callable[..., Any], *arguments: Any) -> None:
        """Starts every worker on its preparations; none is free before it is done with them."""
        for slot in range(self.count):
            self._calls[slot] = self._submit(slot, function, *arguments)

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future:
        busy = {slot for slot, call in self._calls.items() if not call.done()}
        slot = min(set(range(self.count)) - busy)
        self._calls[slot] = future = self._submit(slot, function, *arguments)
        return future

    def worker_of(self, future: Future) -> int:
        return next(slot for slot, call in self._calls.items() if call is future)

    def pids(self) -> list[int]:
        """The processes alive now."""
        return [pid for executor in self._slots if executor for pid in _processes(executor)]

    def kill(self, future: Future) -> None:
        slot = self.worker_of(future)
        executor, self._slots[slot] = self._slots[slot], None
        _stop(executor)

    def close(self) -> None:
        """Ends every worker at once; calls under way are lost."""
        for slot, executor in enumerate(self._slots):
            self._slots[slot] = None
            _stop(executor)

    def _submit(self, slot: int, function: Callable[..., Any], *arguments: Any) -> Future:
        executor = self._slots[slot] or self._start(slot)
        try:
            with _without_main():
                return executor.submit(function, *arguments)
        except BrokenProcessPool:  # it died since its last call
            _stop(executor)
            self._slots[slot] = None
            return self._submit(slot, function, *arguments)

    def _start(self, slot: int) -> ProcessPoolExecutor:
        # spawn: a forked child of a process that uses threads (torch, tqdm) may hang, and would keep our
        # files open
        if QUIET not in sys.warnoptions:
            sys.warnoptions.append(QUIET)
        _start_tracker()
        context = multiprocessing.get_context("spawn")
        executor = ProcessPoolExecutor(
            1, context, initializer=_prepare, initargs=(self.threads, self.background)
        )
        self._slots[slot] = executor
        return executor


def _start_tracker() -> None:
    """Starts the process of Python's that frees what others leave: it ignores Ctrl-C and SIGTERM by itself, but where
    a terminal is closed it would die, and be missed with tracebacks."""
    if HANGUP is None:
        return
    signal.pthread_sigmask(signal.SIG_BLOCK, [HANGUP])  # what a process starts with blocked stays so
    try:
        resource_tracker.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [HANGUP])


def _processes(executor: ProcessPoolExecutor) -> dict[int, Any]:
    # the only way to a worker's process before Python 3.14 (its kill_workers); None once the executor has
    # ended
    return dict(getattr(executor, "_processes", None) or {})


def _stop(executor: ProcessPoolExecutor | None) -> None:
    if executor is None:
        return
    for process in _processes(executor).values():
        with suppress(OSError, ValueError):
            process.kill()
    executor.shutdown(wait=True, cancel_futures=True)  # short: its process is dead


_MAIN = threading.Lock()


@contextmanager
def _without_main() -> Iterator[None]:
    """Hides the user's main module while a process starts.

    A spawned process imports it again, which would run a script without an `if __name__ == "__main__"`
    guard once per worker. Our functions are found by their own module's name, so nothing of the user's main
    is needed.
    """
    with _MAIN:
        main = sys.modules["__main__"]
        sys.modules["__main__"] = types.ModuleType("__main__")
        try:
            yield
        finally:
            sys.modules["__main__"] = main


def _prepare(threads: int, background: bool) -> None:
    """Runs first in every worker, before anything can import torch."""
    for number in STOPS:
        signal.signal(number, signal.SIG_IGN)
    if hasattr(
        signal, "pthread_sigmask"
    ):  # the trainer installs a handler of its own; a blocked signal stays away
        signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)
    if background and hasattr(os, "nice"):
        os.nice(10)  # on a full machine, take what the others leave
    for name in THREAD_VARIABLES:
        os.environ[name] = str(threads)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait_for_end([parent.sentinel])
        os._exit(1)
