"""Trains: batch, loss, gradient, step, again until the clock says enough; then the best weights.

It knows a model that returns (loss, logits) and two arrays of tokens; no texts, and of a run folder two files.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn

from minilm.config import TrainConfig
from minilm.signals import patient, unless_stopped
from minilm.text.batches import Batches
from minilm.training import checkpoint
from minilm.training.checkpoint import CHECKPOINT, weights
from minilm.training.clock import Clock, State, Stop
from minilm.training.evaluate import exact_loss
from minilm.training.hardware import Hardware, Readings, compile_now, loss_function, speed_up
from minilm.training.optim import build_optimizer, schedule


class Trainer:
    """Trains `model` in place by `fit()`; after `checkpoint.resume` it goes on from the checkpoint in `folder`.
    `val` is what `exact_loss` takes of the validation split; `on_record` gets each record, in seconds and nats, of
    the validation per character, of the training per token."""

    def __init__(
        self,
        model: Any,
        train_tokens: np.ndarray,
        val: dict[str, Any],
        config: TrainConfig,
        hardware: Hardware,
        clock: Clock,
        *,
        folder: Path | None = None,
        on_record: Callable[[dict[str, Any]], None] | None = None,
    ) -> None:
        self.model, self.shape = model.to(hardware.device), model.config
        self.config, self.val, self.clock, self.folder, self.on_record = config, val, clock, folder, on_record
        device = None if hardware.device == "cpu" else hardware.device
        self.batches = Batches(train_tokens, self.shape.block_size, config.batch_size, config.seed, device)
        self.optimizer = speed_up(build_optimizer(self.model, config, hardware.precision))
        self.loss_of = loss_function(self.model, hardware.precision, hardware.compiled)
        self.readings, self.state, self.best = Readings(), State(), dict[str, Tensor]()
        shape = (config.batch_size, self.shape.block_size)
        self.compile_seconds = compile_now(self.loss_of, self.model, shape) if hardware.compiled else 0.0

    def fit(self) -> Stop:
        """Runs until the clock or Ctrl-C ends it and says which; then the model holds the best weights. Raises
        DivergenceError before a bad step has touched them."""
        model, config, clock, s = self.model, self.config, self.clock, self.state
        clock.open(self.evaluate)
        with patient() as interrupted:
            while True:
                stop = Stop.INTERRUPTED if interrupted() else clock.stop(s.step, s.stale)
                if stop is Stop.INTERRUPTED:
                    self.save()
                    break
                if s.evaluated_step < s.step and (stop or clock.evaluation_due(s.step)):
                    started, val_loss = time.monotonic(), self.evaluate(clock.eval_chars)
                    if val_loss is None:
                        continue
                    improved = clock.improved(s, val_loss)
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
        if not self.best:  # interrupted before the first evaluation: the weights so far
            self.keep_best()
        checkpoint.load_weights(model, self.best, "the best step")
        model.eval()
        return stop

    def evaluate(self, chars: int | None) -> float | None:
        return unless_stopped(lambda: exact_loss(self.model, **self.val, chars=chars))

    def keep_best(self) -> None:
        self.best = {name: tensor.detach().cpu().clone() for name, tensor in weights(self.model).items()}
        if self.folder is not None:
            checkpoint.save_weights(self.folder, self.best, self.state)

    def record(self, val_loss: float | None = None) -> None:
        self.read(self.readings.drain())
        values = self.clock.record(self.state, val_loss)
        if self.on_record is not None:
            self.on_record(values)

    def read(self, readings: list[tuple[int, float, float, float]]) -> None:
        """Adds each (step, rate, loss, norm) to the next record, or raises DivergenceError."""
        for step, rate, loss, norm in readings:
            self.clock.check(step, rate, loss, norm)
            self.state.loss_sum, self.state.loss_count = self.state.loss_sum + loss, self.state.loss_count + 1

    def save(self) -> None:
        self.read(self.readings.drain())
        if self.folder is not None:
            state = {**asdict(self.state), **self.clock.state(), "batches": self.batches.state()}
            state["config"] = self.config.to_dict()
            checkpoint.save_checkpoint(self.folder / CHECKPOINT, self.model, self.optimizer, state)
