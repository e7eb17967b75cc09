"""Compares the search's best trials and the default recipe, each trained again with fresh seeds.

The lowest of many noisy losses is low by luck, too, and two seeds of one configuration differ as much as the best two
configurations do. So the best are trained again, and means are compared with what seeds alone do to them. This file
decides on numbers; it trains nothing.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from minilm.tuner.records import Trial, TrialState
from minilm.tuner.space import DEFAULT_TID

SEEDS = 2  # fresh ones, where the time allows
BEST_TRIALS = 2  # finalists from the search, beside the default recipe
SEED_NOISE = 0.01  # nats per character, the least deviation of seeds: a few losses may agree by luck
CLEAR = 2.0  # standard errors beyond which a difference is called one


@dataclass(frozen=True)
class Finalist:
    """One configuration with its losses after a full training, by seed; in nats per character."""

    tid: int
    n_parameters: int
    losses: Mapping[int, float] = field(default_factory=dict)

    @property
    def mean(self) -> float:
        return statistics.fmean(self.losses.values())


@dataclass(frozen=True)
class Outcome:
    """The chosen trial, and how much lower it stands than the default recipe; NaN where there is nothing to compare."""

    tid: int
    difference: float
    se: float

    @property
    def better(self) -> bool:
        """Whether the difference is more than noise would do."""
        return self.difference > CLEAR * self.se


def finalists(trials: Sequence[Trial], search_seed: int) -> list[Finalist]:
    """The best fully trained trials, best first, and the default recipe, trial 0, among them.

    >>> trials = [Trial(tid, {}, {}, state=TrialState.OK, loss=loss) for tid, loss in enumerate((2.0, 1.9, 1.7, 1.8))]
    >>> [one.tid for one in finalists(trials, 0)]
    [2, 3, 0]
    """
    done = [t for t in trials if t.state is TrialState.OK and t.loss is not None]
    ranked = sorted(done, key=lambda trial: (trial.loss, trial.tid))
    kept = [*ranked[:BEST_TRIALS], *(trial for trial in ranked[BEST_TRIALS:] if trial.tid == DEFAULT_TID)]
    return [Finalist(t.tid, t.n_parameters or 0, {search_seed: t.loss or 0.0}) for t in kept]


def rounds(candidates: Sequence[Finalist], search_seed: int) -> list[list[tuple[int, int]]]:
    """(trial, seed) to train, in rounds that are worth something only as a whole: the best and the default recipe with
    a fresh seed each, then the others, seed by seed.

    Nothing where the default recipe stands alone.

    >>> rounds([Finalist(2, 1), Finalist(3, 1), Finalist(0, 1)], 0)
    [[(2, 1), (0, 1)], [(3, 1)], [(2, 2), (0, 2)], [(3, 2)]]
    """
    if [one.tid for one in candidates] in ([], [DEFAULT_TID]):
        return []
    pair = [one.tid for one in candidates if one.tid in (DEFAULT_TID, candidates[0].tid)]
    others = [one.tid for one in candidates if one.tid not in pair]
    groups = [sorted(pair, key=lambda tid: tid == DEFAULT_TID), others]
    seeds = range(search_seed + 1, search_seed + SEEDS + 1)
    return [[(tid, seed) for tid in group] for seed in seeds for group in groups if group]


def batches(rounds: Sequence[list[tuple[int, int]]], workers: int) -> list[list[tuple[int, int]]]:
    """Rounds that so many workers can run at once, joined.

    >>> batches([[(2, 1), (0, 1)], [(3, 1)], [(2, 2), (0, 2)]], 3)
    [[(2, 1), (0, 1), (3, 1)], [(2, 2), (0, 2)]]
    """
    joined: list[list[tuple[int, int]]] = []
    for each in rounds:
        if joined and len(joined[-1]) + len(each) <= workers:
            joined[-1] = joined[-1] + each
        else:
            joined.append(each)
    return joined


def choose(candidates: Sequence[Finalist]) -> Outcome | None:
    """The lowest mean; within a standard error of it the smaller model, and the default recipe before all others.

    Only those count that were trained with as many seeds as the best covered one. None where none is left.

    >>> choose([Finalist(4, 900, {0: 1.50, 1: 1.51}), Finalist(0, 800, {0: 1.60, 1: 1.61})]).tid
    4
    >>> choose([Finalist(4, 900, {0: 1.590, 1: 1.605}), Finalist(0, 800, {0: 1.60, 1: 1.61})]).tid
    0
    """
    seeds = max((len(one.losses) for one in candidates), default=0)
    complete = [one for one in candidates if len(one.losses) == seeds]
    if not seeds:
        return None
    noise = seed_noise(candidates)
    best = min(complete, key=lambda one: (one.mean, one.tid))
    tied = [one for one in complete if one.mean - best.mean <= standard_error(noise, one, best)]
    chosen = min(tied, key=lambda one: (one.tid != DEFAULT_TID, one.n_parameters, one.mean))
    default = next((one for one in complete if one.tid == DEFAULT_TID), None)
    if default is None:
        return Outcome(chosen.tid, math.nan, math.nan)
    return Outcome(chosen.tid, default.mean - chosen.mean, standard_error(noise, chosen, default))


def seed_noise(candidates: Sequence[Finalist]) -> float:
    """The standard deviation of a loss over seeds, pooled over all configurations; SEED_NOISE at least."""
    repeated = [one for one in candidates if len(one.losses) > 1]
    degrees = sum(len(one.losses) - 1 for one in repeated)
    squares = sum((loss - one.mean) ** 2 for one in repeated for loss in one.losses.values())
    return max(SEED_NOISE, math.sqrt(squares / degrees)) if degrees else SEED_NOISE


def standard_error(noise: float, one: Finalist, other: Finalist) -> float:
    """Of the difference of two means; 0 for one and the same.

    >>> round(standard_error(0.02, Finalist(1, 1, {0: 2.0}), Finalist(2, 1, {0: 1.9})), 4)
    0.0283
    """
    if one.tid == other.tid:
        return 0.0
    return noise * math.sqrt(1 / len(one.losses) + 1 / len(other.losses))
