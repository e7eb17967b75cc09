"""The choice: against brute force over a grid, and what no choice may ever be."""

import dataclasses
import itertools
import time
from types import SimpleNamespace

import pytest

from minilm import load_corpus
from minilm.cost import needed_bytes
from minilm.tuner import resume
from minilm.tuner.budget import Minutes, Prices
from minilm.tuner.choose import (
    FEWEST_STEPS,
    KNOWN,
    SURE,
    Outlook,
    Text,
    choose,
    default_of,
    middle_of,
    space_for,
    without_tokens,
)
from minilm.tuner.plan import settled, tokens_of
from minilm.tuner.prospects import prospects
from minilm.tuner.space import limits_for, to_configs
from minilm.tuner.watch import Watch

TOKENS = {"characters": (65, 1.0), "bpe:512": (512, 2.2), "bpe:1024": (1024, 2.5), "bpe:4096": (4096, 3.2)}


def outlook(characters=1_000_000, tokens=TOKENS, price=1.0, memory=None):
    return Outlook(Prices(price, price), Text(characters, tokens), limits_for(characters, memory=memory))


def risk(where, point, seconds):
    """What `fmin` minimises."""
    gain, deviation = where.difference(middle_of(where, seconds), point, seconds)
    return SURE * deviation - gain


@pytest.fixture(autouse=True, scope="module")
def few():
    """Half as many imagined trainings: the tests ask for a good choice, not for the best one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("minilm.tuner.choose.IMAGINED", 75)
        yield


@pytest.fixture(scope="module", params=[60, 600])
def chosen(request):
    where = outlook()
    return where, request.param, choose(where, request.param, seed=0)


def test_it_is_nearly_the_best_of_a_grid(chosen):
    where, seconds, choice = chosen
    grid = itertools.product(
        (2, 3, 4), (64, 96, 160, 256), (8, 16, 32), (128, 256), (0.01, 0.02, 0.03), TOKENS
    )
    names = ("num_layers", "hidden_size", "batch_size", "block_size", "learning_rate", "tokens")
    points = [{**default_of(where), **dict(zip(names, values, strict=True))} for values in grid]
    risks = sorted(risk(where, point, seconds) for point in points if not where.why_not(point, seconds))
    mine = risk(where, choice.point, seconds)
    assert mine < risks[len(risks) // 20], "among the best five of a hundred"
    assert mine < risks[0] + 0.05 and mine <= min(risk(where, default_of(where), seconds), 0)


def test_it_lies_where_trainings_were_recorded(chosen):
    _, _, choice = chosen
    for name, (low, high) in KNOWN.items():
        assert low <= choice.point[name] <= high, name


def test_it_is_one_of_the_trainings_that_were_imagined_and_they_can_be_told_again(chosen):
    where, seconds, choice = chosen
    space = space_for(where.limits, where.text.characters, TOKENS, ())
    told = [({**space.point(draw)}, loss) for draw, loss in choice.looked if loss is not None]
    best, loss = min(told, key=lambda one: one[1])
    assert {name: choice.point[name] for name in best} == best
    assert loss == pytest.approx(risk(where, choice.point, seconds))


def test_the_same_seed_chooses_the_same(chosen):
    where, seconds, choice = chosen
    assert choose(where, seconds, seed=0) == choice


def test_the_tokens_that_were_asked_for_stay():
    where = outlook(tokens={"bpe:512": (512, 2.2)})
    assert choose(where, 100, seed=1).point["tokens"] == "bpe:512"


def test_the_table_of_pairs_goes_where_the_text_will_be_read_often_and_where_it_may_not_be():
    assert choose(outlook(10**8), 60, seed=0).point["bigrams"] is True
    assert choose(outlook(), 30, seed=0).point["bigrams"] is True
    assert choose(outlook(), 900, seed=0).point["bigrams"] is False
    short = outlook(5_000, {"characters": (60, 1.0)})
    assert choose(short, 60, seed=0).point["bigrams"] is False
    where = outlook(10**8)
    fixed = dataclasses.replace(where, fixed={"bigrams": False})
    choice = choose(fixed, 60, seed=0)
    assert choice.point["bigrams"] is False and not fixed.recipe(choice.point, 60).table
    assert choice.expected == pytest.approx(where.at(choice.point, 60)[0])


@pytest.mark.parametrize("characters", [300, 30_000])
def test_a_short_text_gets_a_context_that_it_can_fill_and_no_more_passes_than_it_is_good_for(characters):
    where = outlook(characters, {"characters": (40, 1.0)})
    point = choose(where, 600, seed=0).point
    recipe = where.recipe(point, 600)
    assert recipe.context <= where.limits.block_size < max(characters / 7, 257)
    assert recipe.seen <= 1.01 * where.useful_tokens(point) + recipe.batch * recipe.context


def test_what_does_not_fit_in_memory_is_not_chosen():
    memory = 100 * 2**20
    where = outlook(memory=memory)
    point = choose(where, 600, seed=0).point
    assert needed_bytes(*to_configs(without_tokens(point), TOKENS[point["tokens"]][0])) <= memory


def test_on_a_machine_where_nothing_fits_the_default_recipe_is_left():
    where = outlook(price=1000.0)
    choice = choose(where, 10, seed=0)
    assert choice.point == default_of(where), f"no training has {FEWEST_STEPS} steps"


def test_more_time_is_never_expected_to_be_worth_less():
    where = outlook(10**8)
    point = choose(where, 60, seed=0).point
    assert where.gain_of_time(point, 60, point, 600)[0] > 0 == where.gain_of_time(point, 60, point, 60)[0]


def test_what_more_minutes_buy_is_asked_of_the_tokens_that_were_looked_at():
    """A choice among some of the tokens is told by indexes into these, not into all."""
    where, some = outlook(), {"bpe:512": TOKENS["bpe:512"]}
    narrow = outlook(tokens=some)
    choice = choose(narrow, 60, seed=0)
    told = prospects(where, choice, 60, tuple(some))
    assert told["more"] == prospects(narrow, choice, 60, tuple(some))["more"]
    assert told["more"] != prospects(where, choice, 60, tuple(TOKENS))["more"] and len(told["tokens"]) == len(
        TOKENS
    )


@pytest.mark.parametrize("characters", [400, 900, 5_000, 20_000])
def test_a_short_text_gets_many_small_steps_of_a_small_model(characters):
    """The usual steps would have learnt it by heart after a few dozen of them (benchmarks/RESULTS.md)."""
    where = outlook(characters, {"characters": (40, 1.0)})
    point = choose(where, 600, seed=0).point
    recipe = where.recipe(point, 600)
    assert recipe.batch * recipe.context <= max(256, where.useful_tokens(point) / FEWEST_STEPS)
    drawn = prospects(where, choose(where, 600, seed=0), 600, ("characters",))["sizes"]
    assert max(width for _, _, width, *_ in drawn) <= 160, "no size is drawn that was not looked at"
    assert point["hidden_size"] <= 160 and recipe.steps > 3 * where.recipe(default_of(where), 600).steps


@pytest.mark.parametrize("step_seconds", [1e-6, 1e6])
def test_no_text_is_read_more_often_than_it_is_good_for_whatever_a_step_was_thought_to_cost(step_seconds):
    where, said = outlook(), []
    watch = Watch()
    watch.say, watch.ends = said.append, lambda end: None
    choice = choose(where, 60, seed=0)
    kept = settled(where, choice, tuple(TOKENS), step_seconds, Minutes(10.0, time.monotonic()), watch)
    recipe = where.recipe(choice.point, 1e9)
    assert kept["most_steps"] == pytest.approx(recipe.steps, abs=1)
    assert any("no more to teach" in line.replace("\n", " ") for line in said) == (step_seconds < 1)


@pytest.mark.parametrize(
    ("looked", "asked"), [([], False), ([[{"num_layers": 2}, 1.0]], False), ([[{"bigrams": 1}, 1.0]], True)]
)
def test_a_study_that_goes_on_has_the_space_that_it_began_with(tmp_path, looked, asked):
    """One for a library, or of a version before there was a choice, was never asked for a table of pairs."""
    chosen = {"tokens": ["characters"], "looked": looked}
    settings = SimpleNamespace(
        budget=None, limits=limits_for(10**5), corpus={"bounds": [10**5]}, chosen=chosen
    )
    space = resume._same_space(tmp_path, settings, None, 65)
    assert ("bigrams" in space.expression) == asked and "tokens" in space.expression


@pytest.mark.parametrize(
    ("lengths", "kept"),
    [
        ([1.0, 2.19, 2.55, 2.91, 3.19], 4),  # English verse: 4,096 pieces are hardly longer
        ([1.0, 2.29, 2.66, 3.12, 3.73], 5),  # sentences that repeat
        ([1.0, 0.98, 1.31, 1.67, 2.04], 4),  # Japanese: 512 pieces are shorter than a character
    ],
)
def test_more_pieces_are_looked_at_only_where_tokens_get_longer(monkeypatch, tmp_path, lengths, kept):
    (path := tmp_path / "text.txt").write_text("the quick brown fox. " * 100, encoding="utf-8")
    kinds = ("characters", "bpe:512", "bpe:1024", "bpe:2048", "bpe:4096")
    found = dict(zip(kinds, lengths, strict=True))
    monkeypatch.setattr("minilm.tuner.plan.characters_per_token", lambda *_: dict(found))
    tokens = tokens_of(load_corpus(str(path)))
    assert len(tokens) == kept and "characters" in tokens and "bpe:2048" in tokens
    assert all(tokens[kind][1] == found[kind] for kind in tokens)
