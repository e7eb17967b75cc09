"""How a training step computes its loss: in float32, or with the matrices' persistent copies in bfloat16; compiled
or not.

The model's own parameters are the float32 masters and stay what the optimizer moves, the checkpoint stores and the
evaluation scores. The copies are made from them before each step, so a resumed run has the same ones. Between two
matrix products everything stays as it is: the residual stream, norms, embeddings, head and loss are float32. Knows a
model and its optimizer's view of it; no batches, no schedules, no files.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.func import functional_call

from minilm.training.optim import matrices_and_rest

FORMATS = {"fp32": torch.float32, "bf16": torch.bfloat16}


class Passes:
    """Forward and backward passes of `model` in `precision`, a key of FORMATS.

    >>> from minilm.config import ModelConfig
    >>> from minilm.model import GPT
    >>> model = GPT(ModelConfig(vocab_size=5, n_layer=1, n_head=1, n_embd=4, block_size=4))
    >>> ids = torch.tensor([[0, 1, 2]])
    >>> loss = Passes(model, "bf16").gradients(ids, ids)
    >>> loss.dtype, model.blocks[0].mlp.down.weight.grad.dtype
    (torch.float32, torch.float32)
    """

    def __init__(self, model: nn.Module, precision: str, compiled: bool = False) -> None:
        self.model = model
        matrices = {} if precision == "fp32" else matrices_and_rest(model)[0]
        self.masters: list[Tensor] = list(matrices.values())
        self.copies = {name: _copy(matrix, FORMATS[precision]) for name, matrix in matrices.items()}
        self._loss: Callable[[Tensor, Tensor], Tensor] = self._plain_loss
        if compiled:
            cuda = next(model.parameters()).is_cuda
            mode = (
                "reduce-overhead" if cuda else None
            )  # on CUDA the passes are captured once and then replayed
            self._loss = torch.compile(self._plain_loss, mode=mode, dynamic=False)

    def gradients(self, ids: Tensor, targets: Tensor) -> Tensor:
        """Fills the masters' gradients from a batch, (B, T) each, and returns the mean loss in nats, ()."""
        self._refresh()
        loss = self._loss(ids, targets)
        loss.backward()
        for master, copy in zip(self.masters, self.copies.values(), strict=True):
            master.grad = None if copy.grad is None else copy.grad.to(master.dtype)
            copy.grad = None
        return loss.detach()

    def warm_up(self, ids: Tensor) -> float:
        """Seconds that the first passes take, which is where compilation happens; they leave no trace."""
        started = time.monotonic()
        with torch.random.fork_rng(devices=[torch.cuda.current_device()] if ids.is_cuda else []):
            self.gradients(ids, ids)
        self.model.zero_grad(set_to_none=True)
        return time.monotonic() - started

    @torch.no_grad()
    def _refresh(self) -> None:
        if self.masters:
            torch._foreach_copy_(list(self.copies.values()), self.masters)  # one call for all

    def _plain_loss(self, ids: Tensor, targets: Tensor) -> Tensor:
        if not self.copies:
            return self.model(ids, targets=targets)[0]
        return functional_call(self.model, self.copies, (ids,), {"targets": targets})[0]


def _copy(master: Tensor, format: torch.dtype) -> Tensor:
    return master.detach().to(format).requires_grad_()
