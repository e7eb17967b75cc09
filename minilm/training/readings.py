"""The loss and the gradient's norm of each step, brought to the host without making a GPU wait.

On a CPU they are known at once, before the weights are touched. On CUDA a step's numbers are read while the next one
computes, so a bad step is noticed one step late: the weights of the best evaluation are safe, the running ones are
lost with the training that ends there. Knows two numbers per step and no reason why they may be bad.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Reading(NamedTuple):
    step: int  # counted from 1
    rate: float
    loss: float
    norm: float


class Readings:
    """Puts numbers in, gives back what is known by now.

    >>> Readings().put(1, 0.1, torch.tensor(2.0), torch.tensor(0.5))
    [Reading(step=1, rate=0.1, loss=2.0, norm=0.5)]
    """

    def __init__(self) -> None:
        self._under_way: list[tuple[int, float, Tensor, torch.cuda.Event | None]] = []

    def put(self, step: int, rate: float, loss: Tensor, norm: Tensor) -> list[Reading]:
        """The readings that are known without waiting for this step, or with it where there is no waiting."""
        earlier, pair = self.drain(), torch.stack([loss.float(), norm.float()])
        self._under_way.append((step, rate, *_on_its_way(pair)))
        return earlier if pair.is_cuda else self.drain()

    def drain(self) -> list[Reading]:
        """All that is under way, waited for."""
        found = []
        for step, rate, pair, arrived in self._under_way:
            if arrived is not None:
                arrived.synchronize()
            found.append(Reading(step, rate, *pair.tolist()))
        self._under_way = []
        return found


def _on_its_way(pair: Tensor) -> tuple[Tensor, torch.cuda.Event | None]:
    """The numbers' copy on the host, and the event after which it holds them."""
    if not pair.is_cuda:
        return pair, None
    host = torch.empty(2, pin_memory=True)
    host.copy_(pair, non_blocking=True)
    arrived = torch.cuda.Event()
    arrived.record()
    return host, arrived
