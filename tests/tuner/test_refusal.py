from __future__ import annotations

import json

import pytest
from hyperopt import hp

from minilm.config import default_recipe
from minilm.cost import needed_bytes
from minilm.tuner.algorithms import ALGORITHMS
from minilm.tuner.objective import repaired
from minilm.tuner.propose import ATTEMPTS, Proposer, SearchSpace
from minilm.tuner.space import (
    DEFAULT_POINT,
    SPACE,
    Limits,
    default_point,
    dimensions,
    limits_for,
    refusal,
)
from minilm.tuner.trials import search_space

SHAPE, TRAIN = default_recipe(65)


def test_who_does_not_fit_into_memory_is_refused():
    need = needed_bytes(SHAPE, TRAIN)
    assert refusal(DEFAULT_POINT, 65, Limits(256, 1e99, memory=need)) is None
    why = refusal(DEFAULT_POINT, 65, Limits(256, 1e99, memory=need - 1))
    assert why is not None and "must fit into the" in why and "a batch of 8 x 128" in why


def test_without_a_probe_one_step_may_not_be_out_of_proportion():
    limits = limits_for(10**6)
    assert refusal(DEFAULT_POINT, 65, limits) is None
    why = refusal({**DEFAULT_POINT, "batch_size": 32, "block_size": 256}, 65, limits)
    assert why is not None and "must cost at most 4.0 times what the default recipe's does" in why
    large = {**DEFAULT_POINT, "batch_size": 32, "block_size": 256}
    assert refusal(large, 65, limits_for(10**6, wide=True)) is None


def test_an_invalid_point_is_refused_too():
    why = refusal({"learning_rate": -1.0}, 65, limits_for(10**6))
    assert why is not None and why.startswith("learning_rate must be at least 1e-12, got -1.0")


def test_a_point_is_repaired_by_its_batch_alone():
    limits = limits_for(10**6)
    large = {**DEFAULT_POINT, "hidden_size": 256, "batch_size": 32}
    mended = repaired(large, 65, limits)
    assert {**mended, "batch_size": 32} == large and mended["batch_size"] < 32
    assert refusal(mended, 65, limits) is None
    assert refusal({**mended, "batch_size": 2 * mended["batch_size"]}, 65, limits) is not None
    assert repaired(DEFAULT_POINT, 65, limits) == DEFAULT_POINT
    hopeless = {"hidden_size": 2**16, "num_layers": 60}
    assert repaired(hopeless, 65, limits) == hopeless


@pytest.mark.parametrize("characters", [2_000, 10**6])
def test_limits_survive_the_records(characters):
    limits = limits_for(characters, memory=2**30)
    assert Limits(**json.loads(json.dumps(vars(limits)))) == limits


def space_within(limits):
    return SearchSpace.of(dimensions(limits), default_point(limits), lambda point: refusal(point, 65, limits))


def search(algo, limits, count=24, seed=0):
    proposer = Proposer(space_within(limits), algo, seed)
    for _ in range(count):
        tid, point = proposer.ask()
        proposer.tell(
            tid, point["learning_rate"] - point["hidden_size"] / 1000
        )  # wide is good: the limit binds
    return proposer


@pytest.mark.parametrize("algo", ALGORITHMS)
def test_no_refused_point_is_ever_asked(algo):
    limits = limits_for(10**6)
    proposer = search(algo, limits)
    points = [proposer.space.point(draw) for draw in proposer.draws.values()]
    assert all(refusal(point, 65, limits) is None for point in points)
    assert proposer.refused, "and there was something to refuse"
    assert 0 not in proposer.refused, "the default recipe always runs"
    for refused in proposer.refused.values():
        assert len(refused) < ATTEMPTS
        for one in refused:
            assert one.why == refusal(proposer.space.point(one.draw), 65, limits) is not None


def test_refusals_are_the_same_after_a_replay():
    limits = limits_for(10**6)
    whole = search("tpe", limits, seed=3)
    continued = Proposer(space_within(limits), "tpe", seed=3)
    for tid in range(15):
        continued.draws[tid] = whole.draws[tid]
        continued.tell(tid, whole.losses[tid])
    for tid in range(15, 24):
        continued.ask()
        continued.tell(tid, whole.losses[tid])
        assert continued.draws[tid] == whole.draws[tid] and continued.refused.get(tid) == whole.refused.get(
            tid
        )


def test_a_user_decides_how_dear_a_step_may_be_but_not_what_is_possible():
    wish = {"hidden_size": hp.choice("hidden_size", [512, 33]), "batch_size": 64}
    proposer = Proposer(search_space(wish, limits_for(10**6), "cpu", vocab_size=65), "random")
    points = [proposer.ask()[1] for _ in range(8)][1:]
    assert {point["hidden_size"] for point in points} == {512}
    assert any("must be even" in one.why for refused in proposer.refused.values() for one in refused)


def test_an_impossible_space_ends_in_trials_that_say_why():
    space = SearchSpace.of(SPACE, DEFAULT_POINT, lambda point: "nothing is allowed here")
    proposer = Proposer(space, "random")
    proposer.ask()
    tid, point = proposer.ask()
    assert len(proposer.refused[tid]) == ATTEMPTS and point["num_layers"] >= 1
