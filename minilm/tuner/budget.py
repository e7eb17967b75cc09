"""Keeps the minutes: one clock that began with Python itself, what is kept for the end, and what a training step costs.

What a step costs on this machine follows from two that were timed, and from one of the recipe that was chosen. Only
`Minutes` reads a clock; nothing here trains.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from minilm.config import ModelConfig, TrainConfig
from minilm.cost import kept_numbers, matrices, step_flops
from minilm.errors import ConfigError
from minilm.tuner.space import Point, to_configs

RESERVE_SECONDS, RESERVE_SHARE = 4.4, 0.01  # for samples, the mixture with counting, the page
MOST_RESERVED = 0.25  # of the minutes
FEWEST_STEPS = 100  # a shorter training says nothing, and the law was fitted to few such
# The two steps that are timed, one mostly calls, one mostly arithmetic.
TIMED: tuple[Point, Point] = (
    {"num_layers": 2, "hidden_size": 64, "batch_size": 8},
    {"num_layers": 3, "hidden_size": 128, "batch_size": 32},
)
SMALLEST: Point = {"num_layers": 1, "hidden_size": 64, "batch_size": 8}
DROPOUT_PRICE = 1.3  # times a step without: it is drawn by one thread
TEACHER_PRICE = 1.25  # the same: its forward pass; 1.06 measured in bfloat16, 1.35 by arithmetic
# Seconds for an operation, for a number kept, for a layer: how they compare with one another, on one machine. What
# another one costs is these times two factors, one for arithmetic and one for calls. benchmarks/RESULTS.md.
PER_FLOP, PER_NUMBER, PER_LAYER = 2.9e-12, 1.34e-9, 4.9e-3


@dataclass(frozen=True)
class Minutes:
    """The time of a study, from `begun`, a moment of `time.monotonic()`.

    >>> Minutes(3.0, begun=0.0).reserve
    6.2
    """

    minutes: float
    begun: float

    @property
    def total(self) -> float:
        """Seconds."""
        return 60.0 * self.minutes

    @property
    def reserve(self) -> float:
        """The seconds at the end that are for what comes after the training."""
        return round(min(MOST_RESERVED * self.total, RESERVE_SECONDS + RESERVE_SHARE * self.total), 3)

    def moment(self, share: float) -> float:
        """When this share of the reserve is left; 1 is the end of the training, 0 that of the study."""
        return self.begun + self.total - share * self.reserve

    def for_training(self) -> float:
        """The seconds that are left for it."""
        return self.moment(1.0) - time.monotonic()

    def check(self, smallest_step: float) -> None:
        """Raises a ConfigError where not even FEWEST_STEPS of the smallest recipe fit."""
        wanted = FEWEST_STEPS * smallest_step
        if self.for_training() >= wanted:
            return
        so_far = time.monotonic() - self.begun
        least = min((so_far + wanted) / (1 - MOST_RESERVED), so_far + wanted + RESERVE_SECONDS)
        needed = math.ceil(10 * 1.2 * least / 60) / 10  # a fifth more, to the next tenth of a minute
        raise ConfigError(
            f"minutes must be enough for {FEWEST_STEPS} training steps, which are about {needed:g} on this machine, "
            f"starting included, got {self.minutes:g}; give minutes={needed:g} or more"
        )


@dataclass(frozen=True)
class Prices:
    """What a step costs: `arithmetic` and `calls` are how many times as much as on the machine of the constants, and
    `corrections` say for models of which parameters that is how far off."""

    arithmetic: float
    calls: float
    corrections: tuple[tuple[int, float], ...] = ()  # parameters, times as much; the least first

    def step(self, model: ModelConfig, train: TrainConfig) -> float:
        """Seconds of one training step."""
        arithmetic, calls = _parts(model, train)
        plain = self.arithmetic * arithmetic + self.calls * calls
        return plain * (DROPOUT_PRICE if model.dropout else 1.0) * self._correction(parameters(model))

    def corrected(self, model: ModelConfig, train: TrainConfig, seconds: float) -> Prices:
        """These, now that a step of the model was timed too. A model may be dearer than two small ones say: what they
        work on stays near the processor, and a large one's parameters do not.

        >>> model, train = to_configs({"hidden_size": 256}, 65)
        >>> priced = Prices(2.0, 3.0)
        >>> measured = 1.5 * priced.step(model, train)
        >>> math.isclose(priced.corrected(model, train, measured).step(model, train), measured)
        True
        """
        size, larger = parameters(model), parameters(to_configs(TIMED[1], 2)[0])
        corrections = dict(self.corrections or ((larger, 1.0),))
        corrections[size] = self._correction(size) * seconds / self.step(model, train)
        return replace(self, corrections=tuple(sorted(corrections.items())))

    def _correction(self, size: int) -> float:
        """Between two that are known on the line over the logarithm, outside as the nearest."""
        if not self.corrections:
            return 1.0
        sizes, factors = zip(*self.corrections, strict=True)
        return float(np.interp(math.log(size), np.log(sizes), factors))


def prices(timed: Sequence[tuple[ModelConfig, TrainConfig, float]]) -> Prices:
    """From the seconds of two steps, a small one and a large one; one factor for both where a disturbed clock leaves no
    solution.

    >>> small, large = (to_configs({"batch_size": batch}, 65) for batch in (8, 32))
    >>> priced = Prices(2.0, 3.0)
    >>> found = prices([(*small, priced.step(*small)), (*large, priced.step(*large))])
    >>> round(found.arithmetic, 6), round(found.calls, 6)
    (2.0, 3.0)
    """
    (a, b), (c, d) = (_parts(model, train) for model, train, _ in timed)
    s, t = (seconds for _, _, seconds in timed)
    determinant = a * d - b * c
    if determinant:
        found = Prices((s * d - b * t) / determinant, (a * t - s * c) / determinant)
        if found.arithmetic > 0 and found.calls > 0:
            return found
    return Prices(t / (c + d), t / (c + d))


def parameters(model: ModelConfig) -> int:
    """The parameters of the layers' matrices; tables of embeddings are looked up, not computed with."""
    return model.n_layer * sum(rows * columns for rows, columns in matrices(model))


def _parts(model: ModelConfig, train: TrainConfig) -> tuple[float, float]:
    """Seconds of a step on the machine of the constants: arithmetic and memory, calls."""
    numbers = kept_numbers(model, train.batch_size, "blocked")
    return PER_FLOP * step_flops(model, train) + PER_NUMBER * numbers, PER_LAYER * (model.n_layer + 1)
