"""How far a run is and what still fits: steps or seconds turned into progress, evaluations priced.

Decisions only, on numbers that the trainer measures: no tensors, no clock of its own.
"""

from __future__ import annotations

from dataclasses import dataclass

from minilm.config import TrainConfig
from minilm.training.schedules import update_progress

RECORDS = 100  # training records per run
EVALUATION_SHARE = 0.1  # of a time budget, for the evaluations before the last one
FINAL_SHARE = 0.25  # a last evaluation dearer than this is cut down to it
SAFETY = 1.25  # a busy neighbour can make the next evaluation slower than the last
FIRST_STEP_GUESS = 1e-3  # of the time budget, before a step has been timed


@dataclass
class Budget:
    """The length of one run: `total` seconds where time limits it, else None. The rest is measured.

    A run by the clock may also have `most_steps`: its schedule then follows whichever ends first.
    """

    config: TrainConfig
    total: float | None = None
    most_steps: int | None = None
    evaluation_seconds: float = 0.0  # one evaluation, with the files it writes
    final_seconds: float = 0.0  # the last evaluation, with what the caller does after it
    step_seconds: float | None = None  # one update

    @property
    def usable(self) -> float:
        """Seconds for updates and the evaluations between them."""
        assert self.total is not None
        return max(self.total - SAFETY * self.final_seconds, 1e-9)

    @property
    def one_step(self) -> float:
        assert self.total is not None
        return FIRST_STEP_GUESS * self.total if self.step_seconds is None else self.step_seconds

    @property
    def last_step(self) -> int | None:
        """The step at which the run ends; None where time alone ends it."""
        return self.most_steps if self.config.total_steps is None else self.config.total_steps

    def progress(self, steps: int, seconds: float) -> float:
        """Share of the budget that is over."""
        by_steps = 0.0 if self.last_step is None else steps / self.last_step
        by_time = 0.0 if self.config.minutes is None else seconds / self.usable
        return min(1.0, max(by_steps, by_time))

    def next_update(self, steps: int, seconds: float) -> float:
        """Progress at which the next update takes its learning rate."""
        by_steps = 0.0 if self.last_step is None else update_progress(steps, self.last_step)
        timed = self.config.minutes is not None
        return max(by_steps, update_progress(seconds, self.usable, self.one_step) if timed else 0.0)

    def finished(self, steps: int) -> bool:
        return self.last_step is not None and steps >= self.last_step

    def time_is_up(self, seconds: float) -> bool:
        """Whether one more update would leave too little for the last evaluation."""
        return self.total is not None and seconds + self.one_step > self.usable

    def evaluation_spacing(self) -> float:
        """Progress between evaluations: as configured, or wider where they would eat the time."""
        spacing = 1 / self.config.evaluations
        if self.total is None:
            return spacing
        return min(1.0, max(spacing, self.evaluation_seconds / (EVALUATION_SHARE * self.total)))

    def next_evaluation(self, progress: float) -> float:
        """The progress at which the next evaluation is due.

        By the clock at least half a spacing away: each evaluation prices the next one, a new price moves all multiples
        of the spacing, and the nearest may be due at once.
        """
        spacing = self.evaluation_spacing()
        return next_moment(progress + (0.0 if self.total is None else spacing / 2), spacing)


def next_moment(progress: float, spacing: float) -> float:
    """The first multiple of `spacing` after `progress`.

    >>> next_moment(0.0, 0.25), next_moment(0.25, 0.25), next_moment(0.3, 0.25)
    (0.25, 0.5, 0.5)
    """
    return spacing * (int(progress / spacing + 1e-9) + 1)


def affordable_chars(wanted: int, seconds_per_char: float, after: int, total: float) -> int | None:
    """How many characters an evaluation may score, or None for all: `wanted` and `after` share FINAL_SHARE.

    >>> affordable_chars(1000, 0.01, 1000, 100.0) is None, affordable_chars(1000, 0.1, 1000, 100.0)
    (True, 125)
    """
    if (wanted + after) * seconds_per_char <= FINAL_SHARE * total:
        return None
    splits = 2 if after else 1
    return max(1, int(FINAL_SHARE * total / seconds_per_char / splits))
