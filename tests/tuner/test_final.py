"""The end of a study on a real, tiny model: the trial's own model is kept where longer training did worse."""

from __future__ import annotations

import time

import pytest

from minilm import load_corpus, load_run
from minilm.errors import DivergenceError
from minilm.training.session import run_training
from minilm.tuner.final import Finish, evaluations_for
from minilm.tuner.records import MODELS, Trial, TrialState
from minilm.tuner.settings import Budget, Settings
from minilm.tuner.sizing import USED_UP, useful_tokens
from minilm.tuner.space import limits_for, to_configs

POINT = {"num_layers": 1, "hidden_size": 16, "block_size": 8, "batch_size": 4, "learning_rate": 1e-2}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "tale.txt"
    path.write_text("a fox and a crane met at the well, and the crane said no.\n" * 40)
    return load_corpus(path)


def finish(corpus, folder, budget, deadline=None, enough=None):
    limits = limits_for(len(corpus.train))
    settings = Settings(corpus.describe(), "", limits, budget, "tpe", 0, 1, "cpu", enough=enough)
    return Finish(corpus, settings, folder, deadline, lambda values: None)


def trial(corpus, folder, steps, **changes):
    """A trial with its model on the disk, as a worker leaves it."""
    point = {**POINT, **changes}
    model, train = to_configs(POINT, corpus.tokenizer.vocab_size)
    config = train.replace(steps=steps, evaluations=1, eval_chars=64)
    run = run_training(corpus, model, config, folder / MODELS / "3" / "rung0", test=False)
    return Trial(3, point, {}, state=TrialState.OK, loss=run.result["val_loss"]), run


def test_longer_training_wins(corpus, tmp_path):
    chosen, _ = trial(corpus, tmp_path, steps=2)
    run = finish(corpus, tmp_path, Budget(steps=30)).run(chosen)
    assert run.result["steps"] == 120 and run.result["val_loss"] < chosen.loss
    assert run.result["test_loss"] > 0 and load_run(tmp_path).config["train"]["steps"] == 120


def test_the_trials_model_is_kept_where_it_is_better(corpus, tmp_path):
    chosen, kept = trial(corpus, tmp_path, steps=150)
    run = finish(corpus, tmp_path, Budget(steps=1)).run(chosen)
    assert run.result["steps"] == 150 and run.result["protocol"] == "exact"
    assert {"val_loss", "test_loss"} <= set(load_run(tmp_path).result)
    same = zip(run.model.parameters(), kept.model.parameters(), strict=True)
    assert all((ours == theirs).all() for ours, theirs in same)


def test_a_final_training_that_diverges_falls_back(corpus, tmp_path):
    chosen, _ = trial(corpus, tmp_path, steps=2, learning_rate=1e30)
    assert finish(corpus, tmp_path, Budget(steps=5)).run(chosen).result["steps"] == 2
    with pytest.raises(DivergenceError):
        finish(corpus, tmp_path / "none", Budget(steps=5)).run(chosen)


@pytest.mark.clock
def test_without_time_the_trials_model_is_the_answer(corpus, tmp_path):
    chosen, _ = trial(corpus, tmp_path, steps=2)
    began = time.monotonic()
    run = finish(corpus, tmp_path, Budget(seconds=60.0), deadline=began + 0.5).run(chosen)
    assert run.result["steps"] == 2 and "characters" in run.result["protocol"]


@pytest.mark.clock
@pytest.mark.parametrize(("dropout", "further"), [(0.0, 2), (0.1, 4)])
def test_a_training_by_the_clock_ends_where_the_text_has_nothing_left_to_tell(
    corpus, tmp_path, dropout, further
):
    """Else its rate would stay high until it knows the text by heart."""
    began, point = time.monotonic(), {**POINT, "dropout": dropout}
    chosen = Trial(3, point, {}, state=TrialState.OK, loss=9.0, tokens_per_second=20_000.0)
    run = finish(corpus, tmp_path, Budget(seconds=1.0), deadline=began + 60, enough=5.0).run(chosen)
    wanted = useful_tokens(len(corpus.train), dropout) / 32
    assert run.result["steps"] == pytest.approx(wanted, abs=1) and time.monotonic() - began < 50
    assert wanted == pytest.approx(len(corpus.train) * (1 + USED_UP * further) / 32)
    assert run.result["stopped"] == "finished" and run.metrics[-1]["progress"] == 1.0
    assert run.metrics[-1]["learning_rate"] < 0.02 * max(one["learning_rate"] for one in run.metrics)


@pytest.mark.clock
def test_where_nobody_knows_what_is_enough_time_ends_it(corpus, tmp_path):
    chosen = Trial(3, POINT, {}, state=TrialState.OK, loss=9.0, tokens_per_second=20_000.0)
    run = finish(corpus, tmp_path, Budget(seconds=0.1), time.monotonic() + 6).run(chosen)
    assert (
        run.config["train"]["minutes"] == pytest.approx(0.1, rel=0.2) and run.result["stopped"] == "deadline"
    )
    assert run.metrics[-1]["learning_rate"] < 0.1 * max(one["learning_rate"] for one in run.metrics)


@pytest.mark.parametrize("tokens", [10_000, 300_000, 1_000_000, 100_000_000])
def test_scoring_takes_half_of_the_trainings_work_at_most_but_for_a_few_times(tokens):
    """A split of 50,000 characters; one evaluated costs a third of one trained on."""
    times = evaluations_for(tokens, 50_000)
    assert times == 3 or times * 50_000 / 3 <= 0.53 * tokens  # 0.53: a half, rounded to whole evaluations
    assert 3 <= times <= 20


def test_a_short_final_training_is_not_scored_all_the_time(corpus, tmp_path):
    chosen = Trial(3, POINT, {}, state=TrialState.OK, loss=9.0)
    run = finish(corpus, tmp_path, Budget(steps=3)).run(chosen)
    assert run.result["steps"] == 12
    assert 3 <= sum("val_loss" in record for record in run.metrics) <= 6
