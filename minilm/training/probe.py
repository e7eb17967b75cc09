"""A short race at the start of a training by the clock: all cores, or one?

A small model may be faster on one thread than on all of them, and a busy machine makes it likelier; no rule knows
beforehand. Only for trainings by the clock: one by steps shall give the same numbers whatever the machine is doing.
It knows a model that returns a loss and torch's thread count, and trains nothing.
"""

from __future__ import annotations

import os
import time
from dataclasses import replace

import torch
from torch import nn

from minilm.config import TrainConfig
from minilm.training.hardware import Hardware

ROUNDS = 3
SHARE = 0.02  # of the training's time, what the race may cost


def raced(hardware: Hardware, model: nn.Module, config: TrainConfig, batch: tuple[int, int]) -> Hardware:
    """The hardware with the thread count that trains `model` faster on batches of that shape (B, T).

    As it was where there is nothing to choose: the user has chosen, steps are counted, a GPU computes, or steps
    are so slow that the race would cost more than SHARE of the time.
    """
    chosen = config.threads is not None or "OMP_NUM_THREADS" in os.environ
    if hardware.device != "cpu" or hardware.threads < 2 or chosen or config.minutes is None:
        return hardware
    with torch.random.fork_rng(devices=[]):
        ids = torch.randint(int(getattr(model, "config").vocab_size), batch)  # noqa: B009 (hidden from mypy)
        once = _seconds(model, ids, hardware.threads)  # warms up, too
        if 2 * ROUNDS * once > SHARE * 60 * config.minutes:
            return hardware
        rounds = [(_seconds(model, ids, hardware.threads), _seconds(model, ids, 1)) for _ in range(ROUNDS)]
    many, one = (min(times) for times in zip(*rounds, strict=True))
    threads = hardware.threads if many < one else 1
    torch.set_num_threads(threads)
    faster = f"{hardware.threads} threads are {one / many:.2f} times as fast as one"
    return replace(hardware, threads=threads, why=f"{hardware.why}; measured: {faster}")


def _seconds(model: nn.Module, ids: torch.Tensor, threads: int) -> float:
    """One forward and backward pass; it leaves no gradients."""
    torch.set_num_threads(threads)
    started = time.perf_counter()
    model(ids, targets=ids)[0].backward()
    model.zero_grad(set_to_none=True)
    return time.perf_counter() - started
