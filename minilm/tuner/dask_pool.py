"""Makes a Dask cluster the workers of a study.

Each worker process of the cluster runs one call at a time, because torch's random state and thread count belong to
the process, and every call is pinned to its worker: so the study knows which worker runs what, and one that dies costs
one call, as a local one does. Dask itself would start the call anew elsewhere without telling. This file knows no
trials; what they read and write travels with them, see `travel`.
"""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from minilm.errors import EngineError
from minilm.tuner.travel import pack, run_there, unpack

LOOK = 0.5  # seconds between two looks at the workers
NO_WORKER_TIMEOUT = 60.0  # seconds without any worker before a study gives up; a restarted one takes a few
SILENCE = 15.0  # seconds after which a scheduler that does not answer counts as gone, and all its workers
RESTART = 30.0  # seconds for a nanny to replace its worker


@dataclass
class Call:
    """A call under way: our future, which the study waits for, and Dask's."""

    ours: Future
    theirs: Future
    address: str


class DaskPool:
    """The four methods of `Pool`, and the block of `Workers`, on a cluster's `Client.get_executor()`.

    A slot is a place for one worker process. A thread watches the workers: calls of vanished workers fail, and
    workers that appear, a nanny's replacement or another machine, fill the empty slots.
    """

    def __init__(self, client: Any, address: str) -> None:
        self.address = address
        self._client = client
        self._slots: list[str | None] = sorted(client.nthreads())
        self._calls: dict[int, Call] = {}
        self._have_text: set[str] = set()  # workers that were sent the text
        self._given_up: set[str] = set()  # workers there that run a call that was given up
        self._last_seen = self._last_answer = time.monotonic()  # of a worker, of the scheduler
        self._lock, self._closed = threading.RLock(), threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="dask watcher", daemon=True)
        self._watcher.start()

    def __enter__(self) -> DaskPool:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @property
    def count(self) -> int:
        return len(self._slots)

    @property
    def free(self) -> int:
        """Raises EngineError once no worker has been there for a while: a study cannot go on by waiting."""
        with self._lock:
            if not any(self._slots) and time.monotonic() - self._last_seen > NO_WORKER_TIMEOUT:
                raise EngineError(
                    f"the Dask cluster at {self.address} has had no worker for {NO_WORKER_TIMEOUT:g} s; start some "
                    "and go on with --resume"
                )
            return len(self._idle())

    def warm_up(self, function: Callable[..., Any], *arguments: Any) -> None:
        """Starts every worker on its preparations; none is free before it is done with them."""
        with self._lock:
            for slot in self._idle():
                self._start(slot, function, arguments)

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future:
        with self._lock:
            assert self._idle(), "ask `free` first"
            return self._start(self._idle()[0], function, arguments)

    def worker_of(self, future: Future) -> int:
        return next(slot for slot, call in self._calls.items() if call.ours is future)

    def kill(self, future: Future) -> None:
        """The future fails at once; the worker is replaced by its nanny, or not used again where it has none."""
        with self._lock:
            slot = self.worker_of(future)
            self._given_up.add(self._calls[slot].address)
            lost = self._lose(slot, "its worker was stopped")
        self._drop(lost)
        addresses = [call.address for call in lost]
        threading.Thread(target=self._restart, args=(addresses,), daemon=True).start()

    def close(self) -> None:
        """Stops every call under way and leaves the cluster to others."""
        self._closed.set()
        with self._lock:
            lost = [call for slot in range(self.count) for call in self._lose(slot, "the study is over")]
        self._drop(lost)
        self._restart([call.address for call in lost])
        self._watcher.join()
        self._client.close()

    def _idle(self) -> list[int]:
        busy = {slot for slot, call in self._calls.items() if not call.ours.done()}
        return [slot for slot, address in enumerate(self._slots) if address is not None and slot not in busy]

    def _start(self, slot: int, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Future:
        address = self._slots[slot]
        assert address is not None
        parcel = pack(*arguments, with_text=address not in self._have_text)
        self._have_text.add(address)
        # pinned, never taken for another call's repetition, never started anew
        engine = self._client.get_executor(
            workers=[address], allow_other_workers=False, pure=False, retries=0
        )
        ours: Future = Future()
        ours.set_running_or_notify_cancel()
        theirs = engine.submit(run_there, function, parcel)
        self._calls[slot] = Call(ours, theirs, address)
        theirs.add_done_callback(partial(self._answered, ours, getattr(arguments[0], "out", None)))
        return ours

    def _answered(self, ours: Future, out: str | None, theirs: Future) -> None:
        with self._lock:
            if ours.done():  # lost in the meantime; its files, too, come too late
                return
            try:
                ours.set_result(_received(theirs, out))
            except BaseException as error:
                ours.set_exception(error)

    def _lose(self, slot: int, why: str) -> list[Call]:
        """Empties the slot and returns its call, if one was under way; that fails as a dead local worker's does."""
        self._slots[slot] = None
        call = self._calls.get(slot)
        if call is None or call.ours.done():
            return []
        call.ours.set_exception(BrokenProcessPool(f"{call.address}: {why}"))
        return [call]

    def _drop(self, lost: list[Call]) -> None:
        """Tells Dask to forget the calls. Never under the lock: it waits for the thread that calls `_answered`."""
        for call in lost:
            call.theirs.cancel()

    def _restart(self, addresses: list[str]) -> None:
        if addresses:
            with suppress(Exception):  # no nanny, or gone already: the worker is not used again in any case
                self._client.restart_workers(addresses, timeout=RESTART, raise_for_error=False)

    def _watch(self) -> None:
        while not self._closed.wait(LOOK):
            there = self._there()
            if there is None and time.monotonic() - self._last_answer < SILENCE:
                continue
            with self._lock:
                lost = [] if self._closed.is_set() else self._update(there or set())
            self._drop(lost)

    def _there(self) -> set[str] | None:
        """The workers alive now; None where the scheduler does not answer, which may pass."""
        try:
            there = set(self._client.nthreads())
        except Exception:
            return None
        self._last_answer = time.monotonic()
        return there

    def _update(self, there: set[str]) -> list[Call]:
        gone = [slot for slot, address in enumerate(self._slots) if address and address not in there]
        lost = [call for slot in gone for call in self._lose(slot, "its worker died")]
        self._given_up &= there
        fresh = sorted(there - self._given_up - set(filter(None, self._slots)))
        empty = [slot for slot, address in enumerate(self._slots) if address is None]
        for slot, address in zip(empty, fresh, strict=False):
            self._slots[slot] = address
        if any(self._slots):
            self._last_seen = time.monotonic()
        return lost


def _received(theirs: Future, out: str | None) -> Any:
    """The answer, its files in place; the errors of a call whose worker died look as those of a local worker."""
    if theirs.cancelled():
        raise BrokenProcessPool("the cluster dropped the call")
    error = theirs.exception()
    if error is not None:
        raise BrokenProcessPool(str(error)) if type(error).__name__ == "KilledWorker" else error
    answer, packed = theirs.result()
    if out is not None:
        for name in {Path(path).parts[0] for path in packed}:  # what a lost call of that name has left
            shutil.rmtree(Path(out) / name, ignore_errors=True)
        unpack(packed, Path(out))
    return answer
