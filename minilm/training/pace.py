"""Times a few training steps on this machine.

Knows a model, its optimizer and the clock; what the seconds mean for a study is `tuner/feasible.py`'s to say.
"""

from __future__ import annotations

import statistics
import time

import torch

from minilm.config import ModelConfig, TrainConfig
from minilm.model import GPT
from minilm.training.hardware import Hardware, loss_function, speed_up
from minilm.training.optim import build_optimizer

SECONDS = 0.3  # of timed steps
LEAST, MOST = 3, 50  # timed steps


def step_seconds(shape: ModelConfig, config: TrainConfig, hardware: Hardware) -> float:
    """The median seconds of a step: passes and optimizer, on tokens drawn at random. No other draw is disturbed.

    >>> from minilm.training.hardware import choose_hardware
    >>> config = TrainConfig(device="cpu", threads=1, batch_size=1)
    >>> shape = ModelConfig(vocab_size=5, block_size=4, n_layer=1, n_head=1, n_embd=4)
    >>> 0 < step_seconds(shape, config, choose_hardware(config)) < 60
    True
    """
    with torch.random.fork_rng(devices=[]):
        model = GPT(shape.replace(attention=hardware.attention)).to(hardware.device)
        ids = torch.randint(shape.vocab_size, (config.batch_size, shape.block_size)).to(hardware.device)
        optimizer = speed_up(build_optimizer(model, config, hardware.precision))
        loss_of = loss_function(model, hardware.precision)
        took: list[float] = []
        while len(took) <= LEAST or (sum(took[1:]) < SECONDS and len(took) <= MOST):
            started = time.perf_counter()
            loss = loss_of(ids, ids)
            loss.backward()
            optimizer.step(config.learning_rate)
            optimizer.zero_grad()
            loss.item()  # a GPU has done its work only when it is asked for a number
            took.append(time.perf_counter() - started)
    return statistics.median(took[1:])  # the first step also makes the optimizer's memory
