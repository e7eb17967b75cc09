"""Ctrl-C, SIGTERM and SIGHUP stop every part of the work within seconds; a second one stops at once and in silence."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from minilm.config import ModelConfig, TrainConfig
from minilm.text.corpora import load_corpus
from minilm.training import evaluate
from minilm.training.session import Interrupted, resume_training, run_training
from tests.training.test_trainer import TEXT

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals")
ROOT = Path(__file__).parent.parent
CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}
PROMPT = 5.0  # seconds, promised on a machine that is not busy
FLAGS = "--layers=1 --heads=1 --hidden=8 --context=8 --batch=2 --steps=100000 --threads=1 --device=cpu"


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "bottles.txt"
    path.write_text(TEXT)
    return path


def start(tmp_path: Path, verb: str, *arguments: str) -> subprocess.Popen:
    paths = {"PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(tmp_path / "cache"), "MINILM_TRIAL_STEPS": "2000"}
    return subprocess.Popen(
        [sys.executable, "-u", "-m", f"minilm.{verb}", *arguments],
        env={**os.environ, **paths, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@pytest.mark.clock
@pytest.mark.parametrize("number", CODES)
def test_a_stop_while_torch_is_loaded(tmp_path, text, number):
    """The first line is printed before anything is loaded, the signal arrives amid the imports."""
    process = start(tmp_path, "tune", str(text), "--trials", "2", "--out", str(tmp_path / "study"))
    assert process.stdout and process.stdout.readline().startswith("minilm")
    began = time.monotonic()
    process.send_signal(number)
    told = process.communicate(timeout=60)[1]
    assert process.returncode == CODES[number] and time.monotonic() - began < PROMPT
    assert told.startswith("minilm: interrupted") and "Traceback" not in told


def searching(home, text):
    """A study whose workers train, and its folder."""
    folder = home / "study"
    process = start(home, "tune", str(text), "--trials", "9", "--workers", "2", "--out", str(folder))
    while not list(folder.glob("models/*/*/metrics.jsonl")):
        assert process.poll() is None
        time.sleep(0.02)
    return process, folder


@pytest.mark.clock
def test_a_second_signal_stops_a_study_at_once_and_nothing_is_said_of_leaks(tmp_path, text):
    """What reads stderr to its end also hears what the resource tracker says after its parent's death."""
    process, folder = searching(tmp_path, text)
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGINT)
    told = process.communicate(timeout=60)[1]
    assert process.returncode in (143, 130) and time.monotonic() - began < PROMPT
    assert "leaked" not in told and "resource_tracker" not in told and "Traceback" not in told


@pytest.mark.clock
@pytest.mark.parametrize(
    "number", [signal.SIGHUP, *(pytest.param(one, marks=pytest.mark.slow) for one in (2, signal.SIGTERM))]
)
def test_a_stop_while_workers_train(tmp_path, text, number):
    """Sent to all of them, as by a terminal or a batch system."""
    process, folder = searching(tmp_path, text)
    began = time.monotonic()
    os.killpg(process.pid, number)
    told = process.communicate(timeout=60)[1]
    assert process.returncode == CODES[number] and time.monotonic() - began < PROMPT
    assert f"--resume {folder}" in told and len(told.strip().splitlines()) == 1


def test_a_stop_in_the_middle_of_a_long_evaluation(tmp_path, text, monkeypatch):
    """It is left, not waited for; the training goes on from before it and ends as if undisturbed."""
    corpus = load_corpus(text)
    shape = ModelConfig(corpus.tokenizer.vocab_size, n_layer=1, n_head=1, n_embd=8, block_size=8)
    config = TrainConfig(steps=6, batch_size=4, evaluations=3, threads=1, device="cpu")
    run_training(corpus, shape, config, tmp_path / "whole")
    windows = []

    def slow(*arguments, **named):
        for number, part in enumerate(TOKEN_LOSSES(*arguments, **named)):
            windows.append(number)
            if len(windows) == 2:
                signal.raise_signal(signal.SIGINT)
                time.sleep(60)  # the rest of the evaluation
            yield part

    with monkeypatch.context() as patch:
        patch.setattr(evaluate, "token_losses", slow)
        began = time.monotonic()
        with pytest.raises(Interrupted):
            run_training(corpus, shape, config, tmp_path / "run")
        assert time.monotonic() - began < 30 and len(windows) == 2
    resume_training(tmp_path / "run", corpus=corpus)
    ends = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("run", "whole")]
    assert ends[0] == ends[1]


TOKEN_LOSSES = evaluate.token_losses
