"""Computes a training's loss with its matrix products in bfloat16.

The model's own parameters are the float32 masters and stay what the optimizer moves, the checkpoint stores and the
evaluation scores. Between two matrix products everything stays as it is: the residual stream, norms, embeddings, head
and loss are float32.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.func import functional_call

from minilm.training.optim import matrices_and_rest


def bfloat16_loss(model: nn.Module) -> Callable[[Tensor, Tensor], Tensor]:
    """A function of ids and targets, (B, T) each, whose gradients arrive at the float32 masters; the loss is ().

    >>> from minilm import GPT, ModelConfig
    >>> model = GPT(ModelConfig(vocab_size=5, n_layer=1, n_head=1, n_embd=4, block_size=4))
    >>> ids = torch.tensor([[0, 1, 2]])
    >>> loss = bfloat16_loss(model)(ids, ids)
    >>> loss.backward()
    >>> loss.dtype, model.blocks[0].mlp.down.weight.grad.dtype
    (torch.float32, torch.float32)
    """
    masters = matrices_and_rest(model)[0]

    def loss_of(ids: Tensor, targets: Tensor) -> Tensor:
        copies = {name: master.to(torch.bfloat16) for name, master in masters.items()}
        return functional_call(model, copies, (ids,), {"targets": targets})[0]

    return loss_of
