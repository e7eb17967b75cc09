"""The conformance suite of search algorithms: every entry of ALGORITHMS must pass all of it."""

from __future__ import annotations

import json
import math
import statistics

import numpy as np
import pytest
from hyperopt import STATUS_FAIL, STATUS_OK, Trials, fmin, hp, space_eval
from hyperopt.base import Domain

from minilm.tuner.algorithms import ALGORITHMS
from minilm.tuner.propose import Proposer, SearchSpace, hyperopt_trials
from minilm.tuner.space import DEFAULT_POINT, SPACE, Dimension

FULL = SearchSpace.of(SPACE, DEFAULT_POINT)
LINE = SearchSpace.of((Dimension("x", "steps", 0.0, 1.0, 1e-6),), {"x": 0.25})
BRANCHES = SearchSpace(
    hp.choice("kind", [{"schedule": "linear"}, {"schedule": "wsd", "decay": hp.uniform("decay", 0.1, 0.5)}]),
    {"schedule": "linear"},
)
# every distribution that Hyperopt has, some of them two conditions deep
EVERYTHING = {
    "uniform": hp.uniform("uniform", -2.0, 3.0),
    "uniformint": hp.uniformint("uniformint", 1, 4),
    "quniform": hp.quniform("quniform", 0.3, 2.1, 0.25),
    "loguniform": hp.loguniform("loguniform", math.log(1e-3), math.log(10)),
    "normal": hp.normal("normal", 5.0, 2.0),
    "lognormal": hp.lognormal("lognormal", 0.0, 1.0),
    "randint": hp.randint("randint", 2, 6),
    "pchoice": hp.pchoice("pchoice", [(0.2, "rare"), (0.8, "often")]),
    "choice": hp.choice(
        "choice",
        [
            {"inner": hp.qloguniform("small", math.log(0.4), math.log(40), 4)},
            {"inner": hp.choice("inner", [hp.qnormal("qnormal", 0, 9, 3), hp.qlognormal("qlog", 1, 1, 0.5)])},
            {"inner": "none"},
        ],
    ),
}
# what each label may hold: the step and the lowest and highest value, None where there is no bound
SUPPORT = {
    "uniform": (None, -2.0, 3.0),
    "uniformint": (1, 1, 4),
    "quniform": (0.25, 0.25, 2.0),
    "loguniform": (None, 1e-3, 10),
    "normal": (None, None, None),
    "lognormal": (None, 0.0, None),
    "randint": (1, 2, 5),
    "pchoice": (1, 0, 1),
    "choice": (1, 0, 2),
    "small": (4, 0, 40),
    "inner": (1, 0, 1),
    "qnormal": (3, None, None),
    "qlog": (0.5, 0, None),
}
NEEDS = {"small": ("choice", 0), "inner": ("choice", 1), "qnormal": ("inner", 0), "qlog": ("inner", 1)}


def loss_of(point):
    return (math.log(point["learning_rate"]) + 5) ** 2 + point["dropout"]


def asked(proposer, count, loss=loss_of, start=0):
    points = []
    for _ in range(start, count):
        tid, point = proposer.ask()
        proposer.tell(tid, loss(point))
        points.append(point)
    return points


def searched(fn, space, algo, evaluations, seed=0, **settings):
    trials, quiet = Trials(), {"show_progressbar": False, "verbose": False}
    generator = np.random.default_rng(seed)
    fmin(fn, space, ALGORITHMS[algo], evaluations, trials=trials, rstate=generator, **settings, **quiet)
    return trials


@pytest.fixture(params=ALGORITHMS)
def algo(request):
    return request.param


def test_the_default_recipe_comes_first(algo):
    assert Proposer(FULL, algo).ask() == (0, DEFAULT_POINT)


def test_stays_in_our_space(algo):
    for point in asked(Proposer(FULL, algo), 25):
        for dimension in SPACE:
            assert dimension.low * 0.999999 <= point[dimension.name] <= dimension.high * 1.000001
            assert dimension.step is None or abs(math.remainder(point[dimension.name], dimension.step)) < 1e-9
        json.dumps(point)


def test_stays_in_a_space_of_every_distribution(algo):
    def fn(point):
        return abs(point["uniform"] - 1) + abs(point["normal"] - 6) + point["uniformint"]

    trials = searched(fn, EVERYTHING, algo, 50)
    for doc in trials.trials:
        genes = {label: held[0] for label, held in doc["misc"]["vals"].items() if len(held)}
        for label, (step, low, high) in SUPPORT.items():
            needed = label not in NEEDS or genes.get(NEEDS[label][0]) == NEEDS[label][1]
            assert (label in genes) == needed, (label, genes)
            if needed:
                assert low is None or genes[label] >= low * 0.999999
                assert high is None or genes[label] <= high * 1.000001
                assert step is None or abs(math.remainder(genes[label], step)) < 1e-9
        space_eval(EVERYTHING, genes)  # Hyperopt itself can make a point of it
    kinds = {doc["misc"]["vals"]["choice"][0] for doc in trials.trials}
    assert kinds == {0, 1, 2}, "every branch is looked into"


def test_a_seed_fixes_the_sequence_and_another_changes_it(algo):
    first, again, other = (asked(Proposer(FULL, algo, seed), 14) for seed in (1, 1, 2))
    assert first == again != other
    assert len({json.dumps(point) for point in first}) == 14


def test_fmin_is_seeded_too(algo):
    runs = [searched(lambda x: x**2, hp.uniform("x", -1, 1), algo, 15, seed).vals["x"] for seed in (4, 4, 5)]
    assert runs[0] == runs[1] != runs[2]


def test_a_proposal_is_pure_and_changes_nothing(algo):
    proposer = Proposer(FULL, algo)
    asked(proposer, 12)
    trials, domain = hyperopt_trials(FULL, proposer.history()), Domain(loss_of, FULL.expression)
    before = json.dumps(trials.trials, default=str)
    first, again = (ALGORITHMS[algo]([12], domain, trials, 7)[0]["misc"]["vals"] for _ in range(2))
    assert first == again
    assert json.dumps(trials.trials, default=str) == before and len(trials) == 12


def test_goes_on_after_a_replay_as_if_nothing_had_happened(algo):
    whole = Proposer(FULL, algo, seed=3)
    points = asked(whole, 20)
    continued = Proposer(FULL, algo, seed=3)
    for tid in range(11):
        continued.draws[tid] = json.loads(json.dumps(whole.draws[tid]))  # as the records hold it
        continued.tell(tid, whole.losses[tid])
    assert asked(continued, 20, start=11) == points[11:]
    assert (
        len({json.dumps(point) for point in points}) == 20
    )  # fmin, seeded anew, repeats (hyperopt issue 809)


def test_survives_failures_only(algo):
    assert len(asked(Proposer(FULL, algo), 24, loss=lambda point: math.nan)) == 24


def test_asks_several_at_once_without_repeating(algo):
    proposer = Proposer(FULL, algo)
    asked(proposer, 12)
    assert len({json.dumps(proposer.ask()[1]) for _ in range(6)}) == 6


def test_a_space_of_a_few_points_is_tried_point_by_point(algo):
    """Hyperopt's own algorithms ask again for what they know."""
    few = {
        name: hp.choice(name, values)
        for name, values in (("num_layers", [1, 2, 3]), ("hidden_size", [32, 64]))
    }
    proposer = Proposer(SearchSpace(few, {"num_layers": 9}), algo)
    points = asked(proposer, 10, loss=lambda point: point["num_layers"])
    assert len({json.dumps(point, sort_keys=True) for point in points[1:7]}) == 6
    assert all(point in points[1:7] for point in points[7:])  # used up, it begins again
    plain = searched(lambda point: float(point["num_layers"]), few, "tpe", 7)
    assert len({str(doc["misc"]["vals"]) for doc in plain.trials}) < 6


def test_conditional_spaces_and_a_recipe_outside_the_space(algo):
    proposer = Proposer(BRANCHES, algo)
    points = asked(proposer, 25, loss=lambda point: point.get("decay", 1.0))
    assert points[0] == {"schedule": "linear"} and proposer.draws[0] == {}
    assert any("decay" in point for point in points) and any("decay" not in point for point in points[1:])
    assert len(hyperopt_trials(BRANCHES, proposer.history())) == 24  # Hyperopt is not told of the recipe


def test_in_order_only_older_trials_are_seen(algo):
    """With two workers trial k may know the trials up to k - 2, whatever else has ended meanwhile."""
    quick, patient = Proposer(FULL, algo, 5), Proposer(FULL, algo, 5)
    asked(quick, 12), asked(patient, 11)
    patient.ask()
    assert quick.draws == patient.draws
    known = range(11)
    quick.losses[11], expected = -50.0, patient.ask(12, known)
    assert quick.ask(12, known) == expected


def wasted(algo, seed, failed=math.nan):
    """The share of trials 41-80 in the half of the space that fails."""
    proposer, late = Proposer(LINE, algo, seed), 0
    for number in range(80):
        tid, point = proposer.ask()
        fails = point["x"] > 0.5
        late += number >= 40 and fails
        proposer.tell(tid, failed if fails else (point["x"] - 0.2) ** 2)
    return late / 40


@pytest.mark.parametrize("failed", [math.nan, None])
def test_failures_attract_nobody(algo, failed):
    share = statistics.mean(wasted(algo, seed, failed) for seed in range(3))
    assert share <= (0.65 if algo == "random" else 0.25), share


@pytest.mark.parametrize("failure", ["nan", "fail", "exception"])
def test_fmin_with_failures_of_every_kind(algo, failure):
    def fn(x):
        if x < 0.5:
            return (x - 0.2) ** 2
        if failure == "exception":
            raise RuntimeError("a trial that crashes")
        return math.nan if failure == "nan" else {"status": STATUS_FAIL}

    caught = failure == "exception"
    trials = searched(fn, hp.uniform("x", 0, 1), algo, 30, catch_eval_exceptions=caught)
    best = min(r["loss"] for r in trials.results if r["status"] == STATUS_OK and math.isfinite(r["loss"]))
    assert best < 0.05
