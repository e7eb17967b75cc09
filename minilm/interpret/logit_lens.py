"""Lets the model answer after an earlier block already: the logit lens (nostalgebraist, 2020).

The stream in the middle has the shape of the stream at the end, so the end of the model can read it. Here the model
itself does the reading: the earlier stream is put in the place of the last one. So this file need not know how
logits are made, and whatever the head of a model does is done here too.
"""

from __future__ import annotations

import torch
from torch import Tensor

from minilm.model import GPT
from minilm.sampling import reading
from minilm.taps import record, tapped


def stage_names(model: GPT) -> list[str]:
    """Words for the stages at which `logit_lens` asks: before the first block, then after each; they count from 0.

    >>> from minilm.config import ModelConfig
    >>> stage_names(GPT(ModelConfig(vocab_size=5, n_layer=2, n_head=1, n_embd=4, block_size=4)))
    ['embedding', 'block 0', 'block 1']
    """
    return ["embedding", *(f"block {layer}" for layer in range(model.config.n_layer))]


def logit_lens(model: GPT, ids: Tensor) -> Tensor:
    """The logits that each stage would give, (B, T) -> (layers + 1, B, T, V); the last are the model's own.

    >>> from minilm.config import ModelConfig
    >>> model = GPT(ModelConfig(vocab_size=5, n_layer=2, n_head=1, n_embd=4, block_size=4))
    >>> ids = torch.tensor([[1, 2, 3]])
    >>> torch.equal(logit_lens(model, ids)[-1], model(ids).logits)
    True
    """
    last = f"blocks.{model.config.n_layer - 1}.hook_resid_post"
    seen = record(model, ids, ["blocks.0.hook_resid_pre", "blocks.*.hook_resid_post"])
    return torch.stack([_answer(model, ids, last, stream) for stream in seen.values()])


def _answer(model: GPT, ids: Tensor, last: str, stream: Tensor) -> Tensor:
    with reading(model), tapped(model, {last: lambda x: stream}):
        return model(ids).logits  # (B, T, V)
