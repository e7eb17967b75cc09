"""What is particular to the genetic algorithm; what all algorithms must do is in test_algorithms.py."""

from __future__ import annotations

import math
import statistics

import numpy as np
import pytest
from hyperopt import hp, rand
from hyperopt.base import Domain

from minilm.tuner import genetic
from minilm.tuner.genetic import Birth, Scale, genes_of, mutated, population, scale_of, tournament
from tests.tuner.test_algorithms import EVERYTHING, searched

MIXED = {
    "rate": hp.loguniform("rate", math.log(1e-4), 0.0),
    "width": hp.qloguniform("width", math.log(64), math.log(256), 32),
    "depth": hp.uniformint("depth", 1, 6),
    "drop": hp.quniform("drop", 0.0, 0.2, 0.05),
    "how": hp.choice("how", [{"m": hp.uniform("m", 0, 1)}, {"b": hp.loguniform("b", -6, 0)}, {}]),
}


def bowl(point):
    """The best rate falls with the width, and each way has its own floor."""
    how = point["how"]
    slope = (math.log10(point["rate"]) + 2 + 0.5 * math.log2(point["width"] / 128)) ** 2
    way = (
        0.2 + abs(how["m"] - 0.9) if "m" in how else (math.log(how["b"]) + 3) ** 2 / 4 if "b" in how else 0.6
    )
    return slope + 0.1 * (point["depth"] - 4) ** 2 + 2 * point["drop"] + way


def best_of(algo, seed, evaluations=50):
    return min(searched(bowl, MIXED, algo, evaluations, seed).losses())


def test_beats_random_search():
    ours, theirs = ([best_of(algo, seed) for seed in range(12)] for algo in ("genetic", "random"))
    assert statistics.median(ours) < 0.5 * statistics.median(theirs)
    assert sum(mine < other for mine, other in zip(ours, theirs, strict=True)) >= 9


@pytest.mark.parametrize("distribution", ["uniform", "loguniform", "quniform", "qloguniform"])
def test_a_mutation_stays_where_random_draws_are(distribution):
    """Hyperopt's own sampler says what the gene can be at all."""
    low, high, rounded = (0.3, 2.1, 0.25) if distribution[0] == "q" else (0.3, 2.1, None)
    ends = (math.log(low), math.log(high)) if "log" in distribution else (low, high)
    given = [*ends, *([rounded] if rounded else [])]
    domain = Domain(None, getattr(hp, distribution)("x", *given))
    docs = rand.suggest(range(400), domain, searched(abs, hp.uniform("y", 0, 1), "random", 1), 0)
    drawn = {genes_of(doc)["x"] for doc in docs}
    scale = scale_of(distribution, dict(zip(("low", "high", "q"), given, strict=False)))
    rng = np.random.default_rng(0)
    for value in list(drawn)[:200]:
        moved = mutated(float(value), scale, rng)
        assert moved in drawn if rounded else low * (1 - 1e-9) <= moved <= high * (1 + 1e-9)


def test_mutations_have_the_genes_own_scale():
    """A logarithmic gene moves by factors, the same everywhere; a plain one by differences."""
    rng = np.random.default_rng(1)
    log, plain = Scale(math.log(1e-4), 0.0, 9.2, log=True), Scale(0.0, 1.0, 1.0)
    factors = [abs(math.log(mutated(value, log, rng) / value)) for value in (1e-3, 1e-1) for _ in range(400)]
    low, high = statistics.median(factors[:400]), statistics.median(factors[400:])
    assert 0.7 < low / high < 1.4
    steps = [abs(mutated(0.5, plain, rng) - 0.5) for _ in range(400)]
    assert 0.01 < statistics.median(steps) < 0.2 and max(steps) > 0.2


def test_a_stepped_gene_always_moves_inside_its_bounds():
    rng = np.random.default_rng(2)
    scale = Scale(1.0, 6.0, 5.0, step=1.0)
    assert 3.0 not in {mutated(3.0, scale, rng) for _ in range(200)}
    assert {mutated(1.0, scale, rng) for _ in range(200)} <= {1.0, 2.0, 3.0, 4.0, 5.0, 6.0}


def test_a_gene_rounded_to_zero_has_a_neighbour():
    """0 has no logarithm."""
    moved = mutated(
        0.0, scale_of("qloguniform", {"low": -1.0, "high": 3.0, "q": 4.0}), np.random.default_rng(3)
    )
    assert moved in (0.0, 4.0, 8.0, 12.0, 16.0, 20.0)
    unbounded = scale_of("qlognormal", {"mu": 0.0, "sigma": 1.0, "q": 2.0})
    for seed in range(50):
        moved = mutated(0.0, unbounded, np.random.default_rng(seed))
        assert moved > 0.0 and moved % 2.0 == 0.0


def test_only_successes_breed():
    outcomes = [3.0, math.nan, None, 1.0, math.inf, 2.0, -math.inf]
    docs = [
        {"tid": tid, "misc": {"vals": {"x": [tid]}}, "result": {"status": "ok", "loss": loss}}
        for tid, loss in enumerate(outcomes)
    ]
    docs += [{"tid": 7, "misc": {"vals": {"x": [7]}}, "result": {"status": "fail", "loss": -9.0}}]
    docs += [{"tid": 8, "misc": {"vals": {"x": [8]}}, "result": {"status": "new"}}]
    assert [genes["x"] for genes in population(docs)] == [3, 5, 0]


def test_a_tournament_prefers_the_best_and_excludes_nobody():
    rng, ranked = np.random.default_rng(4), [{"x": float(rank)} for rank in range(8)]
    winners = [tournament(ranked, rng)["x"] for _ in range(2000)]
    counts = [winners.count(rank) for rank in range(6)]
    assert counts == sorted(counts, reverse=True) and counts[-1] > 0
    assert abs(counts[0] / 2000 - (1 - (7 / 8) ** 3)) < 0.05  # in none of the three draws: (7/8)^3


def test_a_child_without_mutation_has_its_parents_genes():
    mother, father = (dict.fromkeys(("m", "rate", "width", "depth", "drop", "how"), x) for x in (0, 0))
    mother |= {"rate": 0.1, "width": 64.0, "depth": 2.0}
    father |= {"rate": 0.2, "width": 96.0, "depth": 5.0}
    domain, trials = Domain(None, MIXED), searched(abs, hp.uniform("y", 0, 1), "random", 1)
    children = [genes_of(Birth(domain, trials, seed, [mother, father], rate=0.0)(5)[0]) for seed in range(40)]
    for label in ("rate", "width", "depth"):
        assert {child[label] for child in children} == {mother[label], father[label]}
    assert len({(c["rate"], c["width"], c["depth"]) for c in children}) == 8, "every mixture of the three"


def test_conditional_genes_are_repaired():
    """A gene whose condition is gone is dropped, one whose condition appears is drawn or inherited."""
    mother = {"choice": 0, "small": 8.0}
    father = {"choice": 1, "inner": 0, "qnormal": 3.0}
    domain, trials = Domain(None, EVERYTHING), searched(abs, hp.uniform("y", 0, 1), "random", 1)
    for seed in range(60):
        child = genes_of(Birth(domain, trials, seed, [mother, father], rate=0.3)(1)[0])
        assert ("small" in child) == (child["choice"] == 0)
        assert ("inner" in child) == (child["choice"] == 1)
        assert ("qlog" in child) == (child.get("inner") == 1)
        assert "uniform" in child, "what neither parent has is drawn"


def test_no_point_of_a_small_space_comes_twice_before_all_have_come():
    space = [hp.choice("a", [0, 1, 2]), hp.choice("b", [hp.uniformint("c", 1, 3), "none"])]
    trials = searched(lambda point: point[0], space, "genetic", 20)
    points = [tuple(sorted(genes_of(doc).items())) for doc in trials.trials]
    assert len(set(points[:12])) == 12  # 3 x (3 + 1)
    assert len(points) == 20, "and a space that is used up does not end the search"


def test_a_point_that_crashed_is_not_tried_again():
    def fn(x):
        raise RuntimeError if x else ValueError

    trials = searched(
        fn, hp.choice("x", list(range(9))), "genetic", 9, catch_eval_exceptions=True, return_argmin=False
    )
    assert len({genes_of(doc)["x"] for doc in trials._dynamic_trials}) == 9


def test_several_children_at_once():
    domain, trials = Domain(None, MIXED), searched(bowl, MIXED, "random", 12)
    children = genetic.suggest([12, 13, 14], domain, trials, 0)
    assert [child["tid"] for child in children] == [12, 13, 14]
    assert len({str(genes_of(child)) for child in children}) == 3
