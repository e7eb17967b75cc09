"""The end of a study on a real, tiny model: the trial's own model is kept where longer training did worse."""

from __future__ import annotations

import json
import signal
import time

import pytest

from minilm import load_run
from minilm.errors import DivergenceError
from minilm.training.session import run_training
from minilm.tuner.finish import Finish
from minilm.tuner.records import MODELS, Trial, TrialState
from minilm.tuner.settings import Settings, TrialBudget, evaluations_for
from minilm.tuner.space import limits_for, to_configs

POINT = {"num_layers": 1, "hidden_size": 16, "block_size": 8, "batch_size": 4, "learning_rate": 1e-2}


def finish(corpus, folder, chosen, steps=1, end=None, most_steps=None):
    limits = limits_for(len(corpus.train))
    settings = Settings(corpus.describe(), "", limits, "tpe", 0, "cpu", budget=TrialBudget(steps=steps))
    finishing = Finish(corpus, settings, folder, end, lambda values: None, most_steps)
    kept = folder / MODELS / "3" / "rung0"
    return finishing.run(chosen.point, kept if kept.exists() else None, chosen.loss)


def trial(corpus, folder, steps, **changes):
    """A trial with its model on the disk, as a worker leaves it."""
    point = {**POINT, **changes}
    model, train = to_configs(POINT, corpus.tokenizer.vocab_size)
    config = train.replace(steps=steps, evaluations=1, eval_chars=64)
    run = run_training(corpus, model, config, folder / MODELS / "3" / "rung0", test=False)
    return Trial(3, point, {}, state=TrialState.OK, loss=run.result["val_loss"]), run


def test_longer_training_wins(corpus, tmp_path):
    chosen, _ = trial(corpus, tmp_path, steps=2)
    run = finish(corpus, tmp_path, chosen, steps=30)
    assert run.result["steps"] == 120 and run.result["val_loss"] < chosen.loss
    assert run.result["test_loss"] > 0 and load_run(tmp_path).config["train"]["steps"] == 120


def test_the_trials_model_is_kept_where_it_is_better(corpus, tmp_path):
    chosen, kept = trial(corpus, tmp_path, steps=150)
    run = finish(corpus, tmp_path, chosen, steps=1)
    assert run.result["steps"] == 150 and run.result["protocol"] == "exact"
    assert {"val_loss", "test_loss"} <= set(load_run(tmp_path).result)
    same = zip(run.model.parameters(), kept.model.parameters(), strict=True)
    assert all((ours == theirs).all() for ours, theirs in same)


def test_a_final_training_that_diverges_falls_back(corpus, tmp_path):
    chosen, _ = trial(corpus, tmp_path, steps=2, learning_rate=1e30)
    assert finish(corpus, tmp_path, chosen, steps=5).result["steps"] == 2
    with pytest.raises(DivergenceError):
        finish(corpus, tmp_path / "none", chosen, steps=5)


@pytest.mark.clock
def test_a_rate_that_diverges_is_tried_once_more_and_lower_where_no_trial_can_stand_in(corpus, tmp_path):
    chosen = Trial(3, {**POINT, "learning_rate": 1e30}, {})
    with pytest.raises(DivergenceError):  # a quarter of that diverges, too
        finish(corpus, tmp_path, chosen, end=time.monotonic() + 5)
    assert load_run_config(tmp_path)["learning_rate"] == 2.5e29


def load_run_config(folder):
    return json.loads((folder / "best" / "config.json").read_text())["train"]


@pytest.mark.clock
def test_without_time_the_trials_model_is_the_answer(corpus, tmp_path):
    chosen, _ = trial(corpus, tmp_path, steps=2)
    run = finish(corpus, tmp_path, chosen, end=time.monotonic() + 0.5)
    assert run.result["steps"] == 2 and "characters" in run.result["protocol"]


@pytest.mark.clock
def test_a_training_by_the_clock_ends_where_the_text_has_nothing_left_to_tell(corpus, tmp_path):
    """Else its rate would stay high until it knows the text by heart."""
    began, chosen = time.monotonic(), Trial(3, POINT, {})
    run = finish(corpus, tmp_path, chosen, end=began + 60, most_steps=40)
    assert run.result["steps"] == 40 and time.monotonic() - began < 50
    assert run.result["stopped"] == "finished" and run.metrics[-1]["progress"] == 1.0
    assert run.metrics[-1]["learning_rate"] < 0.05 * max(one["learning_rate"] for one in run.metrics)


@pytest.mark.clock
def test_an_interrupted_training_by_the_clock_goes_on_and_keeps_its_end(corpus, tmp_path, monkeypatch):
    from minilm.training.session import Interrupted

    seen = []

    def stop_early(values):
        seen.append(values)
        if len(seen) == 20:
            signal.raise_signal(signal.SIGINT)

    limits = limits_for(len(corpus.train))
    settings = Settings(corpus.describe(), "", limits, "tpe", 0, "cpu")
    with pytest.raises(Interrupted):
        Finish(corpus, settings, tmp_path, time.monotonic() + 20, stop_early, 60).run(POINT)
    assert not (tmp_path / "best" / "result.json").exists()
    run = Finish(corpus, settings, tmp_path, None, lambda values: None, 60).run(POINT)
    assert run.result["steps"] == 60 and run.result["step_seconds"] > 0


@pytest.mark.clock
def test_where_nobody_knows_what_is_enough_time_ends_it(corpus, tmp_path):
    run = finish(corpus, tmp_path, Trial(3, POINT, {}), end=time.monotonic() + 6)
    minutes = run.config["train"]["minutes"]
    assert minutes == pytest.approx(0.1, rel=0.2) and run.result["stopped"] == "deadline"
    assert run.metrics[-1]["learning_rate"] < 0.1 * max(one["learning_rate"] for one in run.metrics)


@pytest.mark.parametrize("tokens", [10_000, 300_000, 1_000_000, 100_000_000])
def test_scoring_takes_half_of_the_trainings_work_at_most_but_for_a_few_times(tokens):
    """A split of 50,000 characters; one evaluated costs a third of one trained on."""
    times = evaluations_for(tokens, 50_000)
    assert times == 3 or times * 50_000 / 3 <= 0.53 * tokens  # 0.53: a half, rounded to whole evaluations
    assert 3 <= times <= 20


def test_a_short_final_training_is_not_scored_all_the_time(corpus, tmp_path):
    run = finish(corpus, tmp_path, Trial(3, POINT, {}), steps=3)
    assert run.result["steps"] == 12
    assert 3 <= sum("val_loss" in record for record in run.metrics) <= 6


def test_a_crash_after_the_end_of_the_training_does_not_train_again(corpus, tmp_path):
    """By the clock there would be no time for it; and what was chosen once is not lost."""
    chosen, _ = trial(corpus, tmp_path, steps=150)
    first = finish(corpus, tmp_path, chosen, steps=1)
    kept = (tmp_path / "best" / "model.safetensors").read_bytes()
    assert (tmp_path / MODELS / "3" / "rung0" / "model.safetensors").read_bytes() == kept, "a copy, no move"
    settings = Settings(corpus.describe(), "", limits_for(len(corpus.train)), "tpe", 0, "cpu", minutes=1.0)
    again = Finish(corpus, settings, tmp_path, None, lambda values: None).run(POINT)
    assert again.result["val_loss"] == first.result["val_loss"] and again.result["steps"] == 150
    assert (tmp_path / "best" / "model.safetensors").read_bytes() == kept
