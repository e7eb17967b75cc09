"""Shows a running study: `Watch` shows nothing, `StudyBar` a bar on a terminal or in a notebook."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from tqdm import tqdm

from minilm.bars import in_notebook, progress_bar
from minilm.tuner.records import Trial


class Watch:
    """What a study tells; override what is of interest."""

    def start(self, line: str, trials: int | None, done: Sequence[Trial]) -> None:
        """The search begins: `line` says with what; `trials` are planned if known, `done` are earlier."""

    def trial(self, trial: Trial) -> None:
        """A trial has ended and is recorded."""

    def tick(self, seconds_left: float | None) -> None:
        """Comes twice a second during the search; None where no clock limits it."""

    def race(self, challenger: Trial) -> None:
        """This trial continues, beside the incumbent, to be compared at equal seconds."""

    def final(self, chosen: Trial) -> None:
        """The search is over; this configuration is trained at length now."""

    def record(self, values: dict[str, Any]) -> None:
        """A metrics record of that training."""

    def close(self) -> None:
        """The study is over, or was interrupted; may come more than once."""


class StudyBar(Watch):
    """Trials done, the best loss so far, the time left; then the progress of the final model.

    Draws nothing where stderr is no terminal and no notebook shows it. `say` gets the one line about workers.

    >>> with StudyBar(print) as bar:
    ...     bar.start("2 workers", 10, [])
    search    2 workers
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._bar: tqdm | None = None
        self._count, self._best = 0, math.inf

    def start(self, line: str, trials: int | None, done: Sequence[Trial]) -> None:
        self._say(f"search    {line}")
        self._open("{desc} |{bar}| {elapsed}{postfix}" if trials else "{desc}, {elapsed}{postfix}", trials)
        for trial in done:
            self.trial(trial)

    def trial(self, trial: Trial) -> None:
        self._count += 1
        self._best = min(self._best, math.inf if trial.loss is None else trial.loss)
        best = "-" if math.isinf(self._best) else f"{self._best:.3f}"
        self._show(1, f"{self._count} trials done, best loss {best}")

    def tick(self, seconds_left: float | None) -> None:
        if self._bar is not None:
            if seconds_left is not None:
                self._bar.set_postfix_str(f"{left_text(seconds_left)} left", refresh=False)
            self._bar.refresh()

    def race(self, challenger: Trial) -> None:
        self._show(0, f"trial {challenger.tid} races what has trained all along")

    def final(self, chosen: Trial) -> None:
        self._open("{desc} {percentage:3.0f}% |{bar}| {elapsed}, {remaining} left", 100)

    def record(self, values: dict[str, Any]) -> None:
        if self._bar is not None:
            loss = f"loss {values['val_loss']:.3f}" if "val_loss" in values else f"step {values['step']}"
            self._show(100 * values["progress"] - self._bar.n, f"final model, {loss},")

    def _open(self, shape: str, total: int | None) -> None:
        self.close()
        self._bar = progress_bar(total, shape)

    def _show(self, progress: float, text: str) -> None:
        if self._bar is not None:
            self._bar.set_description_str(text, refresh=False)
            self._bar.update(progress)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def __enter__(self) -> StudyBar:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def default_watch() -> Watch:
    """The watch of a study that was given none: a bar in a notebook, nothing in a script."""
    return StudyBar(_unsaid) if in_notebook() else Watch()


def _unsaid(line: str) -> None:
    """A notebook's cell shows the bar and what the cell itself prints."""


def left_text(seconds: float) -> str:
    """A time that is left.

    >>> left_text(75.2), left_text(-3)
    ('1:15', '0:00')
    """
    minutes, rest = divmod(max(0, int(seconds)), 60)
    return f"{minutes}:{rest:02d}"
