from __future__ import annotations

import json

import pytest
from hyperopt import hp

from minilm.config import default_recipe
from minilm.cost import needed_bytes, work
from minilm.tuner import objective
from minilm.tuner.algorithms import ALGORITHMS
from minilm.tuner.feasible import (
    FEWEST_TRIAL_STEPS,
    FEWEST_TRIAL_TOKENS,
    Limits,
    objection,
    rate_of,
    steps_in,
)
from minilm.tuner.opening import search_space
from minilm.tuner.propose import ATTEMPTS, Proposer, SearchSpace
from minilm.tuner.space import (
    DEFAULT_POINT,
    SPACE,
    default_point,
    dimensions,
    limits_for,
    refusal,
    repaired,
    to_configs,
)

RATE = 9e10  # of work per second, about one core of a server
SHAPE, TRAIN = default_recipe(65)


def configs(**changes):
    return to_configs({**DEFAULT_POINT, **changes}, vocab_size=65)


def test_one_probe_prices_everything():
    rate = rate_of(SHAPE, TRAIN, step_seconds=0.1)
    small, large = configs(hidden_size=64), configs(hidden_size=256)
    assert steps_in(SHAPE, TRAIN, 10.0, rate) == 100
    assert steps_in(*small, 10.0, rate) > 200 and steps_in(*large, 10.0, rate) < 50
    assert steps_in(*large, 10.0, rate) == int(10.0 * rate / work(*large))


def test_who_cannot_see_enough_text_is_refused_with_the_numbers():
    limits = Limits(256, step_work=1.0, rate=RATE, seconds=20.0)
    why = objection(*configs(hidden_size=256, num_layers=6, batch_size=32), limits)
    assert (
        why is not None and "must see 100,000 tokens in 100 steps at least, got" in why and "with 20 s" in why
    )
    few_tokens = configs(hidden_size=256, batch_size=1, block_size=32)
    assert steps_in(*few_tokens, 20.0, RATE) > FEWEST_TRIAL_STEPS, "many steps of very few tokens"
    assert objection(*few_tokens, limits) is not None
    assert objection(*configs(hidden_size=64, num_layers=1), limits) is None


def test_more_seconds_allow_more():
    big = configs(hidden_size=256, num_layers=6, batch_size=32)
    outcomes = [objection(*big, Limits(256, 1.0, rate=RATE, seconds=s)) is None for s in (10, 100, 1000)]
    assert outcomes == [False, False, True]


def test_the_default_recipe_is_never_refused_for_its_sight():
    """However short the time: there must be something to try, and cheaper ones than the default stay in."""
    limits = Limits(256, step_work=1.0, rate=RATE, seconds=0.5)
    assert steps_in(SHAPE, TRAIN, 0.5, RATE) < FEWEST_TRIAL_STEPS
    assert steps_in(SHAPE, TRAIN, 0.5, RATE) * TRAIN.batch_size * SHAPE.block_size < FEWEST_TRIAL_TOKENS
    assert objection(SHAPE, TRAIN, limits) is None
    assert objection(*configs(hidden_size=64), limits) is None
    assert objection(*configs(hidden_size=160), limits) is not None


def test_who_does_not_fit_into_memory_is_refused():
    need = needed_bytes(SHAPE, TRAIN)
    assert objection(SHAPE, TRAIN, Limits(256, 1e99, memory=need)) is None
    why = objection(SHAPE, TRAIN, Limits(256, 1e99, memory=need - 1))
    assert why is not None and "must fit into the" in why and "a batch of 8 x 128" in why


def test_without_a_probe_one_step_may_not_be_out_of_proportion():
    limits = limits_for(10**6)
    assert objection(SHAPE, TRAIN, limits) is None
    why = objection(*configs(batch_size=32, block_size=256), limits)
    assert why is not None and "must cost at most 4.0 times what the default recipe's does" in why
    assert objection(*configs(batch_size=32, block_size=256), limits_for(10**6, wide=True)) is None


def test_an_invalid_point_is_refused_too():
    assert (
        refusal({"learning_rate": -1.0}, 65, limits_for(10**6)) == "learning_rate must be above 0, got -1.0"
    )


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
    limits = limits_for(characters, memory=2**30, rate=RATE, seconds=30.0)
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
    limits = limits_for(10**6, rate=RATE, seconds=20.0)
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
    limits = limits_for(10**6, rate=RATE, seconds=20.0)
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


def test_the_pace_is_of_the_right_size():
    """Not a timing: a step takes between a microsecond and a minute, on one thread and on all."""
    pace = objective.pace(vocab_size=65, block_size=16, cores=2)
    assert sorted(pace) == ["1", "2"] and all(1e-6 < seconds < 60 for seconds in pace.values())
