"""The conformance suite of search algorithms: every entry of ALGORITHMS must pass all of it."""

from __future__ import annotations

import json
import math

import pytest
from hyperopt import JOB_STATE_DONE, JOB_STATE_RUNNING, STATUS_FAIL, Trials, fmin, hp, tpe

from minilm.errors import ConfigError
from minilm.tuner.propose import ALGORITHMS, Proposer, SearchSpace, difference, hyperopt_trials, seed_of
from minilm.tuner.space import DEFAULT_POINT, SPACE, Dimension

FULL = SearchSpace.of(SPACE, DEFAULT_POINT)
LINE = SearchSpace.of((Dimension("x", "steps", 0.0, 1.0, 1e-6),), {"x": 0.25})
BRANCHES = SearchSpace(
    hp.choice("kind", [{"schedule": "linear"}, {"schedule": "wsd", "decay": hp.uniform("decay", 0.1, 0.5)}]),
    {"schedule": "linear"},
)


def loss_of(point):
    return (math.log(point["learning_rate"]) + 5) ** 2 + point["dropout"]


def asked(proposer, count, loss=loss_of, start=0):
    points = []
    for _ in range(start, count):
        tid, point = proposer.ask()
        proposer.tell(tid, loss(point))
        points.append(point)
    return points


@pytest.fixture(params=ALGORITHMS)
def algo(request):
    return request.param


def test_the_default_recipe_comes_first(algo):
    assert Proposer(FULL, algo).ask() == (0, DEFAULT_POINT)


def test_stays_in_the_space(algo):
    for point in asked(Proposer(FULL, algo), 25):
        for dimension in SPACE:
            assert dimension.low * 0.999999 <= point[dimension.name] <= dimension.high * 1.000001
        json.dumps(point)


def test_a_seed_fixes_the_sequence_and_another_changes_it(algo):
    first, again, other = (asked(Proposer(FULL, algo, seed), 14) for seed in (1, 1, 2))
    assert first == again != other
    assert len({json.dumps(point) for point in first}) == 14


def test_goes_on_after_a_replay_as_if_nothing_had_happened(algo):
    whole = Proposer(FULL, algo, seed=3)
    points = asked(whole, 16)
    continued = Proposer(FULL, algo, seed=3)
    for tid in range(11):
        draw = json.loads(json.dumps(whole.draws[tid]))  # as the records hold it
        continued.replay(tid, draw, whole.losses[tid])
    assert asked(continued, 16, start=11) == points[11:]


def test_survives_failures_only(algo):
    assert len(asked(Proposer(FULL, algo), 24, loss=lambda point: math.nan)) == 24


def test_asks_several_at_once_without_repeating(algo):
    proposer = Proposer(FULL, algo)
    asked(proposer, 12)
    assert len({json.dumps(proposer.ask()[1]) for _ in range(6)}) == 6


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


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, None])
def test_hyperopt_never_sees_a_loss_that_is_no_number(bad):
    proposer = Proposer(FULL, "tpe")
    proposer.ask()
    proposer.tell(0, bad)
    proposer.ask()
    trials = hyperopt_trials(FULL, proposer.history())
    assert isinstance(trials, Trials)
    assert [doc["state"] for doc in trials.trials] == [JOB_STATE_DONE, JOB_STATE_RUNNING]
    assert trials.results[0] == {"status": STATUS_FAIL}


def wasted(proposer, told):
    """The share of trials 41-80 in the half of the space that diverges."""
    late = 0
    for number in range(80):
        tid, point = proposer.ask()
        diverged = point["x"] > 0.5
        late += number >= 40 and diverged
        told(proposer, tid, math.nan if diverged else (point["x"] - 0.2) ** 2)
    return late / 40


def test_a_diverging_half_of_the_space_is_left_alone():
    shares = [wasted(Proposer(LINE, "tpe", seed), Proposer.tell) for seed in range(3)]
    assert sum(shares) / 3 <= 0.25, shares


def test_the_divergence_test_can_fail():
    """Hyperopt's own way, a NaN as the loss, wastes nearly everything in the same place."""
    late = 0
    trials = Trials()
    fmin(
        lambda x: math.nan if x > 0.5 else (x - 0.2) ** 2,
        hp.uniform("x", 0, 1),
        algo=tpe.suggest,
        max_evals=60,
        trials=trials,
        rstate=__import__("numpy").random.default_rng(0),
        show_progressbar=False,
        verbose=False,
    )
    late = sum(doc["misc"]["vals"]["x"][0] > 0.5 for doc in trials.trials[40:])
    assert late / 20 > 0.5


def test_trials_of_one_study_draw_different_seeds():
    assert len({seed_of(study, tid) for study in range(20) for tid in range(50)}) == 1000


def test_unknown_algorithm():
    with pytest.raises(ConfigError, match="did you mean 'anneal'"):
        Proposer(FULL, "aneal").ask() and Proposer(FULL, "aneal").ask()


def test_a_difference_between_spaces_is_named():
    other = SearchSpace.of(SPACE[:-1], DEFAULT_POINT)
    assert "block_size" in difference(FULL.text, other.text)
    assert FULL.text == SearchSpace.of(SPACE, DEFAULT_POINT).text
