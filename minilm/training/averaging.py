"""The mean of a training's recent weights: smoother than any single step's, and often better.

Knows tensors by name; refuses to know what the model is and when it is evaluated.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


class Average:
    """A running mean of `weights` that reaches back over the last `share` of all steps so far, roughly.

    After step t the mean moves by 1 / (1 + share t) towards the new weights: at share 1 it is the plain mean of all
    steps, and the smaller the share, the sooner old steps fade. That needs no knowledge of how long the training
    is going to be (Shamir and Zhang, 2013, "Stochastic Gradient Descent for Non-smooth Optimization", section 4,
    where share is 1 / (1 + eta)).

    >>> weight = torch.tensor([1.0])
    >>> average = Average({"w": weight}, share=1.0)
    >>> for step in (1, 2):
    ...     _ = weight.add_(3.0)
    ...     average.update(step)
    >>> average.tensors["w"]  # of 1, 4 and 7
    tensor([4.])
    """

    def __init__(self, weights: dict[str, Tensor], share: float) -> None:
        self.weights, self.share = weights, share
        self.tensors = {name: tensor.detach().clone() for name, tensor in weights.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Takes in the weights as they are after `step` steps, counted from 1."""
        part = 1 / (1 + self.share * step)
        for name, mean in self.tensors.items():
            mean.lerp_(self.weights[name].detach(), part)

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Goes back to the `tensors` of a checkpoint."""
        for name, mean in self.tensors.items():
            mean.copy_(tensors[name])

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The model computes with the mean inside, and with its own weights again outside."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        for name, mean in self.tensors.items():
            own = self.weights[name].detach()
            kept = own.clone()
            own.copy_(mean)
            mean.copy_(kept)
