"""The training loop: batch, loss, gradient, step; again until the budget is spent; then the best weights.

Knows a model that returns (loss, logits) and two arrays of tokens. It refuses to know texts, tokenizers, run
folders beyond the two files it keeps (best weights, checkpoint), and who watches: records go to a callback.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from minilm import files
from minilm.config import TrainConfig
from minilm.errors import DivergenceError, RunError
from minilm.text.batches import Batches
from minilm.training.budget import RECORDS, Budget, affordable_chars, next_moment
from minilm.training.checkpoint import differences, load_checkpoint, load_weights, save_checkpoint, weights
from minilm.training.evaluation import TOKENS_PER_BATCH, exact_loss
from minilm.training.hardware import Hardware
from minilm.training.interrupts import interruptible
from minilm.training.optim import build_optimizer
from minilm.training.precision import Passes
from minilm.training.readings import Reading, Readings
from minilm.training.schedules import factor

WEIGHTS, CHECKPOINT = "model.safetensors", "checkpoint.safetensors"
SETTLING_STEPS = 10  # a first loss may be anything; after these it may not exceed
DIVERGED = 3.0  # ... this many times the loss of a blind guess, ln(V)


class Stop(Enum):
    """Why a run ended."""

    FINISHED = "finished"
    EARLY = "early"
    DEADLINE = "deadline"


@dataclass(frozen=True)
class TrainResult:
    best_val_loss: float  # nats per character
    best_step: int
    steps: int
    seconds: float
    stopped: Stop
    tokens_seen: int
    compile_seconds: float = 0.0  # part of `seconds`


@dataclass
class State:
    """All counters of a run that are not tensors; plain JSON in the checkpoint."""

    step: int = 0
    seconds: float = 0.0
    tokens_seen: int = 0
    best_loss: float | None = None
    best_step: int = 0
    stale: int = 0  # evaluations since the best one
    evaluated_step: int = -1
    loss_sum: float = 0.0  # since the last record
    loss_count: int = 0
    train_loss: float | None = None  # of the last record
    learning_rate: float = 0.0  # of the last update
    next_evaluation: float = 0.0
    next_record: float = 0.0
    eval_chars: int | None = None
    evaluation_seconds: float = 0.0
    step_seconds: float | None = None
    batches: dict[str, int] = field(default_factory=dict)


class Trainer:
    """Trains `model` in place. `fit()` once; `resume()` before it goes on from the folder's checkpoint.

    `before` is the token in front of the validation split. `deadline` is a moment of `time.monotonic()` by
    which `fit` has returned; `chars_after` says how many characters the caller wants to score before then;
    `most_steps` end a run by the clock that comes so far.
    `on_record` gets each metrics record: nats per character, seconds since the start.
    """

    def __init__(
        self,
        model: nn.Module,
        train_tokens: np.ndarray,
        val_tokens: np.ndarray,
        config: TrainConfig,
        hardware: Hardware,
        *,
        before: int | None = None,
        folder: Path | None = None,
        deadline: float | None = None,
        most_steps: int | None = None,
        chars_after: int = 0,
        on_record: Callable[[dict[str, Any]], None] | None = None,
    ) -> None:
        self._started = time.monotonic()  # here: setting up is part of a budget in minutes
        self.model = model.to(hardware.device)
        self.config, self.hardware, self.folder = config, hardware, folder
        self.val_tokens, self.before, self.chars_after = val_tokens, before, chars_after
        self.deadline, self.on_record = deadline, on_record
        shape: Any = getattr(model, "config")  # noqa: B009 (nn.Module hides the attribute from mypy)
        self.ceiling = DIVERGED * math.log(max(2, shape.vocab_size))
        device = None if hardware.device == "cpu" else hardware.device
        self.batches = Batches(train_tokens, shape.block_size, config.batch_size, config.seed, device)
        self.optimizer = build_optimizer(self.model, config, hardware.precision)
        self.passes = Passes(self.model, hardware.precision, hardware.compiled)
        self.readings = Readings()
        self.compile_seconds = 0.0
        self.budget = Budget(config, most_steps=most_steps)
        self.state = State(eval_chars=config.eval_chars)
        self.best: dict[str, Tensor] = {}

    def fit(self) -> TrainResult:
        """Runs to the end of the budget. Afterwards the model holds the weights of the best evaluation.

        Raises DivergenceError before a bad step has touched the weights, and KeyboardInterrupt after the step
        in progress and a checkpoint.
        """
        with interruptible() as interrupted:
            if self.hardware.compiled:
                self._compile()
            self._open_budget()
            while (stop := self._stop()) is None:
                self._update()
                self._record_if_due()
                if interrupted():
                    self.save()
                    raise KeyboardInterrupt
            if self.state.evaluated_step != self.state.step:
                self._evaluate()
        load_weights(self.model, self.best, "the best step")
        self.model.eval()
        s = self.state
        assert s.best_loss is not None
        spent = self.compile_seconds
        return TrainResult(s.best_loss, s.best_step, s.step, self._seconds(), stop, s.tokens_seen, spent)

    def start_from(self, checkpoint: Path) -> None:
        """Weights, optimizer and place in the text of another training; the clock and the counters start anew."""
        state = load_checkpoint(checkpoint, self.model, self.optimizer)
        self.batches.restore(state["batches"])

    def resume(self) -> int:
        """Goes back to the checkpoint in the folder and returns its step; without one, RunError."""
        assert self.folder is not None
        values = load_checkpoint(self.folder / CHECKPOINT, self.model, self.optimizer)
        theirs = TrainConfig.from_dict(values.pop("config")).to_dict()
        if changed := differences(theirs, self.config.to_dict()):
            raise RunError(f"cannot resume {self.folder} with other settings: {changed}; use the old ones")
        self.state = State(**values)
        self.batches.restore(self.state.batches)
        if self.state.best_loss is None:  # interrupted before the first evaluation
            self.best = {}
        elif self.state.best_step == self.state.step:  # killed after the checkpoint, before the best weights
            self._keep_best()
        else:
            self.best, _ = files.read_tensors(self.folder / WEIGHTS)
        self._started = time.monotonic() - self.state.seconds
        return self.state.step

    def save(self) -> None:
        """Writes the checkpoint, where there is a folder."""
        self._read(self.readings.drain())
        if self.folder is None:
            return
        self.state.seconds, self.state.batches = self._seconds(), self.batches.state()
        state = {**asdict(self.state), "config": self.config.to_dict()}
        save_checkpoint(self.folder / CHECKPOINT, self.model, self.optimizer, state)

    def _seconds(self) -> float:
        return time.monotonic() - self._started

    def _compile(self) -> None:
        """Compiles now, on the budget's time, so that no step is timed with it."""
        shape: Any = getattr(self.model, "config")  # noqa: B009
        ids = torch.zeros(
            self.config.batch_size, shape.block_size, dtype=torch.int64, device=self.hardware.device
        )
        self.compile_seconds = self.passes.warm_up(ids)

    def _open_budget(self) -> None:
        """Fixes the end of the run and, where that is a time, prices an evaluation."""
        minutes = self.config.minutes
        limits = [60 * minutes] if minutes is not None else []
        limits += [self.deadline - self._started] if self.deadline is not None else []
        self.budget.total = max(min(limits), 1e-6) if limits else None
        self.budget.step_seconds = self.state.step_seconds
        if self.budget.total is not None and self.state.evaluation_seconds == 0:
            self._price_evaluation(self.budget.total)
        self._price(self.state.evaluation_seconds)
        if self.state.step == 0:
            self.state.next_evaluation = self.budget.evaluation_spacing()

    def _price_evaluation(self, total: float) -> None:
        chars = min(TOKENS_PER_BATCH, len(self.val_tokens), self.state.eval_chars or TOKENS_PER_BATCH)
        for _ in range(2):  # the first call pays for warming up
            started = time.monotonic()
            exact_loss(self.model, self.val_tokens, before=self.before, chars=chars)
            each = (time.monotonic() - started) / chars
        wanted = len(self.val_tokens) if self.state.eval_chars is None else self.state.eval_chars
        wanted = min(wanted, len(self.val_tokens))
        if (fewer := affordable_chars(wanted, each, self.chars_after, total)) is not None:
            self.state.eval_chars = wanted = min(wanted, fewer)
        self.state.evaluation_seconds = each * wanted

    def _price(self, seconds: float) -> None:
        self.state.evaluation_seconds = self.budget.evaluation_seconds = seconds
        cap = self.state.eval_chars
        val, after = (n if cap is None else min(n, cap) for n in (len(self.val_tokens), self.chars_after))
        self.budget.final_seconds = seconds * (1 + after / val)

    def _stop(self) -> Stop | None:
        s, patience = self.state, self.config.patience
        if self.budget.finished(s.step):
            return Stop.FINISHED
        if patience is not None and s.stale >= patience:
            return Stop.EARLY
        if s.step and self.budget.time_is_up(self._seconds()):  # one step at least, or there is no result
            own = self.config.minutes is not None and self.budget.total == 60 * self.config.minutes
            return Stop.FINISHED if own else Stop.DEADLINE
        return None

    def _update(self) -> None:
        started, s = time.monotonic(), self.state
        rate = self.config.learning_rate * factor(
            self.config, self.budget.next_update(s.step, self._seconds())
        )
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["share"]
        self._gradient(rate)
        self.optimizer.step()
        s.step, s.learning_rate = s.step + 1, rate
        took = time.monotonic() - started
        # the first step pays for warming up and is forgotten; then a moving mean
        s.step_seconds = took if s.step <= 2 or s.step_seconds is None else 0.9 * s.step_seconds + 0.1 * took
        self.budget.step_seconds = s.step_seconds

    def _gradient(self, rate: float) -> None:
        """Fills the gradients from the next batch, clipped; on a CPU they and the loss are known to be sound."""
        self.model.train()
        ids, targets = self.batches.next()  # (B, T) each
        self.optimizer.zero_grad()
        loss = self.passes.gradients(ids, targets)
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.config.grad_clip)
        self._read(self.readings.put(self.state.step + 1, rate, loss, norm))
        self.state.tokens_seen += ids.numel()

    def _read(self, readings: list[Reading]) -> None:
        for step, rate, loss, norm in readings:
            self._check(loss, norm, rate, step)
            self.state.loss_sum, self.state.loss_count = self.state.loss_sum + loss, self.state.loss_count + 1

    def _check(self, loss: float, norm: float, rate: float, step: int) -> None:
        if not math.isfinite(loss):
            what = f"the loss became {loss}"
        elif not math.isfinite(norm):
            what = f"the gradient's norm became {norm}"
        elif step > SETTLING_STEPS and loss > self.ceiling:
            what = f"the loss rose to {loss:.3g} nats per character, {DIVERGED:g} times a blind guess"
        else:
            return
        self.optimizer.zero_grad()
        raise DivergenceError(
            f"training diverged at step {step} with learning rate {rate:.3g}: {what}; "
            f"try --lr {self.config.learning_rate / 10:.2g}",
            step=step,
            learning_rate=rate,
        )

    def _record_if_due(self) -> None:
        progress = self.budget.progress(self.state.step, self._seconds())
        if progress >= self.state.next_evaluation - 1e-9:
            self._evaluate()
        elif progress >= self.state.next_record - 1e-9:
            self._record()

    def _record(self, val_loss: float | None = None) -> None:
        self._read(self.readings.drain())
        s, seconds = self.state, self._seconds()
        progress = self.budget.progress(s.step, seconds)
        s.train_loss = s.loss_sum / s.loss_count if s.loss_count else s.train_loss
        record = {
            "step": s.step,
            "progress": progress,
            "seconds": seconds,
            "learning_rate": s.learning_rate,
            "train_loss": s.train_loss,
        }
        s.loss_sum, s.loss_count = 0.0, 0
        s.next_record = next_moment(progress, 1 / RECORDS)
        if self.on_record is not None:
            self.on_record(record if val_loss is None else {**record, "val_loss": val_loss})

    def _evaluate(self) -> None:
        """Measures the validation loss, keeps the best weights and writes the checkpoint."""
        started, s = time.monotonic(), self.state
        loss = exact_loss(self.model, self.val_tokens, before=self.before, chars=s.eval_chars)
        improved = math.isfinite(loss) and (s.best_loss is None or loss < s.best_loss)
        if improved:
            s.best_loss, s.best_step, s.stale = loss, s.step, 0
        else:
            self._check(loss, 0.0, s.learning_rate, s.step + 1)
            s.stale += 1
        s.evaluated_step = s.step
        self._record(loss)
        s.next_evaluation = self.budget.next_evaluation(self.budget.progress(s.step, self._seconds()))
        self.save()  # before the best weights: `resume` can make those from the checkpoint, not the reverse
        if improved:
            self._keep_best()
        self._price(time.monotonic() - started)

    def _keep_best(self) -> None:
        self.best = {name: tensor.detach().cpu().clone() for name, tensor in weights(self.model).items()}
        if self.folder is not None:
            about = json.dumps({"step": self.state.best_step, "val_loss": self.state.best_loss})
            files.write_tensors(self.folder / WEIGHTS, self.best, {"best": about})
