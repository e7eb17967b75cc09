"""What one trial computes: a point goes in, a validation loss comes out. The only file of the tuner that
trains.

`run_trial` is what workers run; `train_model` is the same for Hyperopt's own `fmin`. Neither decides
anything, and a training that diverges or does not fit is an answer here, not an exception.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from minilm import files
from minilm.config import ModelConfig, TrainConfig
from minilm.errors import ConfigError, DivergenceError, MinilmError
from minilm.text.corpora import Corpus, load_corpus, load_described
from minilm.training.evaluation import exact_loss
from minilm.training.hardware import Hardware, choose_hardware, physical_cores
from minilm.training.run import RESULT, Run, load_run
from minilm.training.session import run_training
from minilm.tuner.space import Limits, limits_for, to_configs

TRIAL_STEPS = 200
TRIAL_EVALUATIONS = 4
EVALUATION_SHARE = 0.1  # of a trial's work, for its evaluations
FORWARD_SHARE = 1 / 3  # of a training step's work: evaluating a character costs a third of training on it
CHARS_PER_SECOND = 1500  # of a trial in seconds: what one CPU core evaluates in a tenth of its time, about
FEWEST_CHARS = 4000  # an estimate from less would choose by luck
# an index of hp.choice in the document's own space, see `train_model`
DOCUMENT_CHOICES: dict[str, tuple[int, ...]] = {"num_layers": (2, 4, 6), "hidden_size": (64, 128, 256)}
SMALLEST_HIDDEN = 8


@dataclass(frozen=True)
class Budget:
    """What every trial of a study gets: `steps`, or `seconds` of training."""

    steps: int | None = None
    seconds: float | None = None

    def train_config(self, train: TrainConfig, context: int, seed: int, threads: int | None) -> TrainConfig:
        """The trial's training: short, evaluated a few times on a part of the split, never stopped early."""
        if self.steps is not None:
            trained = self.steps * TrainConfig().batch_size * context
            chars = EVALUATION_SHARE / FORWARD_SHARE * trained / TRIAL_EVALUATIONS
        else:
            assert self.seconds is not None
            chars = CHARS_PER_SECOND * self.seconds
        return train.replace(
            steps=self.steps,
            minutes=None if self.seconds is None else self.seconds / 60,
            evaluations=TRIAL_EVALUATIONS if self.steps is None else min(TRIAL_EVALUATIONS, self.steps),
            eval_chars=max(FEWEST_CHARS, int(chars)),
            patience=None,
            seed=seed,
            threads=threads,
        )


@dataclass(frozen=True)
class Task:
    """All that a worker must know to run one trial; it travels to other processes and machines."""

    tid: int
    point: dict[str, Any]
    corpus: dict[str, Any]  # Corpus.describe()
    limits: Limits
    budget: Budget
    seed: int = 0
    threads: int | None = 1
    out: str | None = None  # folder for the trained model


def run_trial(task: Task) -> dict[str, Any]:
    """Trains one point. `loss` is in nats per character, None where it failed, with a `reason`."""
    curve: list[tuple[float, float]] = []

    def record(values: dict[str, Any]) -> None:
        if "val_loss" in values:
            curve.append((round(values["seconds"], 3), values["val_loss"]))

    try:
        run = _train(task, record)
    except DivergenceError as error:
        return {"loss": None, "reason": f"diverged at step {error.step}", "steps": error.step, "curve": curve}
    except (MinilmError, MemoryError) as error:
        return {"loss": None, "reason": str(error) or "out of memory", "curve": curve}
    result = run.result
    return {
        "loss": result["val_loss"],
        "curve": curve,
        "n_parameters": result["n_parameters"],
        "steps": result["steps"],
        "seconds": result["seconds"],
        "tokens_per_second": result["tokens_seen"] / max(result["seconds"], 1e-9),
    }


def _train(task: Task, record: Any) -> Run:
    corpus = _corpus(json.dumps(task.corpus, sort_keys=True))
    model, train = to_configs(task.point, corpus.tokenizer.vocab_size, task.limits)
    config = task.budget.train_config(train, ModelConfig(vocab_size=1).block_size, task.seed, task.threads)
    if task.out is not None:
        shutil.rmtree(task.out, ignore_errors=True)  # left by a worker that was killed
    return run_training(corpus, model, config, task.out, test=False, on_record=record)


@lru_cache(maxsize=1)  # a worker serves one study
def _corpus(description: str) -> Corpus:
    return load_described(json.loads(description))


def prepare(corpus: dict[str, Any], threads: int | None = 1) -> None:
    """Loads the text and takes a first tiny step, so that no trial pays for what is slow only once."""
    loaded = _corpus(json.dumps(corpus, sort_keys=True))
    tiny = ModelConfig(vocab_size=loaded.tokenizer.vocab_size, block_size=1, n_layer=1, n_head=1, n_embd=2)
    config = TrainConfig(steps=1, batch_size=1, evaluations=1, eval_chars=1, threads=threads)
    run_training(loaded, tiny, config, test=False)


def machine() -> tuple[Hardware, int]:
    """What this process would train on, and the physical cores of the machine."""
    return choose_hardware(TrainConfig()), physical_cores()


def train_final(
    corpus: Corpus,
    point: Mapping[str, Any],
    limits: Limits,
    budget: Budget,
    seed: int,
    out: Path | None,
    deadline: float | None,
    on_record: Any = None,
) -> Run:
    """The chosen configuration with the whole machine and all evaluations; reads the test split, once."""
    model, train = to_configs(point, corpus.tokenizer.vocab_size, limits)
    minutes = None if budget.seconds is None else budget.seconds / 60
    config = train.replace(steps=budget.steps, minutes=minutes, seed=seed)
    return run_training(corpus, model, config, out, deadline=deadline, on_record=on_record)


def finish_trial(folder: Path, corpus: Corpus, chars: int | None = None) -> Run:
    """A trial's model as the final one: scored on both splits like any other final model."""
    run = load_run(folder)
    losses = {
        f"{name}_loss": exact_loss(run.model, tokens, before=int(corpus.tokens[end - 1]), chars=chars)
        for name, tokens, end in zip(("val", "test"), (corpus.val, corpus.test), corpus.bounds, strict=True)
    }
    protocol = "exact" if chars is None else f"exact windows, {chars} characters of each split"
    run.result = {**run.result, **losses, "protocol": protocol}
    files.write_json(folder / RESULT, run.result)
    return run


def validation_loss(run: Run, corpus: Corpus) -> float:
    """The exact loss of a run's model on the whole validation split, nats per character."""
    return exact_loss(run.model, corpus.val, before=int(corpus.tokens[corpus.bounds[0] - 1]))


def sample_text(run: Run, characters: int, seed: int, deadline: float | None = None) -> str:
    """What the model writes from nothing; shorter where the deadline is near."""
    import torch

    from minilm.sampling import stream_text

    generator = torch.Generator(device=next(run.model.parameters()).device).manual_seed(seed)
    pieces: list[str] = []
    for piece in stream_text(
        run.model,
        run.tokenizer,
        "\n" if "\n" in run.tokenizer.characters else "",
        characters,
        temperature=0.8,
        generator=generator,
    ):
        pieces.append(piece)
        if deadline is not None and time.monotonic() > deadline:
            break
    return "".join(pieces).strip("\n")


def train_model(params: Mapping[str, Any] | None = None, **settings: Any) -> dict[str, Any]:
    """See `minilm.tune.train_model`."""
    point = named_values({**(params or {}), **settings})
    corpus = load_corpus(os.environ.get("MINILM_CORPUS", "fables"))
    task = Task(
        0, point, corpus.describe(), limits_for(len(corpus.train)), Budget(steps=trial_steps()), threads=None
    )
    to_configs(
        point, corpus.tokenizer.vocab_size
    )  # a misspelt name is the caller's mistake, not a failed trial
    answer = run_trial(task)
    status = "fail" if answer["loss"] is None else "ok"
    return {
        **{key: value for key, value in answer.items() if value is not None},
        "status": status,
        "params": point,
    }


def trial_steps() -> int:
    """Steps of a trial with a fixed budget: MINILM_TRIAL_STEPS, or TRIAL_STEPS."""
    given = os.environ.get("MINILM_TRIAL_STEPS", str(TRIAL_STEPS))
    if not given.isdecimal() or int(given) < 1:
        raise ConfigError(f"MINILM_TRIAL_STEPS must be a whole number from 1 up, got {given!r}")
    return int(given)


def named_values(params: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a trial in Python's own numbers, whether Hyperopt evaluated them or not.

    `fmin` returns hp.choice as an index. A hidden size below 8 can only be one, and is read, together with
    num_layers, as an index of the choices of the usual example, DOCUMENT_CHOICES.

    >>> import numpy as np
    >>> named_values({"hidden_size": np.int64(1), "num_layers": np.int64(2)})
    {'hidden_size': 128, 'num_layers': 6}
    >>> named_values({"hidden_size": np.float64(64.0), "num_layers": np.float64(2.0)})
    {'hidden_size': 64, 'num_layers': 2}
    """
    from minilm.tuner.propose import plain

    values = plain(dict(params))
    hidden = values.get("hidden_size")
    if isinstance(hidden, int) and hidden < SMALLEST_HIDDEN:
        values.update({name: _choice(name, values[name]) for name in DOCUMENT_CHOICES if name in values})
    return values


def _choice(name: str, index: Any) -> int:
    choices = DOCUMENT_CHOICES[name]
    if not isinstance(index, int) or not 0 <= index < len(choices):
        raise ConfigError(
            f"{name}={index!r} looks like an index of hp.choice, which only its space can resolve; "
            "pass hyperopt.space_eval(space, best)"
        )
    return choices[index]
