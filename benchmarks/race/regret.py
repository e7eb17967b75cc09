"""Scores a race: regret over time, averaged over seeds, with intervals. Arithmetic on plain lists.

Regret is the loss of the best model trained to the end so far, less the lowest loss in the table. Seeds are paired: two
searchers begin with the same trainings, so intervals come from drawing seeds, not single runs, with replacement.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

MOMENTS = 240  # at which a race is looked at, in equal distances up to its end
RESAMPLES, LEVEL = 2000, 0.95  # of the bootstrap
THIRD = MOMENTS // 3 - 1  # the number of the moment at a third of the budget

Finished = Sequence[tuple[float, float]]  # (moment, loss) of full trainings, in order


@dataclass(frozen=True)
class Interval:
    """A mean, or a ratio of means, with its bootstrap interval."""

    value: float
    low: float
    high: float

    def text(self, digits: int = 4) -> str:
        """For a table; a dash where there is no number."""
        parts = (
            f"{part:.{digits}f}" if math.isfinite(part) else "-" for part in (self.value, self.low, self.high)
        )
        return "{} [{}, {}]".format(*parts)

    def numbers(self) -> list[float | None]:
        """Value, low and high for JSON, which has no NaN."""
        return [part if math.isfinite(part) else None for part in (self.value, self.low, self.high)]


@dataclass(frozen=True)
class Score:
    """One searcher's row: its regret, and how ours compares. Ratios below 1 mean that ours has less regret."""

    name: str
    third: Interval
    end: Interval
    ratio_third: Interval
    ratio_end: Interval
    reached: float | None  # share of the budget at which ours has this one's final mean loss; None: never


def moments(length: float) -> np.ndarray:
    """The moments of a race of that length, the end included."""
    return length * np.arange(1, MOMENTS + 1) / MOMENTS


def regret(finished: Finished, best: float, at: np.ndarray) -> np.ndarray:
    """The regret at each moment; NaN before a first training has ended.

    >>> regret([(1.0, 2.5), (2.0, 2.75), (3.0, 2.25)], 2.0, np.array([0.5, 1.0, 2.0, 3.0])).tolist()
    [nan, 0.5, 0.5, 0.25]
    """
    found = np.full(len(at), np.nan)
    lowest = math.inf
    for moment, loss in finished:
        if loss < lowest:
            lowest = loss
            found[at >= moment - 1e-9] = loss - best
    return found


def mean(values: np.ndarray, seed: int = 0) -> Interval:
    """The mean over seeds."""
    drawn = _drawn(len(values), seed)
    return _interval(float(values.mean()), values[drawn].mean(1))


def ratio(ours: np.ndarray, theirs: np.ndarray, seed: int = 0) -> Interval:
    """Our mean over theirs, both on the same seeds; NaN where they have no regret left."""
    drawn = _drawn(len(ours), seed)
    with np.errstate(divide="ignore", invalid="ignore"):
        return _interval(
            float(np.divide(ours.mean(), theirs.mean())), ours[drawn].mean(1) / theirs[drawn].mean(1)
        )


def _drawn(seeds: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, seeds, (RESAMPLES, seeds))


def _interval(value: float, resampled: np.ndarray) -> Interval:
    low, high = np.quantile(resampled, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(value, float(low), float(high))


def reached(ours: np.ndarray, theirs: np.ndarray) -> float | None:
    """The share of the race after which our mean regret (seeds, moments) is no more than theirs at the end."""
    early = np.flatnonzero(ours.mean(0) <= theirs[:, -1].mean())
    return float(early[0] + 1) / ours.shape[1] if len(early) else None


def scores(regrets: dict[str, np.ndarray], ours: str) -> list[Score]:
    """A row for each searcher; `regrets` are (seeds, moments), the same seeds in all."""
    mine = regrets[ours]
    return [
        Score(
            name,
            mean(theirs[:, THIRD]),
            mean(theirs[:, -1]),
            ratio(mine[:, THIRD], theirs[:, THIRD]),
            ratio(mine[:, -1], theirs[:, -1]),
            reached(mine, theirs),
        )
        for name, theirs in regrets.items()
    ]
