"""The recipe fitted to the minutes: prices from two timed steps, the law's choice, its place in a study."""

from __future__ import annotations

import dataclasses
import math
import time
from itertools import product
from types import SimpleNamespace

import pytest

from minilm.cost import needed_bytes
from minilm.text.corpora import load_corpus
from minilm.tuner import opening
from minilm.tuner.propose import FITTED_TID, propose
from minilm.tuner.records import Trial, TrialState
from minilm.tuner.selection import Chosen, _unraced
from minilm.tuner.settings import Request
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
    TIMED,
    Prices,
    expected,
    fitted,
    parameters,
    prices,
    unseen,
    useful_tokens,
)
from minilm.tuner.space import DEFAULT_POINT, SPACE, limits_for, to_configs

HERE, TEXT = Prices(1.0, 1.0), 1_000_000
LIMITS = limits_for(TEXT)


def configs(point):
    return to_configs(point, 65, LIMITS)


def timed(seconds):
    return [(*configs(point), one) for point, one in zip(TIMED, seconds, strict=True)]


@pytest.mark.parametrize(("arithmetic", "calls"), [(1.0, 1.0), (0.3, 2.0), (5.0, 0.1)])
def test_prices_are_recovered_and_predict_other_steps(arithmetic, calls):
    true = Prices(arithmetic, calls)
    found = prices(timed([true.step(*configs(point)) for point in TIMED]))
    other = configs({"num_layers": 4, "hidden_size": 192, "batch_size": 16})
    assert found.step(*other) == pytest.approx(true.step(*other))


@pytest.mark.parametrize("seconds", [(0.5, 0.01), (0.001, 0.9), (0.1, 0.1)])
def test_a_disturbed_clock_never_gives_a_negative_price(seconds):
    found = prices(timed(seconds))
    assert found.arithmetic > 0 and found.calls > 0


def test_a_timed_step_corrects_what_models_of_its_size_cost():
    shapes = ((2, 64), (3, 128), (3, 192), (4, 256))
    small, middle, between, large = (configs({"num_layers": n, "hidden_size": c}) for n, c in shapes)
    found = HERE.corrected(*large, 1.5 * HERE.step(*large))
    assert found.step(*large) == pytest.approx(1.5 * HERE.step(*large))
    for known in (small, middle):  # those that the prices came from
        assert found.step(*known) == pytest.approx(HERE.step(*known))
    assert 1.2 < found.step(*between) / HERE.step(*between) < 1.3
    again = found.corrected(*between, 2 * HERE.step(*between)).corrected(*large, HERE.step(*large))
    assert again.step(*between) == pytest.approx(2 * HERE.step(*between))
    assert again.step(*large) == pytest.approx(HERE.step(*large))


def slow_machine(monkeypatch, dearer, took=0.0):
    """One on which a step of a model of N parameters costs `dearer(N)` times what HERE says, and timing it `took`
    seconds of a clock that stands still otherwise. Returns the list that its timed shapes will be in."""
    timed_shapes, now = [], [0.0]

    def steps(points, vocab_size, limits, minutes):
        found = []
        for point in points:
            model, train = to_configs(point, vocab_size, limits)
            found.append((model, train, dearer(parameters(model)) * HERE.step(model, train)))
            timed_shapes.append((model.n_layer, model.n_embd))
            now[0] += took
        return found

    monkeypatch.setattr(opening.objective, "timed_steps", steps)
    monkeypatch.setattr(opening, "time", SimpleNamespace(monotonic=lambda: now[0]))
    return timed_shapes


def test_the_recipe_that_is_chosen_is_timed_itself(corpus, monkeypatch):
    """Where large models are dearer than small ones say, a smaller one is chosen, and its own price counts."""
    limits, vocab_size, characters = (
        limits_for(len(corpus.train)),
        corpus.tokenizer.vocab_size,
        len(corpus.train),
    )

    def dearer(size):
        return 1.0 if size < 1_000_000 else 4.0

    shapes = slow_machine(monkeypatch, dearer)
    point, needed = opening.fitted_point(corpus, None, 10.0, 0.0)
    first, *rest = shapes[len(TIMED) :]
    assert first == (4, 256) and len(set(rest)) == len(rest) > 0
    model, train = to_configs(point, vocab_size, limits)
    assert parameters(model) < 1_000_000 and (model.n_layer, model.n_embd) in rest
    steps = useful_tokens(characters, model.dropout) / (train.batch_size * model.block_size)
    assert needed == pytest.approx(steps * HERE.step(model, train), abs=0.1)


def test_a_machine_whose_steps_are_as_two_say_times_the_choice_once(corpus, monkeypatch):
    shapes = slow_machine(monkeypatch, lambda size: 1.0)
    point, _ = opening.fitted_point(corpus, None, 10.0, 0.0)
    assert shapes[len(TIMED) :] == [(point["num_layers"], point["hidden_size"])]


def test_timing_ends_where_it_takes_too_much_of_the_minutes(corpus, monkeypatch):
    shapes = slow_machine(monkeypatch, lambda size: 1.0, took=opening.TIMING_SHARE * 600)
    opening.fitted_point(corpus, None, 10.0, 0.0)
    assert len(shapes) == len(TIMED)


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


def test_the_choice_is_a_member_of_the_space():
    for seconds in (3, 30, 300, 3000):
        point = fitted(HERE, seconds, 65, TEXT, LIMITS)
        assert all(dimension.low <= point[dimension.name] <= dimension.high for dimension in SPACE)


@pytest.fixture
def corpus():
    return load_corpus("fables")


def opened(corpus, monkeypatch, point, **request):
    monkeypatch.setattr(opening, "fitted_point", lambda *_: (point, 50.0))
    return opening.open_study(corpus, Request(**request).checked(), time.monotonic())[:2]


def test_a_study_by_the_clock_holds_it_as_its_second_trial(corpus, monkeypatch):
    point = {**DEFAULT_POINT, "hidden_size": 96, "batch_size": 32}
    settings, space = opened(corpus, monkeypatch, point, minutes=3.0)
    assert (settings.fitted, settings.incumbent) == (point, FITTED_TID)
    draw, refused = propose(space, "tpe", 0, FITTED_TID, {})
    assert not refused and space.point(draw) == pytest.approx(point)
    again = type(settings).from_dict(settings.to_dict())
    assert again == settings
    assert (
        opening.search_space(None, settings.limits, settings.device, 65, settings.fitted).text == space.text
    )
    assert "what fits these minutes (3 layers, 96 wide, context 128, batch 32)" in settings.text()


@pytest.mark.parametrize("request_", [{"trials": 3}, {"minutes": 3.0, "algo": "random"}])
def test_others_have_none(corpus, monkeypatch, request_):
    settings, space = opened(corpus, monkeypatch, {**DEFAULT_POINT, "batch_size": 32}, **request_)
    assert (settings.fitted, settings.incumbent, space.second) == (None, 0, None)


def test_studies_recorded_before_there_was_one_still_open(corpus, monkeypatch):
    settings, _ = opened(corpus, monkeypatch, None, minutes=3.0)
    old = {name: value for name, value in settings.to_dict().items() if name != "fitted"}
    assert type(settings).from_dict(old) == settings


@pytest.mark.parametrize(
    ("tid", "size", "follows"), [(0, 900, 1), (1, 500, 1), (2, 400, 1), (2, 500, 2), (2, 900, 2)]
)
def test_without_a_race_a_smaller_model_does_not_overrule_it(tid, size, follows):
    """On one core nothing trains beside the search, and short trainings favour small models."""
    sitting, fitted_trial = unraced_sitting(left=60)
    trial = dataclasses.replace(fitted_trial, tid=tid, n_parameters=size)
    assert _unraced(sitting, Chosen(trial)).trial.tid == follows


def unraced_sitting(left):
    """A sitting with one worker, `left` seconds before the final training must end."""
    trial = Trial(FITTED_TID, {}, {}, state=TrialState.OK, loss=2.0, n_parameters=500)
    settings, end = SimpleNamespace(fitted={}, budget=SimpleNamespace(seconds=3.5)), time.monotonic() + left
    return SimpleNamespace(
        settings=settings, incumbent=trial, trials_are_whole=False, moment=lambda share: end
    ), trial


def test_a_trial_that_nearly_used_the_text_up_is_believed():
    sitting, trial = unraced_sitting(left=60)
    sitting.trials_are_whole = True
    assert _unraced(sitting, Chosen(dataclasses.replace(trial, tid=2, n_parameters=400))).trial.tid == 2


def test_what_the_final_training_cannot_use_is_searched_with(corpus, monkeypatch):
    short = opened(corpus, monkeypatch, None, minutes=10.0)[0]
    monkeypatch.setattr(opening, "fitted_point", lambda *_: (None, 500.0))
    long = opening.open_study(corpus, Request(minutes=10.0).checked(), time.monotonic())[0]
    assert (short.enough, long.enough) == (50.0, 500.0)
    assert short.budget.seconds == 50.0 > long.budget.seconds
    assert "50 s of training use this text up" in short.text() and "use this text up" not in long.text()


@pytest.mark.parametrize(("left", "follows"), [(5, 0), (60, FITTED_TID)])
def test_a_trained_trial_beats_a_recipe_that_has_not_begun_where_little_time_is_left(left, follows):
    sitting, trial = unraced_sitting(left)
    sitting.incumbent = Trial(FITTED_TID, {}, {})
    assert _unraced(sitting, Chosen(dataclasses.replace(trial, tid=0))).trial.tid == follows
