"""A run that goes on beyond its end, and runs of the user's own modules: nothing is lost, and a sentence says what is
missing."""

from __future__ import annotations

import json
import os
import shutil
import signal

import pytest
import torch
from torch import nn

from minilm.config import ModelConfig, TrainConfig
from minilm.errors import ConfigError, RunError
from minilm.model import GPT
from minilm.text.corpora import load_corpus
from minilm.training.evaluate import exact_loss
from minilm.training.run import load_run
from minilm.training.session import Interrupted, resume_training, run_training
from tests.faults import Crash, crash_before, watched
from tests.training.test_trainer import QUICK, SHAPE, TEXT, fingerprint

STEADY = {**QUICK, "patience": None}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "bottles.txt"
    path.write_text(TEXT)
    return load_corpus(path)


def started(corpus, folder, model=None, **changes):
    """A finished run in a folder."""
    shape = ModelConfig(corpus.tokenizer.vocab_size, **SHAPE)
    return run_training(corpus, model or shape, TrainConfig(**{**STEADY, **changes}), folder)


def test_more_steps_are_another_leg(tmp_path, corpus):
    """The rate rises and descends afresh; steps, seconds and records go on; what was best so far is not lost."""
    first = started(corpus, tmp_path / "run")
    second = resume_training(tmp_path / "run", changes={"steps": 80})
    assert first.result["steps"] == 40 and "legs" not in first.result
    legs = second.result["legs"]
    assert [leg["steps"] for leg in legs] == [40, 80] and second.result["steps"] == 80
    assert legs[0] == {name: first.result[name] for name in legs[0]}
    assert legs[1] == {name: second.result[name] for name in legs[1]}
    assert second.result["val_loss"] <= first.result["val_loss"]
    assert second.result["tokens_seen"] == 2 * first.result["tokens_seen"]
    assert second.result["seconds"] > first.result["seconds"]

    records = second.metrics
    assert records[: len(first.metrics)] == first.metrics
    steps, seconds = ([record[name] for record in records] for name in ("step", "seconds"))
    assert steps == sorted(set(steps)) and steps[-1] == 80 and seconds == sorted(seconds)
    rates, progress = (
        [record[name] for record in records if record["step"] > 40] for name in ("learning_rate", "progress")
    )
    top = rates.index(max(rates))
    assert max(rates) == pytest.approx(max(r["learning_rate"] for r in first.metrics), rel=0.03)
    assert top <= 2 and rates[top:] == sorted(rates[top:], reverse=True) and rates[-1] < 0.1 * max(rates)
    assert progress == sorted(progress) and progress[0] < 0.1 and progress[-1] == 1.0
    assert len([r for r in records if r["step"] > 40 and "val_loss" in r]) == QUICK["evaluations"]
    assert second.result["val_loss"] == min(r["val_loss"] for r in records if "val_loss" in r)

    back = load_run(tmp_path / "run")
    assert back.result == second.result and back.metrics == records
    before = int(corpus.train[-1])
    assert exact_loss(back.model, corpus.val, before=before) == pytest.approx(second.result["val_loss"])
    assert json.loads((tmp_path / "run" / "config.json").read_text())["train"]["steps"] == 40


def test_the_best_weights_of_the_first_leg_survive_a_worse_second_one(tmp_path, corpus, monkeypatch):
    """Batches of noise lead away from what was learnt; the run stays what it was."""
    first = started(corpus, tmp_path / "run", learning_rate=0.03)
    honest = type(first.model).forward

    def lost(self, ids, *arguments, **named):
        return honest(self, torch.randint_like(ids, 5) if self.training else ids, *arguments, **named)

    monkeypatch.setattr(GPT, "forward", lost)
    second = resume_training(tmp_path / "run", changes={"steps": 60})
    assert (
        min(r["val_loss"] for r in second.metrics if r["step"] > 40 and "val_loss" in r)
        > first.result["val_loss"]
    )
    for name in ("val_loss", "test_loss", "best_step"):
        assert second.result[name] == first.result[name]
    for one, two in zip(first.model.parameters(), load_run(tmp_path / "run").model.parameters(), strict=True):
        assert torch.equal(one, two)


def test_patience_is_counted_anew(tmp_path, corpus):
    """A leg that ended early may go on; what counts are evaluations without improvement in the new leg."""
    config = {"patience": 2, "learning_rate": 1e-9, "steps": 400, "evaluations": 100}
    first = started(corpus, tmp_path / "run", **config)
    second = resume_training(tmp_path / "run", changes={"steps": first.result["steps"] + 40})
    assert [leg["stopped"] for leg in second.result["legs"]][0] == "early"
    assert second.result["steps"] > first.result["steps"]


@pytest.mark.clock
def test_minutes_are_so_many_more(tmp_path, corpus):
    first = started(corpus, tmp_path / "run")
    second = resume_training(tmp_path / "run", changes={"minutes": 0.03})
    assert second.result["legs"][1]["stopped"] == "finished" and second.result["steps"] > 41
    assert 0.5 < second.result["seconds"] - first.result["seconds"] < 0.03 * 60 + 1.0
    rates = [record["learning_rate"] for record in second.metrics if record["step"] > 40]
    assert rates[-1] < 0.1 * max(rates)
    third = resume_training(tmp_path / "run", changes={"steps": second.result["steps"] + 10})
    assert [leg["steps"] for leg in third.result["legs"]] == [
        40,
        second.result["steps"],
        second.result["steps"] + 10,
    ]
    assert resume_training(tmp_path / "run").result == third.result, "nothing is asked for: it is only loaded"


def test_no_other_leg_where_none_is_asked_for(tmp_path, corpus):
    first = started(corpus, tmp_path / "run")
    stored = (tmp_path / "run" / "config.json").read_bytes()
    for changes in (
        {},
        {"steps": 40},
        {"steps": 40, "learning_rate": 0.03},
        {"steps": None, "minutes": None},
    ):
        assert resume_training(tmp_path / "run", changes=changes).result == first.result
    assert (tmp_path / "run" / "config.json").read_bytes() == stored


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"steps": 30}, RunError, "steps must be the new total, above the 40 that the run has, got 30"),
        ({"steps": 80, "learning_rate": 0.5}, RunError, "learning_rate was"),
        ({"minutes": -1.0}, ConfigError, "minutes must be above 0"),
        ({"steps": 80.5}, ConfigError, "steps must be a whole number"),
    ],
)
def test_a_leg_that_cannot_be_leaves_the_run_as_it_was(tmp_path, corpus, changes, error, words):
    first = started(corpus, tmp_path / "run")
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    with pytest.raises(error, match=words):
        resume_training(tmp_path / "run", changes=changes)
    assert {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()} == before
    assert resume_training(tmp_path / "run").result == first.result


def test_a_leg_under_way_is_finished_before_another_one_begins(tmp_path, corpus):
    started(corpus, tmp_path / "run")

    def stop(record):
        if record["step"] == 60:
            raise Crash

    with pytest.raises(Crash):
        resume_training(tmp_path / "run", changes={"steps": 80}, on_record=stop)
    assert load_run(tmp_path / "run").result["steps"] == 40, "what has ended can be read meanwhile"
    for changes in ({"steps": 120}, {"minutes": 1.0}):
        with pytest.raises(RunError, match=f"keeps its settings, .* {next(iter(changes))} was"):
            resume_training(tmp_path / "run", changes=changes)
    assert resume_training(tmp_path / "run", changes={"steps": 80}).result["steps"] == 80


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_a_crash_at_any_write_of_the_second_leg_loses_nothing(tmp_path, corpus, seed):
    """The process ends before each operation of the disk in turn; resumed without arguments, the leg equals the whole
    one in every byte."""
    config = {"steps": 6, "evaluations": 3, "seed": seed}
    started(corpus, tmp_path / "first", **config)
    once = fingerprint(tmp_path / "first")
    shutil.copytree(tmp_path / "first", tmp_path / "whole")
    whole = resume_training(tmp_path / "whole", changes={"steps": 12})
    expected = fingerprint(tmp_path / "whole")
    assert once != expected
    for crash_at in range(seed, 1000, 5):
        folder = tmp_path / f"run-{crash_at}"
        shutil.copytree(tmp_path / "first", folder)
        try:
            with watched(crash_before(crash_at)):
                resume_training(folder, changes={"steps": 12})
            break
        except Crash:
            pass
        again = resume_training(folder)
        if "legs" not in again.config:  # it was never known that there is a second leg
            assert again.result["steps"] == 6 and fingerprint(folder) == once
            continue
        assert fingerprint(folder) == expected, f"crashed at write {crash_at}"
        assert _without_time(again.result) == _without_time(whole.result)
    assert crash_at > 60, "the crashes must reach the end of the leg"


def _without_time(result):
    legs = [{k: v for k, v in leg.items() if k != "seconds"} for leg in result["legs"]]
    records = result["belongs"]["records"][0]  # the log's checksum covers its seconds
    belongs = {**result["belongs"], "records": records}
    measured = ("seconds", "step_seconds")
    return {**{k: v for k, v in result.items() if k not in measured}, "legs": legs, "belongs": belongs}


def test_an_interrupted_leg_hands_over_the_run(tmp_path, corpus, monkeypatch):
    """Ctrl-C in the second leg: the weights so far are in the exception, and the leg goes on where it was."""
    started(corpus, tmp_path / "whole")
    resume_training(tmp_path / "whole", changes={"steps": 80})
    first = started(corpus, tmp_path / "run")

    def stop(record):
        if record["step"] == 55:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Interrupted) as caught:
        resume_training(tmp_path / "run", changes={"steps": 80}, on_record=stop)
    run = caught.value.run
    assert run.result["stopped"] == "interrupted" and 55 <= run.result["steps"] < 60
    assert run.result["val_loss"] <= first.result["val_loss"] and not run.model.training
    assert load_run(tmp_path / "run").result == first.result
    resume_training(tmp_path / "run")
    assert fingerprint(tmp_path / "run") == fingerprint(tmp_path / "whole")


def test_an_interruption_before_the_first_evaluation_gives_the_weights_so_far(tmp_path, corpus):
    def stop(record):
        if record["step"] == 3:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Interrupted) as caught:
        run_training(
            corpus,
            ModelConfig(corpus.tokenizer.vocab_size, **SHAPE),
            TrainConfig(**STEADY),
            tmp_path / "run",
            on_record=stop,
        )
    run, back = caught.value.run, load_run(tmp_path / "run")
    assert run.result["steps"] in (3, 4) and run.result["val_loss"] is None
    for one, two in zip(run.model.parameters(), back.model.parameters(), strict=True):
        assert torch.equal(one, two)
    assert "interrupted" in repr(run) and "not finished" in repr(back)
    started(corpus, tmp_path / "whole")
    resume_training(tmp_path / "run")
    assert fingerprint(tmp_path / "run") == fingerprint(tmp_path / "whole")


class MyMLP(nn.Module):
    """As a student writes one."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(width, 3 * width), nn.Linear(3 * width, width)

    def forward(self, x):
        return self.down(torch.relu(self.up(x)) ** 2)


def with_my_mlp(corpus, seed=0):
    torch.manual_seed(seed)
    model = GPT(ModelConfig(corpus.tokenizer.vocab_size, **SHAPE))
    model.blocks[0].mlp = MyMLP(SHAPE["n_embd"])
    return model


class Own(nn.Module):
    """A whole model of the user's: it has a ModelConfig and gives (loss, logits)."""

    def __init__(self, config):
        super().__init__()
        self.config, self.table = config, nn.Embedding(config.vocab_size, config.vocab_size)

    def forward(self, ids, targets=None, **_):
        logits = self.table(ids)
        loss = None
        if targets is not None:
            loss = nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten())
        return loss, logits


@pytest.mark.parametrize("make", [with_my_mlp, lambda corpus, seed=0: Own(with_my_mlp(corpus).config)])
def test_a_run_of_the_users_own_modules(tmp_path, corpus, make):
    """The folder names the class that it needs; with a module of that class it is read, resumed and gone on with."""
    run = started(corpus, tmp_path / "run", make(corpus))
    assert run.result["val_loss"] < 3.2
    name = "blocks.0.mlp is a .*MyMLP" if make is with_my_mlp else "the whole model is a .*Own"
    for call in (load_run, resume_training, lambda folder: resume_training(folder, changes={"steps": 80})):
        with pytest.raises(
            RunError, match=f"must be given, .*: {name}; build it in Python and give it as model=$"
        ):
            call(tmp_path / "run")
    ids = torch.randint(corpus.tokenizer.vocab_size, (2, 16))
    rebuilt = make(corpus, seed=1)
    back = load_run(tmp_path / "run", model=rebuilt)
    assert back.model is rebuilt and not rebuilt.training
    assert torch.equal(back.model(ids)[1], run.model(ids)[1])
    again = resume_training(tmp_path / "run", model=make(corpus, seed=2))
    assert again.result == run.result and torch.equal(again.model(ids)[1], run.model(ids)[1])
    more = resume_training(tmp_path / "run", model=make(corpus, seed=3), changes={"steps": 60})
    assert [leg["steps"] for leg in more.result["legs"]] == [40, 60]
    with pytest.raises(RunError, match="does not fit the model: .* is missing"):
        load_run(tmp_path / "run", model=GPT(run.model.config.replace(n_layer=2)))


def test_a_run_of_the_users_own_modules_resumes_bit_for_bit(tmp_path, corpus):
    def stop(record):
        if record["step"] == 25:
            raise Crash

    started(corpus, tmp_path / "whole", with_my_mlp(corpus))
    with pytest.raises(Crash):
        run_training(corpus, with_my_mlp(corpus), TrainConfig(**STEADY), tmp_path / "run", on_record=stop)
    with pytest.raises(RunError, match="MyMLP"):
        resume_training(tmp_path / "run")
    resume_training(tmp_path / "run", model=with_my_mlp(corpus, seed=9))
    assert fingerprint(tmp_path / "run") == fingerprint(tmp_path / "whole")
