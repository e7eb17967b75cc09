"""Computes one trial: a point goes in, a validation loss comes out.

`run_leg` is what workers run; `train_model` is the same for Hyperopt's own `fmin`. Neither decides anything, and a
training that diverges or does not fit is an answer here, not an exception. The machine is measured here too.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from minilm.config import ModelConfig, TrainConfig, default_recipe
from minilm.errors import ConfigError, DivergenceError, MinilmError
from minilm.text.corpora import Corpus, load_corpus, load_described
from minilm.training.checkpoint import CHECKPOINT
from minilm.training.hardware import Hardware, choose_hardware, free_bytes, physical_cores
from minilm.training.pace import step_seconds
from minilm.training.probe import raced
from minilm.training.run import Run
from minilm.training.session import run_training
from minilm.tuner.legs import HOLD, Part, leg_parts
from minilm.tuner.rungs import Ladder
from minilm.tuner.settings import Budget, trial_steps
from minilm.tuner.space import Limits, limits_for, repaired, to_configs

# an index of hp.choice in the document's own space, see `train_model`
DOCUMENT_CHOICES: dict[str, tuple[int, ...]] = {"num_layers": (2, 4, 6), "hidden_size": (64, 128, 256)}
SMALLEST_HIDDEN = 8


@dataclass(frozen=True)
class Task:
    """All that a worker must know to run one leg of a trial; it travels to other processes and machines."""

    point: dict[str, Any]
    corpus: dict[str, Any]  # Corpus.describe()
    limits: Limits
    parts: tuple[Part, ...]
    seed: int = 0
    threads: int | None = 1
    out: str | None = None  # the trial's folder; each part leaves its model and checkpoint in one below
    start: str | None = None  # checkpoint to continue from


def run_leg(task: Task) -> dict[str, Any]:
    """Trains one point for one leg. `loss` is the last one, in nats per character, None where it failed, with a
    `reason`.

    Pure and idempotent: the task and the checkpoint it starts from decide the answer (by count, on one machine, to the
    bit), and running it again replaces what a worker that was killed has left. `held` are the seconds after which the
    learning rate began to fall.
    """
    leg = _Leg()
    try:
        start = task.start
        for part in task.parts:
            run = leg.train(task, part, start)
            start = None if run.folder is None else str(run.folder / CHECKPOINT)
    except DivergenceError as error:
        return {"loss": None, "reason": f"diverged at step {leg.steps + error.step}", **leg.facts()}
    except (MinilmError, MemoryError) as error:
        return {"loss": None, "reason": str(error) or "out of memory", **leg.facts()}
    return {"loss": leg.curve[-1][1], "n_parameters": run.result["n_parameters"], **leg.facts()}


@dataclass
class _Leg:
    """What the parts of a leg have come to so far."""

    steps: int = 0
    seconds: float = 0.0
    tokens: int = 0
    held: float | None = None
    curve: list[tuple[float, float]] = field(default_factory=list)  # (seconds, validation loss)

    def train(self, task: Task, part: Part, start: str | None) -> Run:
        offset = self.seconds

        def record(values: dict[str, Any]) -> None:
            if "val_loss" in values:
                self.curve.append((round(offset + values["seconds"], 3), values["val_loss"]))

        corpus = _corpus(json.dumps(task.corpus, sort_keys=True))
        model, train = to_configs(task.point, corpus.tokenizer.vocab_size, task.limits)
        config = part.config(train, task.seed, task.threads)
        out = None if task.out is None else Path(task.out) / part.folder
        if out is not None:
            shutil.rmtree(out, ignore_errors=True)  # left by a worker that was killed
        run = run_training(corpus, model, config, out, start=start, test=False, on_record=record)
        self.steps += run.result["steps"]
        self.seconds += run.result["seconds"]
        self.tokens += run.result["tokens_seen"]
        self.held = self.seconds if part.folder == HOLD else self.held
        return run

    def facts(self) -> dict[str, Any]:
        speed = self.tokens / max(self.seconds, 1e-9)
        facts = {"steps": self.steps, "seconds": self.seconds, "tokens_per_second": speed, "held": self.held}
        return {"curve": self.curve, **facts}


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
    """The hardware that this process would use, and the physical cores of the machine."""
    return choose_hardware(TrainConfig()), physical_cores()


def pace(vocab_size: int, block_size: int, cores: int) -> dict[str, float]:
    """Threads -> seconds of one step of the default recipe: on one core, and on all of them where there are more."""
    shape, train = default_recipe(vocab_size)
    shape = shape.replace(block_size=min(shape.block_size, block_size))
    found = {}
    for threads in sorted({1, cores}):
        config = train.replace(threads=threads)
        found[str(threads)] = step_seconds(shape, config, choose_hardware(config, shape.attention))
    return found


def timed_steps(
    points: Sequence[Mapping[str, Any]], vocab_size: int, limits: Limits, minutes: float
) -> list[tuple[ModelConfig, TrainConfig, float]]:
    """What the points mean, and the seconds of one step of each: on all cores, in the precision that a training of so
    many minutes would choose."""
    found = []
    for point in points:
        model, train = to_configs(point, vocab_size, limits)
        batch = (train.batch_size, model.block_size)
        hardware = raced(
            choose_hardware(train, model.attention), model, train.replace(minutes=minutes), batch
        )
        found.append((model, train, step_seconds(model, train, hardware)))
    return found


def memory(device: str) -> int | None:
    """Free bytes for trainings, where the system tells."""
    return free_bytes(device)


def sample_text(run: Run, characters: int, seed: int, deadline: float | None = None) -> str:
    """What the model writes from nothing; shorter where the deadline is near."""
    import torch

    from minilm.writing import stream_text

    generator = torch.Generator().manual_seed(seed)
    pieces: list[str] = []
    for piece in stream_text(run.model, run.tokenizer, "", characters, temperature=0.8, generator=generator):
        pieces.append(piece)
        if deadline is not None and time.monotonic() > deadline:
            break
    return "".join(pieces).strip("\n")


def train_model(params: Mapping[str, Any] | None = None, **settings: Any) -> dict[str, Any]:
    """See `minilm.tune.train_model`."""
    point = named_values({**(params or {}), **settings})
    corpus = load_corpus(os.environ.get("MINILM_CORPUS", "fables"))
    V, limits = corpus.tokenizer.vocab_size, limits_for(len(corpus.train))
    to_configs(point, V)  # a misspelt name is the caller's mistake, not a failed trial
    point = repaired(point, V, limits)
    parts = leg_parts(Budget(steps=trial_steps()), Ladder((1.0,)), 0, to_configs(point, V)[1])
    answer = run_leg(Task(point, corpus.describe(), limits, parts, threads=None))
    status = "fail" if answer["loss"] is None else "ok"
    return {
        **{key: value for key, value in answer.items() if value is not None},
        "status": status,
        "params": point,
    }


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
