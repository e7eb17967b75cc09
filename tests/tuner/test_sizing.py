"""The recipe fitted to the minutes: prices from two timed steps, the law's choice, its place in a study."""

from __future__ import annotations

import dataclasses
import math
from itertools import product

import pytest

from minilm.cost import needed_bytes
from minilm.tuner.sizing import (
    BATCH_TOKENS,
    BATCHES,
    CONTEXTS,
    DROPOUTS,
    FEWEST_STEPS,
    FURTHER,
    FURTHER_PER_DROPOUT,
    PARAMETERS_PER_CHARACTER,
    SHAPES,
    Prices,
    expected,
    fitted,
    parameters,
    unseen,
    useful_tokens,
)
from minilm.tuner.space import DEFAULT_POINT, limits_for, to_configs

HERE, TEXT = Prices(1.0, 1.0), 1_000_000
LIMITS = limits_for(TEXT)


def configs(point):
    return to_configs(point, 65, LIMITS)


@pytest.mark.parametrize("seconds", [60.0, 200.0, 600.0, 3000.0])
def test_the_choice_is_the_best_of_all_by_brute_force(seconds):
    def worth(point):
        model, train = configs(point)
        steps, per_step = int(seconds / HERE.step(model, train)), train.batch_size * model.block_size
        too_large = per_step > BATCH_TOKENS or parameters(model) > PARAMETERS_PER_CHARACTER * TEXT
        if steps < FEWEST_STEPS or too_large:
            return math.inf
        tokens = min(steps * per_step, useful_tokens(TEXT, model.dropout))
        return expected(parameters(model), tokens, TEXT, model.dropout, model.block_size, per_step)

    shapes = [(layers, width) for layers, width in SHAPES if layers > 1]
    others = [
        {
            "num_layers": layers,
            "hidden_size": width,
            "block_size": context,
            "batch_size": batch,
            "dropout": dropout,
        }
        for (layers, width), context, batch, dropout in product(shapes, CONTEXTS, BATCHES, DROPOUTS)
    ]
    assert worth(fitted(HERE, seconds, 65, TEXT, LIMITS)) == min(map(worth, others)) < math.inf


def test_a_long_context_is_for_what_has_seen_much():
    text = 100 * TEXT
    contexts = [fitted(HERE, s, 65, text, LIMITS)["block_size"] for s in (5, 20, 60, 200, 600)]
    assert contexts == sorted(contexts) and set(contexts) == set(CONTEXTS)


@pytest.mark.parametrize(("characters", "longest"), [(300, 37), (1500, 128), (4000, 256)])
def test_no_context_is_longer_than_the_text_allows(characters, longest):
    limits = limits_for(characters)
    found = {fitted(HERE, s, 65, characters, limits)["block_size"] for s in (1, 10, 100, 1000)}
    assert max(found) <= longest <= limits.block_size


def test_batches_matter_where_a_text_is_read_again():
    def gained(passes):
        return expected(10**6, passes * TEXT, TEXT) - expected(10**6, passes * TEXT, TEXT, per_step=1024)

    assert gained(1) == 0 < gained(3) < gained(9)


def test_more_seconds_never_want_a_smaller_model():
    text = 100 * TEXT  # never seen twice
    chosen = [fitted(HERE, s, 65, text, LIMITS) for s in (1, 5, 20, 60, 200, 600, 3000)]
    sizes = [parameters(configs(point)[0]) for point in chosen]
    assert sizes == sorted(sizes) and sizes[0] < sizes[-1]
    assert {point["dropout"] for point in chosen} == {0.0}


def test_a_text_seen_often_wants_dropout_and_a_size_that_goes_with_it():
    point = fitted(HERE, 3000, 65, TEXT, LIMITS)
    assert point["dropout"] > 0
    assert TEXT < parameters(configs(point)[0]) <= PARAMETERS_PER_CHARACTER * TEXT


@pytest.mark.parametrize("dropout", DROPOUTS)
def test_passes_over_a_text_are_worth_ever_less(dropout):
    seen = [unseen(passes * TEXT, TEXT, dropout) / TEXT for passes in range(40)]
    gains = [after - before for before, after in zip(seen, seen[1:], strict=False)]
    assert gains[0] == 1 and gains == sorted(gains, reverse=True) and gains[-1] > 0
    assert unseen(1e9 * TEXT, TEXT, dropout) == pytest.approx(
        (1 + FURTHER + FURTHER_PER_DROPOUT * dropout) * TEXT
    )


def test_of_a_text_that_is_used_up_hardly_anything_is_left():
    for dropout in DROPOUTS:
        tokens = useful_tokens(TEXT, dropout)
        gained = expected(10**6, 100 * tokens, TEXT, dropout) - expected(10**6, tokens, TEXT, dropout)
        assert -0.02 < gained < 0


def test_a_slow_machine_gets_what_a_quick_one_gets_in_less_time():
    assert fitted(Prices(10, 10), 600, 65, TEXT, LIMITS) == fitted(HERE, 60, 65, TEXT, LIMITS)


def test_a_small_text_gets_a_small_model_whatever_the_time():
    model, _ = configs(fitted(HERE, 1e5, 65, 60_000, limits_for(60_000)))
    assert (model.n_layer, model.n_embd) in SHAPES[:4]
    assert fitted(HERE, 1e5, 65, 300, limits_for(300))["block_size"] == limits_for(300).block_size


def test_where_the_passes_are_what_limits_a_training_the_batch_is_small():
    point = fitted(HERE, 1e5, 65, 100_000, limits_for(100_000))
    assert point["batch_size"] == BATCHES[0] and point["dropout"] > 0


def test_what_does_not_fit_in_memory_is_not_chosen():
    free = fitted(HERE, 600, 65, TEXT, LIMITS)
    need = needed_bytes(*configs(free))
    tight = fitted(HERE, 600, 65, TEXT, dataclasses.replace(LIMITS, memory=need // 2))
    assert needed_bytes(*configs(tight)) <= need // 2 and tight != free


def test_where_nothing_fits_the_default_recipe_is_left():
    assert fitted(HERE, 600, 65, TEXT, dataclasses.replace(LIMITS, memory=1)) == DEFAULT_POINT
