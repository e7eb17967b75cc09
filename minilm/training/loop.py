"""Trains: batch, loss, gradient, step, again until the clock says enough; then the best weights.

It knows a model that returns (loss, logits) and two arrays of tokens; no texts and no tokenizers, no run folder beyond
the two files it keeps (best weights, checkpoint). Records go to a callback.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn

from minilm import files
from minilm.config import TrainConfig
from minilm.errors import DivergenceError, RunError
from minilm.text.batches import Batches
from minilm.training.checkpoint import (
    CHECKPOINT,
    WEIGHTS,
    differences,
    load_checkpoint,
    load_weights,
    save_checkpoint,
    weights,
)
from minilm.training.clock import Clock, Stop, interruptible
from minilm.training.evaluate import exact_loss
from minilm.training.hardware import Hardware, Readings, compile_now, loss_function, speed_up
from minilm.training.optim import build_optimizer, schedule

SETTLING_STEPS = 10  # a first loss may be anything; after these it may not exceed
DIVERGED = 3.0  # ... this many times the loss of a blind guess, ln(V)


@dataclass
class State:
    """The counters of a run; plain JSON in the checkpoint, as the clock's own."""

    step: int = 0
    tokens_seen: int = 0
    best_loss: float | None = None  # nats per character
    best_step: int = 0
    stale: int = 0  # evaluations since the best one
    evaluated_step: int = -1
    loss_sum: float = 0.0  # since the last record
    loss_count: int = 0
    train_loss: float | None = None  # of the last record
    learning_rate: float = 0.0  # of the last update


class Trainer:
    """Trains `model` in place. `fit()` once; `resume()` before it goes on from the folder's checkpoint.

    `before` is the token in front of the validation split. `on_record` gets each metrics record: nats per character,
    seconds since the start. Afterwards `best` holds the best weights, and the model too.
    """

    def __init__(
        self,
        model: Any,
        train_tokens: np.ndarray,
        val_tokens: np.ndarray,
        config: TrainConfig,
        hardware: Hardware,
        clock: Clock,
        *,
        before: int | None = None,
        folder: Path | None = None,
        on_record: Callable[[dict[str, Any]], None] | None = None,
    ) -> None:
        self.model, self.shape = model.to(hardware.device), model.config
        self.config, self.hardware, self.clock = config, hardware, clock
        self.val_tokens, self.before, self.folder, self.on_record = val_tokens, before, folder, on_record
        device = None if hardware.device == "cpu" else hardware.device
        self.batches = Batches(train_tokens, self.shape.block_size, config.batch_size, config.seed, device)
        self.optimizer = speed_up(build_optimizer(self.model, config, hardware.precision))
        self.loss_of = loss_function(self.model, hardware.precision, hardware.compiled)
        self.readings, self.state = Readings(), State()
        self.best: dict[str, Tensor] = {}
        self.compile_seconds = 0.0  # part of the clock's

    def fit(self) -> Stop:
        """Runs until the clock, patience or Ctrl-C ends it and says which; then the model holds the best weights.

        Raises DivergenceError before a bad step has touched the weights.
        """
        model, config, clock, s = self.model, self.config, self.clock, self.state
        if self.hardware.compiled:
            self.compile_seconds = compile_now(
                self.loss_of, model, (config.batch_size, self.shape.block_size)
            )
        clock.open(self.evaluate)
        with interruptible() as interrupted:
            while True:
                stop = clock.stop(s.step, s.stale)
                if s.evaluated_step < s.step and (stop or clock.evaluation_due(s.step)):
                    started, val_loss = time.monotonic(), self.evaluate(clock.eval_chars)
                    improved = self.compare(val_loss)
                    self.record(val_loss)
                    self.save()  # before the best weights: `resume` can make those from it, not the reverse
                    if improved:
                        self.keep_best()
                    clock.evaluation_seconds = time.monotonic() - started
                    continue  # time has gone by
                if stop:
                    break
                started = time.monotonic()
                rate = config.learning_rate * schedule(config, clock.progress(s.step, ahead=1.0))
                model.train()
                ids, targets = self.batches.next()  # (B, T) each
                self.optimizer.zero_grad()
                loss = self.loss_of(ids, targets)  # (), which is model(ids, targets=targets).loss
                loss.backward()
                norm = nn.utils.clip_grad_norm_(model.parameters(), config.grad_clip)  # ()
                self.read(self.readings.put(s.step + 1, rate, loss, norm))  # before the weights are touched
                self.optimizer.step(rate)
                s.step, s.tokens_seen, s.learning_rate = s.step + 1, s.tokens_seen + ids.numel(), rate
                clock.step_took(time.monotonic() - started, s.step)
                if clock.record_due(s.step) and not clock.evaluation_due(s.step):
                    self.record()
                if interrupted():
                    self.save()
                    stop = Stop.INTERRUPTED
                    break
        if not self.best:  # interrupted before the first evaluation: the weights so far
            self.keep_best()
        load_weights(model, self.best, "the best step")
        model.eval()
        return stop

    def evaluate(self, chars: int | None) -> float:
        return exact_loss(self.model, self.val_tokens, before=self.before, chars=chars)

    def compare(self, loss: float) -> bool:
        """Whether a validation loss is the best so far."""
        s = self.state
        s.evaluated_step, improved = (
            s.step,
            math.isfinite(loss) and (s.best_loss is None or loss < s.best_loss),
        )
        if improved:
            s.best_loss, s.best_step, s.stale = loss, s.step, 0
        else:
            self.check(s.step + 1, s.learning_rate, loss)
            s.stale += 1
        return improved

    def keep_best(self) -> None:
        self.best = {name: tensor.detach().cpu().clone() for name, tensor in weights(self.model).items()}
        if self.folder is not None:
            about = json.dumps({"step": self.state.best_step, "val_loss": self.state.best_loss})
            files.write_tensors(self.folder / WEIGHTS, self.best, {"best": about})

    def record(self, val_loss: float | None = None) -> None:
        """Hands the numbers since the last record to whoever listens."""
        self.read(self.readings.drain())
        s, clock = self.state, self.clock
        s.train_loss = s.loss_sum / s.loss_count if s.loss_count else s.train_loss
        s.loss_sum, s.loss_count = 0.0, 0
        names = ("step", "learning_rate", "train_loss")
        values = {"progress": clock.progress(s.step), "seconds": clock.earlier + clock.seconds()}
        values |= {name: getattr(s, name) for name in names}
        clock.recorded(s.step)
        if val_loss is not None:
            values["val_loss"] = val_loss
            clock.evaluated(s.step)
        if self.on_record is not None:
            self.on_record(values)

    def read(self, readings: list[tuple[int, float, float, float]]) -> None:
        """Adds each (step, rate, loss, norm) to the next record, where they are sound."""
        for step, rate, loss, norm in readings:
            self.check(step, rate, loss, norm)
            self.state.loss_sum, self.state.loss_count = self.state.loss_sum + loss, self.state.loss_count + 1

    def check(self, step: int, rate: float, loss: float, norm: float = 0.0) -> None:
        """Raises DivergenceError where a training has left the numbers that lead anywhere."""
        if not math.isfinite(loss):
            what = f"the loss became {loss}"
        elif not math.isfinite(norm):
            what = f"the gradient's norm became {norm}"
        elif step > SETTLING_STEPS and loss > DIVERGED * math.log(max(2, self.shape.vocab_size)):
            what = f"the loss rose to {loss:.3g} nats per token, {DIVERGED:g} times a blind guess"
        else:
            return
        self.optimizer.zero_grad()
        raise DivergenceError(
            f"training diverged at step {step} with learning rate {rate:.3g}: {what}; "
            f"try learning_rate={self.config.learning_rate / 10:.2g}",
            step=step,
            learning_rate=rate,
        )

    def save(self) -> None:
        """Writes the checkpoint, where there is a folder."""
        self.read(self.readings.drain())
        if self.folder is not None:
            state = {**asdict(self.state), **self.clock.state(), "batches": self.batches.state()}
            state["config"] = self.config.to_dict()
            save_checkpoint(self.folder / CHECKPOINT, self.model, self.optimizer, state)

    def resume(self, checkpoint: Path | None = None) -> int:
        """Goes back to the checkpoint in the folder and returns its step. From the `checkpoint` of another training
        come weights, optimizer and place in the text alone; clock and counters start anew."""
        assert checkpoint or self.folder
        path = checkpoint or Path(self.folder or "") / CHECKPOINT
        state = load_checkpoint(path, self.model, self.optimizer)
        self.batches.restore(state["batches"])
        if checkpoint is not None:
            return 0
        self.state = s = State(**{field.name: state[field.name] for field in fields(State)})
        self.clock.restore(state)
        if state.get("leg", 0) < self.clock.leg:
            s.stale = 0
        elif changed := differences(self.config.without_removed(state["config"]), self.config.to_dict()):
            raise RunError(f"cannot resume {self.folder} with other settings: {changed}; use the old ones")
        if s.best_loss is not None:
            if s.best_step == s.step:  # killed after the checkpoint, before the best weights
                self.keep_best()
            else:
                self.best, _ = files.read_tensors(path.with_name(WEIGHTS))
        return s.step
