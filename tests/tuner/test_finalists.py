"""Who is trained at length: by table, and how often luck would be taken for skill."""

from __future__ import annotations

import math

import numpy as np
import pytest

from minilm.tuner.finalists import (
    CLEAR,
    SEED_NOISE,
    Finalist,
    Outcome,
    choose,
    finalists,
    rounds,
    seed_noise,
)
from minilm.tuner.records import Trial, TrialState


def trial(tid: int, loss: float | None, state: TrialState = TrialState.OK) -> Trial:
    return Trial(tid, {}, {}, state=state, loss=loss, n_parameters=1000 + tid)


def test_the_best_few_and_the_default_recipe():
    trials = [trial(0, 2.0), trial(1, 1.8), trial(2, 1.7), trial(3, 1.9), trial(4, 1.6, TrialState.PAUSED)]
    assert [one.tid for one in finalists(trials, 5)] == [2, 1, 0]
    assert finalists(trials, 5)[0].losses == {5: 1.7}
    assert [one.tid for one in finalists([trial(0, 1.5), *trials[1:]], 0)] == [0, 2]
    assert finalists([trial(0, None, TrialState.FAILED)], 0) == []


def test_the_most_telling_trainings_come_first_and_together():
    few = [Finalist(2, 1), Finalist(1, 1), Finalist(0, 1)]
    assert rounds(few, search_seed=7)[:2] == [[(2, 8), (0, 8)], [(1, 8)]]
    assert rounds([Finalist(0, 1), Finalist(4, 1)], 0)[0] == [(0, 1)]
    assert rounds([Finalist(0, 1)], 0) == [] and rounds([], 0) == []


@pytest.mark.parametrize(
    ("few", "expected"),
    [
        ([Finalist(3, 900, {0: 1.5})], 3),
        ([Finalist(3, 900, {0: 1.5}), Finalist(0, 800, {0: 1.6})], 3),
        ([Finalist(3, 900, {0: 1.59}), Finalist(0, 800, {0: 1.6})], 0),  # within noise: the default recipe
        ([Finalist(3, 900, {0: 1.5}), Finalist(5, 100, {0: 1.505})], 5),  # within noise: the smaller one
        ([Finalist(3, 900, {0: 1.5}), Finalist(0, 1, {0: 1.6, 1: 1.6})], 0),  # one lucky seed does not count
        ([Finalist(3, 900, {0: 1.5, 1: 1.5}), Finalist(0, 1, {0: 1.4})], 3),
    ],
)
def test_the_choice(few, expected):
    assert choose(few).tid == expected


def test_no_finalists_no_choice():
    assert choose([]) is None and choose([Finalist(0, 1, {})]) is None
    alone = choose([Finalist(3, 900, {0: 1.5})])
    assert math.isnan(alone.difference) and not alone.better


def test_noise_is_pooled_and_never_taken_for_nothing():
    assert seed_noise([Finalist(0, 1, {0: 1.5, 1: 1.5, 2: 1.5})]) == SEED_NOISE
    few = [Finalist(0, 1, {0: 1.0, 1: 1.2}), Finalist(1, 1, {0: 2.0, 1: 2.4})]
    assert seed_noise(few) == pytest.approx(np.sqrt((2 * 0.1**2 + 2 * 0.2**2) / 2))


def test_equal_configurations_are_seldom_called_better():
    draw = np.random.default_rng(0)

    def luck() -> Outcome:
        losses = draw.normal(1.5, 0.02, (2, 3))
        return choose([Finalist(tid, 1, dict(enumerate(losses[tid]))) for tid in (0, 1)])

    outcomes = [luck() for _ in range(2000)]
    # two standard errors, one-sided, with a noise from four degrees of freedom that is seldom much too small
    assert np.mean([outcome.better for outcome in outcomes]) < 0.08
    assert CLEAR == 2.0
