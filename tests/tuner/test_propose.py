"""What stands between the algorithms and the study; the algorithms themselves: test_algorithms.py."""

from __future__ import annotations

import math

import pytest
from hyperopt import JOB_STATE_DONE, JOB_STATE_RUNNING, STATUS_FAIL, Trials, fmin, hp, tpe

from minilm.errors import ConfigError
from minilm.tuner.propose import Proposer, SearchSpace, difference, hyperopt_trials, seed_of
from minilm.tuner.space import DEFAULT_POINT, SPACE

FULL = SearchSpace.of(SPACE, DEFAULT_POINT)


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
