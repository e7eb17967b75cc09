"""Shows a running study: `Watch` shows nothing, `StudyBar` one line with one clock, on a terminal or in a notebook."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from tqdm import tqdm

from minilm.bars import in_notebook, progress_bar
from minilm.tuner.records import Trial

SHAPE, FINE = "{desc}|{bar}|", 1000  # parts of the bar
TICK = 1.0  # seconds between two looks at the clock


class Watch:
    """What a study tells; override what is of interest."""

    def say(self, line: str) -> None:
        """A line that is worth keeping."""

    def phase(self, words: str) -> None:
        """What happens now."""

    def record(self, values: dict[str, Any]) -> None:
        """A metrics record of the final training."""

    def trial(self, trial: Trial) -> None:
        """A trial has ended and is recorded."""

    def ends(self, seconds: float) -> None:
        """The study is now expected to end after so many seconds, and not when its minutes are over."""

    def close(self) -> None:
        """The study is over, or was interrupted; may come more than once."""


class StudyBar(Watch):
    """One line: what happens now, how far it has come, and the clock, which runs from `begun` to `total` seconds later.

    Draws nothing where stderr is no terminal and no notebook shows it. `say` gets the lines that stay.

    >>> with StudyBar(print) as bar:
    ...     bar.say("corpus    a tale")
    corpus    a tale
    """

    def __init__(
        self, say: Callable[[str], None], begun: float | None = None, total: float | None = None
    ) -> None:
        self._say, self.total = say, total
        self.begun = time.monotonic() if begun is None else begun
        self._words, self._share, self._count, self._best = "", 0.0, 0, ""
        self._bar: tqdm | None = None
        self._lock, self._over = threading.RLock(), threading.Event()

    def say(self, line: str) -> None:
        with self._lock:
            if self._bar is not None and not self._bar.disable:
                self._bar.clear()
            self._say(line)

    def phase(self, words: str) -> None:
        self._words, self._share = words, 0.0
        self._draw()

    def record(self, values: dict[str, Any]) -> None:
        if values.get("val_loss") is not None:
            self._best = f", validation loss {values['val_loss']:.3f}"
        self._words, self._share = f"training, step {values['step']:,}{self._best}", values["progress"]
        self._draw()

    def trial(self, trial: Trial) -> None:
        self._count += 1
        ended = "failed" if trial.loss is None else f"{trial.loss:.3f}"
        self._words = f"{self._count} legs of trials done, the last (trial {trial.tid}): {ended}"
        self._draw()

    def ends(self, seconds: float) -> None:
        self.total = seconds

    def _draw(self) -> None:
        with self._lock:
            if self._over.is_set():
                return
            spent = time.monotonic() - self.begun
            expected = self.total is not None and spent <= self.total
            of = f" of {clock_text(self.total or 0.0)}" if expected else ""
            line = f"{clock_text(spent)}{of}  {self._words} "
            if self._bar is None:
                self._bar = progress_bar(FINE, SHAPE, words=line)
                if (
                    not self._bar.disable and not in_notebook()
                ):  # a thread's words would end up below another cell
                    threading.Thread(target=self._tick, daemon=True).start()
            share = self._share if self.total is None else spent / max(self.total, 1e-6)
            self._bar.n = round(FINE * min(1.0, share))
            self._bar.set_description_str(line, refresh=False)
            self._bar.refresh()

    def _tick(self) -> None:
        """A person who looks on sees the clock move, whatever takes its time."""
        while not self._over.wait(TICK):
            self._draw()

    def close(self) -> None:
        with self._lock:
            self._over.set()
            if self._bar is not None:
                self._bar.close()
                self._bar = None

    def __enter__(self) -> StudyBar:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def default_watch(begun: float, total: float | None) -> Watch:
    """The watch of a study that was given none: a bar in a notebook, nothing in a script."""
    return StudyBar(_unsaid, begun, total) if in_notebook() else Watch()


def _unsaid(line: str) -> None:
    """A notebook's cell shows the bar and what the cell itself prints."""


def clock_text(seconds: float) -> str:
    """
    >>> clock_text(75.2), clock_text(-3)
    ('1:15', '0:00')
    """
    minutes, rest = divmod(max(0, int(seconds)), 60)
    return f"{minutes}:{rest:02d}"
