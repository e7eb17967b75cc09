"""The training loop and its run folder: learns, stops, diverges loudly, goes on as if never stopped."""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from minilm import files
from minilm.config import ModelConfig, TrainConfig
from minilm.errors import REMOVED, DivergenceError, RunError, StorageError
from minilm.text import corpora
from minilm.text.corpora import load_corpus
from minilm.text.long import LongText
from minilm.training.optim import build_optimizer
from minilm.training.run import load_run
from minilm.training.session import resume_training, run_training
from tests.faults import Crash, crash_before, watched

ROOT = Path(__file__).parent.parent.parent
TEXT = "".join(f"{k} green bottles hanging on the wall, and {k * 7 % 13} fell.\n" for k in range(120))
SHAPE = {"n_layer": 1, "n_head": 2, "n_embd": 16, "block_size": 16, "dropout": 0.1}
QUICK = {"steps": 40, "batch_size": 4, "evaluations": 4, "threads": 1, "device": "cpu"}


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "bottles.txt"
    path.write_text(TEXT)
    return path


@pytest.fixture(scope="module")
def corpus(text):
    return load_corpus(text)


def shape(corpus, **changes):
    return ModelConfig(corpus.tokenizer.vocab_size, **{**SHAPE, **changes})


def test_it_learns_and_keeps_the_best(tmp_path, corpus):
    config = TrainConfig(**{**QUICK, "steps": 150})
    run = run_training(corpus, shape(corpus, dropout=0.0), config, tmp_path / "run")
    losses = [record["val_loss"] for record in run.metrics if "val_loss" in record]
    assert run.result["val_loss"] == min(losses) < 0.8 * math.log(corpus.tokenizer.vocab_size)
    assert len(losses) == 4 and run.result["stopped"] == "finished" and run.result["protocol"] == "exact"
    back = load_run(tmp_path / "run")
    assert back.result == run.result and back.metrics == run.metrics
    for one, two in zip(back.model.parameters(), run.model.parameters(), strict=True):
        assert torch.equal(one, two)


def test_the_same_seed_gives_the_same_run(corpus):
    runs = [run_training(corpus, shape(corpus), TrainConfig(**QUICK, seed=seed)).result for seed in (1, 1, 2)]
    assert runs[0]["val_loss"] == runs[1]["val_loss"] != runs[2]["val_loss"]


def test_a_run_can_start_from_another_ones_end(tmp_path, corpus):
    """At a constant rate two halves are the whole: same weights, momenta, dropout and place in the text."""
    config = TrainConfig(**{**QUICK, "evaluations": 1}, schedule="constant", warmup=0.0)
    whole = run_training(corpus, shape(corpus), config)
    run_training(corpus, shape(corpus), config.replace(steps=20), tmp_path / "half")
    start = tmp_path / "half" / "checkpoint.safetensors"
    rest = run_training(corpus, shape(corpus), config.replace(steps=20), tmp_path / "rest", start=start)
    assert rest.result["steps"] == 20 and rest.result["tokens_seen"] == whole.result["tokens_seen"] / 2
    for one, two in zip(whole.model.parameters(), rest.model.parameters(), strict=True):
        assert torch.equal(one, two)
    with pytest.raises(RunError, match="does not fit the model"):
        run_training(corpus, shape(corpus, n_embd=32), config, start=start)


def test_it_stops_early_when_nothing_improves(corpus):
    """At a rate this small only noise moves the loss; patience of one ends at the first step backwards."""
    config = TrainConfig(steps=400, batch_size=4, evaluations=100, patience=1, learning_rate=1e-9, threads=1)
    result = run_training(corpus, shape(corpus), config).result
    assert result["stopped"] == "early" and result["steps"] < 400 and result["best_step"] < result["steps"]


@pytest.mark.parametrize("rate", [1e6, 1e30])
def test_divergence_names_step_and_rate(tmp_path, corpus, rate):
    config = TrainConfig(**{**QUICK, "steps": 200, "learning_rate": rate, "warmup": 0.0, "grad_clip": 1e9})
    with pytest.raises(
        DivergenceError, match=r"diverged at step \d+ with learning rate .*try learning_rate="
    ) as caught:
        run_training(corpus, shape(corpus), config, tmp_path / "run")
    assert caught.value.step >= 1 and caught.value.learning_rate > 0


def test_a_nan_never_touches_the_weights(monkeypatch, corpus):
    from minilm.model import GPT

    model = GPT(shape(corpus))
    honest, calls = GPT.forward, []

    def poisoned(self, *arguments, **named):
        output = honest(self, *arguments, **named)
        calls.append(self.training)
        return (
            output if sum(calls) != 5 or output.loss is None else output._replace(loss=output.loss * math.nan)
        )

    monkeypatch.setattr(GPT, "forward", poisoned)
    with pytest.raises(DivergenceError, match="step 5 .*loss became nan"):
        run_training(corpus, model, TrainConfig(**QUICK))
    assert all(parameter.isfinite().all() for parameter in model.parameters())


@pytest.mark.clock
def test_minutes_are_kept(corpus):
    # without patience, a fast machine learns this text by heart in less
    config = TrainConfig(minutes=0.05, batch_size=4, threads=1, patience=None)
    started = time.monotonic()
    result = run_training(corpus, shape(corpus), config).result
    assert time.monotonic() - started < 0.05 * 60 + 1.0
    assert result["steps"] > 1 and result["stopped"] == "finished"


@pytest.mark.clock
def test_setting_up_is_on_the_clock(monkeypatch, corpus):
    def slow(*arguments):
        time.sleep(1.0)
        return build_optimizer(*arguments)

    monkeypatch.setattr("minilm.training.loop.build_optimizer", slow)
    assert run_training(corpus, shape(corpus), TrainConfig(**{**QUICK, "steps": 1})).result["seconds"] > 1.0


@pytest.mark.clock
def test_nothing_is_measured_before_the_first_step(monkeypatch, corpus):
    """However much of the time the setting-up has taken: an untrained model is no result."""

    def slow(*arguments):
        time.sleep(1.0)
        return build_optimizer(*arguments)

    monkeypatch.setattr("minilm.training.loop.build_optimizer", slow)
    config = TrainConfig(minutes=0.03, batch_size=4, threads=1, patience=None)
    run = run_training(corpus, shape(corpus), config)
    assert all(record["step"] > 0 and record["train_loss"] > 0 for record in run.metrics)


@pytest.mark.clock
@pytest.mark.parametrize(("most", "steps"), [(20, range(20, 21)), (10**9, range(21, 10**9))])
def test_the_rate_has_fallen_when_steps_or_time_end_a_run_by_the_clock(corpus, most, steps):
    config = TrainConfig(minutes=0.1, batch_size=4, threads=1, patience=None)
    run = run_training(corpus, shape(corpus), config, most_steps=most)
    rates = [record["learning_rate"] for record in run.metrics]
    assert run.result["stopped"] == "finished" and rates[-1] < 0.1 * max(rates)
    assert run.result["steps"] in steps


@pytest.mark.clock
def test_a_deadline_ends_a_run_by_steps(corpus):
    config = TrainConfig(steps=10**6, batch_size=4, threads=1)
    started = time.monotonic()
    result = run_training(corpus, shape(corpus), config, deadline=started + 1.5).result
    assert time.monotonic() - started < 2.5 and result["stopped"] == "deadline"


def fingerprint(folder) -> tuple:
    """Weights, optimizer and generators, and the losses on the way; seconds differ between any two runs."""
    digest = hashlib.sha256()
    for name in ("checkpoint.safetensors", "model.safetensors"):
        tensors, _ = files.read_tensors(folder / name)
        for key in sorted(tensors):
            digest.update(
                key.encode() + tensors[key].contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
            )
    records = files.read_records(folder / "metrics.jsonl")
    return digest.hexdigest(), [(r["step"], r["train_loss"], r.get("val_loss")) for r in records]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a system that forks")
@pytest.mark.parametrize("rounds", [4, pytest.param(60, marks=pytest.mark.slow)])
def test_killed_and_resumed_equals_uninterrupted(text, tmp_path, rounds):
    """Dropout is on, so weights, optimizer, batches and torch's generator must all come back, bit for bit."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    program = [sys.executable, str(Path(__file__).parent / "kill_loop.py"), text, tmp_path, str(rounds)]
    done = subprocess.run(program, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    kills, interrupts = map(int, done.stdout.split())
    assert kills and interrupts, "nothing was tested"
    whole = fingerprint(tmp_path / "whole")
    assert all(fingerprint(tmp_path / str(number)) == whole for number in range(rounds))


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_crash_at_any_write_loses_nothing(tmp_path, corpus, seed):
    """The process ends before each operation of the disk in turn; the same command, or `resume` once there is a run,
    must end at the whole one's bytes."""
    config = TrainConfig(**{**QUICK, "steps": 6, "evaluations": 3, "patience": None, "seed": seed})
    run_training(corpus, shape(corpus), config, tmp_path / "whole")
    expected = fingerprint(tmp_path / "whole")
    weights = (tmp_path / "whole" / "model.safetensors").read_bytes()
    for crash_at in range(seed, 1000, 3):
        folder = tmp_path / f"run-{crash_at}"
        try:
            with watched(crash_before(crash_at)):
                run_training(corpus, shape(corpus), config, folder)
            break
        except Crash:
            pass
        if (folder / "config.json").exists():
            resume_training(folder)
        else:
            run_training(corpus, shape(corpus), config, folder)
        assert fingerprint(folder) == expected, f"crashed before operation {crash_at}"
        assert (folder / "model.safetensors").read_bytes() == weights
        assert not list(folder.glob(f"*{files.TEMPORARY}"))
    assert crash_at > 60, "the crashes must reach the end of the run"


def crashed(corpus, config, folder):
    """A run that ended at its 25th step."""

    def stop(record):
        if record["step"] == 25:
            raise Crash

    with pytest.raises(Crash):
        run_training(corpus, shape(corpus), config, folder, on_record=stop)


def test_a_run_from_before_options_were_removed_goes_on(tmp_path, corpus):
    """Its config.json and its checkpoint still name them; another value than the old default is refused."""
    config = TrainConfig(**{**QUICK, "patience": None})
    run_training(corpus, shape(corpus), config, tmp_path / "whole")

    crashed(corpus, config, tmp_path / "run")
    path, stored = (
        tmp_path / "run" / "config.json",
        json.loads((tmp_path / "run" / "config.json").read_text()),
    )
    del stored[files.SEAL], stored["tokenizer"]
    files.write_json(path, {**stored, "train": {**stored["train"], **REMOVED, "average": 0.1}})
    with pytest.raises(
        RunError, match=r"average was removed and must be 0.0, got 0.1; use .* commit d0be72f$"
    ):
        resume_training(tmp_path / "run")
    old = {part: {**stored[part], **REMOVED} for part in ("model", "train")}
    files.write_json(path, {**stored, **old})
    tensors, header = files.read_tensors(tmp_path / "run" / "checkpoint.safetensors")
    state = json.loads(header["state"])
    del header["run"]  # older ones do not know whose they are
    header["state"] = json.dumps({**state, "config": {**state["config"], **REMOVED}})
    files.write_tensors(tmp_path / "run" / "checkpoint.safetensors", tensors, header)
    resume_training(tmp_path / "run")
    assert fingerprint(tmp_path / "run") == fingerprint(tmp_path / "whole")
    assert load_run(tmp_path / "run").config["train"]["prior"] == "none"


def test_a_killed_run_on_a_large_text_in_pieces_goes_on_bit_for_bit(tmp_path, text, monkeypatch):
    """Its text is encoded where it is read, by the process that goes on as by the one that was killed."""
    monkeypatch.setattr(corpora, "LARGE", 2000)
    corpus = load_corpus(text, "bpe:80")
    assert isinstance(corpus.train, LongText)
    config = TrainConfig(**{**QUICK, "patience": None})
    run_training(corpus, shape(corpus), config, tmp_path / "whole")

    crashed(corpus, config, tmp_path / "run")
    resume_training(tmp_path / "run")  # loads the text anew, with the run's own pieces
    assert fingerprint(tmp_path / "run") == fingerprint(tmp_path / "whole")


def test_an_incomplete_checkpoint_does_not_go_unnoticed(tmp_path, monkeypatch, corpus):
    """Without torch's generator in it, the resumed run must differ: the tests above can fail."""
    config = TrainConfig(**{**QUICK, "patience": None})
    run_training(corpus, shape(corpus), config, tmp_path / "whole")

    crashed(corpus, config, tmp_path / "run")
    monkeypatch.setattr(torch, "set_rng_state", lambda state: None)
    resume_training(tmp_path / "run")
    assert fingerprint(tmp_path / "run") != fingerprint(tmp_path / "whole")


def test_resume_refuses_other_settings_and_texts(tmp_path, corpus):
    run_training(corpus, shape(corpus), TrainConfig(**QUICK), tmp_path / "run")
    with pytest.raises(RunError, match="learning_rate"):
        resume_training(tmp_path / "run", changes={"learning_rate": 0.5})
    other = tmp_path / "other.txt"
    other.write_text(TEXT.replace("green", "brown"))
    with pytest.raises(RunError, match="corpus"):
        resume_training(tmp_path / "run", corpus=load_corpus(other))


def test_a_full_disk_loses_nothing(tmp_path, corpus):
    written = []

    def full(kind, path, more):
        if kind == "write":
            written.append(path.name)
            if sum("checkpoint" in name for name in written) > 8:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with watched(full), pytest.raises(StorageError, match="disk is full"):
        run_training(corpus, shape(corpus), TrainConfig(**QUICK), tmp_path / "run")
    resumed = resume_training(tmp_path / "run")
    assert resumed.result["steps"] == QUICK["steps"]


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json", "metrics.jsonl"])
def test_damaged_files_of_a_run_are_named(tmp_path, corpus, name):
    run_training(corpus, shape(corpus), TrainConfig(**QUICK), tmp_path / "run")
    path = tmp_path / "run" / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 3] = b"\x00\xff{"
    path.write_bytes(bytes(data))
    with pytest.raises(RunError, match=name.split(".")[0]):
        load_run(tmp_path / "run")


def test_folders_that_are_no_runs(tmp_path):
    with pytest.raises(RunError, match="does not exist"):
        load_run(tmp_path / "nowhere")
    with pytest.raises(RunError, match="is not a run"):
        load_run(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gpt2"}))
    with pytest.raises(RunError, match="does not describe a run"):
        load_run(tmp_path)
