"""Turns Ctrl-C, SIGTERM and SIGHUP into one orderly stop: the first ends the work where it can be taken up again.

A batch system, a container that is stopped and a terminal that is closed so lose no more than a Ctrl-C does. A second
signal ends the process at once. It knows nothing of what is being done.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from typing import Any, TypeVar

HANGUP: Any = getattr(signal, "SIGHUP", None)  # Windows has none
STOPS = [number for number in (signal.SIGINT, signal.SIGTERM, HANGUP) if number is not None]
AT_ONCE = b"\nminilm: stopped at once; what was saved before is kept\n"


T = TypeVar("T")


class Stops:
    """The signals that this process has received, and whether the work can be interrupted right now."""

    def __init__(self) -> None:
        self.received: list[int] = []
        self.patient = False  # a step is under way: the signal waits for its end
        self.of_a_verb = False

    def take(self, number: int, frame: object) -> None:
        if (
            self.received and number == HANGUP
        ):  # a closed terminal may send it twice, by the shell and by the system
            return
        self.received.append(number)
        if len(self.received) == 1 and self.patient:
            return
        if len(self.received) > 1 and self.of_a_verb:
            with suppress(OSError):
                os.write(2, AT_ONCE)
            os._exit(self.exit_code())
        raise KeyboardInterrupt

    def exit_code(self) -> int:
        """128 and the signal's number, as shells count: 130 for Ctrl-C, 143 for SIGTERM, 129 for SIGHUP."""
        return 128 + (self.received[0] if self.received else signal.SIGINT)


STATE = Stops()


@contextmanager
def handled(numbers: list[signal.Signals], of_a_verb: bool) -> Iterator[None]:
    """Inside, these signals are taken; but under nohup a hangup stays ignored."""
    if threading.current_thread() is not threading.main_thread():  # only there Python delivers signals
        yield
        return
    previous = {number: signal.getsignal(number) for number in numbers}
    if previous.get(HANGUP) is signal.SIG_IGN:
        del previous[HANGUP]
    STATE.received, STATE.of_a_verb = [], of_a_verb
    try:
        for number in previous:
            signal.signal(number, STATE.take)
        yield
    finally:
        for number, old in previous.items():
            signal.signal(number, old)
        STATE.of_a_verb = False


@contextmanager
def patient() -> Iterator[Callable[[], bool]]:
    """Inside, the first stop only makes the yielded function answer True; a second one interrupts.

    A verb has its signals handled all along; in anybody's program Ctrl-C alone is, and only inside.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    with nullcontext() if STATE.of_a_verb else handled([signal.SIGINT], of_a_verb=False):
        STATE.patient = True
        try:
            yield lambda: bool(STATE.received)
        finally:
            STATE.patient = False


def unless_stopped(work: Callable[[], T]) -> T | None:
    """What `work` returns. Inside `patient` it may be left at any moment, as a long evaluation: None where a stop ended
    it, or had come before."""
    if not STATE.patient or threading.current_thread() is not threading.main_thread():
        return work()
    try:
        STATE.patient = False
        return None if STATE.received else work()
    except KeyboardInterrupt:
        if len(STATE.received) != 1:
            raise
        return None
    finally:
        STATE.patient = True
