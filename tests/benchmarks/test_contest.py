"""Contestants against those they stand for, the race's arithmetic, and what our search is meant to win."""

from __future__ import annotations

import importlib.util
import math

import numpy as np
import pytest
from hyperopt import STATUS_OK, anneal, fmin, rand, tpe

from benchmarks.race.contest import BLIND, CONTESTANTS, Hyperopt, Optuna, Ours
from benchmarks.race.regret import mean, moments, ratio, reached, regret, scores
from benchmarks.race.virtual import replay
from minilm.tuner import genetic
from minilm.tuner.propose import Proposer, SearchSpace
from minilm.tuner.space import to_hyperopt
from tests.benchmarks.tables import GRID, bowl, half_diverging, made_up

TABLE = made_up(GRID, bowl, diverges=lambda point: 0.4 if point["learning_rate"] > 0.05 else None)
BUDGET = 12
needs_optuna = pytest.mark.skipif(
    importlib.util.find_spec("optuna") is None, reason="optuna is not installed"
)


def points(events):
    """The points in the order of their trials' beginnings."""
    return [e.leg.point for e in sorted(events, key=lambda e: e.leg.tid) if e.leg.start == 0]


@pytest.fixture(params=[pytest.param(n, marks=needs_optuna if "Optuna" in n else ()) for n in CONTESTANTS])
def name(request):
    return request.param


def test_all_begin_with_the_default_recipe_and_repeat_themselves(name):
    first, again, other = (replay(CONTESTANTS[name](TABLE, seed), TABLE, BUDGET) for seed in (3, 3, 4))
    assert points(first)[0] == TABLE.default
    # in so small a table the law sees every recipe each time, and takes the one it expects most of
    assert first == again and (points(first) != points(other) or name == "law")


def test_all_search_the_whole_space(name):
    events = replay(CONTESTANTS[name](TABLE, 0), TABLE, 25)
    for dimension in TABLE.dimensions():
        drawn = [point[dimension.name] for point in points(events)]
        assert dimension.low * 0.9999 <= min(drawn) < max(drawn) <= dimension.high * 1.0001
        assert len({TABLE.nearest(dimension.name, value) for value in drawn}) >= 2


def test_all_keep_several_workers_busy(name):
    events = replay(CONTESTANTS[name](TABLE, 0), TABLE, BUDGET, workers=3)
    busy = sum(min(e.leg.end, TABLE.ends[TABLE.index(e.leg.point), 0]) - e.leg.start for e in events)
    assert BUDGET - 3 <= busy <= BUDGET + 1e-6
    assert max(e.time for e in events) <= BUDGET / 3 + 1e-6


@pytest.mark.parametrize("suggest", [rand.suggest, tpe.suggest, anneal.suggest, genetic.suggest])
def test_hyperopt_tries_what_fmin_tries(suggest):
    """The witness: fmin itself, with the same first point, seed and penalty."""

    def loss(point):
        found = TABLE.loss(TABLE.index(point), 1.0)
        return {"status": STATUS_OK, "loss": BLIND if found is None else found}

    seen = []
    fmin(
        lambda point: (seen.append(point), loss(point))[1],
        to_hyperopt(TABLE.dimensions()),
        algo=suggest,
        max_evals=26,
        points_to_evaluate=[TABLE.default],
        rstate=np.random.default_rng(5),
        show_progressbar=False,
        verbose=False,
    )
    ours = points(replay(Hyperopt(TABLE, 5, suggest), TABLE, 30))
    assert len(seen) > 25 and ours[: len(seen)] == seen


@needs_optuna
@pytest.mark.parametrize(
    ("pruner", "limits"), [("MedianPruner", {}), ("HyperbandPruner", {"min_resource": 1, "max_resource": 27})]
)
def test_optuna_tries_what_optimize_tries(pruner, limits):
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    seen = []

    def objective(trial):
        space = TABLE.dimensions()
        point = {d.name: trial.suggest_float(d.name, d.low, d.high, log=True) for d in space}
        seen.append(point)
        for mark in range(1, TABLE.marks + 1):
            loss = TABLE.loss(TABLE.index(point), mark / TABLE.marks)
            if loss is None:
                return BLIND
            if mark < TABLE.marks:
                trial.report(loss, mark)
                if trial.should_prune():
                    raise optuna.TrialPruned
        return loss

    sampler = optuna.samplers.TPESampler(seed=5)
    study = optuna.create_study(
        sampler=sampler, pruner=getattr(optuna.pruners, pruner)(**limits), study_name="race 5"
    )
    study.enqueue_trial(TABLE.default)
    study.optimize(objective, n_trials=20)
    ours = points(replay(Optuna(TABLE, 5, pruner, **limits), TABLE, 25))
    for mine, theirs in zip(ours[:20], seen, strict=True):
        assert mine == pytest.approx(theirs)


def test_ours_without_rungs_is_the_proposer_alone():
    proposer = Proposer(SearchSpace.of(TABLE.dimensions(), TABLE.default), "tpe", 7)
    expected = []
    for _ in range(14):
        tid, point = proposer.ask()
        proposer.tell(tid, TABLE.loss(TABLE.index(point), 1.0))
        expected.append(point)
    searcher = Ours(TABLE, 7, scheduler="none")
    assert points(replay(searcher, TABLE, 20))[:14] == expected


def test_the_law_trains_nothing_twice_and_learns():
    """Even from what it did not expect: the best recipe of this table is a third of its rates away."""
    events = replay(CONTESTANTS["law"](TABLE, 0), TABLE, 6)
    tried = [TABLE.index(point) for point in points(events)]
    assert len(set(tried)) == len(tried) >= 6
    assert min(e.loss for e in events if e.loss is not None) - TABLE.best <= 0.05


def wasted(table, searcher):
    """The share of trials 41 to 80 whose training diverges; without a clock, since those cost next to nothing."""
    diverged = []
    while len(diverged) < 80:
        leg = searcher.ask()
        index = table.index(leg.point)
        if leg.start == 0:
            diverged.append(math.isnan(table.finals[index, 0]))
        searcher.tell(leg, table.loss(index, leg.end))
    return np.mean(diverged[40:])


def test_a_diverging_half_of_the_space_is_left_alone():
    """Plain Hyperopt, told NaN as by a training loop that does not look, goes there nearly always."""
    table = half_diverging()
    ours = np.mean([wasted(table, Ours(table, seed)) for seed in range(5)])
    plain = np.mean([wasted(table, Hyperopt(table, seed, diverged=math.nan)) for seed in range(5)])
    assert ours <= 0.25 and plain >= 0.8, (ours, plain)


def test_regret_by_hand():
    done = [(1.0, 2.5), (1.5, 2.25), (1.75, 2.75), (3.0, 2.0)]
    assert regret(done, 2.0, np.array([0.5, 1.0, 1.6, 2.0, 9.0])).tolist()[1:] == [0.5, 0.25, 0.25, 0.0]
    assert moments(40)[-1] == 40 and len(moments(40)) == 240


def test_intervals_hold_the_truth_as_often_as_they_say():
    """The mean of 40 draws, 300 times: about 95 % of the intervals hold 1."""
    rng = np.random.default_rng(0)
    held = [mean(rng.exponential(1.0, 40), seed) for seed in range(300)]
    assert 0.88 <= np.mean([one.low <= 1.0 <= one.high for one in held]) <= 0.98


def test_a_ratio_of_paired_seeds():
    rng = np.random.default_rng(0)
    luck = rng.exponential(1.0, 40)
    half = ratio(0.5 * luck, luck)
    assert (half.value, half.low, half.high) == pytest.approx((0.5, 0.5, 0.5))


def test_when_ours_reaches_what_they_end_with():
    theirs = np.array([[4.0, 3.0, 2.0, 2.0], [4.0, 3.0, 2.0, 2.0]])
    ours = np.array([[np.nan, 3.0, 1.0, 1.0], [4.0, 3.0, 2.5, 1.0]])
    assert reached(ours, theirs) == 0.75
    assert reached(theirs, ours) is None
    early = np.repeat(np.array([[4.0, 3.0, 1.0], [5.0, 2.0, 1.0]]), 80, axis=1)
    (row,) = scores({"both": early}, "both")
    assert (row.third.value, row.end.value, row.ratio_end.value) == (4.5, 1.0, 1.0)
    assert row.reached == pytest.approx(161 / 240)
