"""Decides when a training evaluates, writes a record and ends: by steps, by minutes, or by a deadline.

Progress runs from 0 to 1 and is a share of the steps or of the time. Knows numbers and one clock; no tensors.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from minilm.config import TrainConfig
from minilm.errors import DivergenceError

RECORDS = 100  # training records per run
EVALUATION_SHARE = 0.1  # of a time budget, for the evaluations before the last one
FINAL_SHARE = 0.1  # of a time budget: a last evaluation dearer than this is cut down to it
SAFETY = 1.25  # a busy neighbour can make the next evaluation slower than the last
FIRST_STEP = 1e-3  # of a time budget, before a step has been timed
PRICED = 2048  # characters scored to learn what a character costs


SETTLING_STEPS = 10  # a first loss may be anything; after these it may not exceed
DIVERGED = 3.0  # ... this many times the loss of a blind guess, ln(V)
SAVED = (
    *("first_step", "earlier", "eval_chars", "stepped"),
    *("next_evaluation", "next_record", "evaluation_seconds", "step_seconds"),
)


class Stop(Enum):
    """Why a run ended."""

    FINISHED = "finished"
    EARLY = "early"
    DEADLINE = "deadline"
    INTERRUPTED = "interrupted"


@dataclass
class State:
    """The counters of a run; plain JSON in the checkpoint, as the clock's own."""

    step: int = 0
    tokens_seen: int = 0
    best_loss: float | None = None  # nats per character
    best_step: int = 0
    stale: int = 0  # evaluations since the best one
    evaluated_step: int = 0
    loss_sum: float = 0.0  # since the last record
    loss_count: int = 0
    train_loss: float | None = None  # of the last record
    learning_rate: float = 0.0  # of the last update


class Clock:
    """The length of one run. `chars` are those of the validation split and those scored after the training.

    `deadline` is a moment of `time.monotonic()`; `most_steps` end a run by minutes that comes so far, and its schedule
    then follows whichever ends first. A finished run that goes on does so in another `leg`, with a schedule of its own.
    The `state` is plain JSON for the checkpoint.
    """

    def __init__(
        self,
        config: TrainConfig,
        chars: tuple[int, int],
        vocab_size: int,
        deadline: float | None = None,
        most_steps: int | None = None,
        leg: int = 0,
    ) -> None:
        self.config, self.chars, self.deadline, self.leg = config, chars, deadline, leg
        self.blind_guess = math.log(max(2, vocab_size))  # nats per token
        self.last_step = most_steps if config.total_steps is None else config.total_steps
        self.started = time.monotonic()  # of a resumed run: as if it had never stopped
        self.first_step, self.earlier = 0, 0.0  # the steps and seconds of the legs before this one
        self.eval_chars = config.eval_chars  # how many characters an evaluation scores; None: all
        self.next_evaluation = self.next_record = 0.0  # progress
        self.evaluation_seconds = 0.0  # of the last evaluation, with the files it writes
        self.step_seconds: float | None = None  # of an update, a moving mean
        self.stepped = 0.0  # seconds of all updates

    def state(self) -> dict[str, Any]:
        return {"seconds": self.seconds(), "leg": self.leg, **{name: getattr(self, name) for name in SAVED}}

    def restore(self, state: dict[str, Any]) -> None:
        """Goes on in the leg that the state is of, or begins the leg after it."""
        if state.get("leg", 0) < self.leg:
            self.first_step, self.earlier = state["step"], state["seconds"] + state.get("earlier", 0.0)
            self.eval_chars = state["eval_chars"]  # the best loss so far is one of so many
            return
        self.started = time.monotonic() - state["seconds"]
        for name in SAVED:
            setattr(self, name, state.get(name, getattr(self, name)))

    def open(self, evaluate: Callable[[int], object]) -> None:
        """Before the first step: where time ends the run, `evaluate` a number of characters to learn its price."""
        if self.total is not None and not self.evaluation_seconds:
            chars = self.scored(self.chars[0])
            sample = min(PRICED, chars)
            for _ in range(2):  # the first call pays for warming up
                started = time.monotonic()
                evaluate(sample)
                each = (time.monotonic() - started) / sample
            if (chars + self.chars[1]) * each > FINAL_SHARE * self.total:
                affordable = int(FINAL_SHARE * self.total / each / (2 if self.chars[1] else 1))
                self.eval_chars = chars = max(1, min(chars, affordable))
            self.evaluation_seconds = each * chars
        self.next_evaluation = self.next_evaluation or self.spacing()

    def seconds(self) -> float:
        return time.monotonic() - self.started

    def scored(self, chars: int) -> int:
        """How many of a split's characters an evaluation scores."""
        return chars if self.eval_chars is None else min(chars, self.eval_chars)

    @property
    def total(self) -> float | None:
        """Seconds of the whole run, or None where steps alone end it."""
        minutes, deadline = self.config.minutes, self.deadline
        limits = [60 * minutes] if minutes is not None else []
        limits += [deadline - self.started] if deadline is not None else []
        return max(min(limits), 1e-6) if limits else None

    @property
    def usable(self) -> float:
        """Seconds for updates and the evaluations between them: the last evaluation takes the rest."""
        assert self.total is not None
        final = self.evaluation_seconds * (1 + self.scored(self.chars[1]) / self.scored(self.chars[0]))
        return max(self.total - SAFETY * final, 1e-9)

    def one_step(self) -> float:
        """Seconds that the next update is expected to take."""
        assert self.total is not None
        return FIRST_STEP * self.total if self.step_seconds is None else self.step_seconds

    def progress(self, steps: float, ahead: float = 0.0) -> float:
        """Share of the budget that is over after `steps`; with `ahead` = 1 at the next update.

        That is (done + 1) / (all + 1), in steps or in seconds of one update each: the detour by one keeps the first
        update (progress 0) and the last one (progress 1) from a learning rate of zero.
        """
        by_steps = by_time = 0.0
        if self.last_step is not None:
            by_steps = (steps - self.first_step + ahead) / (self.last_step - self.first_step + ahead)
        if self.config.minutes is not None:
            step = ahead * self.one_step()
            by_time = (self.seconds() + step) / (self.usable + step)
        return min(1.0, max(by_steps, by_time))

    def stop(self, steps: int, stale: int) -> Stop | None:
        """Why there should be no other update after `steps` and `stale` evaluations without improvement; or None."""
        if self.last_step is not None and steps >= self.last_step:
            return Stop.FINISHED
        if self.config.patience is not None and stale >= self.config.patience:
            return Stop.EARLY
        if (
            self.total is not None
            and steps > self.first_step
            and self.seconds() + self.one_step() > self.usable
        ):
            own = self.config.minutes is not None and self.total == 60 * self.config.minutes
            return Stop.FINISHED if own else Stop.DEADLINE
        return None

    def check(self, step: int, rate: float, loss: float, norm: float) -> None:
        """Ends a training that has left the numbers which lead anywhere, by a DivergenceError."""
        if not math.isfinite(loss):
            what = f"the loss became {loss}"
        elif not math.isfinite(norm):
            what = f"the gradient's norm became {norm}"
        elif step > SETTLING_STEPS and loss > DIVERGED * self.blind_guess:
            what = f"the loss rose to {loss:.3g} nats per token, {DIVERGED:g} times a blind guess"
        else:
            return
        raise DivergenceError(
            f"training diverged at step {step} with learning rate {rate:.3g}: {what}; "
            f"try learning_rate={self.config.learning_rate / 10:.2g}",
            step=step,
            learning_rate=rate,
        )

    def step_took(self, seconds: float, steps: int) -> None:
        """The first step pays for warming up and is forgotten in the mean."""
        self.stepped += seconds
        if steps <= self.first_step + 2 or self.step_seconds is None:
            self.step_seconds = seconds
        else:
            self.step_seconds = 0.9 * self.step_seconds + 0.1 * seconds

    def evaluation_due(self, steps: int) -> bool:
        return self.progress(steps) >= self.next_evaluation - 1e-9

    def record_due(self, steps: int) -> bool:
        return self.progress(steps) >= self.next_record - 1e-9

    def improved(self, s: State, val_loss: float) -> bool:
        """Whether a validation loss is the best so far, noted in the state."""
        s.evaluated_step = s.step
        if math.isfinite(val_loss) and (s.best_loss is None or val_loss < s.best_loss):
            s.best_loss, s.best_step, s.stale = val_loss, s.step, 0
            return True
        self.check(s.step + 1, s.learning_rate, val_loss, norm=0.0)
        s.stale += 1
        return False

    def record(self, s: State, val_loss: float | None = None) -> dict[str, Any]:
        """The numbers since the last record; fixes when the next one is due, and after an evaluation the next one.

        By the clock that is at least half a spacing away: each evaluation prices the next one, a new price moves all
        multiples of the spacing, and the nearest may be due at once.
        """
        s.train_loss = s.loss_sum / s.loss_count if s.loss_count else s.train_loss
        s.loss_sum, s.loss_count = 0.0, 0
        progress, spacing = self.progress(s.step), self.spacing()
        self.next_record = next_moment(progress, 1 / RECORDS)
        values = {name: getattr(s, name) for name in ("step", "learning_rate", "train_loss")}
        values |= {"progress": progress, "seconds": self.earlier + self.seconds()}
        if val_loss is not None:
            values["val_loss"] = val_loss
            self.next_evaluation = next_moment(
                progress + (0.0 if self.total is None else spacing / 2), spacing
            )
        return values

    def spacing(self) -> float:
        """Progress between evaluations: as configured, or wider where they would eat the time."""
        spacing = 1 / self.config.evaluations
        if self.total is None:
            return spacing
        return min(1.0, max(spacing, self.evaluation_seconds / (EVALUATION_SHARE * self.total)))


def next_moment(progress: float, spacing: float) -> float:
    """The first multiple of `spacing` after `progress`.

    >>> next_moment(0.0, 0.25), next_moment(0.25, 0.25), next_moment(0.3, 0.25)
    (0.25, 0.5, 0.5)
    """
    return spacing * (int(progress / spacing + 1e-9) + 1)


def process_age() -> float:
    """Seconds since this process was started: the interpreter's own start-up counts for a deadline too.

    0 where the system does not tell (it does on Linux).
    """
    try:
        ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
        uptime = float(Path("/proc/uptime").read_text().split()[0])
        age = uptime - ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError):
        return 0.0
    return age if 0.0 <= age < 3600.0 else 0.0


def process_started() -> float:
    """The moment of `time.monotonic()` at which this process was started."""
    return time.monotonic() - process_age()
