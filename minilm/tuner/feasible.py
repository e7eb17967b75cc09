"""Refuses configurations that are not worth a trial, by arithmetic before anything runs.

A configuration that does not fit into memory, or would see too little text in a whole training to learn from it, is
refused with a sentence, so that it never costs a worker's time. What the machine can do comes from one short probe,
see `objective`; without one only what is known beforehand is refused. This file measures nothing and draws nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from minilm.config import ModelConfig, TrainConfig, default_recipe
from minilm.cost import needed_bytes, work

# of a whole trial: in 7 s of training nothing that saw less came near the winner, benchmarks/RESULTS.md
FEWEST_TRIAL_STEPS, FEWEST_TRIAL_TOKENS = 100, 100_000


@dataclass(frozen=True)
class Limits:
    """What the text and the machine allow. Plain numbers: they are kept with the study.

    `block_size`: the longest context. `step_work`: the most that one step may cost, see `cost.work`. `memory`: bytes
    for one training. `rate`: work per second of one worker. `seconds`: of a whole training of the study.
    """

    block_size: int
    step_work: float
    memory: int | None = None
    rate: float | None = None
    seconds: float | None = None


def rate_of(model: ModelConfig, train: TrainConfig, step_seconds: float, backend: str = "blocked") -> float:
    """Work per second, from the seconds that one step of one configuration took.

    >>> shape, train = default_recipe(65)
    >>> steps_in(shape, train, 9.0, rate_of(shape, train, step_seconds=0.09))
    100
    """
    return work(model, train, backend) / step_seconds


def steps_in(model: ModelConfig, train: TrainConfig, seconds: float, rate: float) -> int:
    """How many steps so many seconds of training pay for."""
    return int(seconds * rate / work(model, train) + 1e-9)


def objection(model: ModelConfig, train: TrainConfig, limits: Limits) -> str | None:
    """Why the configuration is not worth a trial, as a sentence, or None.

    >>> shape, train = default_recipe(65)
    >>> objection(shape, train.replace(batch_size=64), Limits(block_size=128, step_work=4 * work(shape, train)))
    "a step must cost at most 4.0 times what the default recipe's does, got 6.0 times"
    """
    faults = (_dear(model, train, limits), _large(model, train, limits), _blind(model, train, limits))
    return next(filter(None, faults), None)


def _dear(model: ModelConfig, train: TrainConfig, limits: Limits) -> str | None:
    """Whether one step is out of proportion. Where the seconds are known, they say it better."""
    cost, usual = work(model, train), work(*default_recipe(model.vocab_size))
    if limits.rate is not None or cost <= limits.step_work:
        return None
    most = limits.step_work / usual
    return f"a step must cost at most {most:.1f} times what the default recipe's does, got {cost / usual:.1f} times"


def _large(model: ModelConfig, train: TrainConfig, limits: Limits) -> str | None:
    need = needed_bytes(model, train)
    if limits.memory is None or need <= limits.memory:
        return None
    return (
        f"a training must fit into the {limits.memory / 2**20:,.0f} MiB of a worker, got {need / 2**20:,.0f} MiB for "
        f"{model.n_parameters:,} parameters and a batch of {train.batch_size} x {model.block_size}"
    )


def _blind(model: ModelConfig, train: TrainConfig, limits: Limits) -> str | None:
    """Whether it would see too little; what the default recipe sees is never too little."""
    if limits.rate is None or limits.seconds is None:
        return None
    fewest = (FEWEST_TRIAL_STEPS, FEWEST_TRIAL_TOKENS)
    least = [min(pair) for pair in zip(fewest, _sight_of_default(model, limits), strict=True)]
    steps, tokens = _sight(model, train, limits)
    if steps >= least[0] and tokens >= least[1]:
        return None
    return (
        f"a whole training must see {least[1]:,} tokens in {least[0]:,} steps at least, got {tokens:,} in {steps:,} "
        f"with {limits.seconds:g} s"
    )


def _sight(model: ModelConfig, train: TrainConfig, limits: Limits) -> tuple[int, int]:
    """Steps and tokens of a whole training."""
    assert limits.rate is not None and limits.seconds is not None
    steps = steps_in(model, train, limits.seconds, limits.rate)
    return steps, steps * train.batch_size * model.block_size


def _sight_of_default(model: ModelConfig, limits: Limits) -> tuple[int, int]:
    shape, train = default_recipe(model.vocab_size)
    return _sight(shape.replace(block_size=min(shape.block_size, limits.block_size)), train, limits)
