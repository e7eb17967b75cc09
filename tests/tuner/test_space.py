from __future__ import annotations

import numpy as np
import pytest
from hyperopt import rand, space_eval
from hyperopt.base import Domain, Trials

from minilm.config import default_recipe
from minilm.errors import REMOVED, ConfigError
from minilm.tuner.coupling import COUPLED_BY_STEPS, PEAK, RATE, draw_of
from minilm.tuner.propose import Proposer, SearchSpace, plain
from minilm.tuner.space import (
    DEFAULT_POINT,
    SPACE,
    default_point,
    dimensions,
    heads_for,
    limits_for,
    to_configs,
    to_hyperopt,
)


def points(space, count):
    domain, trials = Domain(lambda c: None, space), Trials()
    for tid in range(count):
        (doc,) = rand.suggest([tid], domain, trials, tid)
        yield plain(space_eval(space, {k: v[0] for k, v in doc["misc"]["vals"].items()}))


@pytest.mark.parametrize(("characters", "wide"), [(60, False), (2_000, False), (10**6, False), (10**6, True)])
def test_every_point_is_a_valid_model(characters, wide):
    limits = limits_for(characters, wide)
    fitted = dimensions(limits, wide)
    for point in points(to_hyperopt(fitted), 200):
        model, train = to_configs(point, vocab_size=65, limits=limits)  # checks every rule itself
        assert model.block_size < characters
        assert train.batch_size == point["batch_size"], "what a point says is what is trained"
        assert isinstance(point["hidden_size"], int) and isinstance(point["num_layers"], int)


def test_the_space_reaches_both_ends():
    layers = {point["num_layers"] for point in points(to_hyperopt(), 200)}
    widths = {point["hidden_size"] for point in points(to_hyperopt(), 200)}
    ends = {dimension.name: (dimension.low, dimension.high) for dimension in SPACE}
    assert layers == set(range(ends["num_layers"][0], ends["num_layers"][1] + 1))
    assert set(ends["hidden_size"]) <= widths


def test_the_default_recipe_is_the_dataclasses_defaults_and_a_member():
    model, train = to_configs(DEFAULT_POINT, vocab_size=65)
    assert (model, train) == default_recipe(65)
    for dimension in SPACE:
        value = DEFAULT_POINT[dimension.name]
        assert dimension.low <= value <= dimension.high
        assert dimension.step is None or value % dimension.step == 0


def test_a_short_text_shortens_the_context_and_keeps_the_default_a_member():
    limits = limits_for(400)
    assert default_point(limits)["block_size"] == limits.block_size < DEFAULT_POINT["block_size"]
    assert "block_size" not in {d.name for d in dimensions(limits)}
    model, _ = to_configs({"num_layers": 1}, vocab_size=9, limits=limits)
    assert model.block_size == limits.block_size


@pytest.mark.parametrize("width", range(2, 520, 2))
def test_heads_divide_every_even_width_into_even_heads(width):
    assert width % heads_for(width) == 0
    assert (width // heads_for(width)) % 2 == 0


def test_faults_are_sentences():
    with pytest.raises(ConfigError, match="'learning_rat'.*did you mean 'learning_rate'"):
        to_configs({"learning_rat": 1e-3}, vocab_size=65)
    with pytest.raises(ConfigError, match="even"):
        to_configs({"hidden_size": 33}, vocab_size=65)


def test_a_recorded_point_may_name_removed_options_at_their_defaults():
    point = {"num_layers": 2, "learning_rate": 0.01}
    assert to_configs({**point, **REMOVED}, 65) == to_configs(point, 65)
    with pytest.raises(
        ConfigError, match="batch_warmup was removed and must be 0.0, got 0.5; use the minilm"
    ):
        to_configs({**point, "batch_warmup": 0.5}, 65)


def test_numpy_values_become_pythons():
    model, train = to_configs(
        {"num_layers": np.float64(3.0), "learning_rate": np.float64(1e-3)}, vocab_size=65
    )
    assert (type(model.n_layer), type(train.learning_rate)) == (int, float)


def test_the_point_shows_the_rate_that_is_trained():
    coupled = COUPLED_BY_STEPS
    space = SearchSpace.of(SPACE, DEFAULT_POINT, coupled=coupled)
    assert space.point(space.first) == pytest.approx(DEFAULT_POINT)
    proposer = Proposer(space, "random")
    for _ in range(30):
        tid, point = proposer.ask()
        draw = proposer.draws[tid]
        assert PEAK in draw and RATE not in draw and PEAK not in point
        by_hand = draw[PEAK]
        for name, power in coupled.items():
            by_hand *= (point[name] / DEFAULT_POINT[name]) ** power
        assert point[RATE] == pytest.approx(by_hand)
        assert draw_of(point, SPACE, coupled) == pytest.approx(draw)
        assert to_configs(point, vocab_size=65)[1].learning_rate == point[RATE]


def test_a_coupled_space_without_some_of_its_settings():
    """A short text fixes the context; the rest is coupled as before."""
    fitted = dimensions(limits_for(400))
    space = SearchSpace.of(fitted, default_point(limits_for(400)), coupled=COUPLED_BY_STEPS)
    assert space.first is not None and space.first[PEAK] == DEFAULT_POINT[RATE]
    assert space.point(space.first)["hidden_size"] == DEFAULT_POINT["hidden_size"]
