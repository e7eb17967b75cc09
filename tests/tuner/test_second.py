"""The second model of a used-up text: when there is one, which of the two is kept, and what a crash may not change."""

from __future__ import annotations

import dataclasses
import shutil
import signal
import time

import pytest

from minilm import load_run
from minilm.errors import DivergenceError
from minilm.training.session import Interrupted
from minilm.tuner import second
from minilm.tuner.budget import Prices
from minilm.tuner.choose import Outlook, Text
from minilm.tuner.finish import Finish
from minilm.tuner.second import SECOND, once_or_twice, second_model, seconds_of_both, uses_up
from minilm.tuner.settings import Settings
from minilm.tuner.space import limits_for
from minilm.tuner.watch import Watch

POINT = {"num_layers": 1, "hidden_size": 16, "block_size": 8, "batch_size": 4, "learning_rate": 1e-2}
STEPS = 40


@pytest.fixture(scope="module")
def first(corpus, tmp_path_factory):
    """The folder of a study whose first model has used up its text."""
    folder = tmp_path_factory.mktemp("study")
    finishing(corpus, folder, 60).run(POINT)
    return folder


def finishing(corpus, folder, seconds=None, most_steps=STEPS):
    settings = Settings(corpus.describe(), "", limits_for(len(corpus.train)), "tpe", 0, "cpu")
    end = None if seconds is None else time.monotonic() + seconds
    return Finish(corpus, settings, folder, end, lambda values: None, most_steps)


@pytest.fixture
def study(first, tmp_path):
    return shutil.copytree(first, tmp_path / "study")


def lower_by(monkeypatch, below):
    """The second training as it is, its loss made up: so far below the first one's."""
    plain = second.run_training

    def made_up(*given, **options):
        run = plain(*given, **options)
        second.add_to_result(run, {"val_loss": options["teacher"].note["val_loss"] - below})
        return run

    monkeypatch.setattr(second, "run_training", made_up)


@pytest.mark.clock
def test_a_second_model_that_is_better_takes_the_place_of_the_first(corpus, study, monkeypatch):
    lower_by(monkeypatch, 0.1)
    before = load_run(study / "best")
    run = second_model(finishing(corpus, study, 60), before, Watch())
    assert run is not None and run.folder == study / "best" and not (study / SECOND).exists()
    assert run.config["taught"]["val_loss"] == before.result["val_loss"]
    assert run.config["train"]["seed"] == before.config["train"]["seed"] + 1
    assert run.result["steps"] == run.config["taught"]["most_steps"] == 1.5 * STEPS
    assert run.metrics[-1]["learning_rate"] < 0.05 * max(one["learning_rate"] for one in run.metrics)
    assert second_model(finishing(corpus, study, 60), run, Watch()) is None, "there is no third"


@pytest.mark.clock
def test_a_first_model_that_is_better_stays_and_says_so(corpus, study, monkeypatch):
    lower_by(monkeypatch, -0.1)
    weights = (study / "best" / "model.safetensors").read_bytes()
    before = load_run(study / "best")
    run = second_model(finishing(corpus, study, 60), before, Watch())
    assert run is before and (study / "best" / "model.safetensors").read_bytes() == weights
    assert load_run(study / "best").result["student"] == before.result["val_loss"] + 0.1
    assert not (study / SECOND).exists()
    assert second_model(finishing(corpus, study, 60), load_run(study / "best"), Watch()) is None


@pytest.mark.parametrize("seconds, most_steps", [(0.0, STEPS), (None, STEPS), (60, None), (60, STEPS + 1)])
def test_there_is_none_without_time_or_with_a_text_that_is_not_used_up(corpus, study, seconds, most_steps):
    run = load_run(study / "best")
    assert second_model(finishing(corpus, study, seconds, most_steps), run, Watch()) is None
    assert not (study / SECOND).exists() and load_run(study / "best").result == run.result


def test_one_that_diverges_leaves_the_first(corpus, study, monkeypatch):
    def diverged(*given, **options):
        raise DivergenceError("it diverged", step=1, learning_rate=1.0)

    monkeypatch.setattr(second, "run_training", diverged)
    assert second_model(finishing(corpus, study, 60), load_run(study / "best"), Watch()) is None
    assert load_run(study / "best").result["steps"] == STEPS


@pytest.mark.clock
def test_a_crash_before_the_judgement_and_after_it_changes_nothing(corpus, study, tmp_path, monkeypatch):
    """The second model is whole in its folder; the sitting that goes on has no clock."""
    lower_by(monkeypatch, 0.1)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(second.files, "copy_folder", lambda *folders: (_ for _ in ()).throw(KeyboardInterrupt))
        second_model(finishing(corpus, study, 60), load_run(study / "best"), Watch())
    assert (study / SECOND / "result.json").is_file() and "taught" not in load_run(study / "best").config
    kept = shutil.copytree(study / SECOND, tmp_path / "kept")
    run = second_model(finishing(corpus, study), load_run(study / "best"), Watch())
    assert run is not None and "taught" in run.config
    shutil.copytree(kept, study / SECOND)  # as if the crash had come before it was deleted
    assert second_model(finishing(corpus, study), load_run(study / "best"), Watch()) is None
    assert not (study / SECOND).exists() and "taught" in load_run(study / "best").config


@pytest.mark.clock
def test_one_that_was_interrupted_goes_on_without_a_clock_and_is_then_judged(corpus, study, monkeypatch):
    seen: list[dict] = []

    def stop_early(values):
        seen.append(values)
        if len(seen) == 10:
            signal.raise_signal(signal.SIGINT)

    finish = dataclasses.replace(finishing(corpus, study, 60), on_record=stop_early)
    with pytest.raises(Interrupted):
        second_model(finish, load_run(study / "best"), Watch())
    assert "student" not in load_run(study / "best").result and (study / SECOND / "config.json").is_file()
    run = second_model(finishing(corpus, study), load_run(study / "best"), Watch())
    assert run is not None and ("taught" in run.config) != ("student" in run.result)
    assert not (study / SECOND).exists()


TOKENS = {"characters": (65, 1.0), "bpe:1024": (1024, 2.5), "bpe:4096": (4096, 3.2)}


def outlook(characters):
    return Outlook(Prices(1.0, 1.0), Text(characters, TOKENS), limits_for(characters))


def test_a_first_model_is_shorter_only_where_it_uses_up_the_text(monkeypatch):
    monkeypatch.setattr("minilm.tuner.choose.IMAGINED", 60)
    short, long = outlook(60_000), outlook(50_000_000)
    choice = once_or_twice(short, 240.0, 0, "tpe")
    assert choice.share == pytest.approx(1 / (1 + 1.1 * 1.25)) and uses_up(
        short, choice.point, choice.share * 240
    )
    assert once_or_twice(long, 240.0, 0, "tpe").share == 1.0


def test_the_times_that_are_said_are_those_that_are_kept():
    first, both = seconds_of_both(100, 0.1, left=60.0)
    assert first == pytest.approx(11.0) and both == pytest.approx(11.0 * (1 + 1.5 * 1.25))
    assert seconds_of_both(100, 0.1, left=25.0)[1] == 25.0, "all that is left, for fewer steps"
    assert seconds_of_both(100, 0.1, left=20.0) == (first, first)
