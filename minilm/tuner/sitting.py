"""Holds one sitting of a study: what this process was given to run, and its clock."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from pathlib import Path

from minilm.text.corpora import Corpus
from minilm.tuner.decide import Plan
from minilm.tuner.propose import SearchSpace
from minilm.tuner.records import Journal, Trial
from minilm.tuner.settings import Settings
from minilm.tuner.watch import Watch

FLAT_SHARE = 0.5  # of the seconds that use a text up; about then the learning rate should begin to fall


@dataclass
class Sitting:
    """A study being run by this process: from `begun`, a moment of `time.monotonic()`, to the deadline."""

    corpus: Corpus
    settings: Settings
    space: SearchSpace
    folder: Path
    journal: Journal
    watch: Watch
    begun: float
    plan: Plan | None
    offset: float = 0.0  # seconds that earlier sittings took

    def clock(self) -> float:
        """Seconds since the study began, sittings strung together."""
        return self.offset + time.monotonic() - self.begun

    @property
    def useful_seconds(self) -> float:
        """Seconds of training that use the text up; infinite where that is unknown."""
        return math.inf if self.settings.enough is None else self.settings.enough

    @property
    def trials_are_whole(self) -> bool:
        """Whether a trial trains long enough to show what a training to the end would come to."""
        return (self.settings.budget.seconds or 0.0) >= FLAT_SHARE * self.useful_seconds

    def race_end(self) -> float:
        """The moment of `time.monotonic()` at which a race is over."""
        assert self.plan is not None
        return self.begun + self.plan.race_end

    def moment(self, share: float) -> float | None:
        """When this share of the plan's reserve is left, as `time.monotonic()`; None where nothing ends."""
        return None if self.plan is None else self.begun + self.plan.total - share * self.plan.reserve

    def tick(self) -> None:
        """Tells the watch how much time is left."""
        end = self.moment(0.0)
        self.watch.tick(None if end is None else end - time.monotonic())

    @property
    def incumbent(self) -> Trial:
        """The recipe that trains all along, as its trial was last recorded; without one it has no loss."""
        tid, point = self.settings.incumbent, self.settings.fitted or self.space.default
        recorded = (trial for trial in self.journal.trials if trial.tid == tid)
        return next(recorded, None) or Trial(tid, point, {})
