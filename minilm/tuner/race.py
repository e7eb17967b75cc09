"""Compares the incumbent with the search's best trial over a longer training.

The incumbent, the recipe fitted to the minutes or else the default recipe, trains in a worker of its own from the first
second on, so that the search costs it little. The best trial continues from its checkpoint until the race is over.
Small models lead early and large ones late, so what counts is not who is ahead, but where both curves are heading. The
deciding is arithmetic on curves. This file knows folders of runs and workers; it builds no model.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minilm import files
from minilm.errors import RunError
from minilm.tuner.records import Trial
from minilm.tuner.workers import Pool

INCUMBENT = "incumbent"  # its folder, and its worker's name
METRICS, CHECKPOINT = "metrics.jsonl", "checkpoint.safetensors"
LEAD = 0.02  # nats per character: a forecast that is better by less may owe it to noise
TAIL = 3.0  # a forecast follows the points later than the last one's seconds divided by this

Curve = Sequence[Sequence[float]]  # (seconds of training, validation loss), in the order of time


@dataclass(frozen=True)
class RaceOutcome:
    """How a race ended: losses after `seconds` of training each, and where they are heading; None if unknown."""

    challenger: int  # the trials' numbers
    incumbent: int
    seconds: float
    challenger_loss: float | None
    incumbent_loss: float | None
    challenger_forecast: float | None
    incumbent_forecast: float | None
    won: bool  # by the challenger


class LongTraining:
    """The incumbent's long training, in a worker that may be stopped at any moment.

    It answers through its folder alone: the records and the checkpoint that the trainer keeps there.
    """

    def __init__(self, pool: Pool, folder: Path, function: Callable[..., Any], task: Any) -> None:
        self.folder = folder  # of the training's own run
        self.failed = False  # known once it is stopped: whether it had ended before, without a loss
        self._pool = pool
        self._future: Future = pool.submit(function, task)

    def stop(self) -> None:
        """Ends the training; its last checkpoint stays."""
        if not self._future.done():
            self._pool.kill(self._future)
            return
        self.failed = self._future.exception() is not None or self._future.result().get("loss") is None

    @property
    def checkpoint(self) -> Path | None:
        path = self.folder / CHECKPOINT
        return path if path.is_file() else None

    def curve(self) -> list[tuple[float, float]]:
        """The validation losses recorded so far; none where the folder is missing or damaged."""
        try:
            records = files.read_records(self.folder / METRICS)
        except RunError:
            return []
        return [(record["seconds"], record["val_loss"]) for record in records if "val_loss" in record]


def loss_at(curve: Curve, seconds: float) -> float | None:
    """The loss after that many seconds, on the straight line between its neighbours; None before the first.

    Past the last one it is the last one.

    >>> loss_at([(10, 3.0), (20, 2.0)], 15), loss_at([(10, 3.0), (20, 2.0)], 99), loss_at([(10, 3.0)], 5)
    (2.5, 2.0, None)
    """
    before = [point for point in curve if point[0] <= seconds]
    after = [point for point in curve if point[0] > seconds]
    if not before:
        return None
    if not after:
        return before[-1][1]
    (x0, y0), (x1, y1) = before[-1], after[0]
    return y0 + (y1 - y0) * (seconds - x0) / (x1 - x0)


def extrapolated(curve: Curve, seconds_ahead: float) -> float | None:
    """The loss to expect `seconds_ahead` beyond the curve's end, or None for an empty curve.

    A straight line over the logarithm of time through the curve's tail, by least squares; never above the last
    loss. Loss curves of one recipe bend a little from such a line, but alike.

    >>> round(extrapolated([(10, 3.0), (20, 2.5), (40, 2.0)], 40), 3)
    1.5
    """
    tail = [(math.log(x), y) for x, y in curve if x > 0 and x >= curve[-1][0] / TAIL]
    if not tail:
        return curve[-1][1] if curve else None
    mean_x, mean_y = (sum(values) / len(tail) for values in zip(*tail, strict=True))
    squares = sum((x - mean_x) ** 2 for x, _ in tail)
    slope = sum((x - mean_x) * (y - mean_y) for x, y in tail) / squares if squares else 0.0
    end = curve[-1][0]
    return curve[-1][1] + min(0.0, slope) * math.log((end + seconds_ahead) / end)


def compare_curves(
    tids: tuple[int, int],
    curve: Curve,
    incumbent: Curve,
    seconds_ahead: float,
    gains: tuple[float, float] = (0.0, 0.0),
) -> RaceOutcome:
    """Which of two trainings is expected to stand lower after `seconds_ahead` more; the incumbent wins what is unclear.
    `tids` are the challenger's and the incumbent's.

    The incumbent's curve is the longer one, which counts for it, as its model continues from where it ends.
    `gains`: how much the two fell in the search when their learning rate did; a high rate hides more of what it has
    learnt.

    >>> compare_curves((7, 0), [(10, 2.2), (20, 2.0)], [(10, 2.4), (20, 2.3), (40, 2.2)], 40).won
    True
    """
    seconds = curve[-1][0] if curve else 0.0
    ahead = extrapolated(curve, seconds_ahead), extrapolated(incumbent, seconds_ahead)
    mine, theirs = (
        None if heading is None else heading - gain for heading, gain in zip(ahead, gains, strict=True)
    )
    won = mine is not None and (theirs is None or mine < theirs - LEAD)
    losses = (curve[-1][1] if curve else None, loss_at(incumbent, seconds))
    return RaceOutcome(*tids, seconds, *losses, mine, theirs, won)


def answered_curve(pool: Pool, future: Future, end: float, tick: Callable[[], None]) -> Curve:
    """The curve that a trial's worker answers; empty where it fails, or is killed at `end` (`time.monotonic()`)."""
    while not future.done() and time.monotonic() < end:
        wait([future], timeout=0.5)
        tick()
    if not future.done():
        pool.kill(future)
        return []
    return [] if future.exception() else future.result()["curve"]


def continued(trial: Trial, leg: Curve) -> list[tuple[float, float]]:
    """A trial's curve up to where its rate began to fall, with a further leg behind it, whose seconds start at zero.

    >>> continued(Trial(1, {}, {}, curve=[[5.0, 3.0], [7.0, 2.8]], held=5.5, seconds=7.0), [(4.0, 2.5)])
    [(5.0, 3.0), (9.5, 2.5)]
    """
    offset = trial.seconds or 0.0 if trial.held is None else trial.held
    return [(x, y) for x, y in trial.curve if x <= offset] + [(offset + x, y) for x, y in leg]


def gain(trial: Trial | None) -> float:
    """By how much the loss fell when the learning rate did, at the end of a full training; 0 where unknown.

    >>> round(gain(Trial(1, {}, {}, curve=[[5.0, 3.0], [7.0, 2.8]], held=5.5)), 3)
    0.2
    """
    if trial is None or trial.held is None:
        return 0.0
    flat = loss_at([(x, y) for x, y in trial.curve if x <= trial.held], trial.held)
    return 0.0 if flat is None else max(0.0, flat - trial.curve[-1][1])
